"""Stores answers and their scores, and reads them to resume a run, to reuse answers and to decide."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, Row, Select, Table, and_, insert, select

from crossgrade.domain import (
    ModelAnswer,
    Score,
    ScoredAnswer,
    TokenLogprob,
    ToolCall,
    Usage,
    ended_at_limit,
)
from crossgrade.errors import StoreError, kind_of
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._records import Answer, AnswerScore, Record, RecordedAnswer, Response, RunKey, RunSample

_LOOKUP_SIZE = 500
"""The number of digests in one query; SQLite accepts at least 999 parameters."""

_Row: TypeAlias = dict[str, object]


class Answers:
    """The answers of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, records: Sequence[Record]) -> None:
        """Commit records in one transaction, either all of them or none."""
        with self._database.writing() as connection:
            for kind, (table, to_row) in _WRITERS.items():
                rows = [storable(to_row(record)) for record in records if type(record) is kind]
                if rows:
                    connection.execute(insert(table), rows)

    def paid(self, request_digests: Iterable[str]) -> dict[str, Response]:
        """Return the newest response to each request that has one, from any run."""
        digests = list(request_digests)
        found: dict[str, Response] = {}
        with _reading(self._database) as connection:
            for start in range(0, len(digests), _LOOKUP_SIZE):
                query = (
                    select(t.responses)
                    .where(t.responses.c.request_digest.in_(digests[start : start + _LOOKUP_SIZE]))
                    .order_by(t.responses.c.id)
                )
                for row in connection.execute(query):
                    found[row.request_digest] = _response(row)
        return found

    def responses(self, ids: Iterable[str]) -> dict[str, Response]:
        """Return the responses with these ids, by id; those that are not there are left out."""
        wanted = list(ids)
        found: dict[str, Response] = {}
        with _reading(self._database) as connection:
            for start in range(0, len(wanted), _LOOKUP_SIZE):
                query = select(t.responses).where(t.responses.c.id.in_(wanted[start : start + _LOOKUP_SIZE]))
                found |= {row.id: _response(row) for row in connection.execute(query)}
        return found

    def of_run(self, run_id: str, scorer_digest: str) -> dict[RunKey, RecordedAnswer]:
        """Return the run's latest answer to each (sample id, model, epoch), with its score if it has one."""
        query = _answers_query(run_id, scorer_digest)
        with _reading(self._database) as connection:
            return {
                (row.sample_id, row.model, row.epoch): _recorded(row) for row in connection.execute(query)
            }

    def samples_of_run(self, run_id: str) -> set[str]:
        """Return the ids of the samples that the run has recorded."""
        query = select(t.samples.c.sample_id).where(t.samples.c.run_id == run_id)
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def prompts_of_run(self, run_id: str) -> set[str]:
        """Return the digests of the prompts that the run has recorded."""
        query = select(t.answers.c.prompt_digest).where(t.answers.c.run_id == run_id).distinct()
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def versions(self, run_id: str) -> dict[str, set[str]]:
        """Return the versions that providers reported in a run, by model; a model without one is left out."""
        query = (
            select(t.answers.c.model, t.responses.c.served_model)
            .join(t.responses, t.answers.c.response_id == t.responses.c.id)
            .where(t.answers.c.run_id == run_id, t.responses.c.served_model.is_not(None))
            .distinct()
        )
        found: dict[str, set[str]] = {}
        with self._database.reading() as connection:
            for model, version in connection.execute(query):
                found.setdefault(model, set()).add(version)
        return found

    def scored(self, run_id: str, scorer_digest: str) -> list[ScoredAnswer]:
        """Return the run's latest answers as evidence, in the order in which samples were asked.

        An answer without a score by this scorer is left out, so that an answer that did not count during
        the run does not count afterwards. A failed call is included, with its error.
        """
        query = _answers_query(run_id, scorer_digest)
        latest: dict[RunKey, Row[Any]] = {}
        with _reading(self._database) as connection:
            for row in connection.execute(query):
                latest[row.sample_id, row.model, row.epoch] = row
            counted = (row for row in latest.values() if row.scorer_digest is not None or row.error_kind)
            return [_scored(row) for row in counted]


@contextmanager
def as_written(what: str) -> Iterator[None]:
    """Raise `StoreError` where a `with` block that reads rows finds something else than was written."""
    try:
        yield
    except (msgspec.MsgspecError, struct.error, ValueError, TypeError, ArithmeticError) as error:
        raise StoreError(
            f"{what} is damaged ({error})",
            code="database-damaged",
            hint="restore a copy of the database from before the damage",
        ) from error


@contextmanager
def _reading(database: Database) -> Iterator[Connection]:
    with database.reading() as connection, as_written(f"an answer in {database.place}"):
        yield connection


def _answers_query(run_id: str, scorer_digest: str) -> Select[Any]:
    a, s, r, x = t.answers, t.samples, t.responses, t.scores
    same_answer = and_(
        x.c.run_id == a.c.run_id,
        x.c.sample_id == a.c.sample_id,
        x.c.model == a.c.model,
        x.c.epoch == a.c.epoch,
        x.c.attempt == a.c.attempt,
        x.c.scorer_digest == scorer_digest,
    )
    return (
        select(
            *(a.c[name] for name in ("sample_id", "model", "epoch", "attempt", "reused", "response_id")),
            *(a.c[name] for name in ("prompt_digest", "settings_digest", "error", "error_kind")),
            *(s.c[name] for name in ("segment", "cluster", "weight")),
            *(s.c[name] for name in ("input", "target")),
            *(column for column in r.c if column.name != "cost_usd"),
            r.c.cost_usd.label("answer_cost_usd"),
            *(x.c[name] for name in ("scorer_digest", "value", "unparsed", "extracted", "explanation")),
            x.c.cost_usd.label("score_cost_usd"),
        )
        .join_from(a, s, and_(a.c.run_id == s.c.run_id, a.c.sample_id == s.c.sample_id))
        .join(r, a.c.response_id == r.c.id, isouter=True)
        .join(x, same_answer, isouter=True)
        .where(a.c.run_id == run_id)
        .order_by(s.c.position, a.c.model, a.c.epoch, a.c.attempt)
    )


def _recorded(row: Row[Any]) -> RecordedAnswer:
    return RecordedAnswer(
        sample_id=row.sample_id,
        model=row.model,
        epoch=row.epoch,
        attempt=row.attempt,
        response=None if row.response_id is None else _response(row, cost=row.answer_cost_usd),
        reused=row.reused,
        error=row.error,
        error_kind=None if row.error_kind is None else kind_of(row.error_kind),
        score=None if row.scorer_digest is None else _score(row),
    )


def _response(row: Row[Any], *, cost: str | None = None) -> Response:
    text = cost if cost is not None else getattr(row, "cost_usd", None)
    with as_written(f"response {row.id}"):
        return Response(
            id=row.id,
            request_digest=row.request_digest,
            offer=row.offer,
            answer=replace(model_answer(row), vector=_vector(row.vector), logprobs=_logprobs(row.logprobs)),
            cost_usd=money(text),
            at=datetime.fromisoformat(row.at),
        )


def model_answer(row: Row[Any]) -> ModelAnswer:
    """Return the answer in columns that `answer_row` wrote. Raises `TypeError` if one is of another type."""
    check_types(row)
    calls = () if row.tool_calls is None else msgspec.json.decode(row.tool_calls, type=tuple[ToolCall, ...])
    return ModelAnswer(
        text=row.text,
        tool_calls=calls,
        finish_reason=row.finish_reason,
        usage=_usage(row),
        model=row.served_model,
        runtime=row.runtime,
        latency_ms=row.latency_ms,
        ttft_ms=row.ttft_ms,
    )


_ANSWER_TYPES = {
    column.name: (int, float) if column.type.python_type is float else column.type.python_type
    for column in t.responses.c
    if column.name in t.pair_answers.c
}
"""What the columns of an answer hold, which SQLite does not see to."""


def check_types(row: Row[Any]) -> None:
    """Raise `TypeError` if a column of an answer holds a value of another type than its own."""
    for name, kind in _ANSWER_TYPES.items():
        value = getattr(row, name, None)
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r:.40}")


def _vector(packed: bytes | None) -> tuple[float, ...] | None:
    return None if packed is None else struct.unpack(f"<{len(packed) // 8}d", packed)


def _logprobs(text: str | None) -> tuple[TokenLogprob, ...]:
    return () if text is None else msgspec.json.decode(text, type=tuple[TokenLogprob, ...])


def _usage(row: Row[Any]) -> Usage:
    return Usage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_read_input_tokens=row.cache_read_input_tokens,
        cache_creation_input_tokens=row.cache_creation_input_tokens,
        reasoning_output_tokens=row.reasoning_output_tokens,
        images=row.images,
    )


def _score(row: Row[Any]) -> Score:
    return Score(
        value=row.value,
        unparsed=row.unparsed,
        extracted=row.extracted,
        explanation=row.explanation,
        cost_usd=money(row.score_cost_usd),
    )


def _scored(row: Row[Any]) -> ScoredAnswer:
    check_types(row)
    return ScoredAnswer(
        sample_id=row.sample_id,
        model=row.model,
        score=row.value,
        epoch=row.epoch,
        segment=row.segment,
        cluster=row.cluster,
        weight=row.weight,
        error=row.error,
        unparsed=bool(row.unparsed),
        truncated=ended_at_limit(row.finish_reason),
        output=row.text,
        input=row.input,
        target=row.target,
        prompt_digest=row.prompt_digest,
        settings_digest=row.settings_digest,
        usage=_usage(row),
        cost_usd=money(row.answer_cost_usd),
        paid_for=row.offer,
        on=None if row.at is None else datetime.fromisoformat(row.at).date(),
        latency_ms=row.latency_ms,
        ttft_ms=row.ttft_ms,
    )


def money(text: str | None) -> Decimal | None:
    """Return the dollars in a column; None is unknown."""
    return None if text is None else Decimal(text)


def money_text(value: Decimal | None) -> str | None:
    """Return dollars as the text of a column; None is unknown."""
    return None if value is None else str(value)


_FOREIGN = frozenset(
    {"text", "finish_reason", "served_model", "input", "target", "error", "extracted", "explanation"}
    | {"segment", "request_id", "response_id", "name"}
)
"""Columns with texts from outside, such as from models."""


def storable(row: _Row) -> _Row:
    """Return the row with NUL characters in foreign texts replaced, because PostgreSQL cannot store them."""
    for name in _FOREIGN & row.keys():
        text = row[name]
        if isinstance(text, str) and "\0" in text:
            row[name] = text.replace("\0", "\ufffd")
    return row


def _sample_row(sample: RunSample) -> _Row:
    return {name: getattr(sample, name) for name in _SAMPLE_FIELDS}


_SAMPLE_FIELDS = tuple(column.name for column in t.samples.c)


def _response_row(response: Response) -> _Row:
    vector = response.answer.vector
    return {
        "id": response.id,
        "request_digest": response.request_digest,
        "offer": response.offer,
        **answer_row(response.answer),
        "vector": None if vector is None else struct.pack(f"<{len(vector)}d", *vector),
        "logprobs": msgspec.json.encode(response.answer.logprobs).decode()
        if response.answer.logprobs
        else None,
        "cost_usd": money_text(response.cost_usd),
        "at": response.at.isoformat(),
    }


def answer_row(answer: ModelAnswer) -> _Row:
    """Return a model's answer as the columns that all tables with answers share."""
    usage = answer.usage
    return {
        "text": answer.text,
        "tool_calls": msgspec.json.encode(answer.tool_calls).decode() if answer.tool_calls else None,
        "finish_reason": answer.finish_reason,
        "served_model": answer.model,
        "runtime": answer.runtime,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "reasoning_output_tokens": usage.reasoning_output_tokens,
        "images": usage.images,
        "latency_ms": answer.latency_ms,
        "ttft_ms": answer.ttft_ms,
    }


def _answer_row(answer: Answer) -> _Row:
    return {
        "run_id": answer.run_id,
        "sample_id": answer.sample_id,
        "model": answer.model,
        "epoch": answer.epoch,
        "attempt": answer.attempt,
        "prompt_digest": answer.prompt_digest,
        "settings_digest": answer.settings_digest,
        "response_id": answer.response_id,
        "reused": answer.reused,
        "error": answer.error,
        "error_kind": answer.error_kind,
        "at": answer.at.isoformat(),
    }


def _score_row(record: AnswerScore) -> _Row:
    score = record.score
    return {
        "run_id": record.run_id,
        "sample_id": record.sample_id,
        "model": record.model,
        "epoch": record.epoch,
        "attempt": record.attempt,
        "scorer_digest": record.scorer_digest,
        "value": score.value,
        "unparsed": score.unparsed,
        "extracted": score.extracted,
        "explanation": score.explanation,
        "cost_usd": money_text(score.cost_usd),
        "at": record.at.isoformat(),
    }


# In the order in which foreign keys require them to be inserted.
_WRITERS: dict[type, tuple[Table, Callable[[Any], _Row]]] = {
    RunSample: (t.samples, _sample_row),
    Response: (t.responses, _response_row),
    Answer: (t.answers, _answer_row),
    AnswerScore: (t.scores, _score_row),
}
