"""Tunings of candidates, and the steps of each."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the tables of tunings, which are empty at first."""
    op.create_table(
        "tunings",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("candidate", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("settings_digest", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_table(
        "tuning_steps",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tuning_id", sa.String, sa.ForeignKey("tunings.id"), nullable=False, index=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
