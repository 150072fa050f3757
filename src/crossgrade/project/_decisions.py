"""Compares the ledger with what the project has: verdicts, dossiers, keys, route table, and whose texts."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from crossgrade.domain import JSON
from crossgrade.ledger import DecidedInLog, KeyDecision, LogEntry, LogFinding
from crossgrade.routing import route_table_digest
from crossgrade.store import LedgerTexts, Store

_Facts: TypeAlias = Mapping[str, JSON]

_MOST_NAMED = 1_000
"""So many rows whose subject differs are named."""


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
        return [
            *_compared("verdict", self._store.verdicts.documents(), self._logged.verdicts),
            *self._compared_dossiers(),
            *self._compared_keys(),
            *self._compared_route(),
        ]

    def _compared_dossiers(self) -> Iterator[LogFinding]:
        dossiers = self._store.dossiers
        yield from _compared("dossier", dossiers.documents(), self._logged.dossiers)
        if not dossiers.is_published():
            message = "`dossiers.json` does not have the newest dossiers of the database"
            yield LogFinding(code="dossiers-differ", message=message)

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


def _compared(
    what: str, rows: Iterable[tuple[str, _Facts]], logged: Mapping[str, tuple[int, _Facts]]
) -> Iterator[LogFinding]:
    """Compare rows, by their ids, with the entries that say what they are."""
    left = dict(logged)
    for name, facts in rows:
        seq, expected = left.pop(name, (None, {}))
        if seq is None:
            yield _unrecorded(f"{what} {name}")
        elif any(facts.get(each) != value for each, value in expected.items()):
            yield LogFinding(
                code="decision-differs", message=f"{what} {name} is not as it was recorded", seq=seq
            )
    for name, (seq, _) in left.items():
        yield LogFinding(code="decision-missing", message=f"{what} {name} is gone", seq=seq)


def _unrecorded(what: str) -> LogFinding:
    return LogFinding(code="decision-unrecorded", message=f"{what} has no entry in the ledger")


def _missing(name: str, seq: int, event: KeyDecision) -> LogFinding:
    message = f"the event `{event[0]}` of {name} is gone, or comes elsewhere"
    return LogFinding(code="decision-missing", message=message, seq=seq)


class SubjectChecks:
    """Compares whose text each row of the ledger has with its entry, and with the keys that are there.

    A lawful erasure goes by the subject of the rows, and deletes the key with the texts. A row under another
    subject would lose its text to the erasure of somebody else, and a key deleted by itself is an erasure of
    which the ledger says nothing. Takes the entries in their order, while others may append and erase.
    """

    def __init__(self, texts: LedgerTexts) -> None:
        self._texts = texts
        self._rows = texts.rows()
        self._keyed: frozenset[str] | None = None
        self._unkeyed: dict[str, int] = {}
        self._differ: list[int] = []

    def seen(self, entry: LogEntry) -> None:
        """Compare the next entry with its row."""
        if self._keyed is None:
            # Not before the first entry: by now each entry's key is there, unless its text was erased.
            self._keyed = self._texts.keyed_subjects()
        for seq, subject, has_text in self._rows:
            if seq == entry.seq:
                if subject != entry.subject and len(self._differ) < _MOST_NAMED:
                    self._differ.append(seq)
                if has_text and entry.subject is not None and entry.subject not in self._keyed:
                    self._unkeyed.setdefault(entry.subject, seq)
                return

    def findings(self) -> Iterator[LogFinding]:
        """Yield what differs."""
        for seq in self._differ:
            message = "the text is kept under another subject than the entry says"
            yield LogFinding(code="subject-differs", message=message, seq=seq)
        for subject, seq in self._unkeyed.items():
            message = f"the key to the texts of {subject:.64} is gone, and no entry says that it was erased"
            yield LogFinding(code="text-key-missing", message=message, seq=seq)
