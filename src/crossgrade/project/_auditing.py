"""A project's ledger: verified against its decisions, proved, exported, erased from."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from crossgrade.errors import DataError, NotFoundError
from crossgrade.ledger import (
    Checkpoint,
    EntryProof,
    Handover,
    LogEntry,
    LogVerification,
    NoteVerifier,
    SignedNote,
    check_inclusion,
    leaf_hash,
    read_entry,
)
from crossgrade.project._decisions import Decisions, SubjectChecks
from crossgrade.project._log_folder import export_log
from crossgrade.store import Store, ledger_damaged


class ProjectLedger:
    """The ledger of a project."""

    def __init__(self, store: Store, witnesses: Sequence[tuple[str, str]] = ()) -> None:
        self._store = store
        self._log = store.ledger
        self.witnesses = tuple(witnesses)
        """The addresses and public keys of the witnesses that the configuration names."""

    @property
    def verifier(self) -> NoteVerifier | None:
        """The public key of the project's own log, None before there is one."""
        signer = self._log.secrets.signer()
        return None if signer is None else signer.verifier

    @property
    def key_paths(self) -> tuple[Path, Path]:
        """The files of the key that signs and of the key for texts."""
        return self._log.secrets.signing_path, self._log.secrets.texts_path

    def sign(self) -> str:
        """Sign the log as it is now; return the note. Raises `StoreError` without a key."""
        return self._log.sign()

    def make_key(self, name: str) -> str:
        """Make the keys that are missing, sign the log as it is, and return the public key that checks it.

        Raises `UsageError` if the log signs by another name already, and `StoreError` if the log does not
        verify.
        """
        return self._log.make_key(name).vkey

    def rotate(self, *, because: str, by: str) -> Handover:
        """Replace the key that signs by a new one, on record; return what the new checkpoint says of it.

        Raises `StoreError` without a key, and `UsageError` for one that is in the environment.
        """
        return self._log.rotate(because=because, by=by)

    def verify(
        self,
        *,
        log: NoteVerifier | None = None,
        witnesses: Sequence[NoteVerifier] = (),
        kept: Sequence[str] = (),
    ) -> LogVerification:
        """Check the whole ledger, and that the project's decisions, keys and route table are those in it."""
        decisions = Decisions(self._store)
        subjects = SubjectChecks(self._log.texts)

        def seen(entry: LogEntry) -> None:
            decisions.seen(entry)
            subjects.seen(entry)

        found = self._log.verify(log=log, witnesses=witnesses, kept=kept, seen=seen)
        findings = decisions.compared()
        size = found.size
        while findings and (later := self._decided_since(size)):
            # Rows are read after the log. What was decided in between is in both by now.
            for entry in later:
                decisions.seen(entry)
            size = later[-1].seq + 1
            findings = decisions.compared()
        return found.and_findings([*subjects.findings(), *findings])

    def _decided_since(self, size: int) -> list[LogEntry]:
        """Return the decisions among the entries from number `size` on, as far as they can be read."""
        found = []
        with suppress(DataError):
            for row in self._log.entries(size):
                entry = read_entry(row.body)
                if entry.kind not in {"request", "completion"}:
                    found.append(entry)
        return found

    def prove(self, seq: int) -> EntryProof:
        """Return the proof that an entry is in the log, under a checkpoint that a witness cosigned if any.

        Raises `NotFoundError` for an entry that does not exist, or is not signed yet, and `StoreError` if
        the log is damaged, so that there is no proof that holds.
        """
        row = self._log.entry(seq)
        covering = [(size, note) for size, note in self._log.checkpoints() if size > seq]
        if not covering:
            raise NotFoundError(
                f"no signed checkpoint covers entry {seq}",
                code="ledger-unsigned",
                hint="sign the log with `crossgrade audit init NAME`",
            )
        cosigned = [each for each in covering if _is_cosigned(each[1])]
        size, note = (cosigned or covering[-1:])[0]
        hashes = tuple(self._log.inclusion(seq, size))
        root = Checkpoint.from_text(SignedNote.read(note).text).root
        body = row.body if type(row.body) is bytes else b""
        if not check_inclusion(leaf_hash(body), seq, size, hashes, root):
            raise ledger_damaged(f"entry {seq} is not in the tree that was signed")
        return EntryProof(seq=seq, hashes=hashes, note=note, entry=body)

    def export(self, folder: Path) -> int:
        """Write the log into a new folder for `verify_ledger_folder`; return how many entries it has."""
        return export_log(self._log, folder)

    def entries(self, kind: str | None, *, most: int) -> list[LogEntry]:
        """Return the newest entries, of one kind if given, the oldest of them first.

        Raises `StoreError` if one of them is lost, and `DataError` for one that is damaged.
        """
        found: list[LogEntry] = []
        stop = self._log.size()
        while stop > 0 and len(found) < most:
            start = max(0, stop - 2_000)
            page = [read_entry(row.body) for row in self._log.whole(start, stop)]
            found = [each for each in page if kind is None or each.kind == kind] + found
            stop = start
        return found[-most:]

    def entry(self, seq: int) -> LogEntry:
        """Return an entry. Raises `NotFoundError` without one, and `DataError` or `StoreError` for damage."""
        return read_entry(self._log.entry(seq).body)

    def text(self, seq: int) -> bytes:
        """Return the text beside an entry. Raises `NotFoundError` if it has none or it was erased."""
        return self._log.texts.read(seq)

    def erase(self, subject: str, *, because: str, by: str) -> int:
        """Destroy the texts of a subject and their key, on record; return how many texts there were."""
        return self._log.erase(subject, because=because, by=by)


def _is_cosigned(note: str) -> bool:
    """Return whether others than the log itself, which may have two keys, signed a checkpoint."""
    signed = SignedNote.read(note)
    return any(each.name != Checkpoint.from_text(signed.text).origin for each in signed.signatures)
