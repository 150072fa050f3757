"""Logs read request by request in bounded memory; what cannot be read is counted and shown, never fatal."""

import csv
import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, starmap
from pathlib import Path
from typing import Any

import msgspec

from crossgrade.errors import DataError
from crossgrade.workloads.files import FileLimits, Lines, read_whole
from crossgrade.workloads.traffic.formats import LogFormat, azure, recognise, unpack
from crossgrade.workloads.traffic.parts import LogPart, ReadingOptions, file_kind, log_parts, parquet_source
from crossgrade.workloads.traffic.remote import is_remote, remote_files
from crossgrade.workloads.traffic.request import BadValueError, LoggedRequest

MIB = 1 << 20
LIMITS = FileLimits(line_bytes=16 * MIB, document_bytes=64 * MIB, total_bytes=1 << 50)
_EXAMPLES = 3
_MOST_FILES = 100_000
_MOST_PENDING = 50_000
_OF_A_SCAN = {"schema_version", "findings", "prices_on"}
_decode = msgspec.json.Decoder().decode


@dataclass(slots=True)
class Problems:
    """What could not be read: how often each kind came, and where its first ones stood."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[tuple[str, int | None, str]]] = field(default_factory=dict)

    @property
    def examples(self) -> dict[str, list[str]]:
        """The first ones of each kind in words: file, line and what was seen."""
        return {
            kind: [
                f"{name if line is None else f'{name}:{line}'} {seen}".rstrip() for name, line, seen in each
            ]
            for kind, each in self.places.items()
        }

    def add(self, kind: str, path: Path, line: int | None, seen: str = "") -> None:
        """Count one."""
        self.counts[kind] += 1
        shown = self.places.setdefault(kind, [])
        if len(shown) < _EXAMPLES:
            shown.append((path.name, line, seen[:160]))

    def merge(self, other: "Problems", lines_before: int) -> None:
        """Count those of a part of the log that follows, which begins after so many lines of its file."""
        self.counts += other.counts
        for kind, found in other.places.items():
            shown = self.places.setdefault(kind, [])
            for name, line, seen in found[: _EXAMPLES - len(shown)]:
                shown.append((name, None if line is None else line + lines_before, seen))


@dataclass(slots=True, kw_only=True)
class Reading:
    """Files to read as one log; iterate `requests` once. `rows` counts the records of each format."""

    files: Sequence[Path]
    options: ReadingOptions = field(default_factory=ReadingOptions)
    problems: Problems = field(default_factory=Problems)
    rows: Counter[str] = field(default_factory=Counter)
    _lines: Counter[int] = field(default_factory=Counter)

    def requests(self) -> Iterator[tuple[int, LoggedRequest]]:
        """Yield every request with the number of its file; the order is the same each time."""
        for part in log_parts(self.files, self.options):
            reader = PartReader(part, self.options)
            for request in reader.requests():
                yield part.file, request
            self.count(part.file, reader.counted)

    def count(self, file: int, counted: "PartCounts") -> None:
        """Count what was read of a file's next part."""
        self.problems.merge(counted.problems, self._lines[file])
        self.rows += counted.rows
        self._lines[file] += counted.lines


@dataclass(slots=True, kw_only=True)
class PartCounts:
    """What was read of a part: records of each format, problems, and lines if it is a stretch of lines."""

    rows: Counter[str] = field(default_factory=Counter)
    problems: Problems = field(default_factory=Problems)
    lines: int = 0


def log_files(sources: Iterable[str | Path]) -> list[Path]:
    """Return the files that paths, folders and globs name, sorted, each once.

    Raises `DataError` for a source that names none.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if is_remote(source):
            named = remote_files(str(source))
        elif path.is_dir():
            inside = [each for each in path.rglob("*") if each.is_file()]
            named = sorted(each for each in inside if not _is_hidden(each.relative_to(path)))
        elif path.is_file():
            named = [path]
        else:
            matches = glob.iglob(str(source), recursive=True)  # noqa: PTH207 -- Path.glob takes no absolute one
            named = sorted(path for path in map(Path, matches) if path.is_file())
        if not named:
            raise DataError(
                "there is no such file or folder",
                code="file-missing",
                file=path,
                hint="check the path or pattern",
            )
        found.update(dict.fromkeys(named))
        if len(found) > _MOST_FILES:
            raise DataError(
                f"more than {_MOST_FILES:,} files", code="too-many-files", file=path, hint="name fewer files"
            )
    return list(found)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


class PartReader:
    """The requests of a part of a log, each row recognised by itself, so that formats may be mixed.

    Iterate `requests` once; then `counted` says what was read.
    """

    def __init__(self, part: LogPart, options: ReadingOptions) -> None:
        self.counted = PartCounts()
        self._part = part
        self._path = part.path
        self._options = options
        self._named = options.named
        self._format: LogFormat | None = self._named
        self._split: dict[str, list[Mapping[str, Any]]] = {}

    def requests(self) -> Iterator[LoggedRequest]:
        """Yield the requests; what cannot be read is counted."""
        rows, model = self.counted.rows, self._options.model
        read = chain.from_iterable(starmap(self._read, self._rows()))
        try:
            for request in chain(read, self._pending()):
                rows[request.format] += 1
                if request.model is None:
                    request.model = model
                yield request
        except DataError as error:
            self._problem("file cut short", None, str(error.args[0] if error.args else error))

    def _pending(self) -> Iterator[LoggedRequest]:
        """Yield the requests whose last row was not known to be the last."""
        for identifier in list(self._split):
            yield from self._whole(identifier)

    def _problem(self, kind: str, line: int | None, seen: str = "") -> None:
        self.counted.problems.add(kind, self._path, line, seen)

    def _rows(self) -> Iterator[tuple[int, Any]]:
        kind = file_kind(self._path)
        if kind == "utf-16":
            self._problem("not UTF-8", None, "UTF-16 text")
        elif kind == "parquet":
            yield from self._parquet_rows()
        elif kind == "empty":
            self._problem("empty file", None)
        elif kind == "binary":
            self._problem("not a log", None, "binary data")
        elif kind == "document":
            yield from self._document_rows()
        elif kind == "lines":
            yield from self._line_rows()
        else:
            yield from self._csv_rows()

    def _line_rows(self) -> Iterator[tuple[int, Any]]:
        too_long = f"record over {LIMITS.line_bytes // MIB} MiB"
        part = self._part
        lines = Lines(
            self._path, LIMITS, lambda line: self._problem(too_long, line), start=part.start, end=part.end
        )
        for line, data in lines:
            try:
                value = _decode(data)
            except RecursionError:
                self._problem("nested too deep", line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._problem("not JSON", line, str(error))
            else:
                for row in unpack(value, self._options.formats):
                    yield line, row
        self.counted.lines = lines.count

    def _document_rows(self) -> Iterator[tuple[int, Any]]:
        if (self._path.stat().st_size or 0) > LIMITS.document_bytes:
            self._problem("document too large", None, "write it as JSON lines")
            return
        try:
            value = _decode(read_whole(self._path, LIMITS))
        except RecursionError:
            self._problem("nested too deep", None)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield from self._line_rows()  # perhaps some of its lines are whole
        else:
            yield from enumerate(unpack(value, self._options.formats), start=1)

    def _csv_rows(self) -> Iterator[tuple[int, Any]]:
        csv.field_size_limit(LIMITS.line_bytes)
        lines = (
            data.decode("utf-8", "replace").replace("\0", "") + "\n"
            for _, data in Lines(self._path, LIMITS, lambda line: self._problem("line too long", line))
        )
        reader = csv.reader(lines)
        header = [name.strip() for name in next(reader, [])]
        if self._named is None and recognise(dict.fromkeys(header), self._options.formats) is None:
            self._problem("not a log", None, f"columns {', '.join(header[:6])}")
            return
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._problem("not CSV", reader.line_num, str(error))
                continue
            if len(row) != len(header):
                self._problem("wrong number of cells", reader.line_num, f"{len(row)} for {len(header)}")
            else:
                yield reader.line_num, dict(zip(header, row, strict=True))

    def _parquet_rows(self) -> Iterator[tuple[int, Any]]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError:
            self._problem("Parquet without its extra", None, "pip install 'crossgrade[parquet]'")
            return
        start, end, number = self._part.start, self._part.end, 0
        try:
            with parquet_source(self._path) as source, ParquetFile(source) as file:
                groups = range(start, file.num_row_groups if end is None else end)
                number = sum(file.metadata.row_group(at).num_rows for at in range(start))
                for batch in file.iter_batches(batch_size=4096, row_groups=groups):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, _without_dates(row)
        except (ArrowException, OSError) as error:
            self._problem("damaged Parquet", number, str(error))

    def _read(self, line: int, row: Any) -> Sequence[LoggedRequest]:
        """Return the requests of a row; what cannot be read is counted."""
        if not isinstance(row, dict):
            self._problem("no record", line, type(row).__name__)
            return ()
        if self._named is None and row.keys() >= _OF_A_SCAN:  # its sums are no usage export
            self._problem("not a log", line, "a scan that `--output` wrote")
            return ()
        found = self._format
        if self._named is None and (found is None or not found.marks or not found.knows(row)):
            found = self._format = recognise(row, self._options.formats)
        if found is None:
            self._problem("unknown format", line, f"fields {', '.join(map(str, list(row)[:6]))}")
            return ()
        try:
            if found.read is not None:
                request = found.read(row, texts=self._options.texts)
                return () if request is None else (request,)
            return found.whole(row) if found.whole is not None else [*self._piece(row)]
        except BadValueError as error:
            self._problem("impossible value", line, str(error))
        except (TypeError, ValueError, OverflowError, RecursionError, AttributeError) as error:
            self._problem("unreadable record", line, f"{type(error).__name__}: {error}")
        return ()

    def _piece(self, row: Mapping[str, Any]) -> Iterator[LoggedRequest]:
        """Keep a part of a request that is spread over rows, in any order, until the file ends."""
        identifier = str(row.get("CorrelationId"))
        self._split.setdefault(identifier, []).append(row)
        if len(self._split) > _MOST_PENDING:
            yield from self._whole(next(iter(self._split)))

    def _whole(self, identifier: str) -> Iterator[LoggedRequest]:
        try:
            yield azure(self._split.pop(identifier), texts=self._options.texts)
        except BadValueError as error:
            self._problem("impossible value", None, f"{identifier}: {error}")


def _without_dates(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
