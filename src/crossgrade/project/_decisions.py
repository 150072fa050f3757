"""Compares the decisions in the ledger with the project's own rows: verdicts, keys, the route table."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from crossgrade.domain import JSON
from crossgrade.ledger import LogEntry, LogFinding, LogRemark
from crossgrade.routing import route_table_digest
from crossgrade.store import Store

_MOST_REMARKS = 1_000
_KeyEvent: TypeAlias = tuple[object, object]
"""What happened to a key or caller, and the digest of its document."""


class Decisions:
    """What the ledger says that was decided, and what requests say that they were sent under."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._first: str | None = None
        self._verdicts: dict[str, tuple[int, Mapping[str, JSON]]] = {}
        self._route: tuple[int, object] | None = None
        self._tables: set[str] = set()
        self._certificates: dict[str, int] = {}
        self._keys: defaultdict[str, list[tuple[int, _KeyEvent]]] = defaultdict(list)
        self._policies: list[LogRemark] = []

    def seen(self, entry: LogEntry) -> None:
        """Note the next entry of the log."""
        facts = entry.detail
        if self._first is None:
            self._first = entry.at.isoformat()
        if entry.kind == "verdict":
            self._verdicts[str(facts.get("id"))] = (entry.seq, facts)
        elif entry.kind == "route":
            self._route = (entry.seq, facts.get("digest"))
            self._tables.add(str(self._route[1]))
        elif entry.kind == "request":
            self._seen_policy(entry.seq, facts.get("policy"))
            if facts.get("verdict") is not None:
                self._certificates.setdefault(str(facts["verdict"]), entry.seq)
        elif entry.kind in {"key", "suspended"} and "document" in facts:
            whose = facts.get("key_id" if entry.kind == "key" else "principal")
            self._keys[str(whose)].append((entry.seq, (facts.get("event"), facts["document"])))
        elif entry.kind == "erasure" and isinstance(changed := facts.get("verdicts"), dict):
            # An erasure takes texts out of verdicts, whose documents are others from then on.
            for name, digest in changed.items():
                _, known = self._verdicts.get(name, (None, {}))
                self._verdicts[name] = (entry.seq, {**known, "digest": digest})

    def _seen_policy(self, seq: int, policy: object) -> None:
        """Remark the first request under a route table that has no entry before it."""
        if policy is not None and str(policy) not in self._tables and len(self._policies) < _MOST_REMARKS:
            self._tables.add(str(policy))
            message = f"the gateway served by the route table {policy!s:.80}, which has no entry before this"
            self._policies.append(LogRemark(code="policy-unrecorded", message=message, seq=seq))

    def compared(self) -> tuple[list[LogFinding], list[LogRemark]]:
        """Return what the project's rows have otherwise, or lack, and what is worth knowing."""
        remarks = list(self._policies)
        findings = [
            *self._compared_verdicts(remarks),
            *self._compared_keys(remarks),
            *self._compared_route(),
        ]
        return findings, remarks

    def _compared_verdicts(self, remarks: list[LogRemark]) -> Iterator[LogFinding]:
        left = dict(self._verdicts)
        certificates = {name: seq for name, seq in self._certificates.items() if name not in left}
        older = 0
        for name, at, facts in self._store.verdicts.documents():
            certificates.pop(name, None)
            seq, expected = left.pop(name, (None, {}))
            if any(facts.get(each) != value for each, value in expected.items()):
                yield LogFinding(
                    code="decision-differs", message=f"verdict {name} is not as it was recorded", seq=seq
                )
            elif seq is None and self._is_later(at):
                yield _unrecorded(f"verdict {name}")
            elif seq is None:
                older += 1
        for name, (seq, _) in left.items():
            yield LogFinding(code="decision-missing", message=f"verdict {name} is gone", seq=seq)
        for name, seq in list(certificates.items())[:_MOST_REMARKS]:
            message = f"the gateway served under verdict {name:.80}, which is neither in the ledger nor a row"
            remarks.append(LogRemark(code="verdict-unrecorded", message=message, seq=seq))
        self._note_older(older, "verdicts", remarks)

    def _compared_keys(self, remarks: list[LogRemark]) -> Iterator[LogFinding]:
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
        self._note_older(older, "events of keys", remarks)
        if not self._store.keys.is_published():
            yield LogFinding(code="keys-differ", message="`keys.json` does not have the keys of the database")

    def _is_later(self, at: str) -> bool:
        """Return whether a row says that it was written after the ledger had begun."""
        return self._first is not None and at > self._first

    def _note_older(self, count: int, what: str, remarks: list[LogRemark]) -> None:
        if count and self._first is not None:
            message = f"{count} {what} have no entry, and say that they are older than the ledger"
            remarks.append(LogRemark(code="decision-older", message=message, seq=0))

    def _compared_route(self) -> Iterator[LogFinding]:
        seq, digest = self._route or (None, None)
        table = self._store.routes.current()
        active = None if table is None else route_table_digest(table)
        if active != digest:
            message = f"the active route table is {active}, and the newest that was recorded {digest}"
            yield LogFinding(code="route-differs", message=message, seq=seq)


def _unrecorded(what: str) -> LogFinding:
    return LogFinding(code="decision-unrecorded", message=f"{what} has no entry in the ledger")


def _missing(name: str, seq: int, event: _KeyEvent) -> LogFinding:
    message = f"the event `{event[0]}` of {name} is gone, or comes elsewhere"
    return LogFinding(code="decision-missing", message=message, seq=seq)
