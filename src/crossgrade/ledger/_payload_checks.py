"""Checks the texts beside the entries: each is what its entry commits to, or was erased as an entry says."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from crossgrade.ledger._entries import LogEntry


class PayloadChecks:
    """Takes entries in their order, with their payloads, and reports what is wrong to `find`."""

    def __init__(self, find: Callable[[Any, str, int | None], None]) -> None:
        self._find = find
        self._missing: dict[str, list[int]] = {}
        self._present: dict[str, int] = {}
        self.erased = 0

    def entry(self, entry: LogEntry, payload: object) -> None:
        """Check the payload of an entry, and what an erasure covers."""
        if entry.kind == "erasure":
            self._erasure(entry)
        mark, subject = entry.payload, entry.subject
        if mark is None or subject is None:
            if payload is not None:
                self._find("payload-unexpected", "there is a text that the entry does not know", entry.seq)
        elif payload is None:
            self._missing.setdefault(subject, []).append(entry.seq)
        elif type(payload) is not bytes or sha256(payload).hexdigest() != mark.sealed:
            self._find("payload-changed", "the text is not the one that the entry commits to", entry.seq)
        else:
            self._present.setdefault(subject, entry.seq)

    def _erasure(self, entry: LogEntry) -> None:
        """Accept the texts that an erasure covers: those of its subject, in entries before its own."""
        subject, before = entry.detail.get("subject"), entry.detail.get("before")
        if not isinstance(subject, str) or type(before) is not int:
            return
        before = min(before, entry.seq)
        missing = self._missing.pop(subject, [])
        later = [seq for seq in missing if seq >= before]
        self.erased += len(missing) - len(later)
        if later:
            self._missing[subject] = later
        seen = self._present.pop(subject, None)
        if seen is not None and seen < before:
            message = f"the text is there, although entry {entry.seq} says that it was erased"
            self._find("payload-not-erased", message, seen)

    def end(self) -> None:
        """Report the payloads that are missing without an erasure."""
        for seq in sorted(seq for each in self._missing.values() for seq in each):
            self._find("payload-missing", "the text is missing, and no entry says that it was erased", seq)
