"""Conformity checks, the daily looks that follow them, and the log-probabilities of answers."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the tables, which are empty at first, and a column that only new answers fill."""
    for name in ("conform_checks", "conform_days"):
        key = sa.Column("id", sa.String, nullable=False)
        number = sa.Column("id", sa.Integer, nullable=False)
        own = (
            [key] if name == "conform_checks" else [number, sa.Column("check_id", sa.String, nullable=False)]
        )
        op.create_table(
            name,
            *own,
            sa.Column("offer", sa.String, nullable=False),
            sa.Column("record", sa.Text, nullable=False),
            sa.Column("at", sa.String, nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
        )
    op.create_index("ix_conform_checks_offer", "conform_checks", ["offer", "at"])
    op.create_index("ix_conform_days_check_id", "conform_days", ["check_id"])
    op.add_column("responses", sa.Column("logprobs", sa.Text))
