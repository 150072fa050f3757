"""What every command says of a crossgrade.yaml that is wrong; nothing is asked, written or leaked."""

from pathlib import Path

import pytest

from tests.e2e.driving import KEY, CommandLine, Project

READERS = (
    ("evaluate", "echo", "--yes"),
    ("evaluate", "echo", "--dry-run"),
    ("decide", "echo"),
    ("decide", "--verify", "1"),
    ("report",),
    ("runs",),
    ("workload", "list"),
    ("config", "validate"),
)

LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 8)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

BAD = {
    "no YAML": ("models: [", "yaml-invalid", "crossgrade.yaml:1:"),
    "a tab": ("models:\n\told: x\n", "yaml-invalid", "crossgrade.yaml:2:1"),
    "a billion laughs": (LAUGHS, "yaml-aliases-expand", "crossgrade.yaml:7:"),
    "a tag": ("models: !!python/object/apply:os.system [id]\n", "yaml-tag", "crossgrade.yaml:1:9"),
    "nothing": ("", "config-empty", "crossgrade.yaml"),
    "too deep": ("models: " + "[" * 5000, "yaml-too-deep", "crossgrade.yaml:1:"),
    "too large": ("#" * 2**21, "config-too-large", "crossgrade.yaml"),
}


@pytest.mark.parametrize("command", READERS, ids=" ".join)
@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_read(
    cli: CommandLine, folder: Path, case: str, command: tuple[str, ...]
) -> None:
    text, error, where = BAD[case]
    (folder / "crossgrade.yaml").write_text(text)
    cli.fails(*command, error=error, where=where)
    assert [path.name for path in folder.iterdir()] == ["crossgrade.yaml"]


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_no_file_at_all(cli: CommandLine, folder: Path, command: tuple[str, ...]) -> None:
    cli.fails(*command, error="results-missing" if command == ("decide", "echo") else "config-missing")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "error", "where"),
    [
        ("scorer:", "scoer:", ("key-not-allowed", "scoer"), "crossgrade.yaml:19:5  workloads.echo.scoer"),
        ("candidates: [new]", "candidates: [nwe]", ("model-undefined", "nwe"), "crossgrade.yaml:21:18"),
        ("candidates: [new]", "candidates: []", ("value-invalid", "candidates"), "crossgrade.yaml:21:5"),
        ("echo.jsonl", "../echo.jsonl", "path-outside", "crossgrade.yaml:16:5"),
        ("echo.jsonl", "/etc/passwd", "path-outside", "crossgrade.yaml:16:5"),
        ("kind: exact", "kind: exct", ("scorer-unknown", "exct"), "crossgrade.yaml:19:14"),
        (
            "kind: exact",
            "kind: exact, options: {x: 1}",
            ("scorer-option-unknown", "x"),
            "crossgrade.yaml:19:37",
        ),
        (
            "kind: exact",
            "kind: judge, options: {model: x}",
            ("scorer-model-undefined", "x"),
            "crossgrade.yaml:19:37",
        ),
        (
            "kind: exact",
            "kind: python, options: {function: 'no:f'}",
            "scorer-import-failed",
            "crossgrade.yaml:19:38",
        ),
        ("Say {input}", "Say it", "prompt-without-field", "crossgrade.yaml:17:"),
        (
            "output_per_mtok: 30",
            "output_per_mtok: -30",
            ("value-out-of-range", "output_per_mtok", "-30"),
            "crossgrade.yaml:7:",
        ),
        ("output_per_mtok: 30", "output_per_mtok: .nan", ("number-not-finite", ".nan"), "crossgrade.yaml:7:"),
    ],
)
def test_a_rule_that_is_broken(
    cli: CommandLine, project: Project, old: str, new: str, error: str | tuple[str, ...], where: str
) -> None:
    project.change(old, new)
    cli.fails("evaluate", "echo", "--yes", error=error, where=where)
    assert len(project.fake.requests) == 0


def test_a_link_that_leads_outside(cli: CommandLine, project: Project) -> None:
    (project.folder / "echo.jsonl").unlink()
    (project.folder / "echo.jsonl").symlink_to("/etc/passwd")
    cli.fails("evaluate", "echo", "--yes", error="path-outside", where="crossgrade.yaml:16:5")


def test_a_key_in_the_file_is_refused_and_not_repeated(cli: CommandLine, project: Project) -> None:
    project.change("    model: old-model\n", f"    model: old-model\n    api_key: {KEY}\n")
    for command in READERS:
        cli.fails(*command, error="secret-in-file", where="crossgrade.yaml:5:5  models.old.api_key")
    project.change(KEY, "removed")


@pytest.mark.parametrize(
    ("value", "seen"), [(None, ("key-not-set", "FAKE_API_KEY")), ("two words", ("key-malformed",))]
)
def test_a_key_that_is_not_there_or_no_key(
    cli: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch, value: str | None, seen: str
) -> None:
    monkeypatch.delenv("FAKE_API_KEY")
    if value:
        monkeypatch.setenv("FAKE_API_KEY", value)
    message = cli.fails("evaluate", "echo", "--yes", code=3, error=seen)
    assert "two words" not in message
    assert len(project.fake.requests) == 0


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "ecko"),
        ("decide", "ecko"),
        ("report", "ecko"),
        ("runs", "ecko"),
        ("report", "--list", "ecko"),
    ],
    ids=" ".join,
)
def test_a_workload_that_is_not_there(cli: CommandLine, project: Project, command: tuple[str, ...]) -> None:
    cli.fails(*command, error=("workload-unknown", "ecko", "crossgrade.yaml"))


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        (("evaluate", "echo", "--max-cost", "nan"), ("usage", "--max-cost", "nan")),
        (("evaluate", "echo", "--max-cost", "-1"), ("usage", "--max-cost", "-1")),
        (("evaluate", "echo", "--resume", "nope", "--yes"), ("run-unknown", "nope")),
        (("evaluate",), ("usage", "WORKLOAD")),
        (("decide", "echo", "--run", "nope"), ("run-unknown", "nope")),
        (("decide", "--verify", "nope"), ("verdict-unknown", "nope")),
        (("report", "--verdict", "nope"), ("verdict-unknown", "nope")),
        (("report",), ("verdict-missing",)),
        (("decide", "echo"), ("run-missing",)),
        (("decid", "echo"), ("usage", "decid")),
        (("decide", "--flor", "0.9"), ("usage", "--flor")),
    ],
)
def test_a_command_that_is_wrong(
    cli: CommandLine, project: Project, command: tuple[str, ...], seen: str
) -> None:
    cli.fails(*command, error=seen)
    assert len(project.fake.requests) == 0
