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
    "no YAML": ("models: [", r"not valid YAML", "crossgrade.yaml:1:"),
    "a tab": ("models:\n\told: x\n", "a tab", "crossgrade.yaml:2:1"),
    "a billion laughs": (LAUGHS, "aliases expand", "crossgrade.yaml:7:"),
    "a tag": ("models: !!python/object/apply:os.system [id]\n", "a YAML tag", "crossgrade.yaml:1:9"),
    "nothing": ("", "the file is empty", "crossgrade.yaml"),
    "too deep": ("models: " + "[" * 5000, "nested deeper", "crossgrade.yaml:1:"),
    "too large": ("#" * 2**21, "larger than 1 MiB", "crossgrade.yaml"),
}


@pytest.mark.parametrize("command", READERS, ids=" ".join)
@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_read(
    cli: CommandLine, folder: Path, case: str, command: tuple[str, ...]
) -> None:
    text, seen, where = BAD[case]
    (folder / "crossgrade.yaml").write_text(text)
    cli.fails(*command, seen=seen, where=where)
    assert [path.name for path in folder.iterdir()] == ["crossgrade.yaml"]


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_no_file_at_all(cli: CommandLine, folder: Path, command: tuple[str, ...]) -> None:
    seen = (
        "there is no file `echo`, and no crossgrade.yaml" if command == ("decide", "echo") else "no such file"
    )
    cli.fails(*command, seen=seen)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "seen", "where"),
    [
        ("scorer:", "scoer:", "unknown key `scoer`", "crossgrade.yaml:19:5  workloads.echo.scoer"),
        ("candidates: [new]", "candidates: [nwe]", "no model `nwe`", "crossgrade.yaml:21:18"),
        ("candidates: [new]", "candidates: []", "candidates", "crossgrade.yaml:21:5"),
        ("echo.jsonl", "../echo.jsonl", "outside the project's folder", "crossgrade.yaml:16:5"),
        ("echo.jsonl", "/etc/passwd", "outside the project's folder", "crossgrade.yaml:16:5"),
        ("kind: exact", "kind: exct", "there is no scorer `exct`", "crossgrade.yaml:19:14"),
        ("kind: exact", "kind: exact, options: {x: 1}", "has no option `x`", "crossgrade.yaml:19:37"),
        (
            "kind: exact",
            "kind: judge, options: {model: x}",
            "asks `x`, which `models`",
            "crossgrade.yaml:19:37",
        ),
        (
            "kind: exact",
            "kind: python, options: {function: 'no:f'}",
            "cannot be imported",
            "crossgrade.yaml:19:38",
        ),
        ("Say {input}", "Say it", "has no `{field}`", "crossgrade.yaml:17:"),
        ("output_per_mtok: 30", "output_per_mtok: -30", "output_per_mtok", "crossgrade.yaml:7:"),
        ("output_per_mtok: 30", "output_per_mtok: .nan", "output_per_mtok", "crossgrade.yaml:7:"),
    ],
)
def test_a_rule_that_is_broken(
    cli: CommandLine, project: Project, old: str, new: str, seen: str, where: str
) -> None:
    project.change(old, new)
    cli.fails("evaluate", "echo", "--yes", seen=seen, where=where)
    assert len(project.fake.requests) == 0


def test_a_link_that_leads_outside(cli: CommandLine, project: Project) -> None:
    (project.folder / "echo.jsonl").unlink()
    (project.folder / "echo.jsonl").symlink_to("/etc/passwd")
    cli.fails("evaluate", "echo", "--yes", seen="outside the project's folder", where="crossgrade.yaml:16:5")


def test_a_key_in_the_file_is_refused_and_not_repeated(cli: CommandLine, project: Project) -> None:
    project.change("    model: old-model\n", f"    model: old-model\n    api_key: {KEY}\n")
    for command in READERS:
        cli.fails(*command, seen="looks like a secret", where="crossgrade.yaml:5:5  models.old.api_key")
    project.change(KEY, "removed")


@pytest.mark.parametrize(
    ("value", "seen"), [(None, "FAKE_API_KEY, which is not set"), ("two words", "does not hold a key")]
)
def test_a_key_that_is_not_there_or_no_key(
    cli: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch, value: str | None, seen: str
) -> None:
    monkeypatch.delenv("FAKE_API_KEY")
    if value:
        monkeypatch.setenv("FAKE_API_KEY", value)
    message = cli.fails("evaluate", "echo", "--yes", code=3, seen=seen)
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
    cli.fails(*command, seen="there is no workload 'ecko' in crossgrade.yaml; there are: echo")


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        (("evaluate", "echo", "--max-cost", "nan"), "not an amount of dollars"),
        (("evaluate", "echo", "--max-cost", "-1"), "not an amount of dollars"),
        (("evaluate", "echo", "--resume", "nope", "--yes"), "there is no run `nope`"),
        (("evaluate",), "WORKLOAD"),
        (("decide", "echo", "--run", "nope"), "there is no run `nope`"),
        (("decide", "--verify", "nope"), "there is no verdict `nope`"),
        (("report", "--verdict", "nope"), "there is no verdict `nope`"),
        (("report",), "there is no verdict on echo yet"),
        (("decide", "echo"), "has no run yet"),
        (("decid", "echo"), "decid"),
        (("decide", "--flor", "0.9"), "--flor"),
    ],
)
def test_a_command_that_is_wrong(
    cli: CommandLine, project: Project, command: tuple[str, ...], seen: str
) -> None:
    cli.fails(*command, seen=seen)
    assert len(project.fake.requests) == 0
