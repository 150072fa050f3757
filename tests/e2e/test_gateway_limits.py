"""Budgets, rates and bounds hold over two workers, whole answers and streams, whoever asks at once."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest

from benchmarks.gateway._served import Served, serving
from crossgrade.identity import KeyLimit
from crossgrade.project import Project
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply
from tests.waiting import until

INPUT_TOKENS, OUTPUT_TOKENS = 20, 100
COST_USD = (INPUT_TOKENS * 10 + OUTPUT_TOKENS * 20) / 1e6


def script(request: ReceivedRequest) -> Reply:
    asked = json.dumps(request.json["messages"])
    delay_s = 60.0 if "never" in asked else 0.01
    return Reply("word", input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS, delay_s=delay_s)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(script, models=("m",)) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = {
        "models": {
            "gpt": {
                "provider": "openai-compatible", "model": "m", "base_url": fake.base_url,
                "prices": [{"input_per_mtok": 10, "output_per_mtok": 20}],
            }
        },
        "routes": {name: {"incumbent": "gpt"} for name in ("free", "rated", "dear", "narrow", "teamed", "spent", "left", "hung")},
        "serve": {
            "workers": 2,
            "limits": [
                {"scope": "route", "match": "rated", "unit": "requests", "cap": 20, "per": "month"},
                {"scope": "route", "match": "spent", "unit": "requests", "cap": 2, "per": "month"},
                {"scope": "route", "match": "dear", "unit": "usd", "cap": 30.5 * COST_USD, "per": "month"},
                {"scope": "route", "match": "hung", "unit": "usd", "cap": 0.3, "per": "month"},
                {"scope": "route", "match": "narrow", "unit": "parallel", "cap": 3},
                {"scope": "route", "match": "left", "unit": "parallel", "cap": 3},
                {"scope": "team", "match": "care", "unit": "tokens", "cap": 750, "per": "month"},
            ],
        },
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("limits"), config) as served:
        yield served


@pytest.fixture(scope="module")
def make(gateway: Served) -> Iterator[Callable[..., openai.OpenAI]]:
    """Return a function that makes clients with keys of their own."""
    made: list[openai.OpenAI] = []

    def make(name: str, **options: Any) -> openai.OpenAI:
        with Project.open(gateway.folder / "crossgrade.yaml") as project:
            key = project.store.keys.create(name, **options)
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.text, max_retries=0)
        made.append(client)
        until_known(client)
        return client

    yield make
    for client in made:
        client.close()


def until_known(client: openai.OpenAI) -> None:
    """Wait until both workers know the key of a client."""
    known = 0
    for _ in range(400):
        try:
            client.with_options(default_headers={"connection": "close"}).models.list()
        except openai.AuthenticationError:
            known = 0
            time.sleep(0.05)
        else:
            known += 1
            if known == 8:
                return
    raise AssertionError("the key is not known")


def ask(client: openai.OpenAI, route: str, *, stream: bool = False, text: str = "hi") -> str:
    """Ask once; returns `ok` or the code of the refusal."""
    given: Any = {
        "model": route,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": OUTPUT_TOKENS,
    }
    try:
        if stream:
            events = list(client.chat.completions.create(**given, stream=True))
            assert events[-1].choices[0].finish_reason == "stop"
        else:
            client.chat.completions.create(**given)
    except openai.RateLimitError as error:
        waits = int(error.response.headers["retry-after"]) >= 1
        return str(error.code) if waits else "no retry-after"
    return "ok"


def at_once(count: int, client: openai.OpenAI, route: str, **options: Any) -> list[str]:
    """Ask so often at once, every other time for a stream."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda n: ask(client, route, stream=n % 2 == 0, **options), range(count)))


def ask_and_hang_up(served: Served, fake: FakeProvider, count: int, route: str) -> int:
    """Ask so often at once for what is never answered; hang up once each is refused, or with the provider.

    Returns how many the provider got.
    """
    given: Any = {"model": route, "messages": [{"role": "user", "content": "never"}]}

    async def leave() -> int:
        had = len(fake.requests)
        async with openai.AsyncOpenAI(
            base_url=f"{served.url}/v1", api_key=served.key, max_retries=0
        ) as client:
            asked = [asyncio.create_task(client.chat.completions.create(**given)) for _ in range(count)]
            while len(fake.requests) - had + sum(each.done() for each in asked) < count:  # noqa: ASYNC110 - the provider is in another thread
                await asyncio.sleep(0.01)
            refused = [each.exception() for each in asked if each.done()]
            assert {error.code for error in refused} <= {"rate_limit_exceeded"}  # type: ignore[union-attr]  # each is refused
            for each in asked:
                each.cancel()
            await asyncio.wait(asked)
            return count - len(refused)

    return asyncio.run(leave())


def test_a_rate_holds(client: openai.OpenAI) -> None:
    seen = at_once(60, client, "rated")
    assert (seen.count("ok"), seen.count("rate_limit_exceeded")) == (20, 40)


def test_a_budget_is_never_exceeded_and_can_be_used_up(client: openai.OpenAI) -> None:
    seen = at_once(90, client, "dear")
    assert set(seen) == {"ok", "insufficient_quota"}
    # A reservation is an estimate of its own: what it holds too much comes back with the answer.
    while ask(client, "dear") == "ok":
        seen.append("ok")
    assert 28 <= seen.count("ok") <= 30


def test_requests_in_flight_are_bounded_and_let_go(
    gateway: Served, fake: FakeProvider, client: openai.OpenAI
) -> None:
    assert ask_and_hang_up(gateway, fake, 12, "narrow") == 3
    until(lambda: at_once(3, client, "narrow") == ["ok"] * 3)  # what one worker lets go another hears of
    until(lambda: ask_and_hang_up(gateway, fake, 12, "narrow") == 3)


def test_a_client_that_hangs_up_lets_go(gateway: Served, fake: FakeProvider, client: openai.OpenAI) -> None:
    assert ask_and_hang_up(gateway, fake, 3, "left") == 3
    until(lambda: ask(client, "left") == "ok")  # its patience is half of what the answers would have taken


def test_a_client_that_hangs_up_pays_what_its_answer_may_cost(
    gateway: Served, fake: FakeProvider, client: openai.OpenAI
) -> None:
    assert ask_and_hang_up(gateway, fake, 1, "hung") == 1
    for _ in range(4):
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="hung", messages=[{"role": "user", "content": "never"}])
        assert caught.value.code == "insufficient_quota"
        time.sleep(0.5)  # by then every worker has heard of the settlement


def test_a_keys_own_limits_and_those_of_its_team_hold(make: Callable[..., openai.OpenAI]) -> None:
    app = make("app", limits=[KeyLimit(unit="usd", cap=5.5 * COST_USD, window_s=2_592_000)])
    seen = at_once(20, app, "free")
    while ask(app, "free") == "ok":
        seen.append("ok")
    assert set(seen) == {"ok", "insufficient_quota"}
    assert 4 <= seen.count("ok") <= 5
    one, other = make("one", team="care"), make("other", team="care")
    seen = [ask(each, "teamed") for _ in range(6) for each in (one, other)]
    assert 5 <= seen.count("ok") <= 6, "750 tokens are six requests of 120"
    assert seen[-1] == "rate_limit_exceeded"


def test_a_claude_client_is_refused_in_its_own_words(gateway: Served, client: openai.OpenAI) -> None:
    while ask(client, "spent") == "ok":
        pass
    given: Any = {"model": "spent", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0) as claude,
        pytest.raises(anthropic.RateLimitError) as caught,
    ):
        claude.messages.create(**given)
    assert caught.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index, call-overload]  # a mapping
    assert int(caught.value.response.headers["retry-after"]) >= 1
