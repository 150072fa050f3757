"""Runs of offers with `batch: true`: both models answer in batches, at the batch price."""

import json
from decimal import Decimal

import pytest

from tests.e2e.driving import CommandLine, Project


@pytest.mark.parametrize(
    "host", ["anthropic", "azure", "gemini", "mistral", "openai", "openrouter", "together", "xai"]
)
def test_both_models_answer_in_batches(cli: CommandLine, project: Project, host: str) -> None:
    project.change(
        "    prices: [{input_per_mtok: 10,",
        "    batch: true\n    prices: [{batch_discount: 0.5, input_per_mtok: 10,",
    )
    project.change(
        "    prices: [{input_per_mtok: 1,",
        "    batch: true\n    prices: [{batch_discount: 0.5, input_per_mtok: 1,",
    )
    for offer in ("old", "new"):
        project.change(f"  {offer}:\n    provider: openai-compatible", f"  {offer}:\n    provider: {host}")
    ran = cli.succeeds("evaluate", "echo", "--yes")
    assert ran.out.startswith("echo: SWITCH\n")
    assert len(project.fake.requests) == 0
    (run,) = json.loads(cli.succeeds("runs", "--json").out)["runs"]
    answers = run["answers"]
    assert answers >= 60
    assert run["errors"] == 0
    # Two words in, one out, and half of each price.
    pair_usd = (2 * 11 + 33) * Decimal("0.5") / 1_000_000
    assert Decimal(run["spent_usd"]) == pair_usd * answers / 2


def test_a_host_without_batches_is_refused(cli: CommandLine, project: Project) -> None:
    project.change("    prices: [{input_per_mtok: 10,", "    batch: true\n    prices: [{input_per_mtok: 10,")
    cli.fails("evaluate", "echo", error="batch-unsupported", where="crossgrade.yaml:7")
