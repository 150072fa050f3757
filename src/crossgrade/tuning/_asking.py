"""Asks variants about development items and scores the answers, within a budget; nothing is paid twice."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import anyio

from crossgrade.calls import Budget, Call, Calls, Journal, OpenModel
from crossgrade.domain import ModelRequest, Sample, Variant, Workload, sum_usd
from crossgrade.errors import BadRequestError, ContextTooLongError, DataError, ProviderError
from crossgrade.evaluate import Case, OpenVariant, PairScorer, SampleCall, Scorer, case_scorer


@dataclass(slots=True)
class VariantCount:
    """What a variant's answers came to: scores that were none, calls that failed, and dollars.

    `refused` is why the provider takes no such request (None: it does). `texts` are the answers, by place.
    """

    unparsed: int = 0
    failed: int = 0
    costs: list[Decimal | None] = field(default_factory=list)
    refused: str | None = None
    texts: dict[int, str] = field(default_factory=dict)

    @property
    def cost_usd(self) -> Decimal | None:
        """What the answers cost, whenever they were paid for; None if a cost is unknown."""
        return sum_usd(self.costs)


@dataclass(slots=True, kw_only=True)
class DevelopmentAsker:
    """Asks open models about development items and scores what they answer.

    `incumbent` is asked too where answers are scored against each other. `models` are by offer name.
    `on_call` is called after each answer. `on_asking` gets the digests of requests, by the id of the sample
    that they are about, before they are sent: by them answers are found that are to be erased.
    """

    workload: Workload
    samples: Sequence[Sample]
    models: Mapping[str, OpenModel]
    calls: Calls
    budget: Budget
    journal: Journal
    scorer: Scorer | PairScorer
    on_call: Callable[[], None] = lambda: None
    on_asking: Callable[[Mapping[str, Sequence[str]]], None] = lambda _: None
    asked: int = 0
    reused: int = 0
    counts: dict[tuple[str, int], VariantCount] = field(default_factory=dict)
    _score_case: "Callable[[Case], Awaitable[list[SampleCall]]]" = field(init=False)

    def __post_init__(self) -> None:
        """Make what scores a case."""
        self._score_case = case_scorer(self.scorer, self.workload)

    @property
    def _in_pairs(self) -> bool:
        return hasattr(self.scorer, "score_pair")

    async def score(
        self, variants: Mapping[int, Variant], wanted: Mapping[int, Sequence[int]]
    ) -> dict[int, list[float | None]]:
        """Return the scores of variants, by number, on items, by place; None is unscored.

        A variant whose first request the provider refuses, or that an item does not fit, has no scores.
        Raises `BudgetExceededError` before a call that might exceed the budget, and what ends a run of calls.
        """
        found = {}
        for number, places in wanted.items():
            variant = variants[number]
            count = self.counts.setdefault((variant.name, number), VariantCount())
            try:
                found[number] = await self._scores(variant, places, count)
            except (BadRequestError, ContextTooLongError, DataError) as error:
                count.refused = error.message
                self.models[variant.offer.name].failures_in_a_row = 0
                found[number] = []
        return found

    async def answers(self, variant: Variant, places: Sequence[int]) -> list[tuple[float | None, str]]:
        """Return the score and the text of a variant's answer to each item; a failed call has no text.

        Raises as `score` does, and the error of a request that the provider refuses.
        """
        count = self.counts.setdefault((variant.name, -1), VariantCount())
        cases = await self._answered([self._case(variant, place) for place in places], count)
        found = []
        for case in cases:
            await self._score_case(case)
            answer = next(each for each in case.calls if each.variant.name == variant.name).answer
            found.append((self._counted(case, variant, count), "" if answer is None else answer.text))
        return found

    async def question(self, request: ModelRequest, *, about: Sequence[str]) -> str:
        """Return what an open model answers to one question, in which some samples stand, by their ids.

        What was answered before is not asked again. Raises `BudgetExceededError` before a call that might
        exceed the budget, and the error of a call that fails.
        """
        model = self.models[request.model]
        sent = replace(request, model=model.offer.model)
        call = Call(model=model, request=sent, digest=model.digest(sent))
        paid = await self.calls.look_up([call])
        if call.digest in paid:
            self.calls.take(call, paid[call.digest])
            self.reused += 1
        else:
            self.on_asking(dict.fromkeys(about, (call.digest,)))
            await self._ask(call)
        if call.answer is None:
            assert call.error is not None
            raise call.error
        return call.answer.text

    def shown(self, variant: Variant, place: int) -> str:
        """Return what an item puts into a variant's prompt, for people and models to read."""
        own = OpenVariant(variant=variant, model=self.models[variant.offer.name])
        return own.input(self.samples[place])

    async def paid_scores(self, variant: Variant) -> list[float | None]:
        """Return a variant's scores on the items whose answers are there already; the others are None.

        Nobody is asked. Answers that are scored against each other have no score by themselves.
        """
        if self._in_pairs:
            return [None] * len(self.samples)
        cases = [self._case(variant, place) for place in range(len(self.samples))]
        paid = await self.calls.look_up([call for case in cases for call in case.calls])
        scores: list[float | None] = []
        for case in cases:
            (call,) = case.calls
            if call.digest in paid:
                self.calls.take(call, paid[call.digest])
                await self._score_case(case)
            scores.append(call.value(errors_count_as_zero=False))
        return scores

    async def _scores(
        self, variant: Variant, places: Sequence[int], count: VariantCount
    ) -> list[float | None]:
        scores = []
        for case in await self._answered([self._case(variant, place) for place in places], count):
            await self._score_case(case)
            scores.append(self._counted(case, variant, count))
        return scores

    async def _answered(self, cases: Sequence[Case], count: VariantCount) -> Sequence[Case]:
        """Return cases once every call has an outcome: paid for before, or asked now."""
        calls = [call for case in cases for call in case.calls]
        paid = await self.calls.look_up(calls)
        for call in calls:
            if call.is_open and call.digest in paid:
                self.calls.take(call, paid[call.digest])
        self._tell_asking(cases)
        first = next((call for call in calls if call.is_open), None)
        if first is not None and not count.costs:
            await self._ask(first)  # alone: what a provider refuses, it refuses at once
            if isinstance(first.error, BadRequestError | ContextTooLongError):
                raise first.error
        await self._ask_all([call for call in calls if call.is_open])
        return cases

    def _tell_asking(self, cases: Sequence[Case]) -> None:
        wanted = {case.sample.id: [call.digest for call in case.calls if call.is_open] for case in cases}
        if any(wanted.values()):
            self.on_asking({name: digests for name, digests in wanted.items() if digests})

    def _case(self, variant: Variant, place: int) -> Case:
        sample = self.samples[place]
        own = OpenVariant(variant=variant, model=self.models[variant.offer.name])
        variants = [own]
        incumbent = self.workload.incumbent
        if self._in_pairs and variant.name != incumbent.name:
            variants.append(OpenVariant(variant=incumbent, model=self.models[incumbent.offer.name]))
        return Case(position=place, sample=sample, calls=[each.call(sample, 1) for each in variants])

    async def _ask_all(self, calls: Sequence[SampleCall]) -> None:
        """Ask, as many at once as the accounts take, each once the budget has room for it."""
        failures: list[Exception] = []
        in_flight = anyio.Semaphore(max((each.model.limiter.limit.ceiling for each in calls), default=1))

        async def ask(call: SampleCall) -> None:
            try:
                await self._ask(call)
            except Exception as error:  # noqa: BLE001 - raised below, once the others are kept
                failures.append(error)
            finally:
                in_flight.release()

        async with anyio.create_task_group() as group:
            for call in calls:
                await in_flight.acquire()
                if failures:
                    break
                group.start_soon(ask, call)
        if failures:
            raise failures[0]

    async def _ask(self, call: Call) -> None:
        if self.budget.limit_usd is not None:
            call.reserved_usd = call.model.reserve_usd(call.request)
            if not self.budget.has_room_for(call.reserved_usd):
                raise self.budget.exceeded(call.reserved_usd)
        self.budget.reserve(call.reserved_usd)
        try:
            await self.calls.ask(call)
        finally:
            self.budget.release(call.reserved_usd)
            await self.journal.committed()
        self.asked += 1
        self.on_call()

    def _counted(self, case: Case, variant: Variant, count: VariantCount) -> float | None:
        call = next(each for each in case.calls if each.variant.name == variant.name)
        count.costs.append(None if call.response is None else call.response.cost_usd)
        if call.failed:
            count.failed += 1
            count.costs[-1] = Decimal(0)
        self.reused += call.reused
        if call.answer is not None:
            count.texts[case.position] = call.answer.text
        if call.score is not None:
            count.unparsed += call.score.unparsed
            self.budget.pay(call.score.cost_usd)
        return call.value(errors_count_as_zero=self.workload.errors_count_as_zero)

    def check_silence(self) -> None:
        """Raise the error of a model that never answered: it was not measured."""
        silent = (each.silence for each in self.models.values() if each.silence)
        silence: ProviderError | None = next(silent, None)
        if silence is not None:
            raise silence
