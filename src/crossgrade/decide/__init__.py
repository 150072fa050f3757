"""From paired scores to a verdict: guards, certification, savings."""

from crossgrade.decide._evidence import Evidence, ModelColumns, PairingAudit
from crossgrade.decide._records import (
    Certificate,
    EvidencePoint,
    Guard,
    GuardStatus,
    Loss,
    PolicyCost,
    RequirementCheck,
    Verdict,
    VerdictName,
)
from crossgrade.domain import Estimate

__all__ = [
    "Certificate",
    "Estimate",
    "Evidence",
    "EvidencePoint",
    "Guard",
    "GuardStatus",
    "Loss",
    "ModelColumns",
    "PairingAudit",
    "PolicyCost",
    "RequirementCheck",
    "Verdict",
    "VerdictName",
]
