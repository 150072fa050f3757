"""Every batch API's orders and answers, against bodies as its documentation and its own client have them."""

from datetime import UTC, datetime

import msgspec
import pytest

from crossgrade.dialects import DIALECTS, HOSTS
from crossgrade.dialects.batches import BATCH_DIALECTS, BatchDialect, BatchOrder, batch_order, decoded
from crossgrade.domain import Message, ModelAnswer, ModelRequest
from crossgrade.errors import BadRequestError, ProviderError, UpstreamError
from tests.codes import raises_code

QUESTION = ModelRequest(model="m-1", messages=(Message(role="user", content="Hi"),))
CHAT = {"model": "m-1", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.0}
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "model": "m-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
}
GEMINI_ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "totalTokenCount": 6},
}


def dialect_of(host: str) -> BatchDialect:
    kind = HOSTS[host].batch
    assert kind is not None
    return BATCH_DIALECTS[kind]


def order_of(host: str, file: str | None = "file-1") -> BatchOrder:
    row = HOSTS[host]
    order = batch_order({"a": QUESTION}, DIALECTS[row.dialect], row, label="our-label")
    return BatchOrder(order.label, order.model, order.path, order.calls, file)


def lines_of(host: str) -> list[object]:
    upload = dialect_of(host).upload
    assert upload is not None
    return [msgspec.json.decode(line) for line in upload.content(order_of(host)).splitlines()]


def text(host: str, body: bytes | ProviderError) -> str:
    result = decoded(body, QUESTION, DIALECTS[HOSTS[host].dialect])
    assert isinstance(result, ModelAnswer), result
    return result.text


def encode(value: object) -> bytes:
    return msgspec.json.encode(value)


COMPLETION = {**CHAT, "max_completion_tokens": 512}
TOKENS = {**CHAT, "max_tokens": 512}


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("openai", {"method": "POST", "url": "/v1/chat/completions", "body": COMPLETION}),
        ("groq", {"method": "POST", "url": "/v1/chat/completions", "body": COMPLETION}),
        ("deepinfra", {"method": "POST", "url": "/v1/chat/completions", "body": TOKENS}),
        ("azure", {"method": "POST", "url": "/chat/completions", "body": COMPLETION}),
        ("xai", {"method": "POST", "url": "/v1/chat/completions", "body": TOKENS}),
        ("together", {"body": TOKENS}),
        ("mistral", {"body": TOKENS}),
    ],
)
def test_a_line_of_the_uploaded_file(host: str, line: dict[str, object]) -> None:
    assert lines_of(host) == [{"custom_id": "a", **line}]


def test_the_responses_api_has_batches_too() -> None:
    (line,) = lines_of("openai-responses")
    assert isinstance(line, dict)
    assert line["url"] == "/v1/responses"
    assert (
        dialect_of("openai-responses").order(order_of("openai-responses")).body["endpoint"] == "/v1/responses"
    )


FILE = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
LABELLED = {"metadata": {"crossgrade": "our-label"}}


@pytest.mark.parametrize(
    ("host", "path", "body"),
    [
        ("openai", "/batches", {**FILE, **LABELLED}),
        ("azure", "/batches", {**FILE, "endpoint": "/chat/completions", **LABELLED}),
        ("together", "/batches", FILE),
        ("xai", "/batches", {"name": "our-label", "input_file_id": "file-1"}),
        (
            "mistral",
            "/batch/jobs",
            {
                "input_files": ["file-1"],
                "endpoint": "/v1/chat/completions",
                "model": "m-1",
                "timeout_hours": 24,
                **LABELLED,
            },
        ),
        (
            "openrouter",
            "/batches",
            {
                "endpoint": "/v1/chat/completions",
                "model": "m-1",
                "completion_window": "24h",
                "requests": [
                    {
                        "custom_id": "a",
                        "body": {name: value for name, value in TOKENS.items() if name != "model"},
                    }
                ],
            },
        ),
        (
            "gemini",
            "/models/m-1:batchGenerateContent",
            {
                "batch": {
                    "displayName": "our-label",
                    "inputConfig": {
                        "requests": {
                            "requests": [
                                {
                                    "request": {
                                        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
                                        "generationConfig": {"temperature": 0.0, "maxOutputTokens": 512},
                                    },
                                    "metadata": {"key": "a"},
                                }
                            ]
                        }
                    },
                }
            },
        ),
        (
            "anthropic",
            "/messages/batches",
            {
                "requests": [
                    {
                        "custom_id": "a",
                        "params": {
                            "model": "m-1",
                            "messages": [{"role": "user", "content": "Hi"}],
                            "max_tokens": 512,
                            "temperature": 0.0,
                        },
                    }
                ]
            },
        ),
    ],
)
def test_the_order_that_makes_a_batch(host: str, path: str, body: dict[str, object]) -> None:
    wire = dialect_of(host).order(order_of(host))
    assert wire.path == path
    assert msgspec.json.decode(wire.encode()) == body


def gemini(state: str, **fields: object) -> bytes:
    stats = {"requestCount": "2", "successfulRequestCount": "1", "failedRequestCount": "1"}
    metadata = {"@type": "…", "state": state, "displayName": "our-label", "batchStats": stats}
    return encode({"name": "batches/b-1", "metadata": metadata, **fields})


def xai(**fields: object) -> bytes:
    state = {"num_requests": 2, "num_pending": 0, "num_success": 1, "num_error": 1, "num_cancelled": 0}
    return encode({"batch_id": "b-1", "name": "our-label", "cancel_time": None, "state": state, **fields})


COUNTS = {"total": 2, "completed": 1, "failed": 1}
ENDED = {"id": "b-1", "output_file_id": "file-2", "error_file_id": "file-3", "request_counts": COUNTS}
JOB = {"id": "b-1", "output_file": "file-2", "succeeded_requests": 1, "failed_requests": 1, "errors": []}
FILES = ("/files/file-2/content", "/files/file-3/content")


@pytest.mark.parametrize(
    ("host", "body", "state", "results"),
    [
        ("openai", encode({"id": "b-1", "status": "validating"}), "running", ()),
        ("openai", encode({**ENDED, "status": "completed"}), "done", FILES),
        ("openai", encode({**ENDED, "status": "expired"}), "done", FILES),
        ("openai", encode({"id": "b-1", "status": "failed", "errors": {"data": []}}), "failed", ()),
        ("together", encode({**ENDED, "status": "COMPLETED", "progress": 100}), "done", FILES),
        ("together", encode({"id": "b-1", "status": "IN_PROGRESS"}), "running", ()),
        ("together", encode({"id": "b-1", "status": "FAILED", "error": "no such model"}), "failed", ()),
        ("mistral", encode({**JOB, "status": "SUCCESS"}), "done", FILES[:1]),
        ("mistral", encode({**JOB, "status": "CANCELLATION_REQUESTED"}), "running", FILES[:1]),
        ("mistral", encode({**JOB, "status": "TIMEOUT_EXCEEDED"}), "done", FILES[:1]),
        ("mistral", encode({"id": "b-1", "status": "FAILED", "errors": [{"message": "no"}]}), "failed", ()),
        ("xai", xai(), "done", ("/batches/b-1/results?limit=1000",)),
        ("xai", xai(state={"num_requests": 0}), "running", ("/batches/b-1/results?limit=1000",)),
        ("xai", xai(state={"num_requests": 2, "num_pending": 1}), "running", None),
        ("xai", xai(cancel_time="2026-01-01", cancel_by_xai_message="bad file"), "failed", None),
        ("openrouter", encode({"id": "b-1", "status": "finalizing"}), "running", ("/batches/b-1",)),
        ("openrouter", encode({"id": "b-1", "status": "completed"}), "done", ("/batches/b-1",)),
        ("openrouter", encode({"id": "b-1", "status": "failed", "error": {"message": "no"}}), "failed", None),
        ("gemini", gemini("BATCH_STATE_PENDING"), "running", ("/batches/b-1",)),
        ("gemini", gemini("JOB_STATE_RUNNING"), "running", ("/batches/b-1",)),
        ("gemini", gemini("BATCH_STATE_SUCCEEDED", done=True), "done", ("/batches/b-1",)),
        ("gemini", gemini("BATCH_STATE_EXPIRED", error={"code": 4, "message": "late"}), "failed", None),
        ("anthropic", encode({"id": "b-1", "processing_status": "canceling"}), "running", None),
        ("anthropic", encode({"id": "b-1", "processing_status": "ended"}), "done",
         ("/messages/batches/b-1/results",)),
    ],
)  # fmt: skip
def test_how_far_a_batch_is(host: str, body: bytes, state: str, results: tuple[str, ...] | None) -> None:
    status = dialect_of(host).status(body)
    assert status.state == state
    assert results is None or status.results == results
    assert bool(status.problem) == (state == "failed")


@pytest.mark.parametrize("host", ["openai", "mistral", "xai", "gemini"])
def test_how_many_requests_are_answered(host: str) -> None:
    bodies = {
        "openai": encode({**ENDED, "status": "completed"}),
        "mistral": encode({**JOB, "status": "SUCCESS"}),
        "xai": xai(),
        "gemini": gemini("BATCH_STATE_SUCCEEDED"),
    }
    status = dialect_of(host).status(bodies[host])
    assert (status.answered, status.failed) == (1, 1)


def test_an_id_that_would_lead_elsewhere_is_refused() -> None:
    for name in ("../files", "a/b", "", "..", "a?b"):
        with raises_code("batch-answer-without-id"):
            dialect_of("openai").made(encode({"id": name}))
        with raises_code("batch-answer-without-id"):
            dialect_of("openai").status(
                encode({"id": "b", "status": "completed", "output_file_id": name or "/"})
            )


def test_xais_results_come_in_pages() -> None:
    page = dialect_of("xai").page
    assert page is not None
    results = [
        {"batch_request_id": "a", "batch_result": {"response": {"chat_get_completion": ANSWER}}},
        {"batch_request_id": "b", "batch_result": {"error": {"code": 3, "message": "too odd"}}},
        {"batch_request_id": "c"},
    ]
    items, query = page(encode({"results": results, "pagination_token": "t/1"}), [])
    assert query == "limit=1000&pagination_token=t%2F1"
    assert [name for name, _ in items] == ["a", "b", "c"]
    assert text("xai", items[0][1]) == "hello"
    assert "too odd" in str(items[1][1])
    assert isinstance(items[2][1], UpstreamError)
    assert page(b'{"results":[],"pagination_token":""}', []) == ([], None)


def gemini_output(*responses: object) -> bytes:
    return gemini(
        "BATCH_STATE_SUCCEEDED", response={"inlinedResponses": {"inlinedResponses": list(responses)}}
    )


def test_geminis_results_are_found_by_key() -> None:
    page = dialect_of("gemini").page
    assert page is not None
    body = gemini_output(
        {"metadata": {"key": "b"}, "error": {"code": 8, "message": "spent"}},
        {"metadata": {"key": "a"}, "response": GEMINI_ANSWER},
    )
    items, query = page(body, ["a", "b"])
    assert query is None
    assert [name for name, _ in items] == ["b", "a"]
    assert "spent" in str(items[0][1])
    assert text("gemini", items[1][1]) == "hello"


def test_geminis_results_without_keys_come_in_order_or_not_at_all() -> None:
    page = dialect_of("gemini").page
    assert page is not None
    body = gemini_output({"response": GEMINI_ANSWER}, {"error": {"code": 8, "message": "spent"}})
    items, _ = page(body, ["a", "b"])
    assert [name for name, _ in items] == ["a", "b"]
    with raises_code("batch-results-without-keys"):
        page(body, ["a", "b", "c"])


def test_gemini_may_put_its_output_in_the_metadata_and_leave_a_level_out() -> None:
    page = dialect_of("gemini").page
    assert page is not None
    output = {"inlinedResponses": [{"metadata": {"key": "a"}, "response": GEMINI_ANSWER}]}
    items, _ = page(encode({"name": "batches/b-1", "metadata": {"output": output}}), ["a"])
    assert text("gemini", items[0][1]) == "hello"


def test_results_in_openais_lines() -> None:
    line = dialect_of("mistral").line
    assert line is not None
    good = {"id": "r", "custom_id": "a", "response": {"status_code": 200, "body": ANSWER}, "error": None}
    name, body = line(encode(good))
    assert (name, text("mistral", body)) == ("a", "hello")
    bad = {
        "custom_id": "b",
        "response": {"status_code": 400, "body": {"error": {"message": "no such model"}}},
    }
    assert isinstance(line(encode(bad))[1], BadRequestError)
    lost = {"custom_id": "c", "response": None, "error": {"code": "batch_expired", "message": "too late"}}
    assert "too late" in str(line(encode(lost))[1])


@pytest.mark.parametrize(
    ("host", "body", "query"),
    [
        ("openai", {"data": [{"id": "b-1", **LABELLED, "created_at": 0}], "has_more": True},
         "limit=100&after=b-1"),
        ("azure", {"data": [{"id": "b-1", **LABELLED}], "has_more": False}, None),
        ("together", [{"id": "b-1", "input_file_id": "our-file", "created_at": "1970-01-01T00:00:00Z"}], None),
        ("mistral", {"data": [{"id": "b-1", **LABELLED, "created_at": 0}], "total": 300}, None),
        ("xai", {"batches": [{"batch_id": "b-1", "name": "our-label", "create_time": "1970-01-01"}],
                 "pagination_token": "t"}, "limit=100&pagination_token=t"),
        ("gemini", {"operations": [{"name": "batches/b-1", "metadata": {"displayName": "our-label"}}],
                    "nextPageToken": "t"}, "pageSize=100&pageToken=t"),
        ("openrouter", {"data": [{"id": "b-1", "request_counts": {"total": 7}, "created_at": 0}]}, None),
        ("anthropic", {"data": [{"id": "b-1", "request_counts": {"processing": 4, "errored": 3},
                                 "created_at": "1970-01-01T00:00:00Z"}], "has_more": True},
         "limit=100&after_id=b-1"),
    ],
)  # fmt: skip
def test_what_a_list_tells_of_a_batch(host: str, body: object, query: str | None) -> None:
    dialect = dialect_of(host)
    page = dialect.listed(encode(body))
    assert page.next_query == query
    (batch,) = page.batches
    assert batch.id == "b-1"
    assert batch.made_at in {None, datetime(1970, 1, 1, tzinfo=UTC)}
    if dialect.labelled == "batch":
        assert batch.label == "our-label"
    elif dialect.labelled == "file":
        assert batch.file == "our-file"
    else:
        assert (batch.size, batch.label) == (7, None)
        assert batch.made_at is not None
    assert dialect.listed(b"{}").batches == ()


def test_one_batch_has_one_model_and_one_endpoint() -> None:
    row = HOSTS["openai"]
    for other in (
        ModelRequest(model="m-1", text="Once"),
        ModelRequest(model="m-2", messages=QUESTION.messages),
    ):
        with raises_code("batch-mixed"):
            batch_order({"a": QUESTION, "b": other}, DIALECTS[row.dialect], row, label="x")


def test_every_host_with_batches_is_documented_as_such() -> None:
    for host in HOSTS.values():
        assert host.batch is None or host.batch in BATCH_DIALECTS
