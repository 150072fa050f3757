"""Evidence for those who audit: a workload's dossier with its crosswalk to controls, and conformity.

A conformity check says whether an offer is the model that it is said to be: questions in, a table out.
"""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from crossgrade.evidence._conform_asking import ConformAsker, ConformSide
    from crossgrade.evidence._conform_days import daily_look
    from crossgrade.evidence._conform_given import ConformInput, is_cached
    from crossgrade.evidence._conform_oracle import ReferenceAsker, ReferenceModel
    from crossgrade.evidence._conform_questions import (
        ANSWER_TOKENS,
        SUBJECTS,
        ConformQuestion,
        ConformSettings,
        check_conform_settings,
        conform_questions,
        daily_questions,
    )
    from crossgrade.evidence._conform_table import CHECKS, conform_table, fingerprint_of
    from crossgrade.evidence._conform_weights import answers_so_far

__all__ = [
    "ANSWER_TOKENS",
    "CHECKS",
    "SUBJECTS",
    "AccessFacts",
    "Approval",
    "ConformAsker",
    "ConformInput",
    "ConformQuestion",
    "ConformSettings",
    "ConformSide",
    "ControlRow",
    "Crosswalk",
    "DatedDuty",
    "DossierInput",
    "LedgerFacts",
    "LicenceText",
    "LocalWeights",
    "OperationFacts",
    "ReferenceAsker",
    "ReferenceModel",
    "RegisteredModel",
    "SafetyFacts",
    "answers_so_far",
    "basis_changes",
    "build_dossier",
    "check_bom",
    "check_conform_settings",
    "conform_questions",
    "conform_table",
    "controls_of",
    "crosswalks",
    "daily_look",
    "daily_questions",
    "dossier_bom",
    "fingerprint_of",
    "is_cached",
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


_LATE = {
    **dict.fromkeys(("ConformAsker", "ConformSide"), "_conform_asking"),
    "daily_look": "_conform_days",
    **dict.fromkeys(("ReferenceAsker", "ReferenceModel"), "_conform_oracle"),
    **dict.fromkeys(
        (
            "ANSWER_TOKENS",
            "SUBJECTS",
            "ConformQuestion",
            "ConformSettings",
            "check_conform_settings",
            "conform_questions",
            "daily_questions",
        ),
        "_conform_questions",
    ),
    **dict.fromkeys(("ConformInput", "is_cached"), "_conform_given"),
    **dict.fromkeys(("CHECKS", "conform_table", "fingerprint_of"), "_conform_table"),
    "answers_so_far": "_conform_weights",
}


def __getattr__(name: str) -> Any:
    """Import what asks models when first asked for: dossiers need neither `calls` nor NumPy."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
