"""From paired scores to a verdict: guards, certification, savings."""

from crossgrade.decide._decide import decide_policy
from crossgrade.decide._digest import evidence_digest
from crossgrade.decide._evidence import Evidence, ModelColumns, PairingAudit
from crossgrade.decide._family import siblings
from crossgrade.decide._json import gate, upgraded_verdict, verdict_from_json, verdict_to_json
from crossgrade.decide._observations import Blocks, Design, RunDesign, cluster_sizes, make_design
from crossgrade.decide._records import (
    Certificate,
    DecisionSettings,
    EvidencePoint,
    Guard,
    GuardStatus,
    Loss,
    ModelFacts,
    PolicyCost,
    RequirementCheck,
    Sibling,
    Verdict,
    VerdictName,
)
from crossgrade.decide._stopping import Stopping
from crossgrade.decide._verify import recompute, verify
from crossgrade.decide._words import bound, bound_words, confidence
from crossgrade.domain import Estimate

__all__ = [
    "Blocks",
    "Certificate",
    "DecisionSettings",
    "Design",
    "Estimate",
    "Evidence",
    "EvidencePoint",
    "Guard",
    "GuardStatus",
    "Loss",
    "ModelColumns",
    "ModelFacts",
    "PairingAudit",
    "PolicyCost",
    "RequirementCheck",
    "RunDesign",
    "Sibling",
    "Stopping",
    "Verdict",
    "VerdictName",
    "bound",
    "bound_words",
    "cluster_sizes",
    "confidence",
    "decide_policy",
    "evidence_digest",
    "gate",
    "make_design",
    "recompute",
    "siblings",
    "upgraded_verdict",
    "verdict_from_json",
    "verdict_to_json",
    "verify",
]
