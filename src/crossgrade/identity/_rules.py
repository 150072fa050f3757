"""Decides by access rules whether a model may answer a request, and writes those in force as one text.

`_refusals` words what is missing. Entries of the ledger have the digest of the text.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import msgspec

from crossgrade.domain import KEYS, AccessRule, RequiredLogin, RouteSpec, TokenIssuer
from crossgrade.errors import AccessError, nearest
from crossgrade.identity._claims import LEEWAY_S
from crossgrade.identity._dossiers import DossierEvidence
from crossgrade.identity._refusals import Lack, RefusedRequest, refusal
from crossgrade.identity.keyring import Principal
from crossgrade.routing import Route

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvidence:
    """The certificate behind a model on a route: its verdict, the digest of its evidence, and its end.

    `valid_until` is in seconds since 1970.
    """

    verdict_id: str | None
    digest: str | None
    valid_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """One model for one request: who asks, on which route and workload, for which programme.

    `route` and `workload` are None if a model is asked for by its own name and no route uses it. `evidence`
    is the model's certificate on that route and `dossier` its dossier, None if it has none.
    """

    principal: Principal
    route: str | None
    workload: str | None
    programme: str | None
    model: str
    evidence: ModelEvidence | None = None
    dossier: DossierEvidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessDecision:
    """What the rules say of one request, by which rule, and on what evidence.

    `login` means that a stronger or fresher login would be enough. `code` is `allowed`, or names the reason.
    `rule` is None if no rule matches. `evidence` or `dossier` is set if the rule asked for it and it is
    valid. `lack` says what is missing, None if nothing is.
    """

    outcome: Literal["allow", "login", "deny"]
    code: str
    rule: AccessRule | None = None
    evidence: ModelEvidence | None = None
    dossier: DossierEvidence | None = None
    lack: Lack | None = None

    @property
    def is_granted(self) -> bool:
        """Whether a rule grants the model to the caller, whatever it says of evidence and login."""
        return self.rule is not None and self.rule.allow


class AccessRules:
    """Access rules in their order. The first one that matches decides, and without one the answer is no.

    `issuers` are those of the configuration, so that refusals can name the claim that gives a tier.
    """

    def __init__(self, rules: Iterable[AccessRule], issuers: Iterable[TokenIssuer] = ()) -> None:
        self._rules = tuple(rules)
        self._issuers = tuple(issuers)
        self.programmes = frozenset((None, *(rule.programme for rule in self._rules)))
        """What a request may select. None, no programme, is always among them."""

    def on(self, route: str | None, workload: str | None) -> "AccessRules":
        """Return the same rules without those that are for other routes or workloads."""
        kept = AccessRules((rule for rule in self._rules if rule.reaches(route, workload)), self._issuers)
        kept.programmes = self.programmes
        return kept

    def decide(self, asked: AccessRequest, now: float) -> AccessDecision:
        """Decide at `now` (seconds since 1970)."""
        if asked.programme not in self.programmes:
            return AccessDecision(outcome="deny", code="programme_unknown")
        for rule in self._rules:
            if _matches(rule, asked):
                return _decided(rule, asked, now)
        return AccessDecision(outcome="deny", code="access_denied", lack=self._nearest(asked))

    def error(self, asked: AccessRequest, decision: AccessDecision) -> AccessError:
        """Return the error of a request that is not allowed: the rule, what is missing, how to get it."""
        what = RefusedRequest(
            principal=asked.principal,
            route=asked.route,
            workload=asked.workload,
            model=asked.model,
            programme=asked.programme,
            code=decision.code,
            rule=decision.rule,
            lack=decision.lack,
            dossier=asked.dossier,
        )
        return refusal(what, self._issuers)

    def _nearest(self, asked: AccessRequest) -> Lack | None:
        """Return what is missing for the first rule that allows the model, None if there is no such rule."""
        rules = [
            rule
            for rule in self._rules
            if rule.allow
            and rule.reaches(asked.route, asked.workload)
            and (not rule.models or asked.model in rule.models)
        ]
        for rule in rules:
            if rule.programme == asked.programme:
                return next(_lacks(rule, asked.principal), None)
        for rule in rules:
            if next(_lacks(rule, asked.principal), None) is None:
                return Lack(rule, "programme")
        return None


def evidence_of(route: Route | None, without: Collection[str | None]) -> dict[str, ModelEvidence]:
    """Return the certificate of a route table's route for each offer that it covers, `without` some."""
    if route is None or route.valid_until is None:
        return {}
    found = ModelEvidence(
        verdict_id=route.verdict_id, digest=route.evidence_digest, valid_until=route.valid_until.timestamp()
    )
    return dict.fromkeys(route.certified.difference(without), found)


def needless_rules(
    rules: Iterable[AccessRule], routes: Iterable[RouteSpec]
) -> Iterator[tuple[AccessRule, AccessRule]]:
    """Yield each rule that never matches because an earlier one matches whatever it matches, and that one."""
    gated = [route for route in routes if route.gated]
    earlier: list[AccessRule] = []
    for rule in rules:
        reached = {each.name for each in gated if rule.reaches(each.name, each.workload)}
        for other in earlier:
            if _covers(other, rule, [each for each in gated if each.name in reached]):
                yield rule, other
                break
        earlier.append(rule)


def ungiven_tiers(
    rules: Iterable[AccessRule], issuers: Iterable[TokenIssuer], held: Collection[str] = ()
) -> Iterator[tuple[AccessRule, str, str | None]]:
    """Yield each tier of a rule that none of its issuers gives, and the tier that was probably meant.

    `held` are the tiers that keys have. A key may be made for any tier, so one that nobody has is no error.
    """
    providers = tuple(issuers)
    known = sorted({tier.tier for each in providers for tier in each.rules}.union(held))
    for rule in rules:
        able = [each for each in providers if not rule.issuers or each.issuer in rule.issuers]
        given = {tier.tier for each in able for tier in each.rules}
        if not rule.issuers or KEYS in rule.issuers:
            given |= set(held)
        for tier in rule.tiers:
            if tier not in given:
                yield rule, tier, next(iter(nearest(tier, known)), None)


def _covers(other: AccessRule, rule: AccessRule, routes: list[RouteSpec]) -> bool:
    """Return whether `other` matches every request that `rule` matches; these come from `routes`."""
    if other.programme != rule.programme:
        return False
    if not rule.routes and not rule.workloads and (other.routes or other.workloads):
        return False  # `rule` is also for models that are asked for by their own names
    pairs = (
        (other.issuers, rule.issuers),
        (other.tiers, rule.tiers),
        (other.teams, rule.teams),
        (other.models, rule.models),
    )
    return all(not wide or (narrow and set(narrow) <= set(wide)) for wide, narrow in pairs) and all(
        other.reaches(route.name, route.workload) for route in routes
    )


def _matches(rule: AccessRule, asked: AccessRequest) -> bool:
    who = asked.principal
    return (
        rule.programme == asked.programme
        and (not rule.issuers or who.issuer in rule.issuers)
        and (not rule.tiers or who.tier in rule.tiers)
        and (not rule.teams or who.team in rule.teams)
        and (not rule.models or asked.model in rule.models)
        and rule.reaches(asked.route, asked.workload)
    )


def _lacks(rule: AccessRule, who: Principal) -> Iterator[Lack]:
    """Yield what keeps a caller from a rule."""
    if rule.issuers and who.issuer not in rule.issuers:
        yield Lack(rule, "issuer")
    if rule.tiers and who.tier not in rule.tiers:
        yield Lack(rule, "tier")
    if rule.teams and who.team not in rule.teams:
        yield Lack(rule, "team")


def _decided(rule: AccessRule, asked: AccessRequest, now: float) -> AccessDecision:
    """Return what a rule that matches says."""
    if not rule.allow:
        return AccessDecision(outcome="deny", code="rule_denied", rule=rule)
    code = _evidence_lacking(rule, asked, now)
    if code is not None:
        return AccessDecision(outcome="deny", code=code, rule=rule)
    lack = None if rule.login is None else _login_lack(rule, rule.login, asked.principal, now)
    if lack is None:
        evidence = asked.evidence if rule.evidence == "verdict" else None
        dossier = asked.dossier if rule.evidence == "dossier" else None
        return AccessDecision(outcome="allow", code="allowed", rule=rule, evidence=evidence, dossier=dossier)
    if lack.what == "token":
        return AccessDecision(outcome="deny", code="token_required", rule=rule, lack=lack)
    return AccessDecision(outcome="login", code="insufficient_user_authentication", rule=rule, lack=lack)


def _evidence_lacking(rule: AccessRule, asked: AccessRequest, now: float) -> str | None:
    """Return the code of what the model's evidence lacks for a rule, None if it is there and valid."""
    if rule.evidence == "verdict":
        if asked.evidence is None:
            return "no_certificate"
        return None if now < asked.evidence.valid_until else "certificate_expired"
    if rule.evidence == "none":
        return None
    return "no_dossier" if asked.dossier is None else asked.dossier.refusal(now)


def _login_lack(rule: AccessRule, login: RequiredLogin, who: Principal, now: float) -> Lack | None:
    """Return what a caller's login lacks. A login in the future is none, whatever clock is wrong."""
    if not who.has_token:
        return Lack(rule, "token")
    if login.acr and who.acr not in login.acr:
        return Lack(rule, "acr")
    if login.max_age_s is None:
        return None
    if who.auth_time is None or not who.auth_time <= now + LEEWAY_S:
        return Lack(rule, "auth_time")
    return None if now - who.auth_time <= login.max_age_s else Lack(rule, "age")


@dataclass(frozen=True, slots=True)
class RulesInForce:
    """What decides on requests, as JSON with sorted keys and no white space.

    It has the access rules, which claims of which issuer give which tier, and the routes that are gated or
    for some tiers or teams only.
    """

    text: str

    @property
    def digest(self) -> str:
        """`sha256:` and the SHA-256 of the text."""
        return f"sha256:{sha256(self.text.encode()).hexdigest()}"


def rules_in_force(
    rules: Iterable[AccessRule], issuers: Iterable[TokenIssuer], routes: Iterable[RouteSpec]
) -> RulesInForce | None:
    """Return what decides on requests, None where every caller may use every route."""
    limited = [route for route in routes if route.gated or route.tiers or route.teams]
    if not limited:
        return None
    content: dict[str, Any] = {
        "rules": tuple(rules),
        "issuers": [
            {"issuer": each.issuer, "audience": each.audience, "rules": each.rules} for each in issuers
        ],
        "routes": [
            {
                "name": each.name,
                "workload": each.workload,
                "gated": each.gated,
                "tiers": each.tiers,
                "teams": each.teams,
            }
            for each in limited
        ],
    }
    return RulesInForce(_encode(content).decode())
