"""What in a database can change the rows that are written to it or read from it, and is none of ours."""

from collections.abc import Iterator

from sqlalchemy import Connection, Table, bindparam, text

from crossgrade.ledger import LogFinding
from crossgrade.store import _tables as t

_MOST = 100
"""So many of a kind are listed."""


def altered(connection: Connection) -> Iterator[LogFinding]:
    """Yield what changes rows unseen, such as a trigger. Crossgrade makes no such thing.

    In an SQLite file these are triggers, views, and tables of other columns, foreign keys or conflict clauses
    than ours. On PostgreSQL they are triggers, rules and policies of our tables, and views in their place.
    """
    found = _sqlite(connection) if connection.dialect.name == "sqlite" else _postgresql(connection)
    for what in found:
        message = f"the database has {what}, which Crossgrade did not make"
        yield LogFinding(code="database-altered", message=message)


def _sqlite(connection: Connection) -> Iterator[str]:
    for row in connection.execute(_TRIGGERS_AND_VIEWS, {"most": _MOST}):
        yield f"the {row.type} {row.name!r}"
    for table in t.metadata.tables.values():
        definition = connection.execute(_DEFINITION, {"name": table.name}).scalar()
        if definition is None:
            continue  # whoever reads the table says so
        if "ON CONFLICT" in str(definition).upper():
            yield f"a conflict clause in the table {table.name}"
        columns = connection.exec_driver_sql(f"PRAGMA table_xinfo({table.name})").all()
        if {(each[1], each[6]) for each in columns} != {(each.name, 0) for each in table.columns}:
            yield f"other columns in the table {table.name}"
        keys = connection.exec_driver_sql(f"PRAGMA foreign_key_list({table.name})").all()
        if {tuple(each[2:7]) for each in keys} != set(_foreign_keys(table)):
            yield f"other foreign keys in the table {table.name}"


def _foreign_keys(table: Table) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield the other table, the two columns, and what follows an update and a deletion, as SQLite has it."""
    for constraint in table.foreign_key_constraints:
        follows = (constraint.onupdate or "NO ACTION", constraint.ondelete or "NO ACTION")
        for each in constraint.elements:
            yield (each.column.table.name, each.parent.name, each.column.name, *follows)


def _postgresql(connection: Connection) -> Iterator[str]:
    ours = {"tables": list(t.metadata.tables), "most": _MOST}
    for row in connection.execute(_POSTGRESQL, ours):
        yield f"the {row.kind} {row.name!r} of the table {row.of}"


_TRIGGERS_AND_VIEWS = text(
    "SELECT type, substr(name, 1, 80) AS name FROM sqlite_master "
    "WHERE type IN ('trigger', 'view') LIMIT :most"
)
_DEFINITION = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name")
_POSTGRESQL = text(
    "SELECT kind, name, of FROM ("
    "SELECT 'trigger' AS kind, tgname AS name, tgrelid AS relation FROM pg_trigger WHERE NOT tgisinternal "
    "UNION ALL SELECT 'rule', rulename, ev_class FROM pg_rewrite "
    "UNION ALL SELECT 'policy', polname, polrelid FROM pg_policy) AS found "
    "JOIN (SELECT oid, relname AS of FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
    "AND relname IN :tables) AS ours ON relation = ours.oid ORDER BY kind, of, name LIMIT :most"
).bindparams(bindparam("tables", expanding=True))
"""A view is a table with a rule to read it by."""
