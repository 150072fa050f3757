"""Labels of a run: the file is blind, the order random, and every score comes back to its model."""

import csv
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import ScoredAnswer
from crossgrade.workloads import (
    MOST_LABEL_ROWS,
    NO_ANSWER,
    LabelScores,
    blind_rows,
    read_labels,
    results_from_answers,
    with_labels,
    write_labels,
)
from tests.codes import raises_code

MODELS = ("gpt", "llama")
RUN = {"run": "run-a", "seed": 7}


def results_of(n: int, models: tuple[str, ...] = MODELS, without: int | None = None):
    answers = [
        ScoredAnswer(
            sample_id=f"s{i}", model=model, score=1.0, input=f"request {i}", output=f"{i} by {model[::-1]}"
        )
        for i in range(n)
        for model in models
        if not (i == without and model == models[-1])
    ]
    return results_from_answers(answers, workload="w")


def score_as(rows, value) -> list[LabelScores]:
    """Score every answer by its text, as a person would."""
    return [LabelScores(id=row.id, scores=tuple(value(text) for text in row.answers)) for row in rows]


def test_each_answer_stands_first_about_as_often() -> None:
    rows = blind_rows(results_of(400), **RUN)
    assert len(rows) == 400
    firsts = sum(row.answers[0].endswith("tpg") for row in rows)
    assert 150 < firsts < 250
    assert rows == blind_rows(results_of(400), **RUN)
    other = blind_rows(results_of(400), run="run-a", seed=8)
    assert [row.answers for row in rows] != [row.answers for row in other]


def test_nothing_in_the_file_names_a_model_or_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_labels(path, blind_rows(results_of(3), **RUN))
    text = path.read_text(encoding="utf-8")
    assert not [name for name in (*MODELS, "s0", "run-a") if name in text]
    with path.open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert first["request"] == "request 0"
    assert {first["answer_1"], first["answer_2"]} == {"0 by tpg", "0 by amall"}


@given(n=st.integers(1, 30), seed=st.integers(0, 2**32), models=st.integers(2, 4))
def test_every_score_comes_back_to_the_model_that_wrote_the_answer(n: int, seed: int, models: int) -> None:
    names = tuple(f"model-{index}" for index in range(models))
    results = results_of(n, names)
    rows = blind_rows(results, run="r", seed=seed)
    wanted = {f"{i} by {name[::-1]}": (i + at) % 7 / 6 for i in range(n) for at, name in enumerate(names)}
    labelled = with_labels(results, score_as(rows, wanted.__getitem__), run="r", seed=seed)
    texts = labelled.texts["output"]
    assert [wanted[text] for text in texts] == labelled.amounts["human"].tolist()


def test_a_file_of_another_run_is_refused() -> None:
    labels = score_as(blind_rows(results_of(2), run="run-b", seed=7), lambda _: 1.0)
    with raises_code("label-of-other-run", "run-a"):
        with_labels(results_of(2), labels, **RUN)


def test_labels_from_before_another_model_was_asked_are_refused() -> None:
    labels = score_as(blind_rows(results_of(2), **RUN), lambda _: 1.0)
    with raises_code("label-answers-changed"):
        with_labels(results_of(2, models=(*MODELS, "qwen")), labels, **RUN)


def test_what_was_not_labelled_stays_unknown_and_half_pairs_are_not_shown() -> None:
    results = results_of(4, without=1)
    rows = blind_rows(results, **RUN)
    assert [row.request for row in rows] == ["request 0", "request 2", "request 3"]
    labelled = with_labels(results, score_as(rows[:1], lambda _: 0.5), **RUN)
    human = labelled.amounts["human"]
    assert np.isfinite(human).sum() == 2
    assert with_labels(results, [], **RUN) is results


def test_a_call_that_failed_is_shown_as_such() -> None:
    answers = [
        ScoredAnswer(sample_id="s", model="gpt", score=1.0, input="q", output="a"),
        ScoredAnswer(sample_id="s", model="llama", score=None, error="server_error", input="q"),
    ]
    (row,) = blind_rows(results_from_answers(answers, workload="w"), **RUN)
    assert sorted(row.answers) == [NO_ANSWER, "a"]


def test_a_file_has_a_bounded_number_of_rows() -> None:
    assert len(blind_rows(results_of(MOST_LABEL_ROWS + 5), **RUN)) == MOST_LABEL_ROWS


def test_a_file_for_three_models_is_read_whole_or_not(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_labels(path, blind_rows(results_of(2, ("a", "b", "c")), **RUN), answers=3)
    head, first, second = path.read_text(encoding="utf-8").splitlines()
    assert head.endswith("answer_3,score_1,score_2,score_3")
    path.write_text(f"{head}\n{first.removesuffix(',,')}1,0,\n{second}\n", encoding="utf-8")
    with raises_code("labels-incomplete", "2", "3"):
        read_labels(path, answers=3, writer="it")
    path.write_text(f"{head}\n{first.removesuffix(',,')}1,0,.5\n{second}\n", encoding="utf-8")
    (label,) = read_labels(path, answers=3, writer="it")
    assert label.scores == (1.0, 0.0, 0.5)


def test_a_pair_that_is_scored_in_two_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write_labels(path, blind_rows(results_of(2), **RUN))
    head, first, second = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{head}\n{first.removesuffix(',,')},1,0\n{second}\n{first}\n", encoding="utf-8")
    assert len(read_labels(path, writer="it")) == 1  # the other row of the pair has no scores
    scored = first.removesuffix(",,") + ",1,0"
    path.write_text(f"{head}\n{scored}\n{second}\n{scored}\n", encoding="utf-8")
    with raises_code("label-repeated", 2, file=str(path), line=4):
        read_labels(path, writer="it")
