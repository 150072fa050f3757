"""`crossgrade decide WORKLOAD` beside recent traffic: a log that is named, and the live pairs of its routes."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossgrade.domain import ModelAnswer
from crossgrade.store import Pair, PairAnswer, Store
from crossgrade.testing import Reply
from tests.codes import names
from tests.e2e.driving import CommandLine, Project, Script
from tests.e2e.test_traffic import START, row

SYSTEM = "Repeat the number that the user names, and say nothing else."
CODE = "\n```\n```"


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def _asked(number: int, *, with_code: bool) -> list[dict[str, Any]]:
    asked = {"role": "user", "content": f"Say {number}{CODE * with_code}"}
    return [{"role": "system", "content": SYSTEM}, asked]


def _rows(first: int, n: int, *, with_code: float, **changes: Any) -> list[dict[str, Any]]:
    """Return rows of a log, of which a share asks about code."""
    return [
        row(
            first + at,
            timestamp=START + at * 120.5,
            messages=_asked(first + at, with_code=at % 10 < 10 * with_code),
            **changes,
        )
        for at in range(n)
    ]


def _drift(cli: CommandLine, *arguments: str | Path) -> list[dict[str, Any]]:
    verdict = json.loads(cli.succeeds("decide", "numbers", "--json", *arguments).out)
    return [each for each in verdict["guards"] if each["name"] == "drift"]


@pytest.fixture
def evaluated(cli: CommandLine, project: Project, script: dict[str, Script]) -> Project:
    """A project whose workload `numbers` was drawn from a log, a tenth of it with code, and evaluated."""
    script["new-model"] = lambda request: Reply(request.prompt.split("Say ")[1].split()[0])
    log = _write(project.folder / "before.jsonl", _rows(1000, 1200, with_code=0.1))
    cli.succeeds(
        "workload",
        "create",
        "numbers",
        "--from",
        log,
        "--n",
        "400",
        "--candidate",
        "new",
        "--targets",
        "logged",
    )
    cli.succeeds("evaluate", "numbers", "--yes")
    return project


def test_a_log_like_the_samples_passes_and_one_that_is_not_says_what_moved(
    cli: CommandLine, evaluated: Project
) -> None:
    assert _drift(cli) == []
    same = _write(evaluated.folder / "same.jsonl", _rows(5000, 600, with_code=0.1))
    (guard,) = _drift(cli, "--recent", same)
    assert guard["status"] == "pass", guard
    moved = _write(evaluated.folder / "moved.jsonl", _rows(5000, 600, with_code=0.5))
    ran = json.loads(cli.succeeds("decide", "numbers", "--json", "--recent", moved).out)
    (guard,) = (each for each in ran["guards"] if each["name"] == "drift")
    assert (guard["status"], ran["name"]) == ("fail", "invalid"), guard
    assert all(names(guard["seen"], each) for each in ("code", "10 %", "50 %", "600")), guard["seen"]
    assert "Say" not in json.dumps(ran["settings"]["traffic"])
    cli.succeeds("decide", "--verify", "latest")
    assert "drift" in cli.succeeds("decide", "numbers", "--recent", moved).out


def test_a_log_in_two_files_under_another_name(cli: CommandLine, evaluated: Project) -> None:
    both = _rows(5000, 600, with_code=0.1, route="digits")
    one = _write(evaluated.folder / "one.jsonl", both[:300])
    two = _write(evaluated.folder / "two.jsonl", both[300:])
    (guard,) = _drift(cli, "--recent", one, "--recent", two, "--recent-name", "digits")
    assert (guard["status"], names(guard["seen"], "600")) == ("pass", True)


def test_images_that_no_sample_stands_for_are_seen_in_the_log(cli: CommandLine, evaluated: Project) -> None:
    rows = _rows(5000, 600, with_code=0.1)
    for each in rows[::2]:
        each["messages"][1]["content"] = [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
        ]
    (guard,) = _drift(cli, "--recent", _write(evaluated.folder / "images.jsonl", rows))
    assert (guard["status"], names(guard["seen"], "no sample stands for")) == ("fail", True), guard


def test_logs_that_cannot_be_compared_are_named(cli: CommandLine, evaluated: Project) -> None:
    decide = ("decide", "numbers", "--recent")
    empty = _write(evaluated.folder / "empty.jsonl", [])
    cli.fails(*decide, empty, error=("log-unreadable", "empty.jsonl"))
    other = _write(evaluated.folder / "other.jsonl", _rows(1, 100, with_code=0, route="mail"))
    cli.fails(*decide, other, error=("log-workload-unknown", "numbers", "mail"))
    cli.fails(*decide, "nothing.jsonl", code=2, error=("file-missing", "nothing.jsonl"))
    cli.fails("decide", "numbers", "--recent-name", "mail", error=("recent-log-missing", "mail"))
    few = _write(evaluated.folder / "few.jsonl", _rows(1, 20, with_code=1))
    (guard,) = _drift(cli, "--recent", few)
    assert (guard["status"], names(guard["seen"], "20")) == ("pass", True)
    _write(evaluated.folder / "results.csv", [])
    cli.fails("decide", "results.csv", "--recent", few, error=("options-conflict", "--recent"))
    cli.fails("decide", "numbers", "echo", "--recent", few, error=("options-conflict", "--recent"))


def test_hostile_rows_of_a_log_are_left_out(cli: CommandLine, evaluated: Project) -> None:
    rows = _rows(5000, 600, with_code=0.1)
    rows[0]["messages"][1]["content"] = "x" * 3_000_000
    rows[1]["messages"][1]["content"] = "\ud800"
    rows[2]["messages"] += [{"role": "user", "content": "a"}] * 5_000
    (guard,) = _drift(cli, "--recent", _write(evaluated.folder / "hostile.jsonl", rows))
    assert guard["status"] == "pass", guard


def _pairs(n: int, *, with_code: float) -> list[Pair]:
    def answered(model: str) -> PairAnswer:
        return PairAnswer(model=model, answer=ModelAnswer(text="1"))

    def body(at: int) -> bytes:
        messages = _asked(5000 + at, with_code=at % 10 < 10 * with_code)
        return json.dumps({"model": "numbers", "messages": messages}).encode()

    return [
        Pair(
            route="numbers",
            request_id=f"q{at}",
            endpoint="/v1/chat/completions",
            request=b"not a body" if at == 7 else None if at == 8 else body(at),
            served_by="incumbent",
            incumbent=answered("old"),
            candidate=answered("new"),
            probability=0.1,
        )
        for at in range(n)
    ]


def _keep_pairs(project: Project, pairs: list[Pair]) -> None:
    config = project.config.read_text()
    project.config.write_text(config + "routes:\n  numbers: {workload: numbers}\n")
    with Store.open(f"sqlite:///{project.folder / '.crossgrade' / 'crossgrade.db'}") as store:
        store.pairs.append(pairs)


@pytest.mark.parametrize(("with_code", "status"), [(0.1, "pass"), (0.5, "fail")])
def test_live_pairs_since_the_run_are_compared_without_being_asked_for(
    cli: CommandLine, evaluated: Project, with_code: float, status: str
) -> None:
    _keep_pairs(evaluated, _pairs(600, with_code=with_code))
    (guard,) = _drift(cli)
    assert (guard["status"], names(guard["seen"], "598")) == (status, True), guard
