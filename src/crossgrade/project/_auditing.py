"""A project's ledger: verified against its decisions, proved, exported, erased from."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from crossgrade.errors import NotFoundError
from crossgrade.ledger import (
    Checkpoint,
    EntryProof,
    LogEntry,
    LogFinding,
    LogRemark,
    LogVerification,
    NoteVerifier,
    SignedNote,
    check_inclusion,
    leaf_hash,
    read_entry,
)
from crossgrade.project._log_folder import export_log
from crossgrade.project._subjects import SubjectChecks
from crossgrade.routing import route_table_digest
from crossgrade.store import Store, ledger_damaged

_MOST_REMARKS = 1_000


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

    def verify(
        self,
        *,
        log: NoteVerifier | None = None,
        witnesses: Sequence[NoteVerifier] = (),
        kept: Sequence[str] = (),
    ) -> LogVerification:
        """Check the whole ledger, and that the project's decisions, keys and route table are those in it."""
        decisions = _Decisions(self._store)
        subjects = SubjectChecks(self._log.texts)

        def seen(entry: LogEntry) -> None:
            decisions.seen(entry)
            subjects.seen(entry)

        found = self._log.verify(log=log, witnesses=witnesses, kept=kept, seen=seen)
        findings = [*subjects.findings(), *decisions.compared()]
        return found.and_findings(findings).and_remarks(decisions.remarks)

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
        cosigned = [each for each in covering if len(SignedNote.read(each[1]).signatures) > 1]
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
        return self._log.erase(subject, {"because": because, "by": by})


class _Decisions:
    """What the ledger says that was decided, to compare it with the project's own rows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._first: str | None = None
        self._verdicts: dict[str, tuple[int, object]] = {}
        self._dossiers: dict[str, tuple[int, object]] = {}
        self._route: tuple[int, object] | None = None
        self._tables: set[str] = set()
        self._keys: defaultdict[str, list[tuple[int, _KeyEvent]]] = defaultdict(list)
        self.remarks: list[LogRemark] = []

    def seen(self, entry: LogEntry) -> None:
        """Note a decision."""
        if self._first is None:
            self._first = entry.at.isoformat()
        if entry.kind == "verdict":
            self._verdicts[str(entry.detail.get("id"))] = (entry.seq, entry.detail.get("digest"))
        elif entry.kind == "dossier":
            self._dossiers[str(entry.detail.get("id"))] = (entry.seq, entry.detail.get("digest"))
        elif entry.kind == "route":
            self._route = (entry.seq, entry.detail.get("digest"))
            self._tables.add(str(self._route[1]))
        elif entry.kind == "request":
            self._seen_policy(entry.seq, entry.detail.get("policy"))
        elif entry.kind in {"key", "suspended"} and "document" in entry.detail:
            facts = entry.detail
            whose = facts.get("key_id" if entry.kind == "key" else "principal")
            self._keys[str(whose)].append((entry.seq, (facts.get("event"), facts.get("document"))))
        elif entry.kind == "erasure" and isinstance(changed := entry.detail.get("verdicts"), dict):
            # An erasure takes texts out of verdicts, whose documents are others from then on.
            self._verdicts.update({name: (entry.seq, digest) for name, digest in changed.items()})

    def _seen_policy(self, seq: int, policy: object) -> None:
        """Remark the first request under a route table that has no entry before it."""
        if policy is not None and str(policy) not in self._tables and len(self.remarks) < _MOST_REMARKS:
            self._tables.add(str(policy))
            message = f"the gateway served by the route table {policy!s:.80}, which has no entry before this"
            self.remarks.append(LogRemark(code="policy-unrecorded", message=message, seq=seq))

    def compared(self) -> Iterator[LogFinding]:
        """Yield what the project's rows have otherwise, or lack."""
        documents = self._store.verdicts.documents()
        yield from self._compared_rows("verdict", self._verdicts, documents)
        yield from self._compared_rows("dossier", self._dossiers, self._store.dossiers.documents())
        if not self._store.dossiers.is_published():
            message = "`dossiers.json` does not have the newest dossiers of the database"
            yield LogFinding(code="dossiers-differ", message=message)
        yield from self._compared_keys()
        yield from self._compared_route()

    def _compared_rows(
        self, kind: str, entered: Mapping[str, tuple[int, object]], documents: Iterable[tuple[str, str, str]]
    ) -> Iterator[LogFinding]:
        """Compare the rows of verdicts or dossiers with their entries, by their documents' digests."""
        recorded = dict(entered)
        older = 0
        for name, at, digest in documents:
            seq, expected = recorded.pop(name, (None, None))
            if seq is not None and digest != expected:
                yield LogFinding(
                    code="decision-differs", message=f"{kind} {name} is not as it was recorded", seq=seq
                )
            elif seq is None and self._is_later(at):
                yield _unrecorded(f"{kind} {name}")
            elif seq is None:
                older += 1
        for name, (seq, _) in recorded.items():
            yield LogFinding(code="decision-missing", message=f"{kind} {name} is gone", seq=seq)
        self._note_older(older, f"{kind}s")

    def _compared_keys(self) -> Iterator[LogFinding]:
        """Compare the events of each key or caller with its entries, in their order."""
        left = {name: deque(events) for name, events in self._keys.items()}
        older = 0
        for name, kind, at, digest in self._store.keys.documents():
            expected = left.get(name, deque())
            event = (kind, digest)
            if any(each == event for _, each in expected):
                while expected[0][1] != event:
                    yield _missing(name, *expected.popleft())
                expected.popleft()
            elif self._is_later(at):
                yield _unrecorded(f"the event `{kind}` of {name}")
            else:
                older += 1
        for name, events in left.items():
            yield from (_missing(name, *each) for each in events)
        self._note_older(older, "events of keys")
        if not self._store.keys.is_published():
            yield LogFinding(code="keys-differ", message="`keys.json` does not have the keys of the database")

    def _is_later(self, at: str) -> bool:
        """Return whether a row says that it was written after the ledger had begun."""
        return self._first is not None and at > self._first

    def _note_older(self, count: int, what: str) -> None:
        if count and self._first is not None:
            message = f"{count} {what} have no entry, and say that they are older than the ledger"
            self.remarks.append(LogRemark(code="decision-older", message=message, seq=0))

    def _compared_route(self) -> Iterator[LogFinding]:
        seq, digest = self._route or (None, None)
        table = self._store.routes.current()
        active = None if table is None else route_table_digest(table)
        if active != digest:
            message = f"the active route table is {active}, and the newest that was recorded {digest}"
            yield LogFinding(code="route-differs", message=message, seq=seq)


_KeyEvent: TypeAlias = tuple[object, object]
"""What happened to a key or caller, and the digest of its document."""


def _unrecorded(what: str) -> LogFinding:
    return LogFinding(code="decision-unrecorded", message=f"{what} has no entry in the ledger")


def _missing(name: str, seq: int, event: _KeyEvent) -> LogFinding:
    message = f"the event `{event[0]}` of {name} is gone, or comes elsewhere"
    return LogFinding(code="decision-missing", message=message, seq=seq)
