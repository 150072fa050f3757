"""The usage of limits, brokers' leases of them, and how far each broker's records are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables for limits across processes and machines."""
    op.create_table(
        "limit_windows",
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("unit", sa.String, nullable=False),
        sa.Column("window_s", sa.BigInteger, nullable=False),
        sa.Column("begins", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("leased", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope", "name", "unit", "window_s", "begins", name="pk_limit_windows"),
    )
    op.create_table(
        "limit_leases",
        sa.Column("keeper", sa.String, nullable=False),
        sa.Column("scope", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("unit", sa.String, nullable=False),
        sa.Column("window_s", sa.BigInteger, nullable=False),
        sa.Column("begins", sa.BigInteger, nullable=False),
        sa.Column("leased", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "keeper", "scope", "name", "unit", "window_s", "begins", name="pk_limit_leases"
        ),
    )
    op.create_table(
        "keepers",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("segment", sa.String, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keepers"),
    )
