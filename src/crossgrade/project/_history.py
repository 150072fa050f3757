"""Blocks from an earlier run: what two models cost and how their scores go together is then known."""

import math
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from statistics import fmean
from typing import TYPE_CHECKING

from crossgrade.domain import Offer, Price, Workload
from crossgrade.project._measured import measured_otherwise, offers_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossgrade.decide import Blocks
    from crossgrade.store import RecordedAnswer, Run, Store

LEAST_PAIRS = 100
"""An earlier run with fewer pairs says less than a pilot whose samples are the traffic of today."""


def blocks_from_history(
    store: "Store",
    workload: Workload,
    sample_ids: Collection[str],
    *,
    planned: int,
    prices: Mapping[str, Price | None],
) -> "Blocks | None":
    """Return the blocks that the newest usable run of the workload suggests; None where there is none.

    It must have measured the same variants with the same scorer on at least `LEAST_PAIRS` samples, none
    of which the new run may ask (`sample_ids`): how a block is blended must not depend on scores that it is
    made of. `prices` are those of the variants today.
    """
    from crossgrade.decide import choose_blocks, moments

    for run in store.runs.recent(workload.name):
        if measured_otherwise(workload, run) or not store.answers.samples_of_run(run.id).isdisjoint(
            sample_ids
        ):
            continue
        found = _pairs(store, run, workload, prices)
        if found is None:
            continue
        scores, usd = found
        names = [variant.name for variant in workload.candidates]
        return choose_blocks(
            [moments(scores[workload.incumbent.name], scores[name]) for name in names],
            incumbent_usd=usd[workload.incumbent.name],
            candidate_usd=[usd[name] for name in names],
            floor=workload.floor,
            planned=planned,
            available=len(sample_ids),
            pilot=0,
            source=run.id,
        )
    return None


def _pairs(
    store: "Store", run: "Run", workload: Workload, prices: Mapping[str, Price | None]
) -> "tuple[Mapping[str, NDArray[np.float64]], Mapping[str, float]] | None":
    """Return each model's scores on the samples of a run (NaN: none), and what a sample costs with it.

    None with too few pairs, or where a price is unknown.
    """
    import numpy as np

    answers: dict[tuple[str, str], list[RecordedAnswer]] = {}
    for (sample, model, _), answer in store.answers.of_run(
        run.id, str(run.settings["scorer_digest"])
    ).items():
        answers.setdefault((sample, model), []).append(answer)
    samples = sorted({sample for sample, _ in answers})
    scores: dict[str, NDArray[np.float64]] = {}
    usd: dict[str, float] = {}
    for name, offer in offers_of(workload).items():
        own = [answers.get((sample, name), []) for sample in samples]
        scores[name] = np.array([_score(each, workload) for each in own])
        cost = _mean_usd([each for each in own if each], offer, prices.get(name))
        if cost is None:
            return None
        usd[name] = cost
    known = np.all([np.isfinite(each) for each in scores.values()], axis=0)
    return (scores, usd) if int(known.sum()) >= LEAST_PAIRS else None


def _score(answers: "Sequence[RecordedAnswer]", workload: Workload) -> float:
    """Return the mean score of a sample's epochs; NaN without any."""
    found = [
        (0.0 if workload.errors_count_as_zero else None)
        if answer.response is None
        else None
        if answer.score is None
        else answer.score.value
        for answer in answers
    ]
    known = [value for value in found if value is not None]
    return fmean(known) if known else math.nan


def _mean_usd(
    samples: "Sequence[Sequence[RecordedAnswer]]", offer: Offer, price: Price | None
) -> float | None:
    """Return what a sample costs at today's price, scores included; None where that is unknown."""
    from crossgrade.pricing import cost_usd

    total = Decimal(0)
    for answer in (answer for answers in samples for answer in answers if answer.response is not None):
        assert answer.response is not None
        usd = None if price is None else cost_usd(answer.response.answer.usage, price, batch=offer.batch)
        score_usd = Decimal(0) if answer.score is None else answer.score.cost_usd
        if usd is None or score_usd is None:
            return None
        total += usd + score_usd
    return float(total / len(samples)) if samples else None
