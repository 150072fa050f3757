"""Dates, prices, retirements and versions: a certificate rests on them too."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from crossgrade.decide import DecisionSettings, ModelFacts
from crossgrade.domain import Offer, Price
from crossgrade.project._measured import price_words
from tests.unit.watch.conftest import GOOD, NOW, SWITCH, Site


def kinds(site: Site) -> list[str]:
    return [alarm.kind for alarm in site.look().alarms]


def test_an_expired_certificate(site: Site) -> None:
    site.apply(valid_until=NOW)
    found = site.look()
    assert [alarm.kind for alarm in found.alarms] == ["expired"]
    assert [each.status for each in found.standings] == ["alarm"]
    assert site.route().policy.kind == "keep"
    assert kinds(site) == []


@pytest.mark.parametrize(("day", "expected"), [("2026-12-09", ["retired"]), ("2026-12-10", [])])
def test_a_model_that_retires_within_two_weeks(site: Site, day: str, expected: list[str]) -> None:
    site.write(llama=f"    retires_on: {day}")
    site.apply()
    assert kinds(site) == expected


@pytest.mark.parametrize(("today", "expected"), [("0.40", ["price"]), ("0.33", []), ("0.10", [])])
def test_a_dearer_candidate(site: Site, today: str, expected: list[str]) -> None:
    site.write(llama=f'    prices: [{{input_per_mtok: "{today}", output_per_mtok: "0.60"}}]')
    then = Price(input_per_mtok=Decimal("0.30"), output_per_mtok=Decimal("0.60"))
    words = price_words(Offer(name="llama", provider="groq", model="m"), then)
    site.apply(settings=DecisionSettings(facts=(ModelFacts(model="llama", price_source=words),)))
    found = site.look()
    assert [alarm.kind for alarm in found.alarms] == expected
    if expected:
        assert found.alarms[0].detail["per_mtok_usd_then"] == ["0.30", "0.60"]
        assert site.route().policy.kind == "keep"


def test_an_unknown_price_is_no_alarm(site: Site) -> None:
    site.apply(settings=DecisionSettings(facts=(ModelFacts(model="llama"),)))
    assert kinds(site) == []


def test_another_version_of_a_model(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 3, versions=("gpt-1", "llama-1"))
    site.see(verdict, [(GOOD, GOOD)], versions=(None, "llama-1"))
    assert kinds(site) == []
    site.see(verdict, [(GOOD, GOOD)], versions=("gpt-1", "llama-2"))
    found = site.look()
    (alarm,) = found.alarms
    assert alarm.kind == "version"
    assert (alarm.detail["model"], alarm.detail["measured"], alarm.detail["served"]) == (
        "llama", ["llama-1"], "llama-2",
    )  # fmt: skip
    assert site.route().policy.kind == "keep"


def test_a_new_certificate_starts_with_its_own_versions(site: Site) -> None:
    first = site.apply()
    site.see(first, [(GOOD, GOOD)], versions=("gpt-1", "llama-1"))
    second = site.apply()
    site.see(second, [(GOOD, GOOD)], versions=("gpt-2", "llama-2"))
    assert kinds(site) == []


def test_conditions_come_before_scores(site: Site) -> None:
    """Two broken conditions at once are two alarms, and one step back."""
    site.write(llama="    retires_on: 2026-11-26")
    site.apply(valid_until=NOW - timedelta(days=1))
    assert kinds(site) == ["expired", "retired"]
    assert site.route().policy != SWITCH


def test_the_catalogue_knows_when_a_model_ends(site: Site) -> None:
    """The configuration states no date: the date is the catalogue's."""
    site.write()
    file = site.folder / "crossgrade.yaml"
    here = 'provider: openai-compatible\n    model: llama-x\n    base_url: "http://127.0.0.1:9/v1"'
    text = file.read_text()
    assert here in text
    file.write_text(text.replace(here, "provider: openai\n    model: gpt-4o"))
    site.apply()
    found = site.look(now=datetime(2027, 1, 5, tzinfo=UTC))
    assert [alarm.kind for alarm in found.alarms] == ["retired"]
    assert found.alarms[0].detail["retires_on"] == "2027-01-14"


@pytest.mark.parametrize(
    ("day", "days", "within"),
    [("2027-02-24", None, None), ("2027-02-23", 90, 90), ("2026-12-25", 30, 30), ("2026-12-02", 7, 7), ("2026-11-25", 0, 7), ("2026-11-20", -5, 7)],
)  # fmt: skip
def test_a_model_that_ends_is_warned_of_whoever_it_is(
    site: Site, day: str, days: int | None, within: int | None
) -> None:
    """The incumbent ends, of a route that moves everything away from it and steps back to it."""
    site.write()
    file = site.folder / "crossgrade.yaml"
    file.write_text(file.read_text().replace("gpt: {", f"gpt: {{retires_on: {day}, "))
    site.apply()
    found = site.look()
    assert not found.alarms
    seen = [(each.model, each.days, each.within, each.routes, each.successor) for each in found.endings]
    assert seen == ([] if days is None else [("gpt", days, within, ("support",), None)])


def test_what_its_provider_sells_instead_is_named(site: Site) -> None:
    site.write()
    file = site.folder / "crossgrade.yaml"
    here = 'gpt: {provider: openai-compatible, model: gpt-x, base_url: "http://127.0.0.1:9/v1"}'
    assert here in file.read_text()
    file.write_text(file.read_text().replace(here, "gpt: {provider: openai, model: gpt-4o}"))
    (ending,) = site.look().endings
    assert (ending.model, ending.retires_on, ending.within) == ("gpt", date(2027, 1, 14), 90)
    assert ending.successor is not None
    assert ending.successor.endswith("@openai")
