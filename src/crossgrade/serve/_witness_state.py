"""The folder of a witness: its key, the logs that it witnesses, and the newest checkpoint of each.

`witness.key` is the private key (mode 0600), `logs` the public keys of the logs, one a line. `records` has
one note for each log: the newest checkpoint that was cosigned. The witness's own cosignature on it shows that
nobody else wrote it, and beside it is what was last refused. `conflicts` keeps what convicts a log: the
note that was refused and the one that was cosigned of the same size, which has another root. `doubtful` keeps
a few checkpoints that came with a proof that fails, each with the one that was cosigned. Anybody may send an
honest checkpoint with a wrong proof, so these convict nobody, and newer ones replace them.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Annotated, Self

import msgspec

from crossgrade.errors import CrossgradeError, DataError, StoreError, UsageError
from crossgrade.ledger import (
    EMPTY_ROOT,
    LATEST_TIME_S,
    MOST_NOTE_BYTES,
    Checkpoint,
    CheckpointRequest,
    Cosigner,
    NoteVerifier,
    SignedNote,
    WitnessDecision,
    WitnessedLog,
    judge_checkpoint,
)
from crossgrade.store import write_private

MOST_LOGS = 1_000
MOST_CONFLICTS = 10
"""Most checkpoints of one log that are kept as proof against it: the first ones."""
MOST_DOUBTFUL = 4
"""Most checkpoints of one log that are kept because their proof failed: newer ones replace them."""

_KEY = "witness.key"
_LOGS = "logs"
_RECORDS = "records"
_CONFLICTS = "conflicts"
_DOUBTFUL = "doubtful"
_REFUSED = ".refused.note"
_COSIGNED = ".cosigned.note"
_LONGEST_LINE = 1_000


@dataclass(frozen=True, slots=True)
class WitnessRecord:
    """What a witness last cosigned for a log, and when, in seconds since 1970; size 0 if nothing yet."""

    checkpoint: Checkpoint
    cosigned_at_s: int
    note: SignedNote


@dataclass(frozen=True, slots=True)
class WitnessRefusal:
    """The last request of a log that was refused: when, in seconds since 1970, of which size, and why.

    The log's key signed it, so that a stranger can at most repeat what the log said once.
    """

    at_s: Annotated[int, msgspec.Meta(ge=0, le=LATEST_TIME_S)]
    size: int
    reason: str


@dataclass(frozen=True, slots=True)
class WitnessConflict:
    """Two notes of one size with two roots, both signed by the log: the refused one, the cosigned one."""

    refused: Path
    cosigned: Path


class WitnessFolder:
    """A witness's state. One process at a time serves it; several threads may cosign."""

    def __init__(self, path: Path, cosigner: Cosigner, logs: dict[str, tuple[NoteVerifier, ...]]) -> None:
        self.path = path
        self._cosigner = cosigner
        self._logs = logs
        self._turn = Lock()

    @classmethod
    def create(cls, path: Path, name: str) -> Self:
        """Make a folder with a new key. Raises UsageError where a witness is already, else StoreError."""
        cosigner = Cosigner.generate(name)
        key = path / _KEY
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in (_RECORDS, _CONFLICTS, _DOUBTFUL):
                (path / each).mkdir(mode=0o700, exist_ok=True)
            handle = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123 -- a handle, not a path
                file.write(cosigner.text + "\n")
                file.flush()
                os.fsync(file.fileno())
            write_private(path / _LOGS, b"", durable=True)
        except FileExistsError:
            raise UsageError(
                f"there is a witness in {path}",
                code="witness-exists",
                hint="add logs to it with `crossgrade witness add`, or name another folder",
            ) from None
        except OSError as error:
            raise _unwritable(path, error) from error
        return cls(path, cosigner, {})

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a folder, and check each log's record. Raises UsageError, DataError or StoreError."""
        try:
            mode = (path / _KEY).stat().st_mode
            key = _read(path / _KEY)
            lines = _read(path / _LOGS).split("\n")
        except FileNotFoundError:
            raise UsageError(
                f"there is no witness in {path}",
                code="witness-missing",
                hint="make one with `crossgrade witness init NAME`",
            ) from None
        except (OSError, UnicodeError) as error:
            raise StoreError(
                f"the witness in {path} cannot be read ({error})",
                code="witness-unreadable",
                hint="run as the user that made it",
            ) from error
        if mode & 0o077:
            raise UsageError(
                f"{path / _KEY} can be read by other users",
                code="witness-key-open",
                hint=f"chmod 600 {path / _KEY}, or better make a new witness: the key may be known",
            )
        logs: dict[str, tuple[NoteVerifier, ...]] = {}
        for verifier in map(NoteVerifier.of_log, filter(None, lines)):
            logs[verifier.name] = (*logs.get(verifier.name, ()), verifier)
        folder = cls(path, Cosigner.from_text(key), logs)
        for origin in logs:
            folder.record(origin)
        return folder

    @property
    def verifier(self) -> NoteVerifier:
        """The witness's public key."""
        return self._cosigner.verifier

    @property
    def origins(self) -> tuple[str, ...]:
        """The names of the logs."""
        return tuple(self._logs)

    def keys(self, origin: str) -> tuple[NoteVerifier, ...]:
        """Return the keys that may sign for a log."""
        return self._logs[origin]

    def add(self, vkey: str, *, now_s: int, is_only: bool = False) -> NoteVerifier:
        """Add a log, or another key of a log, by its public key. Raises UsageError or StoreError.

        With `is_only`, the other keys of the log sign nothing any more. A log begins with a record of no
        entries, so that a lost record is noticed later.
        """
        verifier = NoteVerifier.of_log(vkey)
        known = self._logs.get(verifier.name, ())
        keys = (*(each for each in known if not is_only and each != verifier), verifier)
        if set(keys) == set(known):
            return verifier
        added = {**self._logs, verifier.name: keys}
        if sum(map(len, added.values())) > MOST_LOGS:
            raise UsageError(
                f"the witness has {MOST_LOGS} keys of logs",
                code="witness-logs-many",
                hint="make another witness for more logs",
            )
        lines = [each.text for of_log in added.values() for each in of_log]
        try:
            if not known and not self._record_path(verifier.name).exists():
                empty = Checkpoint(verifier.name, 0, EMPTY_ROOT).text
                note = SignedNote(empty, (self._cosigner.cosign(empty, now_s),))
                write_private(self._record_path(verifier.name), str(note).encode(), durable=True)
            write_private(self.path / _LOGS, "".join(f"{line}\n" for line in lines).encode(), durable=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._logs = added
        return verifier

    def record(self, origin: str) -> WitnessRecord:
        """Return what was last cosigned for a log. Raises StoreError if it is lost or not this witness's."""
        path = self._record_path(origin)
        try:
            with path.open("rb") as file:
                note = SignedNote.read(file.read(MOST_NOTE_BYTES + 1))
            (signature,) = note.verified([self.verifier])
            checkpoint = Checkpoint.from_text(note.text)
        except (OSError, DataError) as error:
            raise StoreError(
                f"the record of {origin} is lost or damaged: {path}",
                code="witness-record-damaged",
                hint="restore the newest copy of it. Without one make a new witness: this one cannot know "
                "what it cosigned",
            ) from error
        if checkpoint.origin != origin:
            raise StoreError(
                f"the record of {origin} is that of {checkpoint.origin}: {path}",
                code="witness-record-damaged",
                hint="restore the newest copy of it",
            )
        return WitnessRecord(checkpoint, signature.cosigned_at_s, note)

    def refusal(self, origin: str) -> WitnessRefusal | None:
        """Return the last request of a log that was refused, None if there was none or its note is lost."""
        try:
            content = self._refusal_path(origin).read_bytes()
            return msgspec.json.decode(content, type=WitnessRefusal)
        except (OSError, msgspec.MsgspecError):
            return None

    def _note_refusal(self, decision: WitnessDecision, now_s: int) -> None:
        if decision.checkpoint is None:
            return
        refusal = WitnessRefusal(at_s=now_s, size=decision.checkpoint.size, reason=decision.reason)
        with suppress(OSError):  # the refusal stands without it
            write_private(self._refusal_path(decision.checkpoint.origin), msgspec.json.encode(refusal))

    def _refusal_path(self, origin: str) -> Path:
        return self.path / _RECORDS / f"{_slug(origin)}.refused"

    def conflicts(self, origin: str) -> list[WitnessConflict]:
        """Return the kept pairs of checkpoints of a log that convict it."""
        found = sorted((self.path / _CONFLICTS).glob(f"{_slug(origin)}-*{_REFUSED}"))
        return [WitnessConflict(each, _beside(each)) for each in found]

    def cosign(self, body: bytes, *, now_s: int) -> tuple[WitnessDecision, str]:
        """Decide on a request, and return the signature line if it is granted, else an empty text.

        What was decided is on disk before this returns. Raises StoreError if it cannot be written: then
        nothing was cosigned. A cosignature is never older than the one before, whatever the clock says.
        """
        with self._turn:
            records: list[WitnessRecord] = []

            def find(origin: str) -> WitnessedLog | None:
                if origin not in self._logs:
                    return None
                records.append(self.record(origin))
                known = records[0].checkpoint
                return WitnessedLog(self._logs[origin], known.size, known.root)

            decision = judge_checkpoint(body, find)
            if decision.status == 200:
                return decision, self._granted(body, max(now_s, records[0].cosigned_at_s))
            if decision.is_conflict:
                is_proof = decision.reason == "root-differs"
                self._keep_refused(body, records[0].note, is_proof=is_proof)
            if records and decision.reason != "not-signed-by-log":
                self._note_refusal(decision, now_s)
            return decision, ""

    def _granted(self, body: bytes, at_s: int) -> str:
        note = CheckpointRequest.read(body).note
        origin = Checkpoint.from_text(note.text).origin
        signatures = note.verified(self._logs[origin])  # lines of keys that nobody here knows are not kept
        signature = self._cosigner.cosign(note.text, at_s)
        kept = SignedNote(note.text, (*signatures, signature))
        try:
            write_private(self._record_path(origin), str(kept).encode(), durable=True)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return signature.line

    def _keep_refused(self, body: bytes, known: SignedNote, *, is_proof: bool) -> None:
        """Keep a refused checkpoint, and the one that was cosigned, which may be replaced later."""
        note = CheckpointRequest.read(body).note
        seen = Checkpoint.from_text(note.text)
        log = _slug(seen.origin)
        if is_proof:
            path = self.path / _CONFLICTS / f"{log}-{seen.size}-{seen.root.hex()[:16]}{_REFUSED}"
        else:
            path = self.path / _DOUBTFUL / f"{log}-{seen.root[0] % MOST_DOUBTFUL}{_REFUSED}"
        with suppress(OSError):  # the refusal stands without it
            if is_proof and not path.exists() and len(self.conflicts(seen.origin)) >= MOST_CONFLICTS:
                return
            kept = SignedNote(note.text, note.verified(self._logs[seen.origin]))
            write_private(_beside(path), str(known).encode(), durable=is_proof)
            write_private(path, str(kept).encode(), durable=is_proof)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Hold the folder for the one process that serves it. Raises UsageError if another one does."""
        with (self.path / _KEY).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"another process serves the witness in {self.path}",
                    code="witness-served",
                    hint="stop it first: two processes could cosign two histories",
                ) from None
            yield

    def _record_path(self, origin: str) -> Path:
        return self.path / _RECORDS / f"{_slug(origin)}.note"


def _slug(origin: str) -> str:
    """Return the name of a log's files: a digest, because an origin may hold any character."""
    return hashlib.sha256(origin.encode()).hexdigest()[:32]


def _beside(refused: Path) -> Path:
    """Return the file of the note that was cosigned, by that of the refused one."""
    return refused.with_name(refused.name.removesuffix(_REFUSED) + _COSIGNED)


def _read(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(MOST_LOGS * _LONGEST_LINE)


def _unwritable(path: Path, error: OSError) -> CrossgradeError:
    return StoreError(
        f"the witness in {path} cannot be written ({error.strerror})",
        code="witness-unwritable",
        hint="check free disk space and the folder's owner",
    )
