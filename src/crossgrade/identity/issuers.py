"""The public keys of OpenID providers: fetched by one process, written to `jwks.json`, read by workers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from crossgrade.domain import TokenIssuer
from crossgrade.errors import AccessError, ConfigError, CrossgradeError

MAX_BYTES = 1 << 20
MAX_KEYS = 64
REFRESH_S = 60.0
"""The age at which an issuer's keys are fetched again."""

RETRY_S = 30.0
"""The time until they are fetched again after a failure."""

ASKED_AGAIN_S = 10.0
"""The shortest time between fetches caused by tokens with an unknown key, which anyone can send."""

MAX_AGE_S = 86_400.0
"""The largest age of keys while the issuer does not answer. With older keys no token is authorised."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class IssuerKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The public keys of one issuer (JSON Web Keys, RFC 7517), and when they were fetched."""

    issuer: str
    fetched_at: float
    keys: tuple[dict[str, Any], ...]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema_version: Literal[1]
    issuers: tuple[IssuerKeys, ...]


def jwks_bytes(issuers: Iterable[IssuerKeys]) -> bytes:
    """Return the content of `jwks.json`."""
    ordered = tuple(sorted(issuers, key=lambda each: each.issuer))
    return msgspec.json.encode(_File(schema_version=1, issuers=ordered)) + b"\n"


def read_jwks(data: bytes, *, file: str | None = None) -> dict[str, IssuerKeys]:
    """Read `jwks.json`, by issuer; raises ConfigError."""
    hint = "the file is written by `crossgrade serve`; remove it to have it written again"
    if len(data) > 16 * MAX_BYTES:
        raise ConfigError(
            f"{len(data)} bytes of issuers' keys are too many",
            code="issuer-keys-too-large",
            file=file,
            hint=hint,
        )
    try:
        issuers = msgspec.json.decode(data, type=_File).issuers
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigError(
            f"the issuers' keys cannot be read: {error}", code="issuer-keys-unreadable", file=file, hint=hint
        ) from error
    return {each.issuer: each for each in issuers}


def refresh_jwks(
    issuers: Iterable[TokenIssuer],
    known: Mapping[str, IssuerKeys],
    now: float,
    fetch: "Callable[[str, float], IssuerKeys] | None" = None,
) -> tuple[dict[str, IssuerKeys], list[CrossgradeError]]:
    """Fetch the keys that are missing or older than `REFRESH_S`. Blocks meanwhile.

    Returns the keys to write and the errors. An issuer whose fetch failed keeps the keys that it had.
    """
    fetch = fetch or fetch_jwks
    fresh, failed = {}, list[CrossgradeError]()
    for name in (each.issuer for each in issuers):
        before = known.get(name)
        if before is not None and 0 <= now - before.fetched_at < REFRESH_S:
            fresh[name] = before
            continue
        try:
            fresh[name] = fetch(name, now)
        except CrossgradeError as error:
            failed.append(error)
            if before is not None:
                fresh[name] = before
    return fresh, failed


def fetch_jwks(issuer: str, now: float, *, timeout_s: float = 10.0) -> IssuerKeys:
    """Fetch the keys of an issuer (OpenID Connect Discovery 1.0 section 4). Blocks meanwhile.

    Only https is used, except on loopback. Redirects are not followed, answers are bounded, and secret keys
    are left out. Raises AccessError (503), which says what was wrong.
    """
    base = issuer.rstrip("/")
    document = _get_object(f"{base}/.well-known/openid-configuration", issuer, timeout_s)
    if document.get("issuer") != issuer:
        raise _failed(issuer, f"its discovery names the issuer {str(document.get('issuer'))[:200]!r}")
    address = document.get("jwks_uri")
    if not isinstance(address, str):
        raise _failed(issuer, "its discovery names no `jwks_uri`")
    keys = _get_object(address, issuer, timeout_s).get("keys")
    if not isinstance(keys, list):
        raise _failed(issuer, "its key set has no list `keys`")
    usable = tuple(key for key in keys[:MAX_KEYS] if _is_usable(key))
    if not usable:
        raise _failed(issuer, "its key set has no public key to verify signatures with")
    return IssuerKeys(issuer=issuer, fetched_at=now, keys=usable)


def _is_usable(key: object) -> bool:
    return isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"


def _get_object(url: str, issuer: str, timeout_s: float) -> dict[str, Any]:
    data = _get(url, issuer, timeout_s)
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise _failed(issuer, f"{url} is not a JSON object")
    return tree


def _get(url: str, issuer: str, timeout_s: float) -> bytes:
    """Return the body at an address, fetched once and bounded in size."""
    # Only the process that fetches needs an HTTP client; workers import this module too.
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

    class NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    is_local = urlsplit(url).hostname in _LOOPBACK
    if urlsplit(url).scheme != "https" and not (
        is_local and urlsplit(issuer).hostname in _LOOPBACK and urlsplit(url).scheme == "http"
    ):
        raise _failed(issuer, f"{url} is not https")
    opener = build_opener(NoRedirect, *([ProxyHandler({})] if is_local else []))
    request = Request(url, headers={"accept": "application/json"})  # noqa: S310 -- the scheme was checked
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            data: bytes = answer.read(MAX_BYTES + 1)
    except HTTPError as error:
        error.close()
        raise _failed(issuer, f"{url} answered {error.code}") from None
    except (OSError, ValueError) as error:
        raise _failed(issuer, f"{url} cannot be reached ({error})") from error
    if len(data) > MAX_BYTES:
        raise _failed(issuer, f"{url} answered more than {MAX_BYTES} bytes")
    return data


def _failed(issuer: str, what: str) -> AccessError:
    return AccessError(
        f"the keys of issuer {issuer} cannot be fetched: {what}",
        reason="issuer_unreachable",
        status=503,
        hint="check `serve.issuers` in crossgrade.yaml and whether this machine reaches the issuer",
    )
