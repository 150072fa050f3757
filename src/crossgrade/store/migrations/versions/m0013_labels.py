"""People's labels: which items were drawn, who labels, and what each rater did."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the tables of labelling."""
    op.create_table(
        "label_draws",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("scale", sa.String, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("items", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_label_draws_subject", "label_draws", ["subject"])
    op.create_table(
        "label_raters",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("is_owner", sa.Boolean, nullable=False),
        sa.Column("quota", sa.Integer),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_label_raters_subject", "label_raters", ["subject"])
    _add_links()
    op.create_table(
        "label_actions",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("item", sa.String, nullable=False),
        sa.Column("rater_id", sa.String, sa.ForeignKey("label_raters.id"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("scores", sa.Text),
        sa.Column("reason", sa.String),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("undoes", sa.String),
        sa.Column("shown_at", sa.String),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_label_actions_id", "label_actions", ["id"], unique=True)
    op.create_index("ix_label_actions_subject", "label_actions", ["subject", "number"])


def _add_links() -> None:
    op.create_table(
        "label_links",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("rater_id", sa.String, sa.ForeignKey("label_raters.id"), nullable=False),
        sa.Column("ends_at", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_label_links_rater_id", "label_links", ["rater_id"])
    op.create_table(
        "label_sessions",
        sa.Column("link_digest", sa.String, sa.ForeignKey("label_links.digest"), primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_label_sessions_digest", "label_sessions", ["digest"], unique=True)
    op.create_table(
        "label_rater_events",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rater_id", sa.String, sa.ForeignKey("label_raters.id"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
    )
    op.create_index("ix_label_rater_events_rater_id", "label_rater_events", ["rater_id"])
