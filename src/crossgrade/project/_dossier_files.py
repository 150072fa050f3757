"""Files that statements refer to: their digests, whether they are still those, and what model cards say."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from crossgrade.config import parse_yaml
from crossgrade.domain import Attachment, Dossier, DossierFact, DossierFinding, Statement
from crossgrade.errors import ConfigError
from crossgrade.project._export_folder import open_plain

MAX_ATTACHMENT_BYTES = 256 << 20
MAX_CARD_BYTES = 1 << 20
_BLOCK = 1 << 20
_CARD_FIELD = 4
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_CARD_KEYS = ("license", "base_model", "datasets", "language", "pipeline_tag", "library_name")
_LONGEST = 300

EarlierDossiers: TypeAlias = Callable[[str], Iterable[Dossier]]


@dataclass(slots=True)
class ReadFiles:
    """What the files of statements gave, by the statement's place: see `evidence.DossierInput`."""

    attachments: dict[int, Attachment] = field(default_factory=dict)
    facts: dict[int, tuple[DossierFact, ...]] = field(default_factory=dict)
    broken: dict[int, str] = field(default_factory=dict)
    findings: list[DossierFinding] = field(default_factory=list)


def read_files(statements: Sequence[Statement], root: Path, earlier: EarlierDossiers) -> ReadFiles:
    """Read the files of statements. `earlier` gives the dossiers of the workload with a file, oldest first.

    A file that is gone, or is another one than was stated, breaks its statement, and is a finding.
    """
    read = ReadFiles()
    for at, each in enumerate(statements):
        if each.file is not None:
            _read_file(at, each, each.file.relative_to(root), earlier, read, file=each.file)
    return read


def _read_file(
    at: int, statement: Statement, path: Path, earlier: EarlierDossiers, read: ReadFiles, *, file: Path
) -> None:
    name = path.as_posix()
    try:
        digest, size, start = _digest(file)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        _break(at, statement, "attachment-missing", f"{name} cannot be read ({why or error})", read)
        return
    stated = statement.sha256 or _first_digest(statement, name, earlier)
    if stated is not None and stated != digest:
        message = f"{name} has changed since {statement.author} stated it on {statement.date}"
        _break(at, statement, "attachment-changed", message, read)
        return
    read.attachments[at] = Attachment(path=name, sha256=digest, size_bytes=size)
    if statement.field == _CARD_FIELD and file.suffix.lower() in {".md", ".markdown"}:
        read.facts[at] = tuple(_card(start, file, statement.model))


def _break(at: int, statement: Statement, code: str, message: str, read: ReadFiles) -> None:
    read.broken[at] = f"{message}: its statement does not count"
    read.findings.append(DossierFinding(code=code, field=statement.field, text=message))


def _digest(file: Path) -> tuple[str, int, bytes]:
    """Return a file's SHA-256, size and first bytes. Raises OSError or ValueError if it is no plain file."""
    if not file.is_file():
        raise ValueError("there is no such file")
    found, size, start = sha256(), 0, b""
    with open_plain(file) as content:
        while block := content.read(_BLOCK):
            start = start or block
            size += len(block)
            if size > MAX_ATTACHMENT_BYTES:
                raise ValueError(f"it has more than {MAX_ATTACHMENT_BYTES >> 20} MiB")
            found.update(block)
    return found.hexdigest(), size, start


def _first_digest(statement: Statement, name: str, earlier: EarlierDossiers) -> str | None:
    """Return the digest that the file had in the first dossier that has the statement, None without one."""
    for dossier in earlier(name):
        found = dossier.field(statement.field)
        has_it = any(
            fact.label == "stated"
            and fact.text.startswith(statement.clause)
            and fact.text.endswith(statement.source)
            for fact in found.facts
        )
        digests = [each.sha256 for each in found.attachments if each.path == name]
        if has_it and digests:
            return digests[0]
    return None


def _card(start: bytes, file: Path, model: str | None) -> Iterator[DossierFact]:
    """Yield what the front matter of a model card says. Prose says nothing that could be read for certain."""
    label = "model card"
    text = start[:MAX_CARD_BYTES].decode(errors="replace")
    found = _FRONT.match(text)
    if found is None:
        yield DossierFact(
            label=label, text="prose without metadata: attached, and nothing is read from it", model=model
        )
        return
    try:
        data = parse_yaml(found[1], file).data
    except ConfigError as error:
        yield DossierFact(
            label=label, text=f"its metadata cannot be read ({error.message}): attached as it is", model=model
        )
        return
    if not isinstance(data, Mapping):
        yield DossierFact(label=label, text="its metadata is no mapping: attached as it is", model=model)
        return
    for key in _CARD_KEYS:
        if key in data:
            yield DossierFact(label=f"card: {key}", text=_short(data[key]), model=model)
    yield from _card_results(data, model)


def _card_results(data: Mapping[str, Any], model: str | None) -> Iterator[DossierFact]:
    """Yield how many results the provider states; its own figures certify nothing here."""
    index = data.get("model-index")
    results = [
        result
        for each in (index if isinstance(index, list) else [])
        if isinstance(each, Mapping) and isinstance(each.get("results"), list)
        for result in each["results"]
    ]
    if results:
        yield DossierFact(
            label="card: model-index",
            text=f"{len(results)} results of the provider's own, which certify nothing here",
            model=model,
        )


def _short(value: object) -> str:
    items = value if isinstance(value, list) else [value]
    text = ", ".join(" ".join(str(each).split()) for each in items)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
