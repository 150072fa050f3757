"""Evidence for the benchmark of the guards: sound, and with one fault planted in it.

A right answer is a normal number below a limit. Models share a factor of the item, which gives their
scores a correlation near 0.35. Where samples are drawn in clusters (documents, conversations), half of
that factor is the cluster's. Every fault is planted in evidence whose true retention is 0.80, five
points under the floor.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

from crossgrade.decide import Evidence, ModelColumns
from crossgrade.stats import SequentialRetention

Generator = np.random.Generator
SHARED = 0.75
"""The factor of the item in every model's latent score."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How sound evidence is drawn: `accuracy` is the incumbent's mean, spread over the segments.

    With `clusters` the sizes of these give the number of samples, by the key of `SIZES`, and each is in one
    segment.
    """

    name: str
    accuracy: float = 0.8
    n: int = 400
    segments: int = 0
    candidates: int = 1
    retention: float = 0.9
    graded: bool = False
    weighted: bool = False
    lost: float = 0.0
    labels: int = 0
    stopped: bool = False
    clusters: int = 0
    sizes: str = "equal"


SIZES: dict[str, Callable[[int, Generator], np.ndarray]] = {
    "equal": lambda clusters, _: np.full(clusters, 8),
    "Pareto(1.5)": lambda clusters, rng: (3 * rng.pareto(1.5, clusters) + 1).clip(1, 60).astype(np.int64),
    "log-normal(0.7)": lambda clusters, rng: (
        np.maximum(8 * np.exp(0.7 * rng.standard_normal(clusters)), 1).round().astype(np.int64)
    ),
}
"""The sizes of so many clusters: every one 8, and two kinds of unequal ones."""

CLEAN = (
    *(Setting(name=f"accuracy {a}, n {n}", accuracy=a, n=n) for a in (0.3, 0.8, 0.95) for n in (100, 400)),
    *(
        Setting(name=f"accuracy {a}, n {n}, {s} segments", accuracy=a, n=n, segments=s)
        for a in (0.3, 0.8, 0.95)
        for n, s in ((400, 6), (600, 20))
    ),
    Setting(name="graded scores, mean 0.6, n 400, 6 segments", accuracy=0.6, segments=6, graded=True),
    Setting(name="5 candidates, accuracy 0.8, n 400, 6 segments", segments=6, candidates=5),
    Setting(name="log-normal(1) weights, accuracy 0.8, n 400, 6 segments", segments=6, weighted=True),
    Setting(
        name="2 % of both models' calls failed, 2 % unread, 2 % cut short, accuracy 0.8, n 400, 6 segments",
        segments=6,
        lost=0.02,
    ),
    Setting(name="judge with 100 random labels, accuracy 0.8, n 600", n=600, labels=100),
    Setting(name="sequential run, stopped at its verdict, accuracy 0.8, n 400", stopped=True, retention=1.0),
    *(
        Setting(
            name=f"{clusters} {sizes} clusters, accuracy 0.8" + (f", {s} segments" if s else ""),
            clusters=clusters,
            sizes=sizes,
            segments=s,
        )
        for clusters, sizes in ((60, "equal"), (60, "Pareto(1.5)"), (150, "log-normal(0.7)"))
        for s in (0, 6)
    ),
)


def draw(setting: Setting, rng: Generator) -> Evidence:
    """Return sound evidence of a setting."""
    parts, k = max(setting.segments, 1), setting.candidates
    cluster = _clusters(setting, rng)
    n = setting.n if cluster is None else len(cluster)
    part = np.arange(n) % parts
    if cluster is not None:
        part = rng.integers(parts, size=setting.clusters)[cluster]
    odds = np.log(setting.accuracy / (1 - setting.accuracy)) + np.linspace(-0.7, 0.7, parts)[part] * (
        parts > 1
    )
    accuracy = 1 / (1 + np.exp(-odds))
    kept = np.linspace(setting.retention, 0.7, k) if k > 1 else [setting.retention]
    item = rng.standard_normal(n)
    if cluster is not None:
        item = np.sqrt(0.5) * (item + rng.standard_normal(setting.clusters)[cluster])
    b = _scores(rng, item, accuracy, graded=setting.graded)
    incumbent = columns("incumbent", b)
    candidates = [
        columns(
            f"candidate {at}", _scores(rng, item, np.minimum(ratio * accuracy, 0.99), graded=setting.graded)
        )
        for at, ratio in enumerate(kept)
    ]
    found = Evidence(
        workload="bench",
        sample_ids=texts(f"s{at}" for at in range(n)),
        incumbent=incumbent,
        candidates=tuple(candidates),
        segment=texts(f"part {at:02d}" for at in part) if setting.segments else None,
        weight=np.exp(rng.standard_normal(n)) if setting.weighted else None,
        cluster=None if cluster is None else texts(f"document {at}" for at in cluster),
    )
    if setting.lost:
        found = over_models(found, lambda model: _losing(model, setting.lost, rng))
    if setting.labels:
        found = judged(found, lambda _: rng.permutation(n)[: setting.labels], rng)
    return stopped(found, rng) if setting.stopped else found


def _clusters(setting: Setting, rng: Generator) -> np.ndarray | None:
    """Return each sample's cluster, in random order; None where samples are drawn one by one."""
    if not setting.clusters:
        return None
    return rng.permutation(
        np.repeat(np.arange(setting.clusters), SIZES[setting.sizes](setting.clusters, rng))
    )


def _scores(rng: Generator, item: np.ndarray, mean: np.ndarray, *, graded: bool) -> np.ndarray:
    latent = SHARED * item + np.sqrt(1 - SHARED**2) * rng.standard_normal(len(item))
    if not graded:
        return (latent < ndtri(mean)).astype(np.float64)
    return np.asarray(betaincinv(4 * mean, 4 * (1 - mean), ndtr(-latent)))


def stopped(evidence: Evidence, rng: Generator) -> Evidence:
    """Return what a sequential run of one candidate has asked when its test stops."""
    order = rng.permutation(evidence.n)
    incumbent, candidate = evidence.incumbent, evidence.candidates[0]
    test = SequentialRetention(0.85, 0.05, evidence.n)
    test.update_many(incumbent.score[order], candidate.score[order])
    asked = np.isin(np.arange(evidence.n), order[: test.n])

    def cut(model: ModelColumns) -> ModelColumns:
        return replace(
            model,
            score=np.where(asked, model.score, np.nan),
            cost_usd=np.where(asked, model.cost_usd, np.nan),
            latency_ms=np.where(asked, 100.0, np.nan),
        )

    return replace(over_models(evidence, cut), order=order, planned=evidence.n)


def texts(values: Any) -> np.ndarray:
    """Return texts as a column."""
    return np.array(list(values), dtype=object)


def columns(model: str, score: np.ndarray) -> ModelColumns:
    """Return a model's columns, with nothing but its scores and costs."""
    n = len(score)
    none, unknown = np.zeros(n, dtype=np.bool_), np.full(n, np.nan)
    return ModelColumns(
        model=model,
        score=score,
        error=none,
        unparsed=none,
        cost_usd=np.full(n, 0.01 if model == "incumbent" else 0.001),
        latency_ms=unknown,
        ttft_ms=unknown,
    )


def over_models(evidence: Evidence, change: Callable[[ModelColumns], ModelColumns]) -> Evidence:
    """Return the evidence with every model's columns changed."""
    return replace(
        evidence,
        incumbent=change(evidence.incumbent),
        candidates=tuple(change(each) for each in evidence.candidates),
    )


def _losing(model: ModelColumns, share: float, rng: Generator) -> ModelColumns:
    """Return the model with this share of its answers failed, of others unread and of others cut short."""
    kind = rng.random(len(model.score))
    error, unread, cut = ((kind > at * share) & (kind < (at + 1) * share) for at in range(3))
    return replace(
        model,
        score=np.where(error, np.nan, np.where(unread | cut, 0.0, model.score)),
        error=error,
        unparsed=unread,
        truncated=cut,
    )


def judged(evidence: Evidence, labelled: Callable[[Evidence], np.ndarray], rng: Generator) -> Evidence:
    """Return the evidence with a judge's scores, and with people's on the rows that `labelled` picks from these.

    The judge forgives 15 % of the incumbent's wrong answers and 35 % of the candidate's.
    """

    def judge(model: ModelColumns) -> ModelColumns:
        forgiven = 0.15 if model.model == "incumbent" else 0.35
        lenient = (model.score < 1) & (rng.random(len(model.score)) < forgiven)
        return replace(model, score=np.where(lenient, 1.0, model.score), human=model.score)

    scored = over_models(evidence, judge)
    seen = np.isin(np.arange(evidence.n), labelled(scored))
    return replace(
        over_models(scored, lambda model: replace(model, human=np.where(seen, model.human, np.nan))),
        judge="judge",
    )
