"""The claims: verdicts follow from numbers, and change with them."""

from datetime import date

import pytest

from crossgrade.catalog import packaged_catalog
from crossgrade.catalog.claims import Figure, check_claims, judge

TODAY = date(2026, 11, 25)


@pytest.fixture(scope="module")
def claims():
    return {claim.name: claim for claim in check_claims(packaged_catalog(), TODAY)}


@pytest.mark.parametrize(
    ("name", "status", "really"),
    [
        ("gpt-4o-price", "reproduced", None),
        ("scout-price", "misattributed", "input"),
        ("40x", "misattributed", "3:1 blend over input"),
        ("maverick-9x", "misattributed", "GPT-4o over the vendor's estimate of 0.49"),
        ("maverick-23x", "misattributed", "GPT-4o over the vendor's estimate of 0.19"),
        ("43-a-day", "reproduced", None),
        ("1.10-a-day", "misattributed", "all of it input, Scout"),
        ("llama-4-scout-total", "reproduced", None),
        ("llama-4-maverick-active", "reproduced", None),
        ("behemoth-total", "unverifiable", None),
        ("behemoth-math-500", "as the vendor states", None),
        ("behemoth-gpqa-diamond", "misattributed", "MMLU-Pro"),
        ("terminal-bench", "reproduced", None),
        ("10x-context", "misattributed", "the model's advertised window, over a proprietary one"),
        ("7-week-cycles", "contradicted", None),
        ("6-month-half-life", "contradicted", None),
        ("ruler-beyond-1m", "contradicted", None),
        ("3-billion-devices", "unverifiable", None),
        ("128-experts", "reproduced", None),
        ("maverick-0.19", "misattributed", "the vendor's launch estimate"),
        ("maverick-0.49", "misattributed", "the vendor's launch estimate"),
        ("9-40x-least", "misattributed", "GPT-4o over the vendor's estimate for Maverick"),
        ("9-40x-most", "misattributed", "GPT-4o's 3:1 blend over Scout's input at Groq"),
        ("48-hour-integration", "unverifiable", None),
        ("api-market-20", "unverifiable", None),
    ],
)
def test_what_became_of_each(claims, name: str, status: str, really: str | None) -> None:
    assert (claims[name].status, claims[name].is_really) == (status, really)


def test_nothing_that_only_a_vendor_stated_is_reproduced(claims) -> None:
    for claim in claims.values():
        if claim.status == "reproduced":
            assert not any(each.stated_by_vendor for each in claim.figures if each.name == claim.quoted_as)


def test_every_claim_says_where_it_is_from(claims) -> None:
    for claim in claims.values():
        assert claim.basis
        assert claim.source
        # What was only published has no command: `crossgrade claims` does not compute itself.
        assert claim.command.startswith("crossgrade ") or not claim.command
        assert not claim.command.startswith("crossgrade claims")
        assert claim.on == TODAY


def test_cycles_are_those_of_closed_labs(claims) -> None:
    weeks = {each.name: each.value for each in claims["7-week-cycles"].figures}
    assert claims["7-week-cycles"].quoted_as.startswith("median over closed labs")
    assert weeks["OpenAI, weeks between releases"] == pytest.approx(8.2, abs=0.1)
    assert weeks["Google, weeks between releases"] == pytest.approx(5.4, abs=0.1)


def test_beside_a_price_stands_what_is_sold_today(claims) -> None:
    today = {each.name: each.value for each in claims["gpt-4o-price"].today}
    assert today["gpt-5.6-luna@openai"] == pytest.approx(0.45)
    # What retires within the life of a verdict is nobody's incumbent of tomorrow.
    assert not any(name.startswith(("gpt-4o", "gpt-5-nano", "gpt-4.1")) for name in today)
    assert "2027-01-14" in claims["gpt-4o-price"].note
    ratios = {each.name: each.value for each in claims["40x"].today}
    assert ratios["gpt-5.6-luna@openai over llama-4-scout"] < 5
    assert claims["terminal-bench"].today == ()


@pytest.mark.parametrize(
    ("figures", "wanted"),
    [
        ((Figure(name="a", value=10.1),), ("reproduced", None)),
        ((Figure(name="a", value=10.1, stated_by_vendor=True),), ("as the vendor states", None)),
        ((Figure(name="a", value=20.0), Figure(name="b", value=10.0)), ("misattributed", "b")),
        ((Figure(name="a", value=20.0),), ("contradicted", None)),
        ((Figure(name="a", value=None), Figure(name="b", value=3.0)), ("unverifiable", None)),
        ((Figure(name="a", value=None),), ("unverifiable", None)),
        ((), ("unverifiable", None)),
    ],
)
def test_the_rule(figures: tuple[Figure, ...], wanted: tuple[str, str | None]) -> None:
    assert judge(10, "a", figures) == wanted


def test_on_another_day_the_numbers_are_that_day_s() -> None:
    then = {claim.name: claim for claim in check_claims(packaged_catalog(), date(2024, 6, 1))}
    assert then["gpt-4o-price"].status == "contradicted"  # it was 7.50 at 3:1
    assert then["scout-price"].status == "unverifiable"  # there was none
