"""Locks that die with the process that holds them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from sqlalchemy import text

from crossgrade.errors import StoreError
from crossgrade.store._database import Database


@contextmanager
def file_lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path`; yields False when another process holds it and `wait` is off."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(
            f"the lock file {path} cannot be made ({error.strerror})", code="lock-not-made"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


@contextmanager
def session_lock(database: Database, name: str) -> Iterator[bool]:
    """Hold a PostgreSQL advisory lock for as long as a connection lives; yields False when it is taken."""
    key = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
    with database.reading() as connection:
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar()
        # Ends the transaction, which would otherwise stay open for as long as the run goes on.
        connection.commit()
        try:
            yield bool(taken)
        finally:
            if taken:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
                connection.commit()
