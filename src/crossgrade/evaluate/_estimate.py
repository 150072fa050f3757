"""What a run will probably ask and cost, before it asks anything."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from crossgrade.calls import (
    UNKNOWN_OUTPUT_TOKENS,
    WRAPPING_TOKENS,
    Provider,
    prompt_bytes,
    request_digest,
)
from crossgrade.decide import RunDesign
from crossgrade.domain import AgentSpec, ModelRequest, Price, Sample, Usage, Variant, Workload
from crossgrade.evaluate._prepare import (
    askable_samples,
    check_answerable,
    new_design,
    planned_samples,
)
from crossgrade.evaluate._prompt import Prompt, may_answer, uncarried
from crossgrade.evaluate.judges import PAIRWISE_KIND
from crossgrade.pricing import cost_usd
from crossgrade.workloads import Dataset

if TYPE_CHECKING:
    from crossgrade.store import Response, Store

BYTES_PER_TOKEN = (6.0, 2.5)
"""The largest and smallest number of UTF-8 bytes per token in current vocabularies. Prose has 4 to 5."""

EARLIEST_STOP = Decimal("0.2")
"""The share of the planned calls after which a sequential run recognises a hopeless candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEstimate:
    """What one variant will be asked if no verdict comes early.

    `calls` must be paid for; `reused` were answered before. Token counts and dollars are
    (low, high) over all calls to be paid for; dollars are None without a price. With `usd_per_trial` each
    call is a trial of an agent, whose tokens are not known before. It is the mean of the trials that were
    paid for, or without any the most that one may cost. `not_carried` counts the
    samples that the variant's API cannot express, by the field that keeps them, and `too_long` those of the
    others that are longer than it may be asked.
    """

    model: str
    calls: int
    reused: int
    input_tokens: tuple[int, int]
    output_tokens: tuple[int, int]
    cost_usd: tuple[Decimal, Decimal] | None
    not_carried: Mapping[str, int] = field(default_factory=dict)
    too_long: int = 0
    usd_per_trial: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """What a run will ask and cost; pairs are (low, high).

    The low ends take an early verdict (a fixed design has none, and neither has a scorer that asks a model),
    few tokens and short answers, the high ends every planned call, many tokens and the longest answers
    allowed. `cost_usd` is None when a price is unknown. `scorer_model` is what the scorer asks, and `scorer`
    what it is asked. Where that is None, `calls` and `cost_usd` are without the scorer's.
    """

    samples: int
    calls: tuple[int, int]
    cost_usd: tuple[Decimal, Decimal] | None
    models: tuple[CallEstimate, ...]
    scorer_model: str | None = None
    scorer: CallEstimate | None = None

    @property
    def known_usd(self) -> tuple[Decimal, Decimal]:
        """What the calls whose price is known cost, without an early verdict: (low, high)."""
        parts = (*self.models, *([self.scorer] if self.scorer else ()))
        costs = [each.cost_usd for each in parts if each.cost_usd is not None]
        return sum((low for low, _ in costs), Decimal(0)), sum((high for _, high in costs), Decimal(0))

    def with_scorer(self, scorer: CallEstimate) -> "RunEstimate":
        """Return the estimate with what the scorer asks its model."""
        low, high = self.calls
        cost = None
        if self.cost_usd is not None and scorer.cost_usd is not None:
            cost = (self.cost_usd[0] + scorer.cost_usd[0], self.cost_usd[1] + scorer.cost_usd[1])
        calls = (low + scorer.calls, high + scorer.calls)
        return replace(self, calls=calls, cost_usd=cost, scorer_model=scorer.model, scorer=scorer)


def estimate_run(
    workload: Workload,
    dataset: Dataset,
    *,
    design: RunDesign | None = None,
    prices: Mapping[str, Price | None],
    store: "Store | None" = None,
    max_bytes: Mapping[str, int] | None = None,
    askable: bool = False,
    providers: Mapping[str, Provider] | None = None,
) -> RunEstimate:
    """Estimate a run from its prompts: no model is asked and no tokenizer needed.

    Input tokens are the prompts' UTF-8 bytes over `BYTES_PER_TOKEN` and what a chat template
    adds, output tokens between 1 and `max_output_tokens` (4,096 where the settings bound
    nothing). An offer with `batch` costs its batch price. With `store`, requests that were paid
    for before cost nothing; those to a local model, or to an address that the environment gives,
    count as open, since neither is looked at, unless their open `providers` are given by name.
    A candidate in `max_bytes` is not asked longer requests,
    unless answers are compared in pairs. `design` says what the run plans (None: as a new one of pairs);
    with `askable` all that it may come to ask is counted, where its blocks are not chosen yet.

    Raises `DataError` for a sample that lacks a field of a prompt, `UsageError` for a candidate that
    all samples are too long for.
    """
    design = design or new_design(workload, dataset)
    samples = (askable_samples if askable else planned_samples)(workload, dataset, design)
    asked = asked_samples(workload, samples, design, max_bytes or {})
    models = tuple(
        replace(
            _calls(
                variant,
                own,
                epochs=workload.epochs,
                price=prices.get(variant.name),
                store=store,
                sealed=variant is workload.incumbent and workload.baseline is not None,
                agent=workload.agent,
                provider=(providers or {}).get(variant.name),
            ),
            **({} if variant is workload.incumbent else _left_out(workload, samples, variant, own)),
        )
        for variant, own in asked
    )
    scorer_model = workload.scorer.options.get("model")
    early = Decimal(1) if workload.mode == "fixed" or scorer_model is not None else EARLIEST_STOP
    calls = sum(model.calls for model in models)
    costs = [model.cost_usd for model in models if model.cost_usd is not None]
    low_usd = early * sum((low for low, _ in costs), Decimal(0))
    high_usd = sum((high for _, high in costs), Decimal(0))
    return RunEstimate(
        samples=len(samples),
        calls=(math.ceil(calls * early), calls),
        cost_usd=(low_usd, high_usd) if len(costs) == len(models) else None,
        models=models,
        scorer_model=None if scorer_model is None else str(scorer_model),
    )


def asked_samples(
    workload: Workload, samples: Sequence[Sample], design: RunDesign, max_bytes: Mapping[str, int]
) -> list[tuple[Variant, list[Sample]]]:
    """Return each variant, the incumbent first, with those of the samples that it is asked.

    Raises as `estimate_run` does.
    """
    check_answerable(workload, samples, max_bytes)
    paired = [each for at, each in enumerate(samples) if design.pairs_at(at)]
    if workload.scorer.kind == PAIRWISE_KIND:
        return [(workload.incumbent, paired), *((variant, list(samples)) for variant in workload.candidates)]
    return [
        (workload.incumbent, paired),
        *(
            (
                variant,
                [
                    each
                    for each in samples
                    if may_answer(workload, each, variant.name, max_bytes.get(variant.name))
                ],
            )
            for variant in workload.candidates
        ),
    ]


def _left_out(
    workload: Workload, samples: Sequence[Sample], variant: Variant, own: Sequence[Sample]
) -> dict[str, Any]:
    """Return why a candidate is not asked about all samples, as fields of its estimate."""
    asked = {sample.id for sample in own}
    left = [sample for sample in samples if sample.id not in asked]
    fields = [uncarried(workload, each) if variant.name in workload.across else None for each in left]
    return {"not_carried": Counter(each for each in fields if each), "too_long": fields.count(None)}


def _calls(
    variant: Variant,
    samples: Sequence[Sample],
    *,
    epochs: int,
    price: Price | None,
    store: "Store | None",
    sealed: bool = False,
    agent: AgentSpec | None = None,
    provider: Provider | None = None,
) -> CallEstimate:
    prompt = Prompt(variant)
    requests: dict[str, ModelRequest] = {}
    for sample in samples:
        request = prompt.request(sample)
        for epoch in range(1, epochs + 1):
            requests[request_digest(variant.offer, request, epoch=epoch, provider=provider)] = request
    paid = {} if store is None else store.answers.paid(requests)
    to_pay = [] if sealed else [request for digest, request in requests.items() if digest not in paid]
    if agent is not None:
        return _trials(
            variant,
            to_pay=len(to_pay),
            paid=paid.values(),
            price=price,
            agent=agent,
            reused=len(samples) * epochs - len(to_pay),
        )
    most_output = variant.settings.max_output_tokens or UNKNOWN_OUTPUT_TOKENS
    low = [request_usage(request, end=0, output_tokens=1) for request in to_pay]
    high = [request_usage(request, end=1, output_tokens=most_output) for request in to_pay]
    costs = [total_usd(usages, price, batch=variant.offer.batch) for usages in (low, high)]
    return CallEstimate(
        model=variant.name,
        calls=len(to_pay),
        reused=len(samples) * epochs - len(to_pay),
        input_tokens=(_input_tokens(low), _input_tokens(high)),
        output_tokens=(len(to_pay), most_output * len(to_pay)),
        cost_usd=None if costs[0] is None or costs[1] is None else (costs[0], costs[1]),
    )


def _trials(
    variant: Variant,
    *,
    to_pay: int,
    reused: int,
    paid: Collection["Response"],
    price: Price | None,
    agent: AgentSpec,
) -> CallEstimate:
    """Return what trials may cost: at most their limit each, and about as much as those that are paid for."""
    known = [each.cost_usd for each in paid if each.cost_usd is not None]
    mean = sum(known, Decimal(0)) / len(known) if known else None
    each_usd = None if price is None else agent.limits.usd if mean is None else mean
    return CallEstimate(
        model=variant.name,
        calls=to_pay,
        reused=reused,
        input_tokens=(0, 0),
        output_tokens=(0, 0),
        cost_usd=None if price is None else (to_pay * (mean or Decimal(0)), to_pay * agent.limits.usd),
        usd_per_trial=each_usd,
    )


def request_usage(request: ModelRequest, *, end: int, output_tokens: int) -> Usage:
    """Return the usage of a call at one end of the band, 0 low and 1 high."""
    size = prompt_bytes(request)
    tokens = math.ceil(size / BYTES_PER_TOKEN[end]) + WRAPPING_TOKENS * end
    return Usage(input_tokens=tokens, output_tokens=output_tokens, images=0)


def _input_tokens(usages: Sequence[Usage]) -> int:
    return sum(usage.input_tokens or 0 for usage in usages)


def total_usd(usages: Sequence[Usage], price: Price | None, *, batch: bool) -> Decimal | None:
    """Return the total cost of the calls, or None if the price is unknown, wholly or in part."""
    total = Decimal(0)
    for usage in usages:
        cost = None if price is None else cost_usd(usage, price, batch=batch)
        if cost is None:
            return None
        total += cost
    return total
