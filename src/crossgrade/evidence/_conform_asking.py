"""Asks one offer the questions of a conformity check, through `calls` and within its budget."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import anyio

from crossgrade.calls import Budget, Call, Calls, Journal, OpenModel, is_of_the_request
from crossgrade.domain import ModelAnswer, sum_usd
from crossgrade.errors import AuthError, BadRequestError, ProviderError, RateLimitedError
from crossgrade.evidence._conform_questions import ConformQuestion

REFUSED = "refused"
"""The finish reason of a prompt that was refused for its length, in place of an answer."""

_AT_ONCE = 8


@dataclass(slots=True, kw_only=True)
class ConformSide:
    """What one side of a comparison answered: `drawn` has it by (check, key) and number of the draw.

    A draw without an answer is missing. `gaps` say why a check, or (under "") all that is left, was not
    answered.
    """

    name: str
    drawn: dict[tuple[str, str], dict[int, ModelAnswer]] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    costs_usd: list[Decimal | None] = field(default_factory=list)

    def keep(self, question: ConformQuestion, draw: int, answer: ModelAnswer) -> None:
        """Keep the answer to one draw of a question."""
        self.drawn.setdefault((question.check, question.key), {})[draw] = answer

    def of(self, check: str, draws: range | None = None) -> dict[str, list[ModelAnswer]]:
        """Return the answers that are evidence of a check, by key in the order of the draws.

        With `draws`, only those; a key without any of them is left out.
        """
        found = {
            key: [drawn[at] for at in sorted(drawn) if draws is None or at in draws]
            for (name, key), drawn in self.drawn.items()
            if name == check
        }
        return {key: answers for key, answers in found.items() if answers}

    def gap(self, check: str) -> str:
        """Return why a check has no answers."""
        return self.gaps.get(check) or self.gaps.get("") or "there was no answer"

    @property
    def cost_usd(self) -> Decimal | None:
        """What the answers cost, those of an earlier part of the check included; None if unknown."""
        return sum_usd(self.costs_usd)

    @property
    def versions(self) -> list[str]:
        """The versions that the provider reported, in the order of their first answer."""
        return list(
            dict.fromkeys(
                each.model for drawn in self.drawn.values() for each in drawn.values() if each.model
            )
        )


@dataclass(slots=True, kw_only=True)
class ConformAsker:
    """Asks one model, several requests at once, and pays each only once.

    `on_answer` is called after each answer with the side.
    """

    model: OpenModel
    calls: Calls
    budget: Budget
    journal: Journal
    side: ConformSide
    on_answer: Callable[[ConformSide], None] = lambda _: None

    async def ask(self, questions: Sequence[ConformQuestion]) -> None:
        """Ask questions, and keep the answers in the side.

        A host that refuses a kind of request leaves a gap in the table, and one that is rate-limited for long
        leaves all that follows out. Raises `BudgetExceededError` before a call that might exceed the budget,
        `AuthError`, and a `ProviderError` of a model that answers nothing.
        """
        wanted = [
            (question, draw)
            for question in questions
            for draw in range(question.first, question.first + question.draws)
        ]
        for question, _ in wanted:  # in the order of the questions, however the answers arrive
            self.side.drawn.setdefault((question.check, question.key), {})
        places = self.model.provider.places or min(_AT_ONCE, self.model.offer.max_concurrency)
        numbered = iter(wanted)
        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(places, len(wanted))):
                    group.start_soon(self._work, numbered)
        except ExceptionGroup as errors:
            raise _first(errors) from None

    async def _work(self, numbered: Iterator[tuple[ConformQuestion, int]]) -> None:
        for question, draw in numbered:
            if question.check not in self.side.gaps and "" not in self.side.gaps:
                await self._answer(question, draw)

    async def _answer(self, question: ConformQuestion, draw: int) -> None:
        model = self.model
        request = replace(question.request, model=model.offer.model)
        call = Call(model=model, request=request, digest=model.digest(request, draw))
        paid = (await self.calls.look_up([call])).get(call.digest)
        if paid is not None:
            self.calls.take(call, paid)
            self.budget.pay(paid.cost_usd, reserved_usd=model.reserve_usd(request))
        else:
            await self._ask(call, question, draw)
        if call.response is None:
            return
        self.side.keep(question, draw, call.response.answer)
        self.side.calls += 1
        self.side.costs_usd.append(call.response.cost_usd)
        self.on_answer(self.side)

    async def _ask(self, call: Call, question: ConformQuestion, draw: int) -> None:
        budget = self.budget
        call.reserved_usd = call.model.reserve_usd(call.request)
        if not budget.has_room_for(call.reserved_usd):
            raise budget.exceeded(call.reserved_usd)
        budget.reserve(call.reserved_usd)
        try:
            await self.calls.ask(call)
        except AuthError:
            raise
        except ProviderError as error:
            if not call.model.has_answered:
                raise
            if isinstance(error, RateLimitedError):
                self.side.gaps[""] = f"not asked: {error.message}"
            else:
                self.side.gaps[question.check] = error.message
        finally:
            budget.release(call.reserved_usd)
        await self.journal.committed()
        self._note(call, question, draw)

    def _note(self, call: Call, question: ConformQuestion, draw: int) -> None:
        """Leave a gap where the host refuses the kind of request, which it would refuse again."""
        error = call.error
        if error is None or not (isinstance(error, BadRequestError) or is_of_the_request(error.default_code)):
            return
        if question.check == "context":
            self.side.keep(question, draw, ModelAnswer(text="", finish_reason=REFUSED))
        else:
            self.side.gaps.setdefault(question.check, f"refused: {error.message}")


def _first(errors: BaseExceptionGroup[Exception]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
