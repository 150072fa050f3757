"""Answers come back as they went in, on SQLite and on PostgreSQL."""

from decimal import Decimal

import pytest

from crossgrade.domain import ScoredAnswer, Usage
from crossgrade.errors import StoreError
from crossgrade.store import Answer, Store, new_id
from tests.unit.store.conftest import answered, make_run, scored


def test_an_answer_comes_back_with_everything_that_was_recorded(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    records = answered(run)
    any_store.answers.append([*records, scored(run)])

    (recorded,) = any_store.answers.of_run(run.id, "scorer").values()
    assert recorded.response is not None
    assert recorded.response == records[1]
    assert recorded.score == scored(run).score
    assert any_store.answers.scored(run.id, "scorer") == [
        ScoredAnswer(
            sample_id="1",
            model="gpt",
            score=1.0,
            segment="de",
            weight=2.0,
            truncated=False,
            output="yes",
            input="Is it?",
            target="yes",
            prompt_digest="q1",
            settings_digest="greedy",
            usage=Usage(input_tokens=12, output_tokens=3),
            cost_usd=Decimal("0.00012"),
            paid_for="gpt",
            on=recorded.response.at.date(),
            latency_ms=12.5,
        )
    ]


def test_a_model_that_writes_nul_is_recorded_in_both_databases(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    any_store.answers.append(answered(run, text="a\0b"))
    assert any_store.answers.paid(["request"])["request"].answer.text == "a\ufffdb"


def test_the_last_attempt_counts_and_earlier_ones_stay(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    sample, _, _ = answered(run)
    failed = Answer(
        run_id=run.id,
        sample_id="1",
        model="gpt",
        epoch=1,
        prompt_digest="q1",
        settings_digest="greedy",
        error="502",
        error_kind="UpstreamError",
    )
    any_store.answers.append([sample, failed])
    assert [row.error for row in any_store.answers.scored(run.id, "scorer")] == ["502"]
    assert any_store.runs.totals(run.id).errors == 1

    any_store.answers.append([*answered(run, attempt=2, new_sample=False), scored(run, attempt=2)])
    assert [row.score for row in any_store.answers.scored(run.id, "scorer")] == [1.0]
    totals = any_store.runs.totals(run.id)
    assert (totals.answers, totals.errors) == (1, 0)
    assert totals.spent_usd == Decimal("0.50012")


def test_evidence_follows_the_order_in_which_samples_were_asked(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    for name, position in (("a", 2), ("b", 0), ("c", 1)):
        any_store.answers.append([*answered(run, name, position=position), scored(run, name)])
    assert [row.sample_id for row in any_store.answers.scored(run.id, "scorer")] == ["b", "c", "a"]


def test_an_answer_without_a_score_by_this_scorer_does_not_count(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    any_store.answers.append([*answered(run), scored(run, digest="old scorer")])
    assert any_store.answers.scored(run.id, "scorer") == []
    assert [row.score for row in any_store.answers.scored(run.id, "old scorer")] == [1.0]


def test_an_unscored_answer_is_kept_as_unscored(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    any_store.answers.append([*answered(run), scored(run, value=None)])
    assert [row.score for row in any_store.answers.scored(run.id, "scorer")] == [None]


def test_what_was_paid_for_is_found_again_by_request(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    for number in range(3):
        any_store.answers.append(answered(run, str(number), digest=f"r{number}"))
    found = any_store.answers.paid(["r1", "r2", "other", *(f"none{i}" for i in range(1200))])
    assert found.keys() == {"r1", "r2"}
    assert found["r1"].answer.text == "yes"


def test_a_group_is_kept_whole_or_not_at_all(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    records = answered(run)
    with pytest.raises(StoreError):
        any_store.answers.append([*records, scored(run, "a sample that was never recorded")])
    assert any_store.answers.samples_of_run(run.id) == set()
    assert any_store.answers.paid(["request"]) == {}


def test_an_unknown_cost_makes_the_total_unknown(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    any_store.answers.append(answered(run, "1", cost=None))
    assert any_store.runs.totals(run.id).spent_usd is None


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [name[:13] for name in ids] == sorted(name[:13] for name in ids)
    assert {name[14] for name in ids} == {"7"}
