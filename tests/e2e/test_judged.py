"""A workload that a judge scores: people's labels correct it, and the verdict can be served."""

import csv
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

from crossgrade.testing import Reply
from tests.codes import names, noted
from tests.e2e.driving import CommandLine, Project, Script


def score(file: Path) -> None:
    """Score every answer as a person would who accepts numbers only."""
    with file.open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    for row in rows:
        for place in (1, 2):
            row[f"score_{place}"] = "1" if row[f"answer_{place}"].isdigit() else "0"
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_labels_certify_a_judged_workload_and_its_verdict_is_served(
    cli: CommandLine, judged: Project
) -> None:
    judged.dataset(240)
    cli.succeeds("evaluate", "echo", "--yes", "--no-decide")
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    alone = json.loads(cli.succeeds("decide", "echo", "--json").out)
    assert alone["name"] == "undecided"

    labels = judged.folder / "labels.csv"
    cli.succeeds("runs", "--export", str(run["run"]), "--label-file", labels)
    score(labels)
    ran = cli.succeeds("decide", "echo", "--label-file", labels, "--apply", "--json")
    verdict = json.loads(ran.out)
    assert verdict["name"] == "switch"
    assert verdict["saving_per_month_usd"]["value"] > 0  # the workload's requests_per_month
    corrected = verdict["certificates"][0]["retention"]
    assert "240 human scores" in corrected["method"]
    assert corrected["judged"] == alone["certificates"][0]["retention"]["value"]
    printed = cli.succeeds("decide", "echo").out
    assert f"judge {corrected['judged']:.3f}, corrected {corrected['value']:.3f}" in printed
    assert noted(ran.err, "route-applied", "echo")

    in_force = json.loads(cli.succeeds("route", "show", "--json").out)["routes"][0]
    assert in_force["policy"] == "switch"
    labels.unlink()  # its scores are recorded with the verdict
    asked = len(judged.fake.requests)
    recorded = cli.succeeds("decide", "--verify", in_force["verdict"], "--rescore")
    assert noted(recorded.err, "verified", in_force["verdict"])
    assert noted(recorded.err, "rescored", "judge", 480)
    assert len(judged.fake.requests) == asked
    again = cli.succeeds("decide", "echo", "--json")
    assert json.loads(again.out)["name"] == "switch"
    assert noted(again.err, "labels-recorded", 240)
    assert noted(again.err, "already-recorded", in_force["verdict"])
    cli.succeeds("evaluate", "echo", "--yes", "--no-decide")  # a run of its own, which no one labelled
    unlabelled = cli.succeeds("decide", "echo", "--json")
    assert json.loads(unlabelled.out)["name"] == "undecided"
    assert not noted(unlabelled.err, "labels-recorded")


def test_a_label_file_that_cannot_be_used_is_refused(cli: CommandLine, judged: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    labels = judged.folder / "labels.csv"
    cli.fails("decide", "echo", "--label-file", labels, error=("file-missing", "labels.csv"))
    labels.write_text("pair,request,answer_1,answer_2,score_1,score_2\nnope,r,a,b,1,1\n")
    cli.fails("decide", "echo", "--label-file", labels, error="label-of-other-run")
    cli.fails("decide", "table.csv", "--label-file", labels, error="options-conflict")


def test_labels_correct_a_judge_only(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    labels = project.folder / "labels.csv"
    labels.write_text("pair,request,answer_1,answer_2,score_1,score_2\n")
    cli.fails("decide", "echo", "--label-file", labels, error="judge-not-named")


def test_the_estimate_and_the_limit_include_the_judge(cli: CommandLine, judged: Project) -> None:
    unknown = cli.succeeds("evaluate", "echo", "--dry-run").err
    assert noted(unknown, "estimate", 480, "judge")
    price = "prices: [{input_per_mtok: 100, output_per_mtok: 300}]"
    judged.change("model: judge-model,", f"model: judge-model, {price},")
    estimate = json.loads(cli.succeeds("evaluate", "echo", "--dry-run", "--json").out)["estimate"]
    assert estimate["calls"] == [480, 480]
    assert (estimate["scorer"]["model"], estimate["scorer"]["calls"]) == ("judge", 240)
    low, high = map(Decimal, estimate["cost_usd"])
    assert low > Decimal(estimate["scorer"]["cost_usd"][0]) > 0
    assert names(cli.succeeds("evaluate", "echo", "--dry-run").err, "judge")

    assert high > 5
    cli.fails("evaluate", "echo", error="cost-unconfirmed")
    cli.fails("evaluate", "echo", "--max-cost", "0.01", code=3, error="budget-exceeded")
    assert not judged.fake.requests
    cli.succeeds("evaluate", "echo", "--yes", "--no-decide")
    run = json.loads(cli.succeeds("runs", "--json").out)["runs"][0]
    models = sum(Decimal(each["cost_usd"][1]) for each in estimate["models"])
    assert models < Decimal(run["spent_usd"]) < high
    again = json.loads(cli.succeeds("evaluate", "echo", "--dry-run", "--json").out)["estimate"]
    assert again["scorer"]["calls"] == 0
    assert again["scorer"]["reused"] == len(set(judged.asked("judge-model")))
    assert [Decimal(each) for each in again["cost_usd"]] == [0, 0]


def test_only_what_has_no_score_is_asked_again(
    cli: CommandLine, judged: Project, script: dict[str, Script]
) -> None:
    """A grade in plain text is a score; a grade beyond the scale is none."""
    script["judge-model"] = lambda request: Reply("4" if "\n7\n" not in request.prompt else '{"grade": 9}')
    for _ in range(2):
        cli.succeeds("evaluate", "echo", "--yes", "--no-decide")
    asked = Counter(judged.asked("judge-model"))
    repeated = [prompt for prompt, times in asked.items() if times > 1]
    assert repeated
    assert all("\n7\n" in prompt for prompt in repeated)
