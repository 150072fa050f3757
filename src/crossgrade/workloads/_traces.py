"""Request traces: when requests came and how large they were, without texts. A million rows take a second.

Read are CSV with a header (Azure's public traces, or any with the columns below), JSON lines with the
same fields (the gateway's request log, Mooncake's traces). Mooncake's `hash_ids` are blocks of prompt:
leading blocks that came before would have been in an unlimited prefix cache.
"""

import csv
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from crossgrade.domain import MOST_TOKENS
from crossgrade.errors import DataError, unreadable
from crossgrade.pricing.usage import DAYS_PER_MONTH, IntColumn, Traffic, UsageColumns

_INPUT = ("contexttokens", "input_tokens", "input_length", "prompt_tokens", "request tokens")
_OUTPUT = ("generatedtokens", "output_tokens", "output_length", "completion_tokens", "response tokens")
_CACHED = ("cache_read_input_tokens", "cached_tokens")
_TIME = ("timestamp", "at", "time", "created_at")
_BLOCK_TOKENS = 512
_MOST_ROWS = 50_000_000
_LARGEST_BYTES = 4 << 30
_SECONDS_PER_MONTH = DAYS_PER_MONTH * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The requests of a trace in the order of the file, and the time between first and last.

    `duration_s` None: the trace has no times. `cached` says where cache reads are from: the trace
    itself (`reported`), shared prefixes (`prefixes`), or nowhere (`unknown`).
    """

    usage: UsageColumns
    duration_s: float | None
    cached: str
    source: str

    def traffic(self) -> Traffic:
        """Return a month of the trace, at its own rate."""
        calls, how = self._calls_per_month()
        source = f"{self.source}: {how}"
        return Traffic(usage=self.usage, calls_per_month=calls, measured=True, source=source)

    def _calls_per_month(self) -> tuple[Decimal | None, str]:
        n = len(self.usage)
        if self.duration_s is None or self.duration_s <= 0 or n < 2:
            return None, f"{n:,} calls, at an unknown rate"
        # n calls have n - 1 gaps between them.
        rate = Decimal(n - 1) / Decimal(repr(self.duration_s))
        minutes = self.duration_s / 60
        return (
            rate * _SECONDS_PER_MONTH,
            f"{n:,} calls in {minutes:,.0f} minutes; the month is assumed to go on at this rate",
        )


def read_trace(path: Path) -> Trace:
    """Read a trace. Raises `DataError` with file and line for rows that are not requests."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DataError(
                f"larger than {_LARGEST_BYTES >> 30} GiB",
                code="file-too-large",
                file=path,
                hint="cut the trace",
            )
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise unreadable(path, error, hint="name an existing file") from error
    trace = _read_jsonl(path) if first == b"{" else _read_csv(path)
    if not len(trace.usage):
        raise DataError(
            "the trace has no requests", code="trace-empty", file=path, hint="a header and a line a request"
        )
    return trace


def _read_csv(path: Path) -> Trace:
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        head = [name.strip().lower() for name in next(csv.reader(file), [])]
    places = [_place(head, names) for names in (_INPUT, _OUTPUT, _CACHED)]
    if places[0] is None or places[1] is None:
        wanted = f"{_INPUT[1]} and {_OUTPUT[1]}"
        seen = ", ".join(head[:12])[:120] or "none"
        hint = f"name two of its columns so; they are: {seen}"
        raise DataError(f"no columns with {wanted}", code="trace-columns", file=path, line=1, hint=hint)
    used = [place for place in places if place is not None]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")  # said as an error below
            columns = np.loadtxt(
                path, np.int64, delimiter=",", skiprows=1, usecols=used, ndmin=2, quotechar='"', comments=None
            )
    except (ValueError, OverflowError) as error:
        raise _wrong_row(path, used) from error
    paid, answered, *cached = columns.T
    _check(path, columns)
    when = _place(head, _TIME)
    return Trace(
        usage=UsageColumns.from_tokens(paid, answered, cached=cached[0] if cached else None),
        duration_s=None if when is None else _duration(path, when),
        cached="reported" if cached else "unknown",
        source=path.name,
    )


def _place(head: Sequence[str], names: Sequence[str]) -> int | None:
    return next((head.index(name) for name in names if name in head), None)


def _check(path: Path, columns: IntColumn) -> None:
    """Refuse counts that cannot be, with their line."""
    wrong = np.flatnonzero(((columns < 0) | (columns > MOST_TOKENS)).any(axis=1))
    if len(wrong):
        row = int(wrong[0])
        seen = ", ".join(map(str, columns[row].tolist()))
        hint = f"counts are 0 to {MOST_TOKENS:,} tokens"
        raise DataError(
            f"token counts {seen}", code="trace-tokens-invalid", file=path, line=row + 2, hint=hint
        )


def _wrong_row(path: Path, used: Sequence[int]) -> DataError:
    """Return the error of the first row whose counts are not whole numbers."""
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        reader = csv.reader(file)
        next(reader, None)
        for row in reader:
            cells = [row[place] if place < len(row) else "" for place in used]
            if row and not all(cell.strip().isdecimal() for cell in cells):
                seen = ", ".join(repr(cell[:40]) for cell in cells)
                return DataError(
                    f"token counts {seen}, whole numbers are expected",
                    code="trace-tokens-invalid",
                    file=path,
                    line=reader.line_num,
                    hint="leave out requests without token counts",
                )
    return DataError("a row is not CSV with whole token counts", code="trace-row-invalid", file=path)


def _duration(path: Path, place: int) -> float | None:
    """Return the seconds between the first and the last row; traces are in order of time."""
    with path.open("rb") as file:
        next(file)
        first = file.readline()
        size = path.stat().st_size
        file.seek(max(file.tell() - len(first), size - 65_536))
        last = [line for line in file.read().splitlines() if line.strip()][-1]
    ends = [_time(next(csv.reader([line.decode("utf-8", "replace")]))[place]) for line in (first, last)]
    start, end = ends
    return None if start is None or end is None or end <= start else end - start


def _time(cell: Any) -> float | None:
    """Return seconds; a bare number is seconds, a text is ISO 8601 (UTC where it says no zone)."""
    if isinstance(cell, int | float):
        return float(cell)
    text = str(cell).strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_jsonl(path: Path) -> Trace:
    rows: list[tuple[int, int, int]] = []
    ends: list[float] = []
    prefixes = _Prefixes()
    is_mooncake = False
    for line, row in _json_rows(path):
        counts = [_count(path, line, row, names) for names in (_INPUT, _OUTPUT, _CACHED)]
        paid, answered, cached = counts
        if row.get("shadow") or paid is None or answered is None:
            continue  # a copy of the gateway's own, or a request that failed
        if isinstance(row.get("hash_ids"), list):
            is_mooncake, cached = True, min(paid, prefixes.hit(row["hash_ids"]) * _BLOCK_TOKENS)
        rows.append((paid, answered, -1 if cached is None else cached))
        when = _time(next((row[name] for name in _TIME if name in row), None))
        if when is not None:
            ends = [min(ends[0], when), max(ends[1], when)] if ends else [when, when]
    columns = np.array(rows, np.int64).reshape(-1, 3)
    known = bool((columns[:, 2] >= 0).any())
    # Mooncake counts milliseconds.
    seconds = (ends[1] - ends[0]) / (1000 if is_mooncake else 1) if ends else None
    return Trace(
        usage=UsageColumns.from_tokens(columns[:, 0], columns[:, 1], cached=columns[:, 2] if known else None),
        duration_s=seconds,
        cached="prefixes" if is_mooncake else "reported" if known else "unknown",
        source=path.name,
    )


class _Prefixes:
    """Blocks of prompts that came before, each known by the id of the prefix that it ends."""

    def __init__(self) -> None:
        self._seen: set[Any] = set()

    def hit(self, blocks: Sequence[Any]) -> int:
        """Return how many leading blocks came before, and remember all of them."""
        known = next((at for at, block in enumerate(blocks) if block not in self._seen), len(blocks))
        self._seen.update(blocks)
        return known


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number > _MOST_ROWS:
                raise DataError(
                    f"more than {_MOST_ROWS:,} rows", code="too-many-rows", file=path, hint="cut the trace"
                )
            if line.strip():
                try:
                    row = decode(line)
                except (msgspec.DecodeError, RecursionError) as error:
                    raise DataError(
                        f"not a JSON object: {error}", code="not-json", file=path, line=number
                    ) from error
                yield number, {key.lower(): value for key, value in row.items()}


def _count(path: Path, line: int, row: dict[str, Any], names: Sequence[str]) -> int | None:
    value = next((row[name] for name in names if name in row), None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"a token count is {str(value)[:40]!r}, a whole number is expected"
        raise DataError(message, code="trace-tokens-invalid", file=path, line=line)
    if not 0 <= value <= MOST_TOKENS:
        hint = f"counts are 0 to {MOST_TOKENS:,} tokens"
        raise DataError(
            f"a token count is {value}", code="trace-tokens-invalid", file=path, line=line, hint=hint
        )
    return value
