"""Evidence for those who audit: a dossier of a workload, its crosswalk to controls, its CycloneDX form."""

from dataclasses import replace
from datetime import timedelta

from crossgrade._version import __version__
from crossgrade.domain import Dossier, DossierFact, DossierField
from crossgrade.evidence import _control_fields, _model_fields, _use_fields
from crossgrade.evidence._control_fields import basis_changes
from crossgrade.evidence._crosswalk import ControlRow, Crosswalk, DatedDuty, controls_of, crosswalks
from crossgrade.evidence._cyclonedx import check_bom, dossier_bom
from crossgrade.evidence._input import (
    AccessFacts,
    Approval,
    DossierInput,
    LedgerFacts,
    LicenceText,
    LocalWeights,
    OperationFacts,
    RegisteredModel,
    SafetyFacts,
    field_of,
)

__all__ = [
    "AccessFacts",
    "Approval",
    "ControlRow",
    "Crosswalk",
    "DatedDuty",
    "DossierInput",
    "LedgerFacts",
    "LicenceText",
    "LocalWeights",
    "OperationFacts",
    "RegisteredModel",
    "SafetyFacts",
    "basis_changes",
    "build_dossier",
    "check_bom",
    "controls_of",
    "crosswalks",
    "dossier_bom",
]

_FIRST = (
    _model_fields.identity,
    _model_fields.licence,
    _model_fields.provenance,
    _model_fields.provider_documents,
    _use_fields.intended_use,
    _use_fields.capability,
    _use_fields.safety,
    _use_fields.red_team,
    _use_fields.bias,
    _use_fields.security,
    _use_fields.privacy,
    _control_fields.access,
    _control_fields.logging,
    _control_fields.operation,
)
"""Fields 1 to 14. The others are about the dossier itself."""


def build_dossier(given: DossierInput) -> Dossier:
    """Return the dossier of a workload: all 17 fields, none of them blank."""
    fields = [make(given) for make in _FIRST]
    ends = [each.expires for each in fields if each.expires is not None]
    found = Dossier(
        workload=given.workload.name,
        models=tuple(each.mark for each in given.models),
        fields=tuple(fields),
        controls=(),
        frameworks=tuple(each.framework for each in crosswalks()),
        made_at=given.now,
        valid_until=min([given.now + timedelta(days=given.spec.valid_days), *ends]),
        verdict_id=given.verdict_id,
        findings=given.findings,
        package_version=__version__,
    )
    fields += [_control_fields.changes(given, found), _control_fields.approvals(given, found)]
    controls = controls_of(fields, given.spec.not_applicable)
    fields.append(_mapping(given, [each.status for each in controls]))
    missing = {each.number for each in fields if each.status == "missing"}
    return replace(
        found,
        fields=tuple(fields),
        controls=controls,
        lacks=tuple(number for number in given.spec.required if number in missing),
    )


def _mapping(given: DossierInput, statuses: list[str]) -> DossierField:
    """Return field 17, which counts what the page lists."""
    counts = [f"{statuses.count(each)} {each}" for each in ("met", "partly", "not", "not applicable")]
    names = [f"{each.name} ({each.version}, as of {each.read_on})" for each in crosswalks()]
    facts = [
        DossierFact(label="evidence for controls", text=f"{', '.join(counts)} of {len(statuses)}"),
        DossierFact(label="compared with", text="; ".join(names)),
        DossierFact(label="what it says", text="which evidence there is, and nothing of conformity"),
    ]
    return field_of(17, given, measured=facts)
