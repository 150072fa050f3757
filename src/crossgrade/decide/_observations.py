"""From the samples of a run to the observations of a test: one rule for the run and for its replay.

A hypothesis (a candidate on the whole workload or on a segment) is tested on observations (b, c, weight), in
the order in which the run asked. What an observation is depends on how the run asked:

- **a sample**: both scores of one sample.
- **a cluster**: the weighted mean scores of all samples that share a document or conversation. Its weight is
  the sum of their weights over the largest planned sum.
- **a block**: the candidate answers every sample, the incumbent one in K. A block is the samples of the
  hypothesis since its last paired one, up to and including the next, and its observation is
  (b, (1 - blend) c + blend mean(c in the block)). The candidate's mean score over many samples takes out of c
  what b does not explain, at the candidate's price (M. H. Hansen, W. N. Hurwitz and W. G. Madow, Sample
  Survey Methods and Theory (1953), section 11.2: double sampling for a difference).

An observation counts once every answer in it is final. Which samples are paired depends on their positions
in the shuffled order alone, so one set of answers serves the whole, the segments and every candidate.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from crossgrade.domain import Sample

LARGEST_BLOCK = 16
"""The incumbent answers at least one sample in so many: beyond it hardly any variance is left to remove."""

PILOT = 20
"""Samples that every model answers before the size of a block is chosen.

A stored design keeps the pilot of its run. 30 cost 5 points more of the dollars at equal power (decision 13).
"""

PILOT_WEIGHT = 0.5
"""Weight of a pair against a block: blocks vary about half as much. It is fixed before any score is seen."""


class Observation(NamedTuple):
    """What a test takes at once; `weight` is relative to the heaviest planned observation, in (0, 1].

    `pairs` is the number of samples in it that both models have a score on.
    """

    incumbent: float
    candidate: float
    weight: float = 1.0
    pairs: int = 1


class AskedSample(NamedTuple):
    """A sample as one hypothesis sees it, once its answers are final; None is unscored.

    `position` counts from 0 in the shuffled order. `cluster_size` is the number of planned samples of its
    cluster in the hypothesis's part (1 without a cluster). `counts` False: the sample is planned but no
    part of the test, as one that is too long for the candidate.
    """

    position: int
    incumbent: float | None
    candidate: float | None
    weight: float = 1.0
    cluster: str | None = None
    cluster_size: int = 1
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """How the incumbent is spared: it answers one sample in `size` after the first `pilot` samples.

    `blend` is the weight of the block's mean, `pairs` the planned number of paired samples in all,
    `variance` the variance of a block's observation relative to a pair's. `source` says what they were
    chosen from: "pilot", or the id of an earlier run.
    """

    size: int
    blend: float
    pilot: int
    pairs: int
    variance: float = 1.0
    source: str = "pilot"

    @property
    def samples(self) -> int:
        """How many samples are planned in all."""
        return samples_of(self.pairs, size=self.size, pilot=self.pilot)

    def pairs_at(self, position: int) -> bool:
        """Whether the incumbent answers the sample at this position, from 0."""
        past = position - self.pilot
        return past < 0 or (past + 1) % self.size == 0


def samples_of(pairs: int, *, size: int, pilot: int) -> int:
    """Return how many samples hold so many paired ones."""
    return min(pairs, pilot) + max(0, pairs - pilot) * size


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDesign:
    """What a run fixes before it asks a question that depends on it; the store keeps it with the run.

    `samples` is how many samples of the shuffled order are planned. The test at the end is made once, after
    the first `first_samples` of them: those of the first plan, which the run `first_run` made (None: this
    one). `whole_clusters` says that clusters were shuffled as a whole. Where the dataset has grown since,
    `grown_from` are the numbers of samples that it had before, whose order comes first. After `pilot` paired
    samples the blocks are chosen (0: they were known from the start, or there are none); until then `before`
    samples were planned. `blocks` None is pairs throughout. `order` has the ids of the samples in the order
    asked, where a sealed baseline set it (None: shuffled).
    """

    samples: int
    first_samples: int
    first_run: str | None = None
    whole_clusters: bool = True
    grown_from: tuple[int, ...] = ()
    pilot: int = 0
    before: int = 0
    blocks: Blocks | None = None
    order: tuple[str, ...] | None = None

    def pairs_at(self, position: int) -> bool:
        """Whether the incumbent answers the sample at this position of the shuffled order, from 0."""
        return self.blocks is None or self.blocks.pairs_at(position)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """How many samples and observations of a part are planned, and where its test at the end is made.

    `first_samples` and `first_observations` are those of the first plan. `heaviest` is the largest weight
    of a planned observation. `pilot_samples` of it come before the blocks are chosen, and until then
    `before` observations were planned.
    """

    samples: int
    observations: int
    first_samples: int
    first_observations: int
    heaviest: float = 1.0
    pilot_samples: int = 0
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A run's design and what it comes to on the whole (`whole`) and on each segment."""

    run: RunDesign
    whole: PartPlan
    segments: Mapping[str, PartPlan] = field(default_factory=dict)

    def part(self, label: str | None) -> PartPlan:
        """Return the plan of a segment, or of the whole (None)."""
        return self.whole if label is None else self.segments[label]


def make_design(plan: Sequence[Sample], run: RunDesign, *, idle: Collection[str] = ()) -> Design:
    """Return what a run's design comes to on its planned samples, which stand in the order asked.

    Samples in `idle` nobody is to be asked: unpaired ones that are too long for every candidate. A segment
    that comes only after blocks were chosen is none of the hypotheses that the run began with.
    """
    whole = [(position, sample) for position, sample in enumerate(plan) if sample.id not in idle]
    parts: defaultdict[str, list[tuple[int, Sample]]] = defaultdict(list)
    for position, sample in whole:
        if sample.segment and (sample.segment in parts or not run.before or position < run.before):
            parts[sample.segment].append((position, sample))
    return Design(
        run=run,
        whole=_part_plan(whole, run),
        segments={label: _part_plan(samples, run) for label, samples in parts.items()},
    )


def _part_plan(samples: Sequence[tuple[int, Sample]], run: RunDesign) -> PartPlan:
    # A segment that the first plan did not reach has its first plan here.
    first = [each for each in samples if each[0] < run.first_samples] or samples
    return PartPlan(
        samples=len(samples),
        observations=_observations(samples, run),
        first_samples=len(first),
        first_observations=_observations(first, run),
        heaviest=max(cluster_weights(sample for _, sample in samples), default=1.0)
        if run.whole_clusters
        else max((sample.weight for _, sample in samples), default=1.0),
        pilot_samples=sum(position < run.pilot for position, _ in samples),
        before=sum(position < run.before for position, _ in samples),
    )


def _observations(samples: Sequence[tuple[int, Sample]], run: RunDesign) -> int:
    """Return how many observations some planned samples come to."""
    if run.blocks is not None:
        return sum(run.pairs_at(position) for position, _ in samples)
    if not run.whole_clusters:
        return len(samples)
    return len({_unit(sample) for _, sample in samples})


def cluster_weights(samples: Iterable[Sample]) -> Iterable[float]:
    """Return the sum of weights of each cluster; a sample without one stands for itself."""
    weights: defaultdict[tuple[bool, str], float] = defaultdict(float)
    for sample in samples:
        weights[_unit(sample)] += sample.weight
    return weights.values()


def cluster_sizes(samples: Iterable[Sample], *, by_segment: bool = False) -> Counter[tuple[str | None, str]]:
    """Return how many samples each cluster has, by (None, cluster), or by (segment, cluster)."""
    return Counter(
        (sample.segment if by_segment else None, sample.cluster)
        for sample in samples
        if sample.cluster is not None and (sample.segment or not by_segment)
    )


def _unit(sample: Sample) -> tuple[bool, str]:
    return (False, sample.id) if sample.cluster is None else (True, sample.cluster)


class Observer:
    """Makes one hypothesis's observations of its part's samples; feed it every one, in the order asked."""

    def __init__(self, run: RunDesign, part: PartPlan) -> None:
        self._taken = 0
        self._open: list[AskedSample] = []
        self._seen_of_cluster = 0
        self.plan(run, part)

    def plan(self, run: RunDesign, part: PartPlan) -> None:
        """Go on under another design, where blocks were chosen after the pilot."""
        self._run = run
        self._part = part

    @property
    def blocks(self) -> Blocks | None:
        """The blocks of the run, None for pairs or before they are chosen."""
        return self._run.blocks

    @property
    def past_pilot(self) -> bool:
        """Whether the blocks are known and no further sample is part of the pilot."""
        return self._run.blocks is not None and self._taken >= self._part.pilot_samples

    @property
    def at_first_end(self) -> bool:
        """Whether the sample taken last is the last one of the first plan."""
        return self._taken == self._part.first_samples

    @property
    def at_end(self) -> bool:
        """Whether every planned sample was taken."""
        return self._taken >= self._part.samples

    def take(self, asked: AskedSample) -> Observation | None:
        """Take the next sample; return the observation that it completes, if it does."""
        self._taken += 1
        if self._run.blocks is not None or self._run.pilot:
            return self._of_block(asked)
        if self._run.whole_clusters and asked.cluster is not None:
            return self._of_cluster(asked)
        return self._of_sample(asked)

    def _of_sample(self, asked: AskedSample) -> Observation | None:
        if not asked.counts or asked.incumbent is None or asked.candidate is None or not asked.weight > 0:
            return None
        return Observation(asked.incumbent, asked.candidate, self._relative(asked.weight))

    def _of_block(self, asked: AskedSample) -> Observation | None:
        if not asked.counts:
            return None
        self._open.append(asked)
        blocks = self._run.blocks
        if blocks is not None and not blocks.pairs_at(asked.position):
            return None
        block, self._open = self._open, []
        if asked.incumbent is None or asked.candidate is None:
            return None
        scores = [each.candidate for each in block if each.candidate is not None]
        blend = 0.0 if blocks is None else blocks.blend
        mixed = (1.0 - blend) * asked.candidate + blend * sum(scores) / len(scores)
        return Observation(asked.incumbent, min(mixed, 1.0), self._block_weight(asked.position))

    def _block_weight(self, position: int) -> float:
        if not self._run.pilot:
            return 1.0
        blocks = self._run.blocks
        is_block = blocks is not None and blocks.size > 1 and position >= blocks.pilot
        return 1.0 if is_block else PILOT_WEIGHT

    def _of_cluster(self, asked: AskedSample) -> Observation | None:
        if self._open and self._open[0].cluster != asked.cluster:
            self._open = []
        self._open.append(asked)
        if len(self._open) < asked.cluster_size:
            return None
        total = incumbent = candidate = 0.0
        pairs = 0
        cluster, self._open = self._open, []
        for each in cluster:
            if each.counts and each.incumbent is not None and each.candidate is not None:
                pairs += 1
                total += each.weight
                incumbent += each.weight * each.incumbent
                candidate += each.weight * each.candidate
        if not total > 0:
            return None
        means = min(incumbent / total, 1.0), min(candidate / total, 1.0)
        return Observation(*means, self._relative(total), pairs)

    def _relative(self, weight: float) -> float:
        return min(weight / self._part.heaviest, 1.0) if self._part.heaviest > 0 else 1.0
