"""Route tables of machines that share a database: whoever publishes the next version first, has it."""

from sqlalchemy import desc, select, text

from crossgrade.routing import RouteTable, route_table_bytes, route_table_digest
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._records import utc_now


class SharedRoutes:
    """Every route table that any of the machines published."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> tuple[str, bytes] | None:
        """Return digest and content of the newest table, None where none was published."""
        query = select(t.route_tables).order_by(desc(t.route_tables.c.version)).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.digest, row.content)

    def append(self, table: RouteTable) -> bool:
        """Publish a table to all machines; False when another one has its version."""
        row = {
            "version": table.version,
            "digest": route_table_digest(table),
            "content": route_table_bytes(table),
            "at": utc_now().isoformat(),
        }
        with self._database.writing() as connection:
            return connection.execute(_APPEND, row).rowcount == 1

    def close(self) -> None:
        """Close the database."""
        self._database.close()


_APPEND = text(
    "INSERT INTO route_tables (version, digest, content, at) VALUES (:version, :digest, :content, :at) "
    "ON CONFLICT DO NOTHING"
)
