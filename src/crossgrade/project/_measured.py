"""From a run to a decision: evidence and settings, the same for the rule that stops and for the verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from crossgrade.config import Config
from crossgrade.domain import (
    JSON,
    AgentSetup,
    Contract,
    Fingerprint,
    Offer,
    PluginUse,
    Price,
    Requirements,
    ScoredAnswer,
    Workload,
    failure_label,
)
from crossgrade.errors import DataError, UsageError
from crossgrade.project._growing import growing_routes
from crossgrade.project._lengths import length_limits, with_limits
from crossgrade.project._trial_costs import TrialFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crossgrade.catalog import Catalog, OfferFacts
    from crossgrade.decide import (
        DecisionSettings,
        Evidence,
        ModelColumns,
        ModelFacts,
        RunDesign,
        SafetyRate,
    )
    from crossgrade.pricing.thrift import ThriftShare
    from crossgrade.project._run_labels import RunLabels
    from crossgrade.store import Run, Store
    from crossgrade.workloads import Dataset, Results

_BLEND = 3
_AT = "list prices, three tokens in for one out"

RULES = {
    "floor",
    "alpha",
    "mode",
    "errors_count_as_zero",
    "splits_only",
    "probes",
    "across",
    "represented_share",
}
"""Settings of a run that say when it stops, not what it measures."""


def offers_of(workload: Workload) -> dict[str, Offer]:
    """Return the offers of the incumbent and its candidates, by name."""
    return {variant.name: variant.offer for variant in (workload.incumbent, *workload.candidates)}


def run_evidence(
    store: "Store",
    run: "Run",
    design: "RunDesign",
    workload: Workload,
    dataset: "Dataset",
    *,
    answers: Sequence[ScoredAnswer],
    judge: str | None,
    price: Callable[[Offer, date], Price | None],
    max_bytes: Mapping[str, int],
    label_file: Path | None = None,
    labels: "RunLabels | None" = None,
    so_far: bool = False,
) -> "Evidence":
    """Return what a run measured, as evidence; `price` returns an offer's price on a day.

    `answers` are the run's, as `run_answers` returns them. `design` is how the run asked, `max_bytes` has
    the longest request that each candidate was asked. `label_file` has people's scores, which correct the
    judge's. Without it, `labels` are those in the store, none while items are left unless they are wanted
    `so_far`. Without either, the scores that an earlier verdict on this run used are taken from its
    recorded evidence.

    Raises UsageError if the dataset, the variants or the scorer have changed since, if the run ended before
    any answer could be scored, and for a run of a safety suite. Also raises what `labels_of` raises.
    """
    from crossgrade.decide import make_design
    from crossgrade.evaluate import idle_samples, planned_samples
    from crossgrade.workloads import evidence_from_answers

    if workload.suite is not None:
        raise UsageError(
            f"no retention is tested of the safety suite {workload.name!r}",
            code="safety-not-decided",
            hint="`crossgrade safety show WORKLOAD` shows its rates",
        )
    if dataset.digest != run.dataset_digest:
        raise UsageError(
            f"the dataset of {workload.name!r} changed since run {run.id}",
            code="dataset-changed",
            hint=f"run `crossgrade evaluate {workload.name}`: unchanged requests are not paid for again",
        )
    if measured := measured_otherwise(workload, run):
        raise UsageError(
            f"{', '.join(measured)} of {workload.name!r} changed since run {run.id}",
            code="workload-changed",
            hint=f"run `crossgrade evaluate {workload.name}`: unchanged requests are not paid for again",
        )
    samples = planned_samples(replace(workload, seed=run.seed), dataset, design)
    idle = idle_samples(workload, samples, design, max_bytes)
    is_recorded = store.runs.design(run.id) is not None
    if not answers:
        raise UsageError(
            f"run {run.id} ended before any answer could be scored",
            code="run-without-scores",
            hint=f"go on with it: `crossgrade evaluate {workload.name} --resume {run.id}`",
        )
    labelled = None
    if label_file is not None:
        labelled = labels_of(run, answers, label_file, judge=judge)
    elif labels is not None:
        labelled = labels.columns(workload.incumbent.name, so_far=so_far)
    evidence = evidence_from_answers(
        answers,
        workload=workload.name,
        incumbent=workload.incumbent.name,
        candidates=[variant.name for variant in workload.candidates],
        plan=samples,
        design=make_design(samples, design, idle=idle) if is_recorded else None,
        idle=idle,
        file_order=[sample.id for sample in dataset.samples],
        errors_as_zero=workload.errors_count_as_zero,
        alone=bool(workload.probes or workload.across),
        labelled=labelled,
        source=f"run {run.id}",
    )
    if label_file is None and labels is None and judge is not None:
        evidence = with_recorded_labels(store, run, evidence)
    evidence = with_cache_savings(evidence, answers, offers_of(workload), price)
    evidence = with_limits(evidence, workload, samples)
    return replace(evidence, chance=workload.scorer.chance, zero=workload.scorer.zero, judge=judge)


def labels_of(
    run: "Run", answers: Sequence[ScoredAnswer], file: Path, *, judge: str | None
) -> "Callable[[Results], Results]":
    """Return a function that adds the scores of a labelling file to a run's results.

    Raises UsageError if no judge scored, and DataError for a file that is missing or wrong.
    """
    from crossgrade.workloads import read_labels, with_labels

    if judge is None:
        raise UsageError(
            f"people's scores correct a judge's, and no judge scored run {run.id}",
            code="judge-not-named",
            hint="leave out `--label-file`",
        )
    writer = f"crossgrade runs --export {run.id} --label-file FILE"
    if not file.is_file():
        raise DataError(
            f"no such file {file}", code="file-missing", hint=f"`{writer}` writes a labelling file"
        )
    labels = read_labels(file, answers=len({each.model for each in answers}), writer=writer)
    return partial(with_labels, labels=labels, run=run.id, seed=run.seed)


def with_recorded_labels(store: "Store", run: "Run", evidence: "Evidence") -> "Evidence":
    """Return evidence with the people's scores that the newest verdict on the run used, if there are any."""
    for stored in store.verdicts.recent(run.workload):
        verdict = stored.verdict
        if verdict.run_id == run.id and any(one.retention.labels for one in verdict.certificates):
            return _with_labels_of(store.verdicts.evidence(stored.id), evidence)
    return evidence


def _with_labels_of(labelled: "Evidence", evidence: "Evidence") -> "Evidence":
    """Return evidence with the people's scores of other evidence, by sample and model."""
    import numpy as np

    place = {str(sample): row for row, sample in enumerate(labelled.sample_ids)}
    rows = [place.get(str(sample)) for sample in evidence.sample_ids]
    known = {each.model: each.human for each in (labelled.incumbent, *labelled.candidates)}

    def with_human(columns: "ModelColumns") -> "ModelColumns":
        human = of_samples(known.get(columns.model))
        return columns if human is None else replace(columns, human=human)

    def of_samples(column: "NDArray[np.float64] | None") -> "NDArray[np.float64] | None":
        return None if column is None else np.array([np.nan if row is None else column[row] for row in rows])

    return replace(
        evidence,
        label_probability=of_samples(labelled.label_probability),
        label_skipped=of_samples(labelled.label_skipped),
        incumbent=with_human(evidence.incumbent),
        candidates=tuple(map(with_human, evidence.candidates)),
    )


def run_answers(
    store: "Store",
    run: "Run",
    offers: Mapping[str, Offer],
    price: Callable[[Offer, date], Price | None],
) -> list[ScoredAnswer]:
    """Return a run's scored answers; reused answers of another name cost what their own offer charges.

    One endpoint may have two names at two prices (two contracts, or direct calls and batches). It is asked
    once, so an answer's recorded cost is that of the first name. The other is priced as of that day, or
    as of today if that price is unknown.
    """
    from crossgrade.pricing import cost_usd

    today = datetime.now(UTC).date()

    def priced(answer: ScoredAnswer) -> ScoredAnswer:
        offer = offers.get(answer.model)
        if offer is None or answer.paid_for in (None, answer.model, offer.name):
            return answer
        own = price(offer, answer.on or today) or price(offer, today)
        return replace(
            answer, cost_usd=None if own is None else cost_usd(answer.usage, own, batch=offer.batch)
        )

    answers = store.answers.scored(run.id, str(run.settings["scorer_digest"]))
    return of_agents(run, [priced(answer) for answer in answers])


def of_agents(run: "Run", answers: list[ScoredAnswer]) -> list[ScoredAnswer]:
    """Return the answers of a run of an agent as trials: what they were made with, and how some failed.

    Those of any other run are returned as they are.
    """
    from crossgrade.evaluate import read_trial

    agent = run.settings.get("agent")
    if not isinstance(agent, Mapping):
        return answers
    setup = AgentSetup(
        agent=str(agent["name"]),
        agent_version=str(agent["version"]),
        dataset=f"{run.workload} {run.dataset_digest.partition(':')[2][:12]}",
        limits=msgspec.json.encode(agent["limits"], order="sorted").decode(),
    )

    def failure(answer: ScoredAnswer) -> str | None:
        if answer.error is not None:  # `ORIGIN:NAME: what was seen`
            origin, _, rest = answer.error.partition(":")
            return failure_label(f"{origin}:{rest.partition(':')[0]}")
        trial = read_trial(answer.output or "")
        return None if trial is None else failure_label(trial.failure)

    return [replace(each, setup=setup, failure=failure(each)) for each in answers]


def run_results(run: "Run", answers: Iterable[ScoredAnswer]) -> "Results":
    """Return a run's scored answers as a table."""
    from crossgrade.workloads import results_from_answers

    return results_from_answers(answers, workload=run.workload, source=f"run {run.id}")


def scorer_plugin(run: "Run") -> tuple[PluginUse, ...]:
    """Return what is recorded of the plugin that scored a run, empty if none did."""
    scorer = run.settings.get("scorer")
    found = scorer.get("plugin") if isinstance(scorer, dict) else None
    return () if found is None else (msgspec.convert(found, PluginUse),)


def changed_settings(workload: Workload, run: "Run") -> dict[str, JSON]:
    """Return the run's settings that differ from the workload's today.

    Seed and plan are always the run's own and are not compared, nor are the files of local models.
    """
    from crossgrade.evaluate import run_settings

    workload = replace(workload, seed=run.seed)
    settings = run_settings(
        workload, dataset_digest=run.dataset_digest, scorer_digest=str(run.settings["scorer_digest"])
    )
    settings.setdefault("probes", None)
    settings.setdefault("across", None)
    settings.setdefault("represented_share", None)
    settings.setdefault("baseline", None)
    settings.setdefault("agent", None)
    settings.setdefault("tuning", None)
    recorded, scorer = run.settings.get("scorer"), settings["scorer"]
    if isinstance(recorded, dict) and isinstance(scorer, dict) and "plugin" not in recorded:
        scorer.pop("plugin", None)  # the run is of before plugins were recorded
    return {
        name: run.settings.get(name)
        for name, value in settings.items()
        if name not in {"planned", "weights"} and run.settings.get(name) != value
    }


def measured_otherwise(workload: Workload, run: "Run") -> list[str]:
    """Return the names of settings that change what is measured, and that differ since the run."""
    return sorted(changed_settings(workload, run).keys() - RULES)


def decision_settings(
    config: Config,
    workload: Workload,
    prices: Mapping[str, Price | None],
    known: "Mapping[str, OfferFacts]",
    contracts: "Mapping[str, Contract]",
    *,
    safety: "Mapping[str, tuple[SafetyRate, ...]]",
    trials: "Mapping[str, TrialFacts]" = MappingProxyType({}),
    fingerprints: "Mapping[str, Fingerprint]" = MappingProxyType({}),
) -> "DecisionSettings":
    """Return the settings of a decision on a workload.

    `prices` and `known` are what the catalogue knows of the offers, `contracts` those of their providers that
    have a minimum, and `safety` the models' rates on the suites that the workload requires, by name. `trials`
    are what runs of the team's agent say of each model, and `fingerprints` what conformity checks saw.
    """
    from crossgrade.decide import DecisionSettings
    from crossgrade.outlook import default_valid_days

    alpha = workload.family_alpha or workload.alpha
    limits = length_limits(config.root, workload, now=datetime.now(UTC))
    return DecisionSettings(
        floor=workload.floor,
        whole_floor=workload.whole_floor,
        alpha=alpha,
        alpha_share=workload.alpha / alpha,
        mode=workload.mode,
        requirements=_demanded(workload),
        facts=tuple(
            replace(
                _facts(offer, prices.get(name), known[name], safety.get(name, ())),
                trials=tried.trials,
                no_trials=tried.no_trials,
                trial_cost=tried.trial_cost,
                fingerprint=fingerprints.get(name),
            )
            for name, offer in offers_of(workload).items()
            for tried in (trials.get(name, TrialFacts()),)
        ),
        requests_per_month=workload.requests_per_month,
        logged_traffic=workload.logged_traffic,
        valid_days=config.valid_days or default_valid_days(),
        errors_count_as_zero=workload.errors_count_as_zero,
        parity_declared=_differ(workload),
        splits_only=workload.splits_only,
        client_api=workload.client_api,
        across=workload.across,
        clauses=tuple(clause for variant in workload.candidates for clause in known[variant.name].clauses),
        contracts=contracts,
        max_bytes={each.candidate: each.max_bytes for each in limits},
        limit_sources=tuple(each.words for each in limits),
        grow=workload.router and bool(growing_routes(config, workload.name)),
        baseline=workload.baseline,
        public_since=workload.public_since,
        tuning=workload.tuning,
    )


def _demanded(workload: Workload) -> Requirements:
    """Return what a workload demands. The answers of an agent's workload are the trials it may ask for."""
    needs = workload.requirements
    if workload.agent is None or needs.evidence != "agentic":
        return needs
    return replace(needs, evidence="plain")


def _differ(workload: Workload) -> bool:
    """Return whether crossgrade.yaml gives the variants different prompts or settings on purpose."""
    variants = (workload.incumbent, *workload.candidates)
    return any(
        (each.prompt, each.settings) != (variants[0].prompt, variants[0].settings) for each in variants
    )


def _facts(
    offer: Offer,
    price: Price | None,
    known: "OfferFacts",
    safety: "tuple[SafetyRate, ...]",
) -> "ModelFacts":
    from crossgrade.decide import ModelFacts

    return ModelFacts(
        model=offer.name,
        context_tokens=known.context_tokens,
        region=offer.region,
        licence=offer.licence or known.licence,
        retires_on=known.retires_on,
        delisted_on=known.delisted_on,
        trained_until=offer.trained_until,
        open_weights=known.open_weights,
        price_source=None if price is None else price_words(offer, price),
        safety=safety,
    )


def price_words(offer: Offer, price: Price) -> str:
    since = f", since {price.valid_from}" if price.valid_from else ""
    rates = f"${price.input_per_mtok} in, ${price.output_per_mtok} out per million tokens"
    return f"{offer.name}: {rates} ({price.source}{since})"


def with_alternatives(
    settings: "DecisionSettings",
    workload: Workload,
    prices: Mapping[str, Price | None],
    catalog: "Catalog",
    on: date,
) -> "DecisionSettings":
    """Return settings that say how the incumbent could cost less, when it ends, and what takes its place."""
    from crossgrade.catalog import incumbent_end

    candidates = [each.offer for each in workload.candidates]
    return replace(
        settings,
        thrifts=thrifts_of(workload, prices, catalog, on),
        incumbent_end=incumbent_end(catalog, workload.incumbent.offer, on, among=candidates),
    )


def thrifts_of(
    workload: Workload, prices: Mapping[str, Price | None], catalog: "Catalog", on: date
) -> "tuple[ThriftShare, ...]":
    """Return how a workload's incumbent could cost less: by itself, or by a newer model of its provider.

    A workload with a limit of latency cannot wait for a batch, and an incumbent that is asked in batches
    already saves nothing more by them.
    """
    from crossgrade.catalog import successor
    from crossgrade.pricing import blended_per_mtok
    from crossgrade.pricing.thrift import ThriftShare, thrift_shares

    offer, logged, needs = workload.incumbent.offer, workload.logged_traffic, workload.requirements
    price = prices.get(offer.name)
    if price is None:
        return ()
    others = {each.name: prices.get(each.name) for each in workload.candidates if not each.offer.batch}
    found = thrift_shares(
        price,
        offer.provider,
        others,
        cached=None if logged is None else logged.cache_saving_share,
        can_wait=not offer.batch and needs.latency_p95_ms is None and needs.ttft_p95_ms is None,
    )
    newer, blend = successor(catalog, offer, on), blended_per_mtok(price, _BLEND)
    candidates = {(each.offer.provider, each.offer.model) for each in workload.candidates}
    if newer is None or not blend or (newer.offer.provider, newer.offer.model) in candidates:
        return found
    share = 1 - newer.blend_per_mtok / float(blend)
    return (*found, ThriftShare(way=newer.way, share=share, needs=_AT, offer=newer.offer.name))


def with_cache_savings(
    evidence: "Evidence",
    answers: Sequence[ScoredAnswer],
    offers: Mapping[str, Offer],
    price: Callable[[Offer, date], Price | None],
) -> "Evidence":
    """Return evidence with what each model's answers would have cost more with all of their input uncached.

    It is the mean over a sample's answers, at the price of the day. It is unknown if the provider did not say
    what was read from the cache, or if there is no price.
    """
    import numpy as np

    found: dict[str, dict[str, list[float]]] = {}
    for each in answers:
        of_model = found.setdefault(each.model, {})
        of_model.setdefault(each.sample_id, []).append(_saved(each, offers.get(each.model), price))

    def with_savings(columns: "ModelColumns") -> "ModelColumns":
        own = found.get(columns.model, {})
        saved = [np.mean(own.get(str(sample), [np.nan])) for sample in evidence.sample_ids]
        return replace(columns, cache_saved_usd=np.array(saved, dtype=np.float64))

    return replace(
        evidence,
        incumbent=with_savings(evidence.incumbent),
        candidates=tuple(map(with_savings, evidence.candidates)),
    )


def _saved(answer: ScoredAnswer, offer: Offer | None, price: Callable[[Offer, date], Price | None]) -> float:
    """Return what the cache took off one answer's cost, NaN if that is unknown."""
    from crossgrade.pricing import cost_usd

    read = answer.usage.cache_read_input_tokens
    if offer is None or not read:
        return 0.0 if read == 0 else float("nan")
    today = datetime.now(UTC).date()
    own = price(offer, answer.on or today) or price(offer, today)
    if own is None:
        return float("nan")
    usages = (replace(answer.usage, cache_read_input_tokens=0), answer.usage)
    cold, warm = (cost_usd(usage, own, batch=offer.batch) for usage in usages)
    return float("nan") if cold is None or warm is None else float(cold - warm)
