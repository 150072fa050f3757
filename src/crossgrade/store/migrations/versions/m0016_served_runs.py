"""Runs of agents that the gateway serves, and the run that a live pair or an outcome belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the table of runs, and columns that name them; NULL in earlier rows."""
    op.create_table(
        "served_runs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("route", sa.String, nullable=False),
        sa.Column("start", sa.Text, nullable=False),
        sa.Column("is_mixed", sa.Boolean, nullable=False),
        sa.Column("is_down", sa.Boolean, nullable=False),
        sa.Column("at", sa.String, nullable=False, index=True),
    )
    for table in ("pairs", "feedback"):
        op.add_column(table, sa.Column("run", sa.String))
        op.create_index(f"ix_{table}_run", table, ["run"])
