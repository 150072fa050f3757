"""Alembic migrations, applied when a store is opened; one file a step, never changed once released."""
