"""Routes that keep runs of agents together: a run keeps the model that its first request got.

The broker remembers what was picked for the first request of each run, and a worker asks it once for each run
that it does not know. A run that is not known and is not at its beginning, or that the broker cannot be asked
about, is the incumbent's. Only a step up has to wait for the next run: whatever takes traffic from the
candidate holds at once, in the middle of a run too.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeAlias

import msgspec

from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._head import Endpoint
from crossgrade.gateway._limits import WAIT_S
from crossgrade.gateway._messages import BeginRun, Done, FirstPick, KnownRun, MixRun, run_digest
from crossgrade.gateway._payload import ParsedPayload, Payload
from crossgrade.gateway._problems import INTERNAL_ERROR, Problem
from crossgrade.gateway._routes import Asking, Choice, RunHere, ServedRoute, Side, segment_of
from crossgrade.routing import RequestFacts

MOST_KNOWN = 10_000
"""The number of runs that a worker knows without asking the broker again."""

MOST_WAITING = 1_000
"""The number of runs that a worker asks about at a time."""

OnKnown: TypeAlias = Callable[[RunHere], None]
_KNOWN = msgspec.json.Decoder(KnownRun)


class RunRoute(ServedRoute):
    """A route on which a run of an agent keeps the model that its first request got."""

    __slots__ = ("_always",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._always, self.fixed = self.fixed, None

    @property
    def _stays(self) -> Side | None:
        return "incumbent" if self.gone is None else None

    def first(self, asked: "AskedInRun", payload: Payload, unit: str) -> FirstPick:
        """Return what the policy picks for the first request of a run; `unit` identifies the run."""
        facts = self.facts(asked.principal, segment_of(asked.principal, asked.request), payload)
        choice = self._always or self.choose(facts, datetime.fromtimestamp(asked.at, UTC), unit)
        return FirstPick(
            offer=choice.targets[0].offer,
            moved=self._is_candidate(choice),
            reason=choice.reason,
            probability=choice.probability,
            verdict_id=self.verdict_id,
            segment=facts.segment,
            modality=facts.modality,
            score=facts.score,
        )

    @property
    def unknown(self) -> FirstPick:
        """What holds for a run whose beginning is not known."""
        return FirstPick(offer=self.incumbent.offer, verdict_id=self.verdict_id)

    def pick_for(self, asked: Asking, payload: Payload, wall: Callable[[], float]) -> Choice:
        """Pick the targets of a request by what was picked for the first one of its run.

        A request that names no run gets the incumbent.
        """
        known, incumbent = asked.known_run, self._choices[self.incumbent.name]
        if known is None:
            reason = "run_unknown" if self._always is None else self._always.reason
            return Choice(incumbent, reason, self._stays, 1.0)
        first = known.first
        facts = self._facts_in_run(asked, payload, first)
        asked.segment, asked.score = self.part_of(facts), first.score
        now = datetime.fromtimestamp(wall(), UTC)
        if first.moved and not known.is_down:
            if self._goes_on(first.offer, facts, now):
                side: Side | None = "candidate" if self.gone is None else None
                return Choice(self._choices[first.offer], first.reason, side, first.probability)
            known.step_down()
        present = self._always or self.choose(facts, now, known.id)
        reason = present.reason
        if self._is_candidate(present):
            reason = "run_unknown" if first.reason == "run_unknown" else "run"
        return Choice(incumbent, reason, self._stays, 1.0 if first.moved else first.probability)

    def _facts_in_run(self, asked: Asking, payload: Payload, first: FirstPick) -> RequestFacts:
        """Return the facts of a request: what divides traffic is that of the run's first one."""
        asks_plain = self.table_route is not None and self.table_route.policy.plain_only
        facts = RequestFacts(
            route=self.name,
            key=asked.principal.id,
            tenant=asked.principal.tenant,
            segment=first.segment,
            modality=first.modality,
            body_bytes=payload.size,
            plain=payload.plain if asks_plain else None,
            score=first.score,
        )
        return self.as_carried(facts, payload)

    def _goes_on(self, offer: str, facts: RequestFacts, now: datetime) -> bool:
        """Return whether a run that began with the candidate `offer` may go on with it."""
        if self._always is not None or self.table_route is None or self.candidate is None:
            return False
        return self.candidate.offer == offer and self.table_route.keeps(facts, now=now)

    def _is_candidate(self, choice: Choice) -> bool:
        return self.candidate is not None and choice.targets[0].offer == self.candidate.offer


class AskedInRun(Asking, Protocol):
    """A request that may wait until its run is known. It arrived `at` that time, in seconds since 1970."""

    endpoint: Endpoint
    at: float
    done: bool

    def refuse(self, problem: Problem) -> None:
        """Answer with an error."""


class KnownRuns:
    """The runs that one worker knows, and its questions to the broker about others."""

    def __init__(self, loop: asyncio.AbstractEventLoop, broker: BrokerLink) -> None:
        self.broker = broker
        broker.on_mixed = self.mixed
        self._loop = loop
        self._known: OrderedDict[str, RunHere] = OrderedDict()
        self._waiting: dict[str, list[OnKnown]] = {}

    def knows(self, asked: AskedInRun, route: RunRoute, version: int) -> bool:
        """Return whether it is known how a request's run goes on under this route table, or it names none."""
        run = asked.endpoint.run
        if run is None or asked.known_run is not None:
            return True
        id_ = run_digest(route.name, asked.principal.id, run)
        known = self._known.get(id_)
        if known is None or known.version != version:
            return False
        self._known.move_to_end(id_)
        asked.known_run = known
        return True

    def ask(
        self, asked: AskedInRun, route: RunRoute, version: int, payload: Payload, go_on: Callable[[], None]
    ) -> None:
        """Find out how a request's run goes on, then go on, perhaps at once.

        If the broker does not know the run, it begins here. If it has begun before, or the broker does not
        answer within `WAIT_S` seconds, it is the incumbent's, and other models may have answered it. Each new
        table is a reason to ask again, since another machine may have stepped the run down.
        """
        assert asked.endpoint.run is not None
        id_ = run_digest(route.name, asked.principal.id, asked.endpoint.run)
        on_known = partial(self._go_on, asked, go_on)
        waiting = self._waiting.get(id_)
        if waiting is not None:
            waiting.append(on_known)
            return
        here = self._known.get(id_)
        otherwise = KnownRun(id_, route.unknown, is_mixed=True)
        if here is not None:
            otherwise = KnownRun(id_, here.first, is_mixed=here.is_mixed, is_down=here.is_down)
        if self.broker.is_away or len(self._waiting) >= MOST_WAITING:
            here = self._keep(otherwise, version)
            self._send(route, otherwise, partial(self._answered_late, here))
            on_known(here)
            return
        run = otherwise
        if here is None and begins_run(payload):
            run = KnownRun(id_, route.first(asked, payload, id_))
        self._waiting[id_] = [on_known]
        timer = self._loop.call_later(WAIT_S, self._settle, version, otherwise)
        self._send(route, run, partial(self._answered, timer, version, otherwise))

    def mixed(self, message: MixRun) -> None:
        """Note what another worker has told the broker of a run."""
        known = self._known.get(message.id)
        if known is not None:
            known.is_mixed = True
            known.is_down |= message.is_down

    def _go_on(self, asked: AskedInRun, go_on: Callable[[], None], known: RunHere) -> None:
        if asked.done:
            return
        asked.known_run = known
        try:
            go_on()
        except Exception as error:  # noqa: BLE001  # whatever it is, this request has to end
            context = {"message": "a request could not be handled", "exception": error}
            self._loop.call_exception_handler(context)
            asked.refuse(INTERNAL_ERROR)

    def _send(self, route: RunRoute, run: KnownRun, on_done: Callable[[Done | None], None]) -> None:
        self.broker.tell_run(partial(BeginRun, route=route.name, run=run), on_done)

    def _tell(self, run: RunHere) -> None:
        self.broker.tell_run(partial(MixRun, id=run.id, is_down=run.is_down), _ignored)

    def _answered(
        self, timer: asyncio.TimerHandle, version: int, otherwise: KnownRun, done: Done | None
    ) -> None:
        timer.cancel()
        if otherwise.id not in self._waiting:
            here = self._known.get(otherwise.id)
            if here is not None:
                self._answered_late(here, done)
        elif done is None or done.error is not None:
            self._settle(version, otherwise)
        else:
            self._settle(version, _KNOWN.decode(done.text))

    def _answered_late(self, here: RunHere, done: Done | None) -> None:
        """Compare what the broker remembers of a run with what held here without its answer."""
        if done is None or done.error is not None:
            return
        known = _KNOWN.decode(done.text)
        here.is_mixed, here.is_down = known.is_mixed, here.is_down or known.is_down
        if known.first.offer != here.first.offer:
            here.mix()

    def _settle(self, version: int, known: KnownRun) -> None:
        """Let the requests of a run go on."""
        here = self._keep(known, version)
        for on_known in self._waiting.pop(known.id, ()):
            on_known(here)

    def _keep(self, known: KnownRun, version: int) -> RunHere:
        before, here = self._known.get(known.id), RunHere(known, version, self._tell)
        if before is not None:  # the broker may not have it yet
            here.is_mixed |= before.is_mixed
            here.is_down |= before.is_down
        self._known[known.id] = here
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return here


_ASKING = frozenset(("system", "developer", "user"))
"""The roles of those who speak before the model has answered."""


class _Turn(msgspec.Struct):
    role: str | None = None
    type: str | None = None


class _Asked(msgspec.Struct):
    messages: list[_Turn] = []
    input: str | list[_Turn] = []


_ASKED = msgspec.json.Decoder(_Asked)


def begins_run(payload: Payload) -> bool:
    """Return whether a request is at the beginning of a conversation: no model has spoken in it yet.

    That is only seen in bodies that are parsed, with messages that say who speaks.
    """
    if not isinstance(payload, ParsedPayload):
        return False
    name, fields = payload.endpoint.name, payload.fields
    try:
        asked = _ASKED.decode(payload.body)
    except (msgspec.MsgspecError, RecursionError):
        return False
    turns: str | list[_Turn] = asked.messages
    if name == "responses":
        if fields.previous_response_id or bytes(fields.conversation) not in (b"", b"null"):
            return False
        turns = asked.input
    elif name not in ("chat", "messages"):
        return False
    if isinstance(turns, str):
        return True
    return bool(turns) and all(each.role in _ASKING and each.type in (None, "message") for each in turns)


def _ignored(done: Done | None) -> None:
    """Do nothing: what could not be told is in the records."""
