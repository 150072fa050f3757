"""Access rules as configured: who may use which model of a gated route, and on what evidence."""

from dataclasses import dataclass
from typing import Literal

KEYS = "keys"
"""In the place of an issuer: the gateway's own keys, whose tier and team an operator set."""

RuleEvidence = Literal["none", "verdict"]
"""What must stand behind a model: nothing, or an unexpired certificate in the route table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredLogin:
    """How a caller must have logged in (RFC 9470): one of these `acr`, at most `max_age_s` seconds ago.

    Without `acr` every kind of login is accepted, without `max_age_s` (None) a login of any age.
    """

    acr: tuple[str, ...] = ()
    max_age_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """One access rule. It matches a request that meets all of its selectors; an empty one selects all.

    A rule with a `programme` is for requests that select it, one without is for requests that select none.
    `issuers` say who must vouch for the caller: the URLs of OpenID providers, or `KEYS`. `models` are the
    offers that may answer. If `allow`, the rule grants these requests, provided that the model has the
    `evidence` and the caller the `login`. Otherwise it denies them. `because` says why, for people.
    """

    name: str
    programme: str | None = None
    issuers: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    evidence: RuleEvidence = "none"
    login: RequiredLogin | None = None
    allow: bool = True
    because: str = ""

    def reaches(self, route: str | None, workload: str | None) -> bool:
        """Return whether the rule is for a route of this name and workload."""
        return (not self.routes or route in self.routes) and (
            not self.workloads or workload in self.workloads
        )
