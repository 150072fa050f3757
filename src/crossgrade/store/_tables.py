"""Defines the tables as they are after all `migrations/`; a test compares the two.

Times are RFC 3339 text in UTC. Money is decimal text, which is exact and the same on SQLite and PostgreSQL.
Structures are JSON text. Rows are never updated or deleted, except for the counters of limits, the runs that
the gateway remembers, the texts of old live pairs and the notes on them, the samples that `_erasure.py`
erases, and the ledger's head, checkpoints and erased payloads.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("dataset_digest", String, nullable=False),
    Column("settings", Text, nullable=False),
    Column("settings_digest", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("planned", Integer, nullable=False),
    Column("created_at", String, nullable=False),
)

designs = Table(
    "designs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", String, ForeignKey("runs.id"), nullable=False, index=True),
    Column("design", Text, nullable=False),
    Column("at", String, nullable=False),
)

run_events = Table(
    "run_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", String, ForeignKey("runs.id"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", String, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    Column("run_id", String, ForeignKey("runs.id"), primary_key=True),
    Column("sample_id", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("segment", Text),
    Column("cluster", Text),
    Column("weight", Float, nullable=False),
    Column("input", Text),
    Column("target", Text),
)

responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    Column("request_digest", String, nullable=False, index=True),
    Column("offer", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("tool_calls", Text),
    Column("finish_reason", String),
    Column("served_model", String),
    Column("runtime", String),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cache_read_input_tokens", Integer),
    Column("cache_creation_input_tokens", Integer),
    Column("reasoning_output_tokens", Integer),
    Column("images", Integer),
    Column("cost_usd", String),
    Column("latency_ms", Float),
    Column("ttft_ms", Float),
    Column("vector", LargeBinary),
    Column("at", String, nullable=False),
    Column("logprobs", Text),
)

answers = Table(
    "answers",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("sample_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("prompt_digest", String, nullable=False),
    Column("settings_digest", String, nullable=False),
    Column("response_id", String, ForeignKey("responses.id")),
    Column("reused", Boolean, nullable=False),
    Column("error", Text),
    Column("error_kind", String),
    Column("at", String, nullable=False),
    ForeignKeyConstraint(["run_id", "sample_id"], ["samples.run_id", "samples.sample_id"]),
)

scores = Table(
    "scores",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("sample_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("scorer_digest", String, primary_key=True),
    Column("value", Float),
    Column("unparsed", Boolean, nullable=False),
    Column("extracted", Text),
    Column("explanation", Text),
    Column("cost_usd", String),
    Column("at", String, nullable=False),
    ForeignKeyConstraint(
        ["run_id", "sample_id", "model", "epoch", "attempt"],
        ["answers.run_id", "answers.sample_id", "answers.model", "answers.epoch", "answers.attempt"],
    ),
)

probes = Table(
    "probes",
    metadata,
    Column("id", String, primary_key=True),
    Column("offer", String, nullable=False),
    Column("settings_digest", String, nullable=False),
    Column("at", String, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("id", String, primary_key=True),
    Column("run_id", String, nullable=False, index=True),
    Column("offer", String, nullable=False),
    Column("batch", String, nullable=False),
    Column("request_digests", Text, nullable=False),
    Column("at", String, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False),
    Column("name", String, nullable=False),
    Column("run_id", String, ForeignKey("runs.id")),
    Column("decided_at", String, nullable=False),
    Column("valid_until", String, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("evidence_digest", String, nullable=False),
    Column("evidence", LargeBinary),
    Column("at", String, nullable=False),
    Index("ix_verdicts_workload", "workload", "decided_at"),
)

pairs = Table(
    "pairs",
    metadata,
    Column("id", String, primary_key=True),
    Column("route", String, nullable=False, index=True),
    Column("verdict_id", String),
    Column("request_id", String, nullable=False),
    Column("segment", Text),
    Column("endpoint", String, nullable=False),
    Column("request", LargeBinary),
    Column("served_by", String, nullable=False),
    Column("probability", Float, nullable=False),
    Column("at", String, nullable=False),
    Column("conversation", String),
    Column("score", Float),
    Column("missed", String),
    Column("run", String, index=True),
)

pair_answers = Table(
    "pair_answers",
    metadata,
    Column("pair_id", String, ForeignKey("pairs.id"), primary_key=True),
    Column("side", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("response_id", String, index=True),
    Column("text", Text),
    Column("tool_calls", Text),
    Column("finish_reason", String),
    Column("served_model", String),
    Column("runtime", String),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cache_read_input_tokens", Integer),
    Column("cache_creation_input_tokens", Integer),
    Column("reasoning_output_tokens", Integer),
    Column("images", Integer),
    Column("cost_usd", String),
    Column("latency_ms", Float),
    Column("ttft_ms", Float),
    Column("error", Text),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", String, primary_key=True),
    Column("response_id", String, nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("value", Float, nullable=False),
    Column("route", String),
    Column("verdict_id", String),
    Column("segment", Text),
    Column("side", String),
    Column("probability", Float),
    Column("at", String, nullable=False),
    Column("run", String, index=True),
)

served_runs = Table(
    "served_runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("route", String, nullable=False),
    Column("start", Text, nullable=False),
    Column("is_mixed", Boolean, nullable=False),
    Column("is_down", Boolean, nullable=False),
    Column("at", String, nullable=False, index=True),
)

audits = Table(
    "audits",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("route", String, nullable=False),
    Column("verdict_id", String),
    Column("segment", Text),
    Column("source", String, nullable=False),
    Column("source_id", String, nullable=False),
    Column("scorer_digest", String, nullable=False),
    Column("incumbent", Float),
    Column("candidate", Float),
    Column("weight", Float, nullable=False),
    Column("explanation", Text),
    Column("cost_usd", String),
    Column("at", String, nullable=False),
    Column("conversation", String),
    Column("asked_at", String),
    Index("ix_audits_route", "route", "id"),
    Index("ix_audits_source_id", "source_id", "scorer_digest", unique=True),
)

watch_states = Table(
    "watch_states",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("route", String, nullable=False),
    Column("verdict_id", String),
    Column("segment", Text),
    Column("scorer_digest", String, nullable=False),
    Column("last_audit", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", String, nullable=False),
    Index("ix_watch_states_route", "route", "id"),
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", String, primary_key=True),
    Column("route", String, nullable=False, index=True),
    Column("verdict_id", String),
    Column("segment", Text),
    Column("kind", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", String, nullable=False),
)

alarm_events = Table(
    "alarm_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("alarm_id", String, ForeignKey("alarms.id"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", String, nullable=False),
)

limit_windows = Table(
    "limit_windows",
    metadata,
    Column("scope", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("unit", String, primary_key=True),
    Column("window_s", BigInteger, primary_key=True, autoincrement=False),
    Column("begins", BigInteger, primary_key=True, autoincrement=False),
    Column("spent", BigInteger, nullable=False),
    Column("leased", BigInteger, nullable=False),
)

limit_leases = Table(
    "limit_leases",
    metadata,
    Column("keeper", String, primary_key=True),
    Column("scope", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("unit", String, primary_key=True),
    Column("window_s", BigInteger, primary_key=True, autoincrement=False),
    Column("begins", BigInteger, primary_key=True, autoincrement=False),
    Column("leased", BigInteger, nullable=False),
)

keepers = Table(
    "keepers",
    metadata,
    Column("id", String, primary_key=True),
    Column("segment", String, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("at", String, nullable=False),
)

key_events = Table(
    "key_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", String, nullable=False),
)

onboarding_steps = Table(
    "onboarding_steps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("offer", String, nullable=False),
    Column("workload", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", String, nullable=False),
    Index("ix_onboarding_steps_offer", "offer", "workload"),
)

compatibility = Table(
    "compatibility",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("offer", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("model", String, nullable=False),
    Column("host", String),
    Column("record", Text, nullable=False),
    Column("at", String, nullable=False),
    Index("ix_compatibility_offer", "offer", "id"),
)

route_tables = Table(
    "route_tables",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("at", String, nullable=False),
)

baselines = Table(
    "baselines",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("content", Text, nullable=False),
    Column("at", String, nullable=False),
    Index("ix_baselines_workload", "workload", "at"),
)

baseline_uses = Table(
    "baseline_uses",
    metadata,
    Column("baseline_id", String, ForeignKey("baselines.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String, nullable=False),
    Column("candidate", String, nullable=False),
    Column("key", String, nullable=False),
    Column("alpha", Float, nullable=False),
    Column("purpose", String, nullable=False),
    Column("samples", Text, nullable=False),
    Column("digest", String, nullable=False),
    Column("at", String, nullable=False),
)

label_draws = Table(
    "label_draws",
    metadata,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("scale", String, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("settings", Text, nullable=False),
    Column("items", LargeBinary, nullable=False),
    Column("at", String, nullable=False),
)

label_raters = Table(
    "label_raters",
    metadata,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False, index=True),
    Column("name", String, nullable=False),
    Column("is_owner", Boolean, nullable=False),
    Column("quota", Integer),
    Column("at", String, nullable=False),
)

label_links = Table(
    "label_links",
    metadata,
    Column("digest", String, primary_key=True),
    Column("rater_id", String, ForeignKey("label_raters.id"), nullable=False, index=True),
    Column("ends_at", String, nullable=False),
    Column("at", String, nullable=False),
)

label_sessions = Table(
    "label_sessions",
    metadata,
    Column("link_digest", String, ForeignKey("label_links.digest"), primary_key=True),
    Column("digest", String, nullable=False, index=True, unique=True),
    Column("at", String, nullable=False),
)

label_rater_events = Table(
    "label_rater_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rater_id", String, ForeignKey("label_raters.id"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("at", String, nullable=False),
)

label_actions = Table(
    "label_actions",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, index=True, unique=True),
    Column("subject", String, nullable=False),
    Column("item", String, nullable=False),
    Column("rater_id", String, ForeignKey("label_raters.id"), nullable=False),
    Column("kind", String, nullable=False),
    Column("scores", Text),
    Column("reason", String),
    Column("note", Text, nullable=False),
    Column("undoes", String),
    Column("shown_at", String),
    Column("at", String, nullable=False),
    Index("ix_label_actions_subject", "subject", "number"),
)

ledger_head = Table(
    "ledger_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("payload", LargeBinary),
    Column("subject", String),
    Index(
        "ix_ledger_entries_subject",
        "subject",
        sqlite_where=text("subject IS NOT NULL"),
        postgresql_where=text("subject IS NOT NULL"),
    ),
)

ledger_nodes = Table(
    "ledger_nodes",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("is_cosigned", Boolean, nullable=False),
)

ledger_keys = Table(
    "ledger_keys",
    metadata,
    Column("subject", String, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

dossiers = Table(
    "dossiers",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("workload", String, nullable=False, index=True),
    Column("made_at", String, nullable=False),
    Column("valid_until", String, nullable=False),
    Column("dossier", Text, nullable=False),
    Column("at", String, nullable=False),
)

tunings = Table(
    "tunings",
    metadata,
    Column("id", String, primary_key=True),
    Column("workload", String, nullable=False, index=True),
    Column("candidate", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("settings", Text, nullable=False),
    Column("settings_digest", String, nullable=False),
    Column("at", String, nullable=False),
)

tuning_steps = Table(
    "tuning_steps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tuning_id", String, ForeignKey("tunings.id"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", String, nullable=False),
)

conform_checks = Table(
    "conform_checks",
    metadata,
    Column("id", String, primary_key=True),
    Column("offer", String, nullable=False),
    Column("record", Text, nullable=False),
    Column("at", String, nullable=False),
    Index("ix_conform_checks_offer", "offer", "at"),
)

conform_days = Table(
    "conform_days",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("check_id", String, nullable=False, index=True),
    Column("offer", String, nullable=False),
    Column("record", Text, nullable=False),
    Column("at", String, nullable=False),
)
