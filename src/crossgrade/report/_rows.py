"""Figures that are rows of a page, a name, a bar and its number, so that they fit any width and any name."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crossgrade.decide import Certificate, EvidencePoint
from crossgrade.report import _format as fmt
from crossgrade.report._chart import linear_ticks, spark
from crossgrade.report._view import WHOLE

MOST_ROWS = 400
MOST_OPEN = 60
"""Rows that stand open on the page; what is further down is folded."""
MOST_PATHS = 12
_LEAST_E, _MOST_E = 1e-4, 10.0
_STATES = {
    "certified": "certified",
    "below": "below the floor",
    "open": "neither shown",
    "out": "left out by a check of the evidence, or only for reading",
    "reading": "for reading only: nothing is certified by group",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An entry of a legend: the colour's class, the shape that has it, and what it means."""

    kind: str
    words: str
    shape: str = "bar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: its bar lies from `start` over `width`, its mark at `at`, all in per cent of the track.

    `remark` stands under the name. `over` says that the mark stands beyond the right end. `drawing` takes
    the place of the bar.
    """

    name: str
    kind: str
    words: str
    small: str = ""
    remark: str = ""
    start: float = 0.0
    width: float = 0.0
    at: float | None = None
    strong: bool = False
    inside: bool = False
    over: bool = False
    drawing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A figure made of rows over one axis; `line` is where the floor stands, in per cent."""

    rows: tuple[Row, ...]
    keys: tuple[Key, ...]
    axis: str = ""
    ticks: tuple[tuple[float, str], ...] = ()
    line: float | None = None
    line_words: str = ""
    note: str = ""

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows that stand open."""
        return self.rows[:MOST_OPEN]

    @property
    def folded(self) -> tuple[Row, ...]:
        """The rows behind a fold."""
        return self.rows[MOST_OPEN:]


def forest(certificates: Sequence[Certificate], floor: float, *, in_order: bool = False) -> Rows | None:
    """Return retention with its bounds for each candidate and segment (None if nothing has a value).

    The segments with the highest retention come first or, `in_order`, as they stand: a router's thresholds.
    """
    known = [each for each in certificates if each.retention.value is not None]
    ranked = sorted(known, key=lambda each: (each.segment is not None, -each.share))[:MOST_ROWS]
    if not ranked:
        return None
    several = len({each.candidate for each in ranked}) > 1
    best = {each.candidate: each.retention.value or 0.0 for each in reversed(ranked) if each.segment is None}

    def order(each: Certificate) -> tuple[float, str, bool, float]:
        value = each.retention.value or 0.0
        return -best.get(each.candidate, 0.0), each.candidate, each.segment is not None, -value

    names: Callable[[Certificate], str] = lambda each: (  # noqa: E731 - it needs the annotation
        each.segment or (each.candidate if several else WHOLE)
    )
    left_out = _left_out(len(ranked), len(known), "the whole, and the segments with most traffic")
    rows = [each for each in known if each in ranked] if in_order else sorted(ranked, key=order)
    return _retentions(rows, floor, _state, names, left_out)


def group_forest(groups: Sequence[Certificate], floor: float) -> Rows | None:
    """Return what is kept on each declared group, the lowest first."""
    known = [each for each in groups if each.retention.value is not None]
    if not known:
        return None
    ordered = sorted(known, key=lambda each: (each.excluded is None, each.retention.value or 0.0))
    note = "" if len(known) == len(groups) else _left_out(len(known), len(groups), "those with a value")
    return _retentions(ordered, floor, _group_state, lambda each: str(each.segment), note)


def _retentions(
    drawn: Sequence[Certificate],
    floor: float,
    state: Callable[[Certificate], str],
    name: Callable[[Certificate], str],
    note: str,
) -> Rows:
    low, high, ticks = _range(drawn, floor)

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    rows = []
    for each in drawn:
        kind, kept = state(each), each.retention
        start = low if kept.low is None else kept.low
        end = high if kept.high is None else kept.high
        # What is certified lies at or above the floor by the certificate itself, and the other way round.
        start = max(start, floor) if kind == "certified" else start
        end = min(end, floor) if kind == "below" else end
        at = place(kept.value or 0.0)
        rows.append(
            Row(
                name=name(each),
                kind=kind,
                words=fmt.interval(kept),
                small=f"n {kept.n:,}",
                remark=f"left out: {each.excluded}" if each.excluded else "",
                start=place(start),
                width=round(max(0.0, place(end) - place(start)), 2),
                at=at,
                strong=each.segment is None,
                inside=each.segment is not None,
                over=(kept.value or 0.0) > high,
            )
        )
    kinds = dict.fromkeys(row.kind for row in rows)
    return Rows(
        rows=tuple(rows),
        keys=tuple(Key(kind=kind, words=words) for kind, words in _STATES.items() if kind in kinds),
        axis="share of the incumbent's quality that is kept",
        ticks=tuple((place(tick), f"{tick:g}") for tick in ticks),
        line=place(floor),
        line_words=f"floor {floor:g}",
        note=note,
    )


def _range(drawn: Sequence[Certificate], floor: float) -> tuple[float, float, tuple[float, ...]]:
    ends = [floor, 1.0]
    # What a guard left out must not squeeze the rest: a broken incumbent can give a retention of 10.
    sound = [each for each in drawn if not each.excluded] or list(drawn)
    for certificate in sound:
        kept = certificate.retention
        ends += [end for end in (kept.value, kept.low, kept.high) if end is not None and math.isfinite(end)]
    low, high = max(min(ends) - 0.02, 0.0), min(max(ends) + 0.02, 1.6)
    return low, high, linear_ticks(low, high, 5)


def _state(certificate: Certificate) -> str:
    if certificate.excluded or not certificate.tested:
        return "out"
    if certificate.certified:
        return "certified"
    return "below" if certificate.shown_below or certificate.retention.outcome == "fail" else "open"


def _group_state(certificate: Certificate) -> str:
    return "out" if certificate.excluded else "reading"


def evidence(points: Sequence[EvidencePoint], certificates: Sequence[Certificate]) -> Rows | None:
    """Return how the evidence for and against each hypothesis grew; where there are many, the slowest."""
    series: dict[tuple[str, str | None], list[EvidencePoint]] = {}
    for point in points:
        series.setdefault((point.candidate, point.segment), []).append(point)
    if not series:
        return None
    ranked = sorted(series, key=lambda key: (key[1] is not None, -series[key][-1].n))[:MOST_PATHS]
    several = len({candidate for candidate, _ in ranked}) > 1
    most = max(point.n for point in points)
    found = {(one.candidate, one.segment): one for one in certificates}
    rows = []
    for key in (key for key in series if key in ranked):
        path, (candidate, segment) = series[key], key
        where = segment or WHOLE
        certificate = found.get(key)
        kind = "open" if certificate is None else _state(certificate)
        lines = [
            ("plain", [(point.n / most, _height(point.e_pass / point.threshold)) for point in path]),
            ("below dashed", [(point.n / most, _height(point.e_fail / point.threshold)) for point in path]),
        ]
        rows.append(
            Row(
                name=f"{candidate} · {where}" if several else where,
                kind=kind,
                words={"certified": "certified", "below": "below the floor"}.get(kind, "open"),
                small=f"after {path[-1].n:,}",
                strong=segment is None,
                drawing=spark(lines, _height(1.0)),
            )
        )
    return Rows(
        rows=tuple(rows),
        keys=(
            Key(kind="plain", shape="line", words="evidence that the floor holds"),
            Key(kind="below", shape="dash", words="evidence that it does not"),
            Key(kind="incumbent", shape="dash", words="enough to be certain"),
        ),
        axis=f"samples asked, up to {most:,}",
        note=_left_out(len(ranked), len(series), "the whole, and those that took longest"),
    )


def _height(share: float) -> float:
    """Return where a share of the threshold stands, on a logarithmic scale from 0 to 1."""
    span = math.log10(_MOST_E / _LEAST_E)
    return math.log10(min(max(share, _LEAST_E), _MOST_E) / _LEAST_E) / span


def _left_out(drawn: int, there: int, chosen: str) -> str:
    """Return what a figure leaves out (empty if nothing)."""
    return "" if drawn == there else f"Drawn are {drawn} of {there:,}: {chosen}."
