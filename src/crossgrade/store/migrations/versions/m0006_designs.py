"""The designs of runs, by which samples become observations."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table of designs. Earlier runs have none."""
    op.create_table(
        "designs",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("design", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_designs_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_designs"),
    )
    op.create_index("ix_designs_run_id", "designs", ["run_id"])
