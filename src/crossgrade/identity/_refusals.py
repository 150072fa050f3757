"""Words the refusals of access rules: the rule, what is missing, and how to get it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from crossgrade.domain import DOSSIER_FIELDS, KEYS, AccessRule, RequiredLogin, TokenIssuer
from crossgrade.errors import AccessError
from crossgrade.identity._claims import wanted_claim
from crossgrade.identity._dossiers import DossierEvidence
from crossgrade.identity.keyring import Principal

PROGRAMME_HEADER = "x-crossgrade-programme"
"""The header by which a request selects a programme."""

_Issuers: TypeAlias = tuple[TokenIssuer, ...]
_MOST_SHOWN = 64
_LOGIN_MESSAGE = "A stronger or more recent login is required"


@dataclass(frozen=True, slots=True)
class Lack:
    """What a caller lacks for a rule.

    It is an issuer who vouches for the caller, a tier, a team, the rule's programme, an access token at all,
    the way of the login (`acr`), the time of the login (`auth_time`), or a login that is recent enough
    (`age`).
    """

    rule: AccessRule
    what: Literal["issuer", "tier", "team", "programme", "token", "acr", "auth_time", "age"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRequest:
    """A request that was refused: who asked, for what, the code of the reason, the rule and what it lacks.

    `workload` is None if a model is asked for by its own name and no route uses it. `dossier` is the model's,
    None if it has none.
    """

    principal: Principal
    route: str | None
    workload: str | None
    model: str
    programme: str | None
    code: str
    rule: AccessRule | None
    lack: Lack | None
    dossier: DossierEvidence | None = None


def refusal(what: RefusedRequest, issuers: Iterable[TokenIssuer]) -> AccessError:
    """Return the error that tells a caller of a refusal."""
    return _REFUSALS[what.code](what, tuple(issuers))


def challenge(login: RequiredLogin) -> str:
    """Return the parameters of `WWW-Authenticate: Bearer` that ask for a login (RFC 9470 section 3)."""
    parts = ['error="insufficient_user_authentication"', f'error_description="{_LOGIN_MESSAGE}"']
    if login.acr:
        parts.append(f'acr_values="{" ".join(login.acr)}"')
    if login.max_age_s is not None:
        parts.append(f'max_age="{login.max_age_s}"')
    return ", ".join(parts)


def suspended(principal_id: str) -> AccessError:
    """Return the error of a caller who was suspended."""
    return AccessError(
        f"{principal_id} is suspended",
        reason="suspended",
        status=403,
        hint="ask whoever runs the gateway to lift the suspension (`crossgrade access restore`)",
    )


def _programme_unknown(what: RefusedRequest, _: _Issuers) -> AccessError:
    return AccessError(
        f"{_start(what)}: there is no programme `{_shown(what.programme or '')}`",
        reason="programme_unknown",
        status=403,
        hint=f"send another `{PROGRAMME_HEADER}`, or none",
    )


def _access_denied(what: RefusedRequest, issuers: _Issuers) -> AccessError:
    nearest = "" if what.lack is None else f". {_lacking(what)}"
    return AccessError(
        f"{_start(what)}: no access rule allows it{nearest}",
        reason="access_denied",
        status=403,
        hint="ask whoever runs the gateway for a rule" if what.lack is None else _how(what.lack, issuers),
    )


def _rule_denied(what: RefusedRequest, _: _Issuers) -> AccessError:
    because = f" ({what.rule.because})" if what.rule is not None and what.rule.because else ""
    return AccessError(
        f"{_start(what)}: {_rule(what)} denies it{because}",
        reason="rule_denied",
        status=403,
        hint="ask whoever runs the gateway",
    )


def _no_certificate(what: RefusedRequest, _: _Issuers) -> AccessError:
    return AccessError(
        f"{_start(what)}: {_rule(what)} needs a certificate for it, and the route table has none",
        reason="no_certificate",
        status=403,
        hint=f"apply a verdict on {what.model} (`crossgrade route apply`)",
    )


def _certificate_expired(what: RefusedRequest, _: _Issuers) -> AccessError:
    return AccessError(
        f"{_start(what)}: {_rule(what)} needs a certificate for it, and that of the route table has expired",
        reason="certificate_expired",
        status=403,
        hint="decide again and apply the new verdict (`crossgrade route apply`)",
    )


def _no_dossier(what: RefusedRequest, _: _Issuers) -> AccessError:
    return AccessError(
        f"{_start(what)}: {_rule(what)} needs a dossier of it, and there is none",
        reason="no_dossier",
        status=403,
        hint=f"ask whoever runs the gateway to make it: {_dossier_command(what)}",
    )


def _dossier_expired(what: RefusedRequest, _: _Issuers) -> AccessError:
    dossier = what.dossier
    why = "its time is over, or has not begun by the clock here"
    if dossier is not None and dossier.changed:
        why = f"{dossier.changed_words} changed since it was made"
    name = "" if dossier is None else f" {dossier.id[:13]}"
    return AccessError(
        f"{_start(what)}: {_rule(what)} needs a dossier of it, and dossier{name} has expired: {why}",
        reason="dossier_expired",
        status=403,
        hint=f"ask whoever runs the gateway to make it again: {_dossier_command(what)}",
    )


def _dossier_incomplete(what: RefusedRequest, _: _Issuers) -> AccessError:
    lacks = () if what.dossier is None else what.dossier.lacks
    names = ", ".join(f"{number} ({DOSSIER_FIELDS.get(number, 'unknown')})" for number in lacks)
    return AccessError(
        f"{_start(what)}: {_rule(what)} needs a dossier of it, which misses what is required: {names}",
        reason="dossier_incomplete",
        status=403,
        hint=f"ask whoever runs the gateway to fill these fields and make it again: {_dossier_command(what)}",
    )


def _token_required(what: RefusedRequest, issuers: _Issuers) -> AccessError:
    return AccessError(
        f"{_start(what)}: {_lacking(what)}",
        reason="token_required",
        status=403,
        hint="" if what.lack is None else _how(what.lack, issuers),
    )


def _login_required(what: RefusedRequest, issuers: _Issuers) -> AccessError:
    login = None if what.rule is None else what.rule.login
    return AccessError(
        f"{_start(what)}: {_lacking(what)}",
        reason="insufficient_user_authentication",
        status=401,
        hint="" if what.lack is None else _how(what.lack, issuers),
        challenge=challenge(login or RequiredLogin()),
    )


_REFUSALS: Mapping[str, Callable[[RefusedRequest, _Issuers], AccessError]] = {
    "programme_unknown": _programme_unknown,
    "access_denied": _access_denied,
    "rule_denied": _rule_denied,
    "no_certificate": _no_certificate,
    "certificate_expired": _certificate_expired,
    "no_dossier": _no_dossier,
    "dossier_expired": _dossier_expired,
    "dossier_incomplete": _dossier_incomplete,
    "token_required": _token_required,
    "insufficient_user_authentication": _login_required,
}


def _start(what: RefusedRequest) -> str:
    where = "by its own name" if what.route is None else f"on route {what.route}"
    return f"{what.principal.id} may not use {what.model} {where}"


def _rule(what: RefusedRequest) -> str:
    return "no rule" if what.rule is None else f"rule `{what.rule.name}`"


def _dossier_command(what: RefusedRequest) -> str:
    return f"`crossgrade dossier {what.workload or 'WORKLOAD'}`"


def _lacking(what: RefusedRequest) -> str:
    """Say what a caller lacks for the rule that would allow the request."""
    lack, who = what.lack, what.principal
    assert lack is not None
    rule = lack.rule
    login = rule.login or RequiredLogin()
    needs = {
        "issuer": f"a caller from {_issuers(rule)}, and this one is from {_issuer(who.issuer)}",
        "tier": f"tier {' or '.join(rule.tiers)}, and the caller has {who.tier or 'none'}",
        "team": f"team {' or '.join(rule.teams)}, and the caller is of {who.team or 'none'}",
        "programme": f"programme {rule.programme}, and the request selects "
        f"{_shown(what.programme) if what.programme else 'none'}",
        "token": "a login, and a key has none",
        "acr": f"a login by {' or '.join(login.acr)} (`acr`), and the token has {who.acr or 'none'}",
        "auth_time": "the time of the login (`auth_time`), and the token has none that can be right",
        "age": f"a login within {login.max_age_s} seconds (`auth_time`), and the last one was earlier",
    }
    return f"Rule `{rule.name}` needs {needs[lack.what]}"


def _how(lack: Lack, issuers: _Issuers) -> str:
    """Say how to get what a rule needs."""
    rule = lack.rule
    providers = [each for each in rule.issuers if each != KEYS] or [each.issuer for each in issuers]
    token = f"send an access token of {' or '.join(providers) or 'a configured issuer'}"
    header = f"send the header `{PROGRAMME_HEADER}: {rule.programme}`"
    ways = {
        "issuer": "send a key of the gateway" if KEYS in rule.issuers else token,
        "token": token,
        "tier": f"the tier comes with {_tier_sources(rule, issuers)}",
        "team": "ask whoever runs the issuer, or the gateway, for the team",
        "programme": f"leave out the header `{PROGRAMME_HEADER}`" if rule.programme is None else header,
    }
    again = "log in again as `www-authenticate` says, and send the new access token"
    return ways.get(lack.what, again)


def _tier_sources(rule: AccessRule, issuers: _Issuers) -> str:
    """Say which claims and keys give a tier of the rule."""
    sources = [
        f"{wanted_claim(each)} in a token of {issuer.issuer}"
        for issuer in issuers
        if not rule.issuers or issuer.issuer in rule.issuers
        for each in issuer.rules
        if each.tier in rule.tiers
    ]
    if rule.tiers and (not rule.issuers or KEYS in rule.issuers):
        sources.append(f"a key made with `--tier {rule.tiers[0]}`")
    return ", or ".join(dict.fromkeys(sources))


def _issuers(rule: AccessRule) -> str:
    return " or ".join(_issuer(each) for each in rule.issuers)


def _issuer(name: str) -> str:
    return {KEYS: "the gateway's keys", "": "no issuer"}.get(name, name)


def _shown(text: str) -> str:
    """Return what a client sent as part of a message: short, and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_MOST_SHOWN])
