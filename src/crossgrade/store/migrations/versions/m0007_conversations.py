"""Which conversation a live pair and an audit belong to, and when its request came."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add what makes the conversation the unit that claims are watched by; NULL for what came before."""
    op.add_column("pairs", sa.Column("conversation", sa.String))
    op.add_column("audits", sa.Column("conversation", sa.String))
    op.add_column("audits", sa.Column("asked_at", sa.String))
