"""What one worker hands over for the ledger: the rules in force, entries about requests, how many it dropped.

The broker appends them. Entries that are not appended yet are kept, within a bound, and sent again to a new
broker.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from crossgrade.domain import LedgerSpec
from crossgrade.gateway._broker import BrokerLink, OnDone
from crossgrade.gateway._messages import RULES, Done, Inscribe, InscribedKind
from crossgrade.gateway._metrics import Metrics
from crossgrade.gateway._problems import Problem
from crossgrade.gateway._settle import RequestState
from crossgrade.identity import AccessDecision, RulesInForce

MOST_TEXT_BYTES = 1 << 20
"""The longest text that is kept beside its entry."""

MOST_REFUSALS = 200
"""The refused requests that a worker enters per second. A flood of them must not displace other entries."""

MOST_STRANGERS = 20
"""The same for requests of callers who are not known, which anybody can send."""

MOST_RULES_BYTES = 60_000
"""The longest text of the rules, as JSON has it, that fits into an entry."""

WARN_EVERY_S = 60.0
_TELL_S = 1.0
_LONGEST = 200
"""What a client or a provider wrote is cut to so many characters."""

_LONGEST_MESSAGE = 1_000


class Inscriber:
    """Hands over the entries of one worker.

    `broker` takes them. Of texts of up to `most_text` bytes the text itself is kept as well, encrypted.
    `rules` are what decides on requests, None if nothing does. `log` writes a line of the log.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        broker: BrokerLink,
        metrics: Metrics,
        worker: int,
        spec: LedgerSpec,
        rules: RulesInForce | None,
        log: Callable[..., None],
    ) -> None:
        self.loop = loop
        self.broker = broker
        self.most_text = MOST_TEXT_BYTES if spec.keep_texts else 0
        self._metrics = metrics
        self._worker = worker
        self._rules = rules
        self.rules_digest = None if rules is None else rules.digest
        self._life = os.urandom(6).hex()
        self._dropped: Counter[tuple[str, InscribedKind]] = Counter()
        self._since = ""
        self._told = 0
        self._telling: asyncio.TimerHandle | None = None
        self._refusals: dict[int, tuple[int, int]] = {}
        self._log = log
        self._unavailable = 0
        self._warning: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Enter the rules in force, before any request. The broker knows whether the ledger has them."""
        if self._rules is None:
            return
        text, name = self._rules.text, f"{RULES}{self.rules_digest}"
        detail: dict[str, Any] = {"event": "rules", "id": name, "rules_digest": self.rules_digest}
        is_long = len(msgspec.json.encode(text)) > MOST_RULES_BYTES
        detail |= {"rules_bytes": len(text.encode())} if is_long else {"rules": text}
        self.broker.inscribe(partial(Inscribe, kind="access", id=name, detail=detail), _ignored)

    def enter(
        self,
        kind: InscribedKind,
        asked: RequestState,
        detail: dict[str, Any],
        secret: bytes | None = None,
        on_done: OnDone | None = None,
    ) -> bool:
        """Hand over an entry about a request; return False, and count it as dropped, if there is no room.

        With `on_done` the entry is awaited: if it cannot be appended, that is told and it is given up.
        """
        assert asked.route is not None
        subject = None if secret is None else asked.principal.id
        return self._hand_over(
            asked.route.name, kind, asked.id, detail, subject=subject, secret=secret, on_done=on_done
        )

    def _hand_over(
        self,
        route: str,
        kind: InscribedKind,
        name: str,
        detail: dict[str, Any],
        *,
        subject: str | None = None,
        secret: bytes | None = None,
        on_done: OnDone | None = None,
    ) -> bool:
        message = partial(
            Inscribe,
            kind=kind,
            id=name,
            detail={name: value for name, value in detail.items() if value is not None},
            subject=subject,
            secret=secret,
            is_awaited=on_done is not None,
        )
        has_room = self.broker.inscribe(message, on_done or _ignored)
        if not has_room:
            self._drop(route, kind)
        return has_room

    def refused(self, asked: RequestState, problem: Problem) -> None:
        """Enter that a caller may not use a route or is over a limit, if the route's requests are entered."""
        route = asked.route
        if route is None or route.ledger == "off" or not self._has_room(route.name, asked.at, MOST_REFUSALS):
            return
        decided = {} if asked.admission is None else asked.admission.decisions
        models = {"models": _refused_models(decided) or None, "rules_digest": self.rules_digest}
        self.enter("access", asked, request_facts(asked) | _refusal(problem) | models)

    def refused_stranger(
        self, request_id: str, at: float, route: str | None, operation: str, problem: Problem
    ) -> None:
        """Enter that a caller who is not known, or is suspended, was refused.

        `route` is that of the request's path, None if the path has none: the body is not read then.
        """
        if self._has_room(route or "", at, MOST_STRANGERS):
            detail = {"request": request_id, "arrived": moment(at), "route": route, "operation": operation}
            self._hand_over(route or "", "access", request_id, detail | _refusal(problem))

    def _has_room(self, route: str, at: float, most: int) -> bool:
        """Return whether one more refusal is entered in this second; count it as dropped if not."""
        second, count = self._refusals.get(most, (0, 0))
        now = int(at)
        count = count + 1 if second == now else 1
        self._refusals[most] = (now, count)
        if count > most:
            self._drop(route, "access")
        return count <= most

    def unavailable(self) -> None:
        """Count a request that was refused for want of its entry. The log says so once a minute."""
        self._unavailable += 1
        if self._warning is None:
            self._warn()

    def _warn(self) -> None:
        self._warning = None
        if self._unavailable:
            self._log(
                "ledger_unavailable",
                level="warning",
                requests=self._unavailable,
                hint="they got 503, because the ledger took no entry in time; other lines say why",
            )
            self._unavailable = 0
            self._warning = self.loop.call_later(WARN_EVERY_S, self._warn)

    def stop(self) -> None:
        """Say what was dropped and refused: nothing more will be entered."""
        if self._warning is not None:
            self._warning.cancel()
            self._warn()
            if self._warning is not None:
                self._warning.cancel()
        if self._telling is not None:
            self._telling.cancel()
            self._tell(is_last=True)

    def _drop(self, route: str, kind: InscribedKind) -> None:
        self._metrics.add("crossgrade.gateway.dropped", "entry")
        if not self._dropped:
            self._since = moment(datetime.now(UTC).timestamp())
        self._dropped[route, kind] += 1
        if self._telling is None:
            self._telling = self.loop.call_later(_TELL_S, self._tell)

    def _tell(self, *, is_last: bool = False) -> None:
        """Enter how many entries were dropped, once there is room for that."""
        name = f"{self._life}-{self._told}"
        detail: dict[str, Any] = {
            "id": name,
            "worker": self._worker,
            "since": self._since,
            "until": moment(datetime.now(UTC).timestamp()),
            "entries": [
                {"route": route, "kind": kind, "count": count}
                for (route, kind), count in sorted(self._dropped.items())
            ],
        }
        message = partial(Inscribe, kind="dropped", id=name, detail=detail)
        self._telling = None
        if self.broker.inscribe(message, _ignored):
            self._told += 1
            self._dropped.clear()
        elif not is_last:
            self._telling = self.loop.call_later(_TELL_S, self._tell)


def request_facts(asked: RequestState) -> dict[str, Any]:
    """Return what an entry says of a request before it is sent: whose it is, and what it asks for."""
    principal, payload, route, admission = asked.principal, asked.payload, asked.route, asked.admission
    assert payload is not None
    assert route is not None
    logged_in = principal.auth_time
    return {
        "request": asked.id,
        "arrived": moment(asked.at),
        "principal": principal.id,
        "issuer": principal.issuer or None,
        "acr": cut(principal.acr),
        "auth_time": None if logged_in is None else moment(logged_in),
        "team": principal.team or None,
        "tier": principal.tier or None,
        "route": route.name,
        "workload": route.spec.workload,
        "operation": asked.endpoint.name,
        "model": cut(payload.fields.model),
        "programme": None if admission is None else cut(admission.programme),
    }


def _refusal(problem: Problem) -> dict[str, Any]:
    """Return what an entry says of a refusal: by a limit, for want of a login, or for good."""
    return {
        "decision": {401: "login", 429: "limit"}.get(problem.status, "deny"),
        "status": problem.status,
        "code": problem.code,
        "message": problem.message[:_LONGEST_MESSAGE],
    }


def _refused_models(decisions: Mapping[str, AccessDecision]) -> list[dict[str, Any]]:
    """Return what was decided on each model: the rule that refuses it or the nearest one, and what lacks."""
    found = []
    for offer, each in decisions.items():
        rule, lack = each.rule, each.lack
        facts = {
            "model": offer,
            "code": each.code,
            "rule": None if rule is None else rule.name,
            "nearest_rule": lack.rule.name if rule is None and lack is not None else None,
            "lacks": None if lack is None else lack.what,
        }
        found.append({name: value for name, value in facts.items() if value is not None})
    return found


def rule_of(asked: RequestState) -> str | None:
    """Return the name of the access rule that allows a request's target; None on a route without rules."""
    decision = _decision(asked)
    return None if decision is None or decision.rule is None else decision.rule.name


def dossier_of(asked: RequestState) -> str | None:
    """Return the digest of the dossier behind a request's target; None if no rule asks for one."""
    decision = _decision(asked)
    return None if decision is None or decision.dossier is None else decision.dossier.digest


def _decision(asked: RequestState) -> AccessDecision | None:
    """Return what the access rules decided on a request's target; None on a route without rules."""
    if asked.admission is None or asked.target is None:
        return None
    return asked.admission.decisions.get(asked.target.offer)


def moment(at: float) -> str:
    """Return a time in seconds since 1970 as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cut(text: str | None) -> str | None:
    """Return at most 200 characters of what a client or a provider wrote; None if it is empty."""
    return text[:_LONGEST] if text else None


def _ignored(done: Done | None) -> None:
    """Do nothing: what could not be appended is counted by the broker."""
