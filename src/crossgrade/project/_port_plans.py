"""What porting a prompt tries and what it will ask, planned before it asks anything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from crossgrade.domain import JSON, Sample, Variant
from crossgrade.project._opened import OpenProject
from crossgrade.project._tuning_costs import (
    Dollars,
    reflection_usd,
    search_usd,
    sum_dollars,
    test_estimate,
)
from crossgrade.project._tunings import TuningBasis

if TYPE_CHECKING:
    from crossgrade.tuning import PromptSpace

_FEW = 5
"""Items whose requests stand for all when a cost is estimated."""

_POWER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class PortOptions:
    """What a port tries.

    `variants` is the most prompts that are compared for a model, and `development` the number of items that
    they are compared on. With `both` the incumbent's prompt is tuned with the same budget. `segments` are the
    only ones that are tuned and tested (empty: all). `instructions` are tried beside the usual ones.
    `reflection` names the offer of a model that writes an instruction after `reflection_answers` answers at
    most (None: none does).
    """

    variants: int = 20
    development: int = 100
    both: bool = False
    segments: tuple[str, ...] = ()
    instructions: tuple[str, ...] = ()
    reflection: str | None = None
    reflection_answers: int = 200

    def as_json(self) -> dict[str, JSON]:
        """Return what a tuning depends on, as plain JSON."""
        return {
            "variants": self.variants,
            "both": self.both,
            "instructions": list(self.instructions),
            "reflection": self.reflection,
            "reflection_answers": self.reflection_answers if self.reflection else 0,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPlan:
    """What a port will ask, before it asks anything.

    `calls` is the most that the search makes for all models, and `test_calls` what the test of the proposal
    makes, both without what was paid for before. `cost_usd` is (low, high) of everything that is asked, of a
    judge and a reflection model too, None if a price is unknown.
    Of a tuning that has ended, all three are 0. `certifiable` is the smallest retention that the test
    certifies with a power of 80 %, and `at_par` how many items a test with that power needs for a candidate
    as good as the incumbent (None: there is no such number). `models` are all that are asked, by the names
    of their offers.
    """

    basis: TuningBasis
    options: PortOptions
    first: tuple[str, ...]
    pool: int
    scored: int
    calls: int
    test_calls: int
    cost_usd: tuple[Decimal, Decimal] | None
    certifiable: float | None
    at_par: int | None
    models: tuple[str, ...]


def plan_port(project: OpenProject, basis: TuningBasis, options: PortOptions) -> PortPlan:
    """Say what a port will ask. Asks no model."""
    from crossgrade.tuning import check_reflection, most_calls, most_questions

    pool, scored = development_of(basis)
    spaces = [space_of(basis, basis.candidate, pool, scored, options)]
    if options.both:
        spaces.append(space_of(basis, basis.workload.incumbent, pool, scored, options))
    each_calls = most_calls(len(scored), options.variants)
    questions, reflection = 0, list[Dollars | None]()
    if options.reflection is not None:
        check_reflection()
        thinker = project.offer(options.reflection)
        each_calls += options.reflection_answers
        questions = most_questions(options.reflection_answers)
        reflection = [reflection_usd(project, thinker, options.reflection_answers)] * len(spaces)
    first = [space.first() for space in spaces]
    certifiable, at_par = _certifiable(basis)
    planned = PortPlan(
        basis=basis,
        options=options,
        first=tuple(each.name for each in first[0]),
        pool=len(spaces[0].pool),
        scored=len(scored),
        calls=0,
        test_calls=0,
        cost_usd=(Decimal(0), Decimal(0)),
        certifiable=certifiable,
        at_par=at_par,
        models=_models(project, basis, options),
    )
    if basis.has_ended:
        return planned
    test = test_estimate(project, basis)
    search = [
        search_usd(project, basis, [each.variant for each in tried], scored[:_FEW], each_calls)
        for tried in first
    ]
    return replace(
        planned,
        calls=(each_calls + questions) * len(spaces),
        test_calls=test.calls[1],
        cost_usd=sum_dollars([test.cost_usd, *search, *reflection]),
    )


def _models(project: OpenProject, basis: TuningBasis, options: PortOptions) -> tuple[str, ...]:
    judge = project.judge(basis.workload)
    names = [basis.workload.incumbent.offer.name, basis.candidate.offer.name]
    names += [] if options.reflection is None else [options.reflection]
    names += [] if judge is None else [judge.name]
    return tuple(dict.fromkeys(names))


def development_of(basis: TuningBasis) -> tuple[list[Sample], list[Sample]]:
    """Return the development items that may stand in prompts as examples, and those that are scored."""
    from crossgrade.tuning import divide_development

    by_id = {sample.id: sample for sample in basis.dataset.samples}
    items = [by_id[each] for each in basis.split.development if each in by_id]
    return divide_development(items, basis.workload)


def space_of(
    basis: TuningBasis,
    variant: Variant,
    pool: Sequence[Sample],
    scored: Sequence[Sample],
    options: PortOptions,
) -> "PromptSpace":
    """Return the variants of a model's prompt that are tried."""
    from crossgrade.dialects import HOSTS
    from crossgrade.tuning import PromptSpace
    from crossgrade.workloads import telling_fields

    host = HOSTS.get(variant.offer.provider)
    items = [*pool, *scored]
    return PromptSpace.of(
        variant,
        telling_fields(items, basis.workload),
        scorer=basis.workload.scorer,
        targets=[each.target for each in items if each.target is not None],
        pool=pool,
        instructions=options.instructions,
        takes_grammar=host is not None and host.grammar is not None,
        most=options.variants,
    )


def _certifiable(basis: TuningBasis) -> tuple[float | None, int | None]:
    """Return the smallest retention that the test certifies with a power of 80 %, and its items at par.

    Accuracy and correlation are as usual.
    """
    from crossgrade.evaluate import ACCURACY, CORRELATION
    from crossgrade.stats import least_certified, pairs_to_certify, plan

    workload, n = basis.workload, len(basis.split.certification)
    parts = len({each.segment for each in basis.dataset.samples}) if workload.segment else 1
    parts = len(basis.segments) or parts
    rate = basis.rate / parts if workload.splits_only or basis.segments else basis.rate
    planned = plan(ACCURACY, CORRELATION, 1.0, workload.floor, rate, _POWER)
    needed = pairs_to_certify(planned, rate)
    return least_certified(planned, rate, n // parts), None if needed is None else needed * parts
