"""Reads the user's documents as plain text, for the haystacks that questions are hidden in."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from crossgrade.errors import CrossgradeError, DataError, MissingExtraError, UsageError, unreadable
from crossgrade.longcontext._pdf import pdf_text

MOST_FILES = 20_000
MOST_BYTES = 512 * 2**20
_LARGEST_FILE = 256 * 2**20
# Half a surrogate pair, which JSON escapes and PDFs may contain, is replaced too: it cannot be encoded.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029\x85\ud800-\udfff]")
_MARKUP = {".html", ".htm", ".xhtml"}
_RECORDS = {".jsonl", ".ndjson"}
_DEPTH = 20
_HINT = "give PDFs, or text, Markdown, HTML, source code or JSONL in UTF-8"
_MOSTLY_EMPTY = 0.2
_MOST_NOTES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document's text, with line feeds as line ends; `name` is its path, for JSONL with its line."""

    name: str
    text: str


def read_documents(
    paths: Iterable[Path], *, on_note: Callable[[str], None] = lambda _: None
) -> tuple[Document, ...]:
    """Read files, and all files in folders, as documents. A row of JSONL is one document.

    In a folder, hidden files and files that cannot be read as text are left out. A file that is named
    itself must be readable. `on_note` receives a message for each file left out, unless it is binary, and
    for each PDF with many pages without text. Raises `DataError` for a named file that is binary or not
    UTF-8, or a PDF without text, `MissingExtraError` for a PDF without the `long-context` extra, and
    `UsageError` if there is no document.
    """
    documents: list[Document] = []
    left_out: list[tuple[Path, CrossgradeError]] = []
    total = 0
    for path, named in _files(paths):
        try:
            found = _read(path, on_note)
        except (DataError, MissingExtraError) as error:
            if named:
                raise
            left_out.append((path, error))
            continue
        documents += found
        total += sum(len(document.text) for document in found)
        if total > MOST_BYTES:
            raise DataError(
                f"the documents hold more than {MOST_BYTES:,} characters",
                code="documents-too-large",
                file=path,
                hint=_FEWER,
            )
    _tell([each for each in left_out if not isinstance(each[1], _BinaryError)], documents, on_note)
    return tuple(documents)


def _tell(
    left_out: Sequence[tuple[Path, CrossgradeError]],
    documents: Sequence[Document],
    on_note: Callable[[str], None],
) -> None:
    """Report the files left out to `on_note`. Without any document, raise the first reason."""
    if not documents:
        if left_out:
            raise left_out[0][1]
        raise UsageError(
            "no documents: nothing was found to hide questions in", code="documents-missing", hint=_HINT
        )
    for path, error in left_out[:_MOST_NOTES]:
        on_note(f"left out {path}: {error.message}; {error.hint}")
    if len(left_out) > _MOST_NOTES:
        on_note(f"left out {len(left_out) - _MOST_NOTES:,} more files like these")


class _BinaryError(DataError):
    """The file is neither text nor a PDF."""


_FEWER = "name fewer files: ten million tokens are about 40 MB of English"


def synthetic_documents(characters: int, seed: int) -> tuple[Document, ...]:
    """Return made-up records of about `characters` characters in all, for a user without documents."""
    rng = np.random.default_rng(seed)
    documents = []
    for number in range(max(1, characters // 6_000) + 1):
        lines = (
            f"{_pick(rng, _DAYS)} {_pick(rng, _PEOPLE)} from {_pick(rng, _PLACES)} {_pick(rng, _DEEDS)} "
            f"the {_pick(rng, _THINGS)} and {_pick(rng, _DEEDS)} {int(rng.integers(2, 90))} "
            f"{_pick(rng, _THINGS)}s."
            for _ in range(80)
        )
        documents.append(Document(name=f"synthetic-{number + 1}", text="\n".join(lines) + "\n"))
    return tuple(documents)


_DAYS = ("On Monday", "Before noon", "Late in March", "Last week", "After the meeting", "Twice in May")
_PEOPLE = (
    "Ms Harrow",
    "the new clerk",
    "Mr Adeyemi",
    "a courier",
    "Dr Lindqvist",
    "the auditor",
    "Ms Okafor",
)
_PLACES = ("Tromso", "the north desk", "Leeds", "the harbour office", "Porto", "the second floor", "Utrecht")
_DEEDS = ("checked", "returned", "asked about", "signed for", "misplaced", "repaired", "counted", "sent back")
_THINGS = ("invoice", "crate", "pump", "ledger", "sample box", "permit", "valve", "blue folder", "contract")


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    seen = 0
    known: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise DataError("there is no such file or folder", code="file-missing", file=path, hint=_HINT)
        named = path.is_file()
        found = [path] if named else sorted(each for each in path.rglob("*") if _is_shown(each, path))
        for each in found:
            if (real := each.resolve()) in known:
                continue  # named twice, directly or by its folder
            known.add(real)
            seen += 1
            if seen > MOST_FILES:
                raise DataError(
                    f"more than {MOST_FILES:,} files", code="too-many-files", file=path, hint=_FEWER
                )
            yield each, named


def _is_shown(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.is_file() and not path.is_symlink()


def _read(path: Path, on_note: Callable[[str], None]) -> list[Document]:
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise DataError(
                f"the file is larger than {_LARGEST_FILE:,} bytes",
                code="file-too-large",
                file=path,
                hint=_FEWER,
            )
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if data.startswith(b"%PDF-") or (path.suffix.lower() == ".pdf" and b"%PDF-" in data[:1024]):
        return [_from_pdf(path, on_note)]
    if b"\0" in data[: 64 * 1024]:
        raise _BinaryError("the document is binary, not text", code="document-binary", file=path, hint=_HINT)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"the document is not UTF-8: byte 0x{data[error.start]:02x}",
            code="not-utf8",
            file=path,
            line=line,
            hint="convert it, for instance with `iconv -f latin1 -t utf-8`",
        ) from error
    if path.suffix.lower() in _RECORDS:
        return [each for each in _records(text, path) if each.text.strip()]
    text = _from_html(text) if path.suffix.lower() in _MARKUP else text
    clean = plain(text)
    return [Document(name=str(path), text=clean)] if clean.strip() else []


def _from_pdf(path: Path, on_note: Callable[[str], None]) -> Document:
    text, pages, empty = pdf_text(path)
    if empty > _MOSTLY_EMPTY * pages:
        on_note(f"{path}: {empty:,} of {pages:,} pages hold no text; `ocrmypdf` adds that of scanned pages")
    return Document(name=str(path), text=plain(text))


def plain(text: str) -> str:
    """Return a text with line feeds as line ends, and with control characters replaced by spaces."""
    return _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))


def _records(text: str, path: Path) -> Iterator[Document]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError("the line is not JSON", code="not-json", file=path, line=number) from error
        parts = list(_texts(tree, 0))
        yield Document(name=f"{path}:{number}", text=plain("\n".join(parts)))


def _texts(tree: object, depth: int) -> Iterator[str]:
    if depth > _DEPTH:
        return
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _texts(value, depth + 1)
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value, depth + 1)


class _Words(HTMLParser):
    """Collects the visible text of a page; block elements end a line."""

    _HIDDEN = frozenset({"script", "style", "template", "noscript", "head"})
    _BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "section"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 -- HTMLParser's signature
        self._hidden += tag in self._HIDDEN
        if tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in self._HIDDEN))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def _from_html(text: str) -> str:
    words = _Words()
    words.feed(text)
    words.close()
    return re.sub(r"\n\s*\n+", "\n\n", "".join(words.parts))
