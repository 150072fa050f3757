"""The first samples of a run, which every model answers: their costs and scores set the blocks."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np

from crossgrade.decide import Blocks, Moments, RunDesign, choose_blocks, moments, pairs_for
from crossgrade.domain import Workload
from crossgrade.evaluate._case import Case, OpenVariant
from crossgrade.pricing import cost_usd


def design_after(
    pilot: Sequence[Case],
    design: RunDesign,
    *,
    workload: Workload,
    incumbent: OpenVariant,
    candidates: Sequence[OpenVariant],
    available: int,
) -> RunDesign:
    """Return how a run goes on after its pilot: in the blocks that cost least, of one sample where pairs do.

    `available` is the number of samples that could be asked. What a sample costs is the mean of what the
    pilot's answers and their scores cost at the prices of the run, whoever paid for them; where one is
    unknown there are no blocks.
    """
    costs = [_mean_usd(pilot, each) for each in (incumbent, *candidates)]
    known = [cost for cost in costs if cost is not None]
    blocks = Blocks(size=1, blend=0.0, pilot=design.pilot, pairs=design.samples)
    if len(known) == len(costs) and known[0] > 0:
        blocks = choose_blocks(
            [_moments(pilot, incumbent, each, workload) for each in candidates],
            incumbent_usd=known[0],
            candidate_usd=known[1:],
            floor=workload.floor,
            planned=design.samples,
            available=available,
            pilot=design.pilot,
        )
    first = replanned(blocks, design.first_samples)
    return replace(design, samples=min(blocks.samples, available), first_samples=first.samples, blocks=blocks)


def replanned(blocks: Blocks, planned: int) -> Blocks:
    """Return the blocks of a plan with the power of another number of pairs."""
    if blocks.size == 1:
        return replace(blocks, pairs=planned)
    pairs = pairs_for(planned, variance=blocks.variance, size=blocks.size, pilot=blocks.pilot)
    return replace(blocks, pairs=pairs)


def _mean_usd(pilot: Sequence[Case], variant: OpenVariant) -> float | None:
    """Return what a sample costs with a variant, answers and scores, or None if that is unknown."""
    totals: list[Decimal] = []
    for case in pilot:
        calls = [call for call in case.calls if call.variant is variant and call.answer is not None]
        total = Decimal(0)
        for call in calls:
            answer, score, price = call.answer, call.score, variant.model.price
            assert answer is not None
            usd = None
            if price is not None:
                usd = cost_usd(answer.usage, price, batch=variant.model.offer.batch)
            if usd is None or (score is not None and score.cost_usd is None):
                return None
            total += usd + ((score.cost_usd or Decimal(0)) if score is not None else Decimal(0))
        if calls:
            totals.append(total)
    return float(sum(totals, Decimal(0)) / len(totals)) if totals else None


def _moments(
    pilot: Sequence[Case], incumbent: OpenVariant, candidate: OpenVariant, workload: Workload
) -> Moments:
    def scores(variant: OpenVariant) -> list[float]:
        zero = workload.errors_count_as_zero
        means = (case.mean(variant.name, errors_count_as_zero=zero) for case in pilot)
        return [np.nan if mean is None else mean for mean in means]

    return moments(np.array(scores(incumbent)), np.array(scores(candidate)))
