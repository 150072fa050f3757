"""`crossgrade distil`: what it says before, while and after it trains."""

import json

import pytest

from crossgrade.cli._frame import run as crossgrade
from crossgrade.tuning import _training
from tests.codes import noted, shown_codes
from tests.unit.project.test_distilling import Scripts, decided, folder

__all__ = ["folder"]  # a fixture


@pytest.fixture
def typed(folder, monkeypatch, capsys):
    """Type a command in the folder, whose models are scripted; return its exit code and output."""
    monkeypatch.setattr("crossgrade.project.Project", Scripts)
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")
    with decided(folder):
        capsys.readouterr()

    def run(*words):
        code = crossgrade(["distil", "tickets", *words, "--config", str(folder / "crossgrade.yaml")])
        return code, *capsys.readouterr()

    return run


def test_says_what_it_would_take_and_trains_nothing(typed, folder):
    code, out, err = typed("--candidate", "small", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0
    assert (plan["training"], plan["checking"], plan["round"]) == (90, 30, 2)
    assert plan["error_rate"] == 0.025
    assert plan["answers"] == {"big": 30, "small": 60}
    assert not (folder / ".crossgrade" / "distil").exists()
    _, out, err = typed("--candidate", "small", "--dry-run", "--teacher", "big")
    assert noted(err, "distil-plan", "small", 90)
    assert noted(err, "teacher-permitted", "big")


def test_says_before_it_trains_that_the_extra_is_missing(typed, folder, monkeypatch):
    monkeypatch.setattr(_training, "NEEDED", ("surely_not_installed",))
    code, out, err = typed("--candidate", "small", "--dry-run", "--json")
    assert (code, json.loads(out)["missing_extra"]) == (0, "distil")
    assert noted(err, "extra-missing", "distil")
    code, _, err = typed("--candidate", "small", "--steps", "12")
    assert code == 2
    assert shown_codes(err) == ["missing-extra"]
    assert not noted(err, "resume")
    assert not noted(err, "distil-plan")


def test_a_dry_run_of_one_that_has_ended_asks_nothing(typed):
    code, _, _ = typed("--candidate", "small", "--steps", "12")
    assert code == 0
    code, out, _ = typed("--candidate", "small", "--steps", "12", "--dry-run", "--json")
    plan = json.loads(out)
    assert (code, plan["has_ended"], plan["answers"], plan["cost_usd"]) == (0, True, {}, ["0", "0"])
    assert plan["missing_extra"] is None
    code, out, err = typed("--candidate", "small", "--steps", "12", "--dry-run")
    assert (code, out) == (0, "")
    assert noted(err, "tuning-ended", "small")
    assert not noted(err, "distil-plan")


def test_trains_and_tests_once(typed, folder):
    code, out, err = typed(
        "--candidate", "small", "--steps", "12", "--usd-per-hour", "1", "--apply", "--json"
    )
    assert code == 0
    found = json.loads(out)
    assert found["verdict"]["name"] == "switch"
    assert found["lineage"]["adapter"].startswith("sha256:")
    assert (folder / found["adapter"]).is_file()
    assert found["training"]["parts"] == 1
    assert noted(err, "distilled", found["examples"])
    assert noted(err, "candidate-written", "small")
    with Scripts.open(folder / "crossgrade.yaml", environ={}) as project:
        assert project.workload("tickets").candidates[0].offer.adapter == found["adapter"]


def test_prints_the_gain_and_what_to_configure(typed):
    code, out, err = typed("--candidate", "small", "--steps", "12")
    assert code == 0
    assert "small before" in out
    assert "adapter: .crossgrade/distil/" in err


def test_without_a_gain_it_says_so(typed, monkeypatch):
    monkeypatch.setattr(Scripts, "skills", {**Scripts.skills, "small+": 0.0})
    code, out, _err = typed("--candidate", "small", "--steps", "12", "--json")
    assert code == 0
    assert json.loads(out)["verdict"] is None


def test_an_error_says_how_to_go_on(typed, monkeypatch):
    monkeypatch.setenv("PLAN", '{"at": 8, "how": "kill"}')
    code, _, err = typed("--candidate", "small", "--steps", "12")
    assert code == 2
    assert shown_codes(err) == ["training-out-of-memory"]
    assert noted(err, "resume")
    monkeypatch.setenv("PLAN", "{}")
    code, _, err = typed("--candidate", "small", "--steps", "12")
    assert code == 0


def test_names_the_candidates_that_there_are(typed):
    code, _, err = typed("--candidate", "smol")
    assert code == 2
    assert shown_codes(err) == ["candidate-unknown"]
