"""Results whose candidates nobody named: who is tested, in which order, and who is set aside."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from crossgrade import ResultOptions, decide_results
from crossgrade.domain import Usage
from tests.codes import names, said

NOW = datetime(2026, 11, 25, tzinfo=UTC)
MODELS = ("claude-opus-4-1", "gpt-4.1", "gpt-4.1-mini", "own", "gpt-4.1-nano")
TOKENS = "input_tokens,output_tokens"


@pytest.fixture
def table(tmp_path: Path):
    """Write a table in which all models are right on every item but each fourth, or all of them."""

    def write(*, models: tuple[str, ...] = MODELS, columns: str = TOKENS, **cells: str) -> Path:
        lines = [f"item_id,model,score,{columns}"]
        numbers = "1000,400" if columns == TOKENS else "none"
        for item in range(60):
            lines += [f"t-{item},{name},{int(item % 4 > 0)},{cells.get(name, numbers)}" for name in models]
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def decided(path: Path, **options):
    return decide_results(path, incumbent="gpt-4.1", options=ResultOptions(**options), now=NOW)


def test_every_other_model_is_tested_the_cheapest_first_but_those_that_cost_more(table):
    # What the expensive model was tested on is short: its price counts at the incumbent's tokens.
    verdict = decided(table(**{"claude-opus-4-1": "1,1"}))
    assert verdict.candidates == ("gpt-4.1-nano", "gpt-4.1-mini", "own")
    every = verdict.settings.every_model
    assert every is not None
    assert list(every.set_aside) == ["claude-opus-4-1"]
    assert every.set_aside["claude-opus-4-1"] > every.incumbent_usd > 0
    (first, second, *_) = verdict.reasons
    assert said([first], "every-model-tested", 3, "5 %")
    assert said([second], "set-aside", "claude-opus-4-1", "gpt-4.1")


def test_one_other_model_is_the_candidate_whatever_it_costs(table):
    verdict = decided(table(models=("gpt-4.1", "claude-opus-4-1")))
    assert verdict.candidates == ("claude-opus-4-1",)
    assert verdict.settings.every_model is None


def test_where_all_cost_more_all_are_tested(table):
    path = table()
    verdict = decide_results(path, incumbent="gpt-4.1-nano", now=NOW)
    assert set(verdict.candidates) == {*MODELS} - {"gpt-4.1-nano"} - {*verdict.settings.every_model.set_aside}
    dear = decide_results(table(models=("gpt-4.1-nano", "gpt-4.1", "claude-opus-4-1")), incumbent="gpt-4.1-nano", now=NOW)  # fmt: skip
    assert dear.candidates == ("gpt-4.1", "claude-opus-4-1")
    assert dict(dear.settings.every_model.set_aside) == {}


def test_typical_tokens_and_stated_costs_count_where_the_table_has_none(table):
    path = table(columns="note")
    assert len(decided(path).candidates) == 4  # nothing is known of what they cost
    priced = decided(path, typical=Usage(input_tokens=1000, output_tokens=400, images=0))
    assert priced.candidates == ("gpt-4.1-nano", "gpt-4.1-mini", "own")
    assert priced.costs[1].per_request_usd.value == pytest.approx(0.00026)
    stated = decided(path, stated_cost_usd={"gpt-4.1": 0.01, "own": 0.02, "gpt-4.1-mini": 0.001})
    assert stated.candidates == ("gpt-4.1-mini", "claude-opus-4-1", "gpt-4.1-nano")
    assert names(said(stated.reasons, "set-aside")[0].text, "own")


def test_named_candidates_are_all_tested(table):
    named = ("claude-opus-4-1", "gpt-4.1-mini")
    verdict = decide_results(table(), incumbent="gpt-4.1", candidates=named, now=NOW)
    assert verdict.candidates == named
    assert verdict.settings.every_model is None
