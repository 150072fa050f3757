"""Tells machines that share a database when another one has changed keys or published a route table.

PostgreSQL notifies those who listen. Where it cannot, as behind a pooler that lends connections by the
transaction, whoever wants to know has to look often.
"""

import select as waiting
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from sqlalchemy import Connection, func, select, text

from crossgrade.store import _tables as t
from crossgrade.store._database import CHANNEL, Database, announce, open_database
from crossgrade.store._dossiers import DossierRecords
from crossgrade.store._keys import Keys
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._routes import Routes, SharedRoutes

if TYPE_CHECKING:
    from psycopg import Notify

_PROOF_S = 1.0
"""How long the first notification, which is sent to prove that there are any, may take."""


class Stamps(NamedTuple):
    """How far the shared tables are.

    A change of a key changes `keys`, a published table `routes`, and a new dossier `dossiers`.
    `keys` has the number of events beside the newest one's: events can be committed in another order than
    that of their numbers.
    """

    keys: tuple[int, int]
    routes: int
    dossiers: int


class Changes(Database):
    """One machine's view of what all machines publish; not for several threads at once.

    `keys`, `routes` and `dossiers` write the machine's own files from the database. They read by the
    connection that listens, the only one that is kept: a thousand machines that are told of a change would
    otherwise connect all at once.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        super().__init__(database.engine, database.place)
        self._connection: Connection | None = None
        self._driver: Any = None
        self._heard: set[str] = set()
        self._is_told = False
        self.keys = Keys(self, folder)
        self.dossiers = DossierRecords(self, folder)
        ledger = LedgerLog(self, folder)
        self.routes = Routes(folder, ledger, SharedRoutes(self, ledger))

    @classmethod
    def open(cls, url_or_path: str | Path, folder: Path) -> Self:
        """Open the database like `Store.open`, without the imports that only runs need."""
        return cls(open_database(url_or_path)[0], folder)

    @property
    def is_told(self) -> bool:
        """Whether notifications were seen to arrive on the present connection."""
        return self._is_told

    def fileno(self) -> int | None:
        """Return the socket that becomes readable when there is news, None if nothing will be told."""
        return int(self._driver.fileno()) if self._is_told else None

    def look(self) -> tuple[Stamps, bool]:
        """Return how far the tables are, and whether more has happened meanwhile, so that one looks again.

        Connects and listens first if need be. Raises StoreError if the database does not answer; the next
        call then connects again.
        """
        with self.reading() as connection:
            self._heard.clear()
            row = connection.execute(_LOOK).one()
            self._take_news()
            stamps = Stamps((row.events, row.newest or 0), row.version or 0, row.dossiers)
            return stamps, bool(self._heard)

    def close(self) -> None:
        """Disconnect."""
        self._drop()
        super().close()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield the connection that listens, made now if need be. Raises `StoreError` as `Database` does."""
        try:
            with self.plainly():
                if self._connection is None:
                    connection = self.engine.connect()
                    self._connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                    self._listen(self._connection)
                    self.engine.dispose()  # of the connection that told
                yield self._connection
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._driver, self._is_told = None, False
        if connection is not None:
            with suppress(Exception):  # it may be broken, which is why it goes
                connection.invalidate()
                connection.close()

    def _listen(self, connection: Connection) -> None:
        """Listen, and prove it: another connection sends a notification while this one is idle."""
        if connection.dialect.name != "postgresql":
            return
        self._driver = connection.connection.driver_connection
        self._driver.add_notify_handler(self._hear)
        connection.execute(text(f"LISTEN {CHANNEL}"))
        proof = uuid.uuid4().hex
        with self.writing() as other:
            announce(other, proof)
        while proof not in self._heard:
            if not waiting.select([self._driver], [], [], _PROOF_S)[0]:
                return
            self._take_news()
        self._is_told = True

    def _hear(self, notify: "Notify") -> None:
        self._heard.add(notify.payload)

    def _take_news(self) -> None:
        """Take the notifications that have arrived but came with no answer."""
        if self._driver is None:
            return
        from psycopg import Error

        try:
            self._driver.pgconn.consume_input()
            while (notify := self._driver.pgconn.notifies()) is not None:
                self._heard.add(notify.extra.decode())
        except Error as error:
            raise self.explained(error) from error


_LOOK = select(
    select(func.count()).select_from(t.key_events).scalar_subquery().label("events"),
    select(func.max(t.key_events.c.id)).scalar_subquery().label("newest"),
    select(func.max(t.route_tables.c.version)).scalar_subquery().label("version"),
    select(func.count()).select_from(t.dossiers).scalar_subquery().label("dossiers"),
)
