"""Tests a team's own cases against the access rules, and names callers for suspensions."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from crossgrade.config import Config, YamlTree, read_yaml
from crossgrade.domain import KEYS, TokenIssuer
from crossgrade.errors import AccessError, ConfigError, NotFoundError, closest, hint_among
from crossgrade.identity import (
    AccessRequest,
    AccessRules,
    DossierEvidence,
    Dossiers,
    ModelEvidence,
    Principal,
    check_route,
    principal_of,
    user_id,
)
from crossgrade.project._routing import Routing

MAX_CASES = 10_000
_SUBJECT = "case"
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_PLACE = re.compile(r"\$((?:\.\w+|\[(?:\d+|\.\.\.)\])*)")


class CaseCaller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who asks in a case: the `claims` of a token, or an `issuer` (`keys` for a key) with a tier and team.

    `login_age_s` says how many seconds ago the caller logged in. Null means that the token does not say.
    """

    claims: dict[str, Any] | None = None
    issuer: str | None = None
    tier: str = ""
    team: str = ""
    acr: str | None = None
    login_age_s: float | None = None


class AccessCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case: who asks for which model on which route, and what is expected.

    Without `model` it is the route's incumbent, without `now` this moment. `valid_until` is the end of the
    model's certificate, null for none. Without it, the active route table says. `dossier_until` is the end of
    the model's dossier, null for none. Without it, the newest dossier of the route's workload counts.
    """

    principal: CaseCaller
    route: str
    expect: Literal["allow", "login", "deny"]
    name: str = ""
    programme: str | None = None
    model: str | None = None
    now: datetime | None = None
    valid_until: datetime | msgspec.UnsetType | None = msgspec.UNSET
    dossier_until: datetime | msgspec.UnsetType | None = msgspec.UNSET
    rule: str | msgspec.UnsetType | None = msgspec.UNSET
    code: str | None = None


class _Cases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cases: Annotated[tuple[AccessCase, ...], msgspec.Meta(min_length=1, max_length=MAX_CASES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What the rules say of a case. `message` is what the caller would be told, empty if it is allowed."""

    name: str
    expected: str
    outcome: str
    rule: str | None
    code: str
    message: str
    is_expected: bool


class _Found(NamedTuple):
    """What was decided on a case."""

    outcome: str
    rule: str | None
    code: str
    message: str = ""


class ProjectAccess:
    """The access rules of a project.

    `routing` returns its routes and `dossiers` its dossiers, for cases that depend on them.
    """

    def __init__(
        self,
        config: Config,
        routing: Callable[[], Routing],
        dossiers: Callable[[], Dossiers] = Dossiers,
    ) -> None:
        self._config = config
        self._routing = routing
        self._dossiers = dossiers
        self._rules = AccessRules(self._config.access, self._config.serving.issuers)
        self._issuers = {each.issuer: each for each in self._config.serving.issuers}
        self._evidence: Mapping[str, Mapping[str, ModelEvidence]] | None = None

    def test(self, path: Path, *, now: datetime | None = None) -> list[CaseResult]:
        """Decide on the cases of a file; `now` is for those that name no moment.

        Raises ConfigError, which points at the place, for a file that cannot be read and for a case that
        names a route, model or issuer which is not configured.
        """
        tree = read_yaml(path)
        try:
            cases = msgspec.convert(tree.data, type=_Cases).cases
        except msgspec.ValidationError as error:
            raise _unreadable(tree, error) from None
        now = now or datetime.now(UTC)
        return [self._decide(tree, number, case, now) for number, case in enumerate(cases)]

    def user(self, issuer: str, subject: str) -> str:
        """Return the id of an issuer's user. Raises NotFoundError for an issuer that is not configured."""
        if issuer not in self._issuers:
            raise NotFoundError(
                f"no issuer `{issuer}` under `serve.issuers`{closest(issuer, self._issuers)}",
                code="issuer-not-found",
                hint="write it exactly as in the tokens' `iss`",
            )
        return user_id(issuer, subject)

    def _decide(self, tree: YamlTree, number: int, case: AccessCase, now: datetime) -> CaseResult:
        where = f"cases.{number}"
        spec = self._named(tree, f"{where}.route", case.route, self._config.routes, "route")
        model = case.model or spec.incumbent
        self._named(tree, f"{where}.model", model, self._config.offers, "model")
        moment = _zoned(tree, f"{where}.now", case.now or now).timestamp()
        try:
            principal = self._principal(tree, f"{where}.principal", case.principal, moment)
            if case.principal.claims is None or "sub" not in case.principal.claims:
                principal = replace(principal, id=f"the caller of `{_name(case, number)}`")
            check_route(principal, spec)
        except AccessError as error:
            return _result(case, number, _Found("deny", None, error.reason, _told(error)))
        if not spec.gated:
            return _result(case, number, _Found("allow", None, "not_gated"))
        asked = AccessRequest(
            principal=principal,
            route=spec.name,
            workload=spec.workload,
            programme=case.programme,
            model=model,
            evidence=_stated_evidence(tree, where, case),
            dossier=_stated_dossier(tree, where, case),
        )
        decision = self._rules.decide(asked, moment)
        if decision.code == "no_certificate" and case.valid_until is msgspec.UNSET:
            asked = replace(asked, evidence=self._evidence_now(spec.name).get(model))
            decision = self._rules.decide(asked, moment)
        if decision.code == "no_dossier" and case.dossier_until is msgspec.UNSET:
            asked = replace(asked, dossier=self._dossier_now(spec.name, spec.workload).get(model))
            decision = self._rules.decide(asked, moment)
        told = "" if decision.outcome == "allow" else _told(self._rules.error(asked, decision))
        rule = None if decision.rule is None else decision.rule.name
        return _result(case, number, _Found(decision.outcome, rule, decision.code, told))

    def _principal(self, tree: YamlTree, where: str, given: CaseCaller, now: float) -> Principal:
        """Return the caller of a case. Raises AccessError if no tier rule is for its claims."""
        if given.claims is not None:
            claims = {"sub": _SUBJECT, **given.claims}
            issuer: TokenIssuer = self._named(
                tree, f"{where}.claims.iss", str(claims.get("iss")), self._issuers, "issuer"
            )
            if not isinstance(claims["sub"], str):
                raise tree.error(f"{where}.claims.sub", "`sub` is no text", None, code="access-case-invalid")
            return principal_of(claims, issuer)
        issuers = {KEYS: KEYS, **dict.fromkeys(self._issuers)}
        self._named(tree, f"{where}.issuer", given.issuer or "", issuers, "issuer")
        return Principal(
            id=_SUBJECT,
            team=given.team,
            tier=given.tier,
            issuer=given.issuer or "",
            acr=given.acr,
            auth_time=None if given.login_age_s is None else now - given.login_age_s,
        )

    def _dossier_now(self, route: str, workload: str | None) -> Mapping[str, DossierEvidence]:
        """Return the dossiers of a route's models, by offer."""
        found = next((each.route for each in self._routing().states() if each.name == route), None)
        return self._dossiers().of(workload, None if found is None else found.verdict_id)

    def _evidence_now(self, route: str) -> Mapping[str, ModelEvidence]:
        """Return the certificates of the active route table, by offer."""
        if self._evidence is None:
            self._evidence = {state.name: state.evidence() for state in self._routing().states()}
        return self._evidence[route]

    def _named(self, tree: YamlTree, where: str, name: str, among: Mapping[str, Any], kind: str) -> Any:
        if name not in among:
            message = f"no {kind} `{name[:80]}` is configured"
            raise tree.error(where, message, hint_among(name, among), code=f"{kind}-undefined")
        return among[name]


def _result(case: AccessCase, number: int, found: _Found) -> CaseResult:
    is_expected = (
        found.outcome == case.expect
        and case.rule in (msgspec.UNSET, found.rule)
        and case.code in (None, found.code)
    )
    return CaseResult(
        name=_name(case, number),
        expected=case.expect,
        outcome=found.outcome,
        rule=found.rule,
        code=found.code,
        message=found.message,
        is_expected=is_expected,
    )


def _name(case: AccessCase, number: int) -> str:
    return case.name or f"case {number + 1}"


def _stated_evidence(tree: YamlTree, where: str, case: AccessCase) -> ModelEvidence | None:
    """Return the certificate that a case states."""
    until = case.valid_until
    if until is None or isinstance(until, msgspec.UnsetType):
        return None
    moment = _zoned(tree, f"{where}.valid_until", until).timestamp()
    return ModelEvidence(verdict_id=None, digest=None, valid_until=moment)


def _stated_dossier(tree: YamlTree, where: str, case: AccessCase) -> DossierEvidence | None:
    """Return the dossier that a case states."""
    until = case.dossier_until
    if until is None or isinstance(until, msgspec.UnsetType):
        return None
    moment = _zoned(tree, f"{where}.dossier_until", until).timestamp()
    return DossierEvidence(id="", digest="", valid_until=moment)


def _told(error: AccessError) -> str:
    return f"{error.message}; {error.hint}"


def _zoned(tree: YamlTree, where: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        hint = "end it with `Z` or an offset"
        raise tree.error(where, "the time has no zone", hint, code="access-case-invalid")
    return moment


def _unreadable(tree: YamlTree, error: msgspec.ValidationError) -> ConfigError:
    """Return msgspec's error with the place in the file."""
    message, _, place = str(error).partition(" - at `")
    found = _PLACE.match(place)
    where = "" if found is None else re.sub(r"\[(\w+)\]", r".\1", found[1]).lstrip(".")
    if unknown := _UNKNOWN.fullmatch(message):
        name = unknown[1]
        known = _fields(where)
        where = f"{where}.{name}".lstrip(".")
        shown = ", ".join(f"`{each}`" for each in known)
        message = f"unknown field `{name[:80]}`{closest(name, known)}"
        return tree.error(where, message, f"known: {shown}", code="access-case-invalid")
    hint = "a case has `principal`, `route` and `expect`, for instance `principal: {issuer: keys}`"
    return tree.error(where, message, hint, code="access-case-invalid")


def _fields(where: str) -> tuple[str, ...]:
    """Return the fields of what stands at a place of the file."""
    parts = where.split(".")
    if parts[-1] == "principal":
        return CaseCaller.__struct_fields__
    return AccessCase.__struct_fields__ if parts[0] == "cases" else _Cases.__struct_fields__
