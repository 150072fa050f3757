"""A dossier as a CycloneDX 1.6 document: model cards, declarations and the standards they speak of.

An attestation names the claims for and against each requirement, and no conformance score: a dossier says
which evidence there is, and nothing of conformity.
"""

import gzip
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from crossgrade.domain import ControlEvidence, Dossier, DossierField, DossierModel, Framework
from crossgrade.errors import DataError

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_SCHEMAS = {
    "http://cyclonedx.org/schema/spdx.SNAPSHOT.schema.json": "spdx",
    "http://cyclonedx.org/schema/jsf-0.82.SNAPSHOT.schema.json": "jsf-0.82",
}
_WORKLOAD = "workload"
_METRIC_FIELDS = {6: "retention", 7: "safety", 9: "retention of a group"}


def dossier_bom(dossier: Dossier, *, dossier_id: str, digest: str) -> dict[str, Any]:
    """Return the document of a recorded dossier. Raises `DataError` if the schema does not allow it."""
    found = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{dossier_id}",
        "version": 1,
        "metadata": {
            "timestamp": dossier.made_at.isoformat(),
            "tools": {
                "components": [
                    {"type": "application", "name": "crossgrade", "version": dossier.package_version}
                ]
            },
            "component": {"type": "application", "bom-ref": _WORKLOAD, "name": dossier.workload},
            "properties": [
                {"name": "crossgrade:dossier:digest", "value": digest},
                {"name": "crossgrade:dossier:valid-until", "value": dossier.valid_until.isoformat()},
            ],
        },
        "components": [_model(dossier, each) for each in dossier.models],
        "declarations": _declarations(dossier),
        "definitions": {"standards": [_standard(dossier, each) for each in dossier.frameworks]},
    }
    check_bom(found)
    return found


def check_bom(document: Mapping[str, Any]) -> None:
    """Raise `DataError` that names the place, if a document is not valid CycloneDX 1.6."""
    error = next(iter(sorted(_validator().iter_errors(document), key=lambda each: list(each.path))), None)
    if error is not None:
        where = ".".join(map(str, error.absolute_path)) or "the document"
        raise DataError(
            f"not valid CycloneDX 1.6: {where}: {error.message[:200]}",
            code="cyclonedx-invalid",
            hint="report this as a fault of Crossgrade, with the message",
        )


@cache
def _validator() -> Any:
    """Return the validator of the bundled schema. It takes 0.1 s to make, and refers to no network."""
    from jsonschema import Draft7Validator
    from referencing import Registry, Resource

    resources = {uri: Resource.from_contents(_schema(name)) for uri, name in _SCHEMAS.items()}
    return Draft7Validator(_schema("bom-1.6"), registry=Registry().with_resources(resources.items()))


@cache
def _schema(name: str) -> Any:
    packed = (files("crossgrade") / "data" / "cyclonedx" / f"{name}.schema.json.gz").read_bytes()
    return msgspec.json.decode(gzip.decompress(packed))


def _model(dossier: Dossier, model: DossierModel) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _ref(model),
        "name": model.name,
        "version": model.model,
        "supplier": {"name": model.provider},
        "description": f"{model.part} of {dossier.workload}",
        "modelCard": _card(dossier, model),
        "properties": [
            {"name": f"crossgrade:basis:{part}", "value": value} for part, value in model.basis.items()
        ],
    }
    if model.weights_sha256 is not None:
        component["hashes"] = [{"alg": "SHA-256", "content": model.weights_sha256}]
    if model.licence is not None:
        known = {"id": model.licence} if model.licence in _schema("spdx")["enum"] else {"name": model.licence}
        component["licenses"] = [{"license": known}]
    return component


def _card(dossier: Dossier, model: DossierModel) -> dict[str, Any]:
    metrics = list(_metrics(dossier, model.name))
    use = dossier.field(5)
    limits = [gap for each in dossier.fields for gap in each.gaps]
    card: dict[str, Any] = {
        "considerations": {
            "useCases": [f"{fact.label}: {fact.text}" for fact in use.facts],
            "technicalLimitations": list(dict.fromkeys(limits)),
        }
    }
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _metrics(dossier: Dossier, model: str) -> Iterator[dict[str, Any]]:
    for number, kind in _METRIC_FIELDS.items():
        for fact in dossier.field(number).facts:
            if fact.model != model or fact.value is None:
                continue
            metric: dict[str, Any] = {"type": kind, "value": f"{fact.value:.6g}", "slice": fact.label}
            ends = {"lowerBound": fact.low, "upperBound": fact.high}
            known = {name: f"{end:.6g}" for name, end in ends.items() if end is not None}
            yield metric | ({"confidenceInterval": known} if known else {})


def _declarations(dossier: Dossier) -> dict[str, Any]:
    return {
        "assessors": [
            {
                "bom-ref": "assessor",
                "thirdParty": False,
                "organization": {"name": "the operator of this project"},
            }
        ],
        "attestations": [
            {
                "summary": f"Which evidence there is for the controls of {each.name} {each.version}. "
                "It says nothing of conformity.",
                "assessor": "assessor",
                "map": [
                    _mapped(dossier, control) for control in dossier.controls if control.framework == each.key
                ],
            }
            for each in dossier.frameworks
        ],
        "claims": [_claim(each) for each in dossier.fields],
        "evidence": [_evidence(dossier, each) for each in dossier.fields if each.status != "missing"],
    }


def _mapped(dossier: Dossier, control: ControlEvidence) -> dict[str, Any]:
    fields = [dossier.field(number) for number in control.fields]
    return {
        "requirement": _requirement(control),
        "claims": [_claim_ref(each) for each in fields if each.status != "missing"],
        "counterClaims": [_claim_ref(each) for each in fields if each.status == "missing"],
        "conformance": {"rationale": f"evidence: {control.status}; {control.reason}"},
    }


def _claim(field: DossierField) -> dict[str, Any]:
    known = field.status != "missing"
    return {
        "bom-ref": _claim_ref(field),
        "target": _WORKLOAD,
        "predicate": f"{field.number} {field.name}: {field.status}",
        "reasoning": "; ".join(field.gaps) or "without gaps",
        "evidence": [_evidence_ref(field)] if known else [],
    }


def _evidence(dossier: Dossier, field: DossierField) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bom-ref": _evidence_ref(field),
        "propertyName": f"crossgrade:dossier:field:{field.number}",
        "description": f"{field.name}, {field.status}"
        + ("" if field.evidence_id is None else f", evidence {field.evidence_id}")
        + ("" if field.digest is None else f", digest {field.digest}"),
        "data": [
            {
                "name": fact.label if fact.model is None else f"{fact.label}, {fact.model}",
                "contents": {"attachment": {"contentType": "text/plain", "content": fact.text}},
            }
            for fact in field.facts
        ]
        + [
            {"name": f"{each.path}, sha256 {each.sha256}, {each.size_bytes} bytes"}
            for each in field.attachments
        ],
        "created": (field.at or dossier.made_at).isoformat(),
        "expires": (field.expires or dossier.valid_until).isoformat(),
    }
    if field.author is not None:
        found["author"] = {"name": field.author}
    return found


def _standard(dossier: Dossier, framework: Framework) -> dict[str, Any]:
    return {
        "bom-ref": framework.key,
        "name": framework.name,
        "version": framework.version,
        "description": f"{framework.checked} The list is as of {framework.read_on}.",
        "requirements": [
            {"bom-ref": _requirement(each), "identifier": each.control, "title": each.name}
            for each in dossier.controls
            if each.framework == framework.key
        ],
        "externalReferences": [{"type": "documentation", "url": framework.source}],
    }


def _ref(model: DossierModel) -> str:
    return f"model-{model.name}"


def _requirement(control: ControlEvidence) -> str:
    return f"{control.framework}/{control.control.replace(' ', '-')}"


def _claim_ref(field: DossierField) -> str:
    return f"claim-{field.number}"


def _evidence_ref(field: DossierField) -> str:
    return f"evidence-{field.number}"
