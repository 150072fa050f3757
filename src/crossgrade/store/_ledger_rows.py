"""The rows of decisions as the ledger has them, and the entries about those that are older than it.

A ledger begins with entries of kind `opened` if the project has decisions already: all its verdicts, events
of keys and route tables. So a row that comes later and says that it is older has no entry.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from crossgrade.domain import JSON
from crossgrade.errors import ConfigError
from crossgrade.routing import read_route_table, route_table_digest
from crossgrade.store import _tables as t
from crossgrade.store._ledger_events import LedgerEvent, decision, document_digest, recordable

VERDICT_FACTS = ("id", "workload", "name", "run_id", "decided_at", "valid_until")
"""The columns of a verdict that its entry has."""

_MOST_BYTES = 40_000
"""The facts in one entry of kind `opened`, well below what an entry may have."""


def verdict_decision(row: Mapping[str, Any]) -> LedgerEvent:
    """Return the event of a verdict's row."""
    facts = {name: row[name] for name in VERDICT_FACTS}
    digest = document_digest(row["verdict"])
    return decision("verdict", **facts, digest=digest, evidence_digest=row["evidence_digest"])


def opening(connection: Connection, folder: Path) -> list[LedgerEvent]:
    """Return the first events of a ledger: what the project decided before; none if it decided nothing.

    `folder` has the route table that is in force, unless machines share the database.
    """
    facts = [*_verdicts(connection), *_key_events(connection), *_routes(connection, folder)]
    return [LedgerEvent("opened", part) for part in _parts(facts)]


def _verdicts(connection: Connection) -> Iterator[tuple[str, JSON]]:
    v = t.verdicts.c
    query = select(v.verdict, v.evidence_digest, *(v[name] for name in VERDICT_FACTS)).order_by(v.id)
    for row in connection.execute(query):
        yield "verdicts", dict(verdict_decision(row._asdict()).detail)


def _key_events(connection: Connection) -> Iterator[tuple[str, JSON]]:
    e = t.key_events.c
    for row in connection.execute(select(e.key_id, e.kind, e.detail).order_by(e.id)):
        document = document_digest(str(row.detail))
        yield "keys", recordable({"key_id": row.key_id, "event": row.kind, "document": document})


def _routes(connection: Connection, folder: Path) -> Iterator[tuple[str, JSON]]:
    r = t.route_tables.c
    for row in connection.execute(select(r.version, r.digest).order_by(r.version)):
        yield "routes", recordable({"version": row.version, "digest": row.digest})
    if connection.dialect.name == "sqlite":
        with suppress(OSError, ConfigError):  # there is none, or whoever reads it says what is wrong with it
            table = read_route_table((folder / "routes.json").read_bytes(), file="routes.json")
            yield "routes", {"version": table.version, "digest": route_table_digest(table)}


def _parts(facts: list[tuple[str, JSON]]) -> Iterator[dict[str, JSON]]:
    """Yield the facts, listed by their names, in parts that fit into an entry."""
    part: dict[str, Any] = {}
    size = 0
    for name, fact in facts:
        length = len(msgspec.json.encode(fact))
        if part and size + length > _MOST_BYTES:
            yield part
            part, size = {}, 0
        part.setdefault(name, []).append(fact)
        size += length
    if part:
        yield part
