"""What verdicts say of money: wrong savings, savings too good to be true, intervals that cover.

Costs are simulated as log-normal: `spread` is the standard deviation of their logarithms, which is 1.3 for
the calls of a public coding trace (tests/data/traces). Both models are always right, so that every policy is certified
and only money decides.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit
from scipy.stats import gamma

from benchmarks._table import Row
from crossgrade.decide import DecisionSettings, Evidence, ModelColumns, decide_policy
from crossgrade.decide._costs import cheaper_segments, policy_cost, split_policy
from crossgrade.decide._view import make_view
from crossgrade.pricing.saving import policy_savings

SEED = 20261127
RUNS = 5_000
RUNS_HEADLINE = 20_000
NOW = datetime(2026, 11, 27, tzinfo=UTC)
SAME_SAMPLES = "segments chosen and priced by the same samples"
STUDENT = "Student's t"

Columns = tuple[np.ndarray, np.ndarray]


def log_normal(normal: np.ndarray, spread: float) -> np.ndarray:
    """Costs of mean 1 from standard normal numbers."""
    return np.exp(spread * normal - spread**2 / 2)


def pairs(rng: np.random.Generator, n: int, correlation: float) -> Columns:
    """Two columns of standard normal numbers with this correlation."""
    first, other = rng.standard_normal((2, n))
    return first, correlation * first + math.sqrt(1 - correlation**2) * other


@dataclass(frozen=True)
class Split:
    """Segments of equal size; `effects` are the true savings on them in turn, as a share of the cost."""

    segments: int
    each: int
    effects: tuple[float, ...] = (0.0,)
    candidates: int = 1
    spread: float = 1.0
    correlation: float = 0.3

    @property
    def labels(self) -> tuple[str, ...]:
        """The segments' names."""
        return tuple(f"s{i:02d}" for i in range(self.segments))

    @property
    def n(self) -> int:
        """The number of samples."""
        return max(self.segments, 1) * self.each

    def true_saving(self, moved: tuple[str, ...]) -> float:
        """What moving these segments saves per request, of a mean cost of 1."""
        effect = dict(zip(self.labels, np.resize(self.effects, self.segments), strict=True))
        return float(sum(effect[label] for label in moved)) / self.segments

    def costs(self, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
        """The incumbent's costs and each candidate's."""
        normal = rng.standard_normal(self.n)
        left = 1 - np.resize(self.effects, max(self.segments, 1))
        own = math.sqrt(1 - self.correlation**2) * rng.standard_normal((self.candidates, self.n))
        theirs = log_normal(self.correlation * normal + own, self.spread)
        return log_normal(normal, self.spread), list(np.resize(left, self.n) * theirs)


def evidence(split: Split, incumbent_usd: np.ndarray, candidates_usd: list[np.ndarray]) -> Evidence:
    """Evidence in which every model is always right, at these costs."""
    n = split.n

    def columns(model: str, cost_usd: np.ndarray) -> ModelColumns:
        unknown, none = np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
        return ModelColumns(
            model=model,
            score=np.ones(n),
            error=none,
            unparsed=none,
            cost_usd=cost_usd,
            latency_ms=unknown,
            ttft_ms=unknown,
        )

    return Evidence(
        workload="simulated",
        sample_ids=np.array([f"item-{i}" for i in range(n)], dtype=object),
        incumbent=columns("incumbent", incumbent_usd),
        candidates=tuple(columns(f"candidate-{i}", cost) for i, cost in enumerate(candidates_usd)),
        segment=np.array([split.labels[i % split.segments] for i in range(n)], dtype=object)
        if split.segments
        else None,
    )


def _same_samples(
    split: Split, incumbent_usd: np.ndarray, candidate_usd: np.ndarray
) -> tuple[float, float, float]:
    """Choose by the sign of each segment's saving, price on the same samples: saving, t, true saving."""
    saving = incumbent_usd - candidate_usd
    chosen = saving.reshape(split.each, split.segments).mean(axis=0) > 0
    chosen = chosen if chosen.any() else np.ones(split.segments, dtype=np.bool_)
    moved = np.where(np.resize(chosen, split.n), saving, 0.0)
    t = moved.mean() / (moved.std(ddof=1) / math.sqrt(split.n))
    labels = tuple(label for label, held in zip(split.labels, chosen, strict=True) if held)
    return float(moved.mean()), float(t), split.true_saving(labels)


def _wrong_moves(job: tuple[Split, int, int]) -> tuple[int, int]:
    """Verdicts that move traffic "to save" where nothing saves, and those of the same-samples rule."""
    split, part, runs = job
    rng = np.random.default_rng((SEED, 1, split.segments, split.candidates, part))
    wrong = naive = 0
    for _ in range(runs):
        before, after = split.costs(rng)
        wrong += decide_policy(evidence(split, before, after), now=NOW).name in {"switch", "split"}
        if split.segments:
            naive += _same_samples(split, before, after[0])[1] > stdtrit(split.n - 1, 0.975)
    return wrong, naive


class Printed(NamedTuple):
    """Means over runs: the saving printed and the true one of the policy; the same for the peer."""

    printed: float
    truth: float
    error: float
    peer: float
    peer_truth: float


def _printed(job: tuple[int, Split]) -> Printed:
    """The saving of the split that `decide` would offer, by the functions that it calls."""
    number, split = job
    rng = np.random.default_rng((SEED, 2, number))
    found = np.empty((RUNS, 4))
    for run in range(RUNS):
        before, (after,) = split.costs(rng)
        view = make_view(evidence(split, before, [after]), DecisionSettings())
        choice = cheaper_segments(view, "candidate-0", split.labels)
        policy = split_policy(view, "candidate-0", choice.segments or split.labels)
        saving = policy_cost(view, policy, without=choice.spent).saving_per_request_usd.value
        peer, _, peer_truth = _same_samples(split, before, after)
        found[run] = saving, split.true_saving(policy.segments), peer, peer_truth
    printed, truth, peer, peer_truth = found.mean(axis=0).tolist()
    error = float((found[:, 0] - found[:, 1]).std()) / math.sqrt(RUNS) / truth
    return Printed(printed, truth, error, peer, peer_truth)


def _row(
    figure: str,
    value: float,
    must: str,
    *,
    holds: bool,
    conditions: str,
    peers: Mapping[str, float] | None = None,
) -> Row:
    row: Row = {
        "figure": figure,
        "value": value,
        "unit": "",
        "must": must,
        "holds": holds,
        "conditions": conditions,
    }
    return row if peers is None else {**row, "peers": peers}


def move_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """Wrong savings at equal costs, and how the saving that is printed compares with the true one."""
    parts = 10
    for split, what in (
        (Split(6, 40), "6 segments"),
        (Split(12, 40), "12 segments"),
        (Split(0, 120, candidates=3), "3 candidates without segments"),
    ):
        jobs = [(split, part, RUNS // parts) for part in range(parts)]
        wrong, naive = (np.sum(list(pool.map(_wrong_moves, jobs)), axis=0) / RUNS).tolist()
        yield _row(
            f'wrong "saves" at equal costs, {what}',
            wrong,
            "<= 0.055",
            holds=wrong <= 0.055,
            conditions=f"through `decide_policy`, a switch or a split; {split.n} samples, spread 1, correlation "
            f"0.3; {RUNS:,} runs, Monte-Carlo s.e. {math.sqrt(wrong * (1 - wrong) / RUNS):.4f}, seed {SEED}",
            peers={SAME_SAMPLES: naive} if split.segments else None,
        )
    settings = (
        Split(12, 60, (0.1,)),
        Split(6, 60, (0.3,)),
        Split(6, 60, (0.5, -0.5)),
        Split(12, 60, (0.6, -0.3)),
        Split(6, 30, (0.9, 0.5, -0.5)),
    )
    found = list(pool.map(_printed, enumerate(settings)))
    ratios = [each.printed / each.truth for each in found]
    worst = int(np.argmax(np.abs(np.log(ratios))))
    told = "; ".join(
        f"{each.segments} segments of {each.each} that truly save {', '.join(f'{e:g}' for e in each.effects)} of "
        f"the cost in turn: {ratio:.3f}"
        for each, ratio in zip(settings, ratios, strict=True)
    )
    yield _row(
        "printed saving of a split over the true one",
        ratios[worst],
        "0.9 to 1.1",
        holds=0.9 <= ratios[worst] <= 1.1,
        conditions=f"furthest from 1 of {len(settings)} settings, by the functions that `decide_policy` calls; "
        f"{told}; {RUNS:,} runs each, Monte-Carlo s.e. {found[worst].error:.3f}, seed {SEED}",
        peers={SAME_SAMPLES: max(each.peer / each.peer_truth for each in found)},
    )


def _some_long(normal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Log-normal costs of which one call in twenty is ten times as large."""
    return log_normal(normal, 1.0) * np.where(rng.random(len(normal)) < 0.05, 10, 1) / 1.45


def _bounded(normal: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Log-normal costs of spread 1.5 that a limit cuts where a tenth would be longer."""
    most = 1.2815515655446004
    cut = math.exp(1.5 * most - 1.5**2 / 2)
    mean = ndtr(most - 1.5) + cut * ndtr(-most)
    return np.minimum(log_normal(normal, 1.5), cut) / mean


SHAPES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "exponential": lambda normal, _: -np.log(ndtr(-normal)),
    "gamma with shape 0.7": lambda normal, _: gamma.ppf(ndtr(normal), 0.7) / 0.7,
    "Pareto with exponent 2.5": lambda normal, _: 1.5 * (ndtr(-normal) ** (-1 / 2.5) - 1),
    "log-normal of spread 1.5, cut by a limit": _bounded,
    "log-normal of spread 1.5, 5 % of calls failed at no cost": lambda normal, rng: (
        log_normal(normal, 1.5) * (rng.random(len(normal)) < 0.95) / 0.95
    ),
    "log-normal of spread 1, 5 % of calls ten times as large": _some_long,
}


@dataclass(frozen=True)
class Costs:
    """Costs of both models on n calls; the candidate's are `ratio` of the incumbent's on average."""

    n: int
    spreads: tuple[float, float] = (1.5, 1.5)
    ratio: float = 0.1
    correlation: float = 0.6
    shape: str | None = None
    weights: float = 0.0
    cluster: int = 1

    def __str__(self) -> str:
        kind = self.shape or f"spreads {self.spreads[0]:g} and {self.spreads[1]:g}"
        extra = f", weights of spread {self.weights:g}" if self.weights else ""
        extra += f", clusters of {self.cluster}" if self.cluster > 1 else ""
        return f"n {self.n}, {kind}, mean costs 1 and {self.ratio:g}, correlation {self.correlation:g}{extra}"

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The incumbent's costs, the candidate's, and its scores: right 70 % of the time, less when long."""
        normals = list(pairs(rng, self.n, self.correlation))
        if self.cluster > 1:  # 0.4 of the variance of logarithms is between clusters
            shared = pairs(rng, self.n // self.cluster, self.correlation)
            normals = [
                math.sqrt(0.4) * np.repeat(one, self.cluster) + math.sqrt(0.6) * own
                for one, own in zip(shared, normals, strict=True)
            ]
        shape = SHAPES.get(self.shape or "")
        costs = [
            log_normal(each, spread) if shape is None else shape(each, rng)
            for each, spread in zip(normals, self.spreads, strict=True)
        ]
        score = -0.3 * normals[1] + math.sqrt(0.91) * rng.standard_normal(self.n) < 0.5244005127080407
        return costs[0], self.ratio * costs[1], score.astype(np.float64)


class Covered(NamedTuple):
    """Shares of runs: each interval holds the truth, "saves" is said, Student's interval of the cost holds."""

    request: float
    saving: float
    share: float
    solved: float
    saves: float
    student: float

    @property
    def least(self) -> float:
        """The least of the four coverages."""
        return min(self[:4])


def _coverage(job: tuple[int, Costs, int]) -> Covered:
    number, costs, runs = job
    rng = np.random.default_rng((SEED, 3, number))
    held = np.zeros(6)
    truth = (costs.ratio, 1 - costs.ratio, 1 - costs.ratio, costs.ratio / 0.7)
    cluster = np.repeat(np.arange(costs.n // costs.cluster), costs.cluster) if costs.cluster > 1 else None
    quantile = float(stdtrit(costs.n - 1, 0.975))
    for _ in range(runs):
        before, after, score = costs.draw(rng)
        weight = log_normal(rng.standard_normal(costs.n), costs.weights) if costs.weights else None
        found = policy_savings(before, after, score, weight=weight, cluster=cluster)
        estimates = (
            found.per_request_usd,
            found.saving_per_request_usd,
            found.saving_share,
            found.per_solved_usd,
        )
        held[:4] += [each.low <= true <= each.high for each, true in zip(estimates, truth, strict=True)]
        held[4] += found.saving_per_request_usd.low > 0
        held[5] += abs(after.mean() - costs.ratio) <= quantile * after.std(ddof=1) / math.sqrt(costs.n)
    return Covered(*(held / runs).tolist())


def _worst(
    pool: ProcessPoolExecutor, first: int, settings: list[Costs]
) -> tuple[Costs, Covered, list[Covered]]:
    jobs = [(first + i, each, RUNS) for i, each in enumerate(settings)]
    found = list(pool.map(_coverage, jobs))
    where = int(np.argmin([each.least for each in found]))
    return settings[where], found[where], found


def cover_rows(pool: ProcessPoolExecutor) -> Iterator[Row]:
    """How often the intervals of costs and savings hold the truth, and wrong savings at unlike tails."""
    (headline,) = pool.map(_coverage, [(0, Costs(60), RUNS_HEADLINE)])
    yield _row(
        "interval of a mean cost covers, n 60, spread 1.5",
        headline.request,
        ">= 0.92",
        holds=headline.request >= 0.92,
        conditions=f"`policy_savings`; of the saving {headline.saving:.3f}, of its share {headline.share:.3f}, of "
        f"the cost per point of score {headline.solved:.3f}; {RUNS_HEADLINE:,} runs, Monte-Carlo s.e. 0.0013, "
        f"seed {SEED}",
        peers={STUDENT: headline.student},
    )
    unlike = ((0.5, 0.5, 1, 0.3), (1.5, 1.5, 1, 0.6), (0.5, 1.5, 1, 0.3), (2, 2, 0.3, 0.6), (1, 1, 0.1, 0.9))
    plain = [Costs(n, (a, b), ratio, rho) for n in (30, 60, 300, 1000) for a, b, ratio, rho in unlike]
    groups = {
        "log-normal costs of spread 0.5 to 2": plain,
        "weighted log-normal costs": [
            Costs(n, (a, b), ratio, rho, weights=weights)
            for n in (60, 300)
            for weights in (0.5, 1.0)
            for a, b, ratio, rho in ((1.5, 1.5, 0.1, 0.6), (0.5, 1.5, 1, 0.3))
        ],
        "clustered log-normal costs": [
            Costs(n, (a, b), ratio, rho, cluster=size)
            for n, size in ((120, 4), (600, 10))
            for a, b, ratio, rho in ((1.5, 1.5, 0.1, 0.6), (0.5, 1.5, 1, 0.3))
        ],
    }
    groups |= {f"costs {shape}": [Costs(n, shape=shape) for n in (30, 60, 300)] for shape in SHAPES}
    first = 1
    for name, settings in groups.items():
        where, worst, found = _worst(pool, first, settings)
        first += len(settings)
        yield _row(
            f"intervals cover, {name}",
            worst.least,
            ">= 0.92",
            holds=worst.least >= 0.92,
            conditions=f"least of cost, saving, its share and cost per point over {len(settings)} settings: {where}; "
            f"there {worst.request:.3f}, {worst.saving:.3f}, {worst.share:.3f}, {worst.solved:.3f}; "
            f"{RUNS:,} runs each, Monte-Carlo s.e. at most 0.004, seed {SEED}",
            peers=None
            if any(each.weights or each.cluster > 1 for each in settings)
            else {f"{STUDENT}, mean cost": min(each.student for each in found)},
        )
    tails = [
        Costs(n, spreads, 1, 0.3) for n in (60, 300) for spreads in ((0.5, 1.5), (1, 1.5), (1.5, 1.5), (1, 2))
    ]
    found = list(pool.map(_coverage, [(first + i, each, RUNS) for i, each in enumerate(tails)]))
    worst = int(np.argmax([each.saves for each in found]))
    yield _row(
        'wrong "saves" at equal mean costs where the candidate\'s have the longer tail',
        found[worst].saves,
        "<= 0.055",
        holds=found[worst].saves <= 0.055,
        conditions=f"worst of {len(tails)} settings: {tails[worst]}; `policy_savings`, one switch; {RUNS:,} runs "
        f"each, Monte-Carlo s.e. {math.sqrt(found[worst].saves / RUNS):.4f}, seed {SEED}",
    )


def rows() -> list[Row]:
    """Every figure on money."""
    with ProcessPoolExecutor() as pool:
        return [*move_rows(pool), *cover_rows(pool)]
