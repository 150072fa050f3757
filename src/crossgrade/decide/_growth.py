"""What a router's certificate says for a route that grows: the evidence of each threshold, to go on from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crossgrade.decide._evidence import Evidence
from crossgrade.decide._observations import Observer
from crossgrade.decide._records import DecisionSettings
from crossgrade.decide._router import certifying
from crossgrade.decide._view import Part, View, make_view
from crossgrade.errors import DataError
from crossgrade.stats import GrowthProcess, growth_alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthStep:
    """A threshold of a growing route: its least score, its share of the traffic, and its evidence."""

    least_score: float
    share: float
    process: GrowthProcess


def passed_steps(steps: Sequence[GrowthStep]) -> int:
    """Return how many thresholds have passed, from the strictest on until one has not."""
    return next((at for at, step in enumerate(steps) if not step.process.passed), len(steps))


def router_settings(settings: DecisionSettings) -> DecisionSettings:
    """Return the settings under which what a router moves is tested on the samples that did not train it."""
    if not settings.grow:
        return replace(settings, mode="fixed")
    first = growth_alpha(settings.alpha_share, 1)
    return replace(settings, mode="anytime", alpha_share=first)


def growth_mark(settings: DecisionSettings, *, start: int = 1) -> float:
    """Return the e-value at which a threshold of a start passes; `settings` are the verdict's own."""
    return 1 / _alpha(settings, start)


def _alpha(settings: DecisionSettings, start: int) -> float:
    return growth_alpha(settings.alpha * settings.alpha_share, start)


def growth_steps(
    evidence: Evidence, settings: DecisionSettings, *, start: int = 1, is_resumed: bool = False
) -> tuple[GrowthStep, ...]:
    """Return the thresholds that may be reached in service, the strictest first, as a start begins.

    The first start begins with the certificate's samples, and a later one with none. If it `is_resumed`, none
    were taken yet, because a saved state has them. `evidence` and `settings` are the verdict's own. Raises
    `DataError` for evidence without a router.
    """
    router = None if evidence.routing is None else evidence.routing.router
    if router is None:
        raise DataError(
            f"the evidence on workload {evidence.workload} has no router, so no threshold can grow from it",
            code="growth-router-missing",
            hint=f"decide again: `crossgrade decide {evidence.workload}`",
        )
    view = make_view(certifying(evidence, in_order=True), router_settings(settings))
    alpha = _alpha(settings, start)
    return tuple(
        GrowthStep(
            least_score=least,
            share=view.share(part),
            process=_process(view, part, alpha, with_samples=start == 1 and not is_resumed),
        )
        for least, part in zip(router.thresholds, view.thresholds, strict=True)
    )


def _process(view: View, part: Part, alpha: float, *, with_samples: bool) -> GrowthProcess:
    """Return the process of a threshold, after the certificate's samples or without them."""
    plan = view.design.part(part.label)
    process = GrowthProcess(view.settings.floor, alpha, max(plan.first_observations, 1))
    if with_samples:
        observer, model = Observer(view.design.run, plan), view.evidence.candidates[0].model
        asked = view.asked_in_order(model, part, part.rows)
        made = [one[:3] for one in map(observer.take, asked) if one is not None]
        process.take(*np.array(made).reshape(-1, 3).T)
    return process
