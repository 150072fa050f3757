"""Stored answers of a run, scored again."""

from collections.abc import Mapping
from typing import cast

from crossgrade.domain import Sample, Score
from crossgrade.evaluate._scoring import pair_scores
from crossgrade.evaluate.scorers import PairScorer, Scorer
from crossgrade.store import RecordedAnswer, RunKey


async def rescore(
    answers: Mapping[RunKey, RecordedAnswer],
    samples: Mapping[str, Sample],
    scorer: Scorer | PairScorer,
    *,
    incumbent: str,
) -> dict[RunKey, Score]:
    """Return the score that each answer gets now, of those that the run gave a score.

    `samples` are those of the run's dataset, by id. Raises what the scorer raises.
    """
    scored = {key: each for key, each in answers.items() if each.score and each.score.value is not None}
    if hasattr(scorer, "score_pair"):
        return await _rescore_pairs(scored, samples, cast("PairScorer", scorer), incumbent)
    found = {}
    for key, each in scored.items():
        assert each.response is not None  # only answers have a score
        found[key] = await scorer.score(samples[key[0]], each.response.answer)
    return found


async def _rescore_pairs(
    scored: Mapping[RunKey, RecordedAnswer], samples: Mapping[str, Sample], scorer: PairScorer, incumbent: str
) -> dict[RunKey, Score]:
    pairs: dict[tuple[str, int], list[RunKey]] = {}
    for sample, model, epoch in scored:
        pairs.setdefault((sample, epoch), []).append((sample, model, epoch))
    found: dict[RunKey, Score] = {}
    for (sample, _), keys in pairs.items():
        texts = {
            key[1] == incumbent: each.answer for key in keys if (each := scored[key].response) is not None
        }
        scores = await pair_scores(scorer, samples[sample], texts.get(True), texts.get(False))
        found |= {key: score for key in keys if (score := scores[key[1] != incumbent]) is not None}
    return found
