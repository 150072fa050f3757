"""The two entries of one request in the ledger: `request` before it is sent, `completion` when it has ended.

On a route that requires entries, a request is sent only once its first entry is durable. On one that queues
them nothing waits. An entry says of the body and of the answer how long they are, and commits to each.
"""

import os
from asyncio import TimerHandle
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

import msgspec

from crossgrade.gateway._answers import Pieces
from crossgrade.gateway._inscribing import Inscriber, cut, dossier_of, moment, request_facts, rule_of
from crossgrade.gateway._limits import WAIT_S
from crossgrade.gateway._messages import Done, RequestRecord
from crossgrade.gateway._payload import ParsedPayload
from crossgrade.gateway._problems import Problem
from crossgrade.gateway._settle import RequestState

SALT_BYTES = 16
_TURN_BYTES = 1 << 20
"""The bytes that are hashed before other connections get their turn."""

_UNAVAILABLE = Problem(
    status=503,
    message="This route answers no request that is not in the ledger, which takes no entry now. Try again.",
    code="ledger_unavailable",
    retry_after_s=1.0,
)


class TextCommitment:
    """The SHA-256 of a random salt and a text that comes in pieces; the text is kept up to `most` bytes.

    With salt and text anyone can check which text it was. Without the salt no guess can be checked.
    """

    __slots__ = ("_digest", "_most", "_parts", "_salt", "size")

    def __init__(self, most: int) -> None:
        self._salt = os.urandom(SALT_BYTES)
        self._digest = sha256(self._salt)
        self._most = most
        self._parts: list[bytes] = []
        self.size = 0

    def take(self, data: bytes | memoryview) -> None:
        """Take the next piece of the text."""
        self._digest.update(data)
        self.size += len(data)
        if self.size <= self._most:
            self._parts.append(bytes(data))

    @property
    def mark(self) -> dict[str, Any]:
        """What the entry says of the text: its size in bytes, and the hash in hexadecimal."""
        return {"bytes": self.size, "commit": self._digest.hexdigest()}

    @property
    def secret(self) -> bytes:
        """What is kept beside the entry, as JSON: the salt in hexadecimal, the text if all of it is kept."""
        kept = {"salt": self._salt.hex()}
        if 0 < self.size <= self._most:
            with suppress(UnicodeDecodeError):
                kept["text"] = b"".join(self._parts).decode()
        return msgspec.json.encode(kept)


class Inscription:
    """Enters one request. It is sent, or refused, by the functions that `begin` gets."""

    def __init__(self, inscriber: Inscriber, asked: RequestState) -> None:
        assert asked.payload is not None
        assert asked.route is not None
        is_kept = isinstance(asked.payload, ParsedPayload)
        self._inscriber = inscriber
        self._asked = asked
        self._waits = asked.route.ledger == "require"
        self._body = TextCommitment(inscriber.most_text if is_kept else 0)
        self._pieces: Iterator[bytes | memoryview] = iter(asked.payload.pieces(asked.request))
        self._answer: TextCommitment | None = None
        self._is_entered = False
        self._is_known = True  # false while it is awaited whether the request is entered
        self._timer: TimerHandle | None = None
        self._last: dict[str, Any] | None = None

    @property
    def is_begun(self) -> bool:
        """Whether the request is entered, or will be, so that its end is entered too."""
        return self._is_entered or not self._is_known

    # Before the request is sent.

    def begin(self, go_on: Callable[[], None], refuse: Callable[[Problem], None]) -> None:
        """Enter the request, then go on; refuse it if the entry is required and is not made in time."""
        self._go_on, self._refuse = go_on, refuse
        self._commit()

    def _commit(self) -> None:
        """Hash the body, with pauses for other requests, and hand over the entry."""
        if self._asked.done:
            return
        hashed = 0
        for piece in self._pieces:
            self._body.take(piece)
            hashed += len(piece)
            if hashed >= _TURN_BYTES:
                self._inscriber.loop.call_soon(self._commit)
                return
        on_done = self._answered if self._waits else None
        self._is_entered = self._inscriber.enter(
            "request", self._asked, self._facts(), self._body.secret, on_done
        )
        if not self._waits:
            self._go_on()
        elif self._is_entered:
            self._is_known = False
            self._timer = self._inscriber.loop.call_later(WAIT_S, self._give_up)
        else:
            self._unavailable()

    def _facts(self) -> dict[str, Any]:
        """Return what is known before the request is sent, with the certificate that it is sent under."""
        asked = self._asked
        assert asked.route is not None
        assert asked.target is not None
        assert asked.permit is not None
        table_route = asked.route.table_route
        until = None if table_route is None else table_route.valid_until
        return request_facts(asked) | {
            "target": asked.target.name,
            "reason": asked.reason,
            "rule": rule_of(asked),
            "rules_digest": self._inscriber.rules_digest,
            "policy": asked.permit.blank.table_digest or None,
            "verdict": asked.route.verdict_id,
            "evidence": None if table_route is None else table_route.evidence_digest,
            "valid_until": None if until is None else moment(until.timestamp()),
            "dossier": dossier_of(asked),
            "body": self._body.mark,
        }

    def _answered(self, done: Done | None) -> None:
        """Note whether the request is entered; if it still waits, send or refuse it."""
        self._is_known = True
        self._is_entered = done is not None and done.error is None
        last, self._last = self._last, None
        if last is not None:
            self._complete(last)
        timer, self._timer = self._timer, None
        if timer is None:
            return
        timer.cancel()
        if self._asked.done:
            return
        if self._is_entered:
            self._go_on()
        else:
            self._unavailable()

    def _give_up(self) -> None:
        """Refuse a request that has waited too long. Its entry may still be made, and is then completed."""
        self._timer = None
        if not self._asked.done:
            self._unavailable()

    def _unavailable(self) -> None:
        self._inscriber.unavailable()
        self._refuse(_UNAVAILABLE)

    # The answer and the end.

    def passing(self, send: Pieces) -> Pieces:
        """Return what sends a piece of the answer, and commits to it."""
        answer = self._answer = TextCommitment(self._inscriber.most_text)

        def both(data: bytes) -> None:
            answer.take(data)
            send(data)

        return both

    def complete(self, record: RequestRecord, last: bytes, shadow: str | None) -> None:
        """Enter how the request ended. `last` is the answer, or what was sent last of it.

        `shadow` is the target that a copy of the request goes to, None if there is no copy.
        """
        if last:
            answer = self._answer = self._answer or TextCommitment(self._inscriber.most_text)
            answer.take(last)
        outcome = _outcome(record) | {"rule": rule_of(self._asked), "shadow": shadow}
        if self._is_known:
            self._complete(outcome)
        else:
            self._last = outcome

    def _complete(self, outcome: dict[str, Any]) -> None:
        answer = self._answer
        if not self._is_entered:
            return
        mark, secret = (None, None) if answer is None else (answer.mark, answer.secret)
        self._inscriber.enter("completion", self._asked, outcome | {"answer": mark}, secret)


_TOKENS = ("input", "output", "cache_read_input", "cache_creation_input", "reasoning_output")


def _outcome(record: RequestRecord) -> dict[str, Any]:
    """Return what an entry says of a request's end. It has no floats: cost is decimal text."""
    tokens = {name: getattr(record, f"{name}_tokens") for name in _TOKENS}
    usd = record.cost_usd
    return {
        "request": record.id,
        "target": record.target or None,
        "model": record.model or None,
        "reason": record.reason,
        "status": record.status,
        "error": cut(record.error),
        "attempts": record.attempts,
        "stream": record.stream,
        "tokens": {name: count for name, count in tokens.items() if count is not None} or None,
        "cost_usd": None if usd is None else _decimal(usd),
        "cost_origin": record.cost_origin,
        "latency_ms": None if record.latency_ms is None else round(record.latency_ms),
        "response": cut(record.response_id),
    }


def _decimal(usd: float) -> str:
    """Return dollars as decimal text, to the billionth."""
    return f"{usd:.9f}".rstrip("0").rstrip(".")
