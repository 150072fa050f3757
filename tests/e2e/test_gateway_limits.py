"""Budgets, rates and bounds hold over two workers, whole answers and streams, whoever asks at once."""

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

INPUT_TOKENS, OUTPUT_TOKENS = 20, 100
COST_USD = (INPUT_TOKENS * 10 + OUTPUT_TOKENS * 20) / 1e6
SLOW_S = 0.4


def script(request: ReceivedRequest) -> Reply:
    asked = json.dumps(request.json["messages"])
    delay_s = 60.0 if "never" in asked else SLOW_S if "slow" in asked else 0.01
    return Reply("word", input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS, delay_s=delay_s)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with FakeProvider(script, models=("m",)) as fake:
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


@pytest.fixture(scope="module")
def client(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


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


def test_requests_in_flight_are_bounded_and_let_go(client: openai.OpenAI) -> None:
    for _ in range(2):
        seen = at_once(12, client, "narrow", text="slow")
        assert (seen.count("ok"), seen.count("rate_limit_exceeded")) == (3, 9)
        time.sleep(1.0)  # what one worker lets go another hears of four times a second


def test_a_client_that_hangs_up_lets_go(client: openai.OpenAI) -> None:
    for _ in range(3):
        with pytest.raises(openai.APITimeoutError):
            ask(client.with_options(timeout=0.2), "left", text="never")
    give_up = time.monotonic() + 30  # half of what the answers would have taken
    while ask(client, "left") != "ok":
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_client_that_hangs_up_pays_what_its_answer_may_cost(client: openai.OpenAI) -> None:
    given: Any = {"model": "hung", "messages": [{"role": "user", "content": "never"}]}
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(**given)
    for _ in range(4):
        with pytest.raises(openai.RateLimitError) as caught:
            client.with_options(timeout=5.0).chat.completions.create(**given)
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
    assert caught.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index, call-overload]
    assert int(caught.value.response.headers["retry-after"]) >= 1
