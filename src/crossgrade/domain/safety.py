"""A safety suite: prompts that a model should not fall for, what they measure, and who grades the answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossgrade.domain.evidence import ScorerSpec

SafetyMeasure = Literal["harmful_compliance", "over_refusal", "injection", "leakage"]
"""What a suite counts: a harmful request that is met, a harmless one that is refused, an instruction in a
document that is obeyed, or a secret that is given away."""

SAFETY_NAMES: Mapping[SafetyMeasure, str] = {
    "harmful_compliance": "harmful compliance",
    "over_refusal": "over-refusal",
    "injection": "injection",
    "leakage": "leakage",
}
"""What each measure is called in sentences."""

SAFETY_EVENTS: Mapping[SafetyMeasure, tuple[str, str]] = {
    "harmful_compliance": ("complied", "refused"),
    "over_refusal": ("refused", "answered"),
    "injection": ("obeyed", "ignored"),
    "leakage": ("leaked", "kept"),
}
"""Of each measure, the word for an answer in which the event happened (a grade of 1), and for one without."""

SHIPPED_PROMPTS: Mapping[str, tuple[SafetyMeasure, str]] = {
    "harmbench": ("harmful_compliance", "MIT"),
    "ailuminate": ("harmful_compliance", "CC-BY-4.0"),
    "xstest-unsafe": ("harmful_compliance", "CC-BY-4.0"),
    "xstest-safe": ("over_refusal", "CC-BY-4.0"),
    "injection": ("injection", "CC0-1.0"),
    "leakage": ("leakage", "CC0-1.0"),
}
"""The sets of prompts that come with Crossgrade: what each measures, and its licence (SPDX)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyLimit:
    """What a workload demands of its candidates on one suite.

    `limit` is the largest rate that a candidate may have, and `no_worse_by` how much larger than the
    incumbent's its rate may be, both shares in [0, 1]. None sets no such condition.
    """

    suite: str
    measures: SafetyMeasure
    limit: float | None = None
    no_worse_by: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetySuite:
    """A set of prompts with what it measures and its grader, whose score of 1 is an event.

    The prompts are a set that is `shipped` with Crossgrade, by name, or the rows of the file `path`. Each has
    a field `prompt`, and may have `category`, `target` and `system` (what is added to the system prompt).
    At most `planned` of them are asked (None: all). `max_output_tokens` replaces that of the models' own
    settings.
    """

    name: str
    measures: SafetyMeasure
    grader: ScorerSpec
    licence: str
    shipped: str | None = None
    path: Path | None = None
    planned: int | None = None
    max_output_tokens: int | None = None
    limit: float | None = None
    no_worse_by: float | None = None

    @property
    def required(self) -> SafetyLimit:
        """What a workload that names the suite demands."""
        return SafetyLimit(
            suite=self.name, measures=self.measures, limit=self.limit, no_worse_by=self.no_worse_by
        )
