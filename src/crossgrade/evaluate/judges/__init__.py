"""Models that score models: by a rubric, or pair against pair."""

from crossgrade.evaluate.judges._judge import Opinion, read_opinion
from crossgrade.evaluate.judges._prompts import PAIRWISE, RUBRIC
from crossgrade.evaluate.judges.pairwise import PairwiseOptions, PairwiseScorer, pairwise
from crossgrade.evaluate.judges.rubric import RubricOptions, RubricScorer, rubric

__all__ = [
    "PAIRWISE",
    "RUBRIC",
    "Opinion",
    "PairwiseOptions",
    "PairwiseScorer",
    "RubricOptions",
    "RubricScorer",
    "pairwise",
    "read_opinion",
    "rubric",
]
