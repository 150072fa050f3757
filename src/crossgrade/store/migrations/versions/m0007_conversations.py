"""The conversation that a live pair and an audit belong to, and the time of its request."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add columns for conversations, the unit in which claims are watched; NULL in earlier rows."""
    op.add_column("pairs", sa.Column("conversation", sa.String))
    op.add_column("audits", sa.Column("conversation", sa.String))
    op.add_column("audits", sa.Column("asked_at", sa.String))
