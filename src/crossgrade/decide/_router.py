"""Train a router on half of the samples, so that the other half can certify what it moves.

Which half a sample belongs to follows from its name (its cluster's, where it has one), so it is the same on
every machine. Everything that scores decide about the policy is decided on the training half: the kind of
router, the thresholds, and the first one to be tested. The other half decides nothing but the certificate.

Kinds are compared by scores of folds that a router was not trained on: a table of the segments, or of
segments that were discovered in the texts where none are given, and a router that also reads the text. The
text must beat the table, and either must beat moving requests at random, by more than noise. Otherwise it is
left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from crossgrade.decide._evidence import (
    BoolColumn,
    DiscoveredSegment,
    Evidence,
    FloatColumn,
    ModelColumns,
    RouterGain,
    RouterKind,
    RouterReport,
    RouterScores,
    TextColumn,
)
from crossgrade.decide._guards import (
    GUARDS,
    GuardKind,
    failed_segments,
    run_guards,
    sound_candidates,
)
from crossgrade.decide._records import DecisionSettings
from crossgrade.decide._view import View, make_view
from crossgrade.domain import GrowthBar, growth_bars
from crossgrade.errors import DataError
from crossgrade.routing import THRESHOLD_UNITS, Router, position

if TYPE_CHECKING:
    from crossgrade.decide._logistic import Features
    from crossgrade.decide._topics import Discovered

BITS = 16
_FOLDS = 5
_SHRINK = 20.0
"""A segment's mean counts as if this many samples of the whole's mean were added to it."""

_FEWEST = 100
"""The fewest training samples: fewer cannot tell a router from chance."""

_SHARES = 20
_FIRST_SHARE = 0.1
"""The tests begin at a tenth of the traffic or more: less is hardly worth a route."""

_NOISE = 1.645  # the 95 % quantile of the normal distribution


@dataclass(frozen=True, kw_only=True)
class _Half:
    """The training samples: texts, segments, scores, and their folds.

    Where the whole has a floor too (`whole_floor`), the order that moves most is that of c - b, which the
    floor of what moves does not change.
    """

    texts: tuple[str, ...] | None
    segments: tuple[str | None, ...]
    incumbent: FloatColumn
    candidate: FloatColumn
    floor: float
    fold: FloatColumn
    whole_floor: float | None = None
    discovered: "Discovered | None" = None

    @property
    def n(self) -> int:
        return len(self.incumbent)

    @property
    def known(self) -> bool:
        """Whether the samples have segments, two at least."""
        return len({each for each in self.segments if each is not None}) > 1

    @cached_property
    def gain(self) -> FloatColumn:
        """The candidate's score less the stake times the incumbent's, by which requests are ordered."""
        found: FloatColumn = self.candidate - self.stake * self.incumbent
        return found

    @property
    def stake(self) -> float:
        """What a score of the incumbent's counts: the floor of what moves, or as much as the candidate's."""
        return self.floor if self.whole_floor is None else 1.0

    def margins(self, moved: FloatColumn) -> tuple[FloatColumn, ...]:
        """Return for each claim the columns whose means are 0 or more where it holds, one for each threshold.

        `moved` is 1 where a threshold moves a row. Over what moves it is c - floor b. Over the whole it is
        s - floor b, where s is the candidate's score where it moves and the incumbent's elsewhere.
        """
        b, c = self.incumbent[:, None], self.candidate[:, None]
        part = (c - self.floor * b) * moved
        if self.whole_floor is None:
            return (part,)
        return part, (1 - self.whole_floor) * b + (c - b) * moved

    @cached_property
    def features(self) -> "Features":
        from crossgrade.decide._logistic import Features  # with SciPy, which takes half a second

        assert self.texts is not None
        segments = self.segments if self.known else (None,) * self.n
        return Features.of(self.texts, segments, BITS)

    @cached_property
    def labels(self) -> tuple[str | None, ...]:
        """The samples' segments, or the discovered ones where none are given."""
        if self.known or self.discovered is None or self.texts is None:
            return self.segments
        return tuple(map(self.discovered.topics.of, self.texts))

    @property
    def labelled(self) -> RouterKind | None:
        """The kind of router that is a table of `labels`, None if there are none."""
        return "table" if self.known else None if self.discovered is None else "topics"

    def table(self, rows: BoolColumn) -> dict[str, float]:
        """Return the score of each segment, from these rows, drawn towards the mean of all."""
        mean = float(self.gain[rows].mean())
        by_segment: dict[str, list[int]] = {}
        for row in np.flatnonzero(rows).tolist():
            segment = self.labels[row]
            if segment is not None:
                by_segment.setdefault(segment, []).append(row)
        return {
            name: (float(self.gain[own].sum()) + _SHRINK * mean) / (len(own) + _SHRINK)
            for name, own in sorted(by_segment.items())
        }

    @cached_property
    def crossed(self) -> dict[RouterKind, FloatColumn]:
        """The scores of the kinds of router that the samples allow, each row's from the folds without it."""
        found: dict[RouterKind, FloatColumn] = {}
        if self.labelled is not None:
            found[self.labelled] = self._scores(self.labelled)
        if self.texts is not None:
            found["text"] = self._scores("text")
        return found

    def _scores(self, kind: RouterKind) -> FloatColumn:
        """Return each row's score by a router that was trained on the other folds (NaN: it has none)."""
        found = np.full(self.n, np.nan)
        for fold in range(_FOLDS):
            rest, here = self.fold != fold, self.fold == fold
            table = self.table(rest)
            if kind != "text":
                found[here] = [
                    table.get(str(self.labels[row]), np.nan) for row in np.flatnonzero(here).tolist()
                ]
            else:
                candidate, incumbent = (self.features.head(rest, each) for each in self._right)
                score = self.features.probability(candidate)
                score = score - self.stake * self.features.probability(incumbent)
                found[here] = score[here]
        return found

    @property
    def _right(self) -> tuple[FloatColumn, FloatColumn]:
        return self.candidate, self.incumbent

    def router(self, kind: RouterKind) -> Router:
        """Return the router that is trained on all rows."""
        everything = np.ones(self.n, dtype=np.bool_)
        table = self.table(everything) if self.known or kind == "topics" else None
        if kind != "text":
            topics = None if kind == "table" or self.discovered is None else self.discovered.topics
            router = Router(stake=self.stake, segments=table, topics=topics)
            return replace(router, checks=router.check_scores())
        heads = tuple(self.features.head(everything, each) for each in self._right)
        router = Router(
            stake=self.stake,
            segments=table,
            bits=BITS,
            facts_mean=tuple(self.features.mean.tolist()),
            facts_sd=tuple(self.features.sd.tolist()),
            heads=(heads[0], heads[1]),
        )
        return replace(router, checks=router.check_scores())


def train_router(
    evidence: Evidence, settings: DecisionSettings, guards: Mapping[str, GuardKind] = GUARDS
) -> Evidence:
    """Return the evidence with the scores of a router that was trained on half of it.

    Segments that a guard finds unfit have no part in the training and no score, so they stay with the
    incumbent. Evidence that is unfit as a whole is returned as it is. Raises `DataError` for more than one
    candidate, too few samples, samples without segments and texts, and for samples from which a route is to
    grow and cannot.
    """
    view = make_view(evidence, settings)
    if len(evidence.candidates) != 1:
        names = ", ".join(each.model for each in evidence.candidates)
        raise DataError(
            f"a router chooses between the incumbent and one candidate; there are {names}",
            code="router-candidates",
            hint="name one with --candidate",
        )
    seen = run_guards(view, guards)
    if not sound_candidates(view, seen):
        return evidence
    _check_growth(evidence, settings)
    broken, units, model = failed_segments(view, seen), evidence.units, evidence.candidates[0].model
    trained = np.array([position(unit, "the half that trains a router") < 0.5 for unit in units])
    sound = np.array([label not in broken for label in _labels(evidence)])
    rows = trained & sound & view.paired(model, view.whole.rows)
    if int(rows.sum()) < _FEWEST:
        raise DataError(
            f"{int(rows.sum())} samples train the router; {_FEWEST} are the fewest",
            code="router-samples",
            hint=f"add about {2 * (_FEWEST - int(rows.sum()))} samples, or decide without a router",
        )
    half = _half(view, model, rows, units)
    if not half.known and half.texts is not None:
        from crossgrade.decide._topics import discover  # with SciPy

        asked = [units[row] for row in np.flatnonzero(rows).tolist()]
        half = replace(half, discovered=discover(half.texts, settings.seed, units=asked))
    if not half.known and half.texts is None:
        raise DataError(
            "the samples have neither segments nor texts, so a router cannot tell requests apart",
            code="router-facts",
            hint="name a column with --segment, or add the texts of the requests as `input`",
        )
    kind, gains = _kind(half)
    report = RouterReport(
        kind=kind or "none",
        trained_on=half.n,
        gains=gains,
        discovered=_reported(half, evidence.sample_ids[rows].tolist()),
    )
    if kind is None:
        return replace(evidence, routing=RouterScores(report=report, trained=trained))
    router = half.router(kind)
    router = replace(router, thresholds=_thresholds(half, kind, router, int((~trained & sound).sum())))
    table = half.router(half.labelled) if kind == "text" and half.labelled is not None else None
    found = table if kind == "text" else router
    return replace(
        evidence,
        group=_topics(found, evidence) if evidence.group is None else evidence.group,
        routing=RouterScores(
            report=report,
            trained=trained,
            router=router,
            score=_scores(router, evidence),
            table_score=None if table is None else _scores(table, evidence),
        ),
    )


_BARS: Mapping[GrowthBar, str] = {
    "judge": "a judge's scores are",
    "cluster": "clusters of samples are",
    "whole_floor": "a floor of the whole is",
}


def _check_growth(evidence: Evidence, settings: DecisionSettings) -> None:
    """Refuse to grow from what cannot be tested sample by sample."""
    bars = growth_bars(judge=evidence.judge, cluster=evidence.cluster, whole_floor=settings.whole_floor)
    for bar in bars if settings.grow else ():
        raise DataError(
            f"{_BARS[bar]} tested once, at the end, so a route cannot grow from this evidence",
            code="growth-evidence",
            hint="decide without `--grow`, or remove `grow` from the workload's routes",
        )


def _topics(router: Router | None, evidence: Evidence) -> TextColumn | None:
    """Return the discovered segment of each sample, None if the router knows none."""
    if router is None or router.topics is None:
        return None
    labels = [None if text is None else router.topics.of(text) for text in _texts(evidence)]
    return np.array(labels, dtype=np.object_)


def _reported(half: _Half, names: Sequence[str]) -> tuple[DiscoveredSegment, ...]:
    """Return what is recorded of the discovered segments, with the ids of the samples that show each best."""
    found = half.discovered
    if found is None:
        return ()
    counts = Counter(half.labels)
    return tuple(
        DiscoveredSegment(name=name, n=counts[name], examples=tuple(str(names[row]) for row in rows))
        for name, rows in zip(found.topics.names, found.examples, strict=True)
    )


def _scores(router: Router, evidence: Evidence) -> FloatColumn:
    """Return the router's score of each sample, NaN where it has none."""
    rows = zip(_texts(evidence), _labels(evidence), strict=True)
    found = (router.score(text, segment) for text, segment in rows)
    return np.array([np.nan if score is None else score for score in found], dtype=np.float64)


def _half(view: View, model: str, rows: BoolColumn, units: Sequence[str]) -> _Half:
    evidence = view.evidence
    picked = np.flatnonzero(rows).tolist()
    texts = None if evidence.input is None else tuple(str(evidence.input[row] or "") for row in picked)
    labels = _labels(evidence)
    return _Half(
        texts=texts if texts and len(set(texts)) > 1 else None,
        segments=tuple(labels[row] for row in picked),
        incumbent=view.incumbent[rows],
        candidate=view.candidate(model)[rows],
        floor=view.settings.floor,
        whole_floor=view.settings.whole_floor,
        fold=np.array([int(position(units[row], "folds of a router") * _FOLDS) for row in picked]),
    )


def _texts(evidence: Evidence) -> list[str | None]:
    return [None] * evidence.n if evidence.input is None else evidence.input.tolist()


def _labels(evidence: Evidence) -> list[str | None]:
    return [None] * evidence.n if evidence.segment is None else evidence.segment.tolist()


def _kind(half: _Half) -> tuple[RouterKind | None, tuple[RouterGain, ...]]:
    """Return the kind of router that is worth it (None: none is), and the comparisons.

    The value of a score is the mean gain over all shares that could be moved by it: the mean of (the share of
    thresholds at which a sample is moved) times its gain. Moving at random moves each sample at half of them.
    """
    gains = list[RouterGain]()
    best, best_share = None, np.full(half.n, 0.5)
    for kind, scores in half.crossed.items():
        share = _moved_share(scores)
        lift = (share - best_share) * half.gain
        mean, error = float(lift.mean()), float(lift.std(ddof=1) / np.sqrt(half.n))
        gains.append(RouterGain(kind=kind, against=best or "random", mean=mean, standard_error=error))
        if mean > _NOISE * error:
            best, best_share = kind, share
    return best, tuple(gains)


def _moved_share(scores: FloatColumn) -> FloatColumn:
    """Return at which share of all thresholds each row is moved: the share of rows below it."""
    known = np.isfinite(scores)
    ordered = np.sort(scores[known])
    low, high = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    found: FloatColumn = np.where(known, (low + high) / 2 / len(scores), 0.0)
    return found


def _thresholds(half: _Half, kind: RouterKind, router: Router, n: int) -> tuple[float, ...]:
    """Return the least scores to test on n other samples, the strictest first.

    The scores of a table are its segments'. Those of texts are taken from folds left out, because a router
    is too sure of what it was trained on. The first share is as wide as makes the certified share largest
    on average, judged by the training half: a test at a small share has few samples, one at a large share
    may fail and end the sequence. A threshold passes if each of its claims does.
    """
    crossed = half.crossed[kind]
    known = crossed[np.isfinite(crossed)]
    if kind != "text":
        table = router.segments or {}
        known = np.array([table[each] for each in half.labels if each is not None])
    wanted = np.arange(1, _SHARES + 1) / _SHARES
    lowest = np.quantile(known, 1 - wanted, method="higher")
    grid = np.unique(np.floor(lowest * THRESHOLD_UNITS) / THRESHOLD_UNITS)[::-1]
    share = (known[:, None] >= grid).sum(axis=0) / half.n
    moved = _moved_share(crossed)[:, None] > 1 - share
    power = np.min([_power(margin, n) for margin in half.margins(moved)], axis=0)
    start, best = 0, -1.0
    for first in np.flatnonzero(share >= min(_FIRST_SHARE, share[-1])).tolist():
        reached = np.minimum.accumulate(power[first:])
        expected = float(share[first] * reached[0] + np.diff(share[first:]) @ reached[1:])
        if expected > best:
            start, best = first, expected
    return tuple(grid[start:].tolist())


def _power(margin: FloatColumn, n: int) -> FloatColumn:
    """Return how probably n other rows show the mean of each column to be above 0, judged by these rows."""
    from scipy.special import ndtr

    square = np.sqrt(np.maximum((margin**2).mean(axis=0), 1e-12))
    statistic = margin.mean(axis=0) / square * np.sqrt(n)
    found: FloatColumn = ndtr((statistic - _NOISE) / np.sqrt(1 + n / len(margin)))
    return found


def certifying(evidence: Evidence, *, in_order: bool = False) -> Evidence:
    """Return the samples that had no part in the training, as results of a fixed design.

    With `in_order` they have an order to be tested in, which follows from their names as the halves do.
    Samples that ask the same stand together. Those that were not answered come last.
    """
    routing = evidence.routing
    assert routing is not None
    rows = ~routing.trained
    models = [_columns(model, rows) for model in (evidence.incumbent, *evidence.candidates)]
    order = unit = None
    if in_order:
        units = np.array(evidence.units, dtype=np.object_)[rows]
        unit = units if len(set(units.tolist())) < len(units) else None
        places = np.array([position(name, "the order of a certificate") for name in units.tolist()])
        answered = np.all([np.isfinite(model.score) | model.error for model in models], axis=0)
        order = np.lexsort((places, ~answered))
    fixed = replace(evidence, order=None, position=None, cluster_size=None, cluster_size_in_segment=None)
    return replace(
        _columns(fixed, rows),
        incumbent=models[0],
        candidates=tuple(models[1:]),
        planned=None,
        planned_by_segment={},
        unbroken=None,
        unbroken_by_segment={},
        design=None,
        routing=_columns(routing, rows),
        order=order,
        unit=unit,
    )


_T = TypeVar("_T", Evidence, ModelColumns, RouterScores)


def _columns(table: _T, rows: BoolColumn) -> _T:
    """Return the table with the rows of each of its columns."""
    columns = ((each.name, getattr(table, each.name)) for each in fields(table))
    kept: dict[str, Any] = {name: column[rows] for name, column in columns if isinstance(column, np.ndarray)}
    return replace(table, **kept)
