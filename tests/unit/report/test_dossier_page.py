"""The page of a dossier: every field, every status, hostile texts as text, on a phone and on a desk."""

from dataclasses import replace
from pathlib import Path

import pytest

from crossgrade.domain import Dossier, DossierFact, DossierFinding, DossierModel
from crossgrade.evidence import DossierInput, build_dossier
from crossgrade.report import render_dossier
from tests.unit.evidence.conftest import given as given  # noqa: PLC0414  # a fixture
from tests.unit.report.test_browser import _measured

ID = "01a2270c-94c4-75f2-9561-041757b11b55"


def page(dossier: Dossier) -> str:
    return render_dossier(dossier, dossier_id=ID, digest="sha256:" + "d" * 64)


def hostile(dossier: Dossier) -> Dossier:
    text = "<script>alert(1)</script>" + "x" * 300
    fields = tuple(
        replace(each, facts=(*each.facts, DossierFact(label=text, text=text, model="m" * 200)), gaps=(text,))
        for each in dossier.fields
    )
    models = (*dossier.models, DossierModel(name="m" * 200, part="candidate", provider=text, model=text))
    finding = DossierFinding(code="attachment-changed", field=4, text=text)
    return replace(dossier, fields=fields, models=models, findings=(finding,), lacks=(16,), workload=text)


def test_it_shows_every_field_with_its_status_and_its_gaps(given: DossierInput) -> None:
    dossier = build_dossier(given)
    text = page(dossier)
    for each in dossier.fields:
        assert f'id="field-{each.number}"' in text
    assert text.count('class="tag missing"') == 2 * len(dossier.with_status("missing"))
    assert "claims no conformity" in text
    assert all(each.name in text for each in dossier.frameworks)


def test_texts_are_never_markup(given: DossierInput) -> None:
    assert "<script>" not in page(hostile(build_dossier(given)))


def test_characters_that_reorder_or_control_are_not_shown(given: DossierInput) -> None:
    dossier = build_dossier(given)
    fields = tuple(
        replace(
            each, facts=(DossierFact(label="a\x1bb", text="c\u202ed\x07", model="m\x9b"),), gaps=("\u2066",)
        )
        for each in dossier.fields
    )
    finding = DossierFinding(code="attachment-changed", field=4, text="\x1b[31m")
    text = page(replace(dossier, fields=fields, findings=(finding,)))
    assert not set("\x1b\x07\x9b\u202e\u2066") & set(text)


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_runs_over_the_edge(given: DossierInput, width: int, tmp_path: Path) -> None:
    dossier = build_dossier(given)
    for each in (dossier, hostile(dossier)):
        found = _measured(page(each), width, tmp_path)
        assert found["over"] == []
        assert found["width"] == width


def test_a_gap_that_begins_with_a_name_keeps_it(given: DossierInput) -> None:
    dossier = build_dossier(given)
    fields = tuple(
        replace(each, gaps=("support.harm: no rate", "nothing is known")) for each in dossier.fields
    )
    text = page(replace(dossier, fields=fields))
    assert "support.harm: no rate" in text
    assert "Support.harm" not in text
    assert "Nothing is known" in text
