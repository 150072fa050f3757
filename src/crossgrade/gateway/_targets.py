"""Targets and the attempts at them: connections, breaker, prices, and which target is tried next."""

import asyncio
import random
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from crossgrade.dialects import DIALECTS, HOSTS, Host, hosts_at, secret_of
from crossgrade.domain import RouteSpec
from crossgrade.errors import (
    AuthError,
    BadRequestError,
    ConfigError,
    ContentFilteredError,
    ContextTooLongError,
    ProviderError,
    RateLimitedError,
)
from crossgrade.gateway._problems import Problem
from crossgrade.gateway._sweeper import Sweeper
from crossgrade.gateway._upstream import Address, Pool, read_url
from crossgrade.gateway.settings import Target
from crossgrade.pricing import Prices

FAILURES_TO_OPEN = 5
_OPEN_S = 5.0
_MOST_OPEN_S = 60.0
MOST_COOLING_S = 30.0


class Breaker:
    """Stops calls to a target after several failures in a row, then lets single calls through as probes.

    A target that asked to slow down is *cooling*: other targets are tried first, but it stays available.
    A probe without an outcome for `timeout_s` counts as abandoned.
    """

    __slots__ = (
        "_cooling_until",
        "_failures",
        "_open_s",
        "_open_until",
        "_probe_until",
        "_timeout_s",
        "is_quiet",
    )

    def __init__(self, timeout_s: float = 60.0) -> None:
        self.is_quiet = True
        """Whether nothing needs to be checked before a call."""

        self._failures = 0
        self._open_s = _OPEN_S
        self._open_until = 0.0
        self._cooling_until = 0.0
        self._timeout_s = timeout_s
        self._probe_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the target counts as failing."""
        return self._failures >= FAILURES_TO_OPEN

    def admits(self, now: float) -> bool:
        """Return whether a call may be sent now: to a failing target, one at a time after each pause."""
        if self._failures < FAILURES_TO_OPEN:
            return True
        return now >= self._open_until and now >= self._probe_until

    def sent(self, now: float) -> bool:
        """Note a call; return whether it is the probe of a failing target."""
        if self._failures < FAILURES_TO_OPEN:
            return False
        self._probe_until = now + self._timeout_s
        return True

    def is_cooling(self, now: float) -> bool:
        """Return whether the target asked to slow down and that time is not over."""
        if now >= self._cooling_until:
            self._cooling_until = 0.0
        return self._cooling_until > 0.0

    def retry_after_s(self, now: float) -> float:
        """Return in how many seconds another call can help."""
        return max(self._open_until - now, 1.0)

    def succeeded(self) -> None:
        """Note an answer. It does not end a cooling time that began after its call was sent."""
        if not self.is_quiet:
            self.is_quiet = not self._cooling_until
            self._failures = 0
            self._open_s = _OPEN_S
            self._probe_until = 0.0

    def abandoned(self) -> None:
        """Note that the probe is over, if only because its call ended without an outcome."""
        self._probe_until = 0.0

    def failed(self, now: float) -> None:
        """Note a failure of the target itself."""
        self.is_quiet = False
        self._failures += 1
        self._probe_until = 0.0
        if self._failures >= FAILURES_TO_OPEN:
            self._open_until = now + self._open_s
            self._open_s = min(2 * self._open_s, _MOST_OPEN_S)

    def slow_down(self, now: float, wait_s: float | None) -> None:
        """Note that the target asked to slow down, for `wait_s` seconds if it said so."""
        self.is_quiet = False
        self._cooling_until = now + min(1.0 if wait_s is None else wait_s, MOST_COOLING_S)


UNLEARNED_TOKENS = 32_768
"""The output tokens reserved from budgets, at first, for a request that does not bound its answer."""

_AGENT = "crossgrade"
_SHADOW_CONNECTIONS = 16


class TargetState:
    """One target of this worker. No two have the same name. `key` must never reach a client.

    `offer` is the name that policies use: the target's own, or that of the model that it is a replica of.
    `key` is None if there is no key, or one too short to be a secret. `forbidden` are fields that a request
    in the target's own API may not have, and as `tools.TYPE` its tools, in whose types `tool_marks` are.
    `ignored` are those fields that should have bounded an answer and did not.
    """

    def __init__(
        self, target: Target, pool: Pool, shadow_pool: Pool, *, address: Address, key: str | None
    ) -> None:
        self.target = target
        self.name = target.name
        self.offer = target.replica_of or target.name
        self.pool = pool
        self.shadow_pool = shadow_pool
        self.breaker = Breaker(target.timeout_s)
        self.prices = Prices(target.price)
        self.ignored: frozenset[str] = frozenset()
        self.unlearned = min(UNLEARNED_TOKENS, target.context_tokens or UNLEARNED_TOKENS)
        self.dialect = DIALECTS.named(target.dialect)
        self.model_json = msgspec.json.encode(target.model)
        self.host = _host(target)
        self.is_local = target.provider == "local"
        self.header = f"x-crossgrade-target: {target.name}\r\n".encode()
        self.key = secret_of(key)
        self.forbidden = _choosing(target, address) - frozenset(target.caller_fields)
        tools = sorted(name for name in self.forbidden if name.startswith("tools."))
        self.tool_marks = tuple(name.removeprefix("tools.").encode() for name in tools)
        self.refuses_fields = len(tools) < len(self.forbidden)
        self._path = address.path
        self._lines = _header_lines(target, address, key)
        self._heads: dict[str, bytes] = {}

    def request_head(self, path: str, length: int, extra: bytes = b"") -> bytes:
        """Return the head of a POST to one of the target's paths; `extra` are additional header lines."""
        start = self._heads.get(path)
        if start is None:
            start = f"POST {self._path}{path} HTTP/1.1\r\n{self._lines}content-length: ".encode("latin-1")
            self._heads[path] = start
        return b"%b%d\r\n%b\r\n" % (start, length, extra)

    def close(self) -> None:
        """Close all connections."""
        self.pool.close()
        self.shadow_pool.close()


def open_targets(
    targets: Iterable[Target],
    environ: Mapping[str, str],
    loop: asyncio.AbstractEventLoop,
    sweeper: Sweeper,
    *,
    tls: ssl.SSLContext | None = None,
) -> dict[str, TargetState]:
    """Return every target by name, with its key from the environment.

    Only the dialects of these targets are imported. Raises ConfigError if that fails.
    """
    states = {}
    for target in targets:
        address = read_url(target.base_url)
        if tls is None and address.is_tls:
            tls = ssl.create_default_context()
        pools = [
            Pool(
                loop,
                sweeper,
                address,
                name=target.name,
                timeout_s=target.timeout_s,
                max_connections=most,
                tls=tls,
            )
            for most in (target.max_connections, _SHADOW_CONNECTIONS)
        ]
        key = environ.get(target.key_env) if target.key_env else None
        states[target.name] = TargetState(target, *pools, address=address, key=key)
    return states


def _host(target: Target) -> Host:
    """Return the host table's row for the target, which says how its requests are written."""
    row = HOSTS.get(target.provider) or Host(name=target.provider)
    return replace(
        row,
        dialect=target.dialect,
        max_tokens_field=target.max_tokens_field,
        stream_usage=target.stream_usage,
    )


def _choosing(target: Target, address: Address) -> frozenset[str]:
    """Return the fields that choose at the target's provider, and at the host that its address names."""
    row = HOSTS.get(target.provider)
    rows = (*(() if row is None else (row,)), *hosts_at(address.host))
    return frozenset(field for each in rows for field in each.choosing_fields)


def _header_lines(target: Target, address: Address, key: str | None) -> str:
    headers = {
        "host": address.authority,
        "user-agent": _AGENT,
        "content-type": "application/json",
        "accept-encoding": "identity",
    }
    headers |= {name.lower(): value for name, value in target.headers}
    if key:
        headers[target.key_header.lower()] = target.key_prefix + key
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if lines.count("\n") != len(headers) or "\r" in lines.replace("\r\n", "") or not lines.isascii():
        raise ConfigError(
            f"a header of target `{target.name}` has a character that no header may have",
            code="header-invalid",
            hint=f"look at {target.key_env or 'its headers'}",
        )
    return lines


_FIRST_PAUSE_S = 0.2


class Attempts:
    """The attempts at one request: the first of `targets`, then the others, then the last one again.

    `count` is the number of calls so far, `is_probe` says that the last one is the probe of a failing target.
    `size` is that of the body in bytes.
    """

    __slots__ = ("_size", "_spec", "_targets", "_tried", "count", "is_probe")

    def __init__(self, spec: RouteSpec, targets: tuple[TargetState, ...], size: int) -> None:
        self._spec = spec
        self._targets = targets
        self._size = size
        self._tried: tuple[TargetState, ...] = ()
        self.count = 0
        self.is_probe = False

    def next(self, now: float) -> TargetState | None:
        """Take the next target that accepts the request and may be called now; None if there is none.

        A cooling target comes after the others. Once all were tried, the last one is tried again.
        """
        first = self._targets[0]
        if not self._tried and first.breaker.is_quiet and not self._spec.max_body_bytes:
            self._tried = (first,)
            self.count = 1
            return first
        return self._search(now)

    def _search(self, now: float) -> TargetState | None:
        found = None
        for target in self._targets:
            if target in self._tried or not self._may_ask(target, now):
                continue
            if not target.breaker.is_cooling(now):
                found = target
                break
            found = found or target
        if found is None and self._tried and self._tried[-1].breaker.admits(now):
            found = self._tried[-1]
        if found is not None:
            self._tried += (found,)
            self.count += 1
            self.is_probe = found.breaker.sent(now)
        return found

    def failed(self, error: ProviderError, now: float, *, answered: bool, by_body: bool) -> None:
        """Note that the last call failed, as `note_failure` says. It is no probe any more."""
        note_failure(self._tried[-1].breaker, error, now, answered=answered, by_body=by_body)
        self.abandoned()

    def abandoned(self) -> None:
        """Let another call be the probe, if the last one was it: it is over, whatever became of it."""
        if self.is_probe:
            self.is_probe = False
            self._tried[-1].breaker.abandoned()

    @property
    def are_left(self) -> bool:
        """Whether another call is allowed."""
        return self.count < self._spec.attempts

    def not_called(self, now: float) -> bool:
        """Take back an attempt whose target cannot carry the request; return whether another one may."""
        self.count -= 1
        self._leave_offer()
        return self._others(now)

    def _leave_offer(self) -> None:
        """Count all replicas of the last target as tried: they are the same model."""
        offer = self._tried[-1].offer
        self._tried = (*(each for each in self._targets if each.offer == offer), *self._tried)

    def _others(self, now: float) -> bool:
        return any(target not in self._tried and self._may_ask(target, now) for target in self._targets)

    def pause_s(self, error: ProviderError, now: float) -> float | None:
        """Return the seconds to wait before another attempt, None if there should be none."""
        if not self.are_left:
            return None
        if isinstance(error, ContextTooLongError):
            self._leave_offer()
        if self._others(now):
            return 0.0 if may_try_another(error) else None
        if not error.retryable or not self._tried[-1].breaker.admits(now):
            return None
        asked = error.retry_after_s if isinstance(error, RateLimitedError) else None
        if asked is not None and asked > MOST_COOLING_S / 10:
            return None
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  # not a secret
        return max(_FIRST_PAUSE_S * (1 << self.count - 1) * jitter, asked or 0.0)

    def unavailable(self, now: float) -> Problem:
        """Return what a client is told if no target may be called."""
        if not any(self._fits(target) for target in self._targets):
            message = "The request is larger than any target of this route takes."
            return Problem(status=413, code="context_length_exceeded", message=message)
        wait = min(target.breaker.retry_after_s(now) for target in self._targets)
        message = "No target of this route can be asked at the moment: the last calls to each failed."
        return Problem(status=503, code="upstream_unavailable", message=message, retry_after_s=wait)

    def _may_ask(self, target: TargetState, now: float) -> bool:
        return target.breaker.admits(now) and self._fits(target)

    def _fits(self, target: TargetState) -> bool:
        most = self._spec.max_body_bytes
        return not most or self._size <= most.get(target.offer, self._size)


_RETRY_SHARE = 0.2
_RETRIES_AT_START = 10.0
_MOST_RETRIES = 100.0


class RetryBudget:
    """Allows a fifth as many retries as there are requests, so that retries cannot make an outage worse.

    Each route has its own.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _RETRIES_AT_START

    def earn(self) -> None:
        """Note a request."""
        if self._left < _MOST_RETRIES:
            self._left += _RETRY_SHARE

    def spend(self) -> bool:
        """Take one retry; return whether there was one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


def may_try_another(error: ProviderError) -> bool:
    """Return whether another target may succeed where this one failed.

    It may if the request is valid but exceeds what this target can do: its API cannot carry it, or its model
    cannot read it. Such an error has no status of the 4xx range.
    """
    if isinstance(error, BadRequestError):
        return error.status is None or error.status >= 500
    return error.retryable or isinstance(error, AuthError | ContextTooLongError)


_NEVER_SENT = frozenset({"connections-busy", "connections-busy-timeout"})


def note_failure(
    breaker: Breaker, error: ProviderError, now: float, *, answered: bool = False, by_body: bool = False
) -> None:
    """Record a failure with the target's breaker. To refuse a request is not a failure of the target.

    A 400 or 403 that mentions keys or credit says nothing about the target. It may quote the request, whose
    words must not close the target for everyone else. Nor must what a model answers to one caller: `answered`
    says that the target sent an answer, though one that cannot be used. `by_body` says that the request's own
    body may be the reason: its client was late with it, or the target did not read all of it.
    """
    if isinstance(error, RateLimitedError):
        breaker.slow_down(now, error.retry_after_s)
        return
    if by_body or error.code in _NEVER_SENT or (isinstance(error, AuthError) and error.status in (400, 403)):
        return
    if answered or isinstance(error, BadRequestError | ContextTooLongError | ContentFilteredError):
        breaker.succeeded()
    else:
        breaker.failed(now)
