"""What a team could save with today's model, from its prices and what its workload can wait for."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from crossgrade import decide_results
from crossgrade.catalog import packaged_catalog
from crossgrade.domain import (
    LoggedTraffic,
    Offer,
    Price,
    Requirements,
    ScorerSpec,
    Usage,
    Variant,
    Workload,
)
from crossgrade.pricing.thrift import ThriftShare
from crossgrade.project import ResultOptions
from crossgrade.project._measured import thrifts_of

ON = date(2026, 11, 25)
GPT = Offer(name="gpt", provider="openai", model="gpt-4.1")
LLAMA = Offer(name="llama", provider="groq", model="llama-4-scout")
PRICE = Price(
    input_per_mtok=Decimal(2),
    output_per_mtok=Decimal(8),
    cache_read_per_mtok=Decimal("0.5"),
    batch_discount=Decimal("0.5"),
)
RIVAL = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1), batch_discount=Decimal("0.25"))


def workload(**changes: object) -> Workload:
    fields = {
        "name": "support",
        "dataset": Path("support.jsonl"),
        "incumbent": Variant(offer=GPT),
        "candidates": (Variant(offer=LLAMA),),
        "scorer": ScorerSpec(kind="exact"),
    }
    return Workload(**{**fields, **changes})  # type: ignore[arg-type]  # fields that the test names


def ways(given: Workload, price: Price | None = PRICE) -> dict[str, ThriftShare]:
    found = thrifts_of(given, {"gpt": price, "llama": RIVAL}, packaged_catalog(), ON)
    return {each.way: each for each in found}


def test_a_workload_that_can_wait_could_go_by_batch() -> None:
    found = ways(workload())
    assert (found["batch"].share, found["batch"].others) == (0.5, {"llama": 0.25})
    assert found["prompt caching"].share is None
    assert found["flex tier"].share is None


def test_a_newer_model_of_the_provider_is_named_unless_it_is_a_candidate() -> None:
    newer = ways(workload())["newer model of openai"]
    assert newer.offer is not None
    assert newer.share is not None
    assert 0 < newer.share < 1
    own = Offer(name="mini", provider="openai", model=newer.offer.partition("@")[0])
    assert "newer model of openai" not in ways(workload(candidates=(Variant(offer=own),)))


@pytest.mark.parametrize("limit", [{"latency_p95_ms": 900.0}, {"ttft_p95_ms": 300.0}])
def test_a_workload_with_a_limit_of_latency_waits_for_no_batch(limit: dict[str, float]) -> None:
    found = ways(workload(requirements=Requirements(**limit)))  # type: ignore[arg-type]  # fields that the test names
    assert {"batch", "flex tier"}.isdisjoint(found)
    assert "prompt caching" in found


def test_who_asks_in_batches_already_saves_nothing_more_by_them() -> None:
    assert "batch" not in ways(workload(incumbent=Variant(offer=replace(GPT, batch=True))))
    batched = ways(workload(candidates=(Variant(offer=replace(LLAMA, batch=True)),)))
    assert batched["batch"].others == {}


def test_what_the_log_says_of_caching_counts() -> None:
    logged = LoggedTraffic(cache_saving_share=0.3)
    assert ways(workload(logged_traffic=logged))["prompt caching"].share == 0.3


def test_without_a_price_nothing_is_known() -> None:
    assert ways(workload(), None) == {}


def test_results_in_files_are_compared_at_list_prices() -> None:
    rows = [
        {"id": at, "model": model, "score": float(at % 10 < 8 or (model != "gpt-4.1" and at % 50 == 9))}
        for at in range(300)
        for model in ("gpt-4.1", "gpt-oss-120b")
    ]
    verdict = decide_results(
        rows,
        incumbent="gpt-4.1",
        candidates="gpt-oss-120b",
        options=ResultOptions(typical=Usage(input_tokens=1_000, output_tokens=200)),
    )
    assert verdict.settings.thrifts[0].way == "batch"
    assert "thrift-saves" in {each.code for each in verdict.reasons}
    stated = decide_results(
        rows,
        incumbent="gpt-4.1",
        candidates="gpt-oss-120b",
        options=ResultOptions(stated_cost_usd={"gpt-4.1": 0.01, "gpt-oss-120b": 0.001}),
    )
    assert stated.settings.thrifts == ()
