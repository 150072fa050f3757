"""Shadow pairs as the store keeps them: answers of every endpoint decoded, texts redacted."""

import json

import msgspec
import pytest

from crossgrade.gateway import ShadowAnswer, ShadowPair
from crossgrade.serve._pairs import stored_pair

TEXT = {"id": "c1", "object": "text_completion", "model": "m", "choices": [{"index": 0, "text": " billing"}]}
CHAT = {
    "id": "c1",
    "object": "chat.completion",
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "write to ann@example.com"}}],
}


def pair(endpoint: str, answer: object, request: object) -> ShadowPair:
    def side(model: str) -> ShadowAnswer:
        return ShadowAnswer(model=model, target=model, dialect="openai", body=json.dumps(answer).encode())

    return ShadowPair(
        route="support",
        request_id="req-1",
        at=1.0,
        endpoint=endpoint,
        request=json.dumps(request).encode(),
        served_by="candidate",
        incumbent=side("gpt"),
        candidate=side("scout"),
    )


def test_answers_of_text_completions_are_read() -> None:
    stored = stored_pair(
        "p1", pair("/v1/completions", TEXT, {"model": "support", "prompt": "Where is it? =>"})
    )
    assert stored.incumbent.answer is not None
    assert stored.incumbent.answer.text == " billing"
    assert stored.candidate.error is None


def test_a_conversation_is_kept() -> None:
    sent = pair("/v1/completions", TEXT, {"model": "support", "prompt": "Where is it? =>"})
    assert stored_pair("p1", sent).conversation is None
    assert stored_pair("p1", msgspec.structs.replace(sent, conversation="c0ffee")).conversation == "c0ffee"


def test_texts_are_redacted_before_they_are_stored() -> None:
    request = {"model": "support", "messages": [{"role": "user", "content": "I am bob@example.com"}]}
    stored = stored_pair("p1", pair("/v1/chat/completions", CHAT, request))
    assert stored.candidate.answer is not None
    assert "ann@example.com" not in stored.candidate.answer.text
    assert stored.request is not None
    assert b"bob@example.com" not in stored.request


@pytest.mark.parametrize(
    "answer", [{"choices": "Ann is ill"}, {"choices": [{"message": "Ann is ill"}]}, ["Ann is ill"]]
)
@pytest.mark.parametrize("stream", [False, True])
def test_without_texts_the_reason_quotes_nothing_of_an_answer_that_cannot_be_read(
    answer: object, stream: bool
) -> None:
    sent = pair("/v1/chat/completions", answer, {"model": "support", "messages": []})
    sent = msgspec.structs.replace(sent, store_text=False)
    body = json.dumps(answer)
    data = f"data: {body}\n\ndata: {{{body}\n\n" if stream else body
    side = msgspec.structs.replace(sent.candidate, body=data.encode(), stream=stream)
    stored = stored_pair("p1", msgspec.structs.replace(sent, candidate=side))
    assert stored.candidate.error
    assert "Ann" not in stored.candidate.error
