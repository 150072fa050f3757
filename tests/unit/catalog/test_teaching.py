"""Whether a model's answers may be trained on: what the team states, what licence and host say."""

from datetime import date
from typing import Any

import pytest

from crossgrade.catalog import Catalog
from crossgrade.catalog._terms import Term, Terms, teaching_terms
from crossgrade.domain import Offer, TeachingRight, Team
from tests.codes import raises_code

DAY = date(2026, 11, 28)


def term(fact: str, value: str) -> Term:
    return Term(read_on=DAY, kind="licence", names="x", fact=fact, value=value, note="", source="its text")


def terms(licence: dict[str, str] | None = None, host: dict[str, str] | None = None, **more: Any) -> Terms:
    of_model = {fact: term(fact, value) for fact, value in (licence or {}).items()}
    of_host = {fact: term(fact, value) for fact, value in (host or {}).items()}
    return Terms(licence="A Licence", of_model=of_model, of_host=of_host, **more)


def right(status: Any, model: str = "big") -> TeachingRight:
    return TeachingRight(model=model, status=status, source="contract 7, clause 3", stated_on=DAY)


CLOSED = terms(host={"outputs": "No competing models."}, has_licence=False)


@pytest.mark.parametrize(
    ("known", "stated", "duties"),
    [
        (terms({"permissive": "yes"}), (), ()),
        (terms({"outputs": "Name it so."}), (), ("A Licence: Name it so.",)),
        (terms({"outputs": "Name it so."}), (right("permitted"),), ("A Licence: Name it so.",)),
        (CLOSED, (right("permitted"),), ()),
        (terms(has_licence=False), (right("permitted"),), ()),
    ],
)
def test_may_teach(known: Terms, stated: tuple[TeachingRight, ...], duties: tuple[str, ...]) -> None:
    found = teaching_terms("big", known, stated)
    assert found.duties == duties
    assert ("contract 7" in found.ground) == bool(stated)


@pytest.mark.parametrize(
    ("known", "stated", "code"),
    [
        (CLOSED, (), "teacher-forbidden"),
        (CLOSED, (right("permitted", "another"),), "teacher-forbidden"),
        (terms({"permissive": "yes"}), (right("forbidden"),), "teacher-forbidden"),
        (terms({"permissive": "yes"}, {"outputs": "No."}), (), "teacher-forbidden"),
        (terms({"permissive": "no"}), (), "teacher-right-unknown"),
        (terms(has_licence=False), (), "teacher-right-unknown"),
        (terms({"uses": "No harm."}), (), "teacher-right-unknown"),
    ],
)
def test_may_not_teach(known: Terms, stated: tuple[TeachingRight, ...], code: str) -> None:
    with raises_code(code, "big"):
        teaching_terms("big", known, stated)


def test_what_the_packaged_terms_say_of_known_offers() -> None:
    gpt = Offer(name="gpt", provider="openai", model="gpt-4o")
    llama = Offer(name="llama", provider="groq", model="meta-llama/llama-4-scout-17b-16e-instruct")
    with raises_code("teacher-forbidden", "gpt"):
        Catalog().teaching(gpt, DAY)
    assert "Llama" in Catalog().teaching(llama, DAY).duties[0]
    stated = Team(teachers=(right("permitted", "gpt"),))
    assert "contract 7" in Catalog(team=stated).teaching(gpt, DAY).ground
