"""OpenAI's eval data and fine-tuning files: samples with right answers, read through the door of logs."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.catalog import packaged_catalog
from crossgrade.errors import CrossgradeError
from crossgrade.project import Project, create_workload
from crossgrade.workloads.traffic import LOG_FORMATS, Drawn, Reading, draw_samples, scan_logs
from tests.codes import listed, raises_code
from tests.hostile import put_anywhere, with_wrong_values

SAMPLES = Path(__file__).parents[3] / "data" / "traffic" / "samples"
FILES = {
    "fine-tuning.jsonl": "openai-fine-tuning",
    "preference.jsonl": "openai-preference",
    "eval-data.jsonl": "openai-eval-data",
    "ideal.jsonl": "oaieval-data",
}
CONFIG = "models:\n  old: {provider: openai, model: gpt-4o}\n  new: {provider: openai, model: gpt-5.4-mini}\n"


def drawn(path: Path, n: int | None = None) -> Drawn:
    return draw_samples(
        [path],
        "pleased",
        n,
        catalog=packaged_catalog(),
        today=date(2026, 11, 25),
        subject_key=b"k" * 32,
    )


def written(folder: Path, *rows: Any) -> Path:
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_sample_is_taken_with_its_right_answer(name: str) -> None:
    found = drawn(SAMPLES / name)
    assert len(found.rows) == 24
    assert not found.is_traffic
    assert found.incumbent is None
    assert not any(found.answered)
    targets = {row["input"]: row["target"] for row in found.rows}
    if name == "eval-data.jsonl":
        assert set(targets.values()) == {None}  # the names in an item are the team's own
    else:
        assert targets["The lamp broke twice."] == "no"
        assert targets["Support was kind again."] == "yes"
        assert found.scorer == {"kind": "exact", "options": {"labels": ["no", "yes"]}}


@pytest.mark.parametrize(("name", "kind"), FILES.items())
def test_formats_are_recognised(name: str, kind: str) -> None:
    reading = Reading(files=[SAMPLES / name])
    requests = [request for _, request in reading.requests()]
    assert set(reading.rows) == {kind}
    assert not reading.problems.counts
    assert all(request.completion is None and request.model is None for request in requests)


def test_an_answer_that_calls_tools_is_counted_and_left_out() -> None:
    found = drawn(SAMPLES / "fine-tuning.jsonl")
    assert (found.requests, dict(found.left_out)) == (25, {"uses tools": 1})


def test_fewer_may_be_drawn() -> None:
    found = drawn(SAMPLES / "ideal.jsonl", n=6)
    assert [row["weight"] for row in found.rows] == [4] * 6


def test_several_right_answers_and_two_for_one_question(tmp_path: Path) -> None:
    rows = [{"input": "Capital of Italy?", "ideal": each} for each in (["Rome", "Roma"], "Rom", "Rom")]
    found = drawn(written(tmp_path, *rows))
    assert [row["target"] for row in found.rows] == [["Rome", "Roma"], "Rom"]
    assert sum(row["weight"] for row in found.rows) == 3


def test_what_identifies_people_is_taken_out_of_answers_too(tmp_path: Path) -> None:
    found = drawn(written(tmp_path, {"input": "Who wrote?", "ideal": ["ann@example.org", "Ann"]}))
    assert found.rows[0]["target"] == ["[email]", "Ann"]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": "hello", "tools": 3} | {"messages": 5},
        {"messages": ["a"]},
        {"item": "text"},
        {"item": {"question": "?"}},
        {"input": 5, "ideal": "x"},
        {"input": {"messages": None}, "preferred_output": [], "non_preferred_output": []},
        {"input": "?", "preferred_output": "x", "non_preferred_output": "y"},
    ],
)
def test_a_line_that_cannot_be_read_is_an_error(tmp_path: Path, row: dict[str, Any]) -> None:
    good = {"input": "Capital of Italy?", "ideal": "Rome"}
    with raises_code("samples-unreadable"):
        drawn(written(tmp_path, good, row))


def test_a_log_with_messages_is_still_a_table(tmp_path: Path) -> None:
    row = {"model": "gpt-4o", "messages": [{"role": "user", "content": "?"}], "completion": "!"}
    reading = Reading(files=[written(tmp_path, row)])
    assert len(list(reading.requests())) == 1
    assert set(reading.rows) == {"table"}


def test_scanning_says_nothing_of_spend() -> None:
    found = scan_logs([SAMPLES / "ideal.jsonl"], catalog=packaged_catalog(), today=date(2026, 11, 25))
    assert (found.requests, found.spend_usd) == (24, None)


def test_a_workload_of_them(tmp_path: Path) -> None:
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    found = drawn(SAMPLES / "fine-tuning.jsonl")
    with raises_code("log-without-models"):
        create_workload(tmp_path / "crossgrade.yaml", found, name="pleased", candidates=["new"])
    made = create_workload(
        tmp_path / "crossgrade.yaml", found, name="pleased", candidates=["new"], incumbent="old"
    )
    assert (made.incumbent, made.scorer, made.samples, made.kept_answers) == ("old", "exact", 24, 0)
    with Project.open(tmp_path / "crossgrade.yaml") as project:
        workload = project.workload("pleased")
        assert workload.logged_traffic is None
        assert {sample.target for sample in project.dataset(workload).samples} == {"yes", "no"}
        assert project.traffic.label("pleased", made.labels)[0] == 24


def test_several_right_answers_survive_labelling(tmp_path: Path) -> None:
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    found = drawn(written(tmp_path, {"input": "Capital of Italy?", "ideal": ["12", "13"]}))
    made = create_workload(
        tmp_path / "crossgrade.yaml", found, name="pleased", candidates=["new"], incumbent="old"
    )
    with Project.open(tmp_path / "crossgrade.yaml") as project:
        project.traffic.label("pleased", made.labels)
        (sample,) = project.dataset(project.workload("pleased")).samples
    assert sample.target == ["12", "13"]


@pytest.mark.parametrize("name", ["a" * 300, "../x", "a\0b", "", "\N{GREEK SMALL LETTER ALPHA}"])
def test_a_name_that_no_workload_can_have_is_refused_before_any_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    found = drawn(SAMPLES / "ideal.jsonl")
    with raises_code("name-invalid"):
        create_workload(tmp_path / "crossgrade.yaml", found, name=name, candidates=["new"], incumbent="old")
    assert [each.name for each in tmp_path.iterdir()] == ["crossgrade.yaml"]


def test_the_log_names_its_own_incumbent(tmp_path: Path) -> None:
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    row = {"model": "gpt-4o", "provider": "openai", "messages": [{"role": "user", "content": "?"}]}
    found = drawn(written(tmp_path, row | {"completion": "1", "route": "pleased"}))
    with raises_code("incumbent-named-by-log"):
        create_workload(
            tmp_path / "crossgrade.yaml", found, name="pleased", candidates=["new"], incumbent="old"
        )


@given(name=st.sampled_from(sorted(FILES)), data=st.data())
def test_any_value_in_any_place_is_read_or_counted(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = msgspec.json.decode((SAMPLES / name).read_bytes().splitlines()[-1])
    put_anywhere(data, row)
    path = written(tmp_path_factory.mktemp("hostile"), row)
    reading = Reading(files=[path])
    read = len(list(reading.requests()))
    assert read + sum(reading.problems.counts.values()) == 1
    assert set(reading.rows) <= set(LOG_FORMATS)


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_value_in_any_place_costs_a_line_alone_or_is_an_error(name: str, tmp_path: Path) -> None:
    row = msgspec.json.decode((SAMPLES / name).read_bytes().splitlines()[-1])
    rows = [*with_wrong_values(row)]
    for each in rows:
        code = None
        try:
            drawn(written(tmp_path, each))
        except CrossgradeError as error:
            code = error.code
        assert code is None or code in listed(), each
    reading = Reading(files=[written(tmp_path, *rows)])
    assert len(list(reading.requests())) + sum(reading.problems.counts.values()) == len(rows)


@pytest.mark.parametrize("role", [["user"], {}, 5, True])
@pytest.mark.parametrize(
    "sample",
    [
        lambda message: {"messages": [message, {"role": "assistant", "content": "b"}]},
        lambda message: {"item": {"input": [message]}},
        lambda message: {"input": [message], "ideal": "b"},
    ],
)
def test_a_role_that_is_no_text_makes_a_line_unreadable(sample: Any, role: Any, tmp_path: Path) -> None:
    good, bad = (sample({"role": each, "content": "a"}) for each in ("user", role))
    with raises_code("samples-unreadable", "samples.jsonl:2"):
        drawn(written(tmp_path, good, bad))


def test_where_no_line_can_be_read_the_error_says_why(tmp_path: Path) -> None:
    with raises_code("log-unreadable", "item.input"):
        drawn(written(tmp_path, {"item": {"input": 5}}))
