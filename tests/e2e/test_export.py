"""A verdict leaves its project as a folder, and another folder computes it again by the command line."""

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from crossgrade.project import Project as Opened
from tests.codes import noted, shown_codes
from tests.e2e.driving import COMMAND, CONFIG, CommandLine, Project

NAMES = ["README.md", "evidence.json", "manifest.json", "verdict.json"]


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a project."""
    return tmp_path_factory.mktemp("elsewhere")


def exported(cli: CommandLine, *words: str | Path) -> dict[str, object]:
    return json.loads(cli.succeeds("export", *words, "--json").out)


def test_a_measured_verdict_is_verified_elsewhere(
    cli: CommandLine, project: Project, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    ran = cli.succeeds("export", "latest", "echo", elsewhere / "out")
    assert noted(ran.err, "export-not-signed")
    assert sorted(each.name for each in (elsewhere / "out").iterdir()) == NAMES
    project.config.unlink()
    monkeypatch.chdir(elsewhere)
    done = subprocess.run(
        [COMMAND, "export", "--verify", "out"], cwd=elsewhere, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ran = cli.succeeds("export", "--verify", "out")
    assert done.stdout == ran.out
    assert ran.out.startswith("holds: unsigned\n")
    assert "SWITCH" in ran.out
    assert noted(ran.err, "export-verified", verdict["verdict_id"])
    assert noted(ran.err, "export-not-vouched")
    found = json.loads(cli.succeeds("export", "--verify", "out", "--json").out)
    assert (found["holds"], found["rounded"], found["findings"]) == (True, 0, [])
    assert found["uncovered"] == ["export-not-vouched"]
    for name in ("name", "evidence_digest", "certificates", "saving_per_month_usd", "run_id", "spent_usd"):
        assert found["verdict"][name] == verdict[name], name

    cli.fails("export", "--verify", "out", "--key", "nonsense", error="note-key-invalid")
    evidence = elsewhere / "out" / "evidence.json"
    evidence.write_text(evidence.read_text().replace("1.0", "0.0", 1))
    ran = cli("export", "--verify", "out")
    assert (ran.code, ran.out, shown_codes(ran.err)) == (1, "holds: no\n", ["export-file-differs"])
    assert "--> evidence.json" in ran.err
    ran = cli("export", "--verify", "out", "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert (found["holds"], found["verdict"], found["uncovered"]) == (False, None, [])
    assert [(each["code"], each["file"]) for each in found["findings"]] == [
        ("export-file-differs", "evidence.json")
    ]
    cli.fails("export", "--verify", "nowhere", error=("export-missing", "nowhere"))


def test_a_signed_folder_names_the_key_that_checks_it(
    cli: CommandLine, project: Project, elsewhere: Path
) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    with Opened.open(project.config) as opened:
        vkey = opened.store.ledger.secrets.make("example.com/ledger").vkey
    assert exported(cli, "latest", elsewhere / "out")["signed_by"] == vkey
    ran = cli.succeeds("export", "--verify", elsewhere / "out", "--key", vkey)
    assert noted(ran.err, "export-signature-right", "example.com/ledger")
    assert ran.out.startswith("holds: yes\n")
    found = json.loads(cli.succeeds("export", "--verify", elsewhere / "out", "--key", vkey, "--json").out)
    assert (found["holds"], found["uncovered"]) == (True, [])
    found = json.loads(cli.succeeds("export", "--verify", elsewhere / "out", "--json").out)
    assert (found["holds"], found["uncovered"]) == (True, ["export-signature-unchecked"])
    ran = cli.succeeds("export", "--verify", elsewhere / "out")
    assert noted(ran.err, "export-signature-unchecked", "example.com/ledger")
    assert ran.out.startswith("holds: unsigned\n"), "a signature that nobody checked vouches for nothing"
    (elsewhere / "out" / "signature.note").unlink()
    ran = cli("export", "--verify", elsewhere / "out", "--key", vkey)
    assert (ran.code, ran.out, shown_codes(ran.err)) == (1, "holds: no\n", ["export-unsigned"])


def test_workloads_that_share_an_error_rate_go_along(
    cli: CommandLine, project: Project, elsewhere: Path
) -> None:
    text = project.config.read_text()
    workload = CONFIG[CONFIG.index("  echo:") :].replace("echo:", "again:", 1)
    project.config.write_text("family_alpha: 0.05\n" + text + workload)
    for name in ("echo", "again"):
        cli.succeeds("evaluate", name, "--yes", "--no-decide")
    cli.succeeds("decide", "echo")
    written = exported(cli, "latest", "echo", elsewhere / "alone")
    assert written["unchecked"] == ["again"]
    ran = cli.succeeds("export", "--verify", elsewhere / "alone")
    assert noted(ran.err, "taken-as-recorded", "again")
    found = json.loads(cli.succeeds("export", "--verify", elsewhere / "alone", "--json").out)
    assert found["uncovered"] == ["taken-as-recorded", "export-not-vouched"]
    cli.succeeds("decide", "again")
    written = exported(cli, "latest", "echo", elsewhere / "both")
    assert written["unchecked"] == []
    assert {"sibling-1-verdict.json", "sibling-1-evidence.json"} <= set(written["files"])
    ran = cli.succeeds("export", "--verify", elsewhere / "both")
    assert not noted(ran.err, "taken-as-recorded")


def test_labels_and_their_probabilities_go_along(cli: CommandLine, judged: Project, elsewhere: Path) -> None:
    judged.dataset(240)
    cli.succeeds("evaluate", "echo", "--yes", "--no-decide")
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    cli.succeeds("runs", "--export", str(run["run"]), "--label-file", judged.folder / "labels.csv")
    from tests.e2e.test_judged import score

    score(judged.folder / "labels.csv")
    cli.succeeds("decide", "echo", "--label-file", judged.folder / "labels.csv")
    exported(cli, "latest", elsewhere / "out")
    found = json.loads(cli.succeeds("export", "--verify", elsewhere / "out", "--json").out)
    assert found["verdict"]["name"] == "switch"
    assert found["verdict"]["certificates"][0]["retention"]["labels"] == 240


def test_what_cannot_be_exported_is_refused(cli: CommandLine, project: Project, elsewhere: Path) -> None:
    cli.fails("export", "latest", "echo", elsewhere / "out", error=("verdict-missing", "echo"))
    cli.fails("export", "latest", "ecko", elsewhere / "out", error=("workload-unknown", "ecko"))
    cli.fails("export", "latest", elsewhere / "out", error="verdict-unknown")
    cli.fails("export", error="verdict-not-named")
    cli.fails("export", "latest", error="verdict-not-named")
    cli.fails("export", "latest", "out", "--key", "x", error="options-conflict")
    cli.fails("export", "--verify", "out", "--with-texts", error="options-conflict")
    cli.fails("export", "latest", "out", "--verify", "out", error="options-conflict")
    cli.succeeds("evaluate", "echo", "--yes")
    cli.fails("export", "latest", project.folder, error="export-folder-used")
    with closing(sqlite3.connect(next(project.folder.rglob("*.db")))) as database, database:
        database.execute("UPDATE verdicts SET verdict = json_set(verdict, '$.asked', 7)")
    cli.fails("export", "latest", elsewhere / "out", code=3, error="verdict-mismatch")
    assert not list(elsewhere.iterdir())
