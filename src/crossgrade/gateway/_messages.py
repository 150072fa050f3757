"""The messages between workers and the broker: one JSON object per line over a Unix socket.

A `Flush` is followed by `size` bytes: the lines of its request records, which the broker appends to its file
unchanged. Amounts of limits are integers: dollars count in billionths, so that sums are exact.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from crossgrade.domain import DialectName, LimitScope, LimitUnit
from crossgrade.telemetry import Delta

NANO = 1_000_000_000
"""Billionths in a dollar."""

Reason = Literal[
    "policy",
    "keep",
    "expired",
    "canary",
    "held",
    "fallback",
    "access",
    "unknown_fact",
    "too_long",
    "not_plain",
    "not_carried",
    "run",
    "run_unknown",
    "region",
    "terms",
    "direct",
    "shadow",
    "none",
]
"""Why a request went to its target; `none` if it went to no target."""

CostOrigin = Literal["usage", "estimate", "unknown"]
"""Where a cost comes from: the provider's usage, an estimate of it, or neither."""


class RequestRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One request as the gateway served it, without its content: a line of the request log.

    `at` is when its head had arrived, in seconds since 1970. `error` is an error code of ours or the
    provider's status. Tokens and `cost_usd` are None if unknown, never zero. Of several attempts, `cost_usd`
    is that of all which were answered, and target, model and tokens are those of the last. `added_ms` is the
    time that the gateway itself took. `response_id` is the `id` in the answer's body. `side`, `verdict_id`
    and `probability` (with which `side` was picked) tie feedback to a certificate. `shadow` marks the copy
    that a shadow sent, which is part of no `run`: the run of an agent that the request named. `mixed` says
    that more than one model may have answered this run by then.
    """

    id: str
    at: float
    worker: int
    key: str = ""
    team: str = ""
    route: str = ""
    target: str = ""
    model: str = ""
    operation: str = "chat"
    client_flavour: str = ""
    policy_version: int = 0
    table_digest: str = ""
    reason: Reason = "none"
    status: int = 0
    error: str | None = None
    stream: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    cost_usd: float | None = None
    cost_origin: CostOrigin = "unknown"
    latency_ms: float | None = None
    ttft_ms: float | None = None
    added_ms: float | None = None
    attempts: int = 0
    body_bytes: int = 0
    segment: str | None = None
    shadow: bool = False
    response_id: str | None = None
    verdict_id: str | None = None
    side: Literal["incumbent", "candidate"] | None = None
    probability: float | None = None
    run: str | None = None
    mixed: bool = False
    prompt: str | None = None


class ShadowAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One model's side of a shadow pair: the answer's bytes as its provider sent them.

    `model` is the policy's name for it, `target` the offer, `dialect` the provider's API. With `stream`,
    `body` holds all events. `error` says why there is no usable `body`. A `response_id` of None is looked up
    in the body.
    """

    model: str
    target: str
    dialect: DialectName
    body: bytes = b""
    stream: bool = False
    response_id: str | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    error: str | None = None


class ShadowPair(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A live request that both models of a route answered; the broker redacts it before it stores it.

    `request` is the body as the client sent it to `endpoint` (`/v1/chat/completions`). With `store_text`
    false only measurements are stored, without texts. `conversation` is a digest of the client's name for it,
    on a growing route of what is drawn together. `run` is the id of a run as `run_digest` makes it, `score`
    the router's. `missed` is the code of the reason why a drawn request has no two answers; it has no texts
    then.
    """

    route: str
    request_id: str
    at: float
    endpoint: str
    request: bytes
    served_by: Literal["incumbent", "candidate"]
    incumbent: ShadowAnswer
    candidate: ShadowAnswer
    segment: str | None = None
    verdict_id: str | None = None
    probability: float = 1.0
    conversation: str | None = None
    score: float | None = None
    missed: str | None = None
    run: str | None = None
    store_text: bool = True


ADMIN = "admin"
"""The key that feedback has which came through the admin API."""

DENIED = "denied"
"""The `Done.error` of feedback on another caller's response."""

TOO_LARGE = "too large"
"""The `Done.error` of a conversation that is longer than a body may be."""

UNKNOWN_RESPONSE = "unknown"
"""The `Done.error` of feedback on a response that the request log does not have."""


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Feedback on one response: a `value` in [0, 1] under a `name`.

    `response_id` may be our request id. `key` and `team` are the reporter's.
    """

    response_id: str
    name: str
    value: float
    at: float
    key: str = ""
    team: str = ""


class LeaseId(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One limit of one key, team or route in one window; `window` is when that began, 0 for `parallel`."""

    scope: LimitScope
    match: str
    unit: LimitUnit
    window_s: int
    window: int


class Spend(msgspec.Struct, array_like=True, gc=False):
    """What a worker did with a lease since its last report.

    `spent` was used. The lease shrank by `shrunk`, which differs if some was handed back or more was used
    than reserved. `reserved` is in flight now.
    """

    lease: LeaseId
    spent: int
    shrunk: int
    reserved: int


class Held(msgspec.Struct, array_like=True, gc=False):
    """A lease that a worker has when it meets a new broker.

    the unspent amount, and how much of it is in flight.
    """

    lease: LeaseId
    cap: int
    amount: int
    reserved: int


# From worker to broker.


class Hello(msgspec.Struct, tag="hello"):
    """The first line of a connection; `life` is new at every start of a worker."""

    worker: int
    life: str
    pid: int


class Resume(msgspec.Struct, tag="resume"):
    """Sent after `Welcome`: the leases that this worker holds. Flushes that were not written follow."""

    held: list[Held]


class Flush(msgspec.Struct, tag="flush", omit_defaults=True):
    """Records (in the `size` bytes that follow), spends and metrics; acknowledged once they are written.

    `recalled` are the leases that the worker was asked to give back and has given back.
    """

    seq: int
    size: int = 0
    records: int = 0
    spends: list[Spend] = []
    recalled: list[LeaseId] = []
    metrics: list[Delta] = []


class Ask(msgspec.Struct, tag="ask"):
    """Ask for at least `need` of a limit whose cap is `cap`; answered by `Grant` or `Deny`.

    `alone` asks for it only if no other worker has anything in flight.
    """

    lease: LeaseId
    cap: int
    need: int
    alone: bool = False


class Keep(msgspec.Struct, tag="keep"):
    """Commit a shadow pair; answered by `Done`."""

    number: int
    id: str
    pair: ShadowPair


class Report(msgspec.Struct, tag="report"):
    """Commit feedback; answered by `Done`."""

    number: int
    outcome: Outcome


class Scrape(msgspec.Struct, tag="scrape"):
    """Ask for the metrics of all workers; answered by `Done` with the text."""

    number: int


class Fetch(msgspec.Struct, tag="fetch"):
    """Ask for an issuer's keys to be fetched again; answered by `Done`, whatever the result."""

    number: int
    issuer: str


class Remember(msgspec.Struct, tag="remember"):
    """Keep a translated response for later requests of its caller: its own input, and its output by id.

    `previous` is the response that it followed. Answered by `Done`.
    """

    number: int
    tenant: str
    id: str
    previous: str | None
    input: msgspec.Raw
    output: list[tuple[str, msgspec.Raw]]


class Find(msgspec.Struct, tag="find"):
    """Ask for a kept response with all before it, and for items; answered by `Done` with a `Found`."""

    number: int
    tenant: str
    previous: str | None
    items: list[str]


class Found(msgspec.Struct):
    """The items of a conversation up to a response (None if it is unknown), and those asked for by id."""

    input: list[msgspec.Raw] | None = None
    items: dict[str, msgspec.Raw] = {}


InscribedKind = Literal["request", "completion", "access", "dropped"]
"""What an entry that a worker has appended says: that a request is sent, how one ended, that one was refused,
or how many entries were dropped."""

RULES = "rules-"
"""How the id of an `access` entry begins that has the rules in force. Their digest follows."""


class Inscribe(msgspec.Struct, tag="inscribe", omit_defaults=True):
    """Append an entry to the ledger; answered by `Done`.

    `kind` and `id` identify it: an entry that is sent twice is appended once. One that has the rules in force
    is appended again if others were in force meanwhile. `secret` is kept beside it, encrypted with the key of
    `subject`. An entry that `is_awaited` is given up if it cannot be appended now, and `Done` has the error.
    Any other is tried again until it is appended.
    """

    number: int
    kind: InscribedKind
    id: str
    detail: dict[str, Any]
    subject: str | None = None
    secret: bytes | None = None
    is_awaited: bool = False


class FirstPick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was picked for the first request of a run, and stays picked for the others.

    `offer` answers the run, and is the candidate's if it was `moved`. The reason, the probability and the
    certificate are those of that request, and so are the facts that a policy picks by.
    """

    offer: str
    moved: bool = False
    reason: Reason = "run_unknown"
    probability: float = 1.0
    verdict_id: str | None = None
    segment: str | None = None
    modality: str | None = None
    score: float | None = None


class KnownRun(msgspec.Struct, omit_defaults=True):
    """A run of an agent.

    `is_mixed` says that more than one model may have answered it, `is_down` that it began with the candidate
    and is the incumbent's since.
    """

    id: str
    first: FirstPick
    is_mixed: bool = False
    is_down: bool = False


def run_digest(route: str, key: str, run: str) -> str:
    """Return the id of a caller's run on a route, as the broker and the store know it."""
    return blake2b("\0".join((route, key, run)).encode(errors="replace"), digest_size=16).hexdigest()


class BeginRun(msgspec.Struct, tag="begin_run"):
    """Ask how a run on a route began. If the broker does not know it, it remembers it as it is given here.

    Answered by `Done` with a `KnownRun`.
    """

    number: int
    route: str
    run: KnownRun


class MixRun(msgspec.Struct, tag="mix_run", omit_defaults=True):
    """Remember that a run is mixed, or also that it stepped down; answered by `Done`.

    The broker sends it on to all workers.
    """

    number: int
    id: str
    is_down: bool = False


class Survey(msgspec.Struct, tag="survey"):
    """Ask for the state of workers and limits; answered by `Done` with JSON."""

    number: int


class Collected(msgspec.Struct, tag="collected"):
    """The answer to `Collect`, after the flush."""

    number: int


# From broker to worker.


class Welcome(msgspec.Struct, tag="welcome"):
    """The answer to `Hello`: the last flush of this life that was written, 0 for none.

    Leases that stay unused for `idle_s` seconds must be handed back.
    """

    seq: int
    idle_s: float


class Ack(msgspec.Struct, tag="ack"):
    """Flushes up to this one are written."""

    seq: int


class Grant(msgspec.Struct, tag="grant"):
    """The worker may use `amount` more; `alone` if it asked whether any other has something in flight."""

    lease: LeaseId
    amount: int
    alone: bool = False


class Deny(msgspec.Struct, tag="deny"):
    """There is not enough for `need`; `unavailable` if the database does not answer."""

    lease: LeaseId
    need: int
    retry_after_s: float
    unavailable: bool = False


class Recall(msgspec.Struct, tag="recall"):
    """Give back at once what is not in flight, with a flush."""

    lease: LeaseId


class Collect(msgspec.Struct, tag="collect"):
    """Flush at once: the record of a response is looked for. Answered by `Collected`."""

    number: int


class Done(msgspec.Struct, tag="done", omit_defaults=True):
    """The answer to a numbered message; `error` is None if it is committed."""

    number: int
    text: str = ""
    error: str | None = None


FromWorker: TypeAlias = (
    Hello
    | Resume
    | Flush
    | Ask
    | Keep
    | Report
    | Scrape
    | Survey
    | Fetch
    | Collected
    | Remember
    | Find
    | Inscribe
    | BeginRun
    | MixRun
)
FromBroker: TypeAlias = Welcome | Ack | Grant | Deny | Recall | Collect | Done | MixRun


_LONGEST_BYTES = 107
"""The longest address of a Unix socket on Linux, see unix(7)."""

_DESCRIPTORS = "/proc/self/fd"


@contextmanager
def socket_address(path: str) -> Iterator[str]:
    """Yield an address of the Unix socket at a path, of at most 107 bytes if Linux can help.

    A longer path is reached through a descriptor of its folder, which is open during the context. Raises
    OSError if the folder cannot be opened.
    """
    if len(os.fsencode(path)) <= _LONGEST_BYTES or not Path(_DESCRIPTORS).is_dir():
        yield path
        return
    folder, name = os.path.split(path)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_DESCRIPTORS}/{held}/{name}"
    finally:
        os.close(held)
