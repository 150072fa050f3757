"""Prepares evidence for a decision: scores with errors resolved, parts, pairs, the order and the weights."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._checks import check_evidence, check_settings
from crossgrade.decide._evidence import BoolColumn, Evidence, FloatColumn, ModelColumns, TextColumn
from crossgrade.decide._observations import AskedSample, Blocks, Design, PartPlan, RunDesign
from crossgrade.decide._records import DecisionSettings
from crossgrade.errors import DataError
from crossgrade.routing import threshold_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A segment or group and a mask of its rows. The label None is the whole."""

    label: str | None
    rows: BoolColumn


@dataclass(frozen=True, kw_only=True)
class View:
    """Evidence and settings, with values that several guards and tests need, each computed once.

    `left_out` are the labels of segments that a guard left out of the whole. Arrays have one entry for each
    row of the evidence, unless said otherwise.
    """

    evidence: Evidence
    settings: DecisionSettings
    left_out: frozenset[str] = frozenset()

    @cached_property
    def whole(self) -> Part:
        """All rows, except those of segments that a guard left out."""
        rows = np.ones(self.evidence.n, dtype=np.bool_)
        for part in self.segments:
            if part.label in self.left_out:
                rows &= ~part.rows
        return Part(label=None, rows=rows)

    @property
    def unit(self) -> str:
        """What one observation is called: a pair of answers, or a task of an agent."""
        return "pair" if self.evidence.incumbent.runs is None else "task"

    @property
    def wanted(self) -> str:
        """What more of the evidence is called: samples, or tasks of an agent."""
        return "sample" if self.evidence.incumbent.runs is None else "task"

    def without(self, labels: frozenset[str]) -> "View":
        """Return the view with these segments left out of the whole."""
        return self if labels == self.left_out else replace(self, left_out=labels)

    @cached_property
    def segments(self) -> tuple[Part, ...]:
        """The parts that a policy may split by, sorted by label.

        Planned segments without rows are included. Alpha was divided among all planned segments, so they keep
        their share of it.
        """
        labels, planned = self.evidence.segment, self.evidence.planned_by_segment
        if labels is None and planned:
            labels = np.full(self.evidence.n, None, dtype=np.object_)
        return parts_of(labels, planned)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts that guards search: the segments, or the groups if there are no segments."""
        return self.segments or parts_of(self.evidence.group)

    @cached_property
    def thresholds(self) -> tuple[Part, ...]:
        """The requests with the highest scores, from the fewest to the most; none without a router."""
        routing = self.evidence.routing
        if routing is None or routing.router is None or routing.score is None:
            return ()
        rows, score = self.whole.rows, routing.score
        return tuple(
            Part(label=threshold_name(least), rows=rows & (score >= least))
            for least in routing.router.thresholds
        )

    @property
    def grows(self) -> bool:
        """Whether audits of a route can carry on the evidence of thresholds."""
        return self.settings.grow and bool(self.thresholds)

    @property
    def splittable(self) -> bool:
        """Whether a policy may split, because there are segments."""
        return bool(self.segments)

    @cached_property
    def incumbent(self) -> FloatColumn:
        """The incumbent's scores; see `scores`."""
        return self.scores(self.evidence.incumbent)

    @cached_property
    def _candidate_scores(self) -> dict[str, FloatColumn]:
        return {model.model: self.scores(model) for model in self.evidence.candidates}

    def candidate(self, model: str) -> FloatColumn:
        """Return a candidate's scores; see `scores`."""
        return self._candidate_scores[model]

    def scores(self, model: ModelColumns, *, errors_as_zero: bool | None = None) -> FloatColumn:
        """Return a model's scores in [0, 1], NaN for rows that do not count.

        A failed call scores 0, or NaN if the settings (or `errors_as_zero`) leave it out. So does a failed
        call among several on one sample, whose score is the mean of them. Scores outside [0, 1] are clipped,
        so that figures can be shown. The guard `score-range` makes such a verdict invalid.
        """
        counted = self.settings.errors_count_as_zero
        as_zero = counted if errors_as_zero is None else errors_as_zero
        scores = np.where(model.error, 0.0 if as_zero else np.nan, np.clip(model.score, 0.0, 1.0))
        if as_zero == counted or model.calls is None or model.failed_calls is None:
            return scores
        # The score was taken over all calls, or over those that did not fail, as the settings say.
        answered = np.maximum(model.calls - model.failed_calls, 1.0)
        share = answered / np.maximum(model.calls, 1.0)
        return np.clip(scores * share if as_zero else scores / share, 0.0, 1.0)

    @cached_property
    def weight(self) -> FloatColumn | None:
        """The samples' weights, or None if all have the same weight or the weights are unusable."""
        weight = self.evidence.weight
        if weight is None or not np.isfinite(weight).all():
            return None
        most = float(weight.max(initial=0.0))
        return weight if (weight >= 0).all() and limits.WEIGHTS[0] <= most <= limits.WEIGHTS[1] else None

    @property
    def weights(self) -> FloatColumn:
        """The samples' weights, all 1 where they have none."""
        return np.ones(self.evidence.n) if self.weight is None else self.weight

    def asked(self, model: ModelColumns) -> BoolColumn:
        """Return a mask of the rows on which a model was asked, which are all rows in imported results."""
        if self.evidence.order is None:
            return np.ones(self.evidence.n, dtype=np.bool_)
        answered: BoolColumn = np.isfinite(model.score) | model.error | np.isfinite(model.latency_ms)
        if model.output is not None:
            answered |= np.array([text is not None for text in model.output], dtype=np.bool_)
        return answered

    def reached(self, model: ModelColumns) -> BoolColumn:
        """Return a mask of the rows on which a model was asked, or was not supposed to be asked.

        A model is not supposed to be asked samples that are too long for it. The incumbent is not supposed to
        be asked the unpaired ones either.
        """
        found: BoolColumn = self.asked(model) | ~self.within(model.model)
        return found | self.unpaired if model is self.evidence.incumbent else found

    @cached_property
    def unpaired(self) -> BoolColumn:
        """A mask of the rows not to be asked of the incumbent: all but the last of each block."""
        design, position = self.evidence.design, self.evidence.position
        if design is None or design.run.blocks is None or position is None:
            return np.zeros(self.evidence.n, dtype=np.bool_)
        return np.array([not design.run.pairs_at(at) for at in position.tolist()], dtype=np.bool_)

    @property
    def blocks(self) -> Blocks | None:
        """The blocks in which the incumbent was spared, None where it was not."""
        blocks = self.design.run.blocks
        return None if blocks is None or blocks.size == 1 else blocks

    @property
    def paired_n(self) -> int:
        """How many samples the incumbent was asked, where it was spared others."""
        return int((self.asked(self.evidence.incumbent) & ~self.unpaired).sum())

    def columns(self, candidate: str) -> ModelColumns:
        """Return the evidence's columns of a candidate."""
        return next(each for each in self.evidence.candidates if each.model == candidate)

    def stream(self, candidate: str, part: Part) -> NDArray[np.int64]:
        """Return the part's row numbers in the order asked, up to the first planned row that was not asked.

        While a hypothesis is open, every sample of its part is asked. The samples after a gap were asked for
        another hypothesis, or were answered fast when the run was interrupted. They are not a random part
        of the traffic.
        """
        assert self.order is not None
        evidence, order = self.evidence, self.order
        reach = evidence.unbroken if part.label is None else evidence.unbroken_by_segment.get(part.label)
        order = order[:reach]
        gaps = np.flatnonzero((part.rows & ~self.reached(self.columns(candidate)))[order])
        order = order[: gaps[0]] if len(gaps) else order
        return order[part.rows[order]]

    def asked_in_order(self, candidate: str, part: Part, members: BoolColumn) -> Iterator[AskedSample]:
        """Yield the part's samples in the order asked; only those in the mask `members` count."""
        evidence = self.evidence
        stream = self.stream(candidate, part).tolist()
        position = self._position.tolist()
        incumbent, score = self.incumbent.tolist(), self.candidate(candidate).tolist()
        weight = self.weights
        sizes = evidence.cluster_size if part.label is None else evidence.cluster_size_in_segment
        labels = None if evidence.cluster is None or sizes is None else evidence.cluster
        if evidence.unit is not None:
            labels, sizes = evidence.unit, _run_lengths(evidence.unit, stream)
        counts = members & self.within(candidate)
        for row in stream:
            b, c = incumbent[row], score[row]
            yield AskedSample(
                position=position[row],
                incumbent=None if math.isnan(b) else b,
                candidate=None if math.isnan(c) else c,
                weight=float(weight[row]),
                cluster=None if labels is None else labels[row],
                cluster_size=1 if sizes is None else int(sizes[row]),
                counts=bool(counts[row]),
            )

    def block_means(self, column: FloatColumn) -> FloatColumn:
        """Return a candidate's column with its block's mean on each paired row, and NaN on unpaired rows.

        A block is as in the tests of segments: the rows of one segment since its last paired row, up to and
        including the next one. So all answers of the candidate are compared with the incumbent's. Without
        blocks the column is returned unchanged.
        """
        unpaired = self.unpaired
        if not unpaired.any():
            return column
        found = np.full(self.evidence.n, np.nan)
        labels = self.evidence.segment
        for label in {None} if labels is None else set(labels.tolist()):
            rows = np.argsort(self._position, kind="stable")
            if labels is not None:
                rows = rows[np.array([labels[row] == label for row in rows], dtype=np.bool_)]
            ends = np.flatnonzero(~unpaired[rows])
            if not len(ends):
                continue
            block = np.searchsorted(ends, np.arange(len(rows)))
            known = np.isfinite(column[rows]) & (block < len(ends))
            total = np.bincount(block[known], column[rows][known], minlength=len(ends))
            count = np.bincount(block[known], minlength=len(ends))
            means = np.full(len(ends), np.nan)
            np.divide(total, count, out=means, where=count > 0)
            # A paired row whose own value is unknown stays unknown.
            found[rows[ends]] = np.where(np.isfinite(column[rows[ends]]), means, np.nan)
        return found

    @cached_property
    def _position(self) -> NDArray[np.int64]:
        """Each row's place in the shuffled order; for imported results its place in `order`, or 0."""
        if self.evidence.position is not None:
            return self.evidence.position
        place = np.zeros(self.evidence.n, dtype=np.int64)
        if self.order is not None:
            place[self.order] = np.arange(len(self.order))
        return place

    @cached_property
    def design(self) -> Design:
        """The run's design; by default every sample or `unit` of the evidence is an observation."""
        if self.evidence.design is not None:
            return self.evidence.design
        unit = self.evidence.unit
        heaviest = self.evidence.heaviest or 1.0
        if self.weight is not None:
            heaviest = max(self.evidence.heaviest or 0.0, float(self.weight.max()))

        def plan(part: Part) -> PartPlan:
            n = observations = self.planned(part)
            most = heaviest
            if unit is not None:
                _, which = np.unique(unit[part.rows].astype(str), return_inverse=True)
                sums = np.bincount(which, self.weights[part.rows])
                observations, most = len(sums), float(sums.max(initial=0.0)) or heaviest
            return PartPlan(
                samples=n,
                observations=observations,
                first_samples=n,
                first_observations=observations,
                heaviest=most,
            )

        whole = plan(Part(label=None, rows=np.ones(self.evidence.n, dtype=np.bool_)))
        return Design(
            run=RunDesign(
                samples=whole.samples, first_samples=whole.samples, whole_clusters=unit is not None
            ),
            whole=whole,
            segments={str(part.label): plan(part) for part in (*self.segments, *self.thresholds)},
        )

    def paired(self, model: str, rows: BoolColumn) -> BoolColumn:
        """Return a mask of the rows in `rows` on which both the incumbent and the candidate have a score.

        Rows with weight 0 are left out, and so are requests that the candidate may not answer.
        """
        both = np.isfinite(self.incumbent) & np.isfinite(self.candidate(model))
        found: BoolColumn = rows & both & self.within(model)
        if self.weight is not None:
            found &= self.weight > 0
        return found

    def within(self, model: str | None) -> BoolColumn:
        """Return a mask of the rows that a candidate may answer: short enough, and carried to its API."""
        return self.short(model) & self.carried(model)

    def share_of(self, rows: BoolColumn) -> float:
        """Return the share of the traffic that some rows stand for, in [0, 1]."""
        return float(self.weights[rows].sum() / self.weights.sum())

    def carried(self, model: str | None) -> BoolColumn:
        """Return a mask of the rows whose request a candidate's API can express."""
        fields = self.evidence.uncarried
        if fields is None or model not in self.settings.across:
            return np.ones(self.evidence.n, dtype=np.bool_)
        found: BoolColumn = fields == None  # noqa: E711 -- of each entry of the column
        return found

    def short(self, model: str | None) -> BoolColumn:
        """Return a mask of the rows whose request is short enough for a candidate: all without a limit."""
        most = self.settings.max_bytes.get(model or "")
        if most is None:
            return np.ones(self.evidence.n, dtype=np.bool_)
        size = self.evidence.body_bytes
        found: BoolColumn = np.zeros(self.evidence.n, dtype=np.bool_) if size is None else size <= most
        return found

    @cached_property
    def clusters(self) -> NDArray[np.int64] | None:
        """Cluster numbers of the rows, or None if every row is a cluster of its own.

        Rows of one sample (separate epochs) are a cluster even if none is declared, and so are imported
        samples that ask the same (`Evidence.units`). A sample without a declared cluster is a cluster of its
        own.
        """
        evidence = self.evidence
        labels: list[object] = list(evidence.units)
        if evidence.cluster is not None:
            names = evidence.sample_ids.tolist()
            labels = [
                ("sample", label) if cluster is None or cluster == "" else ("cluster", cluster)
                for label, cluster in zip(names, evidence.cluster.tolist(), strict=True)
            ]
        if len(set(labels)) == len(labels):
            return None
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        return np.fromiter((numbers[label] for label in labels), dtype=np.int64, count=len(labels))

    def clusters_of(self, rows: BoolColumn) -> NDArray[np.int64] | None:
        """Return the cluster numbers of some rows, or None if every row is a cluster of its own."""
        return None if self.clusters is None else self.clusters[rows]

    def human(self, candidate: str) -> tuple[FloatColumn, FloatColumn] | None:
        """Return people's scores of the incumbent's and a candidate's answers, NaN without a score.

        Returns None if no judge scored the answers.
        """
        if self.evidence.judge is None:
            return None
        unscored = np.full(self.evidence.n, np.nan)
        scored = (self.evidence.incumbent.human, self.columns(candidate).human)
        incumbent, theirs = (unscored if column is None else column for column in scored)
        return incumbent, theirs

    @cached_property
    def label_probability(self) -> FloatColumn | None:
        """The probability with which each row was drawn for people, or None if all had the same.

        A row that was in no draw has the mean of the others: it has no label, and is one of the rest.
        """
        probability = self.evidence.label_probability
        if probability is None:
            return None
        known = probability[np.isfinite(probability)]
        if not len(known) or known.min() == known.max():
            return None
        return np.where(np.isnan(probability), known.mean(), probability)

    @cached_property
    def order(self) -> NDArray[np.int64] | None:
        """The row numbers in the order in which samples were asked, or None for one test at the end.

        It is None with the mode "fixed", with clusters whose samples were not asked together, and with a
        judge's scores. With the mode "anytime" and no recorded order, the rows are shuffled by the seed.
        """
        if self.settings.mode == "fixed":
            return None
        if self.clusters is not None and not self.design.run.whole_clusters:
            return None
        if self.evidence.judge is not None:
            return None
        if self.evidence.order is None and self.settings.mode == "anytime":
            return np.random.default_rng(self.settings.seed).permutation(self.evidence.n)
        return self.evidence.order

    @property
    def goes_on(self) -> bool:
        """Whether a run can take the tests up where they stand: bets, in the order in which it asked."""
        return self.order is not None and self.evidence.order is not None

    @property
    def mode(self) -> str:
        """The mode that the evidence allows: that of the settings, or "fixed" without an order."""
        return "fixed" if self.order is None else self.settings.mode

    def planned(self, part: Part) -> int:
        """Return the number of planned samples of a part.

        If more samples were planned than there are and the plan of each segment is not recorded, this is the
        plan of the whole, so that a segment's planned end counts as not reached.
        """
        total = self.evidence.planned or self.evidence.n
        if part.label is None:
            return total
        here = int(part.rows.sum()) if total <= self.evidence.n else total
        return self.evidence.planned_by_segment.get(part.label, here)

    def share(self, part: Part) -> float:
        """Return the part's share of the traffic, by the weight of its planned samples."""
        if part.label is None:
            return 1.0
        if self.thresholds:
            weight = self.traffic_weights(np.ones(self.evidence.n, dtype=np.bool_))
            return float(weight[part.rows].sum() / weight.sum())
        loose = Part(label="", rows=~np.any([each.rows for each in self.segments], axis=0))
        return self._traffic(part) / sum(self._traffic(each) for each in (*self.segments, loose))

    def moved_share(self, candidate: str, part: Part) -> float:
        """Return the share of the traffic that is in the part and that a candidate may answer.

        A part without rows tells nothing of its requests: all of them count as such.
        """
        weight = self.traffic_weights(np.ones(self.evidence.n, dtype=np.bool_))
        total = float(weight[part.rows].sum())
        if total == 0:
            return self.share(part)
        return self.share(part) * (float(weight[part.rows & self.within(candidate)].sum()) / total)

    def _traffic(self, part: Part) -> float:
        """Return the weight of the part's planned samples."""
        weight = self.weight
        mean = 1.0 if weight is None or not part.rows.any() else float(weight[part.rows].mean())
        return mean * self.evidence.planned_by_segment.get(str(part.label), int(part.rows.sum()))

    def traffic_weights(self, rows: BoolColumn) -> FloatColumn:
        """Return weights that make `rows` represent the whole traffic.

        Segments stop separately, so the segments that were open longest are over-represented. Each
        segment's rows are scaled to its planned samples.
        """
        weight = self.weights.copy()
        for part in self.segments:
            here = rows & part.rows
            total = float(weight[here].sum())
            if total > 0:
                weight[here] *= self._traffic(part) / total
        return weight

    def chance(self, part: Part) -> float:
        """Return the mean score of guessing over the part's rows."""
        by_segment = self.evidence.chance_by_segment
        if part.label is not None:
            return by_segment.get(part.label, self.evidence.chance)
        chance = np.full(self.evidence.n, self.evidence.chance)
        for each in self.parts:
            chance[each.rows] = by_segment.get(str(each.label), self.evidence.chance)
        return float(chance[part.rows].mean()) if part.rows.any() else self.evidence.chance


def make_view(evidence: Evidence, settings: DecisionSettings) -> View:
    """Return the view of evidence and settings.

    Raises the errors of `check_evidence` and `check_settings`, and `DataError` for too many parts.
    """
    check_evidence(evidence)
    check_settings(settings, models=[each.model for each in (evidence.incumbent, *evidence.candidates)])
    view = View(evidence=evidence, settings=settings)
    if len(view.parts) > limits.MOST_PARTS:
        raise DataError(
            f"{len(view.parts):,} different segments or groups; at most {limits.MOST_PARTS:,} are taken",
            code="too-many-parts",
            hint="name a column with a few labels, each of which is a part of the traffic",
        )
    return view


def parts_of(labels: TextColumn | None, planned: Iterable[str] = ()) -> tuple[Part, ...]:
    """Return the parts in a column of labels, and the planned ones, sorted by label.

    Rows without a label are in no part.
    """
    if labels is None:
        return ()
    rows: dict[str, list[int]] = {name: [] for name in planned}
    for row, label in enumerate(labels.tolist()):
        if label is not None:
            rows.setdefault(str(label), []).append(row)
    parts = []
    for name in sorted(rows):
        mask = np.zeros(len(labels), dtype=np.bool_)
        mask[rows[name]] = True
        parts.append(Part(label=name, rows=mask))
    return tuple(parts)


def _run_lengths(labels: TextColumn, stream: Sequence[int]) -> NDArray[np.int64]:
    """Return for each row in the stream how many stand together there with the same label, 1 for others."""
    found = np.ones(len(labels), dtype=np.int64)
    for _, run in groupby(stream, key=lambda row: labels[row]):
        rows = list(run)
        found[rows] = len(rows)
    return found
