"""Who is calling, by key or by access token, and whether they may use a route.

Access tokens are JSON Web Tokens of OpenID providers.
"""

import re
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from crossgrade.domain import RouteSpec, TokenIssuer
from crossgrade.errors import AccessError, MissingExtraError
from crossgrade.identity._claims import check_claims, principal_of, read_object, refused
from crossgrade.identity._refusals import suspended
from crossgrade.identity._text import PREFIX
from crossgrade.identity.issuers import MAX_AGE_S, IssuerKeys
from crossgrade.identity.keyring import Keyring, Principal

MAX_TOKEN_BYTES = 16_384
CACHE_S = 60.0
"""The time after which a verified token is verified again; a revocation takes effect no later."""

CACHE_TOKENS = 10_000
MIN_RSA_BITS = 2_048

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HEADER_KEYS = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}


class UnknownSignerError(AccessError):
    """A token names a key (`kid`) that its issuer, a configured one, is not known to have."""

    def __init__(self, issuer: str) -> None:
        super().__init__(
            f"the token names a key that {issuer} does not list (`kid`)",
            reason="token_key",
            hint="get a new access token from the issuer",
        )
        self.issuer = issuer


class TokenVerifier:
    """Verifies tokens of the configured issuers with the keys that were fetched from them.

    It imports joserfc with the first token that it verifies, and remembers verified tokens.
    """

    def __init__(self, issuers: Iterable[TokenIssuer], keys: Mapping[str, IssuerKeys]) -> None:
        self._issuers = {each.issuer: each for each in issuers}
        self._keys = keys
        self._verified: dict[bytes, tuple[float, Principal]] = {}

    def principal(self, token: bytes, now: float) -> Principal:
        """Return the caller whose access token this is at `now` (seconds since 1970).

        Raises AccessError that names the check that failed: 401 for a bad token, 403 if no rule gives a
        tier, 503 while the issuer's keys are missing or too old. Raises UnknownSignerError if fetching
        the keys again may help.
        """
        digest = sha256(token).digest()
        until, principal = self._verified.get(digest, (0.0, None))
        if principal is not None and now < until:
            return principal
        expires, principal = self._verify(token, now)
        if len(self._verified) >= CACHE_TOKENS:
            del self._verified[next(iter(self._verified))]
        self._verified.pop(digest, None)  # so that the order stays that of the last verification
        self._verified[digest] = (min(expires, now + CACHE_S), principal)
        return principal

    def _verify(self, token: bytes, now: float) -> tuple[float, Principal]:
        header, claims = _parts(token)
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise refused("the token's issuer is not configured here (`iss`)", "token_issuer")
        _check_header(header, issuer)
        key = self._key(header, issuer, now)
        _check_signature(token, key, header["alg"])
        expires = check_claims(claims, issuer, now)
        return expires, principal_of(claims, issuer)

    def _key(self, header: Mapping[str, Any], issuer: TokenIssuer, now: float) -> dict[str, Any]:
        """Return the key of the issuer that the token's header names as its signer."""
        known = self._keys.get(issuer.issuer)
        if known is None or now - known.fetched_at > MAX_AGE_S:
            age = "have not been fetched" if known is None else "are too old"
            raise AccessError(
                f"the keys of issuer {issuer.issuer} {age}, so its tokens cannot be verified",
                reason="issuer_keys",
                status=503,
                hint="try again in a minute; `crossgrade serve` logs why they cannot be fetched",
            )
        alg, kid = header["alg"], header.get("kid")
        fitting = [key for key in known.keys if _fits(key, alg) and (kid is None or key.get("kid") == kid)]
        if len(fitting) == 1:
            return fitting[0]
        if kid is None:
            raise refused("the token names no key (`kid`)", "token_key")
        raise UnknownSignerError(issuer.issuer)


def _parts(token: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims, which are not verified yet."""
    if len(token) > MAX_TOKEN_BYTES:
        raise refused(f"the token is longer than {MAX_TOKEN_BYTES} bytes", "token_malformed")
    if not _COMPACT.fullmatch(token):
        raise refused("this is neither a key of ours nor a JSON Web Token", "token_malformed")
    header, claims, _ = (_decoded(part) for part in token.split(b"."))
    return read_object(header, "header"), read_object(claims, "claims")


def _decoded(part: bytes) -> bytes:
    """Decode base64url. Only the canonical form is accepted, so that a token has no second spelling."""
    try:
        data = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except ValueError:
        data = b""
    if urlsafe_b64encode(data).rstrip(b"=") != part:
        raise refused("the token is not base64url", "token_malformed")
    return data


def _check_header(header: Mapping[str, Any], issuer: TokenIssuer) -> None:
    alg, kind = header.get("alg"), header.get("typ")
    if alg not in issuer.algorithms:
        wanted = " or ".join(issuer.algorithms)
        raise refused(f"the token's `alg` is {str(alg)[:20]!r}, wanted is {wanted}", "token_algorithm")
    unknown = sorted(header.keys() - _HEADER_KEYS)
    if unknown:
        raise refused(f"the token's header has `{unknown[0][:40]}`, which is not accepted", "token_header")
    kinds = [each.lower() for each in issuer.types]
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in kinds:
        message = f"the token is of type {str(kind)[:40]!r}, wanted is {' or '.join(issuer.types)} (`typ`)"
        raise refused(message, "token_kind")
    if "kid" in header and not isinstance(header["kid"], str):
        raise refused("the token's `kid` is not a text", "token_header")


def _fits(key: Mapping[str, Any], alg: str) -> bool:
    """Return whether a key is of the kind that an algorithm signs with (RFC 8725 section 3.1)."""
    if key.get("alg", alg) != alg:
        return False
    if alg in _CURVES:
        return key.get("crv") == _CURVES[alg]
    return key.get("kty") == "RSA" and len(str(key.get("n", ""))) * 6 >= MIN_RSA_BITS


def _check_signature(token: bytes, key: dict[str, Any], alg: str) -> None:
    try:
        from joserfc.errors import JoseError, SecurityWarning
        from joserfc.jwk import JWKRegistry
        from joserfc.jws import deserialize_compact
    except ModuleNotFoundError as error:
        raise MissingExtraError("accepting access tokens", "serve") from error
    try:
        public = {name: value for name, value in key.items() if name in _PUBLIC}
        with warnings.catch_warnings():
            # RFC 9864 deprecates the name EdDSA, which issuers still use; its keys are Ed25519 here.
            warnings.simplefilter("ignore", SecurityWarning)
            deserialize_compact(token, JWKRegistry.import_key(public), algorithms=[alg])
    except (JoseError, ValueError, TypeError):
        raise refused("the token's signature does not hold", "token_signature") from None


_PUBLIC = frozenset({"kty", "crv", "x", "y", "n", "e"})
"""The members of a key that are needed to verify a signature; `alg` and `use` were checked before."""


_PREFIX = PREFIX.encode()


def authenticate(
    token: bytes | None, *, keys: Keyring, tokens: TokenVerifier | None, now: float
) -> Principal:
    """Return the caller who sent a key or an access token at `now` (seconds since 1970).

    `tokens` is None if no issuer is configured. Raises AccessError, also for a request without a key, and for
    a caller who is suspended.
    """
    if not token:
        raise AccessError("no key was sent", reason="no_key")
    if token.startswith(_PREFIX) or tokens is None:
        principal = keys.principal(token, now)
        if principal is None:
            raise keys.refusal(token, now)
    else:
        principal = tokens.principal(token, now)
        if not keys.is_read:
            raise AccessError(
                "it is not known yet who is suspended, so no token is accepted",
                reason="suspensions_unknown",
                status=503,
                hint="try again in a few seconds; `crossgrade serve` logs why the keys cannot be read",
            )
    if principal.id in keys.suspended:
        raise suspended(principal.id)
    return principal


def check_route(principal: Principal, route: RouteSpec) -> None:
    """Raise AccessError (403), which names the rule, if a caller may not use a route.

    A key that names routes may use only those. The tiers and teams of the route apply as well.
    """
    if principal.scope != "calls":
        rule = f"the key is for {principal.scope} only"
    elif principal.routes and route.name not in principal.routes:
        rule = f"the key is for {', '.join(principal.routes)}"
    elif route.tiers and principal.tier not in route.tiers:
        rule = f"it is for tier {' or '.join(route.tiers)}, and the caller has {principal.tier or 'none'}"
    elif route.teams and principal.team not in route.teams:
        rule = f"it is for team {' or '.join(route.teams)}, and the caller is of {principal.team or 'none'}"
    else:
        return
    raise AccessError(
        f"{principal.id} may not use route {route.name}: {rule}",
        reason="route_denied",
        status=403,
        hint="use another route, or ask whoever runs the gateway",
    )
