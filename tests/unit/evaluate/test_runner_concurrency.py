"""The adaptive limit of an account, in the event loop's own time."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from crossgrade.calls import CallLimiter, CallLimiters, Patience
from crossgrade.calls._limits import AdaptiveLimit
from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import BadRequestError, RateLimitedError, UpstreamError
from tests.codes import raises_code
from tests.unit.evaluate.running import HASTY, Scripted, variant

REQUEST = ModelRequest(model="m")


async def answered(request: ModelRequest) -> ModelAnswer:
    return ModelAnswer(text="yes")


def in_loop(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with anyio.fail_after(20):
            await main()

    anyio.run(bounded)


async def fill(limit: AdaptiveLimit) -> None:
    while limit.in_flight < limit.limit:
        await limit.acquire()


def test_the_limit_doubles_until_the_first_429_and_then_grows_by_one_a_round() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(ceiling=100, start=10)
        for _ in range(10):
            await fill(limit)
            limit.succeeded()
        assert limit.limit == 20

        limit.throttled(0.0)
        assert limit.limit == 16
        for _ in range(17):
            await fill(limit)
            limit.succeeded()
        assert limit.limit == 17

    in_loop(main)


def test_the_limit_does_not_grow_unused_nor_beyond_its_ceiling() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(ceiling=12, start=10)
        await limit.acquire()
        limit.succeeded()
        assert limit.limit == 10
        for _ in range(50):
            if limit.in_flight < limit.limit:
                await fill(limit)
            limit.succeeded()
        assert limit.limit == 12

    in_loop(main)


def test_one_episode_of_429_shrinks_the_limit_once() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(ceiling=100, start=10)
        for _ in range(5):
            limit.throttled(0.01)
        assert limit.limit == 8

    in_loop(main)


def test_a_failure_that_may_pass_only_holds_the_growth() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(ceiling=100, start=4)
        await fill(limit)
        limit.strained()
        for _ in range(4):
            limit.succeeded()
        assert limit.limit == 4
        limit.succeeded()
        assert limit.limit == 5

    in_loop(main)


def test_calls_wait_for_their_turn_and_for_retry_after() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(ceiling=1)
        await limit.acquire()
        order: list[str] = []

        async def second() -> None:
            await limit.acquire()
            order.append("second")

        async with anyio.create_task_group() as group:
            group.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            started = anyio.current_time()
            limit.throttled(0.03)
            order.append("first")
            limit.release()
        assert order == ["first", "second"]
        assert anyio.current_time() - started >= 0.03

    in_loop(main)


def test_the_limit_never_falls_below_one() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(ceiling=1)
        limit.throttled(0.0)
        assert limit.limit == 1
        await limit.acquire()

    in_loop(main)


def test_an_error_that_cannot_pass_is_raised_at_once() -> None:
    async def main() -> None:
        asked = []

        async def refuse(request: ModelRequest) -> ModelAnswer:
            asked.append(request)
            raise BadRequestError("no")

        account = CallLimiter("a", ceiling=4, patience=HASTY)
        with pytest.raises(BadRequestError):
            await account.call(refuse, REQUEST)
        assert len(asked) == 1
        assert account.limit.in_flight == 0

    in_loop(main)


def test_an_error_that_may_pass_is_tried_as_often_as_patience_says() -> None:
    async def main() -> None:
        asked = []

        async def fail(request: ModelRequest) -> ModelAnswer:
            asked.append(request)
            raise UpstreamError("502")

        with pytest.raises(UpstreamError):
            await CallLimiter("a", ceiling=4, patience=HASTY).call(fail, REQUEST)
        assert len(asked) == HASTY.attempts

    in_loop(main)


def test_an_answer_in_between_starts_patience_anew() -> None:
    async def main() -> None:
        account = CallLimiter("a", ceiling=1, patience=Patience(throttled_s=0.06, first_pause_s=0.02))
        for _ in range(4):
            turns = iter([RateLimitedError("429", retry_after_s=0.04), None])

            async def ask(request: ModelRequest, turns: object = turns) -> ModelAnswer:
                error = next(turns)
                if error is not None:
                    raise error
                return await answered(request)

            assert (await account.call(ask, REQUEST)).text == "yes"

    in_loop(main)


def test_a_retry_after_of_0_is_not_a_licence_to_flood() -> None:
    async def main() -> None:
        asked = []

        async def refuse(request: ModelRequest) -> ModelAnswer:
            asked.append(request)
            raise RateLimitedError("429", retry_after_s=0.0)

        account = CallLimiter("a", ceiling=1, patience=Patience(throttled_s=0.05, first_pause_s=0.02))
        with raises_code("rate-limited", "429"):
            await account.call(refuse, REQUEST)
        assert len(asked) <= 6

    in_loop(main)


def test_a_cancelled_call_that_had_not_begun_sends_nothing() -> None:
    async def main() -> None:
        asked = []

        async def answer(request: ModelRequest) -> ModelAnswer:
            asked.append(request)
            return await answered(request)

        account = CallLimiter("a", ceiling=1, patience=HASTY)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await account.call(answer, REQUEST)
        assert asked == []
        assert account.limit.in_flight == 0

    in_loop(main)


def test_pauses_double_and_are_bounded() -> None:
    patience = Patience(first_pause_s=1, longest_pause_s=10)
    for failures, longest in ((1, 1), (2, 2), (3, 4), (10, 10)):
        assert longest / 2 <= patience.pause_s(failures) <= longest


def test_offers_of_one_account_share_its_limit() -> None:
    limiters = CallLimiters(HASTY)
    first, second = variant("a", max_concurrency=50).offer, variant("b", max_concurrency=5).offer
    account = limiters.of(first, Scripted("shared"))
    assert limiters.of(second, Scripted("shared")) is account
    assert account.limit.ceiling == 5
    assert limiters.of(first, Scripted("other")) is not account


def test_the_shortest_patience_of_an_accounts_offers_counts() -> None:
    first, second = variant("a", patience_s=60.0).offer, variant("b", patience_s=2.0).offer
    limiters = CallLimiters()
    limiters.of(first, Scripted("shared"))
    assert limiters.of(second, Scripted("shared")).patience.throttled_s == 2.0
    assert limiters.of(first, Scripted("shared")).patience.throttled_s == 2.0
    assert limiters.of(first, Scripted("other")).patience.throttled_s == 60.0
    assert CallLimiters(HASTY).of(first, Scripted("shared")).patience is HASTY
