"""What the entries of a log say was decided, and whether the requests in it were served under that."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from crossgrade.domain import JSON
from crossgrade.ledger._entries import LogEntry

KeyDecision: TypeAlias = tuple[object, object]
"""What happened to a key or caller, and the digest of its document."""
GroundCode: TypeAlias = Literal["policy-unrecorded", "verdict-unrecorded", "dossier-unrecorded"]


class DecidedInLog:
    """The verdicts, dossiers, route tables and events of keys that a log has, and the entries that say so.

    `verdicts` and `dossiers` have for each id the entry's number and facts, `keys` for each key or caller the
    number and event of each entry in their order, `route` the number and digest of the newest route table.
    What is older than the log counts only from entries of kind `opened` at its very beginning. Later ones
    could make rows that were set back in time look recorded.
    """

    def __init__(self) -> None:
        self.verdicts: dict[str, tuple[int, Mapping[str, JSON]]] = {}
        self.dossiers: dict[str, tuple[int, Mapping[str, JSON]]] = {}
        self.keys: defaultdict[str, list[tuple[int, KeyDecision]]] = defaultdict(list)
        self.route: tuple[int, object] | None = None
        self._grounds: defaultdict[GroundCode, set[str]] = defaultdict(set)
        self._is_opening = True

    def entry(self, entry: LogEntry) -> None:
        """Note the next entry of the log."""
        seq, facts = entry.seq, entry.detail
        self._is_opening &= entry.kind == "opened"
        if entry.kind == "opened" and self._is_opening:
            self._opened(seq, facts)
        elif entry.kind == "verdict":
            self._verdict(seq, facts)
        elif entry.kind == "dossier":
            self.dossiers[str(facts.get("id"))] = (seq, facts)
            self._grounds["dossier-unrecorded"].add(str(facts.get("digest")))
        elif entry.kind == "route":
            self._table(seq, facts.get("digest"))
        elif entry.kind in {"key", "suspended"} and "document" in facts:
            self._key(seq, facts.get("key_id" if entry.kind == "key" else "principal"), facts)
        elif entry.kind == "erasure" and isinstance(changed := facts.get("verdicts"), dict):
            # An erasure takes texts out of verdicts, whose documents are others from then on.
            for name, digest in changed.items():
                _, known = self.verdicts.get(name, (None, {}))
                self.verdicts[name] = (seq, {**known, "digest": digest})

    def _opened(self, seq: int, facts: Mapping[str, JSON]) -> None:
        for each in _listed(facts, "verdicts"):
            self._verdict(seq, each)
        for each in _listed(facts, "keys"):
            self._key(seq, each.get("key_id"), each)
        for each in _listed(facts, "routes"):
            self._table(seq, each.get("digest"))

    def _verdict(self, seq: int, facts: Mapping[str, JSON]) -> None:
        name = str(facts.get("id"))
        self.verdicts[name] = (seq, facts)
        self._grounds["verdict-unrecorded"].add(name)

    def _table(self, seq: int, digest: object) -> None:
        self.route = (seq, digest)
        self._grounds["policy-unrecorded"].add(str(digest))

    def _key(self, seq: int, whose: object, facts: Mapping[str, JSON]) -> None:
        self.keys[str(whose)].append((seq, (facts.get("event"), facts.get("document"))))

    def without_ground(self, facts: Mapping[str, JSON]) -> Iterator[tuple[GroundCode, str]]:
        """Yield what a request says that it was served under and no entry before it has, each but once."""
        for code, name, what in _GROUNDS:
            ground = facts.get(name)
            if ground is not None and str(ground) not in self._grounds[code]:
                self._grounds[code].add(str(ground))
                yield (
                    code,
                    f"the gateway served under the {what} {ground!s:.80}, which has no entry before this",
                )


_GROUNDS: tuple[tuple[GroundCode, str, str], ...] = (
    ("policy-unrecorded", "policy", "route table"),
    ("verdict-unrecorded", "verdict", "verdict"),
    ("dossier-unrecorded", "dossier", "dossier"),
)


def _listed(facts: Mapping[str, JSON], name: str) -> Iterator[Mapping[str, JSON]]:
    found = facts.get(name)
    if isinstance(found, list):
        yield from (each for each in found if isinstance(each, dict))
