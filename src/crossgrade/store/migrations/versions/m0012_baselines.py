"""Sealed baselines, and the candidates that were compared with each."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the tables of sealed baselines."""
    op.create_table(
        "baselines",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_baselines_workload", "baselines", ["workload", "at"])
    op.create_table(
        "baseline_uses",
        sa.Column("baseline_id", sa.String, sa.ForeignKey("baselines.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("candidate", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("alpha", sa.Float, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("samples", sa.Text, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
