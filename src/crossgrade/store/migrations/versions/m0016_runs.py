"""Runs of agents that the gateway serves, tunings of candidates, and conformity checks of offers."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add tables, which are empty at first, and columns that are NULL in earlier rows."""
    _add_runs()
    _add_tunings()
    _add_conformity()


def _add_runs() -> None:
    """Add the table of runs, and columns that name them."""
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


def _add_tunings() -> None:
    """Add the tables of tunings and of the steps of each."""
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


def _add_conformity() -> None:
    """Add the tables of checks and of the daily looks after them, and the log-probabilities of answers."""
    op.create_table(
        "conform_checks",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("offer", sa.String, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_conform_checks_offer", "conform_checks", ["offer", "at"])
    op.create_table(
        "conform_days",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("check_id", sa.String, nullable=False, index=True),
        sa.Column("offer", sa.String, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.add_column("responses", sa.Column("logprobs", sa.Text))
