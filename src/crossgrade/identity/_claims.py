"""Reads the claims of a token without trust and compares them with rules; `access` verifies signatures."""

import json
import math
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from crossgrade.domain import JSON, KeyTwiceError, TierRule, TokenIssuer, keys_once, no_constant
from crossgrade.errors import AccessError
from crossgrade.identity.keyring import Principal

LEEWAY_S = 10
"""The largest difference between clocks, in seconds."""

MAX_SUBJECT = 256
MAX_TEAM = 64
MAX_ACR = 200

_USER_ID = re.compile(r"user-[0-9a-f]{16}")
_ID_TOKEN_CLAIMS = ("nonce", "at_hash", "c_hash", "s_hash")


def read_object(data: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object. Duplicate keys, NaN and anything but an object are refused."""
    try:
        tree = json.loads(data.decode(), object_pairs_hook=keys_once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        detail = "a key is there twice" if isinstance(error, KeyTwiceError) else "it is not JSON"
        raise refused(f"the token's {what} cannot be read: {detail}", "token_malformed") from None
    if not isinstance(tree, dict):
        raise refused(f"the token's {what} is not a JSON object", "token_malformed")
    return tree


def check_claims(claims: Mapping[str, Any], issuer: TokenIssuer, now: float) -> float:
    """Check times, audience, subject and kind of a token, and return when it expires.

    The rules are those of RFC 7519 section 4.1 and RFC 9068 section 4. In addition, a token may not live
    longer than the issuer's `max_lifetime_s`, and a token for several audiences must say who asked for it.
    """
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    if expires <= now - LEEWAY_S:
        raise refused("the token has expired (`exp`)", "token_expired")
    if issued > now + LEEWAY_S:
        raise refused("the token was issued in the future (`iat`)", "token_not_yet")
    if "nbf" in claims and _moment(claims, "nbf") > now + LEEWAY_S:
        raise refused("the token is not valid yet (`nbf`)", "token_not_yet")
    if expires - issued > issuer.max_lifetime_s:
        message = (
            f"the token lives {expires - issued:.0f} seconds, more than the {issuer.max_lifetime_s} allowed"
        )
        raise refused(message, "token_lifetime")
    _check_audience(claims, issuer)
    _check_subject(claims)
    _check_kind(claims)
    return expires


def principal_of(claims: Mapping[str, Any], issuer: TokenIssuer) -> Principal:
    """Return the caller with the tier of the first rule that matches. Raises AccessError if none does."""
    for rule in issuer.rules:
        if _matches(claim_at(claims, rule.claim), rule):
            return Principal(
                id=user_id(claims["iss"], claims["sub"]),
                team=_team(claims, rule),
                tier=rule.tier,
                issuer=issuer.issuer,
                acr=_acr(claims),
                auth_time=_seconds(claims.get("auth_time")),
            )
    wanted = ", or ".join(dict.fromkeys(wanted_claim(rule) for rule in issuer.rules))
    raise AccessError(
        f"no tier rule of {issuer.issuer} matches this token; it needs {wanted}",
        reason="no_tier",
        status=403,
        hint="ask whoever runs the issuer for the claim, or the gateway for a rule",
    )


def claim_at(claims: JSON, path: str) -> JSON:
    """Return the claim at a dotted path, or None if there is none. Names that contain dots are found too."""
    if not isinstance(claims, Mapping):
        return None
    if path in claims:
        return claims[path]
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        inner = claims.get(".".join(parts[:length]))
        if inner is not None:
            return claim_at(inner, ".".join(parts[length:]))
    return None


def user_id(issuer: str, subject: str) -> str:
    """Return a short name for the subject of an issuer's tokens that records may hold and metrics do not."""
    digest = sha256(f"{issuer}\0{subject}".encode()).hexdigest()
    return f"user-{digest[:16]}"


def is_subject(principal_id: str) -> bool:
    """Return whether a caller's id is one that `user_id` gives, rather than that of a key."""
    return _USER_ID.fullmatch(principal_id) is not None


def refused(message: str, reason: str) -> AccessError:
    """Return the error that refuses a token."""
    return AccessError(message, reason=reason, hint="get a new access token from the issuer")


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if value is None:
        raise refused(f"the token has no `{name}`", "token_claim")
    seconds = _seconds(value)
    if seconds is None:
        raise refused(f"the token's `{name}` is not a time", "token_claim")
    return seconds


def _seconds(value: JSON) -> float | None:
    """Return a claim that is a time, in seconds since 1970; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:  # an integer of several hundred digits
        return None
    return seconds if math.isfinite(seconds) else None


def _check_audience(claims: Mapping[str, Any], issuer: TokenIssuer) -> None:
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise refused("the token has no `aud`", "token_claim")
    if issuer.audience not in audiences:
        message = f"the token is for another audience than {issuer.audience!r} (`aud`)"
        raise refused(message, "token_audience")
    asked_by = claims.get("azp") or claims.get("client_id")
    if len(audiences) > 1 and not isinstance(asked_by, str):
        message = "the token is for several audiences and does not say who asked for it (`azp`, `client_id`)"
        raise refused(message, "token_audience")


def _check_subject(claims: Mapping[str, Any]) -> None:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise refused("the token has no `sub` that is a text", "token_claim")


def _check_kind(claims: Mapping[str, Any]) -> None:
    """Refuse an ID token sent as an access token: it was made for the client, not for this gateway."""
    mark = next((name for name in _ID_TOKEN_CLAIMS if name in claims), None)
    if mark is not None or str(claims.get("typ", "")).upper() == "ID":
        raise refused(f"this is an ID token (`{mark or 'typ'}`), not an access token", "token_kind")


def _acr(claims: Mapping[str, Any]) -> str | None:
    """Return how the bearer logged in (OpenID Connect Core section 2), None if that is not a short text."""
    acr = claims.get("acr")
    return acr if isinstance(acr, str) and 0 < len(acr) <= MAX_ACR and acr.isprintable() else None


def _team(claims: Mapping[str, Any], rule: TierRule) -> str:
    if rule.team_claim is None:
        return ""
    team = claim_at(claims, rule.team_claim)
    if isinstance(team, str) and 0 < len(team) <= MAX_TEAM and team.isprintable():
        return team
    raise AccessError(
        f"the token does not name its team in `{rule.team_claim}`", reason="no_team", status=403
    )


def _matches(claim: JSON, rule: TierRule) -> bool:
    if rule.operator == "contains":
        # OAuth's `scope` is a text of words (RFC 6749 section 3.3), groups and roles are lists.
        members = claim.split() if isinstance(claim, str) else claim
        return isinstance(members, list) and any(_text(each) == rule.value for each in members)
    text = _text(claim)
    return text is not None and (text in rule.value if rule.operator == "in" else text == rule.value)


def _text(claim: JSON) -> str | None:
    if isinstance(claim, bool):
        return "true" if claim else "false"
    return str(claim) if isinstance(claim, str | int) else None


def wanted_claim(rule: TierRule) -> str:
    """Return in words which claim gives a rule's tier."""
    value = " or ".join(rule.value) if isinstance(rule.value, tuple) else rule.value
    return f"`{rule.claim}` {'that contains' if rule.operator == 'contains' else '='} {value}"
