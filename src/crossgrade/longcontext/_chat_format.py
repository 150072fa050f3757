"""How a model's conversations become tokens: its chat template, its special tokens, and its tokenizer.

They are read beside the weights, as Transformers writes them (`tokenizer.json`, `tokenizer_config.json` and
`chat_template.jinja`), or from a GGUF file. A GGUF file may ask for a token that begins each text: it is put
before the prompt unless the template wrote it.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from crossgrade.domain import Message
from crossgrade.errors import DataError, MissingExtraError, unreadable
from crossgrade.longcontext._tokenizers import gguf_tokens, hf_tokenizer

_MOST_BYTES = 64 * 2**20
_CHILD = Path(__file__).with_name("_template_child.py")
_MOST_S, _MOST_MEMORY = 2, 2**30
"""Seconds of a processor and bytes that a template may use for a conversation."""

_MOST_ADDED = 20_000
"""Characters that a template may add to a conversation, which it may also write twice."""

_PATIENCE_S = 60.0
"""Seconds that are waited for it, on a machine that does other work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFormat:
    """Tokens of a model's conversations. `vocabulary` is one more than the largest token of the tokenizer.

    `prompt_of` raises `DataError` (`chat-template-refuses`) for a conversation that the template refuses.
    `text_of` leaves special tokens out. `ends` are the tokens that end an answer.
    """

    vocabulary: int
    prompt_of: Callable[[Sequence[Message]], list[int]]
    text_of: Callable[[Sequence[int]], str]
    ends: frozenset[int]


def read_chat_format(path: Path) -> ChatFormat:
    """Read the chat format of a checkpoint: a folder, or a GGUF file, beside which a tokenizer may lie.

    Raises `DataError`: `chat-template-missing`, `chat-template-invalid`, `chat-template-slow`, and what
    `read_tokenizer` raises for a tokenizer that is missing or cannot be rebuilt; and `MissingExtraError`
    without the extra `long-context`.
    """
    if path.suffix != ".gguf":
        return _from_folder(path)
    if (path.parent / "tokenizer.json").exists():
        return _from_folder(path.parent)
    found = gguf_tokens(path)
    ids = {"bos_token": found.bos, "eos_token": found.eos}
    texts = {token: text for text, token in found.special.items()}
    words = {name: None if token is None else texts.get(token) for name, token in ids.items()}
    render = _template(found.chat_template, path, words)

    def prompt_of(messages: Sequence[Message]) -> list[int]:
        ids = found.encode(render(messages))
        begins = found.adds_bos and found.bos is not None and ids[:1] != [found.bos]
        return [found.bos, *ids] if begins and found.bos is not None else ids

    ends = frozenset(each for each in (found.eos, found.eot) if each is not None)
    return ChatFormat(vocabulary=found.vocabulary, prompt_of=prompt_of, text_of=found.decode, ends=ends)


def _from_folder(folder: Path) -> ChatFormat:
    tokenizer = hf_tokenizer(folder / "tokenizer.json")
    settings = _json(folder / "tokenizer_config.json")
    template = _text(folder / "chat_template.jinja")
    if template is None:
        template = _named_template(settings.get("chat_template"))
    words = {name: _word(settings.get(name)) for name in ("bos_token", "eos_token")}
    render = _template(template, folder, words)
    ends = {tokenizer.token_to_id(words["eos_token"])} if words["eos_token"] else set()
    for name in ("generation_config.json", "config.json"):
        config = _json(folder / name)
        inner = config.get("text_config")
        for each in (config, inner if isinstance(inner, dict) else {}):
            given = each.get("eos_token_id")
            ends |= set(given if isinstance(given, list) else [given])

    def prompt_of(messages: Sequence[Message]) -> list[int]:
        return list(tokenizer.encode(render(messages), add_special_tokens=False).ids)

    return ChatFormat(
        vocabulary=1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0),
        prompt_of=prompt_of,
        text_of=lambda tokens: str(tokenizer.decode(list(tokens), skip_special_tokens=True)),
        ends=frozenset(each for each in ends if isinstance(each, int) and each >= 0),
    )


def _template(
    source: str | None, path: Path, words: Mapping[str, str | None]
) -> Callable[[Sequence[Message]], str]:
    """Return a function that renders conversations as Transformers does, in Jinja's sandbox and a child."""
    if not source:
        raise DataError(
            "the checkpoint has no chat template",
            code="chat-template-missing",
            file=path,
            hint="put the model's tokenizer_config.json or chat_template.jinja beside the weights",
        )
    if find_spec("jinja2") is None:
        raise MissingExtraError("rendering a chat template", "long-context")
    given = {name: word or "" for name, word in words.items()}
    kept: dict[str, str] = {}

    def render(messages: Sequence[Message]) -> str:
        turns = [{"role": each.role, "content": each.content or ""} for each in messages]
        job = {
            "source": source,
            "words": given,
            "messages": turns,
            "seconds": _MOST_S,
            "bytes": _MOST_MEMORY,
            "characters": _MOST_ADDED + 2 * sum(len(each["content"]) for each in turns),
        }
        line = json.dumps(job)
        if line not in kept:
            kept[line] = _rendered(line, path)
        return kept[line]

    try:
        render([Message(role="user", content="Hello.")])
    except DataError as error:
        if error.code != "chat-template-refuses":
            raise
    return render


def _rendered(job: str, path: Path) -> str:
    """Render a conversation in a process of its own, because a template may run for ever."""
    try:
        ran = subprocess.run(  # noqa: S603  # our own file
            [sys.executable, str(_CHILD)],
            input=job.encode() + b"\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            check=False,
        )
        found = msgspec.json.decode(ran.stdout, type=dict[str, str])
    except (subprocess.TimeoutExpired, msgspec.DecodeError) as error:
        raise DataError(
            f"the chat template needs more than {_MOST_S} seconds or {_MOST_MEMORY // 2**20:,} MiB for one "
            f"conversation, or adds more than {_MOST_ADDED:,} characters to it",
            code="chat-template-slow",
            file=path,
            hint="give the template that belongs to the weights",
        ) from error
    if "text" in found:
        return found["text"]
    if "invalid" in found:
        raise DataError(
            f"the chat template cannot be read: {found['invalid'][:200]}",
            code="chat-template-invalid",
            file=path,
            hint="give the template that belongs to the weights",
        )
    raise DataError(
        f"the chat template refuses a conversation: {found['refuses'][:200]}",
        code="chat-template-refuses",
        file=path,
    )


def _named_template(given: Any) -> str | None:
    """Return the template, of several the default one."""
    if isinstance(given, list):
        named = {each.get("name"): each.get("template") for each in given if isinstance(each, dict)}
        given = named.get("default")
    return given if isinstance(given, str) else None


def _word(given: Any) -> str | None:
    word = given.get("content") if isinstance(given, dict) else given
    return word if isinstance(word, str) else None


def _text(path: Path) -> str | None:
    """Return the text of a file, None if there is none."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise DataError(f"it is larger than {_MOST_BYTES:,} bytes", code="file-too-large", file=path)
        return data.decode()
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError("this is no text in UTF-8", code="not-utf8", file=path) from error


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, an empty one if there is no file."""
    text = _text(path)
    try:
        found = {} if text is None else msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(str(error)[:200], code="config-json-invalid", file=path) from error
    return found if isinstance(found, dict) else {}
