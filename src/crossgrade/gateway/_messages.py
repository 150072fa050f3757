"""What workers and the broker say to each other: one JSON object a line over a Unix socket.

A `Flush` is followed by `size` bytes: the lines of its request records, which the broker
appends to its file as they are. Amounts of limits are whole numbers: dollars count in
billionths, so that sums are exact.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

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
    "fallback",
    "unknown_fact",
    "too_long",
    "region",
    "direct",
    "shadow",
    "none",
]
"""Why a request went to its target; `none`: it went nowhere."""

CostOrigin = Literal["usage", "estimate", "unknown"]
"""Where a cost comes from: the provider's usage, an estimate of it, or it is not known."""


class RequestRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One request as the gateway served it, without its content: a line of the request log.

    `at` is when its head had come, in seconds since 1970. `error` is an error code of ours or the
    provider's status. Tokens and `cost_usd` are None where unknown, never zero. `added_ms` is the
    time that the gateway itself took. `response_id` is the `id` in the answer's body; `side`,
    `verdict_id` and `probability` (with which `side` was picked) tie feedback to a certificate.
    `shadow` marks the copy that a shadow sent.
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
    prompt: str | None = None


class ShadowAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One model's side of a shadow pair: the answer's bytes as its provider sent them.

    `model` is the policy's name for it, `target` the offer, `dialect` the provider's API. A
    `stream` holds all its events. `error` says why there is no usable `body`. `response_id` is
    found in the body where it is not given.
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
    """A live request that both models of a route answered; the broker redacts before it stores.

    `request` is the body as the client sent it to `endpoint` (`/v1/chat/completions`). With
    `store_text` false only what is measured is stored, without texts. `conversation` is a digest of
    the client's name for it.
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
    store_text: bool = True


ADMIN = "admin"
"""Stands for a key in feedback that came through the admin API."""

DENIED = "denied"
"""What `Done` says of feedback on a response of somebody else."""


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Feedback on one response: `value` in [0, 1] under a `name`; `response_id` may be our request id.

    `key` and `team` are the reporter's.
    """

    response_id: str
    name: str
    value: float
    at: float
    key: str = ""
    team: str = ""


class LeaseId(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One limit for one key, team or route in one window; `window` is when that began, 0 for `parallel`."""

    scope: LimitScope
    match: str
    unit: LimitUnit
    window_s: int
    window: int


class Spend(msgspec.Struct, array_like=True, gc=False):
    """What a worker did with a lease since it last said so.

    `spent` was used up; the lease shrank by `shrunk`, which differs from it where some was handed
    back or where more was used than had been reserved. `reserved` is in flight right now.
    """

    lease: LeaseId
    spent: int
    shrunk: int
    reserved: int


class Held(msgspec.Struct, array_like=True, gc=False):
    """A lease that a worker has when it meets a new broker: unspent amount and, of it, in flight."""

    lease: LeaseId
    cap: int
    amount: int
    reserved: int


# From worker to broker.


class Hello(msgspec.Struct, tag="hello"):
    """The first line of a connection; `life` is fresh with every start of a worker."""

    worker: int
    life: str
    pid: int


class Resume(msgspec.Struct, tag="resume"):
    """After `Welcome`: the leases that this worker holds; flushes that were not written follow."""

    held: list[Held]


class Flush(msgspec.Struct, tag="flush", omit_defaults=True):
    """Records (in the `size` bytes that follow), spends and metrics; acknowledged once they are written.

    `recalled` are the leases that the worker was asked to give back and now has.
    """

    seq: int
    size: int = 0
    records: int = 0
    spends: list[Spend] = []
    recalled: list[LeaseId] = []
    metrics: list[Delta] = []


class Ask(msgspec.Struct, tag="ask"):
    """Ask for at least `need` of a limit whose cap is `cap`; answered by `Grant` or `Deny`."""

    lease: LeaseId
    cap: int
    need: int


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
    """Ask for an issuer's keys to be fetched again; answered by `Done`, whether that brought any or not."""

    number: int
    issuer: str


class Survey(msgspec.Struct, tag="survey"):
    """Ask how workers and limits stand; answered by `Done` with JSON."""

    number: int


# From broker to worker.


class Welcome(msgspec.Struct, tag="welcome"):
    """The answer to `Hello`: the last flush of this life that was written, 0 for none.

    Leases that stay unused for `idle_s` are to be handed back.
    """

    seq: int
    idle_s: float


class Ack(msgspec.Struct, tag="ack"):
    """Flushes up to this one are written."""

    seq: int


class Grant(msgspec.Struct, tag="grant"):
    """The worker may use `amount` more."""

    lease: LeaseId
    amount: int


class Deny(msgspec.Struct, tag="deny"):
    """There is not enough for `need`; `unavailable` when that is not known (no database)."""

    lease: LeaseId
    need: int
    retry_after_s: float
    unavailable: bool = False


class Recall(msgspec.Struct, tag="recall"):
    """Give back what is not in flight, in the next flush and at once."""

    lease: LeaseId


class Done(msgspec.Struct, tag="done", omit_defaults=True):
    """The answer to a numbered message: `error` None means it is committed."""

    number: int
    text: str = ""
    error: str | None = None


FromWorker: TypeAlias = Hello | Resume | Flush | Ask | Keep | Report | Scrape | Survey | Fetch
FromBroker: TypeAlias = Welcome | Ack | Grant | Deny | Recall | Done


_LONGEST_BYTES = 107
"""What an address of a Unix socket may have on Linux, see unix(7)."""

_DESCRIPTORS = "/proc/self/fd"


@contextmanager
def socket_address(path: str) -> Iterator[str]:
    """Yield an address of the Unix socket at a path, of at most 107 bytes where Linux can help.

    A longer path is reached through a descriptor of its folder, open as long as the context.
    Raises OSError when the folder cannot be opened.
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
