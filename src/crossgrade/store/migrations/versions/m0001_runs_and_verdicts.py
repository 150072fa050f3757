"""Runs with their samples, responses, answers and scores; verdicts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    _make_runs()
    _make_answers()
    _make_batches()
    _make_verdicts()


def _make_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("dataset_digest", sa.String, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("settings_digest", sa.String, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("planned", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_workload", "runs", ["workload"])
    op.create_table(
        "run_events",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run_events"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_events_run_id"),
    )
    op.create_index("ix_run_events_run_id", "run_events", ["run_id"])
    op.create_table(
        "samples",
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("sample_id", sa.String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("segment", sa.Text),
        sa.Column("cluster", sa.Text),
        sa.Column("weight", sa.Float, nullable=False),
        sa.Column("input", sa.Text),
        sa.Column("target", sa.Text),
        sa.PrimaryKeyConstraint("run_id", "sample_id", name="pk_samples"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_samples_run_id"),
    )


def _make_answers() -> None:
    op.create_table(
        "responses",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("request_digest", sa.String, nullable=False),
        sa.Column("offer", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
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
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_responses"),
    )
    op.create_index("ix_responses_request_digest", "responses", ["request_digest"])
    op.create_table(
        "answers",
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("sample_id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("prompt_digest", sa.String, nullable=False),
        sa.Column("settings_digest", sa.String, nullable=False),
        sa.Column("response_id", sa.String),
        sa.Column("reused", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("error_kind", sa.String),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "sample_id", "model", "epoch", "attempt", name="pk_answers"),
        sa.ForeignKeyConstraint(["response_id"], ["responses.id"], name="fk_answers_response_id"),
        sa.ForeignKeyConstraint(
            ["run_id", "sample_id"], ["samples.run_id", "samples.sample_id"], name="fk_answers_run_id"
        ),
    )
    op.create_table(
        "scores",
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("sample_id", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("scorer_digest", sa.String, nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("unparsed", sa.Boolean, nullable=False),
        sa.Column("extracted", sa.Text),
        sa.Column("explanation", sa.Text),
        sa.Column("cost_usd", sa.String),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint(
            "run_id", "sample_id", "model", "epoch", "attempt", "scorer_digest", name="pk_scores"
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "sample_id", "model", "epoch", "attempt"],
            ["answers.run_id", "answers.sample_id", "answers.model", "answers.epoch", "answers.attempt"],
            name="fk_scores_run_id",
        ),
    )


def _make_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("offer", sa.String, nullable=False),
        sa.Column("batch", sa.String, nullable=False),
        sa.Column("request_digests", sa.Text, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_batches_run_id"),
    )
    op.create_index("ix_batches_run_id", "batches", ["run_id"])


def _make_verdicts() -> None:
    op.create_table(
        "verdicts",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("run_id", sa.String),
        sa.Column("decided_at", sa.String, nullable=False),
        sa.Column("valid_until", sa.String, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("evidence_digest", sa.String, nullable=False),
        sa.Column("evidence", sa.LargeBinary),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_verdicts_run_id"),
    )
    op.create_index("ix_verdicts_workload", "verdicts", ["workload", "decided_at"])
