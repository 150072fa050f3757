"""OpenAI's client goes on with a conversation by ids, over two workers and a model of another API."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from benchmarks.gateway._served import Served, serving
from crossgrade.testing import FakeProvider

TURNS = 12
CLOSE = {"connection": "close"}  # so that turns go to both workers


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(lambda request: f"answer {len(request.json['messages'])}", models=("m",)) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, fake: FakeProvider) -> Iterator[Served]:
    model = {"provider": "anthropic", "model": "m", "base_url": fake.url, "api_key_env": "UPSTREAM_KEY"}
    config = {
        "models": {"claude": model},
        "routes": {"support": {"incumbent": "claude"}},
        "serve": {"workers": 2, "stored_responses": {}},
    }
    with serving(tmp_path_factory.mktemp("r"), config, environ={"UPSTREAM_KEY": "k"}) as served:
        yield served


@pytest.fixture(scope="module")
def client(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=2, default_headers=CLOSE
    ) as made:
        yield made


def test_a_conversation_of_many_turns(client: openai.OpenAI, fake: FakeProvider) -> None:
    previous: str | None = None
    for number in range(TURNS):
        given: Any = {"model": "support", "input": f"turn {number}", "previous_response_id": previous}
        if number % 2:
            with client.responses.stream(**given) as stream:
                response: Any = stream.get_final_response()
        else:
            response = client.responses.create(**given)
        assert response.output_text == f"answer {2 * number + 1}"
        previous = response.id
    texts = [each["content"] for each in fake.requests[-1].json["messages"]]
    assert texts == [f"turn {at // 2}" if at % 2 == 0 else f"answer {at}" for at in range(2 * TURNS - 1)]


def test_items_by_reference(client: openai.OpenAI, fake: FakeProvider) -> None:
    items: list[Any] = []
    for number in range(TURNS):
        items.append({"role": "user", "content": f"turn {number}"})
        response = client.responses.create(model="support", input=items)
        items += [{"type": "item_reference", "id": item.id} for item in response.output]
    assert len(fake.requests[-1].json["messages"]) == 2 * TURNS - 1
    items.append({"type": "item_reference", "id": "msg_of_nobody"})
    with pytest.raises(openai.BadRequestError, match="`store` to false"):
        client.responses.create(model="support", input=items)
