"""Shadow pairs: a sampled request also goes to the policy's other model, after its answer was sent.

On a growing route the sample is drawn by a hash of the conversation and the day, and every drawn request is
recorded: as a pair, or as a missed pair with the reason why the other model has no answer.
"""

import asyncio
import random
from collections import Counter as Tally
from datetime import UTC, datetime
from hashlib import blake2b

from crossgrade.dialects import Counts
from crossgrade.domain import Shadow
from crossgrade.gateway._body import estimated_tokens
from crossgrade.gateway._broker import BrokerLink
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._messages import RequestRecord, ShadowAnswer
from crossgrade.gateway._metrics import Metrics
from crossgrade.gateway._payload import ParsedPayload, Payload
from crossgrade.gateway._routes import Choice, ServedRoute, conversation_of
from crossgrade.gateway._settle import RequestState, expected_output, images_in
from crossgrade.gateway._shadow_call import ShadowCall
from crossgrade.gateway._shadow_copy import ANSWER_BYTES, Copy, Missed, pair_of
from crossgrade.gateway._targets import TargetState
from crossgrade.routing import position

_OPT_OUT = b"x-crossgrade-no-shadow"
_DAY_S = 86_400


class Shadows:
    """Samples requests, and sends them to the other model.

    `share` is this worker's part of every limit on copies in flight.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limits: Limits,
        broker: BrokerLink,
        metrics: Metrics,
        share: float = 1.0,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.broker = broker
        self._metrics = metrics
        self._share = share
        self._in_flight: Tally[str] = Tally()
        self._calls: set[ShadowCall] = set()
        self._stopped = False

    def pick(self, asked: RequestState) -> Copy | None:
        """Return a copy to fill if this request is sampled, else None."""
        route, choice, payload = asked.route, asked.choice, asked.payload
        assert route is not None
        assert choice is not None
        assert payload is not None
        shadow = route.spec.shadow
        if shadow is None or route.gone is not None:
            return None
        if route.grows:
            return self._draw(asked, route, choice, payload)
        if random.random() >= shadow.rate:  # noqa: S311  # a sample, not a secret
            return None
        unwanted = _unwanted(asked, shadow)
        if unwanted is not None:
            self.skip(route.name, unwanted)
        elif choice.reason in {"too_long", "not_plain", "not_carried", "run_unknown"}:
            self.skip(route.name, choice.reason)  # the certificate does not cover these
        elif route.other(choice) is not None:
            named = conversation_of(asked.request, payload)
            conversation = None if named is None else _digest(route.name, asked.principal.id, named)
            return Copy(asked, route, choice, payload, conversation=conversation)
        return None

    def _draw(self, asked: RequestState, route: ServedRoute, choice: Choice, payload: Payload) -> Copy | None:
        """Return the copy of a request of a growing route if its conversation is drawn today, else None."""
        shadow, score = route.spec.shadow, asked.score
        assert shadow is not None
        if score is None:
            return None
        day = str(int(asked.at // _DAY_S))
        unit = route.audited_unit(asked.request, payload, asked.id)
        if position(unit, f"{route.verdict_id} {day}") >= shadow.rate:
            return None
        if not route.may_move(choice, score, payload, datetime.fromtimestamp(asked.at, UTC)):
            return None
        conversation = _digest(route.name, asked.principal.id, unit, day)
        missed = _unwanted(asked, shadow)
        return Copy(asked, route, choice, payload, conversation=conversation, missed=missed)

    def skip(self, route: str, reason: str) -> None:
        """Count a sampled request that is left out."""
        self._metrics.add("crossgrade.gateway.shadow.skipped", route, reason)

    def miss(self, copy: Copy, record: RequestRecord, reason: Missed, cost_usd: float | None = 0.0) -> None:
        """Count a sampled request without an answer of the other model; on a growing route record it too.

        `cost_usd` is what that answer cost: nothing, since the model was not asked.
        """
        self.skip(copy.route.name, reason)
        if copy.route.grows:
            other = copy.route.other(copy.choice)
            assert other is not None
            side = ShadowAnswer(
                model=other.target.model, target=other.name, dialect=other.target.dialect,
                cost_usd=cost_usd, error=reason,
            )  # fmt: skip
            self.broker.keep_pair(pair_of(copy, record, side, reason))

    def answered(self, copy: Copy, record: RequestRecord) -> str | None:
        """Call the other model, after the answer's last byte was written; return its target's name.

        None if it is not called. Limits on copies may still hold the call back.
        """
        if copy.missed is not None:
            self.miss(copy, record, copy.missed)
        elif record.error is not None or record.status != 200 or record.reason == "fallback":
            self.miss(copy, record, "failed")
        elif copy.size > ANSWER_BYTES:
            self.miss(copy, record, "too_large")
        else:
            self.loop.call_soon(self._ask, copy, record)
            other = copy.route.other(copy.choice)
            return None if other is None else other.name
        return None

    def stop(self) -> None:
        """Ask no more, and give up the copies in flight: they would end after this worker."""
        self._stopped = True
        for call in tuple(self._calls):
            call.stop()

    def _ask(self, copy: Copy, record: RequestRecord) -> None:
        target, shadow, payload = copy.route.other(copy.choice), copy.route.spec.shadow, copy.payload
        assert target is not None
        assert shadow is not None
        assert isinstance(payload, ParsedPayload)
        route = copy.route.name
        tokens, size = expected_output(payload, copy.route, target)
        used = Counts(estimated_tokens(payload.size), tokens * payload.answers)
        usd = target.prices.cost_usd(used, images_in(payload, target.prices))
        why = self._obstacle(copy, payload, target, shadow)
        if why is None and usd is None and shadow.max_usd_per_day is not None:
            why = "unpriced"  # without a price, nothing would count against the cap
        if why is not None:
            self.miss(copy, record, why)
            return
        self._in_flight[route] += 1
        call = ShadowCall(self, copy, record, payload=payload, target=target)
        self._calls.add(call)
        counters = self.limits.shadow(route, shadow.max_usd_per_day)
        outcome = self.limits.reserve(counters, usd, 0, call.reserved, size is not None)
        if outcome is not None:
            call.reserved(outcome)

    def _obstacle(
        self, copy: Copy, payload: ParsedPayload, target: TargetState, shadow: Shadow
    ) -> Missed | None:
        """Return why the other model cannot be asked now, or None."""
        if self._stopped:
            return "stopped"
        is_candidate = copy.choice.side == "incumbent"
        if is_candidate and target.target.blocked is not None:
            return "terms"
        if is_candidate and shadow.regions and target.target.region not in shadow.regions:
            return "region"  # the table may name a candidate that was configured later
        return self._busy(copy, payload, target, shadow)

    def _busy(self, copy: Copy, payload: ParsedPayload, target: TargetState, shadow: Shadow) -> Missed | None:
        """Return why a model that may be asked cannot be asked now, or None."""
        if self._in_flight[copy.route.name] >= max(1, int(shadow.max_parallel * self._share)):
            return "parallel"
        if target.breaker.is_open:
            return "unavailable"
        if target.forbidden and payload.forbidden(target) is not None:
            return "forbidden_field"
        return None

    def over(self, route: str, call: ShadowCall) -> None:
        """Note that a copy is no longer in flight."""
        self._in_flight[route] -= 1
        self._calls.discard(call)


def _unwanted(asked: RequestState, shadow: Shadow) -> Missed | None:
    """Return why a sampled request must not be copied, or None."""
    if not isinstance(asked.payload, ParsedPayload):
        return "too_large"
    if asked.request.headers.get(_OPT_OUT, b"0").strip() not in (b"0", b"false"):
        return "opt_out"
    if shadow.tiers and asked.principal.tier not in shadow.tiers:
        return "tier"
    if asked.is_mixed:
        return "mixed_run"
    return None if _may_copy(asked) else "access"


def _may_copy(asked: RequestState) -> bool:
    """Return whether a shadow may send a request to the policy's other model.

    On a gated route a rule must grant that model to the caller. The rule's evidence is what shadows are there
    to gather, and its login is for whoever reads the answer, which is the team. A request that was not sent
    to the picked model has no pair.
    """
    admission, gate = asked.admission, None if asked.permit is None else asked.permit.gate
    if admission is None or gate is None or asked.route is None or asked.choice is None:
        return True
    other = asked.route.other(asked.choice)
    if asked.reason == "access" or other is None:
        return False
    return gate.decide(asked.principal, admission.programme, other.offer, asked.at).is_granted


def _digest(*names: str) -> str:
    """Return a digest of a conversation's names, which may identify a person: route, key, name and more."""
    return blake2b("\0".join(names).encode(errors="replace"), digest_size=16).hexdigest()
