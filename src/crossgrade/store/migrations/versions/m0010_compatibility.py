"""What offers were seen to do when they were asked: the records of `crossgrade doctor --live`."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the table of compatibility records."""
    op.create_table(
        "compatibility",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("offer", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("host", sa.String),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_compatibility"),
    )
    op.create_index("ix_compatibility_offer", "compatibility", ["offer", "id"])
