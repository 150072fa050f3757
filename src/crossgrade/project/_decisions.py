"""Compares the decisions in the ledger with the project's own rows: verdicts, keys, the route table."""

from collections import deque
from collections.abc import Iterator

from crossgrade.ledger import DecidedInLog, KeyDecision, LogEntry, LogFinding
from crossgrade.routing import route_table_digest
from crossgrade.store import Store


class Decisions:
    """What the ledger says that was decided, beside what the project has."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logged = DecidedInLog()
        self._is_begun = False

    def seen(self, entry: LogEntry) -> None:
        """Note the next entry of the log."""
        self._is_begun = True
        self._logged.entry(entry)

    def compared(self) -> list[LogFinding]:
        """Return what the project's rows have otherwise, or lack.

        Every row has its entry from when the ledger began: with its first entry, or its first signature.
        """
        if not (self._is_begun or self._store.ledger.is_signed()):
            return []
        return [*self._compared_verdicts(), *self._compared_keys(), *self._compared_route()]

    def _compared_verdicts(self) -> Iterator[LogFinding]:
        left = dict(self._logged.verdicts)
        for name, facts in self._store.verdicts.documents():
            seq, expected = left.pop(name, (None, {}))
            if seq is None:
                yield _unrecorded(f"verdict {name}")
            elif any(facts.get(each) != value for each, value in expected.items()):
                yield LogFinding(
                    code="decision-differs", message=f"verdict {name} is not as it was recorded", seq=seq
                )
        for name, (seq, _) in left.items():
            yield LogFinding(code="decision-missing", message=f"verdict {name} is gone", seq=seq)

    def _compared_keys(self) -> Iterator[LogFinding]:
        """Compare the events of each key or caller with its entries, in their order."""
        left = {name: deque(events) for name, events in self._logged.keys.items()}
        for name, kind, digest in self._store.keys.documents():
            expected = left.get(name, deque())
            event = (kind, digest)
            if any(each == event for _, each in expected):
                while expected[0][1] != event:
                    yield _missing(name, *expected.popleft())
                expected.popleft()
            else:
                yield _unrecorded(f"the event `{kind}` of {name}")
        for name, events in left.items():
            yield from (_missing(name, *each) for each in events)
        if not self._store.keys.is_published():
            yield LogFinding(code="keys-differ", message="`keys.json` does not have the keys of the database")

    def _compared_route(self) -> Iterator[LogFinding]:
        seq, digest = self._logged.route or (None, None)
        table = self._store.routes.current()
        active = None if table is None else route_table_digest(table)
        if active != digest:
            message = f"the active route table is {active}, and the newest that was recorded {digest}"
            yield LogFinding(code="route-differs", message=message, seq=seq)


def _unrecorded(what: str) -> LogFinding:
    return LogFinding(code="decision-unrecorded", message=f"{what} has no entry in the ledger")


def _missing(name: str, seq: int, event: KeyDecision) -> LogFinding:
    message = f"the event `{event[0]}` of {name} is gone, or comes elsewhere"
    return LogFinding(code="decision-missing", message=message, seq=seq)
