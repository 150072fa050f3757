"""From paired scores to a verdict: guards, certification, savings."""

from crossgrade.decide._evidence import Evidence, ModelColumns, PairingAudit
from crossgrade.decide._records import (
    Certificate,
    Estimate,
    EvidencePoint,
    Guard,
    GuardStatus,
    Loss,
    PolicyCost,
    RequirementCheck,
    Verdict,
    VerdictName,
)

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
