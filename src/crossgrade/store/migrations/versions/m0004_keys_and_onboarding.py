"""Events of the gateway's keys, and the steps of onboarding an offer."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables of keys and onboarding."""
    op.create_table(
        "key_events",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_events"),
    )
    op.create_table(
        "onboarding_steps",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("offer", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_onboarding_steps"),
    )
    op.create_index("ix_onboarding_steps_offer", "onboarding_steps", ["offer", "workload"])
