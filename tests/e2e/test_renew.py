"""New offers: they are listed with what they could save, and tested within a budget, and nothing is applied."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.codes import noted
from tests.e2e.driving import CommandLine, Project, Script

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
