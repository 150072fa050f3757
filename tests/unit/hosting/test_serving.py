"""Memory, throughput and price of a deployment: known cases, and what is refused."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from crossgrade.errors import UsageError
from crossgrade.hosting import (
    Deployment,
    Load,
    box_usd_per_day,
    break_even_tokens_per_day,
    hosting_ladder,
    known_gpu,
    known_model,
    memory_fit,
    most_in_flight,
    prompt_costs,
    prompt_seconds,
    serve,
    shipped_fit,
    smallest_deployment,
)
from tests.codes import raises_code

SCOUT = known_model("llama-4-scout")
BOX = Deployment(gpu=known_gpu("h100"), precision="fp8", tensor_parallel=4, kv_bits=16)
RENT = Decimal("2.35")
CHAT = Load(input_tokens=3000, output_tokens=1000)


def test_a_box_of_four_h100_costs_what_52_million_tokens_of_gpt_4o_do() -> None:
    a_day = box_usd_per_day(BOX, RENT)
    assert a_day == Decimal("225.60")
    assert float(break_even_tokens_per_day(a_day, Decimal("4.375"))) == pytest.approx(51.6e6, rel=0.01)
    assert float(break_even_tokens_per_day(a_day, Decimal("0.1675"))) == pytest.approx(1.35e9, rel=0.01)


@pytest.mark.parametrize(("tokens", "usd_per_mtok"), [(131_072, 0.06), (1_000_000, 0.32), (10_000_000, 2.8)])
def test_compute_of_long_prompts_is_inside_the_band(tokens: int, usd_per_mtok: float) -> None:
    box = Deployment(gpu=known_gpu("h100"), tensor_parallel=4)
    (cost,) = prompt_costs(SCOUT, box, shipped_fit(), [tokens], usd_per_gpu_hour=RENT)
    seconds = prompt_seconds(SCOUT, box, shipped_fit().constants, np.array([float(tokens)]))[0]
    assert cost.per_mtok.value == pytest.approx(seconds * 4 * 2.35 / 3600 / tokens * 1e6)
    assert cost.per_mtok.low < usd_per_mtok < cost.per_mtok.high


def test_ten_million_tokens_do_not_fit_and_the_error_says_what_would() -> None:
    with raises_code("gpus-too-small", "77.2", "16 x h100", "8 x 2"):
        serve(SCOUT, BOX, Load(input_tokens=10_000_000, output_tokens=2), shipped_fit().constants)
    least = smallest_deployment(SCOUT, BOX, 10_000_000)
    assert least is not None
    assert memory_fit(SCOUT, least, 10_000_000).sequences >= 1


def test_what_no_deployment_holds_is_none() -> None:
    assert smallest_deployment(known_model("llama-3.1-405b"), BOX, 90_000_000) is None


def test_an_engine_that_keeps_chunks_holds_fewer_requests() -> None:
    keeps = Deployment(gpu=known_gpu("h100"), tensor_parallel=4, kv_bits=16, frees_local=False)
    frees, kept = (memory_fit(SCOUT, box, 131_072).sequence_bytes for box in (BOX, keeps))
    assert kept / frees == pytest.approx(25.8 / 7.7, rel=0.02)


def test_more_in_flight_is_slower_for_each_and_cheaper_for_all() -> None:
    ladder = hosting_ladder(
        SCOUT, BOX, CHAT, shipped_fit(), usd_per_gpu_hour=RENT, in_flight=[1, 4, 16, 64, 238]
    )
    prices = [step.per_mtok.value for step in ladder]
    assert prices == sorted(prices, reverse=True)
    assert [step.tpot_ms.value for step in ladder] == sorted(step.tpot_ms.value for step in ladder)
    assert prices == pytest.approx([4.65, 1.90, 0.67, 0.22, 0.12], rel=0.4)  # an independent model's


def test_input_and_output_prices_account_for_every_second() -> None:
    step = hosting_ladder(SCOUT, BOX, CHAT, shipped_fit(), usd_per_gpu_hour=RENT)[0]
    an_hour = step.tokens_per_day.value / 24 * step.per_mtok.value / 1e6
    assert an_hour == pytest.approx(4 * 2.35)


def test_half_the_use_is_twice_the_price() -> None:
    full, half = (
        hosting_ladder(SCOUT, BOX, CHAT, shipped_fit(), usd_per_gpu_hour=RENT, utilisation=u)[0]
        for u in (1, 0.5)
    )
    assert half.output_per_mtok.value == pytest.approx(2 * full.output_per_mtok.value)


def test_a_limit_on_time_a_token_limits_the_requests_in_flight() -> None:
    constants = shipped_fit().constants
    tight, loose = (most_in_flight(SCOUT, BOX, CHAT, constants, limit) for limit in (10.0, 30.0))
    assert 1 <= tight < loose
    assert serve(SCOUT, BOX, CHAT, constants, np.array([tight])).tpot_ms[0] <= 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "fp7"}, {"kv_bits": 12}, {"tensor_parallel": 0}, {"engine": "abacus"}, {"attention_replicas": 10**6},
    ],
)  # fmt: skip
def test_an_unknown_deployment_is_refused(wrong) -> None:
    with pytest.raises(UsageError):
        Deployment(gpu=known_gpu("h100"), **wrong)


@pytest.mark.parametrize("tokens", [0, -5, float("nan"), 1e12])
def test_absurd_token_counts_are_refused(tokens: float) -> None:
    with pytest.raises(UsageError):
        Load(input_tokens=tokens, output_tokens=10)


@pytest.mark.parametrize(("rent", "use"), [("0", 1.0), ("-1", 1.0), ("2.35", 0.0), ("2.35", 1.5)])
def test_a_price_of_nothing_or_a_utilisation_of_more_than_all_is_refused(rent: str, use: float) -> None:
    with pytest.raises(UsageError):
        hosting_ladder(SCOUT, BOX, CHAT, shipped_fit(), usd_per_gpu_hour=Decimal(rent), utilisation=use)


def test_an_unknown_gpu_gets_the_nearest_names() -> None:
    with raises_code("hardware-unknown", "h20O", "h200"):
        known_gpu("h20O")


def test_integers_of_four_bits_are_multiplied_in_sixteen() -> None:
    gpu = known_gpu("b200")
    assert Deployment(gpu=gpu, precision="int4").weight_flops_s == gpu.flops_16bit
    assert Deployment(gpu=gpu, precision="fp4").weight_flops_s == gpu.flops_4bit


def test_short_prompts_share_a_step_and_a_queue_delays_the_first_token() -> None:
    constants = shipped_fit().constants
    short = Load(input_tokens=128, output_tokens=128)
    alone, packed = (
        serve(SCOUT, BOX, short, replace(constants, packed=share), np.array([256.0])).output_tokens_s[0]
        for share in (1e-9, 1.0)
    )
    assert packed > 1.2 * alone
    few, many = serve(SCOUT, BOX, CHAT, constants, np.array([4.0, 128.0])).ttft_ms
    queueless = replace(constants, queued_vllm=1e-9)
    assert many - few > 2 * np.diff(serve(SCOUT, BOX, CHAT, queueless, np.array([4.0, 128.0])).ttft_ms)[0]


def test_a_long_answer_reserves_more_of_itself_than_a_short_one() -> None:
    short, long = (Load(input_tokens=1, output_tokens=tokens) for tokens in (128, 32_768))
    assert short.held_tokens / 128 < 0.6
    assert long.held_tokens / 32_768 > 0.95
