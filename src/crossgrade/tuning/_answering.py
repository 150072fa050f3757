"""Asks a variant about items and scores its answers, outside any run: for training data, and for a gain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean

import anyio

from crossgrade.calls import Budget, Call, Calls, Journal
from crossgrade.domain import Sample
from crossgrade.errors import BudgetExceededError
from crossgrade.evaluate import OpenVariant, Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredItem:
    """What a variant answered about an item, and its score; None is no answer, or no score.

    A call that failed has no answer and the score 0, as in a run. `cost_usd` is 0 for an answer that was paid
    for before, and None if it is unknown.
    """

    sample_id: str
    text: str | None
    score: float | None
    cost_usd: Decimal | None = Decimal(0)


class ItemAsker:
    """Asks variants about items within one budget. Answers are kept, and paid for once."""

    def __init__(self, journal: Journal, budget: Budget, scorer: Scorer) -> None:
        self._calls = Calls(journal, budget)
        self._journal = journal
        self._budget = budget
        self._scorer = scorer

    async def ask(
        self,
        variant: OpenVariant,
        samples: Sequence[Sample],
        *,
        on_answer: Callable[[int], None] = lambda _: None,
    ) -> list[ScoredItem]:
        """Return the outcome of each sample, in their order; `on_answer` hears how many are there.

        Raises `BudgetExceededError` before a call that might exceed the budget, what `Calls.ask` raises, and
        what the scorer raises. Answers until then are kept.
        """
        calls = [variant.call(sample, 1) for sample in samples]
        paid = await self._calls.look_up(calls)
        found: dict[int, ScoredItem] = {}

        async def one(place: int) -> None:
            call = calls[place]
            if call.digest in paid:
                self._calls.take(call, paid[call.digest])
            else:
                reserved = variant.model.reserve_usd(call.request)
                if not self._budget.has_room_for(reserved):
                    raise self._budget.exceeded(reserved)
                self._budget.reserve(reserved)
                try:
                    await self._calls.ask(call)
                finally:
                    self._budget.release(reserved)
            found[place] = await self._scored(samples[place], call)
            on_answer(len(found))

        try:
            async with anyio.create_task_group() as group:
                for place in range(len(calls)):
                    group.start_soon(one, place)
        except BaseExceptionGroup as several:
            budget = several.subgroup(BudgetExceededError)
            raise _first(budget or several) from None
        finally:
            with anyio.CancelScope(shield=True):
                await self._journal.committed()
        return [found[place] for place in range(len(calls))]

    async def _scored(self, sample: Sample, call: Call) -> ScoredItem:
        answer = call.answer
        if answer is None:
            return ScoredItem(sample_id=sample.id, text=None, score=0.0)
        score = await self._scorer.score(sample, answer)
        fresh = call.response is not None and not call.reused
        cost = call.response.cost_usd if call.response is not None and fresh else Decimal(0)
        return ScoredItem(sample_id=sample.id, text=answer.text, score=score.value, cost_usd=cost)


def mean_score(items: Sequence[ScoredItem]) -> float | None:
    """Return the mean of the scores that there are, None without any."""
    known = [each.score for each in items if each.score is not None]
    return fmean(known) if known else None


def accepted(items: Sequence[ScoredItem], least: float = 1.0) -> dict[str, str]:
    """Return the answers with at least this score, by sample."""
    return {
        each.sample_id: each.text
        for each in items
        if each.text is not None and each.score is not None and each.score >= least
    }


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
