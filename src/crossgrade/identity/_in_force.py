"""The access rules that a gateway decides by, as one text whose digest entries of the ledger carry."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from crossgrade.domain import AccessRule, RouteSpec, TokenIssuer

_encode = msgspec.json.Encoder(order="sorted").encode


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
