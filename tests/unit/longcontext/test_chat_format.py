"""Chat formats from GGUF files and folders: special tokens, the token that begins a text, and ends."""

import json
from pathlib import Path

import pytest

from crossgrade.domain import Message
from crossgrade.longcontext import read_chat_format
from tests.codes import raises_code

pytestmark = pytest.mark.needs("module:gguf", "module:tiktoken", "module:jinja2")

PLAIN = "{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}{% endfor %}"
TURNS = (Message(role="user", content="Hi, R\u00f6sti"),)
_PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
_LETTERS = {byte: chr(byte) for byte in _PRINTED} | {
    byte: chr(256 + at) for at, byte in enumerate(each for each in range(256) if each not in _PRINTED)
}


def write_gguf(
    path: Path, template: str | None = PLAIN, *, adds_bos: bool = True, letters: int = 256
) -> Path:
    import gguf

    writer = gguf.GGUFWriter(path, "llama4")
    words = [_LETTERS[byte] for byte in range(letters)]
    special = ["<|bos|>", "<|eos|>", "<|eot|>", "<|user|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama4")
    writer.add_token_list([*words, *special])
    kinds = [gguf.TokenType.NORMAL] * letters + [gguf.TokenType.CONTROL] * len(special)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(letters)
    writer.add_eos_token_id(letters + 1)
    writer.add_eot_token_id(letters + 2)
    writer.add_add_bos_token(adds_bos)
    if template is not None:
        writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("template", "adds_bos", "begins"),
    [
        (PLAIN, True, 1),
        (PLAIN, False, 0),
        ("{{ bos_token }}" + PLAIN, True, 1),
        ("{{ bos_token }}" + PLAIN, False, 1),
    ],
)
def test_a_text_begins_once(tmp_path: Path, template: str, adds_bos: bool, begins: int) -> None:
    found = read_chat_format(write_gguf(tmp_path / "m.gguf", template, adds_bos=adds_bos))
    said = list("Hi, R\u00f6sti".encode())
    assert found.prompt_of(TURNS) == [*[256] * begins, 259, *said]
    assert found.text_of([256, 259, *said, 257]) == "Hi, R\u00f6sti"
    assert (found.ends, found.vocabulary) == ({257, 258}, 260)


def test_a_file_without_a_template_or_with_too_few_tokens(tmp_path: Path) -> None:
    with raises_code("chat-template-missing"):
        read_chat_format(write_gguf(tmp_path / "a.gguf", None))
    with raises_code("tokenizer-too-small"):
        read_chat_format(write_gguf(tmp_path / "b.gguf", letters=200))
    (tmp_path / "c.gguf").write_bytes(b"GGUF")
    with raises_code("tokenizer-invalid"):
        read_chat_format(tmp_path / "c.gguf")


def test_a_template_may_refuse_and_reaches_nothing_outside_of_its_sandbox(tmp_path: Path) -> None:
    for at, source in enumerate(
        (
            "{{ raise_exception('no') }}",
            "{{ messages.__class__.__mro__ }}",
            "{{ messages.append(1) }}",
            "{{ 1 / 0 }}",
        )
    ):
        found = read_chat_format(write_gguf(tmp_path / f"{at}.gguf", source))
        with raises_code("chat-template-refuses"):
            found.prompt_of(TURNS)


LONG = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source", [LONG, "{{ 'a' * 10 ** 10 }}", "{{ 'a' * 10 ** 7 }}", "{% set a = '%09999999999d' % 1 %}"]
)
def test_a_template_that_runs_for_ever_or_fills_the_memory_is_ended(tmp_path: Path, source: str) -> None:
    with raises_code("chat-template-slow"):
        read_chat_format(write_gguf(tmp_path / "m.gguf", source))


def test_a_template_that_refuses_one_conversation_may_take_another(tmp_path: Path) -> None:
    source = "{{ raise_exception('short') if messages[0].content|length < 8 else messages[0].content }}"
    found = read_chat_format(write_gguf(tmp_path / "m.gguf", source))
    assert found.prompt_of(TURNS)[1:] == list("Hi, R\u00f6sti".encode())


def test_a_tokenizer_beside_a_model_file_is_used(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    path = write_gguf(tmp_path / "m.gguf")
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "hello": 1, "<s>": 2, "</s>": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with raises_code("chat-template-missing"):
        read_chat_format(path)
    named = [{"name": "tools", "template": "x"}, {"name": "default", "template": "{{ bos_token }} hello"}]
    given = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": named}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(given))
    found = read_chat_format(path)
    assert found.prompt_of(TURNS) == [2, 1]
    assert found.ends == {3}
