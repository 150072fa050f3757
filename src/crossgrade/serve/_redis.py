"""Limits counted in Redis or a compatible server, by the same rules as `store.Budgets`, as scripts.

A script runs alone, so that reading, comparing with the cap and adding are one step. What Redis loses when it
restarts (without `appendonly yes`) is not counted. Keys keep the word keeper, as brokers were called before.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from crossgrade.domain import REDIS_URL_ENV
from crossgrade.errors import MissingExtraError, StoreError, UsageError
from crossgrade.store import CountedPosition, LimitWindow, Loan, utc_now

if TYPE_CHECKING:
    from redis import Redis

_PATIENCE_S = 2.0
_KEPT_S = 40 * 86_400
_PREFIX = "{crossgrade}:"  # the braces keep all keys on one node of a cluster
_BROKERS = _PREFIX + "keepers"

_LEND = """
local spent = tonumber(redis.call('HGET', KEYS[1], 'spent') or 0)
local leased = tonumber(redis.call('HGET', KEYS[1], 'leased') or 0)
local cap, need = tonumber(ARGV[1]), tonumber(ARGV[2])
local free = cap - spent - leased
if free < need then return {0, spent} end
local amount = math.max(need, math.floor(free * tonumber(ARGV[3])))
redis.call('HINCRBY', KEYS[1], 'leased', string.format('%.0f', amount))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('HINCRBY', KEYS[2], ARGV[5], string.format('%.0f', amount))
return {amount, spent}
"""
_SETTLE = """
local known = redis.call('HMGET', KEYS[1], 'at', 'freed')
if known[1] ~= ARGV[1] or known[2] ~= '0' then return known[1] == ARGV[4] and 1 or 0 end
redis.call('HSET', KEYS[1], 'segment', ARGV[2], 'position', ARGV[3], 'at', ARGV[4])
for i = 3, #KEYS do
  local at = 4 + (i - 3) * 4
  redis.call('HINCRBY', KEYS[i], 'spent', ARGV[at + 1])
  redis.call('HINCRBY', KEYS[i], 'leased', ARGV[at + 2])
  redis.call('EXPIRE', KEYS[i], ARGV[at + 3])
  redis.call('HINCRBY', KEYS[2], ARGV[at + 4], ARGV[at + 2])
end
return 1
"""
_RECLAIM = """
if redis.call('HGET', KEYS[1], 'freed') ~= '0' then return 0 end
if redis.call('HGET', KEYS[1], 'at') >= ARGV[1] then return 0 end
local leases = redis.call('HGETALL', KEYS[2])
for i = 1, #leases, 2 do
  local window = ARGV[2] .. leases[i]
  local freed = string.format('%.0f', -tonumber(leases[i + 1]))
  if redis.call('EXISTS', window) == 1 then redis.call('HINCRBY', window, 'leased', freed) end
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'freed', '1')
redis.call('SREM', KEYS[3], ARGV[3])
return 1
"""
_SILENT = """
local found = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local known = redis.call('HMGET', ARGV[2] .. name, 'at', 'freed')
  if known[1] and known[2] == '0' then
    if known[1] < ARGV[1] then found[#found + 1] = name end
  else
    redis.call('SREM', KEYS[1], name)
  end
end
return found
"""


def redis_client(url: str) -> "Redis":
    """Create a client, which connects at its first command.

    Raises MissingExtraError without the `redis` extra, UsageError if the URL cannot be parsed.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"counting limits in Redis ({REDIS_URL_ENV})", "redis") from error
    try:
        return redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=_PATIENCE_S,
            socket_connect_timeout=_PATIENCE_S,
            retry=Retry(NoBackoff(), 0),  # a loan that is asked for twice is lent twice
        )
    except ValueError:
        # The text may hold a password, so the message does not repeat it.
        raise UsageError(
            f"{REDIS_URL_ENV} cannot be read",
            code="redis-url-invalid",
            hint="write it as redis://HOST:PORT/0",
        ) from None


class RedisCounters:
    """The windows of limits in Redis, and the leases that brokers have of them."""

    def __init__(self, client: "Redis") -> None:
        self._redis: Any = client
        self._lend = client.register_script(_LEND)
        self._settle = client.register_script(_SETTLE)
        self._reclaim = client.register_script(_RECLAIM)
        self._silent = client.register_script(_SILENT)

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect to `redis://…`, `rediss://…` or `unix://…`; raises StoreError if there is no answer."""
        client = redis_client(url)
        counters = cls(client)
        with _plainly():
            client.ping()
        return counters

    def close(self) -> None:
        """Disconnect."""
        self._redis.close()

    def checkpoint(self, broker: str) -> CountedPosition | None:
        """Return how far a broker has counted, None if the broker is unknown."""
        with _plainly():
            row = self._redis.hgetall(_broker(broker))
        if not row:
            return None
        return CountedPosition(segment=row["segment"], position=int(row["position"]), at=row["at"])

    def leases(self, broker: str) -> dict[LimitWindow, int]:
        """Return what a broker has of each window."""
        with _plainly():
            rows = self._redis.hgetall(_leases(broker))
        return {_window(name): int(amount) for name, amount in rows.items() if int(amount)}

    def spent(self, windows: Iterable[LimitWindow]) -> dict[LimitWindow, int]:
        """Return what is spent of windows."""
        with _plainly():
            return {
                window: int(self._redis.hget(_PREFIX + _name(window), "spent") or 0) for window in windows
            }

    def lend(self, broker: str, window: LimitWindow, *, cap: int, need: int, share: float = 1.0) -> Loan:
        """Lease at least `need` of a window to a broker, if possible a `share` of what is left."""
        name = _name(window)
        arguments: list[str | int | float] = [cap, need, share, _kept_s(window), name]
        with _plainly():
            amount, spent = self._lend(keys=[_PREFIX + name, _leases(broker)], args=arguments)
        return Loan(int(amount), int(spent))

    def settle(
        self,
        broker: str,
        changes: Mapping[LimitWindow, tuple[int, int]],
        since: CountedPosition,
        until: CountedPosition,
    ) -> bool:
        """Commit spends and growths of leases at once; return whether the broker is at `until`."""
        keys = [_broker(broker), _leases(broker)]
        arguments: list[str | int] = [since.at, until.segment, until.position, until.at]
        for window, (spent, grown) in changes.items():
            keys.append(_PREFIX + _name(window))
            arguments += [spent, grown, _kept_s(window), _name(window)]
        with _plainly():
            return bool(self._settle(keys=keys, args=arguments))

    def join(self, broker: str, checkpoint: CountedPosition) -> CountedPosition:
        """Register a broker, or mark it as active again; return its checkpoint. A known one keeps it."""
        key, now = _broker(broker), utc_now().isoformat()
        with _plainly(), self._redis.pipeline() as batch:
            batch.hsetnx(key, "segment", checkpoint.segment)
            batch.hsetnx(key, "position", checkpoint.position)
            batch.hset(key, mapping={"at": now, "freed": "0"})
            batch.sadd(_BROKERS, broker)
            batch.hmget(key, "segment", "position")
            segment, position = batch.execute()[-1]
        return CountedPosition(segment=segment, position=int(position), at=now)

    def reclaim(self, *, silent_since: datetime) -> list[str]:
        """Free the leases of brokers that have not settled since a time; return those brokers."""
        since = silent_since.isoformat()
        with _plainly():
            names = sorted(self._silent(keys=[_BROKERS], args=[since, _broker("")]))
            return [
                name
                for name in names
                if self._reclaim(keys=[_broker(name), _leases(name), _BROKERS], args=[since, _PREFIX, name])
            ]

    def brokers(self) -> int:
        """Return how many brokers are active: they have settled, and their leases were not freed since."""
        with _plainly():
            return int(self._redis.scard(_BROKERS))

    def forget(self, broker: str, *, before: float) -> None:
        """Erase a broker's leases of windows that ended before a time; the windows themselves expire."""
        with _plainly():
            names = [name for name in self._redis.hkeys(_leases(broker)) if _ended(name, before)]
            if names:
                self._redis.hdel(_leases(broker), *names)


@contextmanager
def _plainly() -> Iterator[None]:
    from redis import RedisError

    try:
        yield
    except RedisError as error:
        raise StoreError(
            f"the Redis of {REDIS_URL_ENV} does not answer as it should ({type(error).__name__})",
            code="redis-unavailable",
            hint="check that it runs and that this machine reaches it",
        ) from error


def _broker(name: str) -> str:
    return f"{_PREFIX}keeper:{name}"


def _leases(name: str) -> str:
    return f"{_PREFIX}leases:{name}"


def _name(window: LimitWindow) -> str:
    return "|".join((window.scope, window.unit, str(window.window_s), str(window.begins), window.name))


def _window(name: str) -> LimitWindow:
    scope, unit, window_s, begins, key = name.split("|", 4)
    return LimitWindow(scope, key, unit, int(window_s), int(begins))


def _kept_s(window: LimitWindow) -> int:
    return window.window_s + _KEPT_S


def _ended(name: str, before: float) -> bool:
    window = _window(name)
    return window.window_s > 0 and window.begins + window.window_s < before
