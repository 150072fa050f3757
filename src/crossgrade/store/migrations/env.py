"""Runs the migrations with Alembic, on the connection and in the transaction of `store._database.migrate`.

A store is migrated when it is opened. Each file in `versions` is one step, and it never changes once it is
released.
"""

from alembic import context

from crossgrade.store._tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
