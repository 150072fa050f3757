"""The section `safety`: shipped sets, own sets, graders and the workloads that require them."""

import csv
import gzip
import hashlib
import io
import json
from pathlib import Path

import pytest

import crossgrade
from crossgrade.config import Config, InvalidConfigError, load_config
from crossgrade.domain import SHIPPED_PROMPTS, SafetyLimit, ScorerSpec

PROJECT = """\
models:
  old: {provider: openai, model: gpt-4.1}
  new: {provider: local, model: x}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
    requirements: {safety: [harm]}
"""
SUITE = "safety: {suites: {harm: %s}}\n"


def load(folder: Path, suite: str, project: str = PROJECT) -> Config:
    path = folder / "crossgrade.yaml"
    path.write_text(project + SUITE % suite, encoding="utf-8")
    return load_config(path, environ={})


def codes(folder: Path, suite: str, project: str = PROJECT) -> list[tuple[str, str]]:
    with pytest.raises(InvalidConfigError) as raised:
        load(folder, suite, project)
    return [(each.code, each.where or "") for each in raised.value.problems]


def test_a_shipped_set_needs_nothing_else(tmp_path: Path) -> None:
    config = load(tmp_path, "{prompts: harmbench, limit: 0.05}")
    suite = config.suites["harm"]
    assert (suite.shipped, suite.path, suite.licence) == ("harmbench", None, "MIT")
    assert suite.grader == ScorerSpec(kind="refusal", options={"event": "answered"}, zero="no event")
    wanted = SafetyLimit(suite="harm", measures="harmful_compliance", limit=0.05)
    assert config.workloads["support"].requirements.safety == (wanted,)


def test_a_limit_that_no_labels_can_show_is_refused(tmp_path: Path) -> None:
    assert codes(tmp_path, "{prompts: harmbench, limit: 0}") == [
        ("value-out-of-range", "safety.suites.harm.limit")
    ]


def test_an_own_set_states_measure_and_licence(tmp_path: Path) -> None:
    suite = load(tmp_path, "{prompts: mine.csv, measures: leakage, licence: internal}").suites["harm"]
    assert suite.path == tmp_path.resolve() / "mine.csv"
    assert (suite.shipped, suite.grader.kind) == (None, "includes")


def test_a_set_without_licence_is_refused(tmp_path: Path) -> None:
    found = codes(tmp_path, "{prompts: mine.csv, measures: leakage}")
    assert found == [("safety-licence-missing", "safety.suites.harm")]


@pytest.mark.parametrize(
    ("suite", "code"),
    [
        ("{prompts: mine.csv, licence: MIT}", "safety-measure-missing"),
        ("{prompts: harmbench, licence: Apache-2.0}", "safety-suite-stated"),
        ("{prompts: ../mine.csv, measures: leakage, licence: MIT}", "path-outside"),
        ("{prompts: leakage, grader: {kind: refusal}}", "safety-grader-unfit"),
        (
            "{prompts: xstest-safe, grader: {kind: refusal, options: {event: answered}}}",
            "safety-grader-unfit",
        ),
        ("{prompts: harmbench, grader: {kind: judge, options: {model: old}}}", "safety-grader-unfit"),
        ("{prompts: harmbench, grader: {kind: pairwise}}", "safety-grader-unfit"),
    ],
)
def test_suites_that_say_too_little_or_too_much(tmp_path: Path, suite: str, code: str) -> None:
    assert [each for each, _ in codes(tmp_path, suite)] == [code]


def test_a_required_suite_must_be_there(tmp_path: Path) -> None:
    found = codes(tmp_path, "{prompts: harmbench}", PROJECT.replace("[harm]", "[harm, hram]"))
    assert found == [("safety-suite-undefined", "workloads.support.requirements.safety.1")]


def test_no_suite_takes_a_workloads_name(tmp_path: Path) -> None:
    extra = PROJECT.replace(
        "workloads:\n",
        "workloads:\n  support.harm:\n    dataset: a.csv\n    scorer: {kind: exact}\n    incumbent: old\n    candidates: [new]\n",
    )
    assert [code for code, _ in codes(tmp_path, "{prompts: harmbench}", extra)] == ["safety-suite-name"]


def test_no_two_suites_share_a_name_of_runs(tmp_path: Path) -> None:
    extra = PROJECT.replace(
        "workloads:\n",
        "workloads:\n  support.harm:\n    dataset: a.csv\n    scorer: {kind: exact}\n    incumbent: old\n    candidates: [new]\n",
    )
    extra = extra.replace("{safety: [harm]}", "{safety: [x]}")
    path = tmp_path / "crossgrade.yaml"
    path.write_text(
        extra + "safety: {suites: {x: {prompts: harmbench}, harm.x: {prompts: harmbench}}}\n",
        encoding="utf-8",
    )
    with pytest.raises(InvalidConfigError) as raised:
        load_config(path, environ={})
    assert {each.code for each in raised.value.problems} == {"safety-suite-name"}


FOLDER = Path(crossgrade.__file__).parent / "data" / "safety"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))["suites"]


def test_the_manifest_is_what_the_configuration_says() -> None:
    assert {each["name"]: (each["measures"], each["licence"]) for each in MANIFEST} == SHIPPED_PROMPTS


@pytest.mark.parametrize("suite", MANIFEST, ids=lambda suite: suite["name"])
def test_the_manifest_is_what_the_files_are(suite: dict) -> None:
    content = gzip.decompress((FOLDER / suite["file"]).read_bytes())
    assert hashlib.sha256(content).hexdigest() == suite["sha256"]
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"))))
    assert len(rows) == suite["prompts"]
    assert len({tuple(row.values()) for row in rows}) == len(rows)
    assert all(row["prompt"].strip() for row in rows)
