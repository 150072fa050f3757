"""Definitions of OpenAI's evals: what an item asks, what is right, and which scorer corresponds."""

import json
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.catalog import packaged_catalog
from crossgrade.cli._frame import run
from crossgrade.errors import CrossgradeError
from crossgrade.project import Project, read_definition
from crossgrade.workloads.traffic import EvalDefinition, definition_of, draw_samples
from tests.codes import listed, noted, raises_code
from tests.hostile import VALUES, put_anywhere, with_wrong_values

EVALS = Path(__file__).parents[3] / "data" / "traffic" / "samples" / "evals"
EVAL = json.loads((EVALS / "eval.json").read_text())
RUN = json.loads((EVALS / "run.json").read_text())
CONFIG = """\
models:
  old: {provider: openai, model: gpt-4o}
  new: {provider: openai, model: gpt-5.4-mini}
  judge: {provider: anthropic, model: claude-sonnet-4-5}
"""


def defined(criterion: str = "Topic", **changes: Any) -> EvalDefinition:
    tree = deepcopy(EVAL)
    for each in tree["testing_criteria"]:
        if each["name"] == criterion:
            each.update(changes)
    return definition_of([tree, RUN], criterion=criterion)


def test_items_are_asked_and_scored_as_the_eval_does() -> None:
    found = read_definition([EVALS / "eval.json", EVALS / "run.json"], criterion="Topic")
    assert found.scorer == {"kind": "includes", "options": {"ignore_case": True}}
    drawn = draw_samples(
        [EVALS / "items.jsonl"],
        "headlines",
        catalog=packaged_catalog(),
        today=date(2026, 11, 25),
        subject_key=b"k" * 32,
        formats=found.formats({}),
    )
    assert len(drawn.rows) == 24
    row = next(each for each in drawn.rows if each["input"] == "Stocks rise 0")
    assert row["system"].startswith("Name the topic")
    assert row["target"] == "Markets"


@pytest.mark.parametrize(
    ("changes", "scorer"),
    [
        (
            {"operation": "eq"},
            {"kind": "exact", "options": {"ignore_case": False, "strip_punctuation": False}},
        ),
        ({"operation": "like"}, {"kind": "includes", "options": {"ignore_case": False}}),
    ],
)
def test_checks_of_strings(changes: dict[str, Any], scorer: dict[str, Any]) -> None:
    assert defined(**changes).scorer == scorer


def test_a_label_model_is_a_judge_with_its_rubric() -> None:
    found = defined("Tone")
    options = found.scorer["options"]
    assert (found.scorer["kind"], options["scale"], options["show_target"]) == ("judge", "pass_fail", False)
    assert "Headline: (the request)\nAnswer: (the answer)" in options["criteria"]
    assert "these pass: plain." in options["criteria"]
    assert found.differs


def test_a_field_that_only_the_grader_sees_is_the_target() -> None:
    given = [{"role": "user", "content": "{{sample.output_text}} against {{item.ground_truth}}"}]
    found = defined("Quality", input=given)
    assert found.target == "{{item.ground_truth}}"
    assert found.scorer["options"] == {
        "show_target": True,
        "best": 7,
        "criteria": "(the answer) against (the correct answer)",
    }


@pytest.mark.parametrize(
    ("criterion", "changes"),
    [
        ("Near", {}),
        ("Code", {}),
        ("Topic", {"operation": "ne"}),
        ("Topic", {"input": "{{item.headline}}"}),
        ("Topic", {"input": "{{sample.output_json.topic}}"}),
        ("Quality", {"range": [0, 1]}),
        ("Quality", {"range": None}),
        ("Quality", {"range": [1, 100]}),
        ("Quality", {"input": [{"role": "user", "content": "{{item.a}} {{item.b}}"}]}),
        ("Quality", {"input": [{"role": "user", "content": "{{sample.output_tools}}"}]}),
        ("Quality", {"range": [True, 5]}),
        ("Quality", {"range": [1, 10**400]}),
        ("Tone", {"labels": "plain"}),
        ("Tone", {"passing_labels": ["plain", "zzz"]}),
        ("Topic", {"operation": ["eq"]}),
        ("Topic", {"operation": {}}),
        ("Topic", {"type": ["string_check"]}),
        ("Topic", {"type": {"a": 1}}),
    ],
)
def test_what_has_no_counterpart_is_said(criterion: str, changes: dict[str, Any]) -> None:
    with raises_code("criterion-without-counterpart", criterion):
        defined(criterion, **changes)


@pytest.mark.parametrize("kind", ["match:Match", "fuzzy_match:FuzzyMatch", "json_match:JsonMatch"])
def test_rules_of_openai_evals_that_no_scorer_has(kind: str) -> None:
    with raises_code("criterion-without-counterpart"):
        definition_of([{"x.dev.v0": {"class": f"evals.elsuite.basic.{kind}", "args": {}}}])


def test_a_registry_of_openai_evals() -> None:
    found = read_definition([EVALS / "registry.yaml"])
    assert found.scorer == {"kind": "includes", "options": {"ignore_case": False}}


def test_one_criterion_of_several_must_be_named() -> None:
    with raises_code("criterion-not-named", "Topic", "Code"):
        definition_of([EVAL])
    with raises_code("criterion-unknown", "Topics"):
        definition_of([EVAL], criterion="Topics")


@pytest.mark.parametrize("tree", [{}, {"testing_criteria": []}, {"data_source": {}}, {"object": "eval"}])
def test_what_is_no_definition(tree: dict[str, Any]) -> None:
    with raises_code("definition-unreadable"):
        definition_of([tree])


def test_a_template_that_computes_is_refused() -> None:
    with raises_code("definition-unreadable"):
        defined(reference="{{ item.ground_truth | upper }}")


def test_an_item_without_a_field_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(
        '{"item": {"headline": "Rain", "ground_truth": "World"}}\n{"item": {"headline": "Sun"}}\n'
    )
    with raises_code("samples-unreadable", "ground_truth"):
        draw_samples(
            [path],
            "headlines",
            catalog=packaged_catalog(),
            today=date(2026, 11, 25),
            subject_key=b"k" * 32,
            formats=defined().formats({}),
        )


@pytest.mark.parametrize(("criterion", "kind"), [("Topic", "includes"), ("Tone", "judge")])
def test_the_command_writes_the_workload(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    criterion: str,
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    files = ["--definition", str(EVALS / "eval.json"), "--definition", str(EVALS / "run.json")]
    judge = ["--judge", "judge"] if kind == "judge" else []
    models = ["--incumbent", "old", "--candidate", "new", "--jobs", "1"]
    source = ["--from", str(EVALS / "items.jsonl"), "--criterion", criterion]
    assert run(["workload", "create", "headlines", *source, *files, *models, *judge]) == 0
    assert bool(noted(capsys.readouterr().err, "criterion-differs")) == (kind == "judge")
    with Project.open(tmp_path / "crossgrade.yaml") as project:
        workload = project.workload("headlines")
        assert workload.scorer.kind == kind
        assert len(project.dataset(workload).samples) == 24
        if kind == "judge":
            assert workload.scorer.options["model"] == "judge"
            assert "these pass: plain." in str(workload.scorer.options["criteria"])


@given(data=st.data(), criterion=st.sampled_from(["Topic", "Tone", "Quality"]))
def test_any_value_in_any_place_is_read_or_refused(data: st.DataObject, criterion: str) -> None:
    trees = deepcopy([EVAL, RUN])
    put_anywhere(data, trees[data.draw(st.integers(0, 1))], VALUES | st.just("{{item.headline}}"))
    code = None
    try:
        definition_of(trees, criterion=criterion)
    except CrossgradeError as error:
        code = error.code
    assert code is None or code in listed()


@pytest.mark.parametrize("criterion", ["Topic", "Tone", "Quality"])
def test_a_wrong_value_in_any_place_is_read_or_refused(criterion: str) -> None:
    for each in with_wrong_values([EVAL, RUN]):
        if not all(isinstance(tree, dict) for tree in each):
            continue  # which `read_definition` refuses
        code = None
        try:
            definition_of(each, criterion=criterion)
        except CrossgradeError as error:
            code = error.code
        assert code is None or code in listed(), each


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "eval.json"
    path.write_text('{"testing_criteria": [{"name": "c",\n"type": "string_check", "type": "python"}]}')
    with raises_code("json-key-repeated", "type"):
        read_definition([path])


def test_where_no_item_has_a_field_the_error_names_it(tmp_path: Path) -> None:
    with raises_code("log-unreadable", "item.nope"):
        draw_samples(
            [EVALS / "items.jsonl"],
            "headlines",
            catalog=packaged_catalog(),
            today=date(2026, 11, 25),
            subject_key=b"k" * 32,
            formats=defined(reference="{{item.nope}}").formats({}),
        )
