"""What is said of datasets and results that are wrong: file, line, column, what was expected, one next step."""

import gzip
import json
import resource
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from crossgrade.project import ResultOptions, decide_results
from tests.codes import raises_code
from tests.e2e.driving import COMMAND, CommandLine, Project, Ran, checked

HEAD = "item_id,model,score\n"
PAIR = HEAD + "1,a,1\n1,b,1\n"
DECIDE = ("--incumbent", "a", "--candidate", "b")
GIB = 2**30


def rows(score: str = "1", extra: str = "") -> str:
    return "".join(f"{i},a,1{extra}\n{i},b,{score}{extra}\n" for i in range(40))


RESULTS = {
    "empty": ("r.csv", "", "table-empty", "r.csv:1"),
    "only a header": ("r.csv", HEAD, "results-empty", "r.csv"),
    "only a byte order mark": ("r.csv", "\ufeff", "table-empty", "r.csv:1"),
    "no score column": ("r.csv", "item_id,model\n1,a\n", ("column-missing", "score"), "r.csv:1"),
    "the same column twice": (
        "r.csv",
        "item_id,model,score,score\n1,a,1,1\n",
        ("column-repeated", "score"),
        "r.csv:1",
    ),
    "a short row": ("r.csv", HEAD + "1,a,1\n1,b\n", ("table-cells", "2", "3"), "r.csv:3"),
    "an open quote": ("r.csv", HEAD + '1,a,"1\n', "table-row-invalid", "r.csv:2"),
    "NaN": ("r.csv", HEAD + "1,a,1\n1,b,nan\n", ("score-invalid", "nan"), "r.csv:3  column score"),
    "infinity": ("r.csv", HEAD + "1,a,1\n1,b,-inf\n", ("score-invalid", "-inf"), "r.csv:3  column score"),
    "a text": ("r.csv", HEAD + "1,a,1\n1,b,good\n", ("score-invalid", "good"), "r.csv:3  column score"),
    "no id": ("r.csv", HEAD + ",a,1\n", ("score-invalid", "item_id"), "r.csv:2  column item_id"),
    "no model": ("r.csv", HEAD + "1,,1\n", "score-invalid", "r.csv:2  column model"),
    "not UTF-8": (
        "r.csv",
        (HEAD + "1,a,1\n").encode() + b"\xff,b,1\n",
        ("not-utf8", "0xff"),
        "r.csv:3:1",
    ),
    "half a line of JSON": (
        "r.jsonl",
        '{"item_id":"1","model":"a","score":1}\n{"item_id":"1","mod',
        "json-cut-short",
        "r.jsonl:2:",
    ),
    "NaN in JSON": (
        "r.jsonl",
        '{"item_id":"1","model":"a","score":NaN}',
        ("json-number-invalid", "NaN", "Infinity"),
        "r.jsonl:1:36",
    ),
    "a huge number": (
        "r.jsonl",
        '{"item_id":"1","model":"a","score":1' + "0" * 5000 + "}",
        "not-json",
        "r.jsonl:1:",
    ),
    "another JSON": ("r.json", '{\n"hello": [1, 2]}', "json-unknown", "r.json:1"),
    "deep JSON": ("r.json", "[" * 100_000, "json-unknown", "r.json:1"),
    "deep rows": (
        "r.jsonl",
        '{"item_id":"1","model":"a","score":1,"x":' + "[" * 5000 + "]" * 5000 + "}",
        "json-too-deep",
        "r.jsonl:1",
    ),
    "no archive": ("r.eval", b"PK\x03\x04" + b"\0" * 100, "archive-damaged", "r.eval"),
    "half a gzip": (
        "r.csv.gz",
        gzip.compress(PAIR.encode() * 100)[:-40],
        "compression-damaged",
        "r.csv.gz",
    ),
    "one-sided": ("r.csv", HEAD + "1,a,1\n2,b,1\n", ("pairs-missing", "2"), None),
    "one model": ("r.csv", HEAD + "1,a,1\n", ("model-not-in-results", "b", "a"), None),
}


@pytest.mark.parametrize("case", RESULTS)
def test_results_that_cannot_be_taken(cli: CommandLine, folder: Path, case: str) -> None:
    name, content, error, where = RESULTS[case]
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    cli.fails("decide", name, *DECIDE, error=error, where=where)
    cli.fails("import", name, "--to", "out.csv", error=error, where=where) if where else None
    assert not (folder / "out.csv").exists()


def test_a_table_with_other_columns_names_them(cli: CommandLine, folder: Path) -> None:
    (folder / "r.csv").write_text("id,mod,scor\n1,a,1\n")
    columns = ("id", "mod", "scor")
    cli.fails("decide", "r.csv", *DECIDE, error=("column-missing", "a", *columns), where="r.csv:1")
    imported = ("table-form-unknown", *columns)
    cli.fails("import", "r.csv", "--to", "out.csv", error=imported, where="r.csv:1")


GUARDED = {
    "scores out of range": (HEAD + rows("1.5"), "score-range"),
    "negative scores": (HEAD + rows("-0.5"), "score-range"),
    "percentages": (HEAD + rows("85"), "score-range"),
    "duplicated ids": (HEAD + rows() + rows("0"), "duplicates"),
    "half one-sided": (HEAD + rows() + "".join(f"x{i},a,1\n" for i in range(40)), "mismatched-items"),
    "nothing scored": (HEAD + rows(""), "unscored|errors-as-zero"),
    "other questions": (
        "item_id,model,score,input\n" + "".join(f"{i},a,1,q{i}\n{i},b,1,other{i if i > 20 else ''}\n" for i in range(9))
        + "x,a,1,same\nx,b,1,same\n",
        "key-conflicts|mismatched-items",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GUARDED)
def test_results_that_carry_no_decision(cli: CommandLine, folder: Path, case: str) -> None:
    content, guard = GUARDED[case]
    (folder / "r.csv").write_text(content)
    ran = cli("decide", "r.csv", *DECIDE, "--gate", "--json")
    found = json.loads(ran.out)
    failed = {each["name"] for each in found["guards"] if each["status"] == "fail"}
    assert (ran.code, found["name"]) == (3, "invalid")
    assert failed & set(guard.split("|")), failed
    assert all(each["advice"] for each in found["guards"] if each["status"] == "fail")


def test_mixed_epochs_are_averaged_and_stay_one_sample(cli: CommandLine, folder: Path) -> None:
    lines = [f"{i},a,{e % 2},{e}\n" for i in range(40) for e in (1, 2)] + [f"{i},b,1,1\n" for i in range(40)]
    (folder / "r.csv").write_text("item_id,model,score,epoch\n" + "".join(lines))
    found = json.loads(cli.succeeds("decide", "r.csv", *DECIDE, "--json").out)
    assert (found["retention"]["n"], found["retention"]["value"]) == (40, pytest.approx(2.0))
    assert found["name"] != "switch"


ARGUMENTS = [
    (["r.csv"], ("incumbent-not-named", "a", "b")),
    (["r.csv", "--incumbent", "x"], ("model-not-in-results", "x")),
    (["r.csv", "--incumbent", "a", "--candidate", "a"], ("candidate-missing",)),
    (["r.csv", *DECIDE, "--segment", "x"], ("column-missing", "x")),
    (["r.csv", *DECIDE, "--cluster", "x"], ("column-missing", "x")),
    (["r.csv", *DECIDE, "--floor", "nan"], ("usage", "--floor", "nan")),
    (["r.csv", *DECIDE, "--floor", "0"], ("usage", "--floor")),
    (["r.csv", *DECIDE, "--floor", "1e-300"], ("usage", "--floor", "1e-300")),
    (["r.csv", *DECIDE, "--alpha", "1e-9"], ("usage", "--alpha", "1e-09")),
    (["r.csv", *DECIDE, "--alpha", "nan"], ("usage", "--alpha", "nan")),
    (["r.csv", *DECIDE, "--chance", "nan"], ("usage", "--chance", "nan")),
    (["r.csv", *DECIDE, "--scale", "1", "0"], ("scale-invalid",)),
    (["r.csv", *DECIDE, "--scale", "nan", "1"], ("scale-invalid",)),
    (["r.csv", *DECIDE, "--scale", "-inf", "inf"], ("scale-invalid",)),
    (["r.csv", *DECIDE, "--format", "x"], ("format-unknown", "x")),
    (["r.csv", *DECIDE, "--workload", "x"], ("workload-not-in-results", "x")),
    (["r.csv", *DECIDE, "--cost", "a"], ("option-syntax", "MODEL=USD")),
    (["r.csv", *DECIDE, "--cost", "a=nan"], ("option-syntax", "MODEL=USD")),
    (["r.csv", *DECIDE, "--cost", "x=1"], ("cost-of-unknown-model", "x")),
    (["r.csv", *DECIDE, "--stated", "a"], ("option-syntax", "MODEL=SCORE")),
    (["r.csv", *DECIDE, "--stated", "a=52.8"], ("stated-mean-out-of-range", "0", "1")),
    (["r.csv", *DECIDE, "--stated", "x=0.5"], ("stated-model-unknown", "x", "a", "b")),
    (["r.csv", *DECIDE, "--apply"], ("options-conflict", "--apply")),
    (["r.csv", *DECIDE, "--run", "1"], ("options-conflict", "--run")),
    (["r.csv", "--verify", "1"], ("options-conflict", "RESULTS")),
    (["none.csv", *DECIDE], ("file-missing",)),
    (["a=none.csv", "b=r.csv"], ("file-missing",)),
    (["."], ("folder-not-results",)),
    (["/dev/zero"], ("not-a-file",)),
    ([], ("evidence-not-named",)),
]


@pytest.mark.parametrize(
    ("arguments", "seen"), ARGUMENTS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_arguments_that_cannot_be(cli: CommandLine, folder: Path, arguments: list[str], seen: str) -> None:
    (folder / "r.csv").write_text(PAIR)
    cli.fails("decide", *arguments, error=seen)


DATASETS = {
    "missing": (None, "file-missing", "echo.jsonl"),
    "empty": ("", "table-empty", "echo.jsonl"),
    "blank": ("\n\n", "table-empty", "echo.jsonl"),
    "no field of the prompt": ('{"question": "1", "target": "1"}\n', ("prompt-field-missing", "{input}"), "echo.jsonl:1"),
    "half a line": ('{"input": "1", "target": "1"}\n{"input": "2', "json-cut-short", "echo.jsonl:2:"),
    "not UTF-8": (b'{"input": "\xff", "target": "1"}\n', "not-utf8", "echo.jsonl:1"),
    "a list": ("[1, 2]\n", "json-not-an-object", "echo.jsonl:1"),
    "a folder": ("folder", "not-a-file", "echo.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("case", DATASETS)
def test_datasets_that_cannot_be_taken(cli: CommandLine, project: Project, case: str) -> None:
    content, error, where = DATASETS[case]
    path = project.folder / "echo.jsonl"
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    cli.fails("evaluate", "echo", "--yes", error=error, where=str(project.folder / where))
    assert len(project.fake.requests) == 0


@pytest.mark.parametrize(
    ("key", "value", "seen"),
    [("id_field", "x", ("id-repeated", "x", "1", "2")), ("weight_field", -1, ("weight-invalid-in-data",))],
)
def test_fields_that_cannot_be(
    cli: CommandLine, project: Project, key: str, value: object, seen: str
) -> None:
    project.dataset(3, extra=lambda _: value)
    project.change("    scorer:", f"    {key}: extra\n    scorer:")
    cli.fails("evaluate", "echo", "--yes", error=seen, where=str(project.folder / "echo.jsonl:"))


def bounded(folder: Path, *arguments: str, memory: int = GIB) -> Ran:
    """Run the installed command with so much memory and no more."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    ran = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        preexec_fn=limit,
        check=False,
        timeout=60,
        env={"PATH": "", "OPENBLAS_NUM_THREADS": "1", "CROSSGRADE_HOME": str(folder)},
    )
    return checked(Ran(ran.returncode, ran.stdout, ran.stderr))


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_line_of_5_gb_is_refused_in_bounded_memory(folder: Path, name: str) -> None:
    head = HEAD if name == "r.csv" else '{"item_id": "1", "model": "a", "score": 1}\n'
    with (folder / name).open("w") as file:
        file.write(head)
        file.truncate(5 * GIB)  # sparse: NUL characters without an end of line
    ran = bounded(folder, "decide", name, *DECIDE)
    assert (ran.code, ran.out) == (2, "")
    assert f"--> {name}:2" in ran.err
    assert "\nhint: " in ran.err


def test_a_dataset_line_of_5_gb_is_refused_in_bounded_memory(project: Project) -> None:
    with (project.folder / "echo.jsonl").open("a") as file:
        file.truncate(5 * GIB)
    ran = bounded(project.folder, "evaluate", "echo", "--dry-run")
    assert (ran.code, ran.out) == (2, "")
    assert "echo.jsonl:121" in ran.err


def zip_bomb(path: Path, *, stated: int | None = None) -> None:
    """Write an Inspect log of a few hundred kB with a member of 300 MB, which may state another size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "header.json", '{"version": 2, "status": "success", "eval": {"task": "t", "model": "a"}}'
        )
        with archive.open("samples/1_epoch_1.json", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(b" " * 2**20)
    if stated is not None:
        raw = bytearray(path.read_bytes())
        raw[:] = raw.replace(struct.pack("<I", 300 * 2**20), struct.pack("<I", stated))
        path.write_bytes(raw)


@pytest.mark.parametrize("stated", [None, 100], ids=["honest", "lying"])
def test_a_zip_bomb_is_refused_in_bounded_memory(folder: Path, stated: int | None) -> None:
    zip_bomb(folder / "r.eval", stated=stated)
    assert (folder / "r.eval").stat().st_size < 2**20
    ran = bounded(folder, "decide", "r.eval", *DECIDE)
    assert (ran.code, ran.out) == (2, "")
    assert "--> r.eval" in ran.err
    assert "\nhint: " in ran.err


def test_a_gzip_bomb_is_refused_in_bounded_memory(folder: Path) -> None:
    with gzip.open(folder / "r.csv.gz", "wb") as file:
        file.write(b"item_id,model,score,output\n")
        for _ in range(100):
            file.write(b"1,a,1,%b\n" % (b"x" * 2**20))
    ran = bounded(folder, "decide", "r.csv.gz", *DECIDE)
    assert (ran.code, ran.out) == (2, "")
    assert "--> r.csv.gz" in ran.err


def test_hostile_names_reach_no_terminal(cli: CommandLine, folder: Path) -> None:
    hostile = "a\x1b]0;x\x07\u202e $\\foo$ 中文" + "W" * 300
    lines = [
        {"item_id": f"{i}\x1b[2J", "model": model, "score": i % 5 > 0, "segment": f"$\\{i % 2}\x1b[31m"}
        for i in range(80)
        for model in (hostile, "b\nr: SWITCH")
    ]
    (folder / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ("--segment", "segment", "--report", "r.html", "--markdown", "r.md", "--junit", "r.xml")
    ran = cli.succeeds("decide", "r.jsonl", "--incumbent", hostile, *options)
    assert "\nr: SWITCH" not in ran.out
    cli.fails("decide", "r.jsonl", "--incumbent", "b\x1b[2J", error="model-not-in-results")


def test_the_python_interface_raises_the_same(folder: Path) -> None:
    from crossgrade.errors import UsageError

    (folder / "r.csv").write_text(RESULTS["NaN"][1])
    with raises_code("score-invalid", "nan", file="r.csv", line=3, where="column score"):
        decide_results("r.csv", incumbent="a", candidates=["b"])
    (folder / "r.csv").write_text(PAIR)
    options = (ResultOptions(chance=1.0), ResultOptions(stated_cost_usd={"a": -1.0}))
    for wrong in ({"floor": float("nan")}, {"alpha": 0.0}, *({"options": each} for each in options)):
        with pytest.raises(UsageError):
            decide_results("r.csv", incumbent="a", candidates=["b"], **wrong)
