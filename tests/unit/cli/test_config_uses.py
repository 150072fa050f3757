"""What `config validate` says of a route that is to grow: whether its audits can ever be evidence."""

import json
from pathlib import Path

import pytest

from crossgrade.cli._frame import run
from crossgrade.project import Project
from tests.codes import listed, noted, raises_code, shown_codes

GROWING = """\
models:
  old: {provider: openai, model: gpt-4.1}
  new: {provider: local, model: smollm2-135m-instruct}
workloads:
  support:
    dataset: support.jsonl
    scorer: SCORER
    incumbent: old
    candidates: [new]
    mode: fixed
    router: true
routes:
  chat: {workload: support, grow: true, shadow: {rate: 0.05}}
  other: {workload: support}
watch: {label_share: SHARE}
"""
SCHEMA = "{kind: json_schema, options: {schema: {type: object}}}"
JUDGE = "{kind: judge, options: {model: old, criteria: Is it right?}}"


@pytest.fixture
def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")
    (tmp_path / "support.jsonl").write_text('{"input": "a", "target": "b"}\n')

    def validated(
        scorer: str, share: float, *options: str, grow: str = "true", more: str = ""
    ) -> tuple[int, str, str]:
        text = (
            GROWING.replace("SCORER", scorer)
            .replace("SHARE", str(share))
            .replace("grow: true", f"grow: {grow}")
            .replace("router: true", f"router: true\n    {more}")
        )
        (tmp_path / "crossgrade.yaml").write_text(text)
        code = run(["config", "validate", *options])
        seen = capsys.readouterr()
        return code or 0, seen.out, seen.err

    return validated


@pytest.mark.parametrize("scorer", ["{kind: exact}", "{kind: code}"])
def test_audits_that_nothing_could_score_are_refused(validate, scorer: str) -> None:
    code, out, err = validate(scorer, 0, "--json")
    assert (code, err) == (2, "")
    (problem,) = json.loads(out)["problems"]
    assert (problem["code"], problem["where"]) == ("growth-unscored", "routes.chat.grow")
    assert "growth-unscored" in listed()
    assert validate(scorer, 0, grow="false")[0] == 0


def test_audits_that_people_alone_score_are_noted(validate) -> None:
    code, out, err = validate("{kind: exact}", 0.1)
    assert code == 0
    assert noted(err, "growth-by-people", "chat", "10 %", "exact", 30)
    code, out, err = validate("{kind: exact}", 0.1, "--json")
    (note,) = json.loads(out)["notes"]
    assert note["code"] == "growth-by-people"


@pytest.mark.parametrize("share", [0, 0.1])
def test_audits_that_the_scorer_scores_need_no_people(validate, share: float) -> None:
    code, out, err = validate(SCHEMA, share, "--json")
    assert (code, err, json.loads(out)["notes"]) == (0, "", [])


@pytest.mark.parametrize("share", [0, 0.1])
def test_a_judge_is_tested_once(validate, share: float) -> None:
    code, _, err = validate(JUDGE, share)
    assert (code, shown_codes(err)) == (2, ["growth-tested-once"])
    assert validate(JUDGE, share, grow="false")[0] == 0


@pytest.mark.parametrize("key", ["whole_floor: 0.9", "cluster_field: input"])
def test_what_is_tested_once_does_not_grow(validate, key: str) -> None:
    code, out, _ = validate(SCHEMA, 0, "--json", more=key)
    assert code == 2
    (problem,) = json.loads(out)["problems"]
    assert (problem["code"], problem["where"]) == ("growth-tested-once", "routes.chat.grow")
    assert key.partition(":")[0] in problem["message"]
    assert validate(SCHEMA, 0, grow="false", more=key)[0] == 0


@pytest.mark.parametrize(
    ("scorer", "more", "code"),
    [
        (JUDGE, "", "growth-tested-once"),
        (SCHEMA, "whole_floor: 0.9", "growth-tested-once"),
        ("{kind: exact}", "", "growth-unscored"),
    ],
)
def test_a_run_is_refused_before_it_spends(
    validate, tmp_path: Path, scorer: str, more: str, code: str
) -> None:
    validate(scorer, 0, more=more)
    with Project.open(tmp_path / "crossgrade.yaml") as project, raises_code(code, where="routes.chat.grow"):
        project.evaluate("support")
