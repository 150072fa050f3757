"""Dossiers: what was stated and measured of a workload's models, as each was made."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the table of dossiers, which is empty at first."""
    op.create_table(
        "dossiers",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("workload", sa.String, nullable=False, index=True),
        sa.Column("made_at", sa.String, nullable=False),
        sa.Column("valid_until", sa.String, nullable=False),
        sa.Column("dossier", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
