"""Bring a database to the current tables when it is opened."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from crossgrade.errors import StoreError
from crossgrade.store._database import Database

HEAD = "0009"
"""The newest migration under `migrations/versions`; a test compares the two."""

_MIGRATION_LOCK = 0x63726F7373677264
"""PostgreSQL advisory lock number held while tables change."""


def migrate(database: Database) -> None:
    """Apply the migrations that `database` lacks, alone even when several processes open it.

    Raises `StoreError` when a newer Crossgrade wrote the database.
    """
    with database.reading() as connection:
        if _version(connection) == HEAD:
            return
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        version = _version(connection)
        if version is not None and version > HEAD:
            raise StoreError(
                f"{database.place} was written by a newer Crossgrade (tables {version}, known {HEAD})",
                code="database-too-new",
                hint="pip install --upgrade crossgrade",
            )
        if version != HEAD:
            _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    # Imported here: Alembic costs as much as SQLAlchemy and is needed once per database.
    from alembic import command
    from alembic.config import Config

    config = Config()
    # A percent sign in the path would be read as the beginning of an interpolation.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
