"""Compares whose text each row of the ledger has with what its entry says, and with the keys that are there.

A lawful erasure goes by the subject of the rows, and deletes the key with the texts. A row under another
subject would lose its text to the erasure of somebody else, and a key deleted by itself is an erasure of
which the ledger says nothing.
"""

from collections.abc import Iterator

from crossgrade.ledger import LogEntry, LogFinding
from crossgrade.store import LedgerTexts

_MOST = 1_000
"""So many rows whose subject differs are named."""


class SubjectChecks:
    """Takes the ledger's entries in their order, while others may append and erase."""

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
                if subject != entry.subject and len(self._differ) < _MOST:
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
