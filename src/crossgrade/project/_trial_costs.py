"""What one trial of the team's agent costs with each model: by its trials, those of another, or the log."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from crossgrade.domain import LoggedTraffic, Price, Usage, Workload
from crossgrade.project._agent_trials import agent_trials, other_trials, read_trials

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossgrade.decide import AgentTrials, TrialCost
    from crossgrade.workloads import ImporterKind, Results


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts:
    """What trials say of a candidate, which runs there are where none count, and what one costs with it."""

    trials: "AgentTrials | None" = None
    no_trials: str | None = None
    trial_cost: "TrialCost | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a run takes in the mean: calls of the model (None: unknown) and tokens of all of them."""

    input_tokens: float
    output_tokens: float
    cached_tokens: float = 0.0
    calls: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What trials with one model show; None is unknown."""

    usd: float | None
    run: _Run | None
    n_usd: int = 0
    n_run: int = 0


def trial_facts(
    workload: Workload,
    prices: Mapping[str, Price | None],
    *,
    importers: "Mapping[str, ImporterKind]",
    now: datetime,
) -> dict[str, TrialFacts]:
    """Return what trials of an agentic workload say of its models, by their names.

    Raises what `read_trials` and `agent_trials` raise.
    """
    trials = read_trials(workload, importers=importers)
    said = agent_trials(workload, trials, now=now)
    others = other_trials(workload, trials)
    costs = trial_costs(workload, trials, prices)
    return {
        name: TrialFacts(trials=said.get(name), no_trials=others.get(name), trial_cost=costs.get(name))
        for name in {**said, **others, **costs}
    }


def trial_costs(
    workload: Workload, trials: "Results | None", prices: Mapping[str, Price | None]
) -> "dict[str, TrialCost]":
    """Return what a trial costs with each model of an agentic workload, by its name, where that can be said.

    `trials` are those of the agent that the workload names (None: none are there). What a model's trials cost
    comes first, then its price for the tokens of its trials, of another model's, or of a run in the log.
    """
    from crossgrade.decide import TrialCost
    from crossgrade.workloads import runs_of_agent

    if workload.requirements.evidence != "agentic":
        return {}
    spec = workload.trials
    offers = [each.name for each in (workload.incumbent, *workload.candidates)]
    seen: dict[str, _Seen] = {}
    if trials is not None and spec is not None:
        own = runs_of_agent(trials, spec.agent)
        seen = {each: _seen(own, spec.models.get(each, each)) for each in offers}
    logged = _logged(workload.logged_traffic)
    found = {}
    for offer in offers:
        stated = seen[offer].usd if offer in seen else None
        if stated is not None:
            found[offer] = TrialCost(usd=stated, basis="trials", n=seen[offer].n_usd)
            continue
        for basis, of, run in _bases(offer, seen, logged):
            usd = _priced(run, prices.get(offer))
            if usd is not None:
                n = None if basis == "log" else seen[of or offer].n_run
                found[offer] = TrialCost(usd=usd, basis=basis, of=of, n=n)  # type: ignore[arg-type]  # one of its own
                break
    return found


def _bases(
    offer: str, seen: Mapping[str, _Seen], logged: _Run | None
) -> Iterator[tuple[str, str | None, _Run]]:
    """Yield the runs by which a trial with a model can be priced, the nearest first."""
    if offer in seen and (own := seen[offer].run) is not None:
        yield "tokens", None, own
    for name, other in seen.items():
        if name != offer and other.run is not None:
            yield "others", name, other.run
    if logged is not None:
        yield "log", None, logged


def _seen(trials: "Results", model: str) -> _Seen:
    """Return what the trials with a model cost and took, over those of which that is known."""
    import numpy as np

    names = list(trials.model_names)
    if model not in names:
        return _Seen(usd=None, run=None)
    rows = np.flatnonzero(trials.models.codes == names.index(model))

    def known(amount: str) -> "NDArray[np.float64]":
        values = trials.amounts.get(amount, np.empty(0))
        values = values[rows] if len(values) else values
        return values[np.isfinite(values)]

    def mean(amount: str) -> float | None:
        values = known(amount)
        return float(values.mean()) if len(values) else None

    given, said = mean("input_tokens"), mean("output_tokens")
    run = None
    if given is not None and said is not None:
        run = _Run(
            input_tokens=given,
            output_tokens=said,
            cached_tokens=mean("cache_read_input_tokens") or 0.0,
            calls=mean("model_calls"),
        )
    return _Seen(
        usd=mean("cost_usd"), run=run, n_usd=len(known("cost_usd")), n_run=len(known("output_tokens"))
    )


def _logged(traffic: LoggedTraffic | None) -> _Run | None:
    if traffic is None or traffic.input_tokens_per_run is None or traffic.output_tokens_per_run is None:
        return None
    return _Run(
        input_tokens=traffic.input_tokens_per_run,
        output_tokens=traffic.output_tokens_per_run,
        cached_tokens=traffic.cached_tokens_per_run or 0.0,
        calls=traffic.calls_per_run,
    )


def _priced(run: _Run, price: Price | None) -> float | None:
    """Return what a run costs as so many calls that are alike, None if the price is unknown.

    Where the calls are not counted, the price has no tiers: they go by the length of one call.
    """
    if price is None:
        return None
    from crossgrade.pricing import cost_usd

    calls = max(run.calls or 1.0, 1.0)
    usage = Usage(
        input_tokens=round(run.input_tokens / calls),
        output_tokens=round(run.output_tokens / calls),
        cache_read_input_tokens=round(min(run.cached_tokens, run.input_tokens) / calls),
        images=0,
    )
    cost = cost_usd(usage, price if run.calls else replace(price, tiers=()))
    return None if cost is None else float(cost * Decimal(repr(calls)))
