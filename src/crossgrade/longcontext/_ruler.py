"""Computes RULER's weighted averages and effective length from a table of scores.

Source: NVIDIA/RULER (arXiv 2404.06654). The bar is 85.6, the score of Llama-2-7B-chat at 4K. The effective
length is the longest tested length whose score is at least the bar. The weighted averages give the lengths,
in rising order, the weights 1, 2, 3 … ("inc") or the reverse ("dec"). Four rows of the published table do
not follow this rule. Here every row is computed from its scores.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from crossgrade.errors import DataError, unreadable

BAR = 85.6
_MOST_BYTES = 16 * 2**20
_LENGTH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKmM]?)\s*")
_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}


@dataclass(frozen=True, slots=True, kw_only=True)
class RulerRow:
    """One model's scores (0 to 100) by length in tokens, their averages and its effective length.

    `effective_tokens` is None if every score is below the bar. `longest_tested` is true if it is the
    longest tested length, so that the effective length may be longer.
    """

    model: str
    claimed: str | None
    effective_tokens: int | None
    longest_tested: bool
    average: float
    weighted_increasing: float
    weighted_decreasing: float
    scores: dict[int, float]


def ruler_table(path: Path, *, bar: float = BAR) -> tuple[RulerRow, ...]:
    """Read a CSV file with the columns `model,length,score[,claimed]`, and compute RULER's averages.

    Lengths are written like `4096`, `4k` or `1M`, scores from 0 to 100. Raises `DataError` with the line
    of an invalid or repeated row.
    """
    scores: dict[str, dict[int, float]] = {}
    claims: dict[str, str] = {}
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(
                f"the table is larger than {_MOST_BYTES:,} bytes", code="file-too-large", file=path
            )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text: {error}", code="not-utf8", file=path) from error
    reader = csv.DictReader(lines)
    if not {"model", "length", "score"} <= set(reader.fieldnames or ()):
        raise DataError(
            "the columns model, length and score are expected", code="ruler-columns", file=path, line=1
        )
    try:
        for row in reader:
            _take(row, scores, claims, path, reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"this is no CSV: {error}", code="not-csv", file=path, line=reader.line_num
        ) from error
    if not scores:
        raise DataError("the table has no row of scores", code="ruler-empty", file=path, line=1)
    return tuple(
        ruler_row(model, dict(sorted(each.items())), claims.get(model), bar=bar)
        for model, each in scores.items()
    )


def _take(
    row: dict[str, str], scores: dict[str, dict[int, float]], claims: dict[str, str], path: Path, line: int
) -> None:
    found = _LENGTH.fullmatch(row["length"] or "")
    try:
        score = float(row["score"])
    except (TypeError, ValueError):
        score = -1.0
    if found is None or not 0 <= score <= 100 or not row["model"]:
        raise DataError(
            f"model {row['model']!r}, length {row['length']!r}, score {row['score']!r}: "
            "a length is 4096, 4k or 1M, a score 0 to 100",
            code="ruler-row-invalid",
            file=path,
            line=line,
        )
    tokens = round(float(found[1]) * _UNITS[found[2].lower()])
    if not tokens or None in row:
        raise DataError(
            "a length of nought, or more fields than columns", code="ruler-row-invalid", file=path, line=line
        )
    lengths = scores.setdefault(row["model"], {})
    if tokens in lengths:
        raise DataError(
            f"model {row['model']!r} has two scores at {tokens:,} tokens",
            code="ruler-row-repeated",
            file=path,
            line=line,
        )
    lengths[tokens] = score
    if row.get("claimed"):
        claims[row["model"]] = row["claimed"]


def ruler_row(
    model: str, scores: dict[int, float], claimed: str | None = None, *, bar: float = BAR
) -> RulerRow:
    """Return RULER's averages and effective length from scores (0 to 100) by length, in rising order."""
    values = list(scores.values())
    weights = range(1, len(values) + 1)
    total = sum(weights)
    good = [tokens for tokens, score in scores.items() if score >= bar]
    return RulerRow(
        model=model,
        claimed=claimed,
        effective_tokens=max(good, default=None),
        longest_tested=bool(good) and max(good) == max(scores),
        average=sum(values) / len(values),
        weighted_increasing=sum(w * v for w, v in zip(weights, values, strict=True)) / total,
        weighted_decreasing=sum(w * v for w, v in zip(reversed(weights), values, strict=True)) / total,
        scores=scores,
    )
