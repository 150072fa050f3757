"""Clients of a route that a verdict switched to a model of another API: what the incumbent still answers."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from benchmarks.gateway._served import Served
from tests.e2e.speaking import recorded, spoken_to
from tests.waiting import until


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with spoken_to(
        tmp_path_factory.mktemp("certified"), "anthropic", incumbent="openai-compatible"
    ) as served:
        yield served


def said(served: Served, raw: Any) -> tuple[str, str, str]:
    """Return what the record of an answer says, which is what its headers say."""
    found = until(lambda: recorded(served).get(raw.headers["x-request-id"]))
    assert raw.headers["x-crossgrade-target"] == found[0]
    assert raw.headers["x-crossgrade-policy"].startswith("1-")
    return found


def ask(text: str) -> Any:
    return {"model": "support", "messages": [{"role": "user", "content": text}], "max_tokens": 9}


@pytest.mark.parametrize(
    ("text", "answer", "record"),
    [
        ("hello", "Hello there", ("gpt", "candidate", "policy")),
        ("fail", "from the incumbent", ("old", "candidate", "fallback")),
    ],
)
def test_each_client_is_told_who_answered(
    gateway: Served, client: openai.OpenAI, claude: anthropic.Anthropic, text: str, answer: str, record: Any
) -> None:
    chat = client.chat.completions.with_raw_response
    whole = chat.create(**ask(text))
    assert whole.parse().choices[0].message.content == answer
    assert said(gateway, whole) == record
    streamed = chat.create(**ask(text), stream=True)
    assert "".join(each.choices[0].delta.content or "" for each in streamed.parse() if each.choices) == answer
    assert said(gateway, streamed) == record
    message = claude.messages.with_raw_response.create(**ask(text))
    assert message.parse().content[0].text == answer
    assert said(gateway, message) == record
    events = claude.messages.with_raw_response.create(**ask(text), stream=True)
    pieces = [each.delta.text for each in events.parse() if each.type == "content_block_delta"]
    assert "".join(pieces) == answer
    assert said(gateway, events) == record


def test_vectors_stay_with_the_incumbent(gateway: Served, client: openai.OpenAI) -> None:
    vectors = client.embeddings.with_raw_response.create(model="support", input=["a", "b"])
    assert len(vectors.parse().data) == 2
    assert said(gateway, vectors) == ("old", "incumbent", "not_carried")


def test_what_neither_model_takes_is_refused_in_the_clients_words(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    wrong: Any = {**ask("hello"), "extra_body": {"temperature": "warm"}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**wrong)
    assert refused.value.code == "invalid_type"
    with pytest.raises(anthropic.BadRequestError) as answered:
        claude.messages.create(**wrong)
    assert answered.value.body["error"]["type"] == "invalid_request_error"
