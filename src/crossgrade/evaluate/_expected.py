"""What a run will probably ask and cost under the rule that stops it, by rehearsing it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean

import numpy as np

from crossgrade.decide import FUTILITY, KnownScores, Rehearsed, RunDesign, rehearse, right_or_wrong
from crossgrade.domain import Sample, Workload
from crossgrade.evaluate._estimate import CallEstimate, RunEstimate

ACCURACY, CORRELATION = 0.75, 0.4
"""The assumptions of a rehearsal: how often the incumbent is right, and how much the models agree."""

_MOST_STEPS, _MOST_RUNS, _LEAST_RUNS = 16_000, 20, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedUse:
    """What a run asks on average if every candidate keeps `retention` of the incumbent's score.

    `calls` counts new calls to all models, without reused answers. `cost_usd` is (low, high) as in the
    estimate of the whole plan, and None without a price. `pairs` is the number of samples that the incumbent
    answers, one in `block`: the median choice, 1 where it answers as many as the candidates. `certified` is
    the share of the samples on which the first candidate passed: all of them in a run in which it passed on
    the whole. All figures are means of `rehearsals` runs, too few to show an error rate.
    """

    retention: float
    calls: int
    cost_usd: tuple[Decimal, Decimal] | None
    pairs: int
    block: int
    certified: float
    rehearsals: int


def expected_use(
    workload: Workload, samples: Sequence[Sample], design: RunDesign, estimate: RunEstimate
) -> tuple[ExpectedUse, ...]:
    """Return what a run probably asks, at four retentions. The result is the same every time.

    `samples` are those that it may ask, in its order. Right and wrong answers are drawn with `ACCURACY` and
    `CORRELATION`; guards, requirements and scores that people correct play no part.
    """
    retentions = (max(workload.floor - 0.15, 0.1), workload.floor, workload.floor + 0.1, 1.0)
    runs = min(_MOST_RUNS, max(_LEAST_RUNS, _MOST_STEPS // (len(samples) * len(workload.candidates))))
    return tuple(
        _mean(
            workload,
            estimate,
            retention,
            [_rehearsed(workload, samples, design, estimate, (retention, seed)) for seed in range(runs)],
        )
        for retention in dict.fromkeys(round(each, 4) for each in retentions)
    )


def _rehearsed(
    workload: Workload,
    samples: Sequence[Sample],
    design: RunDesign,
    estimate: RunEstimate,
    case: tuple[float, int],
) -> Rehearsed:
    """Rehearse a run once, in which every candidate has the retention of the case."""
    retention, seed = case
    names = [variant.name for variant in workload.candidates]
    incumbent, candidates = right_or_wrong(
        np.random.default_rng((seed, round(retention * 1000))),
        len(samples),
        accuracy=ACCURACY,
        retention=retention,
        correlation=CORRELATION,
        candidates=len(names),
    )
    prices = [_middle_usd(model) for model in estimate.models]
    return rehearse(
        samples,
        KnownScores(
            incumbent=incumbent,
            candidates=dict(zip(names, candidates, strict=True)),
            incumbent_usd=prices[0],
            candidate_usd=dict(zip(names, prices[1:], strict=True)),
        ),
        design,
        floor=workload.floor,
        alpha=workload.alpha,
        mode=workload.mode,
        splits_only=workload.splits_only,
        futility=FUTILITY if workload.baseline is None else None,
        every_hypothesis=workload.every_hypothesis,
        alone=workload.baseline is not None,
    )


def _mean(
    workload: Workload, estimate: RunEstimate, retention: float, found: Sequence[Rehearsed]
) -> ExpectedUse:
    """Return the mean of some rehearsals."""
    incumbent, *candidates = estimate.models
    calls = {incumbent.model: fmean(each.incumbent_calls for each in found)}
    for model in candidates:
        calls[model.model] = fmean(each.candidate_calls[model.model] for each in found)
    sizes = sorted(1 if each.design.blocks is None else each.design.blocks.size for each in found)
    return ExpectedUse(
        retention=retention,
        calls=round(sum(calls[each.model] * _new(each) for each in estimate.models) * workload.epochs),
        cost_usd=_cost_usd(estimate.models, calls, workload.epochs),
        pairs=round(calls[incumbent.model]),
        block=sizes[len(sizes) // 2],
        certified=fmean(each.certified[candidates[0].model] for each in found),
        rehearsals=len(found),
    )


def _new(model: CallEstimate) -> float:
    """Return the share of a model's answers that are not reused."""
    return model.calls / max(model.calls + model.reused, 1)


def _middle_usd(model: CallEstimate) -> float:
    """Return the cost of a sample with a model, in the middle of the estimate, or 1 if no price is known."""
    if model.cost_usd is None:
        return 1.0
    return float(sum(model.cost_usd)) / 2 / max(model.calls + model.reused, 1)


def _cost_usd(
    models: Sequence[CallEstimate], samples: Mapping[str, float], epochs: int
) -> tuple[Decimal, Decimal] | None:
    """Return the cost of this number of samples at both ends of the estimate, or None without a price."""
    low = high = Decimal(0)
    for model in models:
        if model.cost_usd is None:
            return None
        share = Decimal(samples[model.model] * epochs / max(model.calls + model.reused, 1))
        low, high = low + share * model.cost_usd[0], high + share * model.cost_usd[1]
    return low, high
