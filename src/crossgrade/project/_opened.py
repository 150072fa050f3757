"""An open project: its configuration, plugins, store and catalogue, which every topic works on."""

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, TypeVarTuple

from crossgrade.config import Config
from crossgrade.dialects import speaks_another_api
from crossgrade.domain import Clause, Contract, Offer, Price, RouteSpec, Workload
from crossgrade.errors import ConfigError, DataError, NotFoundError, StoreError, UsageError, closest
from crossgrade.project._plugins import find_plugins, read_config
from crossgrade.project._suites import find_suite, suite_workload

if TYPE_CHECKING:
    from crossgrade.catalog import Catalog, OfferFacts
    from crossgrade.catalog.bills import Bills
    from crossgrade.evaluate import Judges, PairScorer, Scorer, ScorerCalls
    from crossgrade.project._access import ProjectAccess
    from crossgrade.project._auditing import ProjectLedger
    from crossgrade.project._equality import OfferConformity, OfferPair
    from crossgrade.project._ray import RayCluster
    from crossgrade.project._routing import Routing
    from crossgrade.project._succession import Succession
    from crossgrade.project._trial_gateway import TrialGateways
    from crossgrade.providers import OpenProvider
    from crossgrade.store import Store
    from crossgrade.workloads import Dataset

DEFAULT_CONFIG = "crossgrade.yaml"

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")


class OpenProject:
    """An open project without its stages; `Project` adds those.

    It is a context manager that closes the store.
    """

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self.plugins = find_plugins(config.plugins)
        marked = {name: self.plugins.marked(workload) for name, workload in config.workloads.items()}
        self.config = replace(config, workloads=marked) if self.plugins.entries else config
        self.environ = environ
        self._store: Store | None = None
        self._catalog: Catalog | None = None
        self._cluster: RayCluster | None = None

    @classmethod
    def open(cls, path: str | Path = DEFAULT_CONFIG, *, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the configuration; the store is opened, or created, when it is first needed.

        Raises ConfigError with file, line and column.
        """
        return cls(read_config(path, environ=environ), environ)

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

    def trying(self, offer: str, workload: str) -> Self:
        """Return the project with an offer as the only candidate of a workload, asked like the incumbent.

        It has a store of its own, which must be closed too. Raises NotFoundError for either name, and
        UsageError for the incumbent.
        """
        wanted = self.workload(workload)
        found = self.offer(
            offer, hint=f"add it under `models`, for instance `{offer}: {{provider: groq, model: ITS-ID}}`"
        )
        if offer == wanted.incumbent.name:
            raise UsageError(
                f"{offer!r} is the incumbent of {workload!r} already", code="models-not-distinct"
            )
        own = {variant.name: variant for variant in wanted.candidates}
        variant = own.get(offer) or replace(wanted.incumbent, offer=found)
        across = (offer,) if speaks_another_api(found, wanted.client_api) else ()
        alone = replace(wanted, candidates=(variant,), across=across)
        workloads = {**self.config.workloads, workload: alone}
        return type(self)(replace(self.config, workloads=workloads), self.environ)

    @property
    def store(self) -> "Store":
        """The project's store."""
        if self._store is None:
            from crossgrade.store import Store

            self._store = Store.open(self.config.store, folder=self.config.root / ".crossgrade")
        return self._store

    @property
    def open_provider(self) -> "OpenProvider":
        """What opens models: on this machine, or on the nodes of a cluster inside `on_cluster`.

        A path of a model counts from the project's folder.
        """
        from crossgrade.providers import open_provider

        opener = open_provider if self._cluster is None else self._cluster.open_provider
        return partial(opener, root=self.config.root)

    def open_trials(self, workload: Workload) -> "AbstractAsyncContextManager[TrialGateways]":
        """Open what runs the trials of an agent's workload; see `open_trials`."""
        from crossgrade.project._trial_gateway import open_trials

        return open_trials(
            workload,
            root=self.config.root,
            environ=self.environ,
            price_of=self.price_of,
            price_files=self.config.price_files,
            plugins=self.config.plugins,
        )

    @contextmanager
    def on_cluster(self, address: str | None) -> Iterator[None]:
        """Ask models from the nodes of a cluster of Ray inside the block; None stands for this machine.

        Raises as `on_ray` does.
        """
        from crossgrade.project._ray import on_ray

        with nullcontext() if address is None else on_ray(address) as cluster:
            self._cluster = cluster
            try:
                yield
            finally:
                self._cluster = None

    def workload(self, name: str) -> Workload:
        """Return the workload of this name; raises NotFoundError naming those that exist.

        `WORKLOAD.SUITE` is that of a safety suite (`suite_workload`).
        """
        found = self.config.workloads.get(name)
        if found is None and (pair := find_suite(self.config, name)) is not None:
            return self.plugins.marked(suite_workload(*pair, root=self.config.root))
        if found is None:
            known = ", ".join(self.config.workloads) or "none"
            raise NotFoundError(
                f"there is no workload {name!r} in {self.config.path}; there are: {known}"
                f"{closest(name, self.config.workloads)}",
                code="workload-unknown",
            )
        return found

    def offer(self, name: str, *, hint: str = "name one of `models` in the configuration") -> Offer:
        """Return the model of this name; raises NotFoundError naming those that exist."""
        found = self.config.offers.get(name)
        if found is None:
            known = ", ".join(self.config.offers)
            raise NotFoundError(
                f"there is no model {name!r} in {self.config.path}; there are: {known}"
                f"{closest(name, self.config.offers)}",
                code="model-unknown",
                hint=hint,
            )
        return found

    def price_of(self, offer: Offer) -> Price | None:
        """Return today's price of an offer, None if unknown."""
        return self.catalog.price(offer, datetime.now(UTC).date())

    def gone(self, offers: Iterable[Offer]) -> dict[str, str]:
        """Return which of the offers can no longer be bought as far as is known, and since when, by name."""
        today = datetime.now(UTC).date()
        words = ((offer.name, self.catalog.facts(offer, today).gone(today)) for offer in offers)
        return {name: gone for name, gone in words if gone is not None}

    def ends_on(self, offer: Offer, today: date) -> date | None:
        """Return the day on which an offer ends (00:00 UTC), as is known on a day; None if no end is known.

        That is `retires_on` of the configuration, else that of the catalogue.
        """
        return self.catalog.facts(offer, today).retires_on

    def facts_of(self, offer: Offer) -> "OfferFacts":
        """Return today's facts of an offer, with the clauses of all hosts that share its requests."""
        today = datetime.now(UTC).date()
        facts = self.catalog.facts(offer, today)
        others = [self.config.offers[name] for name in offer.replicas if name != offer.name]
        more = [
            replace(clause, model=offer.name)
            for other in others
            for clause in self.catalog.facts(other, today).clauses
        ]
        return replace(facts, clauses=tuple(dict.fromkeys((*facts.clauses, *more))))

    def pairs(self) -> "list[OfferPair]":
        """Return the offers that answer in each other's place, with the newest check that compared them."""
        from crossgrade.project._equality import replaced_pairs

        return list(replaced_pairs(self.store, self.config.offers, self.config.routes.values()))

    def with_conformity(self, bills: "Bills") -> "Bills":
        """Return bills that say of each offer whether it was shown to be the model that it is said to be."""
        rows = []
        for row in bills.offers:
            found = self.conformity_of(self.config.offers[row.offer])
            rows.append(replace(row, conformity=found.words, differs=found.conformity == "differs"))
        return replace(bills, offers=tuple(rows))

    def conformity_of(self, offer: Offer) -> "OfferConformity":
        """Return what checks and daily looks say of an offer: conforms, differs, or not checked.

        No store is made for that, and what one that cannot be read has is not known.
        """
        from crossgrade.project._equality import OfferConformity, offer_conformity

        if "://" not in self.config.store and not Path(self.config.store).exists():
            return OfferConformity()
        try:
            return offer_conformity(self.store, offer)
        except StoreError:
            return OfferConformity()

    @property
    def routing(self) -> "Routing":
        """The project's routes: apply a verdict, promote, abort."""
        from crossgrade.project._routing import Routing

        return Routing(
            self.config, self.store, self.clauses_of, self.plugins, self.succession, pairs=self.pairs
        )

    @property
    def access(self) -> "ProjectAccess":
        """The project's access rules: test cases against them, name users."""
        from crossgrade.identity import Dossiers
        from crossgrade.project._access import ProjectAccess
        from crossgrade.project._dossier_basis import gateway_basis

        def dossiers() -> Dossiers:
            marks = (each.mark for each in self.store.dossiers.newest())
            return Dossiers(marks, gateway_basis(self.config, self.environ))

        return ProjectAccess(self.config, lambda: self.routing, dossiers)

    def succession(self, spec: RouteSpec, on: date, *, incumbent: str | None = None) -> "Succession":
        """Return who takes the place of a route's incumbent (the route table's, if given), as of a day."""
        from crossgrade.project._succession import succession

        def ends_on(model: str) -> date | None:
            offer = self.config.offers.get(model)
            return None if offer is None else self.ends_on(offer, on)

        return succession(spec, ends_on=ends_on, clauses_of=self.clauses_of, on=on, incumbent=incumbent)

    def check_allowed(self, model: str) -> None:
        """Raise UsageError for a configured model that the team may not use."""
        from crossgrade.catalog import refuse_forbidden

        refuse_forbidden(self.clauses_of(model))

    def clauses_of(self, model: str) -> tuple[Clause, ...]:
        """Return what licence and hosts say to the team about a model; nothing if it is not configured."""
        offer = self.config.offers.get(model)
        return () if offer is None else self.facts_of(offer).clauses

    def clauses(self, name: str) -> tuple[Clause, ...]:
        """Return what licences and hosts say to the team about the models that a workload's run asks.

        The order is candidates, judge, incumbent. If the team has stated nothing, they name what it has to.
        """
        workload, today = self.workload(name), datetime.now(UTC).date()
        judge = self.judge(workload)
        asked = {
            offer.name: offer
            for offer in (*(each.offer for each in workload.candidates), judge, workload.incumbent.offer)
            if offer
        }
        if self.config.team.is_stated:
            return tuple(clause for offer in asked.values() for clause in self.facts_of(offer).clauses)
        return tuple(clause for offer in asked.values() for clause in self.catalog.clauses(offer, today))

    def check_terms(self, name: str) -> None:
        """Raise UsageError if the team may not use a model that a workload's run asks."""
        from crossgrade.catalog import refuse_forbidden

        refuse_forbidden(self.clauses(name) if self.config.team.is_stated else ())

    @property
    def ledger(self) -> "ProjectLedger":
        """The ledger: its key, entries and proofs."""
        from crossgrade.project._auditing import ProjectLedger

        witnesses = [(each.url, each.key) for each in self.config.ledger.witnesses]
        return ProjectLedger(self.store, witnesses)

    @property
    def catalog(self) -> "Catalog":
        """The catalogue with the project's own price files; raises DataError for a wrong file."""
        if self._catalog is None:
            from crossgrade.catalog import Catalog, read_rates

            rates = [rate for path in self.config.price_files for rate in read_rates(path)]
            self._catalog = Catalog(rates, self.config.team)
        return self._catalog

    def _prices(self, offers: Mapping[str, Offer]) -> dict[str, Price | None]:
        return {name: self.price_of(offer) for name, offer in offers.items()}

    def _known(self, offers: Mapping[str, Offer]) -> "dict[str, OfferFacts]":
        return {name: self.facts_of(offer) for name, offer in offers.items()}

    def _contracts(self, offers: Mapping[str, Offer]) -> dict[str, Contract]:
        """Return the contracts with a minimum of the offers' providers, by the offer's name."""
        today = datetime.now(UTC).date()
        found = {name: self.catalog.contract(offer.provider, today) for name, offer in offers.items()}
        return {name: each for name, each in found.items() if each and each.minimum_usd_per_month}

    def judge(self, workload: Workload) -> Offer | None:
        """Return the offer that a workload's scorer asks, None if it asks none."""
        from crossgrade.evaluate import scorer_kind

        kinds = self.plugins.scorers
        try:
            kind = scorer_kind(workload.scorer.kind, kinds)
        except ConfigError as error:
            raise self._scorer_error(workload, error) from error
        if not kind.asks_model:
            return None
        model = workload.scorer.options.get("model")
        offer = self.config.offers.get(str(model))
        if offer is None:
            raise self.config.error(
                f"{_scorer_place(workload)}.options.model",
                f"the scorer asks `{model}`, which `models` does not have",
                code="scorer-model-undefined",
            )
        return offer

    def scorer_identity(self, workload: Workload) -> dict[str, object]:
        """Return what scores a workload's answers: the scorer's digest, and the judge's model."""
        from crossgrade.calls import CallLimiters
        from crossgrade.evaluate import Judges

        judge = self.judge(workload)
        # It is built, and asks nothing.
        judges = Judges({}, providers={}, limiters=CallLimiters(), store=self.store, prices={})
        return {
            "scorer_digest": self.scorer(workload, judges if judge else None).digest,
            "judge": None if judge is None else [judge.provider, judge.model, judge.base_url],
        }

    def scores_pairs(self, workload: Workload) -> bool:
        """Return whether a workload's scorer scores two answers against each other."""
        from crossgrade.evaluate import scorer_kind

        return scorer_kind(workload.scorer.kind, self.plugins.scorers).pair

    def scorer(self, workload: Workload, judges: "Judges | ScorerCalls | None") -> "Scorer | PairScorer":
        """Build the workload's scorer; an error in its options points into crossgrade.yaml."""
        from crossgrade.evaluate import build_scorer

        kinds, functions = self.plugins.scorers, self.plugins.functions
        try:
            return build_scorer(
                workload.scorer,
                ask=judges.ask if judges else None,
                embed=judges.embed if judges else None,
                cost_of=judges.cost_of if judges else None,
                project_dir=self.config.root,
                kinds=kinds,
                functions=functions,
            )
        except ConfigError as error:
            if error.line is not None:
                raise
            raise self._scorer_error(workload, error) from error

    def _scorer_error(self, workload: Workload, error: ConfigError) -> ConfigError:
        where = ".".join(filter(None, (_scorer_place(workload), error.where)))
        return self.config.error(where, error.message, error.hint, code=error.code)

    def dataset(self, workload: Workload, *, copies: bool = False) -> "Dataset":
        """Read and freeze a workload's dataset; raises DataError with file, line and column.

        Rows that ask the same become one sample with the sum of their weights, unless `copies`. The dataset
        of an agent is its tasks. Raises
        UsageError once their texts may no longer be kept (`texts_until`).
        """
        until = workload.texts_until
        if until is not None and datetime.now(UTC).date() > until and not copies:  # which are read to erase
            raise UsageError(
                f"the texts of workload {workload.name!r} may be kept until {until}",
                code="texts-expired",
                hint=f"delete {workload.dataset.name}; recorded verdicts and their numbers stay",
            )
        from crossgrade.workloads import read_dataset, read_tasks, without_copies

        if workload.agent is not None:
            return read_tasks(workload.dataset, workload.agent)
        dataset = read_dataset(
            workload.dataset,
            id_field=workload.id_field,
            target_field=workload.target_field,
            segment=workload.segment,
            cluster=workload.cluster,
            weight=workload.weight,
            root=None if workload.suite and workload.suite.shipped else self.config.root,
        )
        return dataset if copies else without_copies(dataset, workload)


def _scorer_place(workload: Workload) -> str:
    """Return where the configuration has a workload's scorer."""
    suite = workload.suite
    return f"workloads.{workload.name}.scorer" if suite is None else f"safety.suites.{suite.name}.grader"


def run_to_end(function: Callable[[*ArgumentsT], Awaitable[ResultT]], *arguments: *ArgumentsT) -> ResultT:
    """Run an async function to its end and return its result.

    Where this thread runs an event loop already, as in Jupyter, the function runs in one of another thread.
    An interrupt cancels it there, and it may still keep what it has.
    """
    import asyncio

    import anyio
    from anyio.from_thread import start_blocking_portal

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(function, *arguments)
    with start_blocking_portal() as portal:
        return portal.call(function, *arguments)


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Add the file to an error about a sample, which knows only its line."""
    try:
        yield
    except DataError as error:
        error.file = error.file or str(path)
        raise
