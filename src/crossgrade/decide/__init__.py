"""From paired scores to a verdict: guards, certification, savings."""

from crossgrade.decide._agent_records import AgentComparison, AgentPlan, AgentReading, AgentTrials, TrialCost
from crossgrade.decide._agents import check_equal_agents
from crossgrade.decide._blocks import USUAL, Moments, choose_blocks, moments, pairs_for
from crossgrade.decide._certify import siblings
from crossgrade.decide._decide import decide_policy, settled_by
from crossgrade.decide._digest import evidence_digest
from crossgrade.decide._evidence import (
    Evidence,
    ModelColumns,
    PairingAudit,
    RouterGain,
    RouterReport,
    RouterScores,
    SafetyRate,
)
from crossgrade.decide._evidence_json import evidence_from_json, evidence_to_json
from crossgrade.decide._following import FUTILITY
from crossgrade.decide._growth import GrowthStep, growth_mark, growth_steps, passed_steps
from crossgrade.decide._guard_tests import finding
from crossgrade.decide._guards import GUARDS, GuardKind
from crossgrade.decide._json import finite_json, gate, upgraded_verdict, verdict_from_json, verdict_to_json
from crossgrade.decide._observations import (
    LARGEST_BLOCK,
    PILOT,
    Blocks,
    Design,
    RunDesign,
    cluster_sizes,
    make_design,
)
from crossgrade.decide._probe import (
    DEPTH_BINS,
    EffectiveLength,
    LengthCertificate,
    ProbeEnding,
    ProbeResult,
    RungReport,
    Spent,
)
from crossgrade.decide._records import (
    Certificate,
    DecisionSettings,
    EveryModel,
    EvidencePoint,
    Guard,
    GuardStatus,
    LabelCounts,
    Loss,
    ModelFacts,
    PolicyCost,
    Remark,
    RequirementCheck,
    Sibling,
    Verdict,
    VerdictName,
    certified_by,
    sentences,
    shown_first,
)
from crossgrade.decide._rehearsal import KnownScores, Rehearsed, rehearse, right_or_wrong
from crossgrade.decide._requirements import missing_evidence
from crossgrade.decide._router import train_router
from crossgrade.decide._safety import safety_check
from crossgrade.decide._stopping import Stopping
from crossgrade.decide._texts import evidence_without_texts, verdict_without_texts
from crossgrade.decide._thresholds import LEAST_ALPHA
from crossgrade.decide._traffic import FactShare, TrafficComparison, compare_traffic
from crossgrade.decide._traffic_facts import SeenRequest, seen_request
from crossgrade.decide._trial_changes import WANTED_TRIALS
from crossgrade.decide._verify import Comparison, compare, recompute, verify
from crossgrade.decide._view import View
from crossgrade.decide._words import bound, bound_words, confidence, error_rate, exact, in_units
from crossgrade.domain import Estimate

__all__ = [
    "DEPTH_BINS",
    "FUTILITY",
    "GUARDS",
    "LARGEST_BLOCK",
    "LEAST_ALPHA",
    "PILOT",
    "USUAL",
    "WANTED_TRIALS",
    "AgentComparison",
    "AgentPlan",
    "AgentReading",
    "AgentTrials",
    "Blocks",
    "Certificate",
    "Comparison",
    "DecisionSettings",
    "Design",
    "EffectiveLength",
    "Estimate",
    "EveryModel",
    "Evidence",
    "EvidencePoint",
    "FactShare",
    "GrowthStep",
    "Guard",
    "GuardKind",
    "GuardStatus",
    "KnownScores",
    "LabelCounts",
    "LengthCertificate",
    "Loss",
    "ModelColumns",
    "ModelFacts",
    "Moments",
    "PairingAudit",
    "PolicyCost",
    "ProbeEnding",
    "ProbeResult",
    "Rehearsed",
    "Remark",
    "RequirementCheck",
    "RouterGain",
    "RouterReport",
    "RouterScores",
    "RunDesign",
    "RungReport",
    "SafetyRate",
    "SeenRequest",
    "Sibling",
    "Spent",
    "Stopping",
    "TrafficComparison",
    "TrialCost",
    "Verdict",
    "VerdictName",
    "View",
    "bound",
    "bound_words",
    "certified_by",
    "check_equal_agents",
    "choose_blocks",
    "cluster_sizes",
    "compare",
    "compare_traffic",
    "confidence",
    "decide_policy",
    "error_rate",
    "evidence_digest",
    "evidence_from_json",
    "evidence_to_json",
    "evidence_without_texts",
    "exact",
    "finding",
    "finite_json",
    "gate",
    "growth_mark",
    "growth_steps",
    "in_units",
    "make_design",
    "missing_evidence",
    "moments",
    "pairs_for",
    "passed_steps",
    "recompute",
    "rehearse",
    "right_or_wrong",
    "safety_check",
    "seen_request",
    "sentences",
    "settled_by",
    "shown_first",
    "siblings",
    "train_router",
    "upgraded_verdict",
    "verdict_from_json",
    "verdict_to_json",
    "verdict_without_texts",
    "verify",
]
