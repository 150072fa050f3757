"""How the key of a log is replaced, so that whoever knows one of its keys can check all of it.

An entry of kind `handover` names the old key and the new one. The checkpoint that ends with it is signed by
both, and names both in one more line of its text. Before it the old key signs, and behind it the new one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from crossgrade.errors import CrossgradeError
from crossgrade.ledger._entries import LogEntry
from crossgrade.ledger._notes import Checkpoint, NoteSigner, NoteVerifier, SignedNote

_WORD = "handover"


@dataclass(frozen=True, slots=True)
class Handover:
    """The old key signed the first `size` entries, the last of which says so, and the new one the rest."""

    size: int
    before: NoteVerifier
    after: NoteVerifier

    @property
    def line(self) -> str:
        """The line in the text of the checkpoint."""
        return f"{_WORD} {self.before.text} {self.after.text}"

    @classmethod
    def signed(cls, checkpoint: Checkpoint, before: NoteSigner, after: NoteSigner) -> str:
        """Return the note by which a key hands over to another at a checkpoint."""
        line = cls(checkpoint.size, before.verifier, after.verifier).line
        text = replace(checkpoint, extensions=(line,)).text
        by_both = SignedNote.read(before.sign(text)).with_signatures(
            SignedNote.read(after.sign(text)).signatures
        )
        return str(by_both)

    @classmethod
    def read(cls, note: object) -> Self | None:
        """Return the handover that a note is, if both keys signed it; None for any other note."""
        if not isinstance(note, str) or f"\n{_WORD} " not in note:
            return None
        try:
            signed = SignedNote.read(note)
            checkpoint = Checkpoint.from_text(signed.text)
            ((_, before, after),) = (each.split(" ") for each in checkpoint.extensions)
            found = cls(checkpoint.size, NoteVerifier.of_log(before), NoteVerifier.of_log(after))
            keys = {found.before, found.after}
            names = {each.name for each in keys}
            is_right = checkpoint.extensions == (found.line,) and names == {checkpoint.origin}
            return found if is_right and len(signed.verified(keys)) == len(keys) == 2 else None
        except (CrossgradeError, ValueError):
            return None

    def is_entered(self, entry: LogEntry) -> bool:
        """Return whether an entry says the same."""
        names = (entry.detail.get("from"), entry.detail.get("to"))
        return (
            entry.kind == _WORD
            and entry.seq == self.size - 1
            and names == (self.before.text, self.after.text)
        )


class LogKeys:
    """The keys of a log one after another, as far as handovers tie them to the one that is known."""

    def __init__(self, known: NoteVerifier, handovers: Iterable[Handover]) -> None:
        ordered = sorted(handovers, key=lambda each: each.size)
        later: list[Handover] = []
        for each in ordered:
            if each.before == (later[-1].after if later else known):
                later.append(each)
        earlier: list[Handover] = []
        for each in reversed(ordered):
            is_before = each.size < (later[0].size if later else each.size + 1)
            if is_before and each.after == (earlier[-1].before if earlier else known):
                earlier.append(each)
        self.handovers = (*reversed(earlier), *later)
        self._known = known

    @property
    def in_order(self) -> tuple[NoteVerifier, ...]:
        """All keys, the oldest first."""
        if not self.handovers:
            return (self._known,)
        return (self.handovers[0].before, *(each.after for each in self.handovers))

    def at(self, size: int) -> NoteVerifier:
        """Return the key that a checkpoint of a size must be signed by."""
        passed = sum(1 for each in self.handovers if each.size < size)
        return self.in_order[passed]
