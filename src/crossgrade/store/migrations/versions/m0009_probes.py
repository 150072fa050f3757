"""Context probes, whose calls are stored like those of runs. A batch may belong to either."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table of probes, and allow batches to refer to a probe."""
    op.create_table(
        "probes",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("offer", sa.String, nullable=False),
        sa.Column("settings_digest", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_probes"),
    )
    with op.batch_alter_table("batches") as batches:
        batches.drop_constraint("fk_batches_run_id", type_="foreignkey")
