"""Pairing: what is compared, what is left out, and that it is counted."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest

from crossgrade.decide import Evidence
from crossgrade.domain import AgentSetup, Price, Sample, ScoredAnswer, Usage
from crossgrade.workloads import evidence_from_answers, pair, with_prices
from crossgrade.workloads._columns import Columns
from tests.codes import raises_code


def row(sample: str, model: str, score: float | None, **more: object) -> ScoredAnswer:
    return ScoredAnswer(sample_id=sample, model=model, score=score, **more)  # type: ignore[arg-type]  # fields that the test names


def paired(rows: Sequence[ScoredAnswer], **options: object) -> Evidence:
    columns = Columns()
    columns.add(rows)
    return pair(columns.finish(), **{"incumbent": "A", **options})  # type: ignore[arg-type]  # fields that the test names


def test_one_sided_samples_are_counted() -> None:
    rows = [row("1", "A", 1), row("2", "A", 1), row("2", "B", 0), row("3", "B", 0)]
    evidence = paired(rows)
    assert (evidence.sample_ids.tolist(), evidence.audit.unmatched) == (["2"], 2)
    assert evidence.audit.examples == ("1", "3")


def test_nothing_in_common() -> None:
    with raises_code("pairs-missing", "2"):
        paired([row("1", "A", 1), row("2", "B", 1)])


def test_models_must_be_named() -> None:
    rows = [row("1", "A", 1), row("1", "B", 1)]
    with raises_code("incumbent-not-named", "A", "B") as caught:
        paired(rows, incumbent=None)
    assert caught.value.hint == "add --incumbent A or --incumbent B"
    with raises_code("model-not-in-results", "A", "B"):
        paired(rows, candidates=["C"])
    with raises_code("candidate-missing"):
        paired(rows, candidates=["A"])
    with raises_code("candidate-missing"):
        paired(rows[:1])


def test_every_other_model_is_a_candidate() -> None:
    evidence = paired([row("1", model, 1) for model in "ABC"] + [row("2", model, 0) for model in "AB"])
    b, c = evidence.candidates
    assert (b.model, c.model, evidence.n) == ("B", "C", 2)
    assert np.isnan(c.score[1])
    assert not c.error[1]
    assert evidence.audit.unmatched == 1
    assert evidence.audit.unmatched_by_candidate == {"B": 0, "C": 1}


def test_an_answer_is_cut_short_where_any_of_its_epochs_was() -> None:
    rows = [row("1", "A", 1, truncated=False), row("1", "A", 0, epoch=2, truncated=True)]
    rows += [row("2", "A", 1), row("1", "B", 1), row("2", "B", 1)]
    evidence = paired(rows)
    assert evidence.incumbent.truncated is not None
    assert evidence.incumbent.truncated.tolist() == [True, False]
    assert evidence.candidates[0].truncated is None, "nothing is known of B"


def test_trials_of_unknown_cost_are_not_taken_to_cost_what_the_others_do() -> None:
    setup = AgentSetup(agent="loop")
    rows = [
        row(sample, model, 1, epoch=epoch, setup=setup, cost_usd=cost)
        for model in "AB"
        for sample, costs in (("1", ("1", "1")), ("2", ("1", "1") if model == "A" else ("1", None)))
        for epoch, cost in enumerate([None if each is None else Decimal(each) for each in costs], start=1)
    ]
    evidence = paired(rows)
    a, (b,) = evidence.incumbent, evidence.candidates
    assert (a.cost_usd.tolist(), a.runs and a.runs.cost_unknown) == ([1.0, 1.0], 0)
    assert (b.cost_usd[0], b.runs and b.runs.cost_unknown) == (1.0, 1)
    assert np.isnan(b.cost_usd[1]), "a trial that ran out of time is no cheap one"


@pytest.mark.parametrize("field", ["target_digest", "target", "input", "segment", "cluster", "group"])
def test_two_questions_under_one_id(field: str) -> None:
    rows = [
        row("1", "A", 1, **{field: "x"}),
        row("1", "B", 1, **{field: "y"}),
        row("2", "A", 1, **{field: "x"}),
        row("2", "B", 1),
    ]
    evidence = paired(rows)
    assert (evidence.sample_ids.tolist(), evidence.audit.key_conflicts) == (["2"], 1)


def test_prompts_may_differ_and_are_shown() -> None:
    evidence = paired([row("1", "A", 1, prompt_digest="x"), row("1", "B", 1, prompt_digest="y")])
    assert evidence.audit.key_conflicts == 0
    assert (evidence.incumbent.prompt_digests, evidence.candidates[0].prompt_digests) == (["x"], ["y"])


def test_mixed_epochs_are_averaged() -> None:
    rows = [row("1", "A", score, epoch=number) for number, score in enumerate((1, 0, 0, 1))]
    evidence = paired([*rows, row("1", "B", 0.25)])
    assert evidence.incumbent.score.tolist() == [0.5]
    assert (evidence.incumbent.epochs, evidence.candidates[0].epochs) == (4, 1)
    assert evidence.audit.duplicates == 0


def test_repeated_rows_are_averaged_and_counted() -> None:
    evidence = paired(
        [row("1", "A", 1), row("1", "A", 0), row("1", "B", 1), row("2", "A", 1), row("2", "B", 1)]
    )
    assert evidence.incumbent.score.tolist() == [0.5, 1.0]
    assert (evidence.audit.duplicates, evidence.audit.examples) == (1, ("1",))


def test_errors() -> None:
    rows = [
        row("1", "A", 1, epoch=1),
        row("1", "A", None, epoch=2, error="timeout"),
        row("2", "A", None, error="timeout"),
        row("3", "A", None),
        *(row(sample, "B", 1) for sample in "123"),
    ]
    as_zero, left_out = paired(rows), paired(rows, errors_as_zero=False)
    assert as_zero.incumbent.score[0] == 0.5
    assert left_out.incumbent.score[0] == 1.0
    assert np.isnan(as_zero.incumbent.score[1:]).all()
    assert as_zero.incumbent.error.tolist() == [False, True, False]
    assert as_zero.incumbent.calls is not None
    assert as_zero.incumbent.failed_calls is not None
    assert as_zero.incumbent.calls.tolist() == [2, 1, 1]
    assert as_zero.incumbent.failed_calls.tolist() == [1, 1, 0]
    # One epoch: a sample is a call.
    assert as_zero.candidates[0].calls is None


@pytest.mark.parametrize("score", [-0.1, 1.1, 85.0])
def test_scores_out_of_range(score: float) -> None:
    evidence = paired([row("1", "A", score), row("1", "B", 1), row("2", "A", 1), row("2", "B", 1)])
    assert np.isnan(evidence.incumbent.score[0])
    assert (evidence.incumbent.out_of_range, evidence.candidates[0].out_of_range) == (1, 0)
    assert not evidence.incumbent.error.any()


def test_weights() -> None:
    rows = [row(str(n), model, 1, weight=n + 1) for n in range(3) for model in "AB"]
    weight = paired(rows).weight
    assert weight is not None
    assert weight.tolist() == [1, 2, 3]
    assert paired(rows[:2]).weight is None


def test_weights_that_differ_between_the_rows_of_a_sample_are_a_conflict() -> None:
    rows = [row(str(n), model, 1, weight=n + 1) for n in range(3) for model in "AB"]
    rows[3] = row("1", "B", 1, weight=0.01)
    evidence = paired(rows)
    assert (evidence.sample_ids.tolist(), evidence.audit.key_conflicts) == (["0", "2"], 1)
    rows[3] = row("1", "B", 1, weight=2.0000001)
    assert paired(rows).audit.key_conflicts == 0, "the same in fewer digits"


def test_weights_of_which_none_is_above_0() -> None:
    rows = [row(str(n), model, 1, weight=0) for n in range(3) for model in "AB"]
    with raises_code("weight-invalid-in-data", 3):
        paired(rows)


def test_a_stated_mean_is_judged_on_the_rows_it_is_about() -> None:
    columns = Columns()
    columns.add([row("1", "A", 1), row("2", "A", 0), row("1", "B", 1)])
    columns.state("A", 0.5, 2)
    assert pair(columns.finish(), incumbent="A").incumbent.stated_mean is None
    columns.state("A", 0.9, 1000)
    assert pair(columns.finish(), incumbent="A").incumbent.stated_mean == pytest.approx(0.9, abs=1e-3)


def test_a_stated_mean_that_leaves_failed_calls_out() -> None:
    columns = Columns()
    columns.add([row("1", "A", 1), row("2", "A", None, error="x"), row("1", "B", 1), row("2", "B", 1)])
    columns.state("A", 1.0, 2)
    columns.state("B", 0.25, 2)
    evidence = pair(columns.finish(), incumbent="A")
    assert evidence.incumbent.stated_mean is None
    assert evidence.candidates[0].stated_mean == 0.25


def test_tokens_are_priced_where_no_cost_is_known() -> None:
    price = Price(input_per_mtok=Decimal(2), output_per_mtok=Decimal(10), cache_read_per_mtok=Decimal(1))
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000, cache_read_input_tokens=500_000)
    columns = Columns()
    columns.add(
        [
            row("1", "A", 1, usage=usage),
            row("2", "A", 1, usage=usage, cost_usd=Decimal("0.25")),
            row("3", "A", 1),
            row("1", "B", 1, usage=usage),
        ]
    )
    results = with_prices(columns.finish(), {"A": price})
    assert results.amounts["cost_usd"][:2].tolist() == [2.5, 0.25]
    assert np.isnan(results.amounts["cost_usd"][2:]).all()


def test_texts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgrade.workloads._columns.ALL_TEXT_CHARACTERS", 10_000)
    columns = Columns()
    for number in range(10):
        columns.add([row(str(number), "A", 1, output="x" * 5000)])
    results = columns.finish()
    assert [len(text) if text else 0 for text in results.texts["output"]] == [4000] * 3 + [0] * 7


def test_recorded_answers_keep_the_asked_order() -> None:
    rows = [row(sample, model, 1, input=f"{model}: {sample}") for sample in "3124" for model in "AB"]
    rows.append(row("5", "A", 1))
    evidence = evidence_from_answers(
        rows,
        workload="w",
        incumbent="A",
        candidates=["B"],
        plan=[
            Sample(id=name, fields={}, segment=segment)
            for name, segment in zip("31625478", "xyyxxyyx", strict=True)
        ],
        file_order=["1", "2", "3", "4", "5"],
    )
    assert evidence.sample_ids.tolist() == ["1", "2", "3", "4"]
    assert evidence.order is not None
    assert evidence.order.tolist() == [2, 0, 1, 3]
    assert (evidence.workload, evidence.audit.unmatched, evidence.audit.key_conflicts) == ("w", 0, 0)
    assert (evidence.planned, evidence.planned_by_segment) == (8, {"x": 4, "y": 4})
    assert (evidence.unbroken, evidence.unbroken_by_segment) == (2, {"x": 3, "y": 2})
    assert (evidence.weight, evidence.heaviest) == (None, 1.0)


def test_equal_weights_of_what_was_asked_are_kept_where_the_plan_has_others() -> None:
    plan = [
        Sample(id=name, fields={}, weight=weight) for name, weight in zip("123", (1.0, 1.0, 5.0), strict=True)
    ]
    rows = [row(sample, model, 1) for sample in "12" for model in "AB"]
    evidence = evidence_from_answers(rows, workload="w", incumbent="A", candidates=["B"], plan=plan)
    assert evidence.weight is not None
    assert (evidence.weight.tolist(), evidence.heaviest) == ([1.0, 1.0], 5.0)
