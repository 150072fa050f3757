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
        assert claim.command.startswith("crossgrade ")
        assert claim.on == TODAY


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
