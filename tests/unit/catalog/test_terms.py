"""What licences and hosts say to a team: each rule, and the packaged facts that the rules read."""

from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import pytest

from crossgrade.catalog import Catalog, check_catalog, offer_doubts, packaged_catalog
from crossgrade.catalog._clauses import TERRITORIES, clauses
from crossgrade.catalog._terms import Term, Terms, packaged_terms, read_terms
from crossgrade.domain import Clause, Offer, Permission, Team
from tests.codes import raises_code

DAY = date(2026, 11, 28)
SCOUT = Offer(name="scout", provider="groq", model="meta-llama/llama-4-scout-17b-16e-instruct")
LICENCE, HOST = "A Licence", "a host"


def term(fact: str, value: str, note: str = "") -> Term:
    return Term(read_on=DAY, kind="licence", names="x", fact=fact, value=value, note=note, source="its text")


def terms(licence: dict[str, str] | None = None, host: dict[str, str] | None = None, **more: Any) -> Terms:
    of_model = {fact: term(fact, value) for fact, value in (licence or {"permissive": "yes"}).items()}
    of_host = {fact: term(fact, value) for fact, value in (host or {}).items()}
    return Terms(licence=LICENCE, of_model=of_model, of_host=of_host, **more)


def said(found: tuple[Clause, ...]) -> list[tuple[str, str]]:
    return [(each.code, each.severity) for each in found]


USERS, REVENUE = {"most_users": "1000"}, {"most_revenue_usd": "500"}
SHOWN = {"display": "a name", "display_users": "100", "display_revenue_usd": "50"}
EU, DAYS, NEVER = Team(regions=("eu",)), Team(max_retention_days=0), Team(training_on_inputs="never")


@pytest.mark.parametrize(
    ("known", "team", "expected"),
    [
        (terms(), Team(country="DE"), []),
        (terms({"withheld": "EU"}), Team(country="DE"), [("territory-withheld", "forbidden")]),
        (terms({"withheld": "EU"}), Team(country="CH"), []),
        (terms({"withheld": "EU"}), Team(), [("territory-unknown", "unknown")]),
        (terms({"withheld": "KR"}), Team(country="KR"), [("territory-withheld", "forbidden")]),
        (terms(USERS), Team(monthly_active_users=1001), [("users-above", "forbidden")]),
        (terms(USERS), Team(monthly_active_users=1000), []),
        (terms(USERS), Team(), [("users-unknown", "unknown")]),
        (terms(REVENUE), Team(monthly_revenue_usd=Decimal(501)), [("revenue-above", "forbidden")]),
        (terms(REVENUE), Team(monthly_revenue_usd=Decimal(500)), []),
        (terms(REVENUE), Team(), [("revenue-unknown", "unknown")]),
        (terms({"display": "a name"}), Team(), [("display-due", "condition")]),
        (terms(SHOWN), Team(monthly_active_users=100), [("display-due", "condition")]),
        (terms(SHOWN), Team(monthly_active_users=100, monthly_revenue_usd=Decimal(50)), []),
        (terms(SHOWN), Team(monthly_active_users=9, monthly_revenue_usd=Decimal(51)), [("display-due", "condition")]),
        (terms({"outputs": "No."}), Team(), [("licence-outputs", "condition")]),
        (terms({"business": "No."}), Team(), [("licence-business", "condition")]),
        (terms({"uses": "No."}), Team(), [("licence-uses", "condition")]),
        (terms(host={"outputs": "No."}), Team(), [("licence-outputs", "condition")]),
        (Terms(licence=None), Team(), [("licence-unknown", "unknown")]),
        (Terms(licence=LICENCE), Team(), [("licence-unknown", "unknown")]),
        (Terms(licence=None, has_licence=False), Team(country="DE"), []),
        (terms(host={"regions": "us eu"}), EU, [("region-unknown", "unknown")]),
        (terms(host={"regions": "us cn"}), EU, [("region-outside", "forbidden")]),
        (terms(host={"regions": "eu eu-west-1"}), EU, []),
        (terms(), EU, [("region-unknown", "unknown")]),
        (terms(host={"retention_days": "30"}), DAYS, [("retention-above", "forbidden")]),
        (terms(host={"retention_days": "30"}), Team(max_retention_days=30), []),
        (terms(), DAYS, [("retention-unknown", "unknown")]),
        (terms(host={"trains": "yes"}), NEVER, [("training-on-inputs", "forbidden")]),
        (terms(host={"trains": "no"}), NEVER, []),
        (terms(host={"trains": "yes"}), Team(training_on_inputs="allowed"), []),
        (terms(), NEVER, [("training-unknown", "unknown")]),
        (terms(is_own=True), Team(regions=("eu",), max_retention_days=0, training_on_inputs="never"), []),
    ],
)  # fmt: skip
def test_each_rule(known: Terms, team: Team, expected: list[tuple[str, str]]) -> None:
    assert said(clauses("m", known, team)) == expected


def test_a_region_in_the_configuration_comes_before_the_host() -> None:
    known = terms(host={"regions": "us"})
    assert not clauses("m", known, EU, region="eu-central-1")
    assert said(clauses("m", known, EU, region="europe")) == [("region-outside", "forbidden")]


def test_the_gravest_comes_first_with_its_source_and_day() -> None:
    known = terms({"display": "a name", "most_users": "10", "withheld": "EU"})
    found = clauses("m", known, Team(country="FR"))
    assert [each.severity for each in found] == ["forbidden", "unknown", "condition"]
    assert (found[0].source, found[0].read_on) == ("its text", DAY)
    assert found[0].words.endswith("(its text, read on 2026-11-28)")


def test_a_permission_is_for_one_clause_of_one_model_and_is_kept_with_its_reason() -> None:
    permitted = (Permission(model="m", clause="territory-withheld", because="a letter of 3 May"),)
    known = terms({"withheld": "EU"}, {"retention_days": "30"})
    team = Team(country="DE", max_retention_days=0, permitted=permitted)
    found = clauses("m", known, team)
    assert said(found) == [("retention-above", "forbidden"), ("territory-withheld", "permitted")]
    assert found[1].because == "a letter of 3 May"
    assert not found[1].blocks
    assert said(clauses("other", known, team))[0] == ("territory-withheld", "forbidden")


def test_the_european_union_has_27_members() -> None:
    assert len(TERRITORIES["EU"]) == 27
    assert not TERRITORIES["EU"] & {"CH", "GB", "NO", "US"}


@pytest.mark.parametrize(
    ("provider", "model", "country", "expected"),
    [
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", "DE", "forbidden"),
        ("local", "meta-llama/Llama-4-Maverick-17B-128E-Instruct", "ES", "forbidden"),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", "US", None),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "DE", None),
        ("together", "openai/gpt-oss-120b", "DE", None),
        ("bedrock", "us.meta.llama3-2-90b-instruct-v1:0", "DE", "forbidden"),
        ("openai", "gpt-4o-mini", "DE", None),
        ("mistral", "mistral-medium-3-5", "DE", None),
        ("together", "nobody/knows-this", "DE", "unknown"),
    ],
)
def test_packaged_facts(provider: str, model: str, country: str, expected: str | None) -> None:
    catalog = Catalog(
        team=Team(country=country, monthly_active_users=2_000_000, monthly_revenue_usd=Decimal(0))
    )
    offer = Offer(name="m", provider=provider, model=model, base_url=None)
    blocking = [each.severity for each in catalog.facts(offer, DAY).clauses if each.blocks]
    assert blocking == ([] if expected is None else [expected])


def test_a_revenue_limit_holds_at_other_hosts_than_the_makers() -> None:
    catalog = Catalog(team=Team(monthly_revenue_usd=Decimal(30_000_000)))
    offer = Offer(name="m", provider="openrouter", model="mistralai/mistral-medium-3-5")
    assert said(catalog.facts(offer, DAY).clauses)[0] == ("revenue-above", "forbidden")


def test_a_team_that_states_nothing_is_told_only_when_asked() -> None:
    assert not packaged_catalog().facts(SCOUT, DAY).clauses
    assert ("territory-unknown", "unknown") in said(packaged_catalog().clauses(SCOUT, DAY))


def test_what_is_forbidden_or_unknown_is_not_recommended() -> None:
    catalog = Catalog(team=Team(country="DE", monthly_active_users=1))
    assert offer_doubts(SCOUT, catalog.facts(SCOUT, DAY), DAY, {})
    other = Catalog(team=Team(country="US", monthly_active_users=1))
    assert not offer_doubts(SCOUT, other.facts(SCOUT, DAY), DAY, {})


def test_the_licence_of_the_configuration_comes_first() -> None:
    offer = Offer(name="m", provider="openai-compatible", model="mine", base_url="http://x/v1", licence="MIT")
    assert not Catalog(team=Team(country="DE")).facts(offer, DAY).clauses
    assert packaged_catalog().facts(offer, DAY).licence == "MIT"
    assert packaged_catalog().facts(SCOUT, DAY).licence == "Llama 4 Community License"


def test_every_licence_that_a_model_names_is_described_and_no_two_rows_are_alike() -> None:
    found = packaged_terms()
    described = {each.names for each in found if each.kind == "licence"}
    assert {each.value for each in found if each.fact == "licence"} <= described
    assert len({(each.kind, each.names, each.fact, each.read_on) for each in found}) == len(found)
    assert all(each.read_on <= DAY for each in found)


def test_every_pattern_of_a_model_matches_a_listing_or_is_of_a_listed_family() -> None:
    listed = {each.model for each in packaged_catalog().listings(DAY)}
    for each in packaged_terms():
        if each.kind == "model":
            assert any(fnmatchcase(name, one) for one in each.names.split() for name in listed), each.names


def test_terms_that_were_read_long_ago_are_doubtful() -> None:
    assert not [
        each for each in check_catalog(packaged_catalog(), DAY) if each.listing.startswith("terms of")
    ]
    later = check_catalog(packaged_catalog(), date(2028, 1, 1))
    assert {"terms of openai"} <= {each.listing for each in later}


HEAD = "read_on,kind,names,fact,value,note,source\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("read_on,kind\n", "rate-columns"),
        (HEAD + "2026-11-28,host,x,withheld,EU,,s\n", "rate-invalid"),
        (HEAD + "2026-11-28,planet,x,trains,no,,s\n", "rate-invalid"),
        (HEAD + "2026-11-28,host,x,trains,perhaps,,s\n", "rate-invalid"),
        (HEAD + "2026-11-28,host,x,retention_days,-1,,s\n", "rate-invalid"),
        (HEAD + "2026-11-28,host,x,retention_days,long,,s\n", "rate-invalid"),
        (HEAD + "2026-11-28,host,x,trains,no,,\n", "rate-invalid"),
        (HEAD + "soon,host,x,trains,no,,s\n", "rate-invalid"),
        (HEAD + "2026-11-28,host,x\n", "rate-invalid"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(text: str, code: str) -> None:
    with raises_code(code):
        list(read_terms(text, "terms.csv"))
