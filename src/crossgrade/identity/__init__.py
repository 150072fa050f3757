"""Who asks: API keys, verified tokens, tiers."""

from crossgrade.identity._claims import is_subject
from crossgrade.identity._text import NewKey, is_key, new_key
from crossgrade.identity.access import TokenVerifier, UnknownSignerError, authenticate, check_route
from crossgrade.identity.issuers import (
    ASKED_AGAIN_S,
    RETRY_S,
    IssuerKeys,
    fetch_jwks,
    jwks_bytes,
    read_jwks,
    refresh_jwks,
)
from crossgrade.identity.keyring import (
    KeyLimit,
    KeyRecord,
    Keyring,
    KeyScope,
    KeySecret,
    Principal,
    keyring_bytes,
    read_keyring,
    read_records,
)

__all__ = [
    "ASKED_AGAIN_S",
    "RETRY_S",
    "IssuerKeys",
    "KeyLimit",
    "KeyRecord",
    "KeyScope",
    "KeySecret",
    "Keyring",
    "NewKey",
    "Principal",
    "TokenVerifier",
    "UnknownSignerError",
    "authenticate",
    "check_route",
    "fetch_jwks",
    "is_key",
    "is_subject",
    "jwks_bytes",
    "keyring_bytes",
    "new_key",
    "read_jwks",
    "read_keyring",
    "read_records",
    "refresh_jwks",
]
