"""What was spent of budgets and rates, shared by every broker that uses this database.

A broker (one a machine) takes leases out of a limit's window and lends them on to its workers.
`spent` and `leased` of a window never exceed its cap together, but for what a provider bills
beyond a reservation. Amounts are whole numbers: dollars count in billionths.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, and_, delete, select, text, update

from crossgrade.store import _tables as t
from crossgrade.store._database import Database, connect, migrate
from crossgrade.store._records import utc_now

_KEY = ("scope", "name", "unit", "window_s", "begins")
_TRIES = 4
_FREED = ""
"""Stands for the time of a broker whose leases were freed because it was silent."""


class LimitWindow(NamedTuple):
    """One limit of one key, team or route in one window, which begins at `begins` (0: it has none)."""

    scope: str
    name: str
    unit: str
    window_s: int
    begins: int


class Loan(NamedTuple):
    """What a broker got of a window, 0 where there is not enough, and what was spent of it before."""

    amount: int
    spent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The position up to which a broker's request records are counted: a file name and an offset."""

    segment: str = ""
    position: int = 0


class Budgets:
    """The windows of limits in a database, and the leases that brokers have of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url_or_path: str | Path) -> Self:
        """Open the database as `Store.open` does, without importing what only runs need."""
        database, _ = connect(url_or_path)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def checkpoint(self, broker: str) -> Checkpoint | None:
        """Return the checkpoint of a broker, or None if the broker is not known (any more)."""
        with self._database.reading() as connection:
            row = connection.execute(select(t.keepers).where(t.keepers.c.id == broker)).first()
        return None if row is None else Checkpoint(segment=row.segment, position=row.position)

    def leases(self, broker: str) -> dict[LimitWindow, int]:
        """Return the lease of a broker in each window."""
        query = select(t.limit_leases).where(t.limit_leases.c.keeper == broker)
        with self._database.reading() as connection:
            return {_window(row): row.leased for row in connection.execute(query)}

    def spent(self, windows: Iterable[LimitWindow]) -> dict[LimitWindow, int]:
        """Return what is spent of windows."""
        with self._database.reading() as connection:
            rows = {window: connection.execute(_READ_WINDOW, window._asdict()).first() for window in windows}
        return {window: row.spent for window, row in rows.items() if row is not None}

    def lend(self, broker: str, window: LimitWindow, *, cap: int, need: int, share: float = 1.0) -> Loan:
        """Lease at least `need` of a window to a broker, if possible a `share` of what is left.

        `spent + leased` does not exceed `cap` by it, however many brokers ask at once.
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
        self, broker: str, changes: Mapping[LimitWindow, tuple[int, int]], checkpoint: Checkpoint
    ) -> bool:
        """Commit, in one transaction, what was spent, how leases changed, and how far that counts.

        `changes` has for each window what was spent since the last time, and by how much the
        broker's lease grew. Returns False, with nothing committed, when the broker is not known
        (any more): others thought it dead and freed its leases.
        """
        rows = [
            {**window._asdict(), "keeper": broker, "more": spent, "grown": grown}
            for window, (spent, grown) in changes.items()
        ]
        with self._database.writing() as connection:
            if not _move(connection, broker, checkpoint):
                return False
            if rows:
                connection.execute(_MAKE_WINDOW, rows)
                connection.execute(_SETTLE, rows)
                connection.execute(_GROW_LEASE, rows)
        return True

    def join(self, broker: str, checkpoint: Checkpoint) -> None:
        """Register a broker, or mark it alive again. A known broker keeps its checkpoint."""
        with self._database.writing() as connection:
            connection.execute(_MAKE_BROKER, {"id": broker, **_checkpoint_row(checkpoint)})
            connection.execute(update(t.keepers).where(t.keepers.c.id == broker).values(at=_now()))

    def reclaim(self, *, silent_since: datetime) -> list[str]:
        """Free the leases of brokers that have not settled since a time; returns those brokers."""
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
        """Return the windows that are open at `now`, each with what is spent and leased of it."""
        w = t.limit_windows.c
        query = select(t.limit_windows).where((w.window_s == 0) | (w.begins + w.window_s > int(now)))
        with self._database.reading() as connection:
            return [(_window(row), row.spent, row.leased) for row in connection.execute(query)]

    def forget(self, *, before: float) -> None:
        """Erase windows, and leases of windows, that ended before a time."""
        with self._database.writing() as connection:
            for table in (t.limit_windows, t.limit_leases):
                ended = and_(table.c.window_s > 0, table.c.begins + table.c.window_s < int(before))
                connection.execute(delete(table).where(ended))


def _move(connection: Connection, broker: str, checkpoint: Checkpoint) -> bool:
    """Set a broker's checkpoint; False when it is not known, or its leases were freed."""
    k = t.keepers.c
    mine = update(t.keepers).where(k.id == broker, k.at != _FREED)
    return connection.execute(mine.values(**_checkpoint_row(checkpoint))).rowcount == 1


def _checkpoint_row(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"segment": checkpoint.segment, "position": checkpoint.position, "at": _now()}


def _now() -> str:
    return utc_now().isoformat()


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
