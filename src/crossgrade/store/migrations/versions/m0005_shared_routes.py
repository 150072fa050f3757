"""Route tables of machines that share a database."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table of the route tables that machines publish to each other."""
    op.create_table(
        "route_tables",
        sa.Column("version", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_route_tables"),
    )
