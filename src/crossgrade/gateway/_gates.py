"""Gates of routes: the access rules of a route, the certificates behind its models, and what they decided."""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from crossgrade.errors import AccessError
from crossgrade.identity import (
    AccessDecision,
    AccessRequest,
    AccessRules,
    DossierEvidence,
    ModelEvidence,
    Principal,
)

_NO_EVIDENCE: Mapping[str, ModelEvidence] = MappingProxyType({})
_NO_DOSSIERS: Mapping[str, DossierEvidence] = MappingProxyType({})


class RouteGate:
    """Decides on the requests of one gated route, with the evidence that the route table has now.

    `route` is None for models that no route uses and that are asked for by their own names. `evidence` has
    the certificate of each offer that one covers, and `dossiers` its dossier.
    """

    __slots__ = ("dossiers", "evidence", "route", "rules", "workload")

    def __init__(
        self,
        rules: AccessRules,
        route: str | None = None,
        workload: str | None = None,
        evidence: Mapping[str, ModelEvidence] = _NO_EVIDENCE,
        dossiers: Mapping[str, DossierEvidence] = _NO_DOSSIERS,
    ) -> None:
        self.route = route
        self.workload = workload
        self.rules = rules.on(route, workload)
        self.evidence = evidence
        self.dossiers = dossiers

    def by_name(self) -> "RouteGate":
        """Return the gate of a model of this route that is asked for by its own name.

        No certificate and no dossier is about such requests.
        """
        return RouteGate(self.rules, self.route, self.workload)

    def decide(self, principal: Principal, programme: str | None, model: str, now: float) -> AccessDecision:
        """Decide on a model, by its offer's name, at `now` (seconds since 1970)."""
        return self.rules.decide(self._request(principal, programme, model), now)

    def admit(
        self, principal: Principal, programme: str | None, models: Iterable[str], now: float
    ) -> "Admission":
        """Decide on each model that could answer a request, in their order."""
        decisions = {model: self.decide(principal, programme, model, now) for model in dict.fromkeys(models)}
        return Admission(programme, decisions)

    def refusal(self, principal: Principal, admission: "Admission") -> AccessError:
        """Return the error of a request that no model may answer.

        It is that of the first model that a login would open, otherwise that of the first.
        """
        decisions = admission.decisions
        model = next((name for name, each in decisions.items() if each.outcome == "login"), None)
        model = next(iter(decisions)) if model is None else model
        return self.rules.error(self._request(principal, admission.programme, model), decisions[model])

    def is_open_to(self, principal: Principal, models: Collection[str], now: float) -> bool:
        """Return whether one of these models may answer the caller under some programme or login."""
        return any(
            self.decide(principal, programme, model, now).outcome != "deny"
            for programme in self.rules.programmes
            for model in models
        )

    def _request(self, principal: Principal, programme: str | None, model: str) -> AccessRequest:
        return AccessRequest(
            principal=principal,
            route=self.route,
            workload=self.workload,
            programme=programme,
            model=model,
            evidence=self.evidence.get(model),
            dossier=self.dossiers.get(model),
        )


class Admission:
    """What the access rules said of a request when it was admitted, by offer.

    It holds until the request ends, even if evidence expires meanwhile. `programme` is what the request
    selected, None for none.
    """

    __slots__ = ("decisions", "programme")

    def __init__(self, programme: str | None, decisions: Mapping[str, AccessDecision]) -> None:
        self.programme = programme
        self.decisions = decisions

    def allows(self, offer: str) -> bool:
        """Return whether an offer may answer."""
        return self.decisions[offer].outcome == "allow"
