"""Who a request comes from, once that is known."""

from dataclasses import dataclass

from crossgrade.domain import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A verified caller: the key's public id (or a token's pseudonymous subject), team and tier.

    `routes` may be used (empty: those its tier and team may use). `limits` are the caller's own,
    besides those of the configuration. `segment` and `tenant` are bound to the caller: a request
    cannot say otherwise.
    """

    id: str
    team: str = ""
    tier: str = ""
    routes: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    segment: str | None = None
    tenant: str | None = None
