"""Live pairs with their answers, feedback, audits, the state of monitors, alarms."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables for `watch`."""
    _make_pairs()
    _make_feedback()
    _make_audits()
    _make_alarms()


def _make_pairs() -> None:
    op.create_table(
        "pairs",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("route", sa.String, nullable=False),
        sa.Column("verdict_id", sa.String),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("segment", sa.Text),
        sa.Column("endpoint", sa.String, nullable=False),
        sa.Column("request", sa.LargeBinary),
        sa.Column("served_by", sa.String, nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pairs"),
    )
    op.create_index("ix_pairs_route", "pairs", ["route"])
    op.create_table(
        "pair_answers",
        sa.Column("pair_id", sa.String, nullable=False),
        sa.Column("side", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("response_id", sa.String),
        sa.Column("text", sa.Text),
        sa.Column("tool_calls", sa.Text),
        sa.Column("finish_reason", sa.String),
        sa.Column("served_model", sa.String),
        sa.Column("runtime", sa.String),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("cache_read_input_tokens", sa.Integer),
        sa.Column("cache_creation_input_tokens", sa.Integer),
        sa.Column("reasoning_output_tokens", sa.Integer),
        sa.Column("cost_usd", sa.String),
        sa.Column("latency_ms", sa.Float),
        sa.Column("ttft_ms", sa.Float),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("pair_id", "side", name="pk_pair_answers"),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.id"], name="fk_pair_answers_pair_id"),
    )
    op.create_index("ix_pair_answers_response_id", "pair_answers", ["response_id"])


def _make_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("response_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("route", sa.String),
        sa.Column("verdict_id", sa.String),
        sa.Column("segment", sa.Text),
        sa.Column("side", sa.String),
        sa.Column("probability", sa.Float),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_response_id", "feedback", ["response_id"])


def _make_audits() -> None:
    op.create_table(
        "audits",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("route", sa.String, nullable=False),
        sa.Column("verdict_id", sa.String),
        sa.Column("segment", sa.Text),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("source_id", sa.String, nullable=False),
        sa.Column("scorer_digest", sa.String, nullable=False),
        sa.Column("incumbent", sa.Float),
        sa.Column("candidate", sa.Float),
        sa.Column("weight", sa.Float, nullable=False),
        sa.Column("explanation", sa.Text),
        sa.Column("cost_usd", sa.String),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audits"),
    )
    op.create_index("ix_audits_route", "audits", ["route", "id"])
    op.create_index("ix_audits_source_id", "audits", ["source_id", "scorer_digest"], unique=True)
    op.create_table(
        "watch_states",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("route", sa.String, nullable=False),
        sa.Column("verdict_id", sa.String),
        sa.Column("segment", sa.Text),
        sa.Column("scorer_digest", sa.String, nullable=False),
        sa.Column("last_audit", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_watch_states"),
    )
    op.create_index("ix_watch_states_route", "watch_states", ["route", "id"])


def _make_alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("route", sa.String, nullable=False),
        sa.Column("verdict_id", sa.String),
        sa.Column("segment", sa.Text),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alarms"),
    )
    op.create_index("ix_alarms_route", "alarms", ["route"])
    op.create_table(
        "alarm_events",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("alarm_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alarm_events"),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarms.id"], name="fk_alarm_events_alarm_id"),
    )
    op.create_index("ix_alarm_events_alarm_id", "alarm_events", ["alarm_id"])
