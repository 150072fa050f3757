"""Opens the store: a project's database and its folder."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from crossgrade.errors import StoreError
from crossgrade.routing import RouteTable
from crossgrade.store._alarms import Alarms, FeedbackLog
from crossgrade.store._answers import Answers
from crossgrade.store._baselines import Baselines
from crossgrade.store._compatibility import Compatibility
from crossgrade.store._conformity import ConformRecords
from crossgrade.store._database import Database, open_database, process_lock
from crossgrade.store._dossiers import DossierRecords
from crossgrade.store._keys import Keys
from crossgrade.store._labels import LabelRecords
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._onboarding import Onboardings
from crossgrade.store._pairs import LivePairs
from crossgrade.store._raters import Raters
from crossgrade.store._routes import Routes, SharedRoutes, Step
from crossgrade.store._runs import Runs
from crossgrade.store._served_runs import ServedRuns
from crossgrade.store._tunings import Tunings
from crossgrade.store._verdicts import Verdicts

if TYPE_CHECKING:
    from crossgrade.store._erasure import Erased


class Store:
    """The runs, verdicts, live pairs, labels, alarms, keys, dossiers and route tables of a project.

    Open it with `Store.open`. Several threads may use it, and several processes may open the same one. Every
    method raises `StoreError` for an error of the database.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self.folder = folder
        self.ledger = LedgerLog(database, folder)
        self.runs = Runs(database, folder)
        self.answers = Answers(database)
        self.verdicts = Verdicts(database, self.ledger)
        is_shared = database.engine.dialect.name == "postgresql"
        shared = SharedRoutes(database, self.ledger) if is_shared else None
        self.routes = Routes(folder, self.ledger, shared)
        self.pairs = LivePairs(database)
        self.labels = LabelRecords(database)
        self.raters = Raters(database)
        self.feedback = FeedbackLog(database)
        self.served_runs = ServedRuns(database)
        self.alarms = Alarms(database, self.ledger)
        self.keys = Keys(database, folder)
        self.onboardings = Onboardings(database, self.ledger)
        self.baselines = Baselines(database, folder)
        self.compatibility = Compatibility(database)
        self.conformity = ConformRecords(database)
        self.dossiers = DossierRecords(database, folder)
        self.tunings = Tunings(database, folder)

    @classmethod
    def open(cls, url_or_path: str | Path, *, folder: Path | None = None) -> Self:
        """Open the database at a file path, `sqlite:///PATH` or `postgresql://…`, and migrate it.

        `folder` is for the route table and the locks. By default it is the folder of the SQLite file, or
        `.crossgrade` for PostgreSQL. Raises `StoreError` for a database that is locked, damaged, read-only,
        full or written by a newer Crossgrade, `UsageError` for an invalid URL, and `MissingExtraError` if the
        PostgreSQL driver is not installed.
        """
        database, url = open_database(url_or_path)
        if folder is None:
            is_file = url.get_backend_name() == "sqlite"
            folder = Path(url.database or "").parent if is_file else Path(".crossgrade")
        return cls(database, folder)

    def publish_route(
        self, table: RouteTable, expected_digest: str | None, *, step: Step = "up"
    ) -> RouteTable:
        """Activate a route table; see `Routes.publish`."""
        return self.routes.publish(table, expected_digest, step=step)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Lock the scoring of live pairs during a `with` block. Raises `StoreError` if it is locked."""
        with self._locked("watch") as free:
            if not free:
                raise StoreError(
                    "another process is watching this project",
                    code="watch-locked",
                    hint="wait for it to end, or stop it",
                )
            yield

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Lock the budget for tests of new offers during a `with` block. Raises `StoreError` if locked."""
        with self._locked("renew") as free:
            if not free:
                raise StoreError(
                    "another process is testing new offers for this project",
                    code="renew-locked",
                    hint="wait for it to end, or stop it",
                )
            yield

    def _locked(self, name: str) -> AbstractContextManager[bool]:
        return process_lock(self._database, name, self.folder / "locks" / f"{name}.lock")

    def forget(self, workload: str, samples: Collection[str], requests: Collection[str] = ()) -> "Erased":
        """Remove some samples of a workload, and the answers to `requests` (digests); see `erase_samples`."""
        from crossgrade.store._erasure import erase_samples

        return erase_samples(self._database, self.ledger, workload, samples, requests)

    def close(self) -> None:
        """Close the database. The store cannot be used afterwards."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
