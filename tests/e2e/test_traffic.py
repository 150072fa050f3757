"""`crossgrade scan` and `workload create|label|slice|reveal|forget`, as a user runs them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.codes import noted
from tests.e2e.driving import CommandLine, Project

START = 1_793_000_000 - 1_793_000_000 % 86_400


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "timestamp": START + number * 300.5,
        "provider": "openai-compatible",
        "model": "old-model",
        "route": "numbers",
        "user": f"user-{number % 10}",
        "input_tokens": 20,
        "output_tokens": 1,
        "cost_usd": 0.0002,
        "status": 200,
        "temperature": 0,
        "max_tokens": 8,
        "finish_reason": "stop",
        "messages": [{"role": "user", "content": f"Say {number}"}],
        "completion": str(number),
    } | changes


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def log(folder: Path) -> Path:
    path = folder / "log.jsonl"
    rows = [row(number) for number in range(1, 1201)]
    rows += [
        row(number, route="mail", messages=[{"role": "user", "content": "Write a mail"}])
        for number in range(2000, 2100)
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows) + "not a record\n", encoding="utf-8")
    return path


def test_a_scan_is_printed_ranked_saved_and_drawn(cli: CommandLine, folder: Path, log: Path) -> None:
    ran = cli.succeeds("scan", log, "--html", "scan.html", "--save", "scan.json")
    assert "requests: 1,300, each once" in ran.out
    assert "1. numbers" in ran.out
    assert "2. mail" not in ran.out  # the first holds more than 80 % of the spend
    assert noted(ran.err, "details-left-out", 92, 2)
    table = {line.split()[1]: line.split() for line in ran.out.splitlines() if line[:2] in {"1 ", "2 "}}
    assert table["numbers"][4:8] == ["92", "%", "92", "%"]
    assert table["mail"][4:8] == ["8", "%", "100", "%"]
    assert "in the first year: 12 × $" in ran.out
    assert "rank" not in ran.out
    assert noted(ran.err, "not-read", 1, "log.jsonl:1301")
    assert noted(ran.err, "next", "crossgrade workload create numbers --from scan.json --n 400")
    saved = json.loads((folder / "scan.json").read_text())
    found = json.loads(cli.succeeds("scan", log, "--json").out)
    assert saved == found
    assert [each["name"] for each in found["findings"]] == ["numbers", "mail"]
    move = found["findings"][0]["moves"][0]
    assert move["open_weights"] is True
    saving = move["saving_per_month_usd"]
    # Four and a half days of log do not show what a week is like.
    assert (saving["low"], saving["reason_code"]) == (None, "log-too-short")
    page = (folder / "scan.html").read_text()
    assert page.count('<div class="tile ') == 2
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_log_without_texts_says_so(cli: CommandLine, folder: Path, log: Path) -> None:
    found = json.loads(cli.succeeds("scan", log, "--no-text", "--json").out)
    assert found["texts"] is False
    assert found["spend_usd"] == pytest.approx(1300 * 0.0002)
    ran = cli.succeeds("scan", log, "--no-text", "--save", "bare.json")
    assert not noted(ran.err, "next")
    cli.fails(
        "workload", "create", "numbers", "--from", "bare.json", error=("scan-without-text", "bare.json")
    )


def test_what_is_not_there_is_said(cli: CommandLine, folder: Path, log: Path) -> None:
    cli.fails("scan", "nothing.jsonl", code=2, error="file-missing")
    cli.fails("scan", log, "--format", "langfuze", error=("log-format-unknown", "langfuse"))
    cli.fails("scan", "postgresql://localhost/x", error="query-missing")
    (folder / "note.txt").write_text("not a log\n")
    cli.fails("workload", "create", "x", "--from", "note.txt", error=("log-unreadable", "note.txt"))
    cli.succeeds("scan", log, "--save", "scan.json")
    assert noted(cli("scan", "scan.json").err, "not-read", "--output")
    cli.fails("scan", "note.txt", "--json", error=("log-unreadable", "1"))


def test_a_log_without_models_is_told_how_to_name_one(cli: CommandLine, folder: Path) -> None:
    lines = [f"2026-11-02 09:{minute:02}:00,900,40" for minute in range(60)]
    (folder / "trace.csv").write_text("\n".join(["timestamp,input_tokens,output_tokens", *lines]) + "\n")
    assert noted(cli.succeeds("scan", "trace.csv", "--html", "scan.html").err, "model-not-named")
    assert '<div class="tile unknown"' in (folder / "scan.html").read_text()
    named = cli.succeeds("scan", "trace.csv", "--model", "openai/gpt-4.1", "--html", "b.html")
    assert not noted(named.err, "model-not-named")
    assert '<div class="tile s4"' in (folder / "b.html").read_text()
    before = cli.succeeds("scan", "trace.csv", "--model", "openai/gpt-4.1", "--on", "2023-11-16")
    assert noted(before.err, "prices-unknown", "2023-11-16")


def test_from_logs_to_a_verdict_without_paying_the_incumbent_again(
    cli: CommandLine, project: Project, log: Path
) -> None:
    cli.succeeds("scan", log, "--save", "scan.json")
    ran = cli.succeeds(
        "workload", "create", "numbers", "--from", "scan.json", "--n", "150", "--candidate", "new", "--json"
    )
    made = json.loads(ran.out)["workload"]
    assert (made["samples"], made["stand_for_requests"], made["scorer"]) == (150, 1200, "numeric")
    assert (made["incumbent"], made["candidates"]) == ("old", ["new"])
    assert made["logged_answers_kept"] == 150
    assert len(made["digest"]) >= 64
    text = project.config.read_text()
    assert "weight_field: weight" in text
    assert "cluster_field" not in text

    labels = project.folder / "numbers.labels.csv"
    rows = cells(labels)
    assert rows[0] == ["id", "input", "logged", "target"]
    for each in rows[1:]:
        each[3] = each[1].split()[-1]
    with labels.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    made = json.loads(cli.succeeds("workload", "label", "numbers", labels, "--json").out)
    assert (made["schema_version"], made["workload"], made["labelled"]) == (1, "numbers", 150)

    cli.succeeds("evaluate", "numbers", "--yes")
    assert project.asked("old-model") == []
    assert len(project.asked("new-model")) > 20
    verdict = json.loads(cli.succeeds("decide", "numbers", "--json").out)
    assert verdict["name"] in {"switch", "undecided"}, verdict

    sliced = cli.succeeds("workload", "slice", "numbers", "--by", "model").out
    assert "old-model" in sliced
    assert "100.0 %" in sliced
    cli.fails(
        "workload", "slice", "numbers", "--by", "colour", code=2, error=("field-unknown", "numbers", "colour")
    )

    before = json.loads(cli.succeeds("workload", "show", "numbers", "--json").out)
    forgotten = json.loads(cli.succeeds("workload", "forget", "--subject", "user-3", "--json").out)[
        "forgotten"
    ]
    assert before
    assert forgotten["samples"]["numbers"] > 5
    assert forgotten["answers"] > 0
    rest, *_ = forgotten["verdicts"]  # of `evaluate`, and of `decide`
    assert rest["workload"] == "numbers"
    assert 0 < rest["removed"] < rest["samples"]
    left = [json.loads(line) for line in (project.folder / "numbers.jsonl").read_text().splitlines()]
    assert len(left) == 150 - forgotten["samples"]["numbers"]
    assert len(cells(labels)) == len(left) + 1
    again = cli.succeeds("workload", "forget", "--subject", "user-3")
    assert "no sample is of this subject" in again.out
    said = cli.succeeds("workload", "forget", "--subject", "user-4").err
    assert "it rests on their scores as numbers" in said


def test_settings_that_requests_left_to_the_provider_are_left_to_it_again(
    cli: CommandLine, project: Project
) -> None:
    rows = [row(number, temperature=None) for number in range(1, 401)]
    log = project.folder / "log.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    cli.succeeds("scan", log, "--save", "scan.json")
    create = ("workload", "create", "numbers", "--from", "scan.json", "--n", "100", "--candidate", "new")
    made = json.loads(cli.succeeds(*create, "--targets", "logged", "--json").out)["workload"]
    assert made["logged_answers_kept"] == 100
    assert "temperature: null" in project.config.read_text()
    cli.succeeds("evaluate", "numbers", "--yes")
    assert project.asked("old-model") == []
    asked = [each for each in project.fake.requests if each.model == "new-model"]
    assert len(asked) > 20
    assert not any(b"temperature" in each.body for each in asked)


def test_weights_carry_through_to_the_verdict(cli: CommandLine, project: Project) -> None:
    # One question is 3 of 4 requests, and the new model gets just that one wrong.
    rows = [
        row(n, messages=[{"role": "user", "content": "Say 20" if n % 4 else f"Say {20 * n + 1}"}])
        for n in range(1, 401)
    ]
    for each in rows:
        each["completion"] = each["messages"][0]["content"].split()[-1]
    log = project.folder / "log.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
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
    samples = [json.loads(line) for line in (project.folder / "numbers.jsonl").read_text().splitlines()]
    assert (len(samples), max(each["weight"] for each in samples)) == (101, 300)
    project.change("    scorer:", "    mode: fixed\n    scorer:")  # of all samples, wherever a run could stop
    cli.succeeds("evaluate", "numbers", "--yes")
    verdict = json.loads(cli.succeeds("decide", "numbers", "--json").out)
    (certificate,) = verdict["certificates"]
    assert certificate["retention"]["value"] == pytest.approx(0.25, abs=0.02)


def test_what_redaction_took_out_comes_back_with_the_key_alone(cli: CommandLine, project: Project) -> None:
    rows = [row(n, messages=[{"role": "user", "content": f"Mail u{n}@acme.com that 20"}]) for n in range(60)]
    rows[7]["messages"][0]["content"] = "=cmd|' /C calc'!A0"
    log = project.folder / "log.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    made = json.loads(
        cli.succeeds(
            "workload",
            "create",
            "numbers",
            "--from",
            log,
            "--n",
            "60",
            "--candidate",
            "new",
            "--seal-key",
            "seal.key",
            "--json",
        ).out
    )["workload"]
    assert made["redacted"] == {"email": 59}
    assert (project.folder / "seal.key").stat().st_mode & 0o077 == 0
    stored = (project.folder / "numbers.jsonl").read_text()
    assert "acme.com" not in stored
    shown = cli.succeeds("workload", "reveal", "numbers", "--key", "seal.key").out
    assert shown.count("@acme.com") == 59
    whole = json.loads(cli.succeeds("workload", "reveal", "numbers", "--key", "seal.key", "--json").out)
    assert whole["samples"] == [json.loads(line) for line in shown.splitlines()]
    one = cli.succeeds("workload", "reveal", "numbers", "--key", "seal.key", "--sample", "r00001").out
    assert one.count("\n") == 1
    cli.fails("workload", "reveal", "numbers", "--key", "other.key", error="redaction-key-missing")
    # A formula in a text is a text in the labelling file.
    assert "'=cmd" in (project.folder / "numbers.labels.csv").read_text()


def test_nothing_is_overwritten(cli: CommandLine, project: Project, log: Path) -> None:
    create = ("workload", "create", "numbers", "--from", log, "--n", "20", "--candidate", "new")
    cli.succeeds(*create)
    before = project.config.read_text()
    cli.fails(*create, error="output-exists")
    cli.fails(*create, "--as", "echo", error=("output-exists", "echo.jsonl"))
    cli.succeeds(*create, "--as", "numbers-2")
    assert project.config.read_text().startswith(before.rstrip()[:40])
    cli.fails(
        "workload",
        "create",
        "nombers",
        "--from",
        log,
        "--candidate",
        "new",
        error=("log-workload-unknown", "numbers"),
    )


def test_names_out_of_a_log_are_texts_wherever_they_are_shown(cli: CommandLine, folder: Path) -> None:
    evil = "\x1b[31m<script>alert(1)</script>\u202e=1+1"
    rows = [row(n, route=evil, model=evil, user=evil, provider="openai") for n in range(30)]
    (folder / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows) + f"{evil}\n")
    cli.succeeds("scan", "log.jsonl", "--html", "scan.html", "--save", "scan.json")
    page = (folder / "scan.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    cli.succeeds(
        "workload",
        "create",
        "31m-script-alert-1-script-1-1",
        "--from",
        "scan.json",
        "--n",
        "5",
        "--candidate",
        "groq/llama",
    )
    assert "31m-script" in cli.succeeds("workload", "list").out


def test_chats_and_an_agent_become_a_verdict_on_the_chats_alone(cli: CommandLine, project: Project) -> None:
    rows = []
    for number in range(400):
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": f"Good day, I am number {number}"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": f"Say {number}"},
        ]
        rows.append(row(number, messages=messages, cost_usd=0.01))
    call = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "look_up"}}]}
    for number in range(400, 2000):
        loop = [{"role": "user", "content": f"Good day, I am number {number}"}, call]
        rows.append(row(number, messages=[*loop, {"role": "tool", "tool_call_id": "c", "content": "1"}]))
    log = project.folder / "log.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    create = ("workload", "create", "numbers", "--from", log, "--candidate", "new", "--targets", "logged")
    made = json.loads(cli.succeeds(*create, "--json").out)["workload"]
    assert (made["samples"], made["stand_for_requests"], made["of_requests"]) == (400, 400, 2000)
    assert (made["represented_share"], made["left_out"]) == (0.2, {"uses tools": 1600})
    assert json.loads(cli.succeeds("workload", "show", "numbers", "--json").out)["workload"][
        "logged_traffic"
    ]["represented_share"] == pytest.approx(0.2)

    cli.succeeds("evaluate", "numbers", "--yes")
    asked = json.loads(project.fake.requests[0].body)["messages"]
    assert [each["role"] for each in asked] == ["user", "assistant", "user"]
    verdict = json.loads(cli.succeeds("decide", "numbers", "--json").out)
    assert (verdict["name"], verdict["policy"]["plain_only"]) == ("switch", True)
    # A fifth of the log's requests in 1999 * 300.5 s, as a month.
    volume = verdict["settings"]["requests_per_month"]
    assert volume == pytest.approx(400 / (1999 * 300.5) * 30 * 86_400, rel=0.02)
    saving = verdict["saving_per_month_usd"]
    assert saving["value"] == pytest.approx(volume * 0.01, rel=0.05)
    shown = cli.succeeds("decide", "numbers").out
    assert "the represented 20 % of numbers" in shown
    assert "represented" in shown
