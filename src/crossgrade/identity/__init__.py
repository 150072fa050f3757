"""Who asks: API keys, verified tokens, tiers."""

from crossgrade.identity._claims import is_subject, principal_of, user_id
from crossgrade.identity._in_force import RulesInForce, rules_in_force
from crossgrade.identity._refusals import PROGRAMME_HEADER
from crossgrade.identity._rules import (
    AccessDecision,
    AccessRequest,
    AccessRules,
    ModelEvidence,
    evidence_of,
    needless_rules,
    ungiven_tiers,
)
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
    MAX_SUSPENDED,
    KeyLimit,
    KeyRecord,
    Keyring,
    KeyScope,
    KeySecret,
    Principal,
    Suspension,
    keyring_bytes,
    read_keyring,
    read_records,
)

__all__ = [
    "ASKED_AGAIN_S",
    "MAX_SUSPENDED",
    "PROGRAMME_HEADER",
    "RETRY_S",
    "AccessDecision",
    "AccessRequest",
    "AccessRules",
    "IssuerKeys",
    "KeyLimit",
    "KeyRecord",
    "KeyScope",
    "KeySecret",
    "Keyring",
    "ModelEvidence",
    "NewKey",
    "Principal",
    "RulesInForce",
    "Suspension",
    "TokenVerifier",
    "UnknownSignerError",
    "authenticate",
    "check_route",
    "evidence_of",
    "fetch_jwks",
    "is_key",
    "is_subject",
    "jwks_bytes",
    "keyring_bytes",
    "needless_rules",
    "new_key",
    "principal_of",
    "read_jwks",
    "read_keyring",
    "read_records",
    "refresh_jwks",
    "rules_in_force",
    "ungiven_tiers",
    "user_id",
]
