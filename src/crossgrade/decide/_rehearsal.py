"""A run on scores that are known beforehand: what it would ask, under the rule that stops real ones."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from crossgrade.decide._blocks import choose_blocks, moments
from crossgrade.decide._evidence import FloatColumn
from crossgrade.decide._following import FUTILITY
from crossgrade.decide._observations import RunDesign
from crossgrade.decide._stopping import Stopping
from crossgrade.domain import Sample
from crossgrade.stats import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownScores:
    """Each model's scores on all samples (NaN: unscored), and what a sample costs with it, in dollars."""

    incumbent: FloatColumn
    candidates: Mapping[str, FloatColumn]
    incumbent_usd: float = 1.0
    candidate_usd: Mapping[str, float] = field(default_factory=dict)

    def dearer(self, candidate: str) -> set[str]:
        """Return the candidates that cost at least as much as one."""
        price = self._usd(candidate)
        return {each for each in self.candidates if each != candidate and self._usd(each) >= price}

    def spent_usd(self, calls: "Rehearsed") -> float:
        """Return what the calls of a run cost."""
        candidates = sum(n * self._usd(name) for name, n in calls.candidate_calls.items())
        return calls.incumbent_calls * self.incumbent_usd + candidates

    def design_after(self, design: RunDesign, *, floor: float) -> RunDesign:
        """Return how a run goes on after its pilot."""
        n = design.pilot
        blocks = choose_blocks(
            [moments(self.incumbent[:n], scores[:n]) for scores in self.candidates.values()],
            incumbent_usd=self.incumbent_usd,
            candidate_usd=[self._usd(name) for name in self.candidates],
            floor=floor,
            planned=design.samples,
            available=len(self.incumbent),
            pilot=n,
        )
        return replace(design, samples=blocks.samples, first_samples=blocks.samples, blocks=blocks)

    def _usd(self, candidate: str) -> float:
        return self.candidate_usd.get(candidate, self.incumbent_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What a run asked of each model, how each candidate came out on the whole, and its last design.

    `certified` is the share of samples on which each candidate passed: all where it passed on the whole, else
    those of its segments that passed.
    """

    incumbent_calls: int
    candidate_calls: Mapping[str, int]
    outcomes: Mapping[str, Outcome | None]
    certified: Mapping[str, float]
    design: RunDesign


def rehearse(
    samples: Sequence[Sample],
    known: KnownScores,
    design: RunDesign,
    *,
    floor: float = 0.85,
    alpha: float = 0.05,
    mode: str = "sequential",
    splits_only: bool = False,
    futility: float | None = FUTILITY,
    every_hypothesis: bool = False,
    alone: bool = False,
) -> Rehearsed:
    """Run on `samples` in the order asked, of which `design` plans some, where all scores are known.

    A candidate that passes on the whole settles the verdict, as if guards, requirements and prices carried
    it. Nothing is in flight when the run stops.
    """
    names = list(known.candidates)
    rule = Stopping(
        candidates=names,
        plan=samples[: design.samples],
        design=design,
        floor=floor,
        alpha=alpha,
        mode=mode,
        splits_only=splits_only,
        futility=futility,
        alone=alone,
        settles=None if every_hypothesis else known.dearer,
    )
    paired, asked = 0, dict.fromkeys(names, 0)
    position = 0
    while position < design.samples:
        if design.pilot == position and design.pilot and design.blocks is None:
            design = known.design_after(design, floor=floor)
            rule.replan(samples[: design.samples], design)
        sample = samples[position]
        wanted = [name for name in names if rule.wants(name, sample.segment)]
        if wanted:
            is_paired = design.pairs_at(position)
            paired += is_paired
            for name in wanted:
                asked[name] += 1
            score = _or_none(known.incumbent[position]) if is_paired else None
            scores = {name: _or_none(known.candidates[name][position]) for name in wanted}
            rule.update(sample, position, score, scores)
        elif not rule.is_open:
            break
        position += 1
    return Rehearsed(
        incumbent_calls=paired,
        candidate_calls=asked,
        outcomes={name: rule.outcome(name) for name in names},
        certified={name: _certified(rule, name, samples[: design.samples]) for name in names},
        design=design,
    )


def _certified(rule: Stopping, candidate: str, plan: Sequence[Sample]) -> float:
    if rule.outcome(candidate) == "pass":
        return 1.0
    sizes = Counter(sample.segment for sample in plan)
    passed = (n for name, n in sizes.items() if name and rule.outcome(candidate, name) == "pass")
    return sum(passed) / len(plan)


def _or_none(score: float) -> float | None:
    return None if math.isnan(score) else float(score)


def right_or_wrong(
    rng: np.random.Generator,
    n: int,
    *,
    accuracy: float,
    retention: float,
    correlation: float,
    candidates: int = 1,
) -> tuple[FloatColumn, FloatColumn]:
    """Draw right and wrong answers to n samples: the incumbent's, and each candidate's, shape (k, n).

    Candidates are drawn beside the incumbent's answers, as far correlated with them as the means allow.
    """
    b, c = accuracy, min(accuracy * retention, 1.0)
    both = b * c + correlation * math.sqrt(b * (1 - b) * c * (1 - c))
    both = max(min(both, b, c), b + c - 1, 0.0)
    incumbent = (rng.random(n) < b).astype(np.float64)
    chance = np.where(incumbent > 0, both / b, (c - both) / (1 - b) if b < 1 else 0.0)
    return incumbent, (rng.random((candidates, n)) < chance).astype(np.float64)
