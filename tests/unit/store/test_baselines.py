"""Sealed baselines are kept as they are, and what was done with them in order."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from crossgrade.decide import Blocks, RunDesign
from crossgrade.errors import StoreError
from crossgrade.store import (
    Baseline,
    BaselineUse,
    Response,
    SealedAnswer,
    SealedSample,
    Store,
    response_digest,
)
from tests.codes import raises_code
from tests.unit.store.conftest import answered, make_run

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def make_baseline(run_id: str, **changes: object) -> Baseline:
    fields: dict[str, object] = {
        "id": f"b-{run_id}",
        "workload": "support",
        "run_id": run_id,
        "sealed_at": AT,
        "dataset_digest": "sha256:d",
        "design": RunDesign(
            samples=2, first_samples=2, order=("1", "2"), blocks=Blocks(size=2, blend=0.5, pilot=0, pairs=1)
        ),
        "seed": 1,
        "epochs": 1,
        "incumbent": {"name": "gpt", "prompt": {"user": "{input}"}},
        "scorer": {"kind": "exact", "options": {}},
        "scorer_digest": "s",
        "floor": 0.85,
        "alpha": 0.05,
        "planned_candidates": 5,
        "expected_retention": 0.95,
        "power": 0.8,
        "samples": (SealedSample("1", "sha256:1"), SealedSample("2", "sha256:2")),
        "answers": (SealedAnswer(sample_id="2", epoch=1, error_kind="content-filtered"),),
    }
    return Baseline(**{**fields, **changes}).sealed()  # type: ignore[arg-type]  # fields that the test names


def test_a_baseline_comes_back_as_it_was_sealed(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    first = make_baseline(run.id)
    second = make_baseline(run.id, id="later", sealed_at=AT + timedelta(days=1))
    for each in (second, first):
        any_store.baselines.append(each)
    any_store.baselines.append(make_baseline(run.id, id="other", workload="else"))
    assert any_store.baselines.recent("support") == [second, first]
    assert any_store.baselines.newest("support") == second
    assert any_store.baselines.newest("nothing") is None
    assert any_store.baselines.get(first.id).answered == 1
    assert first.sealed().digest == first.digest != second.digest
    with raises_code("baseline-unknown", "nothing"):
        any_store.baselines.get("nothing")


def test_every_change_of_the_document_is_noticed(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    any_store.baselines.append(make_baseline(run.id))
    with any_store.baselines._database.writing() as connection:
        connection.execute(text("UPDATE baselines SET content = replace(content, '0.85', '0.84')"))
    with raises_code("baseline-changed", "support"):
        any_store.baselines.newest("support")


def test_uses_are_counted_and_no_number_is_given_twice(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    baseline = make_baseline(run.id)
    any_store.baselines.append(baseline)
    uses = [
        BaselineUse(baseline_id=baseline.id, number=1, kind="candidate", candidate="a", key="k", alpha=0.008),
        BaselineUse(baseline_id=baseline.id, number=2, kind="forgotten", samples=("1",)),
        BaselineUse(baseline_id=baseline.id, number=3, kind="revealed"),
    ]
    with any_store.baselines.using(baseline.id):
        for use in uses:
            any_store.baselines.append_use(use)
    assert any_store.baselines.uses(baseline.id) == uses
    with pytest.raises(StoreError):
        any_store.baselines.append_use(uses[0])


def test_the_digest_of_a_response_covers_what_was_answered_and_what_it_cost(any_store: Store) -> None:
    _, response, _ = answered(make_run())
    assert isinstance(response, Response)
    any_store.answers.append([response])
    (found,) = any_store.answers.responses([response.id, "missing"]).values()
    assert response_digest(found) == response_digest(response)
    with any_store.baselines._database.writing() as connection:
        connection.execute(text("UPDATE responses SET input_tokens = input_tokens + 1"))
    (changed,) = any_store.answers.responses([response.id]).values()
    assert response_digest(changed) != response_digest(response)
