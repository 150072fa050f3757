"""The composition root, which is the Python API: configuration, store, providers and stages together."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from crossgrade.config import Config, load_config
from crossgrade.domain import JSON, Offer, Origin, Price, Workload
from crossgrade.errors import ConfigError, DataError, NotFoundError, UsageError

if TYPE_CHECKING:
    from crossgrade.decide import DecisionSettings, Evidence, ModelFacts, Stopping, Verdict
    from crossgrade.evaluate import Judges, PairScorer, Progress, RunEstimate, RunResult, Scorer
    from crossgrade.routing import RouteTable
    from crossgrade.store import Run, Store, StoredVerdict
    from crossgrade.workloads import Dataset, ResultFormat

DEFAULT_CONFIG = "crossgrade.yaml"


def decide_results(
    source: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    *,
    incumbent: str | None = None,
    candidates: Sequence[str] = (),
    floor: float = 0.85,
    alpha: float = 0.05,
    segment: str | None = None,
    group: str | None = None,
    cluster: str | None = None,
    chance: float = 0.0,
    file_format: "ResultFormat | None" = None,
    metric: str | None = None,
    workload: str | None = None,
    allow_unfinished: bool = False,
    scale: tuple[float, float] = (0.0, 1.0),
    origin: Origin = Origin.OWN,
    requests_per_month: int | None = None,
    stated_cost_usd: Mapping[str, float] | None = None,
    errors_count_as_zero: bool = True,
    parity_declared: bool = False,
    splits_only: bool = False,
    judge: str | None = None,
    valid_days: int = 90,
    now: datetime | None = None,
) -> "Verdict":
    """Return the verdict on scored answers in files of any known format; needs no project.

    `source` is a path, several, or a mapping that names the model of each file. `incumbent` and
    `candidates` are model names as the files have them. `floor` is the retention that must hold,
    `alpha` the error rate of the decision, `chance` the score of guessing in [0, 1),
    `stated_cost_usd` a cost per request by model where the files carry none, `judge` the model that
    scored: with a `human` column its scores are corrected. The other arguments
    are those of `workloads.read_results` and `decide.DecisionSettings`.

    Raises DataError for input it cannot take, with file, line and column.
    """
    from crossgrade.decide import DecisionSettings, decide_policy
    from crossgrade.workloads import pair, read_results

    results = read_results(
        source,
        file_format=file_format,
        models=[name for name in (incumbent, *candidates) if name is not None],
        metric=metric,
        workload=workload,
        segment=segment,
        group=group,
        cluster=cluster,
        scale=scale,
        origin=origin,
        allow_unfinished=allow_unfinished,
    )
    evidence = pair(results, incumbent=incumbent, candidates=candidates, errors_as_zero=errors_count_as_zero)
    settings = DecisionSettings(
        floor=floor,
        alpha=alpha,
        requests_per_month=requests_per_month,
        valid_days=valid_days,
        errors_count_as_zero=errors_count_as_zero,
        parity_declared=parity_declared,
        splits_only=splits_only,
        stated_cost_usd=stated_cost_usd or {},
    )
    return decide_policy(
        replace(evidence, chance=chance, judge=judge), settings, now=now or datetime.now(UTC)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Whether a recorded verdict is what its recorded evidence gives now; empty differences: it is."""

    verdict_id: str
    verdict: "Verdict"
    differences: tuple[str, ...]


class Project:
    """A folder with a `crossgrade.yaml`: evaluate its workloads, decide on them, report.

    Open it with `Project.open`; it is a context manager that closes the store.
    """

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self.config = config
        self._environ = environ
        self._store: Store | None = None

    @classmethod
    def open(cls, path: str | Path = DEFAULT_CONFIG, *, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the configuration; the store is opened (and made) when it is first needed.

        Raises ConfigError with file, line and column.
        """
        return cls(load_config(path, environ=environ), environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store, if it was opened."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def store(self) -> "Store":
        """The project's store."""
        if self._store is None:
            from crossgrade.store import Store

            self._store = Store.open(self.config.store, folder=self.config.root / ".crossgrade")
        return self._store

    def workload(self, name: str) -> Workload:
        """Return the workload of this name; raises NotFoundError naming those that exist."""
        found = self.config.workloads.get(name)
        if found is None:
            known = ", ".join(self.config.workloads) or "none"
            raise NotFoundError(f"there is no workload {name!r} in {self.config.path}; there are: {known}")
        return found

    def price_of(self, offer: Offer) -> Price | None:
        """Return today's price of an offer, None where it is unknown."""
        from crossgrade.catalog import price_of

        return price_of(offer, datetime.now(UTC).date())

    def dataset(self, workload: Workload) -> "Dataset":
        """Read and freeze a workload's dataset; raises DataError with file, line and column."""
        from crossgrade.workloads import read_dataset

        return read_dataset(
            workload.dataset,
            id_field=workload.id_field,
            target_field=workload.target_field,
            segment=workload.segment,
            cluster=workload.cluster,
            weight=workload.weight,
            root=self.config.root,
        )

    def estimate(self, name: str) -> "RunEstimate":
        """Estimate calls, tokens and dollars of evaluating a workload; asks no model."""
        from crossgrade.evaluate import estimate_run

        workload = self.workload(name)
        dataset = self.dataset(workload)
        with _in_file(workload.dataset):
            return estimate_run(workload, dataset, prices=self._prices(_offers(workload)), store=self.store)

    def evaluate(
        self,
        name: str,
        *,
        max_cost_usd: Decimal | None = None,
        resume: str | None = None,
        reuse: bool = True,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> "RunResult":
        """Ask the incumbent and its candidates about the workload until the verdict is certain.

        `max_cost_usd` overrides the workload's. `resume` is the id of a run to go on with; with
        `reuse` a request that was paid for before is not sent again. Whatever ends the run early,
        what was paid for is kept. Raises what `evaluate.run_workload` raises.
        """
        import anyio

        workload = self.workload(name)
        if max_cost_usd is not None:
            workload = replace(workload, max_cost_usd=max_cost_usd)
        with _in_file(workload.dataset):
            return anyio.run(self._evaluate, workload, resume, reuse, on_progress)

    async def _evaluate(
        self,
        workload: Workload,
        resume: str | None,
        reuse: bool,  # noqa: FBT001 -- anyio.run passes positions
        on_progress: "Callable[[Progress], None] | None",
    ) -> "RunResult":
        from crossgrade.evaluate import Accounts, Judges, run_workload
        from crossgrade.providers import open_batches, open_provider

        dataset = self.dataset(workload)
        offers = _offers(workload)
        judge = self._judge(workload)
        measure_ttft = workload.requirements.ttft_p95_ms is not None
        everybody = {**offers, judge.name: judge} if judge else offers
        prices = self._prices(everybody)
        accounts = Accounts()
        async with AsyncExitStack() as stack:
            providers = {
                offer_name: await stack.enter_async_context(
                    open_provider(offer, environ=self._environ, measure_ttft=measure_ttft)
                )
                for offer_name, offer in everybody.items()
            }
            batches = {
                name: await stack.enter_async_context(open_batches(offer, environ=self._environ))
                for name, offer in offers.items()
                if offer.batch
            }
            judges = Judges(
                everybody, providers=providers, accounts=accounts, store=self.store, prices=prices
            )
            return await run_workload(
                workload,
                dataset,
                providers=providers,
                scorer=self._scorer(workload, judges if judge else None),
                store=self.store,
                stopping=_stopping(workload, dataset),
                prices=prices,
                accounts=accounts,
                batches=batches,
                resume=resume,
                reuse=reuse,
                on_progress=on_progress,
            )

    def decide(
        self,
        name: str,
        *,
        run_id: str | None = None,
        floor: float | None = None,
        alpha: float | None = None,
        now: datetime | None = None,
    ) -> "StoredVerdict":
        """Decide on a workload from a run (by default its newest), and record verdict and evidence.

        `floor` and `alpha` override the workload's: that is a what-if, which is not recorded (its id
        is empty). Raises NotFoundError without a run and UsageError when what was measured (dataset,
        contestants, scorer) changed since; where the rules changed, the guard `peeking` says so.
        """
        from crossgrade.decide import decide_policy
        from crossgrade.store import StoredVerdict

        workload = self.workload(name)
        workload = replace(workload, floor=floor or workload.floor, alpha=alpha or workload.alpha)
        run = self._run(workload, run_id)
        evidence = self._evidence(workload, run)
        settings = replace(
            self._settings(workload),
            seed=run.seed,
            changed_since_run=tuple(f"{name} {value}" for name, value in _changed(workload, run).items()),
            draws=self._draws(run),
        )
        verdict = decide_policy(
            evidence,
            settings,
            now=now or datetime.now(UTC),
            run_id=run.id,
            spent_usd=self.store.runs.totals(run.id).spent_usd,
        )
        is_what_if = floor is not None or alpha is not None
        identifier = "" if is_what_if else self.store.verdicts.append(verdict, evidence)
        return StoredVerdict(id=identifier, verdict=verdict)

    def verify(self, verdict_id: str) -> Check:
        """Compute a recorded verdict again from its recorded scores, and say where it differs."""
        from crossgrade.decide import verify

        stored = self.store.verdicts.get(verdict_id)
        evidence = self.store.verdicts.evidence(stored.id)
        return Check(
            verdict_id=stored.id, verdict=stored.verdict, differences=verify(stored.verdict, evidence)
        )

    def apply(self, verdict_id: str) -> "RouteTable":
        """Put a recorded verdict's policy into the route table in force; returns the table.

        Raises UsageError for an expired or invalid verdict: it never widens a route.
        """
        from crossgrade.routing import Route, RouteTable, route_table_digest

        stored = self.store.verdicts.get(verdict_id)
        verdict = stored.verdict
        if verdict.name == "invalid" or verdict.valid_until <= datetime.now(UTC):
            why = "invalid" if verdict.name == "invalid" else f"expired on {verdict.valid_until:%Y-%m-%d}"
            raise UsageError(f"verdict {stored.id} is {why}", hint="evaluate and decide again")
        policy = verdict.policy
        models = {policy.incumbent, *([policy.candidate] if policy.candidate else [])}
        route = Route(
            name=verdict.workload,
            policy=policy,
            targets={model: model for model in sorted(models)},
            valid_until=verdict.valid_until,
            verdict_id=stored.id,
            evidence_digest=verdict.evidence_digest,
        )
        current = self.store.routes.current()
        if current is None:
            return self.store.publish_route(RouteTable(version=1, routes=(route,)), None)
        digest = route_table_digest(current)
        return self.store.publish_route(current.replacing(route, previous=digest), digest)

    def export_run(self, run_id: str, path: Path) -> int:
        """Write a run's scored answers as one table, with a blank `human` column; returns its rows.

        Samples stand in the shuffled order in which they were asked, so the first hundred are a
        random hundred: enough for `decide_results(path, judge=…)` to correct a judge's scores. Only
        a run in mode "fixed" may be decided on from the table: others stopped when it suited them.
        """
        from crossgrade.workloads import results_from_answers, write_results

        run = self.store.runs.get(run_id)
        answers = self.store.answers.scored(run.id, str(run.settings["scorer_digest"]))
        results = results_from_answers(answers, workload=run.workload, source=f"run {run.id}")
        return write_results(results, path, blank=("human",))

    def report(
        self, names: Sequence[str] = (), *, verdict_id: str | None = None, path: str | Path | None = None
    ) -> Path:
        """Write the report of the newest verdicts (of all workloads by default); returns its path.

        The suffix of `path` picks the form: `.md` Markdown, `.xml` JUnit XML, else HTML.
        """
        from crossgrade.report import write_report

        verdicts = [stored.verdict for stored in self.newest_verdicts(names, verdict_id=verdict_id)]
        return write_report(verdicts, Path(path or self.config.root / "crossgrade-report.html"))

    def newest_verdicts(
        self, names: Sequence[str] = (), *, verdict_id: str | None = None
    ) -> "list[StoredVerdict]":
        """Return the newest verdict of each named workload (all by default), or the one of an id."""
        if verdict_id is not None:
            return [self.store.verdicts.get(verdict_id)]
        wanted = [self.workload(name).name for name in names] or list(self.config.workloads)
        found = [each for name in wanted for each in self.store.verdicts.recent(name, limit=1)]
        if not found:
            raise NotFoundError(
                f"there is no verdict on {', '.join(wanted) or 'any workload'} yet",
                hint="run `crossgrade evaluate WORKLOAD`, then `crossgrade decide WORKLOAD`",
            )
        return found

    def _prices(self, offers: Mapping[str, Offer]) -> dict[str, Price | None]:
        return {name: self.price_of(offer) for name, offer in offers.items()}

    def _judge(self, workload: Workload) -> Offer | None:
        """Return the offer that a workload's scorer asks, None where it asks none."""
        from crossgrade.evaluate import scorer_kind

        try:
            kind = scorer_kind(workload.scorer.kind)
        except ConfigError as error:
            raise self._scorer_error(workload, error) from error
        if not {"ask", "embed"} & set(kind.needs):
            return None
        model = workload.scorer.options.get("model")
        offer = self.config.offers.get(str(model))
        if offer is None:
            where = f"workloads.{workload.name}.scorer.options.model"
            raise self.config.error(where, f"the scorer asks `{model}`, which `models` does not have")
        return offer

    def _scorer(self, workload: Workload, judges: "Judges | None") -> "Scorer | PairScorer":
        """Build the workload's scorer; an error in its options points into crossgrade.yaml."""
        from crossgrade.evaluate import build_scorer

        try:
            return build_scorer(
                workload.scorer,
                ask=judges.ask if judges else None,
                embed=judges.embed if judges else None,
                cost_of=judges.cost_of if judges else None,
                project_dir=self.config.root,
            )
        except ConfigError as error:
            if error.line is not None:
                raise
            raise self._scorer_error(workload, error) from error

    def _scorer_error(self, workload: Workload, error: ConfigError) -> ConfigError:
        where = ".".join(filter(None, ("workloads", workload.name, "scorer", error.where)))
        return self.config.error(where, error.message, error.hint)

    def _run(self, workload: Workload, run_id: str | None) -> "Run":
        if run_id is not None:
            run = self.store.runs.get(run_id)
            if run.workload != workload.name:
                raise UsageError(
                    f"run {run.id} is of workload {run.workload!r}, not of {workload.name!r}",
                    hint=f"`crossgrade runs {workload.name}` lists the workload's runs",
                )
            return run
        runs = self.store.runs.recent(workload.name)
        if not runs:
            raise NotFoundError(
                f"workload {workload.name!r} has no run yet",
                hint=f"run `crossgrade evaluate {workload.name}`",
            )
        return runs[0]

    def _evidence(self, workload: Workload, run: "Run") -> "Evidence":
        from crossgrade.evaluate import planned_samples
        from crossgrade.workloads import evidence_from_answers

        dataset = self.dataset(workload)
        if dataset.digest != run.dataset_digest:
            raise UsageError(
                f"the dataset of {workload.name!r} changed since run {run.id}",
                hint=f"run `crossgrade evaluate {workload.name}`: unchanged requests are not paid for again",
            )
        measured = sorted(_changed(workload, run).keys() - _RULES)
        if measured:
            raise UsageError(
                f"{', '.join(measured)} of {workload.name!r} changed since run {run.id}",
                hint=f"run `crossgrade evaluate {workload.name}`: unchanged requests are not paid for again",
            )
        samples = planned_samples(replace(workload, seed=run.seed, planned=run.planned), dataset)
        answers = self.store.answers.scored(run.id, str(run.settings["scorer_digest"]))
        if not answers:
            raise UsageError(
                f"run {run.id} ended before any answer could be scored",
                hint=f"go on with it: `crossgrade evaluate {workload.name} --resume {run.id}`",
            )
        evidence = evidence_from_answers(
            answers,
            workload=workload.name,
            incumbent=workload.incumbent.name,
            candidates=[variant.name for variant in workload.candidates],
            plan=samples,
            file_order=[sample.id for sample in dataset.samples],
            errors_as_zero=workload.errors_count_as_zero,
            source=f"run {run.id}",
        )
        judge = self._judge(workload)
        return replace(
            evidence,
            chance=workload.scorer.chance,
            zero=workload.scorer.zero,
            judge=judge.name if judge else None,
        )

    def _draws(self, run: "Run") -> int:
        """Return in how many different draws the run's dataset was asked for its workload."""
        runs = self.store.runs.recent(run.workload)
        return len({(each.seed, each.planned) for each in runs if each.dataset_digest == run.dataset_digest})

    def _settings(self, workload: Workload) -> "DecisionSettings":
        from crossgrade.decide import DecisionSettings

        documents = workload.requirements.documents
        return DecisionSettings(
            floor=workload.floor,
            alpha=workload.alpha,
            mode=workload.mode,
            requirements=workload.requirements,
            facts=tuple(self._facts(offer) for offer in _offers(workload).values()),
            requests_per_month=workload.requests_per_month,
            valid_days=self.config.valid_days,
            errors_count_as_zero=workload.errors_count_as_zero,
            parity_declared=_differ(workload),
            splits_only=workload.splits_only,
            provided=tuple(name for name in documents if (self.config.root / name).is_file()),
        )

    def _facts(self, offer: Offer) -> "ModelFacts":
        from crossgrade.decide import ModelFacts

        price = self.price_of(offer)
        return ModelFacts(
            model=offer.name,
            context_tokens=offer.context_tokens,
            region=offer.region,
            licence=offer.licence,
            retires_on=offer.retires_on,
            open_weights=offer.open_weights,
            price_source=None if price is None else _price_words(offer, price),
        )


@contextmanager
def _in_file(path: Path) -> Iterator[None]:
    """Add the file to an error about a sample, which knows only its line."""
    try:
        yield
    except DataError as error:
        error.file = error.file or str(path)
        raise


def _offers(workload: Workload) -> dict[str, Offer]:
    return {variant.name: variant.offer for variant in (workload.incumbent, *workload.candidates)}


def _differ(workload: Workload) -> bool:
    """Return whether crossgrade.yaml gives the contestants different prompts or settings on purpose."""
    variants = (workload.incumbent, *workload.candidates)
    return any(
        (each.prompt, each.settings) != (variants[0].prompt, variants[0].settings) for each in variants
    )


_RULES = {"floor", "alpha", "mode", "errors_count_as_zero", "splits_only"}
"""Settings of a run that say when it stops, not what it measures."""


def _changed(workload: Workload, run: "Run") -> dict[str, JSON]:
    """Return the settings that the run was made under and the workload no longer has.

    Seed and plan are always the run's own.
    """
    from crossgrade.evaluate import run_settings

    workload = replace(workload, seed=run.seed)
    settings = run_settings(
        workload, dataset_digest=run.dataset_digest, scorer_digest=str(run.settings["scorer_digest"])
    )
    return {
        name: run.settings.get(name)
        for name, value in settings.items()
        if name != "planned" and run.settings.get(name) != value
    }


def _price_words(offer: Offer, price: Price) -> str:
    since = f", since {price.valid_from}" if price.valid_from else ""
    rates = f"${price.input_per_mtok} in, ${price.output_per_mtok} out per million tokens"
    return f"{offer.name}: {rates} ({price.source}{since})"


def _stopping(workload: Workload, dataset: "Dataset") -> "Stopping":
    """Return the rule that stops the run: samples that share a cluster are never bet on one by one."""
    from crossgrade.decide import Stopping
    from crossgrade.evaluate import planned_samples

    samples = planned_samples(workload, dataset)
    segments = Counter(sample.segment for sample in samples if sample.segment)
    return Stopping(
        candidates=[variant.name for variant in workload.candidates],
        planned=len(samples),
        segments=segments,
        floor=workload.floor,
        alpha=workload.alpha,
        mode="fixed" if workload.cluster else workload.mode,
        heaviest=max((sample.weight for sample in samples), default=1.0),
        splits_only=workload.splits_only,
    )
