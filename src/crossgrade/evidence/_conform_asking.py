"""Asks one offer the questions of a conformity check, through `calls` and within its budget."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import anyio

from crossgrade.calls import Budget, Call, Calls, Journal, OpenModel, is_of_the_request
from crossgrade.domain import ModelAnswer, ModelRequest, sum_usd
from crossgrade.errors import (
    AuthError,
    BadRequestError,
    ContextTooLongError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UpstreamError,
)
from crossgrade.evidence._conform_questions import ConformQuestion

REFUSED = "refused"
"""The finish reason of a prompt that was refused for its length, in place of an answer."""

_AT_ONCE = 8

_FAILED_FOR_GOOD = 3
"""Questions of one check that fail, with none answered, after which the rest of them are not asked."""

_CHECKS_IN_A_ROW = 3
"""Checks given up with no answer in between, after which the host is given up."""

_UNSENT = ("connect-failed", "proxy-refused")


@dataclass(slots=True, kw_only=True)
class ConformSide:
    """What one side of a comparison answered: `drawn` has it by (check, key) and number of the draw.

    A draw without an answer is missing. `gaps` say why a check, or (under "") all that is left, was not
    answered, and `failures` what the last failed question of a check met. `lost_usd` has each
    request without a usable answer, with the most that it costs if it is billed all the same.
    """

    name: str
    drawn: dict[tuple[str, str], dict[int, ModelAnswer]] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    lost_usd: list[Decimal | None] = field(default_factory=list)
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

    def why(self, check: str) -> str | None:
        """Return why a check has no answers, or fewer than asked for; None if nothing went wrong."""
        return self.gaps.get(check) or self.failures.get(check) or self.gaps.get("")

    def gap(self, check: str) -> str:
        """Return why a check has no answers."""
        return self.why(check) or "there was no answer"

    def lacks(self, check: str) -> bool:
        """Return whether a check is not asked any more."""
        return check in self.gaps or "" in self.gaps

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

    `on_answer` is called after each answer with the side. `wants` says whether answers to a check are still
    of use. `stopped_by` is the error for which the host was given up; the same check can then be continued.
    """

    model: OpenModel
    calls: Calls
    budget: Budget
    journal: Journal
    side: ConformSide
    on_answer: Callable[[ConformSide], None] = lambda _: None
    wants: Callable[[str], bool] = lambda _: True
    stopped_by: ProviderError | None = None
    _given_up: set[str] = field(default_factory=set)
    _failed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """How many questions of a check failed since one was answered, and how many answers there were before."""

    async def ask(self, questions: Sequence[ConformQuestion]) -> None:
        """Ask questions, and keep the answers in the side.

        A host that refuses a kind of request, or fails it each time, leaves a gap in the table. One that is
        rate-limited for long, or answers nothing any more, leaves all that follows out. Raises
        `BudgetExceededError` before a call that might exceed the budget, `AuthError`, and a `ProviderError`
        of a model that answers nothing from the start.
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
        if self._given_up and self.stopped_by is not None:
            self.side.gaps.setdefault("", f"not asked: {self.stopped_by.message}")

    async def _work(self, numbered: Iterator[tuple[ConformQuestion, int]]) -> None:
        for question, draw in numbered:
            if self.wants(question.check) and not self.side.lacks(question.check):
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
        self._failed.pop(question.check, None)
        self._given_up.clear()
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
            await self.calls.ask(call, send=lambda request: self._send(request, call.reserved_usd))
        except AuthError:
            raise
        except ProviderError as error:
            if not call.model.has_answered:
                raise
            if isinstance(error, RateLimitedError):
                self.stopped_by = error
                self.side.gaps[""] = f"not asked: {error.message}"
            else:
                self._give_up(question.check, error, is_silent=True)
        finally:
            budget.release(call.reserved_usd)
        await self.journal.committed()
        self._note(call, question, draw)

    async def _send(self, request: ModelRequest, most_usd: Decimal) -> ModelAnswer:
        """Ask once; a request without a usable answer counts as if it was billed."""
        try:
            return await self.model.provider.ask(request)
        except (UpstreamError, ProviderTimeoutError) as error:
            if error.status is None and error.code not in _UNSENT:
                self.side.lost_usd.append(None if self.model.price is None else most_usd)
                self.budget.lose(most_usd, reserved_usd=most_usd)
            raise

    def _note(self, call: Call, question: ConformQuestion, draw: int) -> None:
        """Leave a gap where the host refuses the kind of request, or fails it, as it would again."""
        error, check, side = call.error, question.check, self.side
        if error is None:
            return
        if check == "context" and isinstance(error, ContextTooLongError):
            side.keep(question, draw, ModelAnswer(text="", finish_reason=REFUSED))
        elif isinstance(error, BadRequestError) or is_of_the_request(error.default_code):
            side.gaps.setdefault(check, f"refused: {error.message}")
        else:
            side.failures[check] = error.message
            failed, since = self._failed.get(check, (0, side.calls))
            self._failed[check] = failed + 1, since
            if failed + 1 >= _FAILED_FOR_GOOD:
                self._give_up(check, error, is_silent=side.calls == since)

    def _give_up(self, check: str, error: ProviderError, *, is_silent: bool) -> None:
        """Ask no more of a check; after several without any answer in between, ask nothing more."""
        if isinstance(error, BadRequestError):
            self.side.gaps.setdefault(check, f"refused: {error.message}")
            return
        if is_silent or not self.side.of(check):
            self.side.gaps.setdefault(check, error.message)
        if is_silent:
            self.stopped_by = error
            self._given_up.add(check)
        if len(self._given_up) >= _CHECKS_IN_A_ROW:
            self.side.gaps.setdefault("", f"not asked: {error.message}")


def _first(errors: BaseExceptionGroup[Exception]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
