"""The router's score of a live pair, and why a request that was drawn for an audit has no pair of answers."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add columns for audits of growing routes; NULL in earlier rows."""
    op.add_column("pairs", sa.Column("score", sa.Float))
    op.add_column("pairs", sa.Column("missed", sa.String))
