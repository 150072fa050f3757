"""A site whose route grows: its configuration, its verdicts on simulated samples, and a day's audits."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from crossgrade.decide import DecisionSettings, decide_policy, train_router
from crossgrade.evaluate import build_scorer, run_settings
from crossgrade.project import Project
from crossgrade.routing import Router
from crossgrade.store import Pair, Run
from crossgrade.watch import GrowthStanding
from tests.unit.decide.test_router import columns, evidence
from tests.unit.store.conftest import make_run
from tests.unit.watch.conftest import BAD, GOOD, NOW, Site, pair

DAY = timedelta(days=1)
SEGMENTS = {"a": 0.99, "b": 0.96, "c": 0.86, "d": 0.76, "e": 0.3}
"""The share of the incumbent's right answers that the candidate has right too."""


def config(site: Site, *, grow: bool = True, rate: float = 0.05, route: str = "") -> None:
    site.write(route=f"    grow: {str(grow).lower()}\n{route}")
    path = site.folder / "crossgrade.yaml"
    text = path.read_text().replace(
        "candidates: [llama]", "candidates: [llama]\n    router: true\n    mode: fixed"
    )
    path.write_text(text.replace("rate: 0.05", f"rate: {rate}"))


def verdict_of(site: Site, n: int, *, grow: bool = True, price: float | None = 0.001, seed: int = 5) -> str:
    """Record a verdict on n samples of the five segments, and return its id."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(list(SEGMENTS), n)
    b = (rng.random(n) < 0.9).astype(float)
    c = b * (rng.random(n) < np.array([SEGMENTS[label] for label in labels]))
    nan = float("nan")
    found = evidence(
        n, workload="support", input=None, segment=labels.astype(object),
        incumbent=columns("gpt", b, 0.01), candidates=(columns("llama", c, nan if price is None else price),),
    )  # fmt: skip
    settings = DecisionSettings(mode="fixed", floor=0.85, grow=grow, requests_per_month=100_000)
    routed = train_router(found, settings)
    assert routed.routing is not None
    router = routed.routing.router
    assert router is not None
    assert router.segments is not None
    scores = sorted(router.segments.values(), reverse=True)
    each = tuple(math.floor(score * 10_000) / 10_000 for score in scores)  # a step for each segment
    routed = replace(routed, routing=replace(routed.routing, router=replace(router, thresholds=each)))
    with site.project() as project:
        run = run_of(project)
        verdict = decide_policy(routed, settings, now=NOW - DAY, run_id=run.id)
        return project.store.verdicts.append(verdict, routed)


def run_of(project: Project) -> Run:
    """Record a run of the workload as it is configured, and return it."""
    workload = project.config.workloads["support"]
    digest = build_scorer(workload.scorer).digest
    settings = run_settings(workload, dataset_digest="d", scorer_digest=digest)
    run = make_run(settings=settings, seed=0)
    project.store.runs.append(run)
    return run


def apply(site: Site, verdict_id: str) -> Router:
    with site.project() as project:
        table = project.apply(verdict_id)
    router = table.by_name["support"].router
    assert router is not None
    return router


def seen(
    site: Site,
    verdict_id: str,
    router: Router,
    n: int,
    *,
    day: int,
    kept: float | None = None,
    **changes: Any,
) -> list[Pair]:
    """Append a day's audits, of which the candidate has the share `kept` right (None: as certified)."""
    rng = np.random.default_rng(day)
    pairs = []
    assert router.segments is not None
    for at in range(n):
        label = str(rng.choice(list(SEGMENTS)))
        score = router.segments[label]
        right = rng.random() < (SEGMENTS[label] if kept is None else kept)
        fields = {
            "score": score,
            "at": NOW + day * DAY + timedelta(seconds=at),
            "conversation": f"{day}-{at}",
        }
        made = pair(verdict_id, GOOD, GOOD if right else BAD)
        pairs.append(replace(made, **{**fields, **changes}))
    with site.project() as project:
        project.store.pairs.append(pairs)
    return pairs


def growth(site: Site, *, day: int) -> GrowthStanding:
    found = site.look(now=NOW + day * DAY)
    (standing,) = found.growth
    return standing


def digest_of(project: Project) -> str:
    (digest,) = {audit.scorer_digest for audit in project.store.pairs.audits("support")}
    return digest


def rescore(site: Site, *, other: bool) -> None:
    """Configure another scorer, which scores the same, or the certificate's own again."""
    path, own, another = site.folder / "crossgrade.yaml", "[city]}", "[city], additionalProperties: true}"
    text = path.read_text().replace(another, own)
    assert own in text
    path.write_text(text.replace(own, another) if other else text)
