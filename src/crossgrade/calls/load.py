"""A bounded load on a server: a ladder of requests in flight, each level a closed loop."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal

from crossgrade.domain import GenerationSettings, Message, ModelRequest
from crossgrade.errors import ProviderError, UpstreamError
from crossgrade.hosting import MeasuredLevel, TimedCall, measured_level
from crossgrade.providers import Provider

_WORDS = ("river", "stone", "window", "garden", "letter", "morning", "silver", "engine", "harbour")

_MOST_ERRORS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How a server is measured: `levels` of requests in flight, and the bounds of each.

    A level ends after `calls_per_slot` answers for each request in flight, or `seconds`. Prompts
    are `input_words` random words, no two alike: a cached prefix would make the server look fast.
    """

    model: str
    levels: tuple[int, ...] = (1, 2, 4, 8, 16)
    calls_per_slot: int = 3
    seconds: float = 60.0
    input_words: int = 500
    output_tokens: int = 128
    usd_per_hour: Decimal | None = None
    seed: int = 0

    @property
    def most_calls(self) -> int:
        """Requests that the whole ladder sends at most."""
        return self.calls_per_slot * sum(self.levels)


@dataclass(slots=True)
class _Level:
    """A level while it runs."""

    left: int
    calls: list[TimedCall] = field(default_factory=list)
    errors: list[ProviderError] = field(default_factory=list)


async def measure_load(
    provider: Provider, plan: LoadPlan, *, on_call: Callable[[int, int], None] | None = None
) -> AsyncIterator[MeasuredLevel]:
    """Yield what each level showed, from the fewest in flight to the most.

    `provider` must stream (`measure_ttft`). `on_call` hears the level and how many of its calls are
    done. Raises the server's `ProviderError` where a level has no answer at all, or `UpstreamError`
    where the server counts no tokens: throughput is then unknown.
    """
    draw = random.Random(plan.seed)  # noqa: S311 -- words of a test prompt
    loop = asyncio.get_running_loop()
    await provider.ask(_request(plan, draw))  # warms the connection, and the model
    for in_flight in plan.levels:
        level = _Level(left=in_flight * plan.calls_per_slot)

        def told(done: int, in_flight: int = in_flight) -> None:
            if on_call is not None:
                on_call(in_flight, done)

        began = loop.time()
        try:
            async with asyncio.timeout(plan.seconds), asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(_slot(provider, plan, draw, level, told))
        except TimeoutError:
            pass  # what was answered in time counts
        found = measured_level(
            level.calls,
            in_flight=in_flight,
            errors=len(level.errors),
            seconds=loop.time() - began,
            usd_per_hour=plan.usd_per_hour,
        )
        if found is None:
            if level.errors:
                raise level.errors[0]
            raise UpstreamError(
                f"no answer within {plan.seconds:g} s with {in_flight} requests in flight",
                code="load-timeout",
                hint="give --seconds more, or fewer --output-tokens",
            )
        yield found


async def _slot(
    provider: Provider,
    plan: LoadPlan,
    draw: random.Random,
    level: _Level,
    told: Callable[[int], None],
) -> None:
    """Ask again and again, one request at a time, until the level has its calls."""
    while level.left > 0 and len(level.errors) < _MOST_ERRORS:
        level.left -= 1
        try:
            call = await _timed(provider, _request(plan, draw))
        except ProviderError as error:
            level.errors.append(error)
            continue
        level.calls.append(call)
        told(len(level.calls))


async def _timed(provider: Provider, request: ModelRequest) -> TimedCall:
    answer = await provider.ask(request)
    given, wanted = answer.usage.input_tokens, answer.usage.output_tokens
    if given is None or wanted is None or answer.latency_ms is None:
        raise UpstreamError(
            "the server does not count the tokens of a streamed answer",
            code="stream-without-usage",
            hint="turn on usage in streams (vLLM: --enable-force-include-usage)",
        )
    return TimedCall(
        input_tokens=given,
        output_tokens=wanted,
        ttft_ms=answer.latency_ms if answer.ttft_ms is None else answer.ttft_ms,
        latency_ms=answer.latency_ms,
    )


def _request(plan: LoadPlan, draw: random.Random) -> ModelRequest:
    words = " ".join(draw.choice(_WORDS) for _ in range(plan.input_words))
    text = f"{draw.getrandbits(64):x} {words}\n\nWrite a very long story with these words. Do not stop early."
    return ModelRequest(
        model=plan.model,
        messages=(Message(role="user", content=text),),
        settings=GenerationSettings(temperature=1.0, max_output_tokens=plan.output_tokens),
    )
