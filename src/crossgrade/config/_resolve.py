"""From sections to domain objects: names, overrides and paths resolved, rules across keys checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from crossgrade.config._problems import SectionResolver, replica_problems, shown
from crossgrade.config._schema import (
    ConfigFile,
    ModelSection,
    PromptSection,
    VariantSection,
    WorkloadSection,
)
from crossgrade.config._section import Section, values
from crossgrade.config._trust import SafetyResolver
from crossgrade.dialects import CLIENTS, Host, speaks_another_api
from crossgrade.domain import (
    PLACEHOLDER,
    TRIAL_ORDER,
    AgentLimits,
    AgentSpec,
    AgentTrialsSpec,
    Contract,
    GenerationSettings,
    LoggedTraffic,
    Offer,
    Permission,
    Price,
    PromptTemplate,
    Requirements,
    SafetySuite,
    ScorerSpec,
    TeachingRight,
    Team,
    Variant,
    Workload,
    heads_of,
    round_alpha,
)
from crossgrade.errors import hint_among

SectionT = TypeVar("SectionT", bound=Section)

_RENAMED = {"segment_field": "segment", "cluster_field": "cluster", "weight_field": "weight"}


@dataclass(slots=True)
class Resolver(SectionResolver):
    """Collects problems while it resolves, so that all of them are reported at once."""

    root: Path
    hosts: Mapping[str, Host]
    heads: dict[str, str] = field(default_factory=dict)
    suites: Mapping[str, SafetySuite] = field(default_factory=dict)

    def offers(self, file: ConfigFile) -> dict[str, Offer]:
        """Return the offers by name, and remember the model of each replica."""
        for where, message, hint in replica_problems(file.models):
            self._refuse(where, message, hint, code="replica-invalid")
        found = {name: self._offer(name, section) for name, section in file.models.items()}
        self.heads = heads_of(found.values())
        return found

    def workloads(self, file: ConfigFile, offers: dict[str, Offer]) -> dict[str, Workload]:
        """Return the workloads by name, without those in which a name does not resolve.

        The safety suites are resolved with them.
        """
        safety = SafetyResolver(self.tree, self.problems, self.path, file.safety)
        self.suites = safety.suites(file.workloads)
        dropping = _dropping(file)
        built = {
            name: self._workload(name, section, offers, safety, drops=name in dropping)
            for name, section in file.workloads.items()
        }
        found = {name: workload for name, workload in built.items() if workload is not None}
        for name, section in file.workloads.items():
            self._check_router(f"workloads.{name}", section, file)
        if file.family_alpha is None:
            return found
        for name, section in file.workloads.items():
            if section.rounds > 1:
                self._refuse(
                    f"workloads.{name}.rounds",
                    "`family_alpha` leaves no part for further rounds",
                    "remove `rounds` here, or `family_alpha`",
                    code="rounds-with-family",
                )
            if "alpha" in section.model_fields_set:
                hint = "remove `alpha` here, or `family_alpha`"
                self._refuse(
                    f"workloads.{name}.alpha",
                    "`family_alpha` gives every workload its part",
                    hint,
                    code="alpha-with-family",
                )
        part = file.family_alpha / len(built)
        return {
            name: replace(workload, alpha=part, family_alpha=file.family_alpha)
            for name, workload in found.items()
        }

    def _check_router(self, where: str, section: WorkloadSection, file: ConfigFile) -> None:
        """Refuse a router beside settings that it cannot be certified under."""
        problems = {
            f"{where}.mode": (
                "`router` needs all planned samples",
                section.mode != "fixed",
                "set `mode: fixed`",
            ),
            f"{where}.candidates": (
                "`router` chooses between the incumbent and one candidate",
                len(section.candidates) > 1,
                "keep one candidate, or make a workload for each",
            ),
            f"{where}.splits_only": (
                "`router` and `splits_only` test different policies",
                section.splits_only,
                "remove one of them",
            ),
            "family_alpha": (
                f"workload {where.removeprefix('workloads.')} has a `router`, which shares no error rate",
                file.family_alpha is not None,
                "remove `family_alpha`, or the `router`",
            ),
        }
        for place, (message, applies, hint) in problems.items():
            if section.router and applies:
                self._refuse(place, message, hint, code="router-settings")
        if section.whole_floor is not None and not section.router:
            self._refuse(
                f"{where}.whole_floor",
                "`whole_floor` is for a workload with a router",
                "set `router: true`, or raise `floor`",
                code="router-settings",
            )

    def team(self, file: ConfigFile, offers: Mapping[str, Offer]) -> Team:
        """Return the team, whose permissions name models and whose contracts name providers."""
        section = file.team
        named = {f"team.permitted.{index}.model": each.model for index, each in enumerate(section.permitted)}
        named |= {f"team.teachers.{index}.model": each.model for index, each in enumerate(section.teachers)}
        for where, model in named.items():
            if model not in offers:
                message, hint = f"no model {shown(model)} under `models`", hint_among(model, offers)
                self._refuse(where, message, hint, code="model-undefined")
        for index, contract in enumerate(section.contracts):
            if contract.provider not in self.hosts:
                self._refuse(
                    f"team.contracts.{index}.provider",
                    f"unknown provider {shown(contract.provider)}",
                    hint_among(contract.provider, self.hosts),
                    code="provider-undefined",
                )
            if any(each.provider == contract.provider for each in section.contracts[:index]):
                self._refuse(
                    f"team.contracts.{index}.provider",
                    f"{shown(contract.provider)} has a contract already",
                    "state one contract for each provider",
                    code="contract-repeated",
                )
        fields = values(section)
        fields["permitted"] = tuple(Permission(**values(each)) for each in section.permitted)
        fields["contracts"] = tuple(Contract(**values(each)) for each in section.contracts)
        fields["teachers"] = tuple(TeachingRight(**values(each)) for each in section.teachers)
        return Team(**fields)

    def path(self, where: str, text: str) -> Path:
        """Resolve a path against the project's folder; outside it (links included) is a problem."""
        try:
            path = (self.root / text).resolve()
        except (OSError, RuntimeError, ValueError):
            self._refuse(
                where,
                f"{shown(text)} is not a path",
                "name a file inside the project's folder",
                code="path-invalid",
            )
            return self.root
        if not path.is_relative_to(self.root):
            message = f"{shown(text)} is outside the project's folder"
            self._refuse(where, message, f"move or copy the file below {self.root}", code="path-outside")
        return path

    def _offer(self, name: str, section: ModelSection) -> Offer:
        where = f"models.{name}"
        for index, (earlier, later) in enumerate(
            zip(section.prices, section.prices[1:], strict=False), start=1
        ):
            if later.valid_from is None:
                self._refuse(
                    f"{where}.prices.{index}",
                    "`valid_from` is missing",
                    "say from which day it held",
                    code="price-day-missing",
                )
            elif earlier.valid_from is not None and later.valid_from <= earlier.valid_from:
                message = (
                    f"`valid_from` {later.valid_from} is not after {earlier.valid_from}, the entry before"
                )
                self._refuse(
                    f"{where}.prices.{index}.valid_from",
                    message,
                    "list prices oldest first, a day each",
                    code="price-days",
                )
        self._check_host(where, section)
        if section.adapter is not None and section.provider != "local":
            self._refuse(
                f"{where}.adapter",
                f"a model at {shown(section.provider)} takes no adapter of yours",
                "remove `adapter`, or run the model here with `provider: local`",
                code="adapter-not-local",
            )
        fields = values(section)
        fields["prices"] = tuple(Price(**values(price)) for price in section.prices)
        return Offer(name=name, **fields)

    def _check_host(self, where: str, section: ModelSection) -> None:
        host = self.hosts.get(section.provider)
        if host is None:
            hint = (
                hint_among(section.provider, self.hosts)
                or "`openai-compatible` with `base_url` reaches any other host"
            )
            self._refuse(
                f"{where}.provider",
                f"unknown provider {shown(section.provider)}",
                hint,
                code="provider-undefined",
            )
        elif section.base_url is None and host.base_url is None and host.name != "local":
            hint = "add the address of the API, for instance `base_url: http://localhost:8000/v1`"
            self._refuse(
                where,
                f"`base_url` is missing: {shown(host.name)} has no address of its own",
                hint,
                code="base-url-missing",
            )
        elif section.batch and host.batch is None:
            message = f"{shown(host.name)} has no batch API that Crossgrade speaks"
            self._refuse(f"{where}.batch", message, "remove `batch: true`", code="batch-unsupported")

    def _workload(
        self,
        name: str,
        section: WorkloadSection,
        offers: dict[str, Offer],
        safety: SafetyResolver,
        *,
        drops: bool,
    ) -> Workload | None:
        where = f"workloads.{name}"
        incumbent = self._variant(f"{where}.incumbent", section.incumbent, section, offers)
        candidates = [
            self._variant(f"{where}.candidates.{index}", variant, section, offers)
            for index, variant in enumerate(section.candidates)
        ]
        self._check_distinct(where, section)
        self._check_agent(where, section)
        dataset = self.path(f"{where}.dataset", section.dataset)
        for index, document in enumerate(section.requirements.documents):
            self.path(f"{where}.requirements.documents.{index}", document)
        needs, trials, agent = section.requirements, section.trials, self._agent(where, section)
        runs = None if trials is None else self.path(f"{where}.trials.path", trials.path)
        required = safety.required(f"{where}.requirements.safety", needs.safety, self.suites)
        known = [variant for variant in candidates if variant is not None]
        if incumbent is None or len(known) < len(candidates):
            return None
        fields = {_RENAMED.get(key, key): value for key, value in values(section).items()}
        del fields["prompt"], fields["settings"], fields["kind"]  # every variant has its own
        if agent is not None:
            incumbent, *known = (_ordering(variant) for variant in (incumbent, *known))
            fields["blocks"] = False
        fields |= {
            "dataset": dataset,
            "incumbent": incumbent,
            "candidates": tuple(known),
            "agent": agent,
            "scorer": ScorerSpec(**values(section.scorer)),
            "requirements": Requirements(**{**values(needs), "safety": required}),
            "alpha": round_alpha(1, rounds=section.rounds, alpha=section.alpha),
            "trials": None if trials is None else AgentTrialsSpec(**{**values(trials), "path": runs}),
            "probes": tuple(section.probes),
            "across": self._across(section, known),
            "dropped": frozenset(CLIENTS[section.client_api].parameters)
            if drops and section.client_api is not None
            else frozenset(),
            "logged_traffic": None
            if section.logged_traffic is None
            else LoggedTraffic(**values(section.logged_traffic)),
        }
        return Workload(name=name, **fields)

    def _agent(self, where: str, section: WorkloadSection) -> AgentSpec | None:
        """Return the agent of a workload whose samples are tasks, None of any other."""
        agent = section.agent
        if agent is None:
            return None
        files = None if agent.files is None else self.path(f"{where}.agent.files", agent.files)
        return AgentSpec(**{**values(agent), "files": files, "limits": AgentLimits(**values(agent.limits))})

    def _check_agent(self, where: str, section: WorkloadSection) -> None:
        """Refuse an agent without tasks, tasks without an agent, and what has no meaning for trials."""
        is_agent = section.kind == "agent"
        if is_agent != (section.agent is not None):
            message = "`agent` is missing" if is_agent else "`agent` is for `kind: agent`"
            self._refuse(
                f"{where}.kind" if is_agent else f"{where}.agent",
                message,
                "name the agent and its command" if is_agent else "set `kind: agent`, or remove it",
                code="agent-without-kind",
            )
        if not is_agent:
            return
        if section.scorer.kind != "reward":
            self._refuse(
                f"{where}.scorer.kind",
                "the tests of a task score a trial",
                "write `kind: reward`",
                code="agent-settings",
            )
        given = section.model_fields_set & _NOT_OF_AGENTS
        variants = {"incumbent": section.incumbent}
        variants |= {f"candidates.{index}": each for index, each in enumerate(section.candidates)}
        for key, variant in variants.items():
            given |= {f"{key}.{name}" for name in ("prompt", "settings") if name in variant.model_fields_set}
        for name in sorted(given):
            if f"{where}.{name}" in self.tree.positions:
                message = f"`{name.rpartition('.')[2]}` has no meaning for trials of an agent"
                self._refuse(f"{where}.{name}", message, "remove it", code="agent-settings")

    def _across(self, section: WorkloadSection, candidates: Sequence[Variant]) -> tuple[str, ...]:
        """Return the candidates that speak another API than the workload's clients."""
        return tuple(
            each.name for each in candidates if speaks_another_api(each.offer, section.client_api, self.hosts)
        )

    def _variant(
        self, where: str, variant: VariantSection, workload: WorkloadSection, offers: dict[str, Offer]
    ) -> Variant | None:
        prompt = variant.prompt or workload.prompt
        settings = variant.settings or workload.settings
        self._check_prompt(f"{where}.prompt", prompt)
        offer = offers.get(variant.model)
        if offer is None:
            hint = hint_among(variant.model, offers)
            self._refuse(
                f"{where}.model",
                f"no model {shown(variant.model)} under `models`",
                hint,
                code="model-undefined",
            )
            return None
        if offer.name in self.heads:
            head = self.heads[offer.name]
            message = f"{shown(offer.name)} is a replica of `{head}`, whose requests it shares"
            self._refuse(f"{where}.model", message, f"name `{head}`", code="replica-named")
        return Variant(
            offer=offer,
            prompt=PromptTemplate(**values(prompt)),
            settings=GenerationSettings(**values(settings)),
        )

    def _check_prompt(self, where: str, prompt: PromptSection) -> None:
        if where not in self.tree.positions:  # nothing overridden: the workload's own prompt
            workload = where.split(".candidates.", maxsplit=1)[0].removesuffix(".incumbent.prompt")
            where = f"{workload}.prompt"
        if not PLACEHOLDER.search(prompt.user):
            hint = "name the dataset field that holds the question, for instance `{input}`"
            self._refuse(
                f"{where}.user",
                "`user` has no `{field}`, so every sample would get the same prompt",
                hint,
                code="prompt-without-field",
            )
        if prompt.text and prompt.system is not None:
            hint = "put the instruction at the start of `user` and set `system: null`"
            self._refuse(
                f"{where}.text", "a raw `text` prompt has no system message", hint, code="text-with-system"
            )
        if prompt.text and prompt.history is not None:
            self._refuse(
                f"{where}.text",
                "a raw `text` prompt has no earlier messages",
                "use a chat model, or set `history: null` and put the conversation into `user`",
                code="text-with-history",
            )
        if prompt.grammar is not None and prompt.response_schema is not None:
            self._refuse(
                f"{where}.grammar",
                "an answer follows a schema or a grammar, not both",
                "set one of `response_schema` and `grammar` to null",
                code="grammar-with-schema",
            )

    def _check_distinct(self, where: str, section: WorkloadSection) -> None:
        seen = {section.incumbent.model: "the incumbent"}
        for index, variant in enumerate(section.candidates):
            if variant.model in seen:
                message = f"{shown(variant.model)} is already {seen[variant.model]}"
                hint = "give the same model with another prompt a second name under `models`"
                self._refuse(f"{where}.candidates.{index}", message, hint, code="model-repeated")
            seen.setdefault(variant.model, "a candidate")


_NOT_OF_AGENTS = {
    "id_field",
    "target_field",
    "segment_field",
    "cluster_field",
    "weight_field",
    "prompt",
    "settings",
    "client_api",
    "uncarried_field",
    "splits_only",
    "router",
    "blocks",
    "probes",
    "trials",
}
"""Keys of a workload that say something of single requests."""


def _ordering(variant: Variant) -> Variant:
    """Return a variant that is asked for trials: the agent decides what the model is asked, and how."""
    settings = GenerationSettings(temperature=None, max_output_tokens=None)
    return replace(variant, prompt=PromptTemplate(user=TRIAL_ORDER), settings=settings)


def with_overrides(file: ConfigFile) -> ConfigFile:
    """Write out the prompt and settings of every variant: its own keys over the workload's."""
    workloads = {}
    for name, workload in file.workloads.items():
        incumbent = _written_out(workload.incumbent, workload)
        candidates = [_written_out(candidate, workload) for candidate in workload.candidates]
        workloads[name] = workload.model_copy(update={"incumbent": incumbent, "candidates": candidates})
    return file.model_copy(update={"workloads": workloads})


def _written_out(variant: VariantSection, workload: WorkloadSection) -> VariantSection:
    prompt = _merged(workload.prompt, variant.prompt)
    settings = _merged(workload.settings, variant.settings)
    return variant.model_copy(update={"prompt": prompt, "settings": settings})


def _merged(default: SectionT, override: SectionT | None) -> SectionT:
    if override is None:
        return default
    written = {name: getattr(override, name) for name in override.model_fields_set}
    return default.model_copy(update=written)


def _dropping(file: ConfigFile) -> frozenset[str]:
    """Return the workloads whose routes all drop parameters that another API does not have."""
    drops: dict[str, bool] = {}
    for route in (file.routes or {}).values():
        if route.workload is not None:
            drops[route.workload] = drops.get(route.workload, True) and route.unsupported == "drop"
    return frozenset(name for name, each in drops.items() if each)
