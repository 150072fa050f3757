"""Routes as they are served now, the facts by which a policy picks, and the targets of a request."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Literal, Protocol, TypeAlias

from crossgrade.domain import RouteSpec, StickyUnit
from crossgrade.gateway._gates import RouteGate
from crossgrade.gateway._head import Request
from crossgrade.gateway._leases import OF_OUTPUT, Counter
from crossgrade.gateway._messages import KnownRun, Reason, RequestRecord
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._targets import RetryBudget, TargetState
from crossgrade.identity import AccessRules, Dossiers, ModelEvidence, Principal, evidence_of
from crossgrade.routing import RequestFacts, Route, by_weight, succeeded


class Permit:
    """What all requests of one caller on one route share: their limits, and most fields of their records.

    `gate` decides on each of these requests; it is None if the route is open to the caller. `is_free` says
    that neither limits nor the ledger hold them up. `counts_usd` says whether a limit is in dollars,
    `counts_output` whether one is in dollars or tokens, and `needs_price` whether models without a price are
    refused because of the former. `blank` has the fields that all records share, `alike` those that records
    of the last `kind` share.
    """

    __slots__ = (
        "alike",
        "blank",
        "counters",
        "counts_output",
        "counts_usd",
        "gate",
        "is_free",
        "kind",
        "needs_price",
        "principal",
    )

    def __init__(
        self,
        principal: Principal,
        counters: tuple[Counter, ...],
        blank: RequestRecord,
        *,
        unpriced: bool = False,
        gate: RouteGate | None = None,
        is_inscribed: bool = False,
    ) -> None:
        self.principal = principal
        self.gate = gate
        self.counters = counters
        self.is_free = not counters and not is_inscribed
        self.counts_usd = any(counter.unit == "usd" for counter in counters)
        self.needs_price = self.counts_usd and not unpriced
        self.counts_output = any(counter.unit in OF_OUTPUT for counter in counters)
        self.blank = self.alike = blank
        self.kind: tuple[object, ...] | None = None


Side = Literal["incumbent", "candidate"]

_NEVER_MOVED = frozenset(
    {"too_long", "not_plain", "not_carried", "region", "terms", "expired", "direct", "run_unknown"}
)


Group: TypeAlias = tuple[TargetState, ...]
"""A model as policies know it, and its replicas."""


class Order:
    """The order in which targets are tried. Each unit of traffic has its own if a model has replicas.

    `plain` is the order that ignores replicas' weights: the picked model's own target comes first. It is the
    only one if `is_plain`.
    """

    __slots__ = ("_groups", "is_plain", "plain")

    def __init__(self, groups: Iterable[Group]) -> None:
        self._groups = tuple(groups)
        self.plain = tuple(dict.fromkeys(target for group in self._groups for target in group))
        self.is_plain = all(len(group) == 1 for group in self._groups)

    def drawn(self, unit: str) -> tuple[TargetState, ...]:
        """Return the order of a unit of traffic: all replicas of a model by weight, then the next model."""
        found: dict[TargetState, None] = {}
        for group in self._groups:
            if len(group) == 1:
                found[group[0]] = None
                continue
            states = {state.name: state for state in group}
            names = by_weight(unit, {state.name: state.target.weight for state in group})
            found |= dict.fromkeys(states[name] for name in names)
        return tuple(found)


class Choice:
    """What was picked for a request: targets in the order in which they are tried, and the reason.

    If `order` is not None, the request's own order is drawn from it in place of `targets`. `probability` is
    that of picking this `side`.
    """

    __slots__ = ("order", "probability", "reason", "side", "targets")

    def __init__(self, order: Order, reason: Reason, side: Side | None, probability: float) -> None:
        self.targets = order.plain
        self.order = None if order.is_plain else order
        self.reason: Reason = reason
        self.side: Side | None = side
        self.probability = probability


ANSWERS = 1_024
"""The answers after which an expected size may fall: so many, by whomever, must all have been shorter."""


class Size:
    """The output `tokens` that are expected of a target's answers to a route's requests without a bound.

    They are the largest of the last answers: at least `ANSWERS` of them, at most twice as many.
    """

    __slots__ = ("_count", "_largest", "tokens")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self._count = self._largest = 0

    def learn(self, tokens: int) -> None:
        """Note an answer: the size rises to it at once."""
        if tokens > self._largest:
            self._largest = tokens
            self.tokens = max(self.tokens, tokens)
        self._count += 1
        if self._count == ANSWERS:
            self.tokens = self._largest
            self._count = self._largest = 0


class RunHere:
    """A run as one worker has known it since the route table of this `version`; see `KnownRun`."""

    __slots__ = ("_tell", "first", "id", "is_down", "is_mixed", "version")

    def __init__(self, known: KnownRun, version: int, tell: Callable[["RunHere"], None]) -> None:
        self.id = known.id
        self.first = known.first
        self.is_mixed = known.is_mixed
        self.is_down = known.is_down
        self.version = version
        self._tell = tell

    def mix(self) -> None:
        """Remember, and let the broker remember, that more than one model may have answered the run."""
        if not self.is_mixed:
            self.is_mixed = True
            self._tell(self)

    def step_down(self) -> None:
        """Remember, and let the broker remember, that the incumbent answers the run from now on."""
        self.is_mixed = self.is_down = True
        self._tell(self)


class Asking(Protocol):
    """What a route reads of a request to pick for it, and notes."""

    principal: Principal
    request: Request
    segment: str | None
    score: float | None
    known_run: RunHere | None

    def unit_on(self, route: "ServedRoute", payload: Payload) -> str:
        """Return the unit of traffic that the request belongs to."""


NO_RULES = AccessRules(())
NO_DOSSIERS = Dossiers()


class ServedRoute:
    """A configured route as it is served now.

    `table_route` is the route table's route of that name. While it is None, the configured incumbent
    answers. `fixed` is the choice if no fact of a request matters. `outside` is the candidate's target if it
    is in none of the workload's regions; the incumbent answers then. `permits` are those of callers, by id.
    `candidate` is the target that the policy may move requests to, None if it moves none.
    `retries` is the budget of retries, `is_single` says that none is allowed. `sizes` are what is expected
    of each target's answers. A direct route stands for a target that a request asked for by the target's own
    name. `gone` is the offer of an incumbent that has ended: another one stands in its place as `incumbent`
    and in the `table_route`, no request is of the incumbent's side, and nothing is left to compare a
    candidate with. `grows` says that every request which the
    policy might move, now or once its threshold has fallen, is audited or missed by a known probability.
    `gate` decides by `rules` and `dossiers` on requests of a gated route, and is None for any other.
    `ledger` says whether requests are entered into the ledger. On a direct route they are as on the strictest
    route that uses the target, or the strictest gated route if none does.
    """

    __slots__ = (
        "_choices",
        "candidate",
        "fixed",
        "gate",
        "gone",
        "grows",
        "headers",
        "incumbent",
        "is_single",
        "ledger",
        "name",
        "outside",
        "permits",
        "retries",
        "sizes",
        "spec",
        "table_route",
        "verdict_id",
    )

    def __init__(
        self,
        spec: RouteSpec,
        table_route: Route | None,
        groups: Mapping[str, Group],
        stamp: str,
        *,
        is_direct: bool = False,
        ended: Collection[str] = (),
        rules: AccessRules = NO_RULES,
        dossiers: Dossiers = NO_DOSSIERS,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.ledger = spec.ledger
        self.permits: dict[str, Permit] = {}
        self.retries = RetryBudget()
        self.sizes: dict[str, Size] = {}
        self.is_single = spec.attempts == 1
        self.verdict_id = None if table_route is None else table_route.verdict_id
        incumbent = spec.incumbent
        if table_route is not None:
            incumbent = table_route.targets[table_route.policy.incumbent]
        self.gone: str | None = None
        if incumbent in ended and not is_direct:
            self.gone, incumbent = incumbent, _heir(spec, groups, ended) or incumbent
            table_route = None if table_route is None else succeeded(table_route, incumbent)
        self.table_route = table_route
        self.incumbent = groups[incumbent][0]
        used = {incumbent, *(() if table_route is None else table_route.targets.values())}
        self._choices = {name: self._order(name, groups) for name in used}
        self.fixed: Choice | None = None
        stays: Side | None = "incumbent" if self.gone is None else None
        if is_direct:
            self.fixed = Choice(self._choices[incumbent], "direct", None, 1.0)
        elif table_route is None or table_route.policy.kind == "keep":
            self.fixed = Choice(self._choices[incumbent], "keep", stays, 1.0)
        regions = {name: group[0].target.region for name, group in groups.items() if name in used}
        self.outside = None if table_route is None else table_route.outside(spec.regions, regions)
        if self.outside is not None:
            self.fixed = Choice(self._choices[incumbent], "region", stays, 1.0)
        self.candidate: TargetState | None = None
        if table_route is not None and table_route.policy.candidate is not None:
            self.candidate = self._choices[table_route.targets[table_route.policy.candidate]].plain[0]
            if self.candidate.target.blocked is not None:
                self.fixed = Choice(self._choices[incumbent], "terms", stays, 1.0)
        self.grows = table_route is not None and table_route.growth is not None
        self.gate: RouteGate | None = None
        if spec.gated:
            about = dossiers.of(spec.workload, self.verdict_id)
            self.gate = RouteGate(rules, spec.name, spec.workload, self._evidence(), about)
        policy = f"x-crossgrade-policy: {stamp}\r\n" if stamp else ""
        self.headers = f"x-crossgrade-route: {spec.name}\r\n{policy}".encode()

    def _evidence(self) -> dict[str, ModelEvidence]:
        """Return the certificate of each offer that one covers: of no heir, and no candidate kept away."""
        heir = None if self.gone is None else self.incumbent.name
        blocked = self.candidate is not None and self.candidate.target.blocked is not None
        kept_away = self.candidate.offer if blocked and self.candidate is not None else self.outside
        return evidence_of(self.table_route, (heir, kept_away))

    @property
    def offers(self) -> frozenset[str]:
        """The offers that may answer its requests."""
        return frozenset(target.offer for order in self._choices.values() for target in order.plain)

    def _order(self, first: str, groups: Mapping[str, Group]) -> Order:
        names = (first, *self.spec.fallbacks, self.incumbent.name)
        return Order(groups[name] for name in dict.fromkeys(names) if name in groups)

    @property
    def is_canary(self) -> bool:
        """Whether the policy may move only a share of the traffic."""
        return self.table_route is not None and self.table_route.share < 1.0

    def facts(self, principal: Principal, segment: str | None, payload: Payload) -> RequestFacts:
        """Return the facts of a request. A policy that needs an unknown fact picks the incumbent.

        A router's score, and whether the request is plain, are looked for only if the policy needs them.
        Whether it can be carried to the candidate's API is looked for if the candidate would answer.
        """
        table_route = self.table_route
        router = None if table_route is None else table_route.router
        asks_plain = table_route is not None and table_route.policy.plain_only
        facts = RequestFacts(
            route=self.name,
            key=principal.id,
            tenant=principal.tenant,
            segment=segment,
            modality=payload.modality,
            body_bytes=payload.size,
            plain=payload.plain if asks_plain else None,
            score=None if router is None else router.score(payload.opening_text(), segment),
        )
        return self.as_carried(facts, payload)

    def as_carried(self, facts: RequestFacts, payload: Payload) -> RequestFacts:
        """Return the facts of a request with whether the candidate's API can carry it, if that matters."""
        table_route, candidate = self.table_route, self.candidate
        if table_route is None or candidate is None:
            return facts
        stays = table_route.policy.pick(facts) == table_route.policy.incumbent
        return facts if stays or payload.carried(candidate) else replace(facts, carried=False)

    def pick_for(self, asked: Asking, payload: Payload, wall: Callable[[], float]) -> Choice:
        """Pick the targets of a request by its facts, and note its segment and score.

        `wall` returns the time since 1970 in seconds.
        """
        facts = self.facts(asked.principal, segment_of(asked.principal, asked.request), payload)
        asked.segment = self.part_of(facts)
        if facts.score is not None:
            asked.score = facts.score
        unit = asked.unit_on(self, payload) if self.is_canary else ""
        return self.choose(facts, datetime.fromtimestamp(wall(), UTC), unit)

    def part_of(self, facts: RequestFacts) -> str | None:
        """Return the part of the certificate that a request belongs to, as `watch` tests it.

        It is the request's segment, and on a route with a router the name of the threshold that it reaches.
        """
        policy = None if self.table_route is None else self.table_route.policy
        if policy is None or policy.fact != "score":
            return facts.segment
        return policy.segments[0] if policy.reaches(facts.score) else None

    def choose(self, facts: RequestFacts, now: datetime, unit: str) -> Choice:
        """Pick the targets of a request with these facts, by the certified policy."""
        route = self.table_route
        if self.fixed is not None or route is None:
            assert self.fixed is not None
            return self.fixed
        policy = route.policy
        picked = policy.pick(facts)
        name = route.pick(facts, now=now, unit=unit)
        moved = policy.candidate is not None and name == route.targets[policy.candidate]
        reason: Reason = "policy"
        probability = 1.0
        if picked != policy.incumbent:
            if route.valid_until is not None and now >= route.valid_until:
                reason = "expired"
            elif route.is_held:
                reason = "held"
            elif route.share < 1.0:
                reason = "canary"
                probability = route.share if moved else 1.0 - route.share
        elif facts.carried is False:
            reason = "not_carried"
        elif not policy.fits(facts.body_bytes):
            reason = "too_long"
        elif policy.plain_only and not facts.plain:
            reason = "not_plain"
        elif policy.kind == "split" and getattr(facts, policy.fact) is None:
            reason = "unknown_fact"
        side: Side | None = "candidate" if moved else "incumbent"
        return Choice(self._choices[name], reason, side if self.gone is None else None, probability)

    def may_move(self, choice: Choice, score: float | None, payload: Payload, now: datetime) -> bool:
        """Return whether a growing route could move a request, whichever threshold it has reached."""
        assert self.table_route is not None
        assert self.table_route.valid_until is not None
        if score is None or self.candidate is None or choice.reason in _NEVER_MOVED:
            return False
        if now >= self.table_route.valid_until:
            return False
        return choice.side == "candidate" or payload.carried(self.candidate)

    def audited_unit(self, request: Request, payload: Payload, request_id: str) -> str:
        """Return what is audited as a whole on a growing route: a conversation, else the request alone.

        An unnamed conversation is known by its opening, if the router scores that.
        """
        named = conversation_of(request, payload)
        if named is not None:
            return named
        router = None if self.table_route is None else self.table_route.router
        reads_text = router is not None and (router.heads is not None or router.topics is not None)
        return (_opening_digest(payload) if reads_text else None) or request_id

    def size(self, target: TargetState) -> Size:
        """Return what is learned of the size of a target's answers."""
        size = self.sizes.get(target.name)
        if size is None:
            size = self.sizes[target.name] = Size(target.unlearned)
        return size

    def uses(self, target: TargetState) -> bool:
        """Return whether requests on this route may reach a target."""
        table = () if self.table_route is None else self.table_route.targets.values()
        offers = (self.spec.incumbent, self.spec.successor, *self.spec.fallbacks, *table)
        return target.offer in offers or target.name in offers

    def other(self, choice: Choice) -> TargetState | None:
        """Return the target of the policy's other model, which a shadow calls; None if there is none.

        There is none once the incumbent is gone: the model in its place is no other side of a comparison.
        """
        route = self.table_route
        if route is None or route.policy.candidate is None or self.gone is not None:
            return None
        model = route.policy.incumbent if choice.side == "candidate" else route.policy.candidate
        return self._choices[route.targets[model]].plain[0]


def _heir(spec: RouteSpec, groups: Mapping[str, Group], ended: Collection[str]) -> str | None:
    """Return the offer in whose place an incumbent was that has ended; None if all of them have ended."""
    named = (spec.incumbent, spec.successor)
    return next((name for name in named if name in groups and name not in ended), None)


_LONGEST_FACT = 200


def segment_of(principal: Principal, request: Request) -> str | None:
    """Return the segment bound to the caller, else the one that the request names; None if unknown."""
    if principal.segment is not None:
        return principal.segment
    return _fact(request, b"x-crossgrade-segment")


def unit_of(
    sticky: StickyUnit, principal: Principal, request: Request, payload: Payload, request_id: str
) -> str:
    """Return the unit that a canary keeps together: a conversation, a user, a key, else the request alone.

    An unnamed conversation is known by its first messages, with which each of its later requests begins.
    """
    if sticky == "key":
        return principal.id
    if sticky == "conversation":
        named = conversation_of(request, payload) or payload.fields.conversation_name
        if named is not None:
            return named
    if sticky != "none":
        user = _fact(request, b"x-crossgrade-user") or payload.fields.user_name
        if user is not None:
            return user
    return (_opening_digest(payload) if sticky == "conversation" else None) or request_id


def _opening_digest(payload: Payload) -> str | None:
    first = payload.opening()
    return blake2b(first, digest_size=16).hexdigest() if first else None


def conversation_of(request: Request, payload: Payload) -> str | None:
    """Return the client's own name for the conversation, None if it gives none."""
    return _fact(request, b"x-crossgrade-conversation") or payload.fields.named_conversation


def _fact(request: Request, name: bytes) -> str | None:
    value = request.text(name)
    return None if value is None else value[:_LONGEST_FACT]
