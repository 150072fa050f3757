"""Defines the route table, which passes decisions to the gateway, and the steps of a canary.

A table is an immutable, versioned file named by its digest. The gateway asks the certified `Policy` in it
for every request, so that exactly the certified policy is served. A canary is sticky: each unit of traffic
has a fixed position, and moves to the candidate when the share exceeds it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b

from crossgrade.errors import UsageError
from crossgrade.routing.policy import Policy, RequestFacts
from crossgrade.routing.router import Router, threshold_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How far a growing route has come: its policy's threshold falls as audits show that more may move.

    `start` counts from 1. Each alarm on the route's claims begins the next start, whose evidence is what was
    asked from `since` on. An audit weighs at most one over `rate`, the probability in (0, 1] with which
    conversations were audited when the route began to grow. While `is_held` nothing moves, because no
    threshold has enough evidence yet. Raises `UsageError` for numbers out of range and a time without a zone.
    """

    start: int
    since: datetime
    rate: float
    is_held: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers out of range and a time without a zone."""
        if self.start < 1 or not 0 < self.rate <= 1 or self.since.tzinfo is None:
            raise UsageError(
                f"growth of start {self.start} since {self.since} at a rate of {self.rate}: a start from 1, "
                "a time with a zone and a rate in (0, 1] are expected",
                code="route-invalid",
                hint="apply the verdict again with `crossgrade route apply`",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One named stream of requests: its policy and the offers behind the policy's models.

    `targets` maps each model of the policy to the offer that serves it. `valid_until` is the time, with a
    time zone, at which the policy's certificate expires. It is None only for a policy that keeps the
    incumbent, which needs no certificate. `share`, in [0, 1], is the part of the traffic that the policy
    may move. Below 1 the route is a canary. `router` scores requests of a split by score. With `growth`
    its threshold falls in service. `verdict_id` and `evidence_digest` name the verdict that the route comes
    from. Raises `UsageError` for a route that cannot serve or lacks a certificate.
    """

    name: str
    policy: Policy
    targets: Mapping[str, str]
    valid_until: datetime | None = None
    share: float = 1.0
    verdict_id: str | None = None
    evidence_digest: str | None = None
    router: Router | None = None
    growth: Growth | None = None

    def __post_init__(self) -> None:
        """Refuse a route that cannot serve, or that would serve without a certificate."""
        problem = _problem(self)
        if problem is not None:
            raise UsageError(
                f"route {self.name!r}: {problem}",
                code="route-invalid",
                hint="apply the verdict again with `crossgrade route apply`",
            )

    def pick(self, facts: RequestFacts, *, now: datetime, unit: str = "") -> str:
        """Return the offer that answers at `now`; after the expiry that is the incumbent's.

        `unit` names a conversation or user whose requests must all get the same model. In a canary, units
        with a `position` below the share follow the policy.
        """
        policy = self.policy
        model = policy.pick(facts)
        if model != policy.incumbent and (
            self.is_held
            or (self.valid_until is not None and now >= self.valid_until)
            or (self.share < 1.0 and position(unit, self.verdict_id or self.name) >= self.share)
        ):
            model = policy.incumbent
        return self.targets[model]

    def keeps(self, facts: RequestFacts, *, now: datetime) -> bool:
        """Return whether the candidate still answers at `now` a unit of traffic that began with it.

        A share takes nothing back unless it is 0: the share is of units that begin.
        """
        return (
            self.share > 0
            and not self.is_held
            and (self.valid_until is None or now < self.valid_until)
            and self.policy.pick(facts) != self.policy.incumbent
        )

    @property
    def certified(self) -> frozenset[str]:
        """The offers of the models that the certificate covers, unless it has expired; none without one.

        It covers the policy, so both of its models. It does not cover a candidate that an alarm or a person
        took back (a share of 0), and none while the route waits for evidence.
        """
        policy = self.policy
        if policy.kind == "keep" or self.valid_until is None or self.is_held:
            return frozenset()
        models = (policy.incumbent, *((policy.candidate,) if self.share else ()))
        return frozenset(self.targets[model] for model in models if model is not None)

    @property
    def is_held(self) -> bool:
        """Whether nothing moves until a threshold has evidence."""
        return self.growth is not None and self.growth.is_held

    def outside(self, regions: Collection[str], region_of: Mapping[str, str | None]) -> str | None:
        """Return the candidate's offer if it is outside the allowed regions, otherwise None.

        `region_of` is the region of each offer. An unknown region (None) is not allowed. Without `regions`
        all are allowed. The caller keeps the incumbent on a route whose candidate is outside.
        """
        if not regions or self.policy.candidate is None:
            return None
        offer = self.targets[self.policy.candidate]
        return None if region_of.get(offer) in regions else offer


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """All routes of a project at one moment.

    `version` starts at 1 and rises by 1 with every published table. `previous` is the digest of the table
    it replaces, None for the first. Raises `UsageError` for a version below 1 and for two routes of one
    name.
    """

    version: int
    routes: tuple[Route, ...] = ()
    previous: str | None = None
    by_name: Mapping[str, Route] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the routes; refuse a version below 1 and two routes of one name."""
        if self.version < 1:
            raise UsageError(
                f"route table version {self.version}: versions count from 1", code="route-table-version"
            )
        names = [route.name for route in self.routes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"route table: route {twice[0]!r} is there twice", code="route-repeated")
        object.__setattr__(self, "by_name", {route.name: route for route in self.routes})

    def route(self, name: str) -> Route | None:
        """Return the route with a name, or None."""
        return self.by_name.get(name)

    def replacing(self, route: Route, *, previous: str) -> "RouteTable":
        """Return the next version, with `route` added or replaced; `previous` is this table's digest."""
        others = tuple(other for other in self.routes if other.name != route.name)
        routes = tuple(sorted((*others, route), key=lambda each: each.name))
        return RouteTable(version=self.version + 1, routes=routes, previous=previous)


def _problem(route: Route) -> str | None:
    """Return the reason why the route cannot be served, in words, or None."""
    if not route.name:
        return "it has no name"
    policy = route.policy
    for model in (policy.incumbent, policy.candidate):
        if model is not None and not route.targets.get(model):
            return f"no offer is named for model {model!r}"
    if not 0 <= route.share <= 1:
        return f"its share {route.share} is not within 0 and 1"
    if route.valid_until is None:
        return None if policy.kind == "keep" else f"a {policy.kind} needs the expiry of its certificate"
    return "its expiry has no time zone" if route.valid_until.tzinfo is None else _router_problem(route)


def _router_problem(route: Route) -> str | None:
    """Return how the router contradicts the policy, or None."""
    least, router = route.policy.least_score, route.router
    if (least is None) != (router is None):
        return "a split by score has a router, and no other policy has one"
    if router is not None and least not in router.thresholds:
        return f"its least score {least} is none of its router's thresholds"
    return "only a split by score grows" if route.growth is not None and router is None else None


def position(unit: str, salt: str) -> float:
    """Return the unit's position in [0, 1), uniform over units and the same on every machine.

    Units that have moved stay moved when the share rises. Each certificate has its own `salt`, so that
    the same users are not always the first to move.
    """
    digest = blake2b(unit.encode(), digest_size=8, key=blake2b(salt.encode(), digest_size=16).digest())
    return (int.from_bytes(digest.digest()) >> 11) / 2**53  # as many bits as a float holds


def by_weight(unit: str, weights: Mapping[str, float]) -> list[str]:
    """Return the names in the order in which a unit asks them, drawn by weight without replacement.

    The probability that a name comes first is its share of the weights. If a name is removed, the others
    keep their order (Efraimidis and Spirakis 2006). A name with weight 0 comes last.
    """

    def drawn(name: str) -> float:
        weight = weights[name]
        return -math.log1p(-position(unit, name)) / weight if weight else math.inf

    return sorted(weights, key=drawn)


def promoted(route: Route, steps: Sequence[float]) -> Route:
    """Return the route with its share raised to the next of `steps` (rising, from 0 to 1).

    Raises `UsageError` for a route that keeps its incumbent, one that waits for evidence and was not aborted,
    and one with no higher step.
    """
    if route.policy.kind == "keep":
        raise UsageError(
            f"route {route.name!r} keeps {route.policy.incumbent}: there is nothing to promote",
            code="route-keeps",
            hint="apply a verdict that switches or splits: `crossgrade route apply WORKLOAD --canary`",
        )
    if route.is_held and route.share > 0:
        raise UsageError(
            f"route {route.name!r} waits for evidence that a threshold keeps its floor, and moves nothing",
            code="route-held",
            hint="`crossgrade watch --once` shows how much evidence there is",
        )
    share = next((step for step in steps if step > route.share), None)
    if share is None:
        raise UsageError(
            f"route {route.name!r} has its whole share already",
            code="route-at-whole-share",
            hint="`crossgrade route show` shows it",
        )
    return replace(route, share=share)


def aborted(route: Route) -> Route:
    """Return the route with a share of 0: the incumbent gets all traffic until it is promoted again."""
    return replace(route, share=0.0)


def succeeded(route: Route, offer: str) -> Route:
    """Return the route with another offer where its incumbent would answer."""
    return replace(route, targets={**route.targets, route.policy.incumbent: offer})


def grown(route: Route, least_score: float) -> Route:
    """Return a growing route that moves requests from this threshold of its router on."""
    assert route.growth is not None
    policy = replace(route.policy, least_score=least_score, segments=(threshold_name(least_score),))
    return replace(route, policy=policy, growth=replace(route.growth, is_held=False))


def held_back(route: Route, now: datetime) -> Route:
    """Return a growing route that moves nothing, and whose next start counts what is asked from `now` on."""
    assert route.growth is not None
    assert route.router is not None
    first = grown(route, route.router.thresholds[0])
    growth = replace(route.growth, start=route.growth.start + 1, since=now, is_held=True)
    return replace(first, growth=growth)
