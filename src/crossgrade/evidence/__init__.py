"""Evidence for those who audit: a workload's dossier, its crosswalk to controls, and its CycloneDX form."""

from crossgrade.evidence._build import build_dossier
from crossgrade.evidence._changes import basis_changes, field_changes
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
    "field_changes",
]
