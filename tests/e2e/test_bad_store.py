"""A store that is damaged, locked, full, newer, or shared by several commands at once."""

import json
import resource
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from crossgrade.store import Store
from crossgrade.store import _database as database_module
from crossgrade.testing import Reply
from tests.codes import noted, shown_codes
from tests.e2e.driving import CommandLine, Gate, Project, Ran, Script, checked, number

COMMANDS = (
    ("evaluate", "echo", "--yes"),
    ("decide", "echo"),
    ("decide", "--verify", "1"),
    ("report", "--list"),
    ("runs",),
)


def database(project: Project) -> Path:
    return project.folder / ".crossgrade" / "crossgrade.db"


@pytest.fixture
def evaluated(cli: CommandLine, project: Project) -> Project:
    """A project with a finished run and a verdict."""
    cli.succeeds("evaluate", "echo", "--yes")
    return project


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_is_no_database(cli: CommandLine, project: Project, command: tuple[str, ...]) -> None:
    database(project).parent.mkdir()
    database(project).write_bytes(b"hello, " * 1000)
    cli.fails(*command, code=3, error="not-a-database")
    assert len(project.fake.requests) == 0


def test_a_damaged_database(cli: CommandLine, evaluated: Project) -> None:
    with closing(sqlite3.connect(database(evaluated))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(database(evaluated).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database(evaluated).write_bytes(content)
    for command in COMMANDS:
        cli.fails(*command, code=3, error="database-damaged")


def test_a_database_of_a_newer_crossgrade(cli: CommandLine, evaluated: Project) -> None:
    with closing(sqlite3.connect(database(evaluated))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    cli.fails("runs", code=3, error="database-too-new")


def test_a_locked_database(cli: CommandLine, evaluated: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    evaluated.change("100000", "200000")  # another volume, so deciding again makes another record
    with closing(sqlite3.connect(database(evaluated))) as other:
        other.execute("BEGIN IMMEDIATE")
        for command in (("evaluate", "echo", "--yes"), ("decide", "echo")):
            cli.fails(*command, code=3, error="database-locked")
        cli.succeeds("runs")  # readers go on
        other.rollback()
    cli.succeeds("decide", "echo")


def test_a_folder_that_cannot_be_made(cli: CommandLine, project: Project) -> None:
    (project.folder / ".crossgrade").write_text("")
    cli.fails("evaluate", "echo", "--yes", code=3, error="folder-not-made")
    assert len(project.fake.requests) == 0


def test_a_disk_that_fills_up_during_a_run(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = script["new-model"] = lambda request: Reply(f"{number(request)} " * 2000)
    cli.succeeds("runs")
    Store.open(database(project)).close()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    process = project.start("evaluate", "echo", "--yes", preexec_fn=limit)
    out, err = process.communicate(timeout=60)
    ran = checked(Ran(process.returncode, out, err))
    assert (ran.code, ran.out) == (3, "")
    assert shown_codes(ran.err) == ["disk-broken"]

    # With room again: what was committed is kept and not asked again.
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    before = Counter(request.body for request in project.fake.requests)
    cli.succeeds("evaluate", "echo", "--yes", "--resume", run["run"])
    both = Counter(request.body for request in project.fake.requests)
    assert sum(count == 1 for count in both.values()) >= run["answers"]
    assert before.total() < both.total()


def test_a_full_database_keeps_what_it_has(
    cli: CommandLine, evaluated: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = database_module._sqlite

    def small(url: object) -> database_module.Database:
        from sqlalchemy import event

        made = prepare(url)
        event.listen(made.engine, "connect", lambda c, _: c.execute("PRAGMA max_page_count=1"))
        return made

    with monkeypatch.context() as patch:
        patch.setattr(database_module, "_sqlite", small)
        cli.fails("evaluate", "echo", "--yes", "--no-reuse", code=3, error="disk-full")
    cli.succeeds("report", "--list")


def test_an_output_that_cannot_be_written(cli: CommandLine, evaluated: Project) -> None:
    (evaluated.folder / "file").write_text("")
    for option in ("--report", "--markdown", "--junit"):
        ran = cli("decide", "echo", option, evaluated.folder / "file" / "x")
        assert ran.code == 3
        assert shown_codes(ran.err) == ["file-unwritable"]
    cli.fails("report", "--to", evaluated.folder / "file" / "x.html", code=3, error="file-unwritable")


def test_a_verdict_that_somebody_changed(cli: CommandLine, evaluated: Project) -> None:
    (stored,) = json.loads(cli.succeeds("report", "--list", "--json").out)["verdicts"]
    assert noted(cli.succeeds("decide", "--verify", stored["id"]).err, "verified", stored["id"])
    with closing(sqlite3.connect(database(evaluated))) as connection, connection:
        (text,) = connection.execute("SELECT verdict FROM verdicts").fetchone()
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")

    def change(**changed: object) -> None:
        with closing(sqlite3.connect(database(evaluated))) as connection, connection:
            record = json.dumps(json.loads(text) | changed)
            connection.execute("UPDATE verdicts SET verdict = ?", (record,))

    for changed, difference in (
        ({"name": "keep"}, "name: recorded 'keep', computed 'switch'"),
        ({"name": "keep", "method_version": 1}, "policy: 'switch' beside the verdict 'keep'"),
        ({"sentence": "Switch: it keeps 1.02"}, "sentence: recorded 'Switch: it keeps 1.02', computed"),
        ({"reasons": []}, "reasons: recorded"),
        ({"spent_usd": "-5"}, "spent_usd: recorded -5, its run has"),
        ({"spent_usd": "0.0000001"}, "spent_usd: recorded"),
        ({"spent_usd": None}, "spent_usd: recorded None, its run has"),
        ({"run_id": "other"}, "run_id: recorded 'other', which is not in the store"),
        ({"run_id": json.loads(text)["run_id"][:-1]}, "run_id: recorded"),
        ({"run_id": None}, "spent_usd: recorded"),
        ({"certificates": []}, "certificates: recorded"),
    ):
        change(**changed)
        message = cli.fails("decide", "--verify", stored["id"], code=3, error="verdict-mismatch")
        assert difference in message
        cli.fails("report", code=3, error="verdict-mismatch")
    assert not (evaluated.folder / "crossgrade-report.html").exists()
    change(method_version=99)
    cli.fails("decide", "--verify", stored["id"], code=2, error=("verdict-too-new", 99))
    change(valid_until="9999-12-31T00:00:00Z", decided_at="9999-12-31T00:00:00Z")
    cli.fails("decide", "--verify", stored["id"], code=2, error=("time-out-of-range", 9999))


def test_a_verdict_that_another_release_wrote(cli: CommandLine, evaluated: Project) -> None:
    """Its words are not compared, its release is named, and only computed words are printed."""
    (stored,) = json.loads(cli.succeeds("report", "--list", "--json").out)["verdicts"]
    with closing(sqlite3.connect(database(evaluated))) as connection, connection:
        (text,) = connection.execute("SELECT verdict FROM verdicts").fetchone()
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        record = json.dumps(json.loads(text) | {"package_version": "0.0.1", "sentence": "Other words."})
        connection.execute("UPDATE verdicts SET verdict = ?", (record,))
    ran = cli.succeeds("decide", "--verify", stored["id"])
    assert noted(ran.err, "verified-but-reworded", stored["id"], "0.0.1")
    assert "Other words" not in ran.err + ran.out
    assert "Switch echo" in ran.out
    reported = json.loads(cli.succeeds("report", "--json").out)["verdicts"][0]
    assert reported["sentence"].startswith("Switch echo")
    cli.succeeds("report", "--output", "report.md")
    assert "Other words" not in (evaluated.folder / "report.md").read_text()


def test_a_verdict_of_an_older_method(cli: CommandLine, evaluated: Project) -> None:
    (stored,) = json.loads(cli.succeeds("report", "--list", "--json").out)["verdicts"]
    with closing(sqlite3.connect(database(evaluated))) as connection, connection:
        (text,) = connection.execute("SELECT verdict FROM verdicts").fetchone()
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        tree = json.loads(text) | {"method_version": 1, "package_version": "0.1.0"}
        connection.execute("UPDATE verdicts SET verdict = ?", (json.dumps(tree),))
    assert noted(cli.succeeds("decide", "--verify", stored["id"]).err, "verified-as-older")
    with closing(sqlite3.connect(database(evaluated))) as connection, connection:
        tree |= {"name": "keep", "policy": {"kind": "keep", "incumbent": "old"}}
        connection.execute("UPDATE verdicts SET verdict = ?", (json.dumps(tree),))
    cli.fails("decide", "--verify", stored["id"], code=3, error=("verdict-outdated", "Switch echo"))


def test_stored_answers_are_scored_again(cli: CommandLine, evaluated: Project) -> None:
    asked = len(evaluated.fake.requests)
    ran = cli.succeeds("decide", "--verify", "latest", "--rescore")
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert noted(ran.err, "rescored", run["run"], run["answers"], "exact")
    cli.fails("decide", "echo", "--rescore", error="verdict-not-named")
    cli.fails("decide", "--rescore", error="verdict-not-named")

    # The recorded scorer counts, whatever the configuration names today.
    evaluated.change("{kind: exact}", "{kind: numeric}")
    cli.succeeds("decide", "--verify", "latest", "--rescore")
    with closing(sqlite3.connect(database(evaluated))) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE responses SET text = 'changed' WHERE offer = 'new'")
    cli.fails("decide", "--verify", "latest", "--rescore", code=3, error=("scores-differ", "new"))
    assert len(evaluated.fake.requests) == asked
    evaluated.dataset(121)
    cli.fails("decide", "--verify", "latest", "--rescore", error="dataset-changed")


def test_a_verdict_that_cannot_be_read(cli: CommandLine, evaluated: Project) -> None:
    with closing(sqlite3.connect(database(evaluated))) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE verdicts SET verdict = '{', evidence = x'00'")
    cli.fails("report", "--list", code=3, error="verdict-unreadable")
    cli.fails("report", code=3, error="verdict-unreadable")


def test_an_answer_that_was_changed_by_hand_is_said(cli: CommandLine, evaluated: Project) -> None:
    """The evidence that a verdict rests on is its own copy: later damage does not change it."""
    (stored,) = json.loads(cli.succeeds("report", "--list", "--json").out)["verdicts"]
    with closing(sqlite3.connect(database(evaluated))) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE scores SET value = 0.0")
    cli.succeeds("decide", "--verify", stored["id"])
    cli.fails("decide", "--verify", stored["id"], "--rescore", code=3, error=("scores-differ", "0.0", "1.0"))
    assert json.loads(cli.succeeds("decide", "echo", "--json").out)["name"] == "invalid"


@pytest.fixture
def gate(script: dict[str, Script]) -> Gate:
    """Stops a run in its middle, until it is opened."""
    gate = Gate(lambda request: Reply(str(number(request)), delay_s=0.03), at=40)
    script["old-model"] = script["new-model"] = gate
    return gate


@pytest.fixture
def slow(project: Project, gate: Gate) -> Project:
    """A project of 120 calls, behind the gate."""
    project.dataset(60)
    project.change("    scorer:", "    mode: fixed\n    scorer:")
    return project


def test_two_commands_on_one_run(cli: CommandLine, slow: Project, gate: Gate) -> None:
    first = slow.start("evaluate", "echo", "--yes")
    gate.reached()
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert run["status"] == "running"
    cli.fails("evaluate", "echo", "--yes", "--resume", run["run"], code=3, error="run-locked")
    gate.open()
    _, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert len(slow.fake.requests) == 120


def test_a_decision_while_a_run_goes_on(cli: CommandLine, slow: Project, gate: Gate) -> None:
    running = slow.start("evaluate", "echo", "--yes", "--json")
    gate.reached()
    ran = cli("decide", "echo", "--gate", "--json")
    gate.open()
    assert ran.code in {0, 1, 3}
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert json.loads(out)["name"] == "switch"
    assert len(slow.fake.requests) == 120


def test_two_runs_of_one_project_at_once(cli: CommandLine, slow: Project, gate: Gate) -> None:
    gate.open()
    both = [slow.start("evaluate", "echo", "--yes", "--json") for _ in range(2)]
    results = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert [json.loads(out)["name"] for out, _ in results] == ["switch", "switch"]
    runs = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert [run["status"] for run in runs] == ["finished", "finished"]
    cli.succeeds("evaluate", "echo", "--yes")
    assert len(slow.fake.requests) <= 240


def test_a_killed_run_is_shown_as_killed(cli: CommandLine, slow: Project, gate: Gate) -> None:
    process = slow.start("evaluate", "echo", "--yes")
    gate.reached()
    process.send_signal(signal.SIGKILL)
    gate.open()
    process.communicate(timeout=60)
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    assert run["status"] == "killed"
    cli.succeeds("evaluate", "echo", "--yes", "--resume", run["run"])


@pytest.mark.parametrize("what", ["dataset", "model", "workload"])
def test_what_changed_since_the_run(cli: CommandLine, evaluated: Project, what: str) -> None:
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    if what == "dataset":
        evaluated.dataset(121)
        cli.fails("decide", "echo", error=("dataset-changed", "echo"))
    elif what == "model":
        evaluated.change("model: new-model", "model: newer-model")
        cli.fails("decide", "echo", error="workload-changed")
    else:
        evaluated.change("  echo:\n", "  other:\n")
        cli.fails("decide", "other", "--run", run["run"], error=("run-of-other-workload", "echo", "other"))
    name = "other" if what == "workload" else "echo"
    cli.fails("evaluate", name, "--yes", "--resume", run["run"], error="run-settings-changed")
