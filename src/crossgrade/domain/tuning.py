"""A tuned candidate: another prompt or adapted weights of an offer, what was tried, how it is tested once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

from crossgrade.domain.offers import GenerationSettings, PromptTemplate
from crossgrade.errors import UsageError

TuningKind: TypeAlias = Literal["port", "distil"]
"""Its prompt was ported, or its weights were distilled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a tuned candidate comes from.

    `base` is the model that was tuned, as `PROVIDER:MODEL`. `tried` counts the variants that were compared on
    development items. `data` has digests by name: of the development items, the examples in the prompt, the
    training set. `code_version` is the version of Crossgrade that tuned. `teacher` is the model whose answers
    were learned (None: none, or people's labels), and `adapter` the digest of the adapter's file (None: the
    weights are the base's). `licence` and `duties` say what the base and the teacher oblige the team to.
    """

    base: str
    tried: int = 0
    data: Mapping[str, str] = field(default_factory=dict)
    code_version: str = ""
    teacher: str | None = None
    adapter: str | None = None
    licence: str | None = None
    duties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningTest:
    """The one test of a tuned candidate: on which items, and at which part of the workload's error rate.

    `tuning_id` names the recorded tuning of `candidate`. It is tested in round `number` of the `rounds` that
    the workload planned, which share `alpha`; the first round is the decision on the workload as it is
    configured. `number` is None where a sealed baseline gives the candidate its error rate. `development`
    counts the items that the candidate was tuned on, `certification` those that the test may ask, and
    `touched` the items of earlier runs, which certify nothing any more. `retention_before` and
    `retention_after` are the retentions on development items of the candidate as it was and as it was
    proposed (None: not measured). They are the tuning's own figures, and certify nothing.
    `segments` are those that were tuned (empty: the whole workload): only these are tested, and `share` is
    their share of the workload's traffic, in (0, 1].
    """

    tuning_id: str
    kind: TuningKind
    candidate: str
    number: int | None
    rounds: int
    alpha: float
    development: int
    certification: int
    touched: int
    lineage: Lineage
    segments: tuple[str, ...] = ()
    share: float = 1.0
    retention_before: float | None = None
    retention_after: float | None = None

    @property
    def rate(self) -> float | None:
        """The error rate of this test (None: the baseline's part)."""
        return None if self.number is None else round_alpha(self.number, rounds=self.rounds, alpha=self.alpha)

    @property
    def promised(self) -> float | None:
        """The gain in retention on development items (None: not measured)."""
        if self.retention_before is None or self.retention_after is None:
            return None
        return self.retention_after - self.retention_before


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningTrial:
    """A variant that was tried on development items.

    `number` counts the variants of a model from 0, which is the one as it was. `name` says in words what was
    changed. Over `n` items its mean score is `score`, in [0, 1] (None: nothing could be scored), of which
    `unparsed` answers had nothing to score and `failed` calls ended without an answer. `refused` is why the
    provider takes no such request. `examples` are the ids of samples that stand in its prompt, or that a
    reflection model read before it wrote the instruction. `cost_usd` is what its answers cost, whenever they
    were paid for (None: unknown). `is_kept` marks those that were asked all items, `is_best` the best of
    them.
    """

    model: str
    number: int
    name: str
    n: int
    score: float | None
    prompt: PromptTemplate
    settings: GenerationSettings
    unparsed: int = 0
    failed: int = 0
    refused: str | None = None
    examples: tuple[str, ...] = ()
    cost_usd: Decimal | None = None
    is_kept: bool = False
    is_best: bool = False

    @property
    def breaks_format(self) -> bool:
        """Whether more than a quarter of its answers had nothing to score."""
        return self.n > 0 and 4 * self.unparsed > self.n


def round_alpha(number: int, *, rounds: int, alpha: float) -> float:
    """Return the error rate of the `number`th of `rounds` tests of one workload, which share `alpha`.

    Each round gets half of what the rounds before it left, and the last one all of it: alpha / 2, alpha / 4,
    ..., and the last rate twice. They sum to alpha, so that the probability of any wrong certificate on the
    way is at most alpha (Boole's inequality), whatever a failed round made the next one try. The rate depends
    on the number alone. Raises `UsageError` for a number outside 1 to `rounds`.
    """
    if not 1 <= number <= rounds:
        raise UsageError(
            f"round {number} of {rounds}; rounds are counted from 1 to their planned number",
            code="round-invalid",
            hint="plan more `rounds` in the workload",
        )
    return alpha / float(2 ** min(number, rounds - 1))
