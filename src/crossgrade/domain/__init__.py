"""The nouns: frozen, slotted dataclasses without I/O, NumPy or any import outside the standard library."""

from crossgrade.domain.architecture import Architecture, LatentAttention, LinearAttention
from crossgrade.domain.evidence import Sample, Score, ScoredAnswer, ScorerSpec
from crossgrade.domain.exchange import Image, Message, ModelAnswer, ModelRequest, Part, Role, Tool, ToolCall
from crossgrade.domain.offers import (
    PLACEHOLDER,
    GenerationSettings,
    Offer,
    Price,
    PromptTemplate,
    Variant,
    heads_of,
)
from crossgrade.domain.serving import (
    WINDOWS_S,
    Limit,
    LimitScope,
    LimitUnit,
    RouteSpec,
    Serving,
    Shadow,
    StickyUnit,
    TierRule,
    TokenIssuer,
    Watching,
)
from crossgrade.domain.values import JSON, Estimate, FlavourName, Origin, Usage
from crossgrade.domain.workload import EvidenceClass, Mode, Requirements, Workload

__all__ = [
    "JSON",
    "PLACEHOLDER",
    "WINDOWS_S",
    "Architecture",
    "Estimate",
    "EvidenceClass",
    "FlavourName",
    "GenerationSettings",
    "Image",
    "LatentAttention",
    "Limit",
    "LimitScope",
    "LimitUnit",
    "LinearAttention",
    "Message",
    "Mode",
    "ModelAnswer",
    "ModelRequest",
    "Offer",
    "Origin",
    "Part",
    "Price",
    "PromptTemplate",
    "Requirements",
    "Role",
    "RouteSpec",
    "Sample",
    "Score",
    "ScoredAnswer",
    "ScorerSpec",
    "Serving",
    "Shadow",
    "StickyUnit",
    "TierRule",
    "TokenIssuer",
    "Tool",
    "ToolCall",
    "Usage",
    "Variant",
    "Watching",
    "Workload",
    "heads_of",
]
