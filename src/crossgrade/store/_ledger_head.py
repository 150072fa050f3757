"""The head of the ledger, as the database has it: what a verifier compares with the entries."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from crossgrade.ledger import HASH_BYTES, GrowingTree, LogFinding, LogVerification

MOST_FRONTIER_BYTES = 64 * HASH_BYTES
"""A log has at most 2^63 entries, and its tree grows from as many hashes as that has binary digits."""
_ELSEWHERE = frozenset({"gap", "entry-not-bytes", "node-differs", "root-differs"})
"""Findings that say more than that the head differs too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerHead:
    """The size and the hashes of the head, and the first and last number of all stored entries.

    `size` is None if the head is missing or damaged; then all entries are read. Values may be of any type.
    """

    size: int | None
    frontier: Any
    first: Any
    last: Any
    problems: tuple[str, ...]

    @classmethod
    def read(cls, rows: Sequence[tuple[Any, ...]]) -> Self:
        """Read rows of (id, size, frontier, first, last); there should be rows of the id 1 alone.

        A single row without an id stands for a missing head.
        """
        if rows[0][0] is None:
            return cls(size=None, frontier=None, first=None, last=None, problems=("the head is missing",))
        number, size, frontier, first, last = rows[0]
        problems = []
        if any(each[0] != number for each in rows) or number != 1:
            problems.append("there is another head than the one of the id 1")
        if type(size) is not int or size < 0:
            problems.append(f"the head's size is no number of entries, but {size!r:.40}")
            size = None
        return cls(size=size, frontier=frontier, first=first, last=last, problems=tuple(problems))

    def compared(self, found: LogVerification) -> list[LogFinding]:
        """Return what the head has otherwise than the entries that were read."""
        found_here = [LogFinding(code="head-differs", message=each) for each in self.problems]
        if self.size is not None:
            if not _ELSEWHERE & {each.code for each in found.findings}:
                found_here += self._compared_tree(self.size, found)
            found_here += self._surplus(self.size)
        return found_here

    def _compared_tree(self, size: int, found: LogVerification) -> Iterator[LogFinding]:
        if size != found.size:
            message = f"the head says {size} entries, and {found.size} are there"
            yield LogFinding(code="head-differs", message=message, seq=min(size, found.size))
            return
        try:
            frontier = self.frontier if isinstance(self.frontier, bytes) else b""
            agrees = GrowingTree(frontier, size).root() == found.root
        except ValueError:
            agrees = False
        if not agrees:
            yield LogFinding(code="head-differs", message="the head's hashes are not those of the entries")

    def _surplus(self, size: int) -> Iterator[LogFinding]:
        for number in (self.first, self.last):
            if number is not None and (type(number) is not int or not 0 <= number < size):
                message = f"an entry {number!s:.20} is stored beside the {size} of the log"
                yield LogFinding(code="entry-surplus", message=message)
