"""`crossgrade watch`: what it prints, and which code it exits with."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crossgrade.cli import watch as command_module
from crossgrade.cli._frame import run
from crossgrade.store import Store
from tests.codes import noted
from tests.unit.watch.conftest import BAD, GOOD, Site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path, {})
    made.write()
    monkeypatch.chdir(tmp_path)
    return made


def test_nothing_to_watch(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "--once"]) == 0
    seen = capsys.readouterr()
    assert (seen.out, len(noted(seen.err, "nothing-to-watch"))) == ("", 1)


def test_an_alarm_is_exit_code_1(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 50)
    assert run(["watch", "--once"]) == 0
    seen = capsys.readouterr()
    assert "watching  scorer" in seen.out
    assert "no error rate" in seen.out.splitlines()[0], "nobody takes the ratio so far for a bound"
    assert re.search(r" \S+ of 20 +\S+ of 5,000 ", seen.out), "the evidence, and where it raises an alarm"
    assert seen.err == ""
    site.see(verdict, [(GOOD, BAD)] * 80)
    assert run(["watch", "--once"]) == 1
    assert noted(capsys.readouterr().err, "alarm", "change", "support")
    assert run(["watch", "--once"]) == 0


def test_json_of_one_look(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)])
    assert run(["watch", "--once", "--json"]) == 0
    look = json.loads(capsys.readouterr().out)["look"]
    assert look["standings"][0]["status"] == "watching"
    assert run(["watch", "--json"]) == 2


def test_a_labelling_file(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(scorer="\n      kind: exact", watch="{label_share: 1}")
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)])
    assert run(["watch", "--label-file", "labels.csv"]) == 0
    assert noted(capsys.readouterr().err, "labels-read", 0, 1)
    assert (tmp_path / "labels.csv").exists()


def test_it_goes_on_through_the_stores_troubles(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = site.apply()
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 1:
            held.__enter__()
        if len(naps) == 2:
            held.__exit__(None, None, None)
            site.see(verdict, [(GOOD, BAD)] * 80)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(command_module.time, "sleep", nap)
    with Store.open(site.folder / ".crossgrade" / "crossgrade.db") as store:
        held = store.watching()
        assert run(["watch"]) == 130
    seen = capsys.readouterr().err
    lines = [json.loads(line) for line in seen.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["watch_problem", "alarm", "alarm"]
    assert lines[0]["code"] == "watch-locked"
    assert {line["kind"] for line in lines[1:]} == {"claim", "change"}
    assert naps == [60.0] * 3


def test_a_model_that_ends_is_told_once_for_each_warning(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    day = (datetime.now(UTC) + timedelta(days=20)).date()
    file = site.folder / "crossgrade.yaml"
    file.write_text(file.read_text().replace("gpt: {", f"gpt: {{retires_on: {day}, "))
    site.apply(valid_until=datetime.now(UTC) + timedelta(days=90))
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(command_module.time, "sleep", nap)
    assert run(["watch"]) == 130
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    (line,) = (each for each in lines if each["event"] == "model_ends")
    assert (line["level"], line["model"], line["routes"]) == ("warning", "gpt", ["support"])
    run(["watch", "--once", "--json"])
    seen = capsys.readouterr()
    assert noted(seen.err, "model-ends", "gpt", day, "support")
    told = json.loads(seen.out)["look"]["endings"]
    assert [(each["model"], each["retires_on"], each["within"]) for each in told] == [("gpt", str(day), 30)]


@pytest.mark.parametrize("kind", ["claim", "change", "sealed", "expired", "price", "retired", "version"])
def test_every_kind_of_alarm_has_words(kind: str) -> None:
    from crossgrade.store import Alarm

    detail = {
        "e_value": 1.0, "threshold": 20.0, "audits": 1, "valid_until": "d", "model": "m", "retires_on": "d",
        "per_mtok_usd_now": [], "per_mtok_usd_then": [], "served": "b", "measured": ["a"], "floor": 0.9, "test": "claim",
    }  # fmt: skip
    assert kind in command_module._sentence(Alarm(route="r", kind=kind, detail=detail, segment="s"))
