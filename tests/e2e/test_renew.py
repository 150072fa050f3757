"""New offers: they are listed with what they could save, and tested within a budget, and nothing is applied."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from crossgrade.dialects.stated import StatedLimits
from crossgrade.project import Project as Opened
from crossgrade.store import CompatibilityRecord, LiveCheck, OnboardingStep
from crossgrade.testing import Fault, Reply
from crossgrade.watch import OfferWatch
from tests.codes import noted
from tests.e2e.driving import CommandLine, Gate, Project, Script, honest, number
from tests.waiting import until

NEXT = """\
  {name}:
    provider: openai-compatible
    model: {name}-model
    base_url: URL
    api_key_env: FAKE_API_KEY
    prices: [{{input_per_mtok: {price}, output_per_mtok: {price}, valid_from: 2026-09-01, source: their page}}]
workloads:
"""


def _add(project: Project, script: dict[str, Script], name: str = "next", price: str = "0.5") -> None:
    script[f"{name}-model"] = script["old-model"]
    project.change("workloads:\n", NEXT.format(name=name, price=price).replace("URL", project.fake.base_url))


@pytest.fixture
def measured(cli: CommandLine, project: Project, script: dict[str, Script]) -> Project:
    """A project with a verdict and a volume at which cents matter, and then a new model in its file."""
    project.change("requests_per_month: 100000", "requests_per_month: 1000000")
    cli.succeeds("evaluate", "echo", "--yes")
    _add(project, script)
    project.fake.requests.clear()
    return project


def _listed(cli: CommandLine, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(cli.succeeds("onboard", "--json", *arguments).out))


def _look(cli: CommandLine, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(cli.succeeds("watch", "--once", "--json", *arguments).out))


def _proposal(found: dict[str, Any], offer: str = "next") -> dict[str, Any]:
    (one,) = [each for each in found["proposals"] if each["offer"] == offer]
    return dict(one)


def test_a_new_model_is_listed_with_its_saving_and_the_cost_of_its_test(
    cli: CommandLine, measured: Project
) -> None:
    found = _listed(cli)
    proposal = _proposal(found)
    assert proposal["against"] == "old"
    assert proposal["saving"]["value"] > 10
    assert proposal["saving"]["low"] <= proposal["saving"]["value"] <= proposal["saving"]["high"]
    low, high = (float(each) for each in proposal["test_usd"])
    assert 0 < low < high < 1
    assert proposal["incumbent_answers"] == "to buy"
    assert proposal["listed_on"] == "2026-09-01"
    assert proposal["reason_code"] is None
    assert found["rejected"]["offer-compared"] == 2
    ran = cli.succeeds("onboard")
    assert "next" in ran.out
    assert noted(ran.err, "offers-rejected", "offer-compared")
    assert not measured.fake.requests


def test_offers_of_the_catalogue_are_listed_with_what_to_add(cli: CommandLine, measured: Project) -> None:
    day = datetime.now(UTC).date()
    rows = ("groq,brand-new,0.01,0.02", "together,brand-new,0.02,0.04")
    listed = "".join(f"{day},{row}\n" for row in rows)
    (measured.folder / "rates.csv").write_text(f"seen_on,provider,model,input,output\n{listed}")
    measured.change("workloads:\n", "price_files: [rates.csv]\nworkloads:\n")
    found = _listed(cli)
    proposal = _proposal(found, "brand-new@groq")
    assert proposal["add"] == "brand-new: {provider: groq, model: brand-new}"
    assert (proposal["named"], proposal["days_listed"]) == (False, 0)
    other = {each["offer"]: each["reason_code"] for each in found["rejections"]}
    assert other["brand-new@together"] == "offer-other-host"
    assert sum(not each["named"] for each in found["proposals"]) <= 10
    assert noted(cli.succeeds("onboard").err, "offer-to-add", "brand-new@groq")


def test_what_saves_too_little_is_not_listed(cli: CommandLine, measured: Project) -> None:
    found = _listed(cli, "--least-saving", "1000000", "--workload", "echo")
    assert found["proposals"] == []
    assert found["rejected"]["offer-saves-too-little"] > 0
    measured.change("workloads:\n", "watch: {renew: {least_saving_usd_per_month: 1000000}}\nworkloads:\n")
    ran = cli.succeeds("onboard")
    assert noted(ran.err, "no-new-offers")
    assert ran.out == ""


def test_without_tokens_nothing_is_proposed(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    _add(project, script)
    found = _listed(cli)
    assert found["proposals"] == []
    assert found["rejected"]["offer-tokens-unknown"] > 0


def test_names_that_are_missing(cli: CommandLine) -> None:
    cli.fails("onboard", "--max-cost", "1", error=("usage", "MODEL"))
    cli.fails("onboard", "next", error=("usage", "--workload"))
    cli.fails("onboard", "next", "-w", "echo", "--least-saving", "1", error=("options-conflict",))


def test_a_look_tests_a_new_model_and_applies_nothing(cli: CommandLine, measured: Project) -> None:
    found = _look(cli, "--renew", "5")["offers"]
    assert {"offer": "next", "workload": "echo"} in found["new"]
    (test,) = found["renewed"]["tests"]
    assert (test["offer"], test["verdict"]["name"], test["version"]) == ("next", "switch", None)
    assert test["days_to_verdict"] == (datetime.now(UTC) - datetime(2026, 9, 1, tzinfo=UTC)).days
    assert 0 < float(test["spent_usd"]) < float(test["limit_usd"]) < 5
    assert not (measured.folder / ".crossgrade" / "routes.json").exists()
    with Opened.open(measured.config) as opened:
        (verdict, _) = opened.store.verdicts.recent("echo")
        assert verdict.id == test["verdict"]["id"]
        assert str(opened.renewals.spent_usd()) == test["spent_usd"]

    measured.fake.requests.clear()
    again = _look(cli, "--renew", "5")["offers"]
    assert (again["new"], again["renewed"]["tests"]) == ([], [])
    assert again["renewed"]["spent_usd"] == test["spent_usd"]
    assert again["screening"]["rejected"]["offer-tried"] == 1

    with Opened.open(measured.config) as opened:
        (last, other) = opened.store.verdicts.recent("echo")
        later = replace(other.verdict, decided_at=last.verdict.decided_at + timedelta(seconds=1))
        for _ in range(101):
            opened.store.verdicts.append(later)
    assert _listed(cli)["rejected"]["offer-tried"] == 1
    assert not measured.fake.requests


def test_the_rule_starts_a_canary_where_the_incumbent_answers_everything(
    cli: CommandLine, measured: Project
) -> None:
    measured.change("workloads:\n", "watch: {renew: {canary: true}}\nworkloads:\n")
    ran = cli.succeeds("watch", "--once", "--renew", "5")
    assert noted(ran.err, "offer-tested", "next", "echo")
    with Opened.open(measured.config) as opened:
        table = opened.store.routes.current()
        assert table is not None
        route = table.by_name["echo"]
    assert (route.policy.candidate, route.share) == ("next", 0.05)


def test_the_rule_replaces_no_candidate_in_force(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    project.change("requests_per_month: 100000", "requests_per_month: 10000000")
    cli.succeeds("evaluate", "echo", "--yes")
    cli.succeeds("route", "apply", "echo")
    _add(project, script)
    project.change("workloads:\n", "watch: {renew: {canary: true}}\nworkloads:\n")
    assert _proposal(_listed(cli))["against"] == "new"
    ran = cli.succeeds("watch", "--once", "--renew", "5")
    assert noted(ran.err, "canary-would-replace", "new", "echo")
    assert json.loads(cli.succeeds("route", "show", "--json").out)["routes"][0]["candidate"] == "new"


def test_a_budget_that_is_too_small_tests_nothing_and_says_so(cli: CommandLine, measured: Project) -> None:
    ran = cli.succeeds("watch", "--once", "--renew", "0.0001")
    assert noted(ran.err, "renew-budget-spent", "next")
    assert not measured.fake.requests
    cli.fails("watch", "--label-file", "labels.csv", "--renew", "5", error=("options-conflict",))


def test_without_a_budget_a_new_model_is_told_once(cli: CommandLine, measured: Project) -> None:
    assert noted(cli.succeeds("watch", "--once").err, "new-offer", "next", "echo", "old")
    assert not noted(cli.succeeds("watch", "--once").err, "new-offer")
    assert _look(cli)["offers"]["renewed"] is None
    measured.change("valid_from: 2026-09-01", f"valid_from: {datetime.now(UTC).date()}")
    measured.change("input_per_mtok: 0.5", "input_per_mtok: 0.4")
    assert _look(cli)["offers"]["new"] == []  # told today, so today's price was known
    assert not measured.fake.requests


def test_a_model_that_is_worse_is_tested_once(
    cli: CommandLine, measured: Project, script: dict[str, Script]
) -> None:
    script["next-model"] = lambda request: Reply("wrong" if number(request) % 2 else str(number(request)))
    (test,) = _look(cli, "--renew", "5")["offers"]["renewed"]["tests"]
    assert test["verdict"]["name"] == "keep"
    assert _look(cli, "--renew", "5")["offers"]["renewed"]["tests"] == []


def test_a_test_that_fails_is_told_and_what_it_cost_counts(
    cli: CommandLine, measured: Project, script: dict[str, Script], hasty: None
) -> None:
    script["next-model"] = lambda _: Fault("unknown_model")
    found = _look(cli, "--renew", "5")["offers"]
    (test,) = found["renewed"]["tests"]
    assert test["verdict"] is None
    assert test["reason_code"] is not None
    assert test["spent_usd"] == found["renewed"]["spent_usd"]


def test_a_killed_test_counts_with_its_limit(cli: CommandLine, measured: Project) -> None:
    with Opened.open(measured.config) as opened:
        opened.store.onboardings.append(_begun("4.9999"))
    ran = cli.succeeds("watch", "--once", "--renew", "5")
    assert noted(ran.err, "renew-budget-spent", "next")
    assert not measured.fake.requests


def _begun(limit_usd: str) -> OnboardingStep:
    detail = {"test": "killed", "limit_usd": limit_usd}
    return OnboardingStep(offer="other", workload="echo", kind="renewal", detail=detail)


def test_the_incumbent_is_gone_and_its_baseline_is_enough(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    project.change("requests_per_month: 100000", "requests_per_month: 10000000")
    cli.succeeds("freeze", "echo", "--samples", "100", "--yes")
    script["old-model"] = lambda _: Fault("unknown_model")
    script["next-model"] = honest
    project.change(
        "workloads:\n", NEXT.format(name="next", price="0.5").replace("URL", project.fake.base_url)
    )
    project.fake.requests.clear()
    proposal = _proposal(_listed(cli))
    assert proposal["incumbent_answers"] == "sealed"
    (test,) = _look(cli, "--renew", "5")["offers"]["renewed"]["tests"]
    assert test["verdict"]["name"] == "switch"
    assert not project.asked("old-model")


def test_a_revealed_baseline_bars_the_test(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    project.change("requests_per_month: 100000", "requests_per_month: 10000000")
    cli.succeeds("freeze", "echo", "--samples", "100", "--yes")
    cli.succeeds("freeze", "reveal", "echo", "--yes")
    _add(project, script)
    project.fake.requests.clear()
    assert _proposal(_listed(cli))["reason_code"] == "baseline-revealed"
    assert noted(cli.succeeds("watch", "--once", "--renew", "5").err, "baseline-revealed", "next")
    assert not project.fake.requests


def test_a_model_without_its_key_is_not_tested(
    cli: CommandLine, measured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured.change("    model: next-model", "    model: next-model\n    licence: apache-2.0")
    text = measured.config.read_text()
    at = text.index("next-model")
    measured.config.write_text(text[:at] + text[at:].replace("FAKE_API_KEY", "NO_SUCH_KEY", 1))
    assert _proposal(_listed(cli))["reason_code"] == "key-not-set"
    assert _look(cli, "--renew", "5")["offers"]["renewed"]["tests"] == []


def test_a_watch_that_goes_on_tests_beside_its_looks(measured: Project) -> None:
    with OfferWatch(measured.config, Decimal(5)) as offers:
        (found,) = until(offers.found)
    assert found.renewed is not None
    assert [each.proposal.offer for each in found.renewed.tests] == ["next"]


def test_a_watch_that_ends_keeps_what_its_test_paid_for(
    measured: Project, script: dict[str, Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.evaluate._flow._PROGRESS_S", 0.0)
    gate = script["next-model"] = Gate(honest, at=5)
    with OfferWatch(measured.config, Decimal(5)) as offers:
        gate.reached()
        offers.stop()
        gate.open()
    with Opened.open(measured.config) as opened:
        (step,) = opened.store.onboardings.of_kinds("spent")
        assert step.detail["verdict"] is None
        assert opened.renewals.spent_usd() == Decimal(str(step.detail["usd"])) > 0


def test_an_offer_that_failed_its_live_check_is_not_proposed(cli: CommandLine, measured: Project) -> None:
    with Opened.open(measured.config) as opened:
        checks = (LiveCheck(name="answer", status="fails", seen="HTTP 400"),)
        record = CompatibilityRecord.of(opened.offer("next"), checks, limits=StatedLimits())
        opened.store.compatibility.append(record)
    assert _listed(cli)["rejected"]["offer-check-failed"] == 1


def test_an_offer_of_another_api_is_asked_what_that_can_express(measured: Project) -> None:
    measured.change("    incumbent: old\n", "    incumbent: old\n    client_api: anthropic\n")
    with Opened.open(measured.config) as opened, opened.trying("next", "echo") as tried:
        assert tried.workload("echo").across == ("next",)


def test_answers_that_are_known_without_a_run_are_billed_and_not_bought(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    project.change("requests_per_month: 100000", "requests_per_month: 10000000")
    cli.succeeds("freeze", "echo", "--samples", "120", "--yes")
    text = project.config.read_text()
    echo = text[text.index("  echo:") :]
    project.config.write_text(text + echo.replace("  echo:", "  again:"))
    _add(project, script)
    found = _listed(cli, "--workload", "again")
    assert _proposal(found)["incumbent_answers"] == "known"
    project.fake.requests.clear()
    tests = _look(cli, "--renew", "5")["offers"]["renewed"]["tests"]
    assert {each["workload"] for each in tests} == {"echo", "again"}
    assert not project.asked("old-model")


def test_after_the_end_of_the_incumbent_its_successor_is_what_is_paid_now(
    cli: CommandLine, measured: Project
) -> None:
    measured.change("model: old-model\n", "model: old-model\n    retires_on: 2026-01-01\n")
    assert _proposal(_listed(cli))["against"] == "old"
    measured.change("workloads:\n", "routes: {echo: {workload: echo, successor: new}}\nworkloads:\n")
    assert _proposal(_listed(cli, "--least-saving", "0"))["against"] == "new"
