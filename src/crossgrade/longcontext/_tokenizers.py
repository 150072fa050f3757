"""Tokenises text by a `tokenizer.json`, a GGUF file, a tiktoken file, a server, or bytes.

A byte-level BPE vocabulary runs in tiktoken, ten times faster than `tokenizers` on long texts. A
`tokenizer.json` is read by `tokenizers` too, and tiktoken is used only if both agree on a test text. A server
with a tokenize endpoint is as exact as a file. Without any tokenizer a byte counts as a token. Lengths are
then not exact, but calibrated by the endpoint's usage.
"""

import base64
import binascii
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from crossgrade.errors import DataError, MissingExtraError, unreadable

IntArray = NDArray[np.int32]

_LARGEST_BYTES = 256 * 2**20
_MOST_TOKENS = 2_000_000
_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Each digit is a piece of its own, and GPT-2's pattern cuts the text between digits.
_SMOLLM = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace("{1,3}", "")
# Llama 4 cuts words between lower and upper case, as OpenAI's o200k does.
_LLAMA4 = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# llama.cpp's names of pre-tokenizers, and their patterns.
_GGUF_PATTERNS = {
    "gpt-2": _GPT2,
    "default": _GPT2,
    "smollm": _SMOLLM,
    "llama-bpe": _LLAMA3,
    "qwen2": _QWEN2,
    "llama4": _LLAMA4,
}
_PROOF = (
    "It's 3.14 metres to R\u00f6sti-Caf\u00e9; WE'LL see.\n\n\tdef f(x):  return x ** 2\r\n"
    "Ids: 2024-11-05, #12345678!  "
    "\u4e2d\u6587\u6d4b\u8bd5 \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \U0001f600 ... /usr/bin  don't\n"
)

Kind = Literal["tokenizer.json", "gguf", "tiktoken", "server", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """Functions that turn text into token ids. If `exact` is false, a byte counts as a token.

    `check` encodes with an independent implementation if there is one, otherwise with the same one.
    """

    name: str
    kind: Kind
    exact: bool
    encode: Callable[[str], IntArray]
    encode_many: Callable[[Sequence[str]], list[IntArray]]
    check: Callable[[str], IntArray]


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer from a `tokenizer.json`, a `.gguf` model file or a `.tiktoken` file.

    Raises `DataError` for a file of another format or a damaged one, and `MissingExtraError` without the
    `long-context` extra.
    """
    _require()
    if path.suffix == ".gguf":
        try:
            path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
        return _from_gguf(path)
    data = _bounded_bytes(path)
    return _from_tiktoken(data, path) if path.suffix == ".tiktoken" else _from_json(data, path)


def _bounded_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DataError(
                f"the tokenizer is larger than {_LARGEST_BYTES:,} bytes", code="file-too-large", file=path
            )
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def bytes_tokenizer() -> Tokenizer:
    """Return the substitute for an unknown tokenizer, in which a byte of UTF-8 is a token."""

    def encode(text: str) -> IntArray:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)

    return Tokenizer(
        name="bytes, calibrated by the endpoint's usage",
        kind="bytes",
        exact=False,
        encode=encode,
        encode_many=lambda texts: [encode(text) for text in texts],
        check=encode,
    )


def served_tokenizer(url: str, ask: Callable[[Sequence[str]], list[list[int]]]) -> Tokenizer | None:
    """Return the tokenizer of the server at `url`; `ask` asks the server for the ids of texts.

    Returns None if joined lines have other tokens than the single lines (a tokenizer that puts a space
    before each text), because prompts of an exact length cannot be built then. Raises like `ask`.
    """

    def encode_many(texts: Sequence[str]) -> list[IntArray]:
        return [np.asarray(ids, dtype=np.int32) for ids in ask(texts)]

    def encode(text: str) -> IntArray:
        return encode_many([text])[0]

    lines = _PROOF.splitlines(keepends=True)[-1], "Note that 2 of them\n", "7 are left.\n"
    *apart, whole = encode_many([*lines, "".join(lines)])
    if not len(whole) or not np.array_equal(np.concatenate(apart), whole):
        return None
    return Tokenizer(
        name=f"the server's own ({url})",
        kind="server",
        exact=True,
        encode=encode,
        encode_many=encode_many,
        check=encode,
    )


def _require() -> None:
    try:
        import tiktoken
        import tokenizers
    except ImportError as cause:
        raise MissingExtraError("reading tokenizers", "long-context") from cause
    del tiktoken, tokenizers


def _from_json(data: bytes, path: Path) -> Tokenizer:
    reference = _reference(data, path)
    tree = msgspec.json.decode(data)

    def check(text: str) -> IntArray:
        return np.asarray(reference.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def encode_batch(texts: Sequence[str]) -> list[IntArray]:
        found = reference.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(each.ids, dtype=np.int32) for each in found]

    fast = _fast_twin(tree, path)
    if fast is not None and np.array_equal(fast.encode(_PROOF), check(_PROOF)):
        return Tokenizer(
            name=path.name,
            kind="tokenizer.json",
            exact=True,
            encode=fast.encode,
            encode_many=fast.encode_many,
            check=check,
        )
    return Tokenizer(
        name=path.name,
        kind="tokenizer.json",
        exact=True,
        encode=check,
        encode_many=encode_batch,
        check=check,
    )


def _reference(data: bytes, path: Path) -> Any:
    """Return a `tokenizer.json` as `tokenizers` reads it."""
    from tokenizers import Tokenizer as Reference

    try:
        msgspec.json.decode(data)
        return Reference.from_buffer(data)
    except Exception as error:
        raise DataError(
            f"this is no tokenizer.json: {str(error)[:200]}",
            code="tokenizer-invalid",
            file=path,
            hint="give the model's tokenizer.json, its GGUF file, or a .tiktoken file",
        ) from error


def _fast_twin(tree: Any, path: Path) -> Tokenizer | None:
    """Return a byte-level BPE tokenizer that runs in tiktoken, or None for another kind of tokenizer."""
    try:
        pattern = _pattern(tree["pre_tokenizer"])
        model, normalizer = tree["model"], tree.get("normalizer")
        form = None if normalizer is None else normalizer["type"]
        if pattern is None or model["type"] != "BPE" or form not in {None, "NFC"}:
            return None
        ranks = _ranks(model["vocab"])
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    return _engine(path.name, "tokenizer.json", pattern, ranks, nfc=form == "NFC")


def _pattern(node: Mapping[str, Any]) -> str | None:
    parts = node["pretokenizers"] if node["type"] == "Sequence" else [node]
    kinds = [part["type"] for part in parts]
    if not kinds or kinds[-1] != "ByteLevel" or parts[-1].get("add_prefix_space"):
        return None
    if kinds == ["ByteLevel"]:
        return _GPT2
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return _SMOLLM
    if kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True):
        return str(parts[0]["pattern"]["Regex"])
    return None


def _engine(
    name: str, kind: Kind, pattern: str, ranks: Mapping[bytes, int], *, nfc: bool = False
) -> Tokenizer:
    import tiktoken

    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens={})

    def normal(text: str) -> str:
        return unicodedata.normalize("NFC", text) if nfc else text

    def encode(text: str) -> IntArray:
        return np.asarray(encoding.encode_to_numpy(normal(text), disallowed_special=()), dtype=np.int32)

    def encode_many(texts: Sequence[str]) -> list[IntArray]:
        return [np.asarray(encoding.encode_ordinary(normal(text)), dtype=np.int32) for text in texts]

    return Tokenizer(name=name, kind=kind, exact=True, encode=encode, encode_many=encode_many, check=encode)


def _ranks(vocabulary: Mapping[str, int]) -> dict[bytes, int]:
    """Return the ranks by each token's bytes, decoded from GPT-2's printable letters for bytes."""
    if len(vocabulary) > _MOST_TOKENS:
        raise ValueError(f"more than {_MOST_TOKENS:,} tokens")
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
    return {
        bytes(byte_of[letter] for letter in token): rank
        for token, rank in vocabulary.items()
        if all(letter in byte_of for letter in token)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTokens:
    """The tokenizer of a GGUF file with its special tokens, which `encode` knows and `decode` leaves out."""

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    special: Mapping[str, int]
    vocabulary: int
    chat_template: str | None
    bos: int | None
    eos: int | None
    eot: int | None
    adds_bos: bool


def gguf_tokens(path: Path) -> GgufTokens:
    """Read the tokenizer of a GGUF file with its special tokens; raises as `read_tokenizer` does."""
    _require()
    import tiktoken

    fields = _gguf_fields(path)
    pattern, ranks, special = _gguf_vocabulary(fields, path)
    if any(bytes([byte]) not in ranks for byte in range(256)):
        raise DataError("the vocabulary lacks bytes", code="tokenizer-too-small", file=path)
    encoding = tiktoken.Encoding(path.name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    texts = {rank: word for word, rank in ranks.items()}

    def value(key: str) -> Any:
        return fields[f"tokenizer.{key}"].contents() if f"tokenizer.{key}" in fields else None

    def token(name: str) -> int | None:
        found = value(f"ggml.{name}_token_id")
        return None if found is None else int(found)

    template = value("chat_template")
    return GgufTokens(
        encode=lambda text: encoding.encode(text, allowed_special="all"),
        decode=lambda ids: b"".join(texts.get(each, b"") for each in ids).decode("utf-8", "replace"),
        special=special,
        vocabulary=1 + max([*ranks.values(), *special.values()]),
        chat_template=None if template is None else str(template),
        bos=token("bos"),
        eos=token("eos"),
        eot=token("eot"),
        adds_bos=bool(value("ggml.add_bos_token")),
    )


def hf_tokenizer(path: Path) -> Any:
    """Return the tokenizer of a `tokenizer.json` as `tokenizers` reads it, which knows special tokens."""
    _require()
    return _reference(_bounded_bytes(path), path)


def _gguf_fields(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as cause:
        raise MissingExtraError("reading the tokenizer of a GGUF file", "long-context") from cause
    try:
        return GGUFReader(path).fields
    except (ValueError, KeyError, IndexError, OSError, OverflowError, AttributeError) as error:
        raise _no_gguf_tokenizer(path, error) from error


def _no_gguf_tokenizer(path: Path, error: Exception) -> DataError:
    return DataError(
        f"no tokenizer can be read from this GGUF file: {str(error)[:200]}",
        code="tokenizer-invalid",
        file=path,
    )


def _gguf_vocabulary(fields: Any, path: Path) -> tuple[str, dict[bytes, int], dict[str, int]]:
    """Return the pattern, the ranks by each token's bytes, and the special tokens of a GGUF file."""
    try:
        model = str(fields["tokenizer.ggml.model"].contents())
        pre = str(fields["tokenizer.ggml.pre"].contents()) if "tokenizer.ggml.pre" in fields else "default"
        tokens = list(fields["tokenizer.ggml.tokens"].contents()) if model == "gpt2" else []
        kinds = list(fields["tokenizer.ggml.token_type"].contents()) if model == "gpt2" else []
    except (ValueError, KeyError, IndexError, OSError, OverflowError, AttributeError) as error:
        raise _no_gguf_tokenizer(path, error) from error
    pattern = _GGUF_PATTERNS.get(pre)
    if model != "gpt2" or pattern is None:
        raise DataError(
            f"this file's tokenizer ({model}, {pre}) is not one that can be rebuilt exactly",
            code="tokenizer-unsupported",
            file=path,
            hint="give the model's tokenizer.json with `--tokenizer`, or leave it out: usage then calibrates",
        )
    normal = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind == 1}
    special = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind in (3, 4)}
    return pattern, _ranks(normal), special


def _from_gguf(path: Path) -> Tokenizer:
    pattern, ranks, _ = _gguf_vocabulary(_gguf_fields(path), path)
    return _engine(path.name, "gguf", pattern, ranks)


def _from_tiktoken(data: bytes, path: Path) -> Tokenizer:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        token, _, rank = line.partition(b" ")
        try:
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (binascii.Error, ValueError) as error:
            raise DataError(
                "a line of a .tiktoken file is a base64 token and its rank",
                code="tokenizer-invalid",
                file=path,
                line=number,
            ) from error
    if len(ranks) < 256:
        raise DataError(
            f"{len(ranks)} tokens are too few for a byte-level vocabulary",
            code="tokenizer-too-small",
            file=path,
        )
    return _engine(path.name, "tiktoken", _LLAMA3, ranks)
