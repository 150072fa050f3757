"""Reads and writes dated rates as CSV, the same format for the package's rates and a team's own.

A row is an observation of an offer on a day. Rows are added and never changed: a new price or a
delisting is a new row.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from crossgrade.domain import Price
from crossgrade.errors import DataError, unreadable

LARGEST_FILE = 64 << 20
MOST_ROWS = 500_000
_EVENTS = frozenset({"first-seen", "change", "extras", "delisted", "relisted", "dated-change", "facts"})
_MOST_USD = Decimal(1_000_000)
_CURRENCIES = frozenset({"", "USD", "usd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """An observation of an offer on a day. None is unknown.

    Prices are in US dollars per million tokens, except `request_usd` and `image_usd`, which are per
    request and per image. `seen_on` is the first day on which the rate was seen, `not_before` the last
    day on which a different one was. Each of `tiers` is (start in input tokens, input, output, cache
    read). A row with the event `delisted` has no prices. A row with the event `facts` leaves the prices
    unchanged.
    """

    seen_on: date
    provider: str
    model: str
    event: str = "first-seen"
    not_before: date | None = None
    kind: str | None = None
    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    batch_input: Decimal | None = None
    batch_output: Decimal | None = None
    request_usd: Decimal | None = None
    image_usd: Decimal | None = None
    tiers: tuple[tuple[int, Decimal, Decimal, Decimal | None], ...] = ()
    context_tokens: int | None = None
    precision: str | None = None
    retires_on: date | None = None
    source: str = ""

    @property
    def has_price(self) -> bool:
        """Return whether the row has a price."""
        return self.input is not None

    def price(self) -> Price:
        """Return the row as a price, valid from `seen_on`."""
        return Price(
            input_per_mtok=self.input,
            output_per_mtok=self.output,
            cache_read_per_mtok=self.cached_input,
            cache_creation_per_mtok=self.cache_write,
            reasoning_per_mtok=self.reasoning,
            request_usd=self.request_usd or Decimal(0),
            image_usd=self.image_usd,
            batch_discount=self._batch_discount(),
            valid_from=self.seen_on,
            source=self.source,
            tiers=tuple(
                (
                    start,
                    Price(
                        input_per_mtok=input_price,
                        output_per_mtok=output_price,
                        cache_read_per_mtok=read,
                        cache_creation_per_mtok=None,
                    ),
                )
                for start, input_price, output_price, read in self.tiers
            ),
        )

    def _batch_discount(self) -> Decimal | None:
        """Return the share (0 to 1) that batch takes off both prices, or None if unknown or not the same."""
        if not self.input or not self.output or self.batch_input is None or self.batch_output is None:
            return None
        share = 1 - self.batch_input / self.input
        return share if share == 1 - self.batch_output / self.output and 0 <= share <= 1 else None


COLUMNS = tuple(each.name for each in fields(Rate))


@lru_cache(maxsize=1)
def packaged_rates() -> tuple[Rate, ...]:
    """Return the packaged rates. Their sources are in src/crossgrade/data/catalog/README.md."""
    text = (files("crossgrade") / "data" / "catalog" / "rates.csv").read_text(encoding="utf-8")
    return tuple(_read(text, "rates.csv"))


def read_rates(path: Path) -> tuple[Rate, ...]:
    """Read a file of rates. Raises `DataError` with file, line and column."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(
                f"larger than {LARGEST_FILE >> 20} MiB",
                code="file-too-large",
                file=path,
                hint="is it a file of rates?",
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise unreadable(path, error, hint="check `price_files` in crossgrade.yaml") from error
    except UnicodeDecodeError as error:
        raise DataError(
            "not UTF-8 text", code="not-utf8", file=path, hint="`crossgrade catalog import` writes it"
        ) from error
    return tuple(_read(text, path))


def rates_to_csv(rates: Iterable[Rate], *, head: bool = True) -> str:
    """Return rates as CSV text, with a header line if `head`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if head:
        writer.writerow(COLUMNS)
    for rate in rates:
        writer.writerow([_written(name, getattr(rate, name)) for name in COLUMNS])
    return out.getvalue()


def _read(text: str, file: str | Path) -> Iterator[Rate]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = [name.strip() for name in next(lines, [])]
        _check_head(head, file)
        for line in lines:
            if lines.line_num > MOST_ROWS:
                raise DataError(
                    f"more than {MOST_ROWS:,} lines", code="too-many-rows", file=file, hint="split the file"
                )
            if line:
                yield _rate(dict(zip(head, line, strict=False)), file, lines.line_num)
    except csv.Error as error:
        raise DataError(f"not CSV: {error}", code="not-csv", file=file, line=lines.line_num) from error


def _check_head(head: Sequence[str], file: str | Path) -> None:
    missing = [name for name in ("seen_on", "provider", "model") if name not in head]
    unknown = [name for name in head if name not in (*COLUMNS, "currency")]
    if missing or unknown:
        what = f"no column {', '.join(missing)}" if missing else f"unknown column {unknown[0][:60]!r}"
        raise DataError(
            what, code="rate-columns", file=file, line=1, hint=f"the columns are {', '.join(COLUMNS)}"
        )


def _rate(cells: Mapping[str, str], file: str | Path, line: int) -> Rate:
    found: dict[str, Any] = {}
    for name, cell in cells.items():
        text = cell.strip()
        if name == "currency":
            if text not in _CURRENCIES:
                message = f"the currency is {text[:20]!r}; prices are in US dollars"
                raise DataError(
                    message,
                    code="currency-unknown",
                    file=file,
                    line=line,
                    where=name,
                    hint="convert it, and say the day",
                )
        elif text:
            try:
                found[name] = _parse(name, text)
            except InvalidOperation as error:
                message = f"{name} is {text[:60]!r}, a number is expected"
                raise DataError(message, code="rate-invalid", file=file, line=line, where=name) from error
            except ValueError as error:
                message = f"{name} is {text[:60]!r}: {error}"
                raise DataError(message, code="rate-invalid", file=file, line=line, where=name) from error
    if missing := [name for name in ("seen_on", "provider", "model") if name not in found]:
        raise DataError(f"{missing[0]} is empty", code="rate-missing", file=file, line=line, where=missing[0])
    return Rate(**found)


def _parse(name: str, text: str) -> Any:
    if name in {"seen_on", "not_before", "retires_on"}:
        return date.fromisoformat(text)
    if name == "context_tokens":
        return _positive(text)
    if name == "tiers":
        return tuple(_tier(part) for part in text.split(";"))
    if name == "event" and text not in _EVENTS:
        raise ValueError(f"one of {', '.join(sorted(_EVENTS))} is expected")
    return text if name in {"event", "kind", "precision", "source", "provider", "model"} else _amount(text)


def _tier(text: str) -> tuple[int, Decimal, Decimal, Decimal | None]:
    start, _, prices = text.partition(":")
    amounts = [_amount(part) if part else None for part in prices.split("/")]
    input_price, output_price, read, *more = [*amounts, None, None, None][: max(3, len(amounts))]
    if input_price is None or output_price is None or more:
        raise ValueError("a tier is START:INPUT/OUTPUT[/CACHE READ]")
    return _positive(start), input_price, output_price, read


def _amount(text: str) -> Decimal:
    amount = Decimal(text)
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        raise ValueError(f"dollars from 0 to {_MOST_USD:,} are expected")
    return amount


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise ValueError("a number above 0 is expected")
    return number


def _written(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "tiers":
        return ";".join(
            f"{start}:" + "/".join("" if each is None else f"{each:f}" for each in prices)
            for start, *prices in value
        )
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
