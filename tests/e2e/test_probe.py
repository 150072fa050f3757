"""A probe over HTTP, from the documents to a length limit in the route table."""

import json
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

import crossgrade.project
from crossgrade.testing import Fault, ReceivedRequest, Reply
from tests.codes import names, noted, said
from tests.e2e.driving import CommandLine, Project, Script
from tests.unit.longcontext import conftest
from tests.unit.longcontext.conftest import answer

QUICK = (
    "--shortest",
    "512",
    "--longest",
    "2048",
    "--kinds",
    "record",
    "--questions",
    "2",
    "--base",
    "8",
    "--yes",
)
HOLDS = 5_000
tokenizer_file = conftest.tokenizer_file


def reads(request: ReceivedRequest) -> Reply | Fault:
    """Answer a probe's questions in short prompts; in long ones, and of long samples, know nothing."""
    size = len(request.prompt.encode())
    text = answer(request.prompt) if "Question: " in request.prompt else request.prompt.split()[-1]
    return Reply(text if size <= HOLDS else "ANSWER: 1", input_tokens=size // 4)


@pytest.fixture
def reading(project: Project, script: dict[str, Script]) -> Project:
    script["new-model"] = script["old-model"] = reads
    documents = "".join(
        f"Line {at} of the notes says that order {at * 37} was sent.\n" for at in range(3_000)
    )
    (project.folder / "notes.txt").write_text(documents)
    return project


@pytest.mark.parametrize("mode", ["sequential", "fixed"])
def test_the_limit_reaches_the_route_table(
    cli: CommandLine, reading: Project, script: dict[str, Script], mode: str
) -> None:
    ran = cli.succeeds("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--certify", "60", "--json")
    probe = json.loads(ran.out)["probe"]
    assert probe["ending"] == "determined"
    limit = next(
        each["body_bytes"] for each in probe["certificates"] if each["retention"]["outcome"] == "pass"
    )
    assert 2_000 < limit <= HOLDS
    assert (reading.folder / ".crossgrade" / "probes" / f"{probe['probe_id']}.html").exists()

    reading.change("    scorer:", f"    probes: [{probe['probe_id']}]\n    mode: {mode}\n    scorer:")
    # Every third sample is longer than what the candidate holds.
    script["old-model"] = lambda request: Reply(request.prompt.split()[-1])
    rows = [
        {"input": f"{'word ' * (2_000 if at % 3 == 0 else 1)}{at}", "target": f"{at}"} for at in range(1, 301)
    ]
    (reading.folder / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = len(reading.fake.requests)
    estimate = json.loads(cli.succeeds("evaluate", "echo", "--dry-run", "--json").out)["estimate"]
    assert [each["calls"] for each in estimate["models"]] == [300, 200]
    cli.succeeds("evaluate", "echo", "--yes")
    asked = [
        request for request in list(reading.fake.requests)[before:] if len(request.prompt.encode()) > limit
    ]
    assert {request.model for request in asked} == {"old-model"}, "the candidate is not to answer those"
    verdict = json.loads(cli.succeeds("decide", "echo", "--apply", "--json").out)
    assert (verdict["name"], verdict["policy"]["max_bytes"]) == ("switch", limit)
    assert names(verdict["sentence"], f"{limit:,}")
    assert said(verdict["reasons"], "length-limit", f"{limit:,}", candidate=verdict["policy"]["candidate"])
    assert said(verdict["reasons"], "length-limit-source", probe["probe_id"])
    with crossgrade.project.Project.open(reading.config) as opened:
        route = opened.store.routes.current().route("echo")
    assert route.policy.max_bytes == limit
    assert str(limit) in cli.succeeds("route", "show").out
    cli.succeeds("decide", "--verify", route.verdict_id)


def test_samples_beyond_the_limit_do_not_make_a_run_certain(
    cli: CommandLine, reading: Project, script: dict[str, Script]
) -> None:
    ran = cli.succeeds("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--certify", "60", "--json")
    probe_id = json.loads(ran.out)["probe"]["probe_id"]
    reading.change("    scorer:", f"    probes: [{probe_id}]\n    scorer:")
    script["old-model"] = lambda request: Reply(request.prompt.split()[-1])
    rows = [{"input": f"{'word ' * (2_000 if at % 4 else 1)}{at}", "target": f"{at}"} for at in range(1, 601)]
    (reading.folder / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = cli.succeeds("evaluate", "echo", "--yes")
    assert noted(ran.err, "run-ended", "certain")
    verdict = json.loads(cli.succeeds("decide", "echo", "--json").out)
    assert verdict["name"] == "switch"


def test_a_candidate_for_which_every_sample_is_too_long_costs_nothing(
    cli: CommandLine, reading: Project
) -> None:
    ran = cli.succeeds("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--certify", "60", "--json")
    probe_id = json.loads(ran.out)["probe"]["probe_id"]
    reading.change("    scorer:", f"    probes: [{probe_id}]\n    scorer:")
    rows = [{"input": f"{'word ' * 2_000}{at}", "target": f"{at}"} for at in range(1, 61)]
    (reading.folder / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = len(reading.fake.requests)
    for option in ("--dry-run", "--yes"):
        cli.fails("evaluate", "echo", option, error=("samples-too-long", "60", "echo", "10", "068"))
    assert len(reading.fake.requests) == before


def test_the_incumbent_is_asked_the_same_prompts_at_its_price(
    cli: CommandLine, reading: Project, script: dict[str, Script]
) -> None:
    script["old-model"] = lambda request: Reply(answer(request.prompt))  # it holds at every length
    run = ("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--certify", "60", "--json")
    alone = json.loads(cli.succeeds(*run, "--dry-run").out)["estimate"]
    both = json.loads(cli.succeeds(*run, "--against", "old", "--dry-run").out)["estimate"]
    assert both["calls"][0] > alone["calls"][0]
    assert float(both["cost_usd"][1]) > float(alone["cost_usd"][1])
    probe = json.loads(cli.succeeds(*run, "--against", "old").out)["probe"]
    assert probe["against"] == "old"
    assert {each["against"]: each["retention"]["outcome"] for each in probe["certificates"]} == {
        None: "pass",
        "old": "pass",
    }
    assert all(rung["against"]["value"] == 1 for rung in probe["rungs"])
    at_length = {text for text in reading.asked("new-model") if len(text.encode()) > 1_500}
    assert set(reading.asked("old-model")) < at_length
    page = (reading.folder / ".crossgrade" / "probes" / f"{probe['probe_id']}.html").read_text()
    assert "of what old scores at the same length" in page
    said = cli.succeeds("probe", "run", "new", *run[3:-1], "--against", "old", "--resume", probe["probe_id"])
    assert "of old at that length" in said.out
    cli.fails(*run, "--resume", probe["probe_id"], error="probe-settings-changed")


def test_the_gate_may_be_a_percentile_of_the_workloads_requests(cli: CommandLine, reading: Project) -> None:
    rows = [{"input": f"{'word ' * (at * 20)}{at}", "target": f"{at}"} for at in range(1, 101)]
    (reading.folder / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = ("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--workload", "echo", "--json")
    tested = {}
    for gate in ("p50", "p99"):
        probe = json.loads(cli.succeeds(*run, "--gate", gate, "--certify", "20").out)["probe"]
        (tested[gate],) = {each["tokens"] for each in probe["certificates"]}
    assert 1_000 < tested["p50"] < 1_500
    assert 2_300 < tested["p99"] < 2_700


def test_what_a_probe_cannot_limit_is_said(cli: CommandLine, reading: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    reading.change("    scorer:", "    probes: [nobody]\n    scorer:")
    cli.fails("decide", "echo", error=("probe-unknown", "nobody"))
    reading.change("probes: [nobody]", "probes: [../x]")
    cli.fails("decide", "echo", error=("probe-unknown", "../x"))
    ran = cli.succeeds("probe", "run", "old", "--documents", "notes.txt", *QUICK, "--certify", "0", "--json")
    probe_id = json.loads(ran.out)["probe"]["probe_id"]
    reading.change("probes: [../x]", f"probes: [{probe_id}]")
    cli.fails("decide", "echo", error=("probe-of-other-model", "old", "echo"))
    ran = cli.succeeds("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--certify", "0", "--json")
    uncertified = json.loads(ran.out)["probe"]["probe_id"]
    reading.change(f"probes: [{probe_id}]", f"probes: [{uncertified}]")
    cli.fails("decide", "echo", error="probe-unusable")
    (reading.folder / ".crossgrade" / "probes" / f"{uncertified}.json").write_text("{")
    cli.fails("decide", "echo", error="probe-result-invalid")


def test_a_model_that_answers_in_batches_is_asked_in_waves(
    cli: CommandLine, reading: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.calls._batches.FIRST_POLL_S", 0.001)
    run = ("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--certify", "24", "--json")
    plain = json.loads(cli.succeeds(*run).out)["probe"]
    config = reading.config.read_text(encoding="utf-8")
    at = config.index("  new:")
    changed = config[at:].replace("openai-compatible", "openai", 1)
    changed = changed.replace("prices: [{input", "batch: true\n    prices: [{batch_discount: 0.5, input", 1)
    reading.config.write_text(config[:at] + changed, encoding="utf-8")
    before = len(reading.fake.requests)
    batched = json.loads(cli.succeeds(*run).out)["probe"]
    # The eight base questions with and without documents are too few for a batch, a quarter of the
    # certificate's haystacks is not: two calls for each of two questions on six haystacks.
    sizes = [len(digests) for digests in _batches(reading)]
    assert sizes
    assert set(sizes) == {24}
    assert len(reading.fake.requests) - before == batched["spent"]["calls"] - sum(sizes)
    assert batched["effective"] == plain["effective"]
    each = float(plain["spent"]["cost_usd"]) / plain["spent"]["calls"]
    assert float(batched["spent"]["cost_usd"]) < each * batched["spent"]["calls"]


def _batches(project: Project) -> list[list[str]]:
    with sqlite3.connect(project.folder / ".crossgrade" / "crossgrade.db") as database:
        rows = database.execute("SELECT request_digests FROM batches WHERE batch != ''").fetchall()
    return [json.loads(digests) for (digests,) in rows]


def test_a_judge_grades_answers_to_your_own_pairs(
    cli: CommandLine, reading: Project, script: dict[str, Script]
) -> None:
    pairs = [
        {"question": f"Was order {at * 37} sent?", "answer": "yes", "passage": f"order {at * 37} was sent"}
        for at in range(1, 40)
    ]
    (reading.folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    script["new-model"] = lambda _: Reply("ANSWER: It went out.", input_tokens=500)
    script["old-model"] = lambda _: Reply('{"reason": "the same", "grade": "pass"}')
    run = ("probe", "run", "new", "--documents", "notes.txt", "--pairs", "pairs.jsonl", "--yes", "--json")
    run += ("--shortest", "512", "--longest", "1024", "--base", "8", "--certify", "0", "--questions", "2")
    assert json.loads(cli.succeeds(*run).out)["probe"]["base"]["value"] == 0
    graded = json.loads(cli.succeeds(*run, "--judge", "old").out)["probe"]
    assert graded["base"]["value"] == 1
    cli.fails(*run, "--judge", "new", error="models-not-distinct")
    cli.fails("probe", "run", "new", *QUICK, "--judge", "old", error="judge-without-pairs")


def test_the_result_of_an_older_version_still_sets_a_limit(
    cli: CommandLine, reading: Project, script: dict[str, Script], data_dir: Path
) -> None:
    """The fixture is a probe's result as version 0.2 wrote it, of a model that this project does not have."""
    result = json.loads((data_dir / "probes" / "result.json").read_text(encoding="utf-8"))
    limit = next(each["body_bytes"] for each in result["certificates"])
    result |= {"identity": ["openai-compatible", "new-model", reading.fake.base_url]}
    result |= {"measured_at": datetime.now(UTC).isoformat()}
    folder = reading.folder / ".crossgrade" / "probes"
    folder.mkdir(parents=True)
    (folder / "older.json").write_text(json.dumps(result), encoding="utf-8")
    script["new-model"] = script["old-model"] = lambda request: Reply(request.prompt.split()[-1])
    reading.change("    scorer:", "    probes: [older]\n    scorer:")
    cli.succeeds("evaluate", "echo", "--yes")
    verdict = json.loads(cli.succeeds("decide", "echo", "--json").out)
    assert verdict["policy"]["max_bytes"] == limit


def test_money_is_shown_first_and_nothing_is_paid_twice(cli: CommandLine, reading: Project) -> None:
    run = ("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--certify", "0")
    estimate = json.loads(cli.succeeds(*run, "--dry-run", "--json").out)["estimate"]
    assert not reading.fake.requests
    assert 0 < float(estimate["cost_usd"][0]) <= float(estimate["cost_usd"][1])
    ended = cli.succeeds(*run, "--max-cost", "0.01")
    assert "not determined" in ended.out
    probe_id = re.search(r"probe (\d{8}-\d{6}-\w{4})", ended.err)[1]
    asked = len(reading.fake.requests)
    assert asked > 5
    cli.succeeds(*run, "--resume", probe_id)
    prompts = reading.asked("new-model")
    assert len(prompts) == len(set(prompts))
    cli.fails(*run, "--resume", probe_id, "--floor", "0.9", error="probe-settings-changed")
    cli.fails(*run, "--resume", "../../etc", error="probe-id-invalid")
    cli.fails(*run, "--resume", "nobody", error=("probe-unknown", "nobody"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nobody",), ("model-unknown", "nobody")),
        (("new", "--kinds", "magic"), ("question-kind-unknown", "magic")),
        (("new", "--kinds", "pairs", "--yes"), "question-kinds-missing"),
        (("new", "--shortest", "4096", "--longest", "2048"), "lengths-without-ladder"),
        (("new", "--shortest", "16", "--longest", "32"), ("length-too-short", "16")),
        (("new", "--documents", "missing"), "file-missing"),
        (("new", "--tokenizer", "notes.txt"), "tokenizer-invalid"),
        (("new", "--floor", "2"), ("usage", "--floor")),
        (("new", "--against", "nobody"), ("model-unknown", "nobody")),
        (("new", "--against", "new"), ("models-not-distinct", "new")),
        (("new", "--gate", "p99"), "workload-not-named"),
        (("new", "--gate", "p100"), ("usage", "--gate")),
        (("new", "--gate", "pp"), ("usage", "--gate")),
        (("new", "--gate", "31"), ("usage", "--gate")),
    ],
)
def test_what_cannot_be_probed_is_said(
    cli: CommandLine, reading: Project, arguments: tuple[str, ...], error: str | tuple[str, ...]
) -> None:
    cli.fails("probe", "run", *arguments, error=error)
    assert not reading.fake.requests


def test_the_ruler_table(cli: CommandLine, reading: Project) -> None:
    (reading.folder / "s.csv").write_text("model,length,score,claimed\na,4k,96.6,128K\na,8k,80,\n")
    out = cli.succeeds("probe", "ruler-table", "s.csv").out
    assert re.search(r"a +128K +4k +88\.3 +85\.5 +91\.1", out)
    (row,) = json.loads(cli.succeeds("probe", "ruler-table", "s.csv", "--json").out)["rows"]
    assert row["effective_tokens"] == 4096


def test_explain(cli: CommandLine, folder: Path) -> None:
    out = cli.succeeds("probe", "explain", "llama-4-scout").out
    assert "48 layers, 36 chunked over 8,192 tokens, 12 see everything" in out
    assert re.search(r"10,000,000 +492\.7 +1,966\.1 .* 98 % +1\.711 +1\.789", out)
    assert "more work than the matrices from 221,252 tokens on" in out
    found = json.loads(cli.succeeds("probe", "explain", "llama-4-scout", "--lengths", "4096", "--json").out)
    assert [each["tokens"] for each in found["lengths"]] == [4096]
    (folder / "config.json").write_text('{"model_type": "strange"}')
    cli.fails("probe", "explain", "--config-json", "config.json", error=("architecture-unknown", "strange"))
    cli.fails("probe", "explain", "nobody", error=("model-unknown", "nobody"))
    cli.fails("probe", "explain", error="model-not-named")
    for lengths, code in {
        "many": "length-invalid",
        "1": "length-out-of-range",
        "999999999999": "length-out-of-range",
        "-4": "length-invalid",
    }.items():
        cli.fails("probe", "explain", "llama-4-scout", "--lengths", lengths, error=code)


def test_ruler(cli: CommandLine, reading: Project, script: dict[str, Script], tokenizer_file: Path) -> None:
    def finds(request: ReceivedRequest) -> Reply | Fault:
        return Reply(" ".join(re.findall(r"is: (\S+)\.\n", request.prompt)), input_tokens=9)

    script["new-model"] = finds
    run = (
        "probe",
        "ruler",
        "new",
        "--documents",
        "notes.txt",
        "--tokenizer",
        tokenizer_file,
        "--samples",
        "2",
    )
    run += ("--lengths", "2048,1024", "--tasks", "niah_single_2,niah_multiquery", "--yes")
    assert json.loads(cli.succeeds(*run, "--dry-run", "--json").out)["estimate"]["calls"] == 8
    assert not reading.fake.requests
    ran = cli.succeeds(*run)
    assert re.search(r"niah_multiquery +100\.0 +100\.0", ran.out)
    assert "effective length 2k by RULER's rule" in ran.out
    scores = re.search(r"scores for `probe ruler-table`: (\S+)", ran.err)[1]
    assert re.search(r"new +- +at least 2k +100\.0", cli.succeeds("probe", "ruler-table", scores).out)
    asked = len(reading.fake.requests)
    probe_id = Path(scores).stem
    again = json.loads(cli.succeeds(*run, "--resume", probe_id, "--json").out)["ruler"]
    assert (len(reading.fake.requests), again["row"]["effective_tokens"]) == (asked, 2048)
    cli.fails(*run, "--resume", probe_id, "--seed", "1", error="probe-settings-changed")
    cli.fails(*run, "--tasks", "qa_1", error=("task-unknown", "qa_1"))
    cli.fails("probe", "ruler", "new", "--yes", error="tokenizer-missing")
    cli.fails(*run, "--lengths", "60", error="length-too-short")


def test_a_workload_bounds_the_probe(cli: CommandLine, reading: Project) -> None:
    rows = [{"input": "word " * (20 * at) + str(at), "target": str(at)} for at in range(1, 101)]
    (reading.folder / "echo.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = ("probe", "run", "new", "--documents", "notes.txt", *QUICK, "--certify", "30", "--longest", "64000")
    probe = json.loads(cli.succeeds(*run, "--workload", "echo", "--json").out)["probe"]
    # 100 requests of 100 to 10,000 bytes: the 95th percentile has about 9,500, the longest 10,007.
    (certificate,) = probe["certificates"]
    assert certificate["tokens"] == 2378
    assert max(rung["tokens"] for rung in probe["rungs"]) <= 2502
    cli.fails(*run, "--workload", "nobody", error=("workload-unknown", "nobody"))
    (reading.folder / "echo.jsonl").write_text('{"input": "short", "target": "x"}\n')
    cli.fails(*run, "--workload", "echo", error="requests-too-short")
