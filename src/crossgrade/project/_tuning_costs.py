"""What tuning a candidate will ask and cost, before it asks anything."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from crossgrade.domain import Offer, Sample, Usage, Variant, Workload
from crossgrade.project._opened import OpenProject, run_to_end
from crossgrade.project._tunings import TuningBasis

if TYPE_CHECKING:
    from crossgrade.evaluate import RunEstimate
    from crossgrade.workloads import Dataset

Dollars = tuple[Decimal, Decimal]
"""The least and the most."""


def asking_estimate(
    project: OpenProject,
    workload: Workload,
    dataset: "Dataset",
    samples: Sequence[Sample],
    *,
    reuse: bool = True,
) -> "RunEstimate":
    """Estimate what asking the models of a workload about some samples takes, with what its scorer asks."""
    from crossgrade.evaluate import estimate_run, estimate_scorer, new_design

    workload = replace(workload, planned=None, mode="fixed")
    dataset = replace(dataset, samples=tuple(samples))
    variants = (workload.incumbent, *workload.candidates)
    prices = {each.name: project.price_of(each.offer) for each in variants}
    store = project.store if reuse else None
    found = estimate_run(workload, dataset, prices=prices, store=store)
    judge = project.judge(workload)
    if judge is None:
        return found
    scorer = partial(
        estimate_scorer,
        workload,
        dataset,
        build=partial(project.scorer, workload),
        offer=judge,
        price=project.price_of(judge),
        design=new_design(workload, dataset),
        store=store,
    )
    return found.with_scorer(run_to_end(scorer))


def test_estimate(project: OpenProject, basis: TuningBasis) -> "RunEstimate":
    """Estimate the test of the proposal, as far as the candidate as it was tells."""
    chosen = frozenset(basis.split.certification)
    items = [each for each in basis.dataset.samples if each.id in chosen]
    workload = replace(basis.workload, candidates=(basis.candidate,))
    return asking_estimate(project, workload, basis.dataset, items)


def asked_usd(
    project: OpenProject,
    basis: TuningBasis,
    variant: Variant,
    samples: Sequence[Sample],
    *,
    reuse: bool = True,
) -> Dollars | None:
    """Return what asking one variant about some samples costs, with the scorer, without what is paid for."""
    workload = replace(basis.workload, incumbent=variant, candidates=(), epochs=1)
    return asking_estimate(project, workload, basis.dataset, samples, reuse=reuse).cost_usd


def search_usd(
    project: OpenProject, basis: TuningBasis, variants: Sequence[Variant], few: Sequence[Sample], calls: int
) -> Dollars | None:
    """Return the least and the most that so many calls cost: of the cheapest and the dearest variant."""
    costs = [_each_usd(project, basis, variant, few) for variant in variants]
    known = [each for each in costs if each is not None]
    if len(known) < len(costs):
        return None
    return min(low for low, _ in known) * calls, max(high for _, high in known) * calls


def _each_usd(
    project: OpenProject, basis: TuningBasis, variant: Variant, few: Sequence[Sample]
) -> Dollars | None:
    """Return what one answer of a variant costs, with what the scorer asks about it."""
    if not project.scores_pairs(basis.workload) or variant.name == basis.workload.incumbent.name:
        found = asked_usd(project, basis, variant, few, reuse=False)
    else:
        workload = replace(basis.workload, candidates=(variant,), epochs=1)
        whole = asking_estimate(project, workload, basis.dataset, few, reuse=False)
        judged = None if whole.scorer is None else whole.scorer.cost_usd
        found = sum_dollars([whole.models[1].cost_usd, judged])
    return None if found is None else (found[0] / len(few), found[1] / len(few))


def question_usd(project: OpenProject, offer: Offer) -> Decimal | None:
    """Return the most that one question to a reflection model costs, None if its price is unknown."""
    from crossgrade.evaluate import BYTES_PER_TOKEN, total_usd
    from crossgrade.tuning import MOST_QUESTION_CHARS, REFLECTION_TOKENS

    asked = Usage(
        input_tokens=ceil(MOST_QUESTION_CHARS / BYTES_PER_TOKEN[1]), output_tokens=REFLECTION_TOKENS, images=0
    )
    return total_usd([asked], project.price_of(offer), batch=False)


def reflection_usd(project: OpenProject, offer: Offer, answers: int) -> Dollars | None:
    """Return what a reflection model costs while it may use so many answers; it may ask nothing at all."""
    from crossgrade.tuning import most_questions

    most = question_usd(project, offer)
    return None if most is None else (Decimal(0), most * most_questions(answers))


def sum_dollars(costs: Sequence[Dollars | None]) -> Dollars | None:
    """Return a sum, None if a part of it is unknown."""
    known = [each for each in costs if each is not None]
    if len(known) < len(costs):
        return None
    return sum((low for low, _ in known), Decimal(0)), sum((high for _, high in known), Decimal(0))
