"""The nouns: frozen, slotted dataclasses without I/O, NumPy or any import outside the standard library."""

from crossgrade.domain.evidence import Sample, Score, ScoredAnswer, ScorerSpec
from crossgrade.domain.exchange import Message, ModelAnswer, ModelRequest, Role, Tool, ToolCall
from crossgrade.domain.offers import GenerationSettings, Offer, Price, PromptTemplate, Variant
from crossgrade.domain.values import JSON, Estimate, Origin, Usage
from crossgrade.domain.workload import EvidenceClass, Mode, Requirements, Workload

__all__ = [
    "JSON",
    "Estimate",
    "EvidenceClass",
    "GenerationSettings",
    "Message",
    "Mode",
    "ModelAnswer",
    "ModelRequest",
    "Offer",
    "Origin",
    "Price",
    "PromptTemplate",
    "Requirements",
    "Role",
    "Sample",
    "Score",
    "ScoredAnswer",
    "ScorerSpec",
    "Tool",
    "ToolCall",
    "Usage",
    "Variant",
    "Workload",
]
