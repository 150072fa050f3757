"""Fields of dossiers: never blank, with who says so, until when, and what is missing."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from crossgrade.domain import DOSSIER_FIELDS, Attachment, DossierFact, DossierSpec, NotApplicable, Statement
from crossgrade.evidence import Approval, DossierInput, build_dossier, controls_of, crosswalks
from tests.unit.evidence.conftest import NOW

CARD = Statement(field=4, text="model card", author="Ada", date=date(2026, 11, 1), model="small")


def test_no_field_is_blank_and_every_missing_one_says_what_is_missing(given: DossierInput) -> None:
    dossier = build_dossier(given)
    assert [each.number for each in dossier.fields] == list(DOSSIER_FIELDS)
    assert all(each.facts or each.gaps for each in dossier.fields)
    assert all(each.gaps for each in dossier.with_status("missing"))
    assert {each.number for each in dossier.with_status("measured")} == {1, 2, 3, 12, 13, 15, 17}
    assert dossier.valid_until == NOW + timedelta(days=90)
    assert all(each.author and each.at for each in dossier.fields if each.status != "missing")


def test_what_a_provider_hides_is_a_gap(given: DossierInput) -> None:
    dossier = build_dossier(given)
    assert any("big" in gap and "weights" in gap for gap in dossier.field(1).gaps)
    assert any("big: no licence" in gap for gap in dossier.field(2).gaps)
    assert {each.model for each in dossier.field(3).facts} == {"small"}


def test_a_statement_is_stated_and_never_measured(given: DossierInput) -> None:
    attachment = Attachment(path="card.md", sha256="b" * 64, size_bytes=3)
    given = replace(given, spec=DossierSpec(statements=(CARD,)), attachments={0: attachment})
    found = build_dossier(given).field(4)
    assert (found.status, found.author, found.attachments) == ("stated", "Ada", (attachment,))


@pytest.mark.parametrize(
    ("models", "without"), [(["small"], ["big"]), (["small", "big"], []), ([None], []), ([None, "big"], [])]
)
def test_each_model_without_a_document_of_its_provider_is_a_gap(
    given: DossierInput, models: list[str | None], without: list[str]
) -> None:
    spec = DossierSpec(statements=tuple(replace(CARD, model=each) for each in models))
    found = build_dossier(replace(given, spec=spec)).field(4)
    assert found.status == "stated"
    assert [gap.split(":")[0] for gap in found.gaps] == without


def test_a_document_that_changed_leaves_its_models_gap_open(given: DossierInput) -> None:
    spec = DossierSpec(statements=(CARD, replace(CARD, model="big")))
    found = build_dossier(replace(given, spec=spec, broken={0: "card.md has changed"})).field(4)
    assert (found.status, len(found.gaps)) == ("stated", 2)
    assert found.gaps[1].startswith("small: ")


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("Card of March.", None, "Card of March: Ada, 2026-11-01"),
        ("Card of March. ", "https://x.example", "Card of March (https://x.example): Ada, 2026-11-01"),
        ("Card of March", None, "Card of March: Ada, 2026-11-01"),
    ],
)
def test_a_statement_is_followed_by_its_author(
    given: DossierInput, text: str, url: str | None, shown: str
) -> None:
    spec = DossierSpec(statements=(replace(CARD, text=text, url=url),))
    assert build_dossier(replace(given, spec=spec)).field(4).facts[0].text == shown


def test_a_statement_beside_a_measurement_closes_its_gap(given: DossierInput) -> None:
    stated = replace(CARD, field=2, text="accepted by our counsel", model=None)
    found = build_dossier(replace(given, spec=DossierSpec(statements=(stated,)))).field(2)
    assert found.status == "measured"
    assert not any("accepted" in gap for gap in found.gaps)
    assert any(fact.label == "stated" for fact in found.facts)


def test_a_statement_whose_file_changed_does_not_count(given: DossierInput) -> None:
    spec = DossierSpec(statements=(CARD,), required=(4,))
    found = build_dossier(replace(given, spec=spec, broken={0: "card.md has changed"}))
    assert found.field(4).status == "missing"
    assert "card.md has changed" in found.field(4).gaps
    assert found.lacks == (4,)


@pytest.mark.parametrize("days", [1, 400])
def test_it_expires_after_the_days_that_are_configured(given: DossierInput, days: int) -> None:
    found = build_dossier(replace(given, spec=DossierSpec(valid_days=days)))
    assert found.valid_until == NOW + timedelta(days=days)


def test_an_approval_holds_until_something_changes(given: DossierInput, later) -> None:
    first = build_dossier(replace(given, approval=Approval(name="Ada", role="risk")))
    assert (first.field(16).status, first.field(16).author) == ("stated", "Ada")
    assert any("independent" in gap for gap in first.field(16).gaps)
    second = build_dossier(
        replace(given, now=later, earlier=first, approved=first, approval=Approval(name="Bob", role="audit"))
    )
    assert second.field(16).author == "Ada, Bob"
    assert not second.field(16).gaps
    kept = build_dossier(replace(given, now=later, earlier=second, approved=second))
    assert kept.field(16).author == "Ada, Bob"
    assert kept.field(15).facts[0].text == "nothing changed"
    small = given.models[1]
    other = replace(small, mark=replace(small.mark, basis={**small.mark.basis, "weights": "sha256:x"}))
    changed = build_dossier(
        replace(given, models=(given.models[0], other), now=later, earlier=second, approved=second)
    )
    assert changed.field(16).status == "missing"
    assert any("weights of small changed" in gap for gap in changed.field(16).gaps)
    assert any(fact.text == "weights of small changed" for fact in changed.field(15).facts)


def test_a_statement_that_is_changed_undoes_an_approval(given: DossierInput, later) -> None:
    spec = DossierSpec(statements=(CARD,))
    first = build_dossier(replace(given, spec=spec, approval=Approval(name="Ada", role="risk")))
    spec = DossierSpec(statements=(replace(CARD, text="another card"),))
    found = build_dossier(replace(given, spec=spec, now=later, earlier=first, approved=first))
    assert found.field(16).status == "missing"


def test_a_ledger_with_findings_says_so(given: DossierInput) -> None:
    broken = replace(given.ledger, findings=("entry-changed: entry 7",), signer=None, witnesses=0)
    found = build_dossier(replace(given, ledger=broken)).field(13)
    assert any("entry 7" in fact.text for fact in found.facts)
    assert len(found.gaps) == 3


def test_control_evidence_follows_the_fields(given: DossierInput) -> None:
    excluded = (NotApplicable(framework="eu-ai-act", control="Art. 27", because="no persons"),)
    dossier = build_dossier(replace(given, spec=DossierSpec(not_applicable=excluded)))
    found = {(each.framework, each.control): each for each in dossier.controls}
    assert found["eu-ai-act", "Art. 27"].status == "not applicable"
    assert found["eu-ai-act", "Art. 27"].reason == "no persons"
    assert found["eu-ai-act", "Art. 12"].status == "partly"  # how long the ledger is kept is a gap
    assert found["iso-42001", "A.9.4"].status == "not"
    assert found["iso-42001", "A.4.6"].status == "not"
    assert all(each.reason for each in dossier.controls)


def test_a_control_without_gaps_is_met_and_one_beyond_software_never_is(given: DossierInput) -> None:
    full = tuple(
        replace(each, status="measured", gaps=(), facts=(DossierFact(label="a", text="b"),))
        for each in build_dossier(given).fields
    )
    found = {(each.framework, each.control): each.status for each in controls_of(full)}
    assert found["eu-ai-act", "Art. 12"] == "met"
    assert found["eu-ai-act", "Art. 9"] == "partly"
    assert found["owasp-llm-2026", "LLM03"] == "partly"


def test_every_crosswalk_has_a_source_a_date_and_says_what_was_checked() -> None:
    walks = {each.key: each for each in crosswalks()}
    assert len(walks["iso-42001"].controls) == 38
    assert [each.id for each in walks["owasp-llm-2026"].controls] == [f"LLM{n:02}" for n in range(1, 11)]
    for walk in walks.values():
        assert walk.source.startswith("http")
        assert walk.checked
        assert walk.read_on >= date(2026, 11, 1)
        assert all(each.source for each in walk.dates)
        assert len({each.id for each in walk.controls}) == len(walk.controls)
        for control in walk.controls:
            assert set(control.fields) <= set(DOSSIER_FIELDS)
            assert control.fields or control.at_most_partly
