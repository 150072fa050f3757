"""`crossgrade cost`, `catalog`, `claims`, and the money in the report, as a user runs them."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from tests.codes import noted
from tests.e2e.driving import CommandLine, Project, Script, honest


def test_a_measured_workload_at_every_offer_of_the_project(cli: CommandLine, project: Project) -> None:
    cli.fails("cost", "echo", error="run-missing")
    cli.succeeds("evaluate", "echo", "--yes")
    ran = cli.succeeds("cost", "echo", "--migration-usd", "500", "--json")
    found = json.loads(ran.out)
    new, old = found["offers"]
    assert (found["schema_version"], found["incumbent"]) == (1, "old")
    assert (new["offer"], new["tokens"], old["tokens"]) == ("new", "measured", "measured")
    assert found["traffic"]["calls_per_month"] == "100000"
    saved = Decimal(old["bill"]["usd_per_month"]) - Decimal(new["bill"]["usd_per_month"])
    assert Decimal(new["saving_usd_per_month"]) == saved
    assert new["per_solved_usd"]["low"] <= new["per_solved_usd"]["value"]
    assert found["move"]["to"] == "new"
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    once = 500 + float(run["spent_usd"])
    assert float(found["move"]["moving_usd"]) == pytest.approx(once)
    assert found["move"]["moving_costs_unknown"] == ["shadow"]
    assert found["move"]["payback_months"]["value"] == pytest.approx(once / float(saved))
    text = cli.succeeds("cost", "echo", "--per-day", "1000", "--cache-hit", "0.5")
    assert text.out.splitlines()[1].startswith("new ")
    assert noted(text.err, "volume", "30,000")

    cli.succeeds("report")
    page = (project.folder / "crossgrade-report.html").read_text()
    for heading in ("Cost", "The bill", "Retention", "How long it lasts"):
        assert f"<h3>{heading}</h3>" in page


def test_the_report_has_boxes_for_the_open_models_that_the_serving_model_knows(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    name = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
    script[name] = honest
    project.change("model: new-model", f"model: {name}")
    cli.succeeds("evaluate", "echo", "--yes")
    cli.succeeds("report")
    page = (project.folder / "crossgrade-report.html").read_text()
    boxes = set(re.findall(r"llama-4-scout on \d+ x h100", page))
    assert len(boxes) == 1
    for said in ("your own GPUs, as busy as planned", "one box serves", "at 70 % busy", "typical, 2026-03"):
        assert said.replace("&#39;", "'") in page.replace("&#39;", "'").replace("\u00a0", " ")
    found = json.loads(cli.succeeds("cost", "echo", "--json").out)
    assert {box["name"] for box in found["deployments"]} == boxes
    assert [even["against"] for even in found["deployments"][0]["break_even"]] == ["old", "new"]
    cli.fails("cost", "echo", "--usd-per-gpu-hour", "3", error="deployment-not-named")
    asked = json.loads(cli.succeeds("cost", "echo", "--deploy", "llama-3.1-8b@h100x1", "--json").out)
    assert [box["name"] for box in asked["deployments"]] == ["llama-3.1-8b on 1 x h100"]
    cli.succeeds("report", "--to", "report.md")
    assert boxes <= set(re.findall(r"llama-4-scout on \d+ x h100", Path("report.md").read_text()))


def test_a_deployment_that_does_not_fit_is_left_out_and_a_width_can_be_given(cli: CommandLine) -> None:
    deployments = (
        "llama-4-scout@h100x1",
        "gpt-oss-120b@h100x1",
        "gpt-oss-120b@h100x2:bf16",
        "gpt-oss-120b@h100x4:fp8",
    )
    arguments = [word for each in deployments for word in ("--deploy", each)]
    done = cli.succeeds(
        "cost", "bill", "--input-tokens", "3000", "--output-tokens", "500", *arguments, "--json"
    )
    assert [box["name"] for box in json.loads(done.out)["deployments"]] == [
        "gpt-oss-120b on 1 x h100",
        "gpt-oss-120b on 4 x h100 in fp8",
    ]
    for left_out in ("llama-4-scout@h100x1", "gpt-oss-120b@h100x2:bf16"):
        assert noted(done.err, "deployment-left-out", left_out)


def test_a_host_serves_the_width_in_which_a_model_is_published(cli: CommandLine) -> None:
    found = json.loads(cli.succeeds("cost", "host", "gpt-oss-120b@h100x1", "--json").out)
    assert found["deployment"]["precision"] == "mxfp4"
    found = json.loads(cli.succeeds("cost", "host", "gpt-oss-120b@h100x4:fp8", "--json").out)
    assert found["deployment"]["precision"] == "fp8"


def test_offers_that_were_not_asked_are_billed_as_the_incumbent(cli: CommandLine, project: Project) -> None:
    project.change("workloads:", "  other:\n    provider: groq\n    model: openai/gpt-oss-120b\nworkloads:")
    cli.succeeds("evaluate", "echo", "--yes")
    offers = json.loads(cli.succeeds("cost", "echo", "--json").out)["offers"]
    (other,) = (offer for offer in offers if offer["offer"] == "other")
    assert other["tokens"] == "as old"
    assert other["per_solved_usd"] is None


def test_offers_of_the_project_say_whether_they_conform_for_stated_tokens_too(
    cli: CommandLine, project: Project
) -> None:
    stated = ("cost", "--input-tokens", "500", "--output-tokens", "100")
    offers = json.loads(cli.succeeds(*stated, "--json").out)["offers"]
    assert {offer["offer"]: offer["conformity"] for offer in offers} == {
        "old": "not checked",
        "new": "not checked",
    }
    assert "conforms" in cli.succeeds(*stated).out


def test_a_real_trace_at_more_than_ten_offers_and_two_deployments(
    cli: CommandLine, folder: Path, data_dir: Path
) -> None:
    trace = data_dir / "traces" / "azure-2023-code-excerpt.csv"
    found = json.loads(cli.succeeds("cost", "--trace", trace, "--on", "2026-11-25", "--json").out)
    assert len(found["offers"]) > 10
    assert [box["name"] for box in found["deployments"]] == [
        "llama-4-scout on 4 x h100",
        "llama-4-maverick on 8 x h100",
    ]
    for box in found["deployments"]:
        assert box["break_even"][0]["against"] == "gpt-4o@openai"
    bills = [offer["bill"]["month"] for offer in found["offers"] if offer["status"] == "on sale"]
    assert [bill["value"] for bill in bills] == sorted(bill["value"] for bill in bills)
    assert all(bill["low"] < bill["value"] < bill["high"] for bill in bills)
    text = cli.succeeds("cost", "--trace", trace, "--limit", "3")
    assert "gpt-4o@openai" in text.out
    assert "llama-4-scout on 4 x h100" in text.out
    assert noted(text.err, "break-even", "gpt-4o@openai")


def test_stated_tokens_give_the_headline_figures(cli: CommandLine, folder: Path) -> None:
    options = ("--input-tokens", "3000", "--output-tokens", "1000", "--per-day", "2500", "--on", "2026-11-25")
    found = json.loads(cli.succeeds("cost", *options, "--offer", "llama-4-scout@*", "--json").out)
    by_name = {offer["offer"]: offer for offer in found["offers"]}
    assert Decimal(by_name["gpt-4o@openai"]["bill"]["usd_per_month"]) == 30 * Decimal("43.75")
    assert Decimal(by_name["llama-4-scout@groq"]["bill"]["usd_per_month"]) == 30 * Decimal("1.675")
    assert by_name["llama-4-scout@groq"]["status"] == "delisted"
    assert found["move"]["to"] not in {"llama-4-scout@groq", "llama-4-scout@lambda"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "usage-not-given"),
        (("--input-tokens", "5"), "tokens-incomplete"),
        (("--input-tokens", "-5", "--output-tokens", "1"), ("tokens-invalid", "-5", "input")),
        (("--input-tokens", "5", "--output-tokens", "1", "--per-day", "zero"), ("volume-invalid", "zero")),
        (("--input-tokens", "5", "--output-tokens", "1", "--per-day", "-1"), ("volume-invalid", "-1")),
        (("--input-tokens", "5", "--output-tokens", "1", "--offer", "gpt-4oo"), ("offer-unknown", "gpt-4o")),
        (
            ("--input-tokens", "5", "--output-tokens", "1", "--on", "2019-01-01"),
            ("price-unknown", "2019-01-01"),
        ),
        (
            (
                "--input-tokens",
                "5",
                "--output-tokens",
                "1",
                "--deploy",
                "scout@h100x4",
                "--usd-per-gpu-hour",
                "0",
            ),
            ("rent-invalid", "--usd-per-gpu-hour", "0"),
        ),
        (("--input-tokens", "5", "--output-tokens", "1", "--deploy", "scout"), "deployment-invalid"),
        (
            ("--input-tokens", "5", "--output-tokens", "1", "--deploy", "llama-4-scot@h100x4"),
            ("model-unknown", "llama-4-scout"),
        ),
        (
            ("--input-tokens", "5", "--output-tokens", "1", "--deploy", "llama-4-scout@h10x4"),
            ("hardware-unknown", "h100"),
        ),
        (
            ("--input-tokens", "5", "--output-tokens", "1", "--deploy", "llama-4-scout@h100x4:fp7"),
            ("precision-unknown", "fp7"),
        ),
    ],
)
def test_what_cannot_be_billed(
    cli: CommandLine, folder: Path, arguments: tuple[str, ...], error: str | tuple[str, ...]
) -> None:
    cli.fails("cost", "bill", *arguments, error=error)


def test_the_catalogue_on_two_days(cli: CommandLine, folder: Path) -> None:
    listed = json.loads(cli.succeeds("catalog", "list", "llama-4-scout*", "--on", "2026-11-25", "--json").out)
    names = {offer["offer"] for offer in listed["offers"]}
    assert "llama-4-scout@deepinfra" in names
    assert "llama-4-scout@groq" not in names
    everything = cli.succeeds("catalog", "list", "*scout*", "--all", "--on", "2026-11-25")
    assert "llama-4-scout@groq" in everything.out
    shown = json.loads(cli.succeeds("catalog", "show", "gpt-4o@openai", "--on", "2024-06-01", "--json").out)
    assert (shown["offer"]["input"], shown["offer"]["3:1"]) == ("5.0", "7.5")
    assert "rates:" in cli.succeeds("catalog", "show", "gpt-4o@openai").out
    changes = json.loads(
        cli.succeeds("catalog", "diff", "2026-09-01", "2026-11-25", "--offer", "llama-4-*", "--json").out
    )["changes"]
    said = {change["offer"]: change["change"] for change in changes}
    assert said["llama-4-scout@groq"] == "delisted"
    assert said["llama-4-scout@deepinfra"] == "dearer"
    assert "llama-4-maverick@azure" in cli.succeeds("catalog", "check", "llama-4-*", "--history").out
    cli.fails(
        "catalog", "show", "gpt-4o@openai", "--on", "2023-12-01", error=("price-unknown", "gpt-4o@openai")
    )
    cli.fails(
        "catalog",
        "show",
        "llama-4-scuot",
        error=("offer-unknown", "llama-4-scout", "llama-4-scout@oci", "llama-4-scout@gmi"),
    )
    cli.fails("catalog", "show", "llama-4-scout@*", error=("offer-ambiguous", "18"))
    cli.fails("catalog", "diff", "2026-11-25", "2026-11-25", error="dates-reversed")


def test_litellms_prices_become_the_projects(cli: CommandLine, project: Project) -> None:
    entry = {
        "litellm_provider": "groq",
        "mode": "chat",
        "input_cost_per_token": 9e-6,
        "output_cost_per_token": 9e-6,
    }
    source = project.folder / "litellm.json"
    source.write_text(json.dumps({"groq/openai/gpt-oss-120b": entry, "groq/our-own": entry}))
    ran = cli.succeeds("catalog", "import", source, "--seen-on", "2026-11-01")
    assert "2 of 2 prices are new" in ran.out
    assert noted(ran.err, "price-file-to-add", "prices.csv")
    project.change("workloads:", "price_files: [prices.csv]\nworkloads:")
    cli.fails("catalog", "import", source, "--seen-on", "9999-12-31", error="day-in-future")
    assert "0 of 2 prices are new" in cli.succeeds("catalog", "import", source, "--seen-on", "2026-11-02").out
    shown = json.loads(cli.succeeds("catalog", "show", "gpt-oss-120b@groq", "--json").out)["offer"]
    assert shown["input"] == "9"
    (project.folder / "prices.csv").write_text("seen_on,provider,model,input\n2026-01-01,a,b,dear\n")
    cli.fails("catalog", "list", error=("rate-invalid", "dear"), where=f"{project.folder / 'prices.csv'}:2")


def test_the_claims(cli: CommandLine, folder: Path) -> None:
    found = json.loads(cli.succeeds("claims", "--on", "2026-11-25", "--json").out)["claims"]
    assert {claim["status"] for claim in found} == {
        "reproduced",
        "as the vendor states",
        "misattributed",
        "contradicted",
        "unverifiable",
    }
    assert "misattributed" in cli.succeeds("claims").out
    shown = cli.succeeds("claims", "40x", "--on", "2026-11-25").out
    assert "3:1 blend over 3:1 blend: 26.119 times" in shown
    cli.fails("claims", "41x", error=("claim-unknown", "41x"))


def test_host_takes_model_and_gpus_in_one_word(cli: CommandLine, folder: Path) -> None:
    one = json.loads(cli.succeeds("cost", "host", "llama-4-scout@h100x4", "--json").out)
    many = ("cost", "host", "llama-4-scout", "--gpu", "h100", "--tp", "4", "--json")
    assert one == json.loads(cli.succeeds(*many).out)
    assert one["deployment"]["gpus"] == 4
    cli.fails("cost", "host", "llama-4-scout@h100", error="deployment-invalid")
    cli.fails("cost", "host", "llama-4-scout@h100x4", "--tp", "8", error="deployment-twice")
    cli.fails("cost", "host", "llama-4-scot@h100x4", error=("model-unknown", "llama-4-scout"))


def test_cost_and_outlook_as_a_page(cli: CommandLine, folder: Path) -> None:
    stated = ("--input-tokens", "3000", "--output-tokens", "1000", "--per-day", "2500", "--on", "2026-11-25")
    cli.succeeds("cost", *stated, "--html", folder / "cost.html", "--json")
    page = (folder / "cost.html").read_text(encoding="utf-8")
    assert "Break-even by volume" in page
    assert page.count("<svg") == 2
    cli.succeeds("cost", "outlook", "--paths", "500", "--html", folder / "outlook.html")
    page = (folder / "outlook.html").read_text(encoding="utf-8")
    assert re.search(r"<h2>Ask again after \d+ days</h2>", page)
    assert "Survival of a decision" in page


def test_a_wrong_entry_of_a_price_file_is_skipped_and_named(cli: CommandLine, folder: Path) -> None:
    def entry(price: object) -> dict[str, object]:
        return {"litellm_provider": "groq", "input_cost_per_token": price, "output_cost_per_token": 1e-6}

    entries = {"groq/new-one": entry(1e-6), "groq/free": entry("free"), "groq/negative": entry(-1)}
    (folder / "prices.json").write_text(json.dumps(entries))
    ran = cli.succeeds("catalog", "import", "prices.json", "--json")
    found = json.loads(ran.out)
    assert (found["read"], found["added"]) == (1, 1)
    assert [(each["entry"], each["code"]) for each in found["skipped"]] == [
        ("groq/free", "price-not-a-number"),
        ("groq/negative", "price-out-of-range"),
    ]
    assert noted(ran.err, "entry-skipped", "groq/free")
    assert noted(ran.err, "entry-skipped", "groq/negative")
    assert "new-one" in (folder / "prices.csv").read_text()
    (folder / "prices.json").write_text(json.dumps({"groq/free": entry("free")}))
    cli.fails("catalog", "import", "prices.json", error=("price-not-a-number", "groq/free"))
