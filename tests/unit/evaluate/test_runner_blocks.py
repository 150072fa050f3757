"""Blocks: the incumbent answers one sample in K after a pilot, and what that leaves in the store."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crossgrade.decide import PILOT, RunDesign, Stopping
from crossgrade.domain import ModelRequest, Score
from crossgrade.errors import ProviderError
from crossgrade.evaluate import RunResult, idle_samples, new_design, planned_samples, request_bytes
from crossgrade.store import Store
from tests.unit.evaluate.running import PRICE, Equals, Scripted, dataset, evidence, run, workload

LOAD = workload(planned=200)
DATA = dataset(2000)
CHEAP = replace(PRICE, input_per_mtok=Decimal(20), output_per_mtok=Decimal(20))
PRICES = {"gpt": PRICE, "llama": CHEAP}


def mostly(share: int) -> Any:
    """Answer wrongly on one thing in `share`."""

    def script(request: ModelRequest, _: int) -> str:
        thing = int((request.messages[0].content or "").split()[2])
        return "no" if thing % share == 0 else "yes"

    return script


def models(**scripts: Any) -> tuple[Scripted, Scripted]:
    return Scripted("gpt", scripts.get("gpt", mostly(5))), Scripted("llama", scripts.get("llama", mostly(4)))


def in_blocks(store: Store, *providers: Scripted, resume: str | None = None, **options: Any) -> RunResult:
    """Run with a pilot, or go on with a run as it is recorded, under a rule that never ends early."""
    design = new_design(LOAD, DATA, pilot=PILOT)
    if resume is not None:
        design = store.runs.design(resume) or design
    rule = Stopping(
        candidates=["llama"],
        plan=planned_samples(LOAD, DATA, design),
        design=design,
        alpha=1e-9,
        futility=None,
    )
    options = {"prices": PRICES, **options}
    return run(
        store, *providers, load=LOAD, data=DATA, stopping=rule, design=design, resume=resume, **options
    )


def thing(sample_id: str) -> str:
    return f"Is thing {sample_id} so?"


def test_the_incumbent_answers_the_pilot_and_then_one_sample_in_k(store: Store) -> None:
    gpt, llama = models()
    result = in_blocks(store, gpt, llama)
    design = store.runs.design(result.run_id)
    assert design is not None
    blocks = design.blocks
    assert blocks is not None
    assert blocks.size > 1
    assert (blocks.pilot, design.before, blocks.source) == (PILOT, 200, "pilot")
    assert design.samples == blocks.samples == result.progress.planned
    plan = [sample.id for sample in planned_samples(LOAD, DATA, design)]
    paired = [name for position, name in enumerate(plan) if blocks.pairs_at(position)]
    assert paired[:PILOT] == plan[:PILOT]
    assert paired[PILOT:] == plan[PILOT + blocks.size - 1 :: blocks.size]
    assert sorted(gpt.asked) == sorted(map(thing, paired))
    assert sorted(llama.asked) == sorted(map(thing, plan))
    assert len(paired) == blocks.pairs < 200
    pairs_usd, spent_usd = 200 * Decimal("0.0102"), result.progress.spent_usd
    assert spent_usd < pairs_usd * Decimal("0.95")


def test_the_blocks_are_recorded_before_the_next_question(store: Store) -> None:
    seen: list[RunDesign | None] = []

    def llama(request: ModelRequest, times: int) -> str:
        seen.append(store.runs.design(store.runs.recent()[0].id))
        return str(mostly(4)(request, times))

    in_blocks(store, *models(llama=llama))
    known = [design is not None and design.blocks is not None for design in seen]
    assert known == [False] * PILOT + [True] * (len(seen) - PILOT)


def test_a_run_that_was_cut_short_goes_on_in_the_same_blocks(store: Store, tmp_path: Path) -> None:
    def broken(request: ModelRequest, times: int) -> Any:
        if len(llama.asked) > 100:
            return ProviderError("gone")
        return mostly(4)(request, times)

    gpt, llama = models(llama=broken)
    with pytest.raises(ProviderError):
        in_blocks(store, gpt, llama)
    run_id = store.runs.recent()[0].id
    before = store.runs.design(run_id)
    asked = set(gpt.asked)
    again, cheap = models()
    in_blocks(store, again, cheap, resume=run_id)
    assert store.runs.design(run_id) == before
    assert not asked & set(again.asked)
    with Store.open(tmp_path / "whole.db") as whole:
        in_blocks(whole, *models())
        assert evidence(whole) == evidence(store, run_id)


def test_a_run_that_ended_within_its_pilot_chooses_when_it_goes_on(store: Store) -> None:
    def broken(request: ModelRequest, times: int) -> Any:
        return ProviderError("gone") if len(llama.asked) > 15 else mostly(4)(request, times)

    gpt, llama = models(llama=broken)
    with pytest.raises(ProviderError):
        in_blocks(store, gpt, llama)
    run_id = store.runs.recent()[0].id
    found = store.runs.design(run_id)
    assert found is not None
    assert found.blocks is None
    in_blocks(store, *models(), resume=run_id)
    found = store.runs.design(run_id)
    assert found is not None
    assert found.blocks is not None


@pytest.mark.parametrize("why", ["a price is unknown", "both cost the same", "the dataset is small"])
def test_pairs_stay_where_blocks_do_not_pay(store: Store, why: str) -> None:
    prices: dict[str, Any] = dict(PRICES)
    data = DATA
    if why == "a price is unknown":
        prices["llama"] = None
    elif why == "both cost the same":
        prices["llama"] = PRICE
    else:
        data = dataset(210)
    gpt, llama = models()
    design = new_design(LOAD, data, pilot=PILOT)
    rule = Stopping(
        candidates=["llama"], plan=planned_samples(LOAD, data, design), design=design, mode="fixed"
    )
    result = run(store, gpt, llama, load=LOAD, data=data, stopping=rule, design=design, prices=prices)
    found = store.runs.design(result.run_id)
    assert found is not None
    assert found.blocks is not None
    assert (found.blocks.size, found.samples, len(gpt.asked), len(llama.asked)) == (1, 200, 200, 200)


def test_what_a_judge_costs_counts_when_the_blocks_are_chosen(store: Store) -> None:
    class Dear(Equals):
        async def score(self, sample: Any, answer: Any) -> Score:
            return replace(await super().score(sample, answer), cost_usd=Decimal("0.1"))

    result = in_blocks(store, *models(), scorer=Dear())
    found = store.runs.design(result.run_id)
    assert found is not None
    assert found.blocks is not None
    assert found.blocks.size == 1


def test_unpaired_samples_that_are_too_long_for_every_candidate_are_asked_of_nobody(store: Store) -> None:
    gpt, llama = models()
    most = {"llama": request_bytes(LOAD, next(each for each in DATA.samples if each.id == "123"))}
    result = in_blocks(store, gpt, llama, max_bytes=most)
    found = store.runs.design(result.run_id)
    assert found is not None
    plan = planned_samples(LOAD, DATA, found)
    idle = idle_samples(LOAD, plan, found, most)
    assert idle
    asked = {*gpt.asked, *llama.asked}
    assert not asked & set(map(thing, idle))
    assert asked == {thing(each.id) for each in plan if each.id not in idle}
