"""Answers on their way from provider to client."""


def test_a_completion_passes_through_with_only_its_model_changed(world, fake, make):
    body = make.chat(temperature=0.5, seed=7)
    answer = world.post(body)
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "hello from the model"
    assert fake.requests[0].body == body.replace(b'"support"', b'"big-model"')


def test_a_stream_passes_through_and_counts_tokens_that_the_client_did_not_ask_for(world, fake, make):
    answer = world.post(make.chat(stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b'"choices":[]' not in answer.body
    record = world.settled()[0]
    assert (record.input_tokens, record.output_tokens) == (1, 4)
    assert record.stream
    assert record.ttft_ms is not None


def test_usage_in_a_stream_reaches_a_client_that_asked_for_it(world, fake, make):
    answer = world.post(make.chat(stream=True, stream_options={"include_usage": True}))
    assert b'"choices":[]' in answer.body
    assert world.settled()[0].output_tokens == 4
