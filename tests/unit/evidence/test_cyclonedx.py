"""Dossiers as CycloneDX 1.6: valid whatever the texts are, and without a claim of conformity."""

import gzip
import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossgrade.domain import DossierFact, DossierModel
from crossgrade.errors import DataError
from crossgrade.evidence import DossierInput, build_dossier, check_bom, dossier_bom

ID = "01a2270c-94c4-75f2-9561-041757b11b55"


def document(dossier):
    return dossier_bom(dossier, dossier_id=ID, digest="sha256:d")


@pytest.fixture(name="facts")
def _facts(given: DossierInput) -> DossierInput:
    return given


def test_models_declarations_and_standards_are_there(facts: DossierInput) -> None:
    dossier = build_dossier(facts)
    found = document(dossier)
    assert [each["type"] for each in found["components"]] == ["machine-learning-model"] * 2
    assert found["components"][1]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert found["components"][1]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert len(found["declarations"]["claims"]) == 17
    evidence = {each["bom-ref"] for each in found["declarations"]["evidence"]}
    assert evidence == {f"evidence-{each.number}" for each in dossier.fields if each.status != "missing"}
    assert len(found["definitions"]["standards"]) == 5


def test_every_reference_is_to_something_in_the_document(facts: DossierInput) -> None:
    found = document(build_dossier(facts))
    text = json.dumps(found)
    known = set(re.findall(r'"bom-ref": "([^"]*)"', text))
    maps = [row for each in found["declarations"]["attestations"] for row in each["map"]]
    used = {ref for row in maps for ref in (row["requirement"], *row["claims"], *row["counterClaims"])}
    used |= {ref for each in found["declarations"]["claims"] for ref in (each["target"], *each["evidence"])}
    assert used <= known
    assert len(known) == len(re.findall(r'"bom-ref"', text)), "a reference is there twice"


def test_no_conformance_is_scored(facts: DossierInput) -> None:
    found = document(build_dossier(facts))
    rows = [row for each in found["declarations"]["attestations"] for row in each["map"]]
    assert rows
    assert all(set(row["conformance"]) == {"rationale"} for row in rows)


def test_a_measured_number_is_a_metric_with_its_interval(facts: DossierInput) -> None:
    dossier = build_dossier(facts)
    fact = DossierFact(label="the whole", text="keeps", model="small", value=0.9, low=0.85)
    fields = list(dossier.fields)
    fields[5] = replace(fields[5], status="measured", facts=(fact,), at=dossier.made_at)
    found = document(replace(dossier, fields=tuple(fields)))
    (metric,) = found["components"][1]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert metric == {
        "type": "retention",
        "value": "0.9",
        "slice": "the whole",
        "confidenceInterval": {"lowerBound": "0.85"},
    }
    assert "quantitativeAnalysis" not in found["components"][0]["modelCard"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(text=st.text(max_size=50))
def test_any_text_gives_a_valid_document(facts: DossierInput, text: str) -> None:
    dossier = build_dossier(facts)
    model = DossierModel(name=text or "m", part="candidate", provider=text, model=text, licence=text)
    fields = tuple(
        replace(each, facts=(DossierFact(label=text, text=text),), author=text) for each in dossier.fields
    )
    document(replace(dossier, models=(model,), fields=fields, workload=text or "w"))


def test_an_invalid_document_is_refused_with_its_place(facts: DossierInput) -> None:
    found = document(build_dossier(facts))
    found["components"][0]["type"] = "spaceship"
    with pytest.raises(DataError, match=r"components\.0\.type") as refused:
        check_bom(found)
    assert refused.value.code == "cyclonedx-invalid"


def test_the_bundled_schemas_are_those_that_the_readme_lists() -> None:
    folder = files("crossgrade") / "data" / "cyclonedx"
    listed = dict(re.findall(r"\| `(\S+)` \| ([0-9a-f]{64}) \|", (folder / "README.md").read_text()))
    packed = {each.name for each in folder.iterdir() if each.name.endswith(".gz")}
    assert set(listed) == packed
    for name, digest in listed.items():
        content = gzip.decompress((folder / name).read_bytes())
        assert hashlib.sha256(content).hexdigest() == digest
