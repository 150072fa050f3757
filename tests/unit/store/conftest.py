"""Stores of both kinds, and records to put into them."""

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from crossgrade.domain import ModelAnswer, Score, ToolCall, Usage
from crossgrade.store import Answer, AnswerScore, Response, Run, RunSample, Store, new_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crossgrade.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store on SQLite, and one on PostgreSQL in a schema of its own."""
    url = str(tmp_path / "crossgrade.db") if request.param == "sqlite" else _fresh_schema()
    with Store.open(url, folder=tmp_path) as opened:
        yield opened


@pytest.fixture
def shared_url() -> str:
    """A PostgreSQL database that several machines may open."""
    return _fresh_schema()


def _fresh_schema() -> str:
    import sqlalchemy

    server = os.environ["CROSSGRADE_TEST_POSTGRES_URL"]
    schema = f"test_{uuid4().hex}"
    engine = sqlalchemy.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.schema.CreateSchema(schema))
    engine.dispose()
    return f"{server}?options=-csearch_path%3D{schema}"


def make_run(**changes: object) -> Run:
    fields = {
        "id": new_id(),
        "workload": "support",
        "dataset_digest": "d",
        "settings": {"floor": 0.85, "models": ["a", "b"]},
        "settings_digest": "s",
        "seed": 7,
        "planned": 10,
    }
    return Run(**{**fields, **changes})


def answered(
    run: Run,
    sample_id: str = "1",
    *,
    model: str = "gpt",
    position: int = 0,
    text: str = "yes",
    attempt: int = 1,
    new_sample: bool = True,
    cost: Decimal | None = Decimal("0.00012"),
    digest: str = "request",
) -> list[RunSample | Response | Answer]:
    """A sample, a response and the answer that ties them together."""
    response = Response(
        id=new_id(),
        request_digest=digest,
        offer=model,
        answer=ModelAnswer(
            text=text,
            tool_calls=(ToolCall(id="c", name="look", arguments='{"a": 1}'),),
            finish_reason="stop",
            usage=Usage(input_tokens=12, output_tokens=3),
            model="gpt-2026",
            latency_ms=12.5,
        ),
        cost_usd=cost,
    )
    sample = RunSample(
        run_id=run.id,
        sample_id=sample_id,
        position=position,
        segment="de",
        weight=2.0,
        input="Is it?",
        target="yes",
    )
    answer = Answer(
        run_id=run.id,
        sample_id=sample_id,
        model=model,
        epoch=1,
        attempt=attempt,
        prompt_digest=f"q{sample_id}",
        settings_digest="greedy",
        response_id=response.id,
    )
    return [sample, response, answer] if new_sample else [response, answer]


def scored(
    run: Run,
    sample_id: str = "1",
    *,
    model: str = "gpt",
    value: float | None = 1.0,
    attempt: int = 1,
    digest: str = "scorer",
) -> AnswerScore:
    return AnswerScore(
        run_id=run.id,
        sample_id=sample_id,
        model=model,
        epoch=1,
        attempt=attempt,
        scorer_digest=digest,
        score=Score(value=value, extracted="yes", cost_usd=Decimal("0.5")),
    )
