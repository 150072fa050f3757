"""Wrong passes and wrong fails in the settings in which an audit found too many, and the price in power.

In every setting the retention is exactly the floor. What is counted comes from the tests that `decide`
makes (`FixedRetention`, `SequentialRetention`, `corrected_test`), and for graded scores from a verdict.
"""

import csv
import gzip
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._table import Row
from crossgrade.decide import DecisionSettings, Evidence, ModelColumns, decide_policy
from crossgrade.stats import FixedRetention, Pairs, SequentialRetention, corrected_test, read_pairs
from crossgrade.stats._linear_test import PairedMeans
from crossgrade.stats._score_test import score_z

FLOOR, ALPHA = 0.85, 0.05
SEED = 20261127
RUNS, JUDGED, FRESH, VERDICTS, TABLES = 5_000, 20_000, 5, 5_000, 200_000
STRICT = 0.0004
FEW_LABELS = (0, 60, 99)
NOW = datetime(2026, 11, 27, tzinfo=UTC)
_WILDBENCH = Path(__file__).parent.parent / "tests" / "data" / "published" / "wildbench.csv.gz"
_Z = 1.6448536269514722


class Drawn(NamedTuple):
    """A sample at the boundary: scores, cluster numbers and weights where there are any."""

    incumbent: np.ndarray
    candidate: np.ndarray
    clusters: np.ndarray | None = None
    weights: np.ndarray | None = None


def heavy_lost(rng: np.random.Generator, n: int) -> Drawn:
    """Log-normal(1) weights; the candidate loses 25 % of the heavy samples and 5 % of the light ones."""
    weights = np.exp(rng.standard_normal(n))
    lost = rng.random(n) < np.where(weights > math.e, 0.25, 0.05)
    return Drawn(np.ones(n), 1.0 - lost, weights=weights)


def clustered(kind: str, rng: np.random.Generator, n: int) -> Drawn:
    """n clusters of Pareto or log-normal size, each with a loss rate of its own (intra-class 0.25)."""
    if kind == "Pareto":
        sizes = (rng.pareto(1.5, n) * 3 + 1).astype(int).clip(1, 60)
    else:
        sizes = np.maximum(1, np.round(8 * np.exp(0.7 * rng.standard_normal(n)))).astype(int)
    clusters = np.repeat(np.arange(n), sizes)
    lost = rng.random(len(clusters)) < rng.beta(0.45, 2.55, n)[clusters]
    return Drawn(np.ones(len(clusters)), 1.0 - lost, clusters=clusters)


def rarely_worthless(level: float, spread: float, rng: np.random.Generator, n: int) -> Drawn:
    """The candidate a little lower everywhere, and worthless on the few percent that bring it to the floor."""
    near = min(level, 1 - level)
    scores = level + np.clip(spread * rng.standard_normal(n), -near, near)
    return Drawn(np.ones(n), np.where(rng.random(n) < 1 - FLOOR / level, 0.0, scores))


_SETTINGS: dict[str, tuple[Callable[[np.random.Generator, int], Drawn], tuple[int, ...]]] = {
    "log-normal(1) weights, heavy samples lost": (heavy_lost, (40, 60, 100)),
    "clusters of Pareto size": (lambda rng, n: clustered("Pareto", rng, n), (25, 60, 150)),
    "clusters of log-normal(0.7) size": (lambda rng, n: clustered("log-normal", rng, n), (25, 60, 150)),
}


def _units(drawn: Drawn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the observations of the sequential rule: mean scores, and weights relative to the heaviest."""
    if drawn.clusters is None:
        assert drawn.weights is not None
        return drawn.incumbent, drawn.candidate, drawn.weights / drawn.weights.max()
    sizes = np.bincount(drawn.clusters)
    b, c = (np.bincount(drawn.clusters, x) / sizes for x in (drawn.incumbent, drawn.candidate))
    return b, c, sizes / sizes.max()


def boundary(job: tuple[str, int]) -> tuple[float, float, float]:
    """Return the shares of wrong passes: fixed, sequential, and of fixed wrong fails."""
    name, n = job
    rng = np.random.default_rng((SEED, n, len(name)))
    counts = np.zeros(3)
    for _ in range(RUNS):
        drawn = _SETTINGS[name][0](rng, n)
        fixed = FixedRetention(read_pairs(*drawn), FLOOR, ALPHA)
        order = rng.permutation(n)
        b, c, weight = (column[order] for column in _units(drawn))
        passed = SequentialRetention(FLOOR, ALPHA, n).update_many(b, c, weight) == "pass"
        counts += [fixed.outcome == "pass", passed, fixed.outcome == "fail"]
    return tuple(counts / RUNS)


def _human(kind: str, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """People's scores of both models, at the floor."""
    if kind == "rare zeros":
        drawn = rarely_worthless(0.89, 0.05, rng, n)
        return drawn.incumbent, drawn.candidate
    if kind == "ordinary grades":
        b = rng.binomial(4, rng.beta(6, 2, n)) / 4
        return b, b * (rng.random(n) < FLOOR)
    share = float(kind.removeprefix("right or wrong, "))
    hard = 0.6 * rng.standard_normal(n)
    columns = []
    for mean in (share, FLOOR * share):
        seen = hard + 0.8 * rng.standard_normal(n)
        columns.append((seen < _quantile(mean)).astype(float))
    return columns[0], columns[1]


def _quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)


def _judge(kind: str, rng: np.random.Generator, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, ...]:
    """A judge's scores of both models' answers."""
    u, v = rng.random((2, len(b)))
    if kind == "good":
        return np.where(u < 0.06, 1 - b, b), np.where(v < 0.06, 1 - c, c)
    if kind == "lenient":
        return np.where((b < 0.5) & (u < 0.15), 1, b), np.where((c < 0.5) & (v < 0.35), 1, c)
    if kind == "errs on the same":
        hard = rng.random(len(b)) < 0.25
        return np.where(hard & (u < 0.5), 1, b), np.where(hard & (v < 0.9), 1, c)
    noise = 0.2 * rng.standard_normal((2, len(b)))
    return np.clip(b + noise[0], 0, 1), np.clip(c + noise[1] + 0.05, 0, 1)


_SCORES = ("right or wrong, 0.8", "right or wrong, 0.95", "ordinary grades", "rare zeros")
_JUDGES = ("good", "lenient", "errs on the same", "noisy")


def judged(job: tuple[str, str, int], fresh: int = 0) -> tuple[float, float]:
    """Return the shares of wrong passes at alpha and at alpha / 12 of 1,000 judged samples.

    `fresh` numbers runs of the same setting with another seed.
    """
    scores, judge, labels = job
    rng = np.random.default_rng((SEED, labels, len(scores), len(judge), *([fresh] if fresh else [])))
    counts = np.zeros(2)
    for _ in range(JUDGED):
        b, c = _human(scores, rng, 1_000)
        by_judge = _judge(judge, rng, b, c)
        pairs = Pairs(incumbent=by_judge[0] * 1.0, candidate=by_judge[1] * 1.0)
        seen = rng.permutation(1_000) < labels
        human = np.where(seen, [b, c], np.nan)
        p = corrected_test(pairs, human[0], human[1], floor=FLOOR, alpha=ALPHA).p_value
        counts += [p <= ALPHA, p <= ALPHA / 12]
    return float(counts[0] / JUDGED), float(counts[1] / JUDGED)


def verdicts(job: tuple[int, int]) -> int:
    """Return how many verdicts switch wrongly on 60 graded pairs, 2.3 % of which are worthless."""
    batch, runs = job
    rng = np.random.default_rng((SEED, batch, 60))
    ids = np.array([f"s{at}" for at in range(60)], dtype=object)
    switched = 0
    for _ in range(runs):
        drawn = rarely_worthless(0.87, 0.03, rng, 60)
        models = [_columns(name, scores, cost) for name, scores, cost in
                  (("old", drawn.incumbent, 0.01), ("new", drawn.candidate, 0.001))]  # fmt: skip
        evidence = Evidence(workload="w", sample_ids=ids, incumbent=models[0], candidates=(models[1],))
        switched += decide_policy(evidence, DecisionSettings(), now=NOW).certificates[0].certified
    return switched


def _columns(model: str, score: np.ndarray, cost_usd: float) -> ModelColumns:
    nothing, unknown = np.zeros(len(score), dtype=bool), np.full(len(score), np.nan)
    return ModelColumns(
        model=model, score=score, error=nothing, unparsed=nothing,
        cost_usd=np.full(len(score), cost_usd), latency_ms=unknown, ttft_ms=unknown,
    )  # fmt: skip


def wrong_fails(n: int, strict: bool = False) -> tuple[float, str]:  # noqa: FBT001, FBT002 -- by place, as a job
    """Return the largest share of wrong fails of right-or-wrong scores over 66 settings, and where.

    If `strict`, it is that at the error rate `STRICT`, from ten times as many fresh tables of the worst setting.
    """
    rng = np.random.default_rng((SEED, n, *([1] if strict else [])))
    z = -_quantile(STRICT) if strict else _Z
    accuracies = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99)
    settings = [(a, rho) for a in accuracies for rho in (-0.9, -0.3, 0.0, 0.3, 0.6, 0.9)]
    found = [_wrong_fails(rng, n, *each, z, TABLES) for each in settings]
    worst = int(np.argmax(found))
    share = _wrong_fails(rng, n, *settings[worst], z, 10 * TABLES) if strict else found[worst]
    accuracy, correlation = settings[worst]
    return share, f"accuracy {accuracy}, correlation {correlation}"


def _wrong_fails(
    rng: np.random.Generator, n: int, accuracy: float, correlation: float, z: float, tables: int
) -> float:
    b, c = accuracy, accuracy * FLOOR
    p11 = b * c + correlation * math.sqrt(b * (1 - b) * c * (1 - c))
    p11 = min(max(p11, b + c - 1, 0.0), b, c)
    shares = np.clip([p11, b - p11, c - p11, 1 - b - c + p11], 0, None)
    table = rng.multinomial(n, shares / shares.sum(), size=tables).T
    return float(np.mean(score_z(*table[:3], FLOOR)[1] <= -z))


def power(job: tuple[str, str, int, float]) -> tuple[float, float]:
    """Return the power on WildBench pairs of today's test, and of the t test alone."""
    old, new, n, share = job
    with gzip.open(_WILDBENCH, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    b, c = ((np.array([float(row[name]) for row in rows]) - 1) / 9 for name in (old, new))
    floor = c.mean() / b.mean() * share / 0.95
    rng = np.random.default_rng((SEED, n, 7))
    counts = np.zeros(2)
    for _ in range(RUNS):
        at = rng.integers(0, len(b), n)
        test = FixedRetention(read_pairs(b[at], c[at]), floor, ALPHA)
        means = PairedMeans.of(np.stack([b[at], c[at]]), np.full(n, 1 / n))
        plain = means.t(floor)
        counts += [test.outcome == "pass", plain is not None and plain >= _T[n]]
    return tuple(counts / RUNS)


_T = {40: 1.684875, 60: 1.671093, 100: 1.660391, 200: 1.652547}
_PAIRS = (
    ("Qwen1.5-72B-Chat-greedy", "reka-flash-20240226"),
    ("reka-flash-20240226", "Phi-3-mini-128k-instruct"),
)


def _rate(
    figure: str, value: float, most: float | None, aim: float | None, conditions: str, runs: int = RUNS
) -> Row:
    error = math.sqrt(max(value, 1 / runs) * (1 - value) / runs)
    row: Row = {
        "figure": figure, "value": float(value), "unit": "",
        "conditions": f"{conditions}; Monte-Carlo s.e. {error:.4f}, {runs:,} runs each, seed {SEED}",
    }  # fmt: skip
    if most is not None and aim is not None:
        row |= {"must": f"<= {most:g}", "aim": f"<= {aim:g}", "holds": bool(value <= most)}
    return row


def setting_rows(pool: Executor) -> Iterator[Row]:
    """Wrong passes under weights and clusters."""
    for name, (_, sizes) in _SETTINGS.items():
        found = list(pool.map(boundary, [(name, n) for n in sizes]))
        weighted = name.startswith("log-normal(1)")
        for rule, at in (("fixed test", 0), ("sequential rule", 1)):
            worst = max(one[at] for one in found)
            each = ", ".join(f"{n}: {one[at]:.4f}" for n, one in zip(sizes, found, strict=True))
            most = 0.055 if weighted else 0.06
            yield _rate(f"wrong pass, {name}, {rule}", worst, most, 0.05, f"worst of n {each}")


def judge_rows() -> list[Row]:
    """Wrong passes of a judge that people's labels correct."""
    with ProcessPoolExecutor() as pool:
        return list(_judge_rows(pool))


def _judge_rows(pool: Executor) -> Iterator[Row]:
    for scores in ("right or wrong", "ordinary grades", "rare zeros"):
        kinds = [each for each in _SCORES if each.startswith(scores)]
        jobs = [(kind, judge, labels) for kind in kinds for judge in _JUDGES for labels in (100, 200)]
        found = list(pool.map(judged, jobs))
        worst = max(range(len(jobs)), key=lambda at: found[at][0])
        where = "{}, judge {}, {} labels of 1,000 samples".format(*jobs[worst])
        most = 0.08 if scores == "rare zeros" else 0.06
        yield _rate(f"wrong pass, judge corrected by labels, {scores}", found[worst][0], most, 0.05,
                    f"worst of {len(jobs)} settings: {where}", JUDGED)  # fmt: skip
        strict = max(range(len(jobs)), key=lambda at: found[at][1])
        where = "{}, judge {}, {} labels".format(*jobs[strict])
        # The largest of many small shares is too large by chance: that setting is measured anew.
        again = [each for _, each in pool.map(judged, [jobs[strict]] * FRESH, range(1, FRESH + 1))]
        yield _rate(f"the same at alpha / 12, {scores}", sum(again) / FRESH, 1.5 * ALPHA / 12, ALPHA / 12,
                    f"the worst of {len(jobs)} settings ({found[strict][1]:.4f} of {JUDGED:,} runs), in fresh "
                    f"runs: {where}; must is 1.5 times nominal", FRESH * JUDGED)  # fmt: skip


def rows() -> list[Row]:
    """Every figure of the audit's settings."""
    with ProcessPoolExecutor() as pool:
        found = list(setting_rows(pool))
        batches = [(at, VERDICTS // 10) for at in range(10)]
        switched = sum(pool.map(verdicts, batches)) / VERDICTS
        found.append(_rate("wrong certificate, graded, slightly lower and 2.3 % worthless, n 60", switched, 0.08, 0.05,
                           "through decide_policy", VERDICTS))  # fmt: skip
        for n, (share, where) in zip(
            (20, 50, 120, 400), pool.map(wrong_fails, (20, 50, 120, 400)), strict=True
        ):
            most = None if n == 20 else 0.06
            found.append(_rate(f"wrong fail, right or wrong, n {n}", share, most, 0.055 if most else None,
                               f"fixed score test, worst of 66 settings: {where}", TABLES))  # fmt: skip
        sizes = (50, 120, 400)
        for n, (share, where) in zip(sizes, pool.map(wrong_fails, sizes, [True] * len(sizes)), strict=True):
            found.append(_rate(f"wrong fail at an error rate of {STRICT:.2%}, right or wrong, n {n}", share, None, None,
                               f"fixed score test, {share / STRICT:.2f} times nominal; the worst of 66 settings, in "
                               f"fresh runs: {where}", 10 * TABLES))  # fmt: skip
        kind = "right or wrong, 0.8"
        few = [share for share, _ in pool.map(judged, [(kind, "lenient", labels) for labels in FEW_LABELS])]
        found.append(_rate("passes on a lenient judge with fewer labels than correcting it takes", max(few), 0.0, 0.0,
                           f"{kind}, {', '.join(map(str, FEW_LABELS))} labels of 1,000 samples", JUDGED))  # fmt: skip
        jobs = [
            (*pair, n, share)
            for pair in _PAIRS
            for n, share in ((40, 0.85), (60, 0.85), (100, 0.9), (200, 0.92))
        ]
        for (old, new, n, share), (ours, plain) in zip(jobs, pool.map(power, jobs), strict=True):
            row = _rate(f"power on WildBench grades, n {n}", ours, None, None,
                        f"{new} against {old}, floor {share / 0.95:.3f} of the true ratio, pairs drawn with replacement")  # fmt: skip
            found.append({**row, "peers": {"t test alone": plain}})
    return found
