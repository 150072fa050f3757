"""Stores the usage of budgets and rate limits, shared by all brokers of this database.

A broker (one on each machine) leases parts of a limit's window and lends them to its workers. The sum of
`spent` and `leased` of a window never exceeds its cap, except for amounts that a provider bills beyond a
reservation. Amounts are whole numbers. Dollars are in billionths.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, and_, delete, func, select, text, update

from crossgrade.store import _tables as t
from crossgrade.store._database import Database, open_database
from crossgrade.store._records import utc_now

_KEY = ("scope", "name", "unit", "window_s", "begins")
_TRIES = 4
_FREED = ""
"""The time of a broker whose leases were freed because it was silent."""


class LimitWindow(NamedTuple):
    """One limit of a key, team or route in one window of `window_s` seconds (0: no window).

    `begins` is the start of the window in Unix seconds, 0 without a window.
    """

    scope: str
    name: str
    unit: str
    window_s: int
    begins: int


class Loan(NamedTuple):
    """The amount that a broker got of a window, 0 if too little is left, and the amount spent before."""

    amount: int
    spent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPosition:
    """The position up to which a broker's request records are counted: a file name and a byte offset.

    `at` is when the broker came so far (RFC 3339). No two settlements of a broker have the same.
    """

    segment: str = ""
    position: int = 0
    at: str = ""


class Budgets:
    """The windows of limits in a database, and the brokers' leases of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url_or_path: str | Path) -> Self:
        """Open the database like `Store.open`, without the imports that only runs need."""
        return cls(open_database(url_or_path)[0])

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def checkpoint(self, broker: str) -> CountedPosition | None:
        """Return the checkpoint of a broker, or None for an unknown broker."""
        with self._database.reading() as connection:
            row = connection.execute(select(t.keepers).where(t.keepers.c.id == broker)).first()
        return None if row is None else _checkpoint(row)

    def leases(self, broker: str) -> dict[LimitWindow, int]:
        """Return the lease of a broker in each window."""
        query = select(t.limit_leases).where(t.limit_leases.c.keeper == broker)
        with self._database.reading() as connection:
            return {_window(row): row.leased for row in connection.execute(query)}

    def spent(self, windows: Iterable[LimitWindow]) -> dict[LimitWindow, int]:
        """Return the amount spent of each window; a window without a record is left out."""
        with self._database.reading() as connection:
            rows = {window: connection.execute(_READ_WINDOW, window._asdict()).first() for window in windows}
        return {window: row.spent for window, row in rows.items() if row is not None}

    def lend(self, broker: str, window: LimitWindow, *, cap: int, need: int, share: float = 1.0) -> Loan:
        """Lease a `share` of what is left of a window to a broker, but at least `need`.

        The amount is 0 if less than `need` is left. `spent + leased` does not exceed `cap`, even if many
        brokers ask at once.
        """
        key = window._asdict()
        with self._database.writing() as connection:
            connection.execute(_MAKE_WINDOW, key)
            for _ in range(_TRIES):
                spent, leased = connection.execute(_READ_WINDOW, key).one()
                free = cap - spent - leased
                if free < need:
                    break
                amount = max(need, int(free * share))
                taken = connection.execute(_TAKE, {**key, "amount": amount, "cap": cap})
                if taken.rowcount == 1:
                    connection.execute(_GROW_LEASE, {**key, "keeper": broker, "grown": amount})
                    return Loan(amount, spent)
        return Loan(0, spent)

    def settle(
        self,
        broker: str,
        changes: Mapping[LimitWindow, tuple[int, int]],
        since: CountedPosition,
        until: CountedPosition,
    ) -> bool:
        """Commit amounts spent, changes of leases and the checkpoint `until` in one transaction.

        `changes` has, for each window, the amount spent since the checkpoint `since` and the growth of the
        broker's lease. Returns True if the broker is at `until`, even if an earlier call committed that. A
        call that got no answer can so be repeated. Returns False and commits nothing if the broker is at
        another checkpoint or unknown, or if its leases were freed because it was silent.
        """
        rows = [
            {**window._asdict(), "keeper": broker, "more": spent, "grown": grown}
            for window, (spent, grown) in changes.items()
        ]
        with self._database.writing() as connection:
            if not _move(connection, broker, since, until):
                return _is_counted(connection, broker, since, until)
            if rows:
                connection.execute(_MAKE_WINDOW, rows)
                connection.execute(_SETTLE, rows)
                connection.execute(_GROW_LEASE, rows)
        return True

    def join(self, broker: str, checkpoint: CountedPosition) -> CountedPosition:
        """Register a broker, or mark it alive again. A known broker keeps its position.

        Returns the broker's checkpoint. Settlements from before that arrive late are not committed any more.
        """
        mine = t.keepers.c.id == broker
        with self._database.writing() as connection:
            connection.execute(_MAKE_BROKER, {"id": broker, **asdict(checkpoint)})
            connection.execute(update(t.keepers).where(mine).values(at=utc_now().isoformat()))
            return _checkpoint(connection.execute(select(t.keepers).where(mine)).one())

    def reclaim(self, *, silent_since: datetime) -> list[str]:
        """Free the leases of brokers that have not settled since a time, and return their ids."""
        k = t.keepers.c
        dead = select(k.id).where(k.at < silent_since.isoformat(), k.at != _FREED)
        with self._database.writing() as connection:
            names = list(connection.execute(dead.with_for_update()).scalars())
            for name in names:
                rows = connection.execute(select(t.limit_leases).where(t.limit_leases.c.keeper == name))
                freed = [{**_window(row)._asdict(), "more": 0, "grown": -row.leased} for row in rows]
                if freed:
                    connection.execute(_SETTLE, freed)
                connection.execute(delete(t.limit_leases).where(t.limit_leases.c.keeper == name))
                connection.execute(update(t.keepers).where(k.id == name).values(at=_FREED))
        return names

    def windows(self, *, now: float) -> list[tuple[LimitWindow, int, int]]:
        """Return the windows that are open at `now` (Unix seconds), with the amounts spent and leased."""
        w = t.limit_windows.c
        query = select(t.limit_windows).where((w.window_s == 0) | (w.begins + w.window_s > int(now)))
        with self._database.reading() as connection:
            return [(_window(row), row.spent, row.leased) for row in connection.execute(query)]

    def brokers(self) -> int:
        """Return how many brokers are active: they have settled, and their leases were not freed since."""
        query = select(func.count()).select_from(t.keepers).where(t.keepers.c.at != _FREED)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def forget(self, broker: str, *, before: float) -> None:  # noqa: ARG002  # it is not asked for each broker
        """Delete windows that ended before a time (Unix seconds), and every broker's leases of them."""
        with self._database.writing() as connection:
            for table in (t.limit_windows, t.limit_leases):
                ended = and_(table.c.window_s > 0, table.c.begins + table.c.window_s < int(before))
                connection.execute(delete(table).where(ended))


def _move(connection: Connection, broker: str, since: CountedPosition, until: CountedPosition) -> bool:
    """Move a broker from one checkpoint to another. Return False if it is not at the first."""
    k = t.keepers.c
    mine = update(t.keepers).where(k.id == broker, k.at == since.at, k.at != _FREED)
    return connection.execute(mine.values(**asdict(until))).rowcount == 1


def _is_counted(connection: Connection, broker: str, since: CountedPosition, until: CountedPosition) -> bool:
    """Return whether a broker is at `until` already, also if its leases were freed since."""
    row = connection.execute(select(t.keepers).where(t.keepers.c.id == broker)).first()
    if row is None or row.at != _FREED:
        return row is not None and row.at == until.at
    return _place(until) == _place(_checkpoint(row)) != _place(since)


def _checkpoint(row: Any) -> CountedPosition:
    return CountedPosition(segment=row.segment, position=row.position, at=row.at)


def _place(checkpoint: CountedPosition) -> tuple[str, int]:
    return checkpoint.segment, checkpoint.position


def _window(row: Any) -> LimitWindow:
    return LimitWindow(row.scope, row.name, row.unit, row.window_s, row.begins)


_COLUMNS = ", ".join(_KEY)
_VALUES = ", ".join(f":{name}" for name in _KEY)
_SAME = " AND ".join(f"{name} = :{name}" for name in _KEY)
# Plain SQL, the same on SQLite and PostgreSQL: these run once a second for every limit in use.
_MAKE_WINDOW = text(
    f"INSERT INTO limit_windows ({_COLUMNS}, spent, leased) VALUES ({_VALUES}, 0, 0) ON CONFLICT DO NOTHING"  # noqa: S608 -- constants above
)
_MAKE_BROKER = text(
    "INSERT INTO keepers (id, segment, position, at) VALUES (:id, :segment, :position, :at) "
    "ON CONFLICT DO NOTHING"
)
_READ_WINDOW = text(f"SELECT spent, leased FROM limit_windows WHERE {_SAME}")  # noqa: S608 -- as above
_TAKE = text(
    f"UPDATE limit_windows SET leased = leased + :amount WHERE {_SAME}"  # noqa: S608 -- as above
    " AND spent + leased + :amount <= :cap"
)
_SETTLE = text(
    f"UPDATE limit_windows SET spent = spent + :more, leased = leased + :grown WHERE {_SAME}"  # noqa: S608 -- as above
)
_GROW_LEASE = text(
    f"INSERT INTO limit_leases (keeper, {_COLUMNS}, leased) VALUES (:keeper, {_VALUES}, :grown)"  # noqa: S608 -- as above
    f" ON CONFLICT (keeper, {_COLUMNS}) DO UPDATE SET leased = limit_leases.leased + :grown"
)
