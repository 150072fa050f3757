"""GPUs of one's own beside the offers: enough boxes, how busy, and where they break even."""

from decimal import Decimal

import pytest

from crossgrade.economics import stated_traffic
from crossgrade.economics.boxes import BoxBill, box_bill
from crossgrade.economics.serving import Deployment, known_gpu, known_model, shipped_fit
from crossgrade.errors import UsageError

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


def test_what_the_serving_model_is_not_made_for() -> None:
    with pytest.raises(UsageError, match="planned"):
        scout_box(1, planned_utilisation=0.0)
    with pytest.raises(UsageError, match="tokens in and out"):
        box_bill(
            "box",
            known_model("llama-4-scout"),
            Deployment(gpu=known_gpu("h100"), tensor_parallel=4),
            stated_traffic(3000, 0, calls_per_day=Decimal(1)),
            shipped_fit(),
            usd_per_gpu_hour=Decimal(2),
        )
