"""The bill, the prices and the frontier of a report: drawn only where there are data."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from crossgrade.catalog import Catalog
from crossgrade.catalog.bills import Bills, bill_offers
from crossgrade.decide import Estimate, ModelFacts, PolicyCost, Verdict
from crossgrade.domain import Offer, Price
from crossgrade.hosting import Deployment, known_gpu, known_model, shipped_fit
from crossgrade.hosting.boxes import box_bill
from crossgrade.pricing.usage import stated_traffic
from crossgrade.report import render_cost, render_html, render_markdown
from crossgrade.report._format import scale
from crossgrade.report._lasting import verdict_lasts
from crossgrade.report._money import Frontier, is_dominated, price_bars
from crossgrade.routing import Policy

TODAY = date(2026, 11, 25)


@pytest.fixture
def bills() -> Bills:
    """The incumbent, a candidate, one that nobody prices, one that is gone."""
    rates = {"gpt": ("2.5", "10"), "scout": ("0.1", "0.3")}
    offers = [
        Offer(name=name, provider="local", model=name,
              prices=(Price(input_per_mtok=Decimal(paid), output_per_mtok=Decimal(answered)),))
        for name, (paid, answered) in rates.items()
    ]  # fmt: skip
    offers.append(Offer(name="<unpriced>", provider="local", model="x"))
    offers.append(Offer(name="old", provider="groq", model="meta-llama/llama-4-scout-17b-16e-instruct"))
    traffic = stated_traffic(3000, 1000, calls_per_day=Decimal(2500))
    return bill_offers(offers, traffic, Catalog(), TODAY, incumbent="gpt")


@pytest.fixture
def cost() -> Callable[..., PolicyCost]:
    def make(candidate: str | None, usd: float | None, kept: float | None) -> PolicyCost:
        kind = "keep" if candidate is None else "switch"
        unknown = Estimate(value=None)
        return PolicyCost(
            policy=Policy(kind=kind, incumbent="gpt", candidate=candidate),
            per_request_usd=Estimate(value=usd, low=usd and usd * 0.9, high=usd and usd * 1.1),
            per_solved_usd=unknown,
            saving_per_request_usd=unknown,
            saving_per_month_usd=unknown,
            saving_share=unknown,
            retention=Estimate(value=kept, low=kept and kept - 0.05, high=kept and kept + 0.05),
        )

    return make


def test_the_order_of_bills_is_cheapest_unknown_gone(bills: Bills) -> None:
    assert [row.offer for row in bills.offers] == ["scout", "gpt", "<unpriced>", "old"]
    assert bills.offers[1].bill.usd_per_month == Decimal("1312.50")
    assert bills.offers[3].status == "delisted"


def test_the_page_has_the_bill_with_its_bars(verdict: Verdict, bills: Bills) -> None:
    page = render_html([verdict], bills={"support": bills})
    assert "<h3>The bill</h3>" in page
    assert "$1,312" in page
    assert page.count('class="rows bars"') == 1
    assert "&lt;unpriced&gt;" in page
    assert "gone from the catalogues since 2026-11-01" in page
    assert render_html([verdict], bills={"support": bills}) == page
    assert "The bill" not in render_html([verdict], bills={"other": bills})
    markdown = render_markdown([verdict], bills={"support": bills})
    assert "### The bill" in markdown
    assert "gpt (incumbent)" in markdown


def test_the_frontier_is_drawn_where_two_policies_have_both_figures(
    verdict: Verdict, cost: Callable[..., PolicyCost]
) -> None:
    both = (cost(None, 0.01, 1.0), cost("scout", 0.001, 0.95), cost("worse", 0.002, 0.9))
    page = render_html([replace(verdict, costs=both)])
    assert "Quality kept over cost, for 3 policies" in page
    assert Frontier(both[:1], (), 0.85).draw() is None
    assert Frontier((both[0], cost("x", None, 0.9), cost("y", 0.1, None)), (), 0.85).draw() is None
    assert "Quality kept over cost" not in render_html([verdict])


def test_green_on_the_frontier_is_what_is_certified(
    verdict: Verdict, cost: Callable[..., PolicyCost]
) -> None:
    costs = (cost(None, 0.01, 1.0), cost("scout", 0.001, 0.95))
    whole = verdict.certificates[0]
    kinds = [
        {key.kind for key in Frontier(costs, (replace(whole, certified=certified),), 0.85).keys}
        for certified in (True, False)
    ]
    assert kinds == [{"incumbent", "certified"}, {"incumbent", "plain"}]


def test_many_policies_are_numbered_and_listed(verdict: Verdict, cost: Callable[..., PolicyCost]) -> None:
    costs = tuple(cost(f"model-{at}", 0.001 * (1 + at), 0.9 + at / 500) for at in range(24))
    page = render_html([replace(verdict, costs=costs)])
    assert page.count("<li>model-") == 24
    assert "per 1,000 requests" in page


@pytest.mark.parametrize(
    ("usd", "words"), [(0.5, ""), (0.02, "1,000 "), (0.00001, "million "), (0.0, ""), (None, "")]
)
def test_small_money_is_for_many_requests(usd: float | None, words: str) -> None:
    assert scale([usd, None])[1] == words


def test_what_is_dominated(cost: Callable[..., PolicyCost]) -> None:
    keep, good, worse = cost(None, 0.01, 1.0), cost("scout", 0.001, 0.95), cost("worse", 0.002, 0.9)
    costs = (keep, good, worse)
    assert [is_dominated(each, costs) for each in costs] == [False, False, True]
    twin = cost("twin", 0.001, 0.95)
    assert not is_dominated(good, (good, twin))


def test_gpus_of_one_s_own_stand_above_the_offers_with_their_band(verdict: Verdict, bills: Bills) -> None:
    box = box_bill(
        "scout on 4 x h100", known_model("llama-4-scout"), Deployment(gpu=known_gpu("h100"), tensor_parallel=4),
        bills.traffic, shipped_fit(), usd_per_gpu_hour=Decimal("2.35"), rent_from="typical, 2026-03: a test",
    )  # fmt: skip
    bills = replace(bills, boxes=(box,))
    drawn = price_bars(bills, ["scout"])
    assert drawn is not None
    assert (drawn.rows[0].name, drawn.rows[0].small) == ("scout on 4 x h100", "70% busy")
    page = render_html([verdict], bills={verdict.workload: bills})
    for said in (
        "your own GPUs, as busy as planned",
        "1 x 4 GPUs at $2.35 an hour (typical, 2026-03: a test)",
        "idle 100",
    ):
        assert said in page.replace("\u00a0", " ")
    assert "your own GPUs, as busy" not in render_html(
        [verdict], bills={verdict.workload: replace(bills, boxes=())}
    )


def test_bars_need_two_prices(bills: Bills) -> None:
    assert price_bars(bills, ("scout",)) is not None
    assert price_bars(replace(bills, offers=bills.offers[:1]), ()) is None


def test_a_verdict_that_chose_something_says_how_long_it_lasts(verdict: Verdict, bills: Bills) -> None:
    page = render_html([verdict], bills={"support": bills})
    assert "<h3>How long it lasts</h3>" in page
    assert "tokens a call, the closed price of this traffic" in page
    assert "tokens a call" not in render_html([verdict])
    assert "### How long it lasts" in render_markdown([verdict])
    undecided = replace(verdict, name="undecided")
    assert "How long it lasts" not in render_html([undecided]) + render_markdown([undecided])


def test_what_a_verdict_knows_replaces_the_outlook_s_assumptions(verdict: Verdict, bills: Bills) -> None:
    opened = replace(
        verdict, settings=replace(verdict.settings, facts=(ModelFacts(model="scout", open_weights=True),))
    )
    found = verdict_lasts(opened, bills)
    assert found is not None
    assert found.choice == "open"
    assert dict(found.given) == {"price_closed": 4.375, "price_open": 0.15, "tokens": 4000}
    kept = verdict_lasts(replace(opened, name="keep"), bills)
    assert kept is not None
    assert (kept.choice, set(kept.given)) == ("closed", {"price_closed", "tokens"})
    unknown = verdict_lasts(verdict, None)
    assert unknown is not None
    assert (unknown.choice, dict(unknown.given)) == ("cheapest", {})


def test_the_cost_page_says_what_a_move_could_save_and_where_boxes_break_even(bills: Bills) -> None:
    box = box_bill(
        "scout on 4 x h100", known_model("llama-4-scout"), Deployment(gpu=known_gpu("h100"), tensor_parallel=4),
        bills.traffic, shipped_fit(), usd_per_gpu_hour=Decimal("2.35"),
    )  # fmt: skip
    page = render_cost(replace(bills, boxes=(box,)), ["moving costs are not stated"])
    assert "A move could save at most $1,268 a month" in page
    assert "Break-even by volume" in page
    assert "13,000 calls" in page
    assert "<li>Moving costs are not stated.</li>" in page
    assert "&lt;unpriced&gt;" in page


def test_the_cost_page_of_one_price_says_so(bills: Bills) -> None:
    alone = replace(bills, offers=bills.offers[1:])
    page = render_cost(alone)
    assert "No other offer has a known price" in page
    assert "Break-even by volume" not in page


def test_the_cost_page_names_an_incumbent_that_is_cheapest_already(bills: Bills) -> None:
    page = render_cost(replace(bills, incumbent="scout"))
    assert "scout is already the cheapest of 4 offers" in page
