"""Scores for the answers of a case, or again for stored ones, by a scorer of single answers or of pairs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias, cast

from crossgrade.domain import ModelAnswer, Sample, Score, Workload
from crossgrade.errors import UsageError
from crossgrade.evaluate._case import Case, SampleCall
from crossgrade.evaluate.scorers import PairScorer, Scorer
from crossgrade.store import RecordedAnswer, RunKey

ScoreCase: TypeAlias = Callable[[Case], Awaitable[list[SampleCall]]]
"""Gives each answered call of a case its score; returns the calls that had none before."""


def case_scorer(scorer: Scorer | PairScorer, workload: Workload) -> ScoreCase:
    """Return the function that scores a case of this workload.

    Raises `UsageError` for a scorer of pairs with several candidates: what the incumbent scores
    would depend on whom it was compared with.
    """
    if not hasattr(scorer, "score_pair"):
        return partial(_score_answers, scorer)
    if len(workload.candidates) > 1:
        raise UsageError(
            f"workload `{workload.name}` has {len(workload.candidates)} candidates, "
            f"but its scorer `{scorer.kind}` compares the incumbent with one",
            code="too-many-candidates",
            hint="make a workload for each candidate, or use a scorer that scores each answer by itself",
        )
    return partial(_score_pairs, cast("PairScorer", scorer), workload.incumbent.name)


async def _score_answers(scorer: Scorer, case: Case) -> list[SampleCall]:
    fresh = [call for call in case.calls if call.score is None and call.answer is not None]
    for call in fresh:
        assert call.answer is not None
        call.score = await scorer.score(case.sample, call.answer)
    return fresh


async def _score_pairs(scorer: PairScorer, incumbent: str, case: Case) -> list[SampleCall]:
    fresh: list[SampleCall] = []
    for epoch in {call.epoch for call in case.calls}:
        pair = [call for call in case.calls if call.epoch == epoch]
        if len(pair) == 2 and any(call.score is None and call.answer is not None for call in pair):
            pair.sort(key=lambda call: call.variant.name != incumbent)
            fresh += await _score_pair(scorer, case.sample, pair)
    return fresh


async def _score_pair(scorer: PairScorer, sample: Sample, pair: Sequence[SampleCall]) -> list[SampleCall]:
    first, second = pair
    first.score, second.score = await pair_scores(scorer, sample, first.answer, second.answer)
    return [call for call in pair if call.score is not None]


async def pair_scores(
    scorer: PairScorer, sample: Sample, incumbent: ModelAnswer | None, candidate: ModelAnswer | None
) -> tuple[Score | None, Score | None]:
    """Return the scores of two answers, None for a call that failed: the other one then scores 1."""
    if incumbent is not None and candidate is not None:
        return await scorer.score_pair(sample, incumbent, candidate)
    alone = Score(value=1.0, explanation="the call it was to be compared with failed")
    return (None if incumbent is None else alone, None if candidate is None else alone)


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
