"""GPUs of one's own beside the offers: enough boxes, how busy, and where they break even."""

from decimal import Decimal

import pytest

from crossgrade.hosting import Deployment, Load, known_gpu, known_model, shipped_fit
from crossgrade.hosting.boxes import BoxBill, box_bill
from crossgrade.pricing.usage import stated_traffic
from tests.codes import raises_code

HOSTED = {"gpt-4o": Decimal("4.375"), "scout": Decimal("0.1675"), "unknown": None}


def scout_box(calls_per_day: int | None, **options: object) -> BoxBill:
    calls = None if calls_per_day is None else Decimal(calls_per_day)
    return box_bill(
        "box",
        known_model("llama-4-scout"),
        Deployment(gpu=known_gpu("h100"), tensor_parallel=4),
        stated_traffic(3000, 1000, calls_per_day=calls),
        shipped_fit(),
        usd_per_gpu_hour=Decimal("2.35"),
        **options,
    )


def test_the_break_even_of_four_h100_at_2_35() -> None:
    found = scout_box(2500, against=HOSTED)
    gpt, scout = found.break_even
    assert found.month.value == pytest.approx(225.6 * 30)
    assert float(gpt.tokens_per_day) == pytest.approx(51.6e6, rel=0.01)
    assert float(scout.tokens_per_day) == pytest.approx(1.35e9, rel=0.01)
    assert gpt.utilisation.value is not None
    assert scout.utilisation.value is not None
    assert gpt.utilisation.value < 0.05 < scout.utilisation.value


def test_boxes_are_added_until_the_traffic_fits_in_what_is_planned() -> None:
    few, many = scout_box(2500), scout_box(2_500_000)
    assert (few.boxes, few.month.low, few.month.high) == (1, few.month.value, few.month.value)
    assert many.boxes is not None
    assert many.boxes > 1
    assert many.busy.value is not None
    assert many.busy.value <= 0.7
    assert many.month.low is not None
    assert many.month.high is not None
    assert many.month.low <= (many.month.value or 0) <= many.month.high
    calmer = scout_box(2_500_000, planned_utilisation=0.35)
    assert (calmer.boxes or 0) >= many.boxes


def test_an_unknown_volume_is_an_unknown_bill_with_a_break_even() -> None:
    found = scout_box(None, against=HOSTED)
    assert (found.boxes, found.month.value, found.busy.value, found.per_mtok_usd) == (None,) * 4
    assert len(found.break_even) == 2


def cached_box(share: float) -> BoxBill:
    return box_bill(
        "box",
        known_model("llama-4-scout"),
        Deployment(gpu=known_gpu("h100"), tensor_parallel=4),
        stated_traffic(20_000, 500, calls_per_day=Decimal(2_500_000), cache_hit=share),
        shipped_fit(),
        usd_per_gpu_hour=Decimal("2.35"),
    )


def test_input_in_the_cache_lowers_a_box_s_bill_and_says_so() -> None:
    bills = [cached_box(share) for share in (0.0, 0.3, 0.6, 0.9, 1.0)]
    served = [each.box_tokens_per_day.value or 0.0 for each in bills]
    assert served == sorted(served)
    assert [each.boxes for each in bills] == sorted((each.boxes or 0 for each in bills), reverse=True)
    # Decoding and holding the whole prompt stay: nine tenths of the input less is not a tenth of the bill.
    assert 2 < served[3] / served[0] < 10
    assert [each.cached_share for each in bills] == pytest.approx([0.0, 0.3, 0.6, 0.9, 1.0])


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_shares_of_the_cache_that_cannot_be(wrong: float) -> None:
    with raises_code("cache-share-invalid"):
        Load(input_tokens=100, output_tokens=10, cached_share=wrong)


def test_a_million_tokens_as_busy_as_planned() -> None:
    found = scout_box(2500)
    planned = found.planned_per_mtok_usd
    assert found.box_tokens_per_day.value is not None
    assert planned.value == pytest.approx(225.6e6 / (0.7 * found.box_tokens_per_day.value))
    assert planned.low is not None
    assert planned.high is not None
    assert planned.low < planned.value < planned.high < float(found.per_mtok_usd or 0)


def test_what_the_serving_model_is_not_made_for() -> None:
    with raises_code("utilisation-invalid"):
        scout_box(1, planned_utilisation=0.0)
    with raises_code("box-calls-empty"):
        box_bill(
            "box",
            known_model("llama-4-scout"),
            Deployment(gpu=known_gpu("h100"), tensor_parallel=4),
            stated_traffic(3000, 0, calls_per_day=Decimal(1)),
            shipped_fit(),
            usd_per_gpu_hour=Decimal(2),
        )
