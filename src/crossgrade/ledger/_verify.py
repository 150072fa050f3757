"""Checks a whole log from its first entry to its last, without a server, and says what is wrong first."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Self, TypeAlias

from crossgrade.errors import CrossgradeError, DataError
from crossgrade.ledger._decided import DecidedInLog
from crossgrade.ledger._entries import LogEntry, read_entry
from crossgrade.ledger._handover import Handover, LogKeys
from crossgrade.ledger._merkle import GrowingTree, Position, leaf_hash
from crossgrade.ledger._notes import COSIGNATURE_KEY, Checkpoint, NoteVerifier, SignedNote
from crossgrade.ledger._payloads import PayloadChecks

FindingCode: TypeAlias = Literal[
    "gap",
    "entry-not-bytes",
    "entry-too-large",
    "entry-not-canonical",
    "entry-version-unknown",
    "entry-kind-unknown",
    "entry-invalid",
    "number-differs",
    "payload-changed",
    "payload-missing",
    "payload-unexpected",
    "payload-not-erased",
    "erasure-differs",
    "subject-differs",
    "text-key-missing",
    "node-differs",
    "head-differs",
    "entry-surplus",
    "checkpoint-invalid",
    "checkpoint-missing",
    "root-differs",
    "handover-differs",
    "history-differs",
    "entries-missing",
    "entries-unsigned",
    "not-cosigned",
    "file-missing",
    "file-differs",
    "decision-differs",
    "decision-missing",
    "decision-unrecorded",
    "route-differs",
    "keys-differ",
    "dossiers-differ",
    "database-altered",
    "policy-unrecorded",
    "verdict-unrecorded",
    "dossier-unrecorded",
]
RemarkCode: TypeAlias = Literal[
    "clock-back",
    "repeated",
    "no-request",
    "uncosigned",
]
_BY_HASH = frozenset({"node-differs", "file-differs"})
MOST_FINDINGS = 1_000
"""How many findings are listed; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFinding:
    """Something that is wrong. `seq` is the first entry that it is about, None for the log as a whole."""

    code: FindingCode
    message: str
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRemark:
    """Something that is worth knowing and no fault: a clock set back, or a request twice in the log."""

    code: RemarkCode
    message: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCosignature:
    """How many of a log's entries a witness has seen as they are here, and when, in seconds since 1970."""

    witness: NoteVerifier
    size: int
    at_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogVerification:
    """What was found out about a log.

    `signed` is how many entries are under a checkpoint of the log's key with their root, 0 without the key.
    `keys` are the keys of the log one after another, none without a key.
    `cosigned` has the newest checkpoint with the root of this log of each witness, whose order is that of the
    witnesses asked for; size 0 does not count, as all logs begin alike. `unfinished` are requests without a
    completion: they go on, or were cut off. `found` counts all findings; `findings` has the first thousand.
    """

    size: int
    root: bytes
    signed: int
    cosigned: tuple[LogCosignature, ...]
    kinds: Mapping[str, int]
    erased: int
    findings: tuple[LogFinding, ...]
    found: int
    remarks: tuple[LogRemark, ...]
    unfinished: tuple[int, ...]
    keys: tuple[NoteVerifier, ...] = ()

    def and_findings(self, findings: Sequence[LogFinding]) -> Self:
        """Return the verification with what was found beside the log itself."""
        listed = (*self.findings, *findings)[:MOST_FINDINGS]
        return replace(self, findings=listed, found=self.found + len(findings))

    @property
    def first_bad(self) -> int | None:
        """The first entry that a finding is about.

        A wrong root only says that it is behind the last right one. Stored hashes say which it is, unless
        they were written anew with the entry.
        """
        placed = [(each.code, each.seq) for each in self.findings if each.seq is not None]
        if any(code in _BY_HASH for code, _ in placed):
            placed = [each for each in placed if each[0] != "root-differs"]
        return min((seq for _, seq in placed), default=None)


def verify_log(
    entries: Iterable[Sequence[Any]],
    checkpoints: Iterable[tuple[int, str]],
    *,
    log: NoteVerifier | None = None,
    witnesses: Sequence[NoteVerifier] = (),
    kept: Sequence[str] = (),
    nodes: Callable[[int], Iterator[tuple[Any, Any]]] | None = None,
    seen: Callable[[LogEntry], None] | None = None,
) -> LogVerification:
    """Check every entry, payload, node, checkpoint and proof of a log; see `LogVerification`.

    `entries` are (seq, body, payload, …) in their order, `checkpoints` (size, note), of any types: nothing is
    believed. Without the key `log` no signature of the log is checked. It may be any of the keys that the log
    had, which handovers tie to each other. With `witnesses`, each must have cosigned a checkpoint of at least
    one entry, with the root that this log had at that size. `kept` are
    notes of this log that were kept elsewhere: the log must begin with what they say. `nodes` returns the
    stored hashes of a level above 0. `seen` is called with every entry that can be read.
    """
    known = list(checkpoints)
    handovers = filter(None, map(Handover.read, (*(note for _, note in known), *kept)))
    check = _Check(None if log is None else LogKeys(log, handovers), witnesses, nodes)
    check.read_checkpoints(known)
    check.read_kept(kept)
    check.compare_roots()
    for row in entries:
        entry = check.entry(row)
        if check.is_over:
            break
        if entry is not None and seen is not None:
            seen(entry)
    return check.result()


class _Check:
    def __init__(
        self,
        keys: LogKeys | None,
        witnesses: Sequence[NoteVerifier],
        nodes: Callable[[int], Iterator[tuple[Any, Any]]] | None,
    ) -> None:
        self._keys = keys
        self._handovers = {} if keys is None else {each.size: each for each in keys.handovers}
        self._witnesses = tuple(dict.fromkeys(witnesses))
        self._nodes = nodes
        self._stored: dict[int, Iterator[tuple[Any, Any]]] = {}
        self._roots: dict[int, bytes] = {}
        self._kept: dict[int, bytes] = {}
        self._claimed: dict[int, list[tuple[bytes, LogCosignature]]] = {}
        self._cosigned: dict[NoteVerifier, LogCosignature] = {}
        self._tree = GrowingTree()
        self._matched = 0
        self._is_broken = False
        self._before: datetime | None = None
        self._kinds: Counter[str] = Counter()
        self._open: dict[str, int] = {}
        self._decided = DecidedInLog()
        self._payloads = PayloadChecks(self._find)
        self._findings: list[LogFinding] = []
        self._found = 0
        self._remarks: list[LogRemark] = []
        self.is_over = False

    def _find(self, code: FindingCode, message: str, seq: int | None = None) -> None:
        self._found += 1
        if len(self._findings) < MOST_FINDINGS:
            self._findings.append(LogFinding(code=code, message=message, seq=seq))

    def _remark(self, code: RemarkCode, message: str, seq: int) -> None:
        if len(self._remarks) < MOST_FINDINGS:
            self._remarks.append(LogRemark(code=code, message=message, seq=seq))

    def read_checkpoints(self, checkpoints: Iterable[tuple[int, str]]) -> None:
        for size, note in checkpoints:
            seen = self._checkpoint(note, "checkpoint-invalid", f"the checkpoint of {size} entries")
            if seen is None:
                continue
            if seen.size != size:
                self._find("checkpoint-invalid", f"the checkpoint kept as {size} says {seen.size} entries")
            if self._roots.setdefault(seen.size, seen.root) != seen.root:
                self._find("checkpoint-invalid", f"two checkpoints of {seen.size} entries differ")

    def read_kept(self, notes: Sequence[str]) -> None:
        for note in notes:
            seen = self._checkpoint(note, "history-differs", "the checkpoint that was kept elsewhere")
            if seen is not None and self._kept.setdefault(seen.size, seen.root) != seen.root:
                message = f"two checkpoints of {seen.size} entries were signed, with different roots"
                self._find("history-differs", message)

    def _checkpoint(self, note: str, code: FindingCode, what: str) -> Checkpoint | None:
        """Return a checkpoint whose signatures hold, and note who says to have cosigned it."""
        try:
            stated = Checkpoint.from_text(SignedNote.read(note).text)
            log = None if self._keys is None else self._keys.at(stated.size)
            known = [*([log] if log else []), *self._witnesses]
            if not known:
                return stated
            seen, signatures = Checkpoint.read(note, known)
        except (CrossgradeError, TypeError, AttributeError) as error:
            self._find(code, f"{what} is not valid: {error}")
            return None
        if log is not None and seen.origin != log.name:
            self._find(code, f"{what} is of another log, `{seen.origin}`")
            return None
        if log is not None and not any(each.key_id == log.key_id for each in signatures):
            self._find(code, f"{what} is not signed by the log's key")
            return None
        times = {(each.name, each.key_id): each.cosigned_at_s for each in signatures}
        for witness in self._witnesses:
            at_s = times.get((witness.name, witness.key_id))
            if at_s is not None and seen.size and witness.kind == COSIGNATURE_KEY:
                claim = LogCosignature(witness=witness, size=seen.size, at_s=at_s)
                self._claimed.setdefault(seen.size, []).append((seen.root, claim))
        return seen

    def entry(self, row: Sequence[Any]) -> LogEntry | None:
        """Check the next entry."""
        seq, body, payload = row[0], row[1], row[2]
        size = self._tree.size
        if seq != size or type(body) is not bytes:
            self.is_over = True
            if seq != size:
                self._find("gap", f"entry {size} is missing: {seq!s:.20} comes next", size)
            else:
                self._find("entry-not-bytes", f"the entry is stored as {type(body).__name__}", size)
            return None
        entry = self._content(size, body)
        if entry is not None:
            self._payloads.entry(entry, payload)
            self._check_handover(entry)
            self._follow(entry)
        made = self._tree.append(leaf_hash(body))
        if self._nodes is not None and made:
            self._compare(made)
        self.compare_roots()
        return entry

    def _content(self, seq: int, body: bytes) -> LogEntry | None:
        try:
            entry = read_entry(body)
        except DataError as error:
            self._find(error.code, error.message, seq)  # type: ignore[arg-type]  # the codes of read_entry
            return None
        self._kinds[entry.kind] += 1
        if entry.seq != seq:
            self._find("number-differs", f"the entry says that its number is {entry.seq}", seq)
        if self._before is not None and entry.at < self._before:
            self._remark(
                "clock-back", f"{entry.at} is before {self._before}, the time of an earlier entry", seq
            )
        self._before = entry.at if self._before is None else max(self._before, entry.at)
        return entry

    def _follow(self, entry: LogEntry) -> None:
        """Note whether a request was completed, and that it was served under what had been decided."""
        self._decided.entry(entry)
        if entry.kind not in {"request", "completion"}:
            return
        request = str(entry.detail.get("request", ""))
        if entry.kind == "request":
            if request in self._open:
                self._remark("repeated", f"request {request:.64} is in the log twice", entry.seq)
            self._open.setdefault(request, entry.seq)
            for code, message in self._decided.without_ground(entry.detail):
                self._find(code, message, entry.seq)
        elif self._open.pop(request, None) is None:
            self._remark("no-request", f"the request {request:.64} of this completion is not open", entry.seq)

    def _check_handover(self, entry: LogEntry) -> None:
        """Compare the entry of a handover with the checkpoint behind it, which both keys signed."""
        signed = self._handovers.get(entry.seq + 1)
        is_handover = entry.kind == "handover" and self._keys is not None
        if (is_handover and signed is None) or (signed is not None and not signed.is_entered(entry)):
            message = (
                "what this entry and the checkpoint behind it say of a new key of the log is not the same"
            )
            self._find("handover-differs", message, entry.seq)

    def _compare(self, made: Sequence[tuple[Position, bytes]]) -> None:
        assert self._nodes is not None
        for position, expected in made:
            if position.level not in self._stored:
                self._stored[position.level] = self._nodes(position.level)
            if next(self._stored[position.level], None) != (position.number, expected):
                first = position.number << position.level
                covered = f"entries {first} to {first + (1 << position.level) - 1}"
                message = f"the stored hash of {covered} is not theirs"
                self._find("node-differs", message, max(first, self._matched))
                self._nodes = None  # all above it differ too
                return

    def compare_roots(self) -> None:
        """Compare the root of the entries so far with what was signed, cosigned and kept of as many."""
        size = self._tree.size
        for root, claim in self._claimed.get(size, ()):
            if root == self._tree.root():
                self._cosigned[claim.witness] = claim
        if size in self._roots and not self._is_broken:
            if self._roots[size] == self._tree.root():
                self._matched = size
            else:
                self._is_broken = True  # as are all roots after it
                message = f"of entries {self._matched} to {size - 1}, some are not those that were signed"
                if not size:
                    message = "the root that was signed of no entries is not that of the empty log"
                self._find("root-differs", message, self._matched)
        if size in self._kept and self._kept[size] != self._tree.root():
            message = f"the first {size} entries are not those of the checkpoint that was kept elsewhere"
            self._find("history-differs", message)

    def result(self) -> LogVerification:
        if not self.is_over:
            self._end()
        return LogVerification(
            size=self._tree.size,
            root=self._tree.root(),
            signed=self._matched if self._keys is not None else 0,
            cosigned=tuple(
                self._cosigned[each] for each in dict.fromkeys(self._witnesses) if each in self._cosigned
            ),
            kinds=dict(sorted(self._kinds.items())),
            erased=self._payloads.erased,
            findings=tuple(self._findings),
            found=self._found,
            remarks=tuple(self._remarks),
            unfinished=tuple(sorted(self._open.values())),
            keys=() if self._keys is None else self._keys.in_order,
        )

    def _end(self) -> None:
        size = self._tree.size
        self._payloads.end()
        for level, stored in self._stored.items() if self._nodes is not None else ():
            if next(stored, None) is not None:
                self._find("node-differs", f"level {level} has hashes of entries that do not exist", size)
        self._end_checkpoints(size)
        for witness in self._witnesses if size else ():
            covered = self._cosigned[witness].size if witness in self._cosigned else 0
            if not covered:
                self._find("not-cosigned", f"`{witness.name}` has cosigned no entry of the log as it is here")
            elif covered < size:
                message = f"`{witness.name}` has not seen entries {covered} to {size - 1} yet"
                self._remark("uncosigned", message, covered)

    def _end_checkpoints(self, size: int) -> None:
        signed = max(self._roots, default=0)
        if signed > size:
            self._find("entries-missing", f"{signed} entries were signed, and {size} are there", size)
        for each in self._kept:
            if each > size:
                message = f"the checkpoint that was kept elsewhere is of {each} entries, and {size} are there"
                self._find("entries-missing", message, size)
        if self._keys is not None and size and not self._roots:
            self._find("checkpoint-missing", "no checkpoint of the log is valid")
        elif self._keys is not None and signed < size:
            self._find("entries-unsigned", f"the entries from {signed} on are not signed", signed)
