"""`crossgrade route`: a verdict goes in force, rises, falls, and never widens without a certificate."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from inline_snapshot import snapshot

from crossgrade.cli._frame import run
from crossgrade.decide import Verdict, decide_policy
from crossgrade.project import Project
from crossgrade.routing import Policy, RequestFacts, Route
from crossgrade.store import Alarm, Run, Store, new_id
from crossgrade.testing import evidence
from tests.codes import names, noted, raises_code, shown_codes

CONFIG = """\
models:
  old: {provider: openai, model: gpt-5.5}
  new: {provider: groq, model: llama}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
routes:
  help: {workload: support, models: [gpt-5.5], canary_steps: [0.1, 0.5, 1]}
  other: {incumbent: old}
"""
SWITCH = Policy(kind="switch", incumbent="old", candidate="new")
MEASURED = {"name": "old", "provider": "openai", "model": "gpt-5.5", "base_url": None}
CANDIDATE = {"name": "new", "provider": "groq", "model": "llama", "base_url": None}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture(scope="module")
def decided() -> Verdict:
    """A verdict of the whole machinery, on models of other names."""
    now = datetime.now(UTC)
    return decide_policy(evidence([1.0] * 200, [1.0] * 200), now=now)


def record(decided: Verdict, **changes: Any) -> str:
    """Record a verdict on `support` that a run stands behind; returns its id."""
    with Store.open(".crossgrade/crossgrade.db") as store:
        settings = {"incumbent": MEASURED, "candidates": [CANDIDATE]}
        made = Run(
            id=new_id(),
            workload="support",
            dataset_digest="d",
            settings=settings,
            settings_digest="s",
            seed=1,
            planned=9,
        )
        store.runs.append(made)
        fields = {
            "workload": "support",
            "name": "switch",
            "policy": SWITCH,
            "incumbent": "old",
            "candidates": ("new",),
            "run_id": made.id,
            "valid_until": datetime.now(UTC) + timedelta(days=90),
            **changes,
        }
        return store.verdicts.append(replace(decided, **fields))


def refused(capsys: pytest.CaptureFixture[str], code: str, *values: str) -> bool:
    """Tell whether one error was printed, with this code, that names each of `values`."""
    error = capsys.readouterr().err
    assert shown_codes(error) == [code], error
    return all(names(error, value) for value in values)


def current(name: str = "help") -> Route:
    with Project.open() as project:
        table = project.store.routes.current()
    assert table is not None
    return table.by_name[name]


def test_a_canary_rises_step_by_step_and_is_aborted(
    decided: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict_id = record(decided)
    until = (datetime.now(UTC) + timedelta(days=90)).date().isoformat()
    assert run(["route", "apply", "support", "--canary"]) == 0
    assert capsys.readouterr() == (
        f"help: new answers 10% of everything until {until}\n",
        "route table version 1 in force [route-applied]\n",
    )
    assert current().share == 0.1
    for share in (0.5, 1.0):
        assert run(["route", "promote", "help"]) == 0
        assert current().share == share
    assert run(["route", "promote", "help"]) == 2
    assert shown_codes(capsys.readouterr().err) == ["route-at-whole-share"]
    assert run(["route", "abort", "help"]) == 0
    assert "old answers everything; `route promote` starts the canary of new again" in capsys.readouterr().out
    route = current()
    assert route.pick(RequestFacts(), now=datetime.now(UTC), unit="x") == "old"
    assert route.verdict_id == verdict_id

    run(["route", "history", "--json"])
    history = json.loads(capsys.readouterr().out)["history"]
    assert [(row["version"], row["share"]) for row in history] == [(4, 0.0), (3, 1.0), (2, 0.5), (1, 0.1)]
    run(["route", "history", "help", "--limit", "1"])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_apply_goes_all_the_way_without_canary(decided: Verdict) -> None:
    record(decided)
    with Project.open() as project:
        (stored,) = project.newest_verdicts(["support"])
        assert project.apply(stored.id).by_name["help"].share == 1.0


def test_show_says_what_each_route_does(decided: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    run(["route", "show"])
    assert capsys.readouterr().out == snapshot("""\
route  status              incumbent  candidate  share  valid_until  verdict
help   no verdict applied  old        -              -  -            -
other  no verdict applied  old        -              -  -            -
""")
    record(decided, policy=replace(SWITCH, kind="split", segments=("mail",)), name="split")
    run(["route", "apply", "support", "--canary"])
    capsys.readouterr()
    run(["route", "show", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["version"] == 1
    help_, other = shown["routes"]
    assert (help_["status"], help_["segments"], help_["models"]) == ("canary 10%", ["mail"], ["gpt-5.5"])
    assert (other["status"], other["incumbent"]) == ("no verdict applied", "old")
    assert run(["route", "show", "help"]) == 0
    assert "policy: split" in capsys.readouterr().out
    assert run(["route", "show", "nobody"]) == 2
    assert refused(capsys, "route-unknown", "nobody", "other")


def test_a_kept_verdict_is_applied_but_no_canary(
    decided: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    record(decided, policy=Policy(kind="keep", incumbent="old"), name="keep")
    assert run(["route", "apply", "support", "--canary"]) == 2
    assert refused(capsys, "verdict-keeps")
    assert run(["route", "apply", "support"]) == 0
    assert "old answers everything" in capsys.readouterr().out
    assert run(["route", "promote", "help"]) == 2
    assert refused(capsys, "route-keeps")


@pytest.mark.parametrize(
    ("changes", "code", "value"),
    [
        ({"name": "invalid"}, "verdict-not-applicable", "invalid"),
        ({"valid_until": datetime(2020, 1, 1, tzinfo=UTC)}, "verdict-not-applicable", "2020-01-01"),
    ],
)
def test_an_unsound_verdict_is_refused(
    decided: Verdict, changes: dict[str, Any], code: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record(decided, **changes)
    assert run(["route", "apply", "support"]) == 2
    assert refused(capsys, code, value)
    assert not Path(".crossgrade/routes.json").exists()


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ("model: llama}", "model: llama-next}", "new"),
        ("{provider: openai, model: gpt-5.5}", "{provider: azure, model: gpt-5.5}", "old"),
    ],
)
def test_other_models_than_were_measured_are_refused(
    decided: Verdict, project: Path, before: str, after: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record(decided)
    run(["route", "apply", "support", "--canary"])
    (project / "crossgrade.yaml").write_text(CONFIG.replace(before, after))
    for command in (["apply", "support"], ["promote", "help"]):
        assert run(["route", *command]) == 2
        assert refused(capsys, "verdict-not-applicable", value)
    assert run(["route", "abort", "help"]) == 0  # taking back is always allowed


def test_after_an_alarm_only_a_new_certificate_widens(
    decided: Verdict, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict_id = record(decided)
    run(["route", "apply", "support", "--canary"])
    with Store.open(".crossgrade/crossgrade.db") as store:
        store.alarms.append(Alarm(route="help", kind="change", detail={}, verdict_id=verdict_id))
    for command in (["apply", "support"], ["promote", "help"]):
        assert run(["route", *command]) == 2
        assert refused(capsys, "alarm-raised", "change")
    record(decided)
    assert run(["route", "apply", "support"]) == 0


def test_what_does_not_exist_is_said(decided: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, value in (
        (["promote", "help"], "route-unknown", "help"),
        (["abort", "help"], "route-unknown", "help"),
        (["apply", "support"], "verdict-missing", "support"),
        (["apply", "suport"], "workload-unknown", "suport"),
        (["history", "NOPE"], "route-unknown", "NOPE"),
        (["export"], "usage", "--proxy"),
    ):
        assert run(["route", *arguments]) == 2
        assert refused(capsys, code, value)
    record(decided)
    assert run(["route", "apply", "support", "--route", "other"]) == 2
    assert refused(capsys, "route-unknown", "support", "other", "help")


def test_a_workload_without_a_route_is_said(decided: Verdict, project: Path) -> None:
    (project / "crossgrade.yaml").write_text(CONFIG.replace("workload: support,", "incumbent: old,"))
    verdict_id = record(decided)
    with (
        Project.open() as opened,
        raises_code("route-missing", "crossgrade.yaml"),
    ):
        opened.apply(verdict_id)


def test_export_prints_the_file_and_says_the_rest(
    decided: Verdict, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(decided)
    run(["route", "apply", "support", "--canary"])
    capsys.readouterr()
    assert run(["route", "export", "help", "--to", "litellm"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("model_list:\n  - model_name: help\n")
    assert noted(captured.err, "not-exported", "help", "LiteLLM")
    assert run(["route", "export", "--to", "envoy", "--output", "routes.yaml"]) == 0
    assert capsys.readouterr().out == ""
    assert "kind: AIGatewayRoute" in (project / "routes.yaml").read_text()
    assert run(["route", "export", "--to", "openrouter"]) == 2
    assert refused(capsys, "export-unsupported", "OpenRouter")
    run(["route", "export", "--to", "litellm", "--json"])
    assert json.loads(capsys.readouterr().out)["notes"]


HEIR = (
    CONFIG.replace("gpt-5.5}", "gpt-5.5, retires_on: DAY}\n  next: {provider: openai, model: next}")
    .replace("other: {incumbent: old}", "other: {incumbent: old, successor: next}")
    .replace("workload: support,", "workload: support, successor: next,")
)


@pytest.mark.parametrize(("days", "ended"), [(20, False), (0, True), (-200, True)])
def test_who_takes_the_incumbents_place_is_shown_and_is_not_called_certified(
    decided: Verdict, project: Path, capsys: pytest.CaptureFixture[str], days: int, *, ended: bool
) -> None:
    day = (datetime.now(UTC) + timedelta(days=days)).date()
    (project / "crossgrade.yaml").write_text(HEIR.replace("DAY", day.isoformat()))
    record(decided)
    assert run(["route", "apply", "support"]) == 0, "a verdict whose incumbent is gone holds"
    assert noted(capsys.readouterr().err, "incumbent-ends", "help", "old", "next", "certifies nothing", day)
    assert run(["route", "show", "--json"]) == 0
    captured = capsys.readouterr()
    rows = {row["route"]: row for row in json.loads(captured.out)["routes"]}
    assert {(row["incumbent_ends_on"], row["successor"]) for row in rows.values()} == {(str(day), "next")}
    assert [names(row["status"], "next") for row in rows.values()] == [ended, ended]
    assert rows["help"]["status"].startswith("in force")
    assert len(noted(captured.err, "incumbent-ends", "certifies nothing")) == 2
    run(["route", "abort", "help"])
    assert f"help: {'next' if ended else 'old'} answers everything" in capsys.readouterr().out
    run(["route", "export", "help", "--to", "litellm"])
    exported = capsys.readouterr()
    assert ("openai/gpt-5.5" in exported.out) is not ended
    assert ("openai/next" in exported.out) is ended


def test_a_candidate_that_is_the_successor_too_is_exported_alone(
    decided: Verdict, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = (datetime.now(UTC) - timedelta(days=3)).date()
    text = HEIR.replace("DAY", day.isoformat()).replace("successor: next", "successor: new")
    (project / "crossgrade.yaml").write_text(text)
    record(decided)
    run(["route", "apply", "support", "--canary"])
    capsys.readouterr()
    assert run(["route", "export", "help", "--to", "envoy"]) == 0
    exported = capsys.readouterr().out
    assert "weight: " not in exported.replace("weight: 1000", ""), "it gets everything, and no share twice"
    assert "name: old" not in exported


def test_a_route_without_a_successor_says_what_to_do(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = (datetime.now(UTC) - timedelta(days=3)).date()
    text = (
        HEIR.replace("DAY", day.isoformat()).replace(", successor: next", "").replace("successor: next,", "")
    )
    (project / "crossgrade.yaml").write_text(text)
    assert run(["route", "show", "help"]) == 0
    captured = capsys.readouterr()
    assert noted(captured.err, "incumbent-ends", "old", day, "routes.help.successor")


def test_a_successor_that_the_team_may_not_use_stops_a_verdict_as_a_fallback_does(
    decided: Verdict, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = (datetime.now(UTC) + timedelta(days=400)).date()
    scout = "next: {provider: groq, model: meta-llama/llama-4-scout-17b-16e-instruct}"
    text = HEIR.replace("DAY", far.isoformat()).replace("next: {provider: openai, model: next}", scout)
    allowed = "team: {country: DE, permitted: [{model: new, clause: licence-unknown, because: ours}]}\n"
    (project / "crossgrade.yaml").write_text(text + allowed)
    record(decided)
    assert run(["route", "apply", "support"]) == 2
    assert refused(capsys, "use-forbidden", "next")
