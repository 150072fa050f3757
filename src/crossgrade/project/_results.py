"""A verdict on scored answers in files: no project is needed."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from crossgrade.domain import Origin
from crossgrade.errors import UsageError
from crossgrade.project._candidates import field_of, list_prices
from crossgrade.project._records import Source, as_files

if TYPE_CHECKING:
    from crossgrade.catalog.bills import ListCost
    from crossgrade.domain import Usage
    from crossgrade.pricing.thrift import ThriftShare
    from crossgrade.project._shown import ShownVerdict
    from crossgrade.workloads import ImporterKind, Results


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOptions:
    """How result files are read, and what else their verdict rests on.

    `segment`, `group` and `cluster` name columns, `columns` the column of a field (`{"score": "grade"}`)
    where a table calls it something else, `metric` a scorer where a log has several, `workload` one of
    several workloads, `scale` the worst and best score. `chance` is the score of guessing in [0, 1).
    `stated_cost_usd` is a cost per request by model, for files without costs. Models without one are priced
    for the `typical` usage of a request, or without it at their recorded tokens, at the cheapest list price
    of the packaged catalogue. `stated_means` are published mean scores, by model and on the scale of the
    files. A guard compares them with the items. `judge` is the model that scored. A `human` column corrects
    its scores. If `valid_days` is None it is the outlook's half-life, and if `importers` is None they are
    the built-in formats. Of agents' runs `agent` keeps those of one agent, and `incumbent_agent` those of
    another for the incumbent. `on_read` is called with what was read. The others are those of
    `workloads.read_results` and `decide.DecisionSettings`.
    """

    segment: str | None = None
    group: str | None = None
    cluster: str | None = None
    file_format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    metric: str | None = None
    workload: str | None = None
    allow_unfinished: bool = False
    scale: tuple[float, float] = (0.0, 1.0)
    origin: Origin = Origin.OWN
    importers: "Mapping[str, ImporterKind] | None" = None
    chance: float = 0.0
    requests_per_month: int | None = None
    stated_cost_usd: Mapping[str, float] = field(default_factory=dict)
    typical: "Usage | None" = None
    stated_means: Mapping[str, float] = field(default_factory=dict)
    errors_count_as_zero: bool = True
    parity_declared: bool = False
    splits_only: bool = False
    judge: str | None = None
    on_read: "Callable[[Results], None]" = lambda _: None
    valid_days: int | None = None
    router: bool = False
    grow: bool = False
    whole_floor: float | None = None
    agent: str | None = None
    incumbent_agent: str | None = None
    different_agents: bool = False
    agents_declared_equal: tuple[str, ...] = ()


_DEFAULTS = ResultOptions()


def decide_results(
    source: Source,
    *,
    incumbent: str | None = None,
    candidates: str | Sequence[str] = (),
    floor: float = 0.85,
    alpha: float = 0.05,
    options: ResultOptions = _DEFAULTS,
    now: datetime | None = None,
) -> "ShownVerdict":
    """Return the verdict on scored answers; needs no project.

    `source` is a file of any known format, several, or a mapping that names the model of each file. It may
    also be a pandas or polars frame or a list of records, whose columns are those of a table. `incumbent` and
    `candidates` (one name or several) are model names as the results have them. Without `candidates` every
    other model is one, unless it costs more. `floor` is the retention that must hold, `alpha` the error rate
    of the decision.

    Raises DataError for input it cannot take, with file, line and column, and UsageError for a mean
    stated of a model that has no rows, or outside the scale, and for a `whole_floor` or `grow` without
    `router`.
    """
    from crossgrade.decide import (
        DecisionSettings,
        ModelFacts,
        check_equal_agents,
        decide_policy,
        train_router,
    )
    from crossgrade.outlook import default_valid_days
    from crossgrade.project._shown import ShownVerdict
    from crossgrade.workloads import IMPORTERS, pair, read_results, select_runs, trimmed_name

    if options.whole_floor is not None and not options.router:
        raise UsageError(
            "a floor of the whole is for a policy that a router splits",
            code="whole-floor-without-router",
            hint="add `--router`, or raise `--floor`",
        )
    if options.grow and not options.router:
        raise UsageError(
            "only what a router moves may grow",
            code="grow-without-router",
            hint="add `--router`, or leave out `--grow`",
        )
    candidates = [candidates] if isinstance(candidates, str) else list(candidates)
    with as_files(source) as files:
        results = read_results(
            files,
            file_format=options.file_format,
            models=[name for name in (incumbent, *candidates) if name is not None],
            columns=options.columns,
            metric=options.metric,
            workload=options.workload,
            segment=options.segment,
            group=options.group,
            cluster=options.cluster,
            scale=options.scale,
            origin=options.origin,
            allow_unfinished=options.allow_unfinished,
            importers=IMPORTERS if options.importers is None else options.importers,
        )
    options.on_read(results)
    # A wide table names models by its columns, so that only what was read is trimmed.
    incumbent = None if incumbent is None else trimmed_name(incumbent)
    candidates = [trimmed_name(name) for name in candidates]
    if options.stated_means:
        means = {trimmed_name(name): mean for name, mean in options.stated_means.items()}
        results = results.with_stated_means(means, scale=options.scale)
    results, incumbent, candidates = select_runs(
        results,
        incumbent=incumbent,
        candidates=candidates,
        agent=options.agent,
        incumbent_agent=options.incumbent_agent,
    )
    costs = {trimmed_name(name): cost for name, cost in options.stated_cost_usd.items()}
    now = now or datetime.now(UTC)
    every_model, priced = None, [incumbent, *candidates]
    if incumbent is not None and not candidates:
        found = field_of(results, incumbent, typical=options.typical, stated=costs, on=now.date())
        candidates, every_model = found.candidates, found.every_model
        # Of models that nobody named, those without a list price keep an unknown cost.
        priced += [name for name in candidates if name in found.usd]
        aside = () if every_model is None else every_model.set_aside
        costs = {name: cost for name, cost in costs.items() if name not in aside}
    stated, listed = _at_list_prices(priced, options.typical, costs, now)
    if options.typical is None:
        compared = {incumbent, *candidates} if candidates else set(results.model_names)
        results, listed = _at_recorded_tokens(results, compared - set(costs), now)
    average = "" if options.typical else "on average "
    evidence = pair(
        results, incumbent=incumbent, candidates=candidates, errors_as_zero=options.errors_count_as_zero
    )
    if not options.different_agents:
        check_equal_agents(evidence)
    settings = DecisionSettings(
        floor=floor,
        whole_floor=options.whole_floor,
        alpha=alpha,
        requests_per_month=options.requests_per_month,
        valid_days=options.valid_days or default_valid_days(),
        errors_count_as_zero=options.errors_count_as_zero,
        parity_declared=options.parity_declared,
        splits_only=options.splits_only,
        stated_cost_usd=stated,
        facts=tuple(
            ModelFacts(model=model, open_weights=cost.open_weights, price_source=average + cost.words)
            for model, cost in listed.items()
        ),
        every_model=every_model,
        thrifts=_thrifts(listed, evidence.incumbent.model),
        grow=options.grow,
        different_agents=options.different_agents,
        agents_declared_equal=options.agents_declared_equal,
    )
    evidence = replace(evidence, chance=options.chance, judge=options.judge)
    if options.router:
        evidence = train_router(evidence, settings)
    return ShownVerdict.of(decide_policy(evidence, settings, now=now))


def _thrifts(listed: "Mapping[str, ListCost]", incumbent: str) -> "tuple[ThriftShare, ...]":
    """Return how the incumbent could cost less at the provider of its list price; nothing without one."""
    from crossgrade.pricing.thrift import thrift_shares

    own = listed.get(incumbent)
    others = {model: cost.price for model, cost in listed.items() if model != incumbent}
    return () if own is None else thrift_shares(own.price, own.provider, others)


def _at_recorded_tokens(
    results: "Results", models: "Set[str | None]", now: datetime
) -> "tuple[Results, dict[str, ListCost]]":
    """Return the results with costs where they have tokens alone, and the list prices of these."""
    from crossgrade.workloads import mean_usage, with_prices

    found: dict[str, ListCost | None] = {}
    for model, usage in mean_usage(results).items():
        if model in models:
            found |= list_prices([model], usage, now.date())
    known = {model: cost for model, cost in found.items() if cost is not None}
    if not known:
        return results, {}
    return with_prices(results, {model: cost.price for model, cost in known.items()}), known


def _at_list_prices(
    models: Sequence[str | None], typical: "Usage | None", stated: Mapping[str, float], now: datetime
) -> "tuple[Mapping[str, float], dict[str, ListCost]]":
    """Return the stated costs with list prices for models without one, and these list prices."""
    if typical is None:
        return stated, {}
    named = [model for model in models if model is not None and model not in stated]
    found = list_prices(named, typical, now.date())
    for model, cost in found.items():
        if cost is None:
            raise UsageError(
                f"no provider in the catalogue lists a price for {model}",
                code="list-price-unknown",
                hint=f"give its cost per request with `--cost {model}=USD`",
            )
    priced = {model: cost for model, cost in found.items() if cost is not None}
    return {**stated, **{model: float(cost.usd) for model, cost in priced.items()}}, priced
