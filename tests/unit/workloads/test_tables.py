"""Long and wide tables of scores."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from crossgrade.domain import Origin
from crossgrade.errors import DataError, UsageError
from crossgrade.project import decide_results
from crossgrade.workloads import IMPORTERS, pair, read_results
from crossgrade.workloads.importers.headers import FIELDS, QUESTION_COLUMNS, SYNONYMS
from tests.codes import check_error, raises_code

LONG = "item_id,model,score\n1,A,1\n1,B,0.5\n2,A,0\n2,B,1\n"


FIXTURES = Path(__file__).parents[2] / "data" / "log_fixtures"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def failure(path: Path, **options: object) -> DataError:
    with pytest.raises(DataError) as caught:
        read_results(path, **options)  # type: ignore[arg-type]  # fields that the test names
    assert caught.value.hint
    return caught.value


def test_the_least_there_can_be(tmp_path: Path) -> None:
    results = read_results(write(tmp_path / "r.csv", LONG))
    assert (len(results), results.model_names, results.origin) == (4, ("A", "B"), Origin.OWN)
    evidence = pair(results, incumbent="A", candidates=["B"])
    assert evidence.sample_ids.tolist() == ["1", "2"]
    assert evidence.incumbent.score.tolist() == [1.0, 0.0]
    assert evidence.candidates[0].score.tolist() == [0.5, 1.0]
    assert evidence.segment is evidence.cluster is evidence.weight is evidence.order is None
    assert np.isnan(evidence.incumbent.cost_usd).all()
    assert evidence.source == "r.csv (csv)"


@pytest.mark.parametrize(
    ("column", "cut", "whole"),
    [
        ("finish_reason", "length", "stop"),
        ("finish_reason", "MAX_TOKENS", "end_turn"),
        ("truncated", "True", "0"),
    ],
)
def test_why_an_answer_ended(tmp_path: Path, column: str, cut: str, whole: str) -> None:
    text = f"item_id,model,score,{column}\n1,A,1,{whole}\n2,A,0,{cut}\n3,A,1,\n" + "".join(
        f"{at},B,1,\n" for at in (1, 2, 3)
    )
    evidence = pair(read_results(write(tmp_path / "r.csv", text)), incumbent="A")
    assert evidence.incumbent.truncated is not None
    assert evidence.incumbent.truncated.tolist() == [False, True, False]
    assert evidence.candidates[0].truncated is None


def test_a_stated_mean_is_mapped_like_the_scores(tmp_path: Path) -> None:
    text = LONG.replace("A,1", "A,9").replace("A,0", "A,5").replace("0.5", "3")
    results = read_results(write(tmp_path / "r.csv", text), scale=(1.0, 9.0))
    stated = results.with_stated_means({"A": 7}, scale=(1.0, 9.0))
    assert pair(stated, incumbent="A").incumbent.stated_mean == 0.75
    with raises_code("stated-mean-out-of-range", "1", "9"):
        results.with_stated_means({"A": 52.8}, scale=(1.0, 9.0))
    with raises_code("stated-model-unknown", "A", "B"):
        results.with_stated_means({"C": 7}, scale=(1.0, 9.0))


def test_every_column(tmp_path: Path) -> None:
    row = {
        "sample_id": 7,
        "model": "A",
        "score": True,
        "segment": "billing",
        "group": "march",
        "cluster": 3,
        "epoch": 1,
        "weight": 2.5,
        "error": None,
        "unparsed": True,
        "output": "yes",
        "input": "Is it?",
        "target": "yes",
        "prompt_digest": "p",
        "settings_digest": "s",
        "cost_usd": 0.25,
        "latency_s": 1.5,
        "ttft_ms": 90,
        "human": 0,
        "label_probability": 0.25,
        "unknown_column": {"is": "ignored"},
    }
    other = {**row, "model": "B", "score": 0.0, "latency_s": None, "unparsed": False}
    path = tmp_path / "r.jsonl"
    write(path, json.dumps(row) + "\n\n" + json.dumps(other) + "\n")
    evidence = pair(read_results(path, origin=Origin.VENDOR), incumbent="A")
    a, b = evidence.incumbent, evidence.candidates[0]
    assert evidence.sample_ids.tolist() == ["7"]
    assert (evidence.segment, evidence.group, evidence.cluster) == (["billing"], ["march"], ["3"])
    assert (evidence.input, evidence.target) == (["Is it?"], ["yes"])
    assert (a.score[0], a.cost_usd[0], a.latency_ms[0], a.ttft_ms[0]) == (1.0, 0.25, 1500.0, 90.0)
    assert a.unparsed[0]
    assert not b.unparsed[0]
    assert np.isnan(b.latency_ms[0])
    assert (a.origin, a.settings_digests, a.prompt_digests) == (Origin.VENDOR, ("s",), ["p"])
    assert a.human is not None
    assert evidence.label_probability is not None
    assert evidence.label_probability.tolist() == [0.25]
    assert (a.human[0], a.output) == (0.0, ["yes"])


def test_a_sample_with_epochs_was_drawn_if_any_of_them_was(tmp_path: Path) -> None:
    rows = [f"{item},{model},1,{epoch},{p}" for item, epoch, p in (("1", 1, 0.1), ("1", 2, 0.5), ("2", 1, 0.1), ("3", 1, ""))
            for model in "AB"]  # fmt: skip
    path = write(tmp_path / "r.csv", "\n".join(["item_id,model,score,epoch,label_probability", *rows]) + "\n")
    found = pair(read_results(path), incumbent="A").label_probability
    assert found is not None
    assert found[:2] == pytest.approx([0.55, 0.1])
    assert np.isnan(found[2])


def test_a_sample_has_one_label_probability_for_all_models(tmp_path: Path) -> None:
    rows = ["1,A,1,0.1", "1,B,1,0.1000000001", "2,A,1,0.1", "2,B,1,", "3,A,1,0.5", "3,B,1,0.25"]
    head = "item_id,model,score,label_probability"
    path = write(tmp_path / "r.csv", "\n".join([head, *rows[:4]]) + "\n")
    found = pair(read_results(path), incumbent="A").label_probability
    assert found is not None
    assert found.tolist() == [0.1, 0.1]
    path = write(tmp_path / "s.csv", "\n".join([head, *rows]) + "\n")
    with raises_code("label-probability-differs", "3", 0.5, 0.25, "B"):
        pair(read_results(path), incumbent="A")


@pytest.mark.parametrize("words", ["True,False", "true,false", "1,0", "1.0,0.0"])
def test_booleans_are_scores(tmp_path: Path, words: str) -> None:
    yes, no = words.split(",")
    path = write(tmp_path / "r.csv", f"item_id,model,score\n1,A,{yes}\n1,B,{no}\n")
    assert read_results(path).score.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("score", ["nan", "inf", "-inf", "good", "1,5"])
def test_scores_that_are_none(tmp_path: Path, score: str) -> None:
    path = write(tmp_path / "r.csv", f'item_id,model,score\n1,A,1\n\n1,B,"{score}"\n')
    error = failure(path)
    check_error(error, "score-invalid", score)
    assert error.location == f"{path}:4  column score"


def test_other_bad_cells(tmp_path: Path) -> None:
    for column, cell in (
        ("cost_usd", "-1"),
        ("latency_ms", "fast"),
        ("weight", "-2"),
        ("latency_s", "1e300"),
        ("item_id", ""),
    ):
        header = "item_id,model,score" if column == "item_id" else f"item_id,model,score,{column}"
        row = ",A,1" if column == "item_id" else f"1,A,1,{cell}"
        error = failure(write(tmp_path / "r.csv", f"{header}\n{row}\n"))
        assert error.line == 2
        assert error.where


def test_missing_answers_are_errors_and_unscored_answers_are_not(tmp_path: Path) -> None:
    text = "item_id,model,score,output,error\n1,A,,,\n2,A,,no,\n3,A,1,x,timeout\n4,A,1,x,\n"
    results = read_results(write(tmp_path / "r.csv", text))
    assert results.error.tolist() == [True, False, True, False]
    text = "item_id,model,score\n1,A,\n2,A,1\n"
    assert read_results(write(tmp_path / "r.csv", text)).error.tolist() == [True, False]


def test_missing_columns_say_what_there_is(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "item,model,scores\n1,A,1\n")
    error = failure(path)
    check_error(error, "column-missing", '"item"', '"model"', '"scores"', 'did you mean "scores"')
    check_error(failure(path, models=["A", "B"]), "column-missing", 'did you mean "scores"')
    check_error(failure(write(path, "item_id,scores\n1,1\n")), "table-form-unknown", 'did you mean "scores"')
    write(path, "item,model,scores\n1,A,1\n")
    check_error(
        failure(write(path, "q,model,score\n1,A,1\n")), "column-missing", 'column "item_id"', "--column"
    )
    error = failure(write(path, "item_id,model,score,topic\n1,A,1,x\n"), segment="topics")
    check_error(error, "column-missing", "topics", 'did you mean "topic"')


@pytest.mark.parametrize(
    "header",
    [
        "ID, Model, Score, Prompt Tokens",
        "example,model_name,correct,tokens_in",
        "Example ID,modelId,Is Correct,inputTokens",
    ],
)
def test_other_names_of_columns(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "r.csv", f"{header}\n1,A,1,7\n1,B,0.5,8\n")
    results = read_results(path)
    assert results.model_names == ("A", "B")
    assert results.score.tolist() == [1.0, 0.5]
    assert results.amounts["input_tokens"].tolist() == [7, 8]
    assert results.ignored == ()
    error = failure(write(path, f"{header}\n1,A,1,7\n1,B,good,8\n"))
    assert (error.line, error.where) == (3, f"column {header.split(',')[2].strip()}")


def test_a_column_of_the_name_comes_before_a_synonym(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "id,Item_ID,model,correct,score,Score\nx,1,A,0,1,0.5\n")
    results = read_results(path)
    assert (results.samples.names.tolist(), results.score.tolist()) == (["1"], [1.0])
    assert results.ignored == ("id", "correct", "Score")


def test_columns_named_by_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "q,sys,grade,score\n1,A,1,9\n1,B,0.5,9\n")
    named = {"item_id": "q", "model": "sys", "score": "Grade"}
    results = read_results(path, columns=named)
    assert (results.model_names, results.score.tolist()) == (("A", "B"), [1.0, 0.5])
    assert results.ignored == ("score",)
    check_error(failure(path, columns={"skore": "grade"}), "table-field-unknown", "skore", "score")
    check_error(failure(path, columns={"score": "grades"}), "column-missing", "grades", "grade")
    with raises_code("columns-of-log"):
        read_results(FIXTURES / "promptfoo" / "results.json", columns=named)


def test_several_columns_that_may_be_the_score(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "id,model,accuracy,passed\n1,A,0,1\n")
    check_error(failure(path), "column-ambiguous", "accuracy", "passed", "--column score=accuracy")
    assert read_results(path, columns={"score": "passed"}).score.tolist() == [1.0]


def test_a_wide_table_may_have_a_column_of_another_name_for_the_id(tmp_path: Path) -> None:
    """Only a wide table's own names are ids: the same example may stand in several rows."""
    path = write(tmp_path / "r.csv", "example,model_name,correct,A,B\nx,m,1,1,0\nx,m,1,0,1\n")
    results = read_results(path, models=["A", "B"])
    assert results.model_names == ("A", "B")
    assert results.samples.names.tolist() == ["line 2", "line 3"]
    told = read_results(path, models=["A", "B"], columns={"item_id": "example"})
    assert told.samples.names.tolist() == ["x"]


def test_empty_tables(tmp_path: Path) -> None:
    check_error(failure(write(tmp_path / "r.csv", "")), "table-empty")
    check_error(failure(write(tmp_path / "r.csv", "item_id,model,score\n")), "results-empty")


def test_a_table_of_one_model(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", "item_id,score\n1,1\n2,0\n")
    two = write(tmp_path / "two.csv", "item_id,score\n2,1\n1,0\n")
    evidence = pair(read_results({"A": one, "B": two}), incumbent="A")
    assert evidence.candidates[0].score.tolist() == [0.0, 1.0]
    assert evidence.group is None


def test_a_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "item_id,model,score\n1,A,1\n1,B,10\n2,A,5.5\n2,B,1\n")
    assert read_results(path, scale=(1, 10)).score.tolist() == [0.0, 1.0, 0.5, 0.0]
    with pytest.raises(UsageError):
        read_results(path, scale=(1, 1))


def test_workloads(tmp_path: Path) -> None:
    text = "workload,item_id,model,score\nw,1,A,1\nw,1,B,1\nv,1,A,0\nv,1,B,1\n"
    path = write(tmp_path / "r.csv", text)
    check_error(failure(path), "workloads-mixed", "w", "v")
    chosen = pair(read_results(path, workload="v"), incumbent="A")
    assert (chosen.n, chosen.incumbent.score.tolist()) == (1, [0.0])
    split = pair(read_results(path, segment="workload"), incumbent="A")
    assert split.sample_ids.tolist() == ["w/1", "v/1"]
    assert split.segment is not None
    assert split.segment.tolist() == ["w", "v"]
    with raises_code("workload-not-in-results", "u", "w", "v"):
        read_results(path, workload="u")


WIDE = 'prompt,big/model,small,small_response\n"Hello,\nyou",True,False,Hi\n"Hello,\nyou",False,True,Ho\nBye,True,,\n'


def test_wide(tmp_path: Path) -> None:
    path = write(tmp_path / "w.csv", WIDE)
    evidence = pair(read_results(path, models=["big/model", "small"]), incumbent="big/model")
    small = evidence.candidates[0]
    assert evidence.n == 3
    assert evidence.sample_ids[1] == f"{evidence.sample_ids[0]}#2"
    assert evidence.incumbent.score.tolist() == [1.0, 0.0, 1.0]
    assert small.score[:2].tolist() == [0.0, 1.0]
    assert small.error.tolist() == [False, False, True]
    assert small.output is not None
    assert small.output.tolist() == ["Hi", "Ho", None]
    assert evidence.input is not None
    assert evidence.input[0] == "Hello,\nyou"


def test_wide_needs_names(tmp_path: Path) -> None:
    path = write(tmp_path / "w.csv", WIDE)
    error = failure(path)
    check_error(error, "table-form-unknown", '"big/model"', "--incumbent")
    check_error(failure(path, models=["big/model", "smal"]), "column-missing", "smal", 'did you mean "small"')


def test_several_wide_tables_are_groups(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.csv", "q,A,B\nx,1,0\ny,0,1\n") for name in ("law", "art")]
    evidence = pair(read_results(paths, models=["A", "B"]), incumbent="A")
    assert evidence.n == 4
    assert evidence.group is not None
    assert evidence.group.tolist() == ["law", "law", "art", "art"]
    assert evidence.sample_ids[0] == "law/line 2"


def test_unknown_format(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", '{"what": 1}\n')
    check_error(failure(path), "table-form-unknown", "item_id")
    path = write(tmp_path / "r.json", '{\n"what": 1}\n')
    check_error(failure(path), "json-unknown", "what")
    with raises_code("format-unknown", "inspekt", "inspect"):
        read_results(path, file_format="inspekt")  # type: ignore[arg-type]  # misspelt
    check_error(failure(tmp_path), "folder-not-results")


def test_half_a_json_line(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", '{"item_id": 1, "model": "A", "score": 1}\n{"item_id": 1, "mo')
    error = failure(path)
    check_error(error, "json-cut-short", line=2, column=19)


def test_outside_the_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    write(tmp_path / "r.csv", LONG)
    check_error(failure(Path("../r.csv"), root=project), "file-outside-project")


def test_the_reference_documents_every_column_and_format() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
    for name in (*FIELDS, *QUESTION_COLUMNS, *sum(SYNONYMS.values(), ()), *IMPORTERS):
        assert f"`{name}`" in page, name


def test_the_examples_of_the_reference(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
    long, wide = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    evidence = pair(read_results(write(tmp_path / "long.csv", long)), incumbent="gpt-4o")
    assert (evidence.n, evidence.candidates[0].score.tolist()) == (2, [0.5, 0.0])
    names = ["gpt-4-1106-preview", "mixtral-8x7b"]
    evidence = pair(read_results(write(tmp_path / "wide.csv", wide), models=names), incumbent=names[0])
    assert evidence.candidates[0].output == ["The answer is 41."]


def test_names_of_models_that_differ_in_blanks_are_one(tmp_path: Path) -> None:
    text = "item_id,model,score\n1,A,1\n1, B  b,0.5\n2, A,0\n2,B b ,1\n"
    results = read_results(write(tmp_path / "r.csv", text))
    assert results.model_names == ("A", "B b")
    found = decide_results(tmp_path / "r.csv", incumbent=" A", candidates=[" B b "])
    assert (found.incumbent, found.candidates, found.asked) == ("A", ("B b",), 2)
    with raises_code("candidate-missing"):
        decide_results(tmp_path / "r.csv", incumbent="A", candidates=[" A"])


@pytest.mark.parametrize("cost", ["1e7", "1e-13"])
def test_costs_in_another_unit(tmp_path: Path, cost: str) -> None:
    path = write(tmp_path / "r.csv", f"item_id,model,score,cost_usd\n1,A,1,0\n1,B,1,{cost}\n")
    check_error(failure(path), "score-invalid", "1e-12", line=3)


@pytest.mark.parametrize("score", ["1_0", "0_1", "1e400"])
def test_what_only_python_takes_for_a_number(tmp_path: Path, score: str) -> None:
    check_error(
        failure(write(tmp_path / "r.csv", f"item_id,model,score\n1,A,{score}\n")), "score-invalid", score
    )


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(path, '{"item_id": "1", "model": "A", "score": 1, "score": 0}\n')
    check_error(failure(path), "json-key-repeated", "score", line=1)
    write(path, '{"item_id": "1", "model": "A", "score": 1, "meta": {"x": [{"y": 1, "y": 2}]}}\n')
    check_error(failure(path), "json-key-repeated", "y", line=1)
    text = json.dumps({"item_id": "1", "model": "A", "score": 1, "output": '{"x": 1, "x": 2}'})
    assert len(read_results(write(path, text + "\n"))) == 1, "a text that holds JSON has no keys"
