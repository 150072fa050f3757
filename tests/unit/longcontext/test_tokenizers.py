"""Tokenizers: the fast engine gives the ids of the reference, and a file that is none is refused."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from crossgrade.longcontext import Tokenizer, bytes_tokenizer, read_tokenizer
from tests.codes import raises_code

TEXTS = ["It's 12,345 metres.\n", "Café — 中文\n\n\tdef f(x): return x\n", "\U0001f600 <|endoftext|>\n"]


def test_the_fast_engine_agrees_with_the_reference(tokenizer: Tokenizer) -> None:
    for text, ids in zip(TEXTS, tokenizer.encode_many(TEXTS), strict=True):
        assert np.array_equal(tokenizer.encode(text), tokenizer.check(text))
        assert np.array_equal(ids, tokenizer.check(text))
    assert tokenizer.encode.__qualname__ != tokenizer.check.__qualname__


def test_another_kind_of_tokenizer_runs_in_the_reference(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Reference
    from tokenizers import models, pre_tokenizers, trainers

    reference = Reference(models.WordLevel(unk_token="?"))
    reference.pre_tokenizer = pre_tokenizers.Whitespace()
    reference.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=["?"], show_progress=False))
    reference.save(str(tmp_path / "tokenizer.json"))
    found = read_tokenizer(tmp_path / "tokenizer.json")
    assert found.exact
    assert found.encode(TEXTS[0]).tolist() == reference.encode(TEXTS[0]).ids


def test_a_gguf_file_carries_its_tokenizer(
    tokenizer: Tokenizer, tokenizer_file: Path, tmp_path: Path
) -> None:
    path = _gguf(tmp_path / "model.gguf", tokenizer_file, pre="gpt-2")
    found = read_tokenizer(path)
    assert found.exact
    for text in TEXTS:
        assert np.array_equal(found.encode(text), tokenizer.encode(text))


def test_a_gguf_file_of_an_unknown_kind_is_refused(tokenizer_file: Path, tmp_path: Path) -> None:
    with raises_code("tokenizer-unsupported", "gpt2", "strange"):
        read_tokenizer(_gguf(tmp_path / "model.gguf", tokenizer_file, pre="strange"))


def test_a_tiktoken_file(tokenizer_file: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    lines = [b"%s %d" % (base64.b64encode(bytes([byte])), byte) for byte in range(256)]
    path = tmp_path / "bytes.tiktoken"
    path.write_bytes(b"\n".join(lines))
    assert read_tokenizer(path).encode("ab\n").tolist() == [97, 98, 10]


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("tokenizer.json", b"{}", ("tokenizer-invalid",)),
        ("tokenizer.json", b"\xff\xfe", ("tokenizer-invalid",)),
        ("model.gguf", b"GGUF", ("tokenizer-invalid",)),
        ("a.tiktoken", b"*** 1", ("tokenizer-invalid",)),
        ("a.tiktoken", b"YQ== 1", ("tokenizer-too-small",)),
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, name: str, content: bytes, seen: str) -> None:
    (tmp_path / name).write_bytes(content)
    with raises_code(*seen):
        read_tokenizer(tmp_path / name)
    with raises_code("file-missing"):
        read_tokenizer(tmp_path / f"missing-{name}")


def test_bytes_stand_in_for_an_unknown_tokenizer() -> None:
    found = bytes_tokenizer()
    assert not found.exact
    assert found.encode("é\n").tolist() == [0xC3, 0xA9, 10]


def _gguf(path: Path, tokenizer_file: Path, *, pre: str) -> Path:
    import gguf

    vocabulary = json.loads(tokenizer_file.read_text())["model"]["vocab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(sorted(vocabulary, key=vocabulary.get))
    writer.add_token_types([1] * len(vocabulary))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
