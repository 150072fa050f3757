"""`crossgrade decide` on files: every format, every output, and a gate that says what is printed."""

import json
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from crossgrade.project import decide_results
from tests.codes import noted, said
from tests.e2e.driving import COMMAND, CommandLine

ROOT = Path(__file__).parents[2]
LOGS = Path(__file__).parents[1] / "data" / "log_fixtures"

FORMATS = {
    "inspect": ("inspect/tiny_{}.eval", ("--metric", "match"), 5, 3.5 / 4.5),
    "inspect-json": ("inspect/tiny_{}.json", ("--metric", "match"), 5, 3.5 / 4.5),
    "lm-eval strict": (
        "lm_eval/{}_samples_tiny_math.jsonl",
        ("--metric", "exact_match,strict-match"),
        6,
        0.40,
    ),
    "lm-eval flexible": (
        "lm_eval/{}_samples_tiny_math.jsonl",
        ("--metric", "exact_match,flexible-extract"),
        6,
        4 / 6,
    ),
    "helm": ("helm/{}", ("--metric", "exact_match,test"), None, None),
    "deepeval": ("deepeval/{}.json", ("--metric", "Correctness [GEval]"), 4, None),
}


def check_verdict(found: dict[str, object]) -> None:
    """Check what every verdict promises to programs."""
    assert found["schema_version"] == 3
    retention = found["retention"]
    assert {"value", "low", "high", "n"} <= retention.keys()
    assert isinstance(retention["n"], int)
    if retention["value"] is not None and retention["low"] is not None:
        assert retention["low"] <= retention["value"] <= float(retention["high"])  # it may be "Infinity"
    assert found["name"] in {"switch", "split", "keep", "undecided", "invalid"}
    assert found["valid_until"] > found["decided_at"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_pair_of_logs(cli: CommandLine, folder: Path, name: str) -> None:
    pattern, options, n, value = FORMATS[name]
    sources = [
        f"{model}={LOGS / pattern.format(side)}" for model, side in (("a", "incumbent"), ("b", "candidate"))
    ]
    found = json.loads(cli.succeeds("decide", *sources, "--incumbent", "a", *options, "--json").out)
    check_verdict(found)
    assert n is None or found["retention"]["n"] == n
    assert value is None or found["retention"]["value"] == pytest.approx(value)
    assert list(folder.iterdir()) == []

    cli.succeeds("import", *sources, *options, "--to", "table.csv")
    again = json.loads(cli.succeeds("decide", "table.csv", "--incumbent", "a", "--json").out)
    assert again["retention"] == found["retention"]


@pytest.mark.parametrize("name", ["results.json", "results.jsonl"])
def test_promptfoo_has_both_models_in_one_file(cli: CommandLine, name: str) -> None:
    ran = cli.succeeds("decide", LOGS / "promptfoo" / name, "--incumbent", "incumbent", "--json")
    found = json.loads(ran.out)
    check_verdict(found)
    assert (found["retention"]["n"], found["candidates"]) == (4, ["candidate"])


@pytest.mark.parametrize("name", ["inspect", "lm-eval strict", "helm", "deepeval"])
def test_a_log_with_several_metrics_asks_which(cli: CommandLine, name: str) -> None:
    pattern = FORMATS[name][0]
    sources = [
        f"{model}={LOGS / pattern.format(side)}" for model, side in (("a", "incumbent"), ("b", "candidate"))
    ]
    message = cli.fails("decide", *sources, "--incumbent", "a", error="metric-not-named")
    # The next step is one that can be typed.
    hint = re.search(r"such as (--metric .+)", message).group(1)
    typed = subprocess.run(["sh", "-c", f"printf '%s\\n' {hint}"], capture_output=True, text=True, check=True)
    assert len(typed.stdout.splitlines()) == 2


def write(
    path: Path, n: int, incumbent: float, candidate: float, *, segments: int = 1, seed: int = 1
) -> Path:
    """Write results in which the models are right so often, with costs, each segment like the others."""
    rng = np.random.default_rng(seed)
    lines = ["item_id,model,score,segment,cost_usd"]
    for item in range(n):
        for model, rate, cost in (("a", incumbent, 0.01), ("b", candidate, 0.001)):
            lines.append(f"{item},{model},{int(rng.random() < rate)},s{item % segments},{cost}")
    path.write_text("\n".join(lines) + "\n")
    return path


VERDICTS = {"switch": (0.8, 0.8, 1500, 0), "keep": (0.9, 0.4, 400, 1), "undecided": (0.8, 0.7, 60, 1)}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_gate_says_what_is_printed(cli: CommandLine, folder: Path, name: str) -> None:
    incumbent, candidate, n, code = VERDICTS[name]
    write(folder / "r.csv", n, incumbent, candidate)
    arguments = ("decide", "r.csv", "--incumbent", "a", "--requests-per-month", "1000")
    plain = cli(*arguments, "--gate")
    assert (plain.code, plain.out.split("\n")[0]) == (code, f"r: {name.upper()}")
    assert cli.succeeds(*arguments).out == plain.out
    as_json = cli(
        *arguments, "--gate", "--json", "--junit", "r.xml", "--markdown", "r.md", "--report", "r.html"
    )
    found = json.loads(as_json.out)
    check_verdict(found)
    assert (as_json.code, found["name"]) == (code, name)
    failed = ET.parse(folder / "r.xml").find(".//testcase[@name='verdict']/failure") is not None
    assert failed is (code != 0)
    assert f"## r: {name}" in (folder / "r.md").read_text()
    page = (folder / "r.html").read_text()
    assert found["sentence"].split(":")[0] in page.replace("&#39;", "'")
    assert len(page) < 500_000
    assert "<script" not in page


def test_a_split_names_its_segments(cli: CommandLine, folder: Path) -> None:
    path = write(folder / "r.csv", 1600, 0.8, 0.8, segments=2)
    worse = [
        line.replace(",1,s1", ",0,s1") if ",b," in line and i % 3 else line
        for i, line in enumerate(path.read_text().splitlines())
    ]
    path.write_text("\n".join(worse) + "\n")
    ran = cli("decide", "r.csv", "--incumbent", "a", "--segment", "segment", "--gate", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["name"], found["policy"]["segments"]) == (0, "split", ["s0"])


def test_several_candidates(cli: CommandLine, folder: Path) -> None:
    write(folder / "r.csv", 1500, 0.8, 0.8)
    lines = (folder / "r.csv").read_text().splitlines()
    third = [line.replace(",b,", ",c,").replace("0.001", "0.0001") for line in lines if ",b," in line]
    (folder / "r.csv").write_text("\n".join(lines + third) + "\n")
    found = json.loads(cli.succeeds("decide", "r.csv", "--incumbent", "a", "--json").out)
    assert (found["name"], found["policy"]["candidate"]) == ("switch", "c")
    one = json.loads(cli.succeeds("decide", "r.csv", "--incumbent", "a", "--candidate", "b", "--json").out)
    assert one["policy"]["candidate"] == "b"


def test_the_wide_form_and_python_agree_with_the_long_form(cli: CommandLine, folder: Path) -> None:
    rng = np.random.default_rng(3)
    scores = rng.random((200, 2)) < 0.8
    (folder / "wide.csv").write_text(
        "prompt,a,b\n" + "".join(f"q{i},{int(x)},{int(y)}\n" for i, (x, y) in enumerate(scores))
    )
    (folder / "long.csv").write_text(
        "item_id,model,score\n"
        + "".join(f"q{i},a,{int(x)}\nq{i},b,{int(y)}\n" for i, (x, y) in enumerate(scores))
    )
    arguments = ("--incumbent", "a", "--candidate", "b", "--json")
    wide = json.loads(cli.succeeds("decide", "wide.csv", *arguments).out)["retention"]
    long = json.loads(cli.succeeds("decide", "long.csv", *arguments).out)["retention"]
    assert wide == long
    verdict = decide_results("long.csv", incumbent="a", candidates=["b"])
    assert verdict.certificates[0].retention.value == long["value"]


def test_vendors_figures_never_certify(cli: CommandLine, folder: Path) -> None:
    write(folder / "r.csv", 1500, 0.8, 0.8)
    ran = cli("decide", "r.csv", "--incumbent", "a", "--origin", "vendor", "--gate", "--json")
    assert json.loads(ran.out)["name"] != "switch"
    assert ran.code != 0


def test_without_a_price_nothing_is_switched(cli: CommandLine, folder: Path) -> None:
    path = write(folder / "r.csv", 1500, 0.8, 0.8)
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()) + "\n")
    ran = cli("decide", "r.csv", "--incumbent", "a", "--gate", "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["name"]) == (1, "undecided")
    assert said(found["reasons"], "price-unknown")
    stated = cli.succeeds(
        "decide", "r.csv", "--incumbent", "a", "--gate", "--json", "--cost", "a=0.01", "--cost", "b=0.001"
    )
    assert json.loads(stated.out)["name"] == "switch"


def test_the_installed_command(folder: Path) -> None:
    write(folder / "r.csv", 400, 0.9, 0.4)
    ran = subprocess.run(
        [COMMAND, "decide", "r.csv", "--incumbent", "a", "--candidate", "b", "--gate", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, json.loads(ran.stdout)["name"]) == (1, "keep")
    with subprocess.Popen(
        [COMMAND, "decide", "r.csv", "--incumbent", "a"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()  # as `| head -0` does
        assert process.stderr.read() == ""
    assert process.returncode in {0, 3}


def test_ignored_columns_are_named_with_what_takes_them(cli: CommandLine, folder: Path) -> None:
    rows = "".join(f"{i},{model},1,2,3,x,y\n" for i in range(3) for model in "ab")
    (folder / "r.csv").write_text(f"ID,Model,Score,cost,latency,subject,note\n{rows}")
    for command in (("decide", "r.csv", "--incumbent", "a"), ("import", "r.csv")):
        error = cli.succeeds(*command).err
        assert noted(error, "columns-ignored", "cost", "latency", "subject", "note")
        for option in ("--column cost_usd=cost", "--column latency_ms=latency", "--group subject"):
            assert noted(error, "column-option", option)
    named = ("--column", "cost_usd=cost", "--group", "subject")
    found = json.loads(cli.succeeds("decide", "r.csv", "--incumbent", "a", *named, "--json").out)
    assert [each["per_request_usd"]["value"] for each in found["costs"][:2]] == [2, 2]
    cli.fails("decide", "r.csv", "--column", "score", error="option-syntax")


def test_tokens_of_a_known_model_are_priced_from_the_catalogue(cli: CommandLine, folder: Path) -> None:
    models = {"gpt-4o": "1,1000,100", "llama-4-scout": "1,1000,100", "no-such-model": "1,1000,100"}
    rows = "".join(f"{i},{model},{cells}\n" for i in range(40) for model, cells in models.items())
    (folder / "r.csv").write_text("id,model,score,prompt_tokens,completion_tokens\n" + rows)
    command = ("decide", "r.csv", "--incumbent", "gpt-4o", "--json")
    found = json.loads(cli.succeeds(*command, "--candidate", "llama-4-scout").out)
    today, switched = (each["per_request_usd"]["value"] for each in found["costs"][:2])
    assert today > switched > 0
    assert [each.partition(":")[0] for each in found["price_sources"]] == ["gpt-4o", "llama-4-scout"]
    stated = json.loads(cli.succeeds(*command, "--cost", "gpt-4o=0.5").out)
    assert stated["costs"][0]["per_request_usd"]["value"] == 0.5
    unknown = json.loads(cli.succeeds(*command, "--candidate", "no-such-model").out)
    assert unknown["costs"][1]["per_request_usd"]["value"] is None


MIXED = (
    "src/crossgrade/data/demo/mixed.csv.gz",
    "--router",
    "--incumbent=llama-3.1-nemotron-51b-instruct",
    "--candidate=qwen2.5-7b-instruct",
    "--cost=llama-3.1-nemotron-51b-instruct=0.01",
    "--cost=qwen2.5-7b-instruct=0.001",
)


def test_the_frontier_shows_every_policy_and_the_chosen_one(cli: CommandLine) -> None:
    asked = [str(ROOT / MIXED[0]), *MIXED[1:], "--floor", "0.9"]
    verdict = json.loads(cli.succeeds("decide", *asked, "--json").out)
    every = (*verdict["costs"], *verdict["frontier"])
    policies = [each["policy"] for each in every]
    assert all(each["retention"]["low"] is not None for each in every)  # a switch that was not tested too
    names = {one["segment"] for one in verdict["certificates"]} - {None}
    assert {each["segments"][0] for each in policies if each["segments"]} == names
    _, _, *rows = cli.succeeds("decide", *asked, "--frontier").out.splitlines()
    assert len(rows) == len(policies)
    amounts = [float(re.findall(r"\$([0-9.]+)", row)[0]) for row in rows]
    assert amounts == sorted(amounts)
    (chosen,) = [row for row in rows if row.endswith("chosen")]
    assert verdict["policy"]["segments"][0] in chosen
    certified = {one["segment"] for one in verdict["certificates"] if one["certified"]}
    for row in rows[1:-1]:
        assert (" yes" in row) == any(f"{name};" in row for name in certified)


def test_several_floors_show_what_each_costs(cli: CommandLine) -> None:
    asked = [str(ROOT / MIXED[0]), *MIXED[1:]]
    ran = cli.succeeds("decide", *asked, "--floor", "0.8,0.9")
    _, first, second = ran.out.splitlines()
    assert [first.split()[:2], second.split()[:2]] == [["0.8", "split"], ["0.9", "split"]]
    assert noted(ran.err, "floors-compared")
    verdicts = json.loads(cli.succeeds("decide", *asked, "--floor", "0.8,0.9", "--json").out)["verdicts"]
    assert [each["floor"] for each in verdicts] == [0.8, 0.9]
    shares = [
        next(c for c in v["costs"] if c["policy"] == v["policy"])["saving_share"]["value"] for v in verdicts
    ]
    assert shares[0] > shares[1], "a lower floor saves more"


def test_a_floor_of_the_whole_is_claimed_besides(cli: CommandLine) -> None:
    asked = [str(ROOT / MIXED[0]), *MIXED[1:], "--floor", "0.8", "--json"]
    alone = json.loads(cli.succeeds("decide", *asked).out)
    both = json.loads(cli.succeeds("decide", *asked, "--whole-floor", "0.95").out)
    shares, wholes = [], []
    for found in (alone, both):
        (name,) = found["policy"]["segments"]
        (moved,) = [one for one in found["certificates"] if one["segment"] == name]
        shares.append(moved["share"])
        wholes.append(moved["whole"])
    assert shares[0] > shares[1]
    assert wholes[0] is None
    assert wholes[1]["floor"] == 0.95 <= wholes[1]["low"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--floor", "0.8,0.9", "--gate"), "options-conflict"),
        (("--floor", "0.8,x"), "usage"),
        (("--floor", ","), "usage"),
    ],
)
def test_floors_that_cannot_be_compared(cli: CommandLine, options: tuple[str, ...], code: str) -> None:
    cli.fails("decide", str(ROOT / MIXED[0]), *MIXED[1:], *options, error=code)


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--whole-floor", "0.95"), "whole-floor-without-router"), (("--grow",), "grow-without-router")],
)
def test_what_only_a_router_can_do(cli: CommandLine, options: tuple[str, ...], code: str) -> None:
    asked = [each for each in MIXED[1:] if each != "--router"]
    cli.fails("decide", str(ROOT / MIXED[0]), *asked, *options, error=code)


@pytest.mark.parametrize("options", [(), ("--agent", "mini-swe-agent")])
def test_a_leaderboard_row_that_its_own_items_contradict(
    cli: CommandLine, folder: Path, options: tuple[str, ...]
) -> None:
    rows = [_leaderboard_row("old", stated=10.0), _leaderboard_row("new", stated=52.8)]
    (folder / "board.json").write_text(json.dumps({"leaderboards": [{"name": "Verified", "results": rows}]}))
    chosen = ("--incumbent", "old", "--candidate", "new", *options)
    found = json.loads(cli.succeeds("decide", "board.json", *chosen, "--json").out)
    mismatches = [each for each in found["guards"] if each["name"] == "aggregate-mismatch"]
    assert [each["candidate"] for each in mismatches if each["status"] == "fail"] == ["new"]
    assert found["name"] == "invalid"


def _leaderboard_row(model: str, stated: float) -> dict[str, object]:
    items = {f"i{at}": {"resolved": at % 10 == 0, "cost": 0.5, "api_calls": 10} for at in range(200)}
    return {
        "name": f"mini-SWE-agent + {model}",
        "resolved": stated,
        "tags": [f"Model: {model}"],
        "mini-swe-agent_version": "1.0",
        "per_instance_details": items,
    }
