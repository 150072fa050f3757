"""What a batch looks like at each provider: the object that is polled, the list, the results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from crossgrade.testing._script import Fault, ReceivedRequest, Reply

Outcome: TypeAlias = tuple[str, dict[str, Any] | None, str]
"""A custom id with the body of its answer, or None and what went wrong."""


@dataclass(slots=True, kw_only=True)
class FakeBatch:
    """A batch as it was ordered, with what became of its requests; `kind` says whose API made it."""

    id: str
    kind: str
    order: dict[str, Any]
    outcomes: list[Outcome]
    output_file: str | None = None
    error_file: str | None = None
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    polled: int = 0

    @property
    def answered(self) -> int:
        """How many requests were answered."""
        return sum(body is not None for _, body, _ in self.outcomes)

    @property
    def lost(self) -> int:
        """How many requests were not."""
        return len(self.outcomes) - self.answered


def openai_row(outcome: Outcome) -> dict[str, Any]:
    """Return a line of an output or error file."""
    name, body, problem = outcome
    status = 500 if body is None else 200
    shown = {"error": {"message": problem, "code": "server_error"}} if body is None else body
    response = {"status_code": status, "request_id": "x", "body": shown}
    return {"id": f"r-{name}", "custom_id": name, "response": response, "error": None}


def anthropic_row(outcome: Outcome) -> dict[str, Any]:
    """Return a line of a message batch's results."""
    name, body, problem = outcome
    if body is not None:
        return {"custom_id": name, "result": {"type": "succeeded", "message": body}}
    error = {"type": "error", "error": {"type": "api_error", "message": problem}}
    return {"custom_id": name, "result": {"type": "errored", "error": error}}


def xai_results(batch: FakeBatch, start: int, limit: int) -> dict[str, Any]:
    """Return a page of xAI's results."""
    rows = []
    for name, body, problem in batch.outcomes[start : start + limit]:
        result = {"response": {"chat_get_completion": body}} if body else {"error": {"message": problem}}
        rows.append({"batch_request_id": name, "batch_result": result})
    more = start + limit < len(batch.outcomes)
    return {"results": rows, "pagination_token": str(start + limit) if more else None}


def _openai(batch: FakeBatch, done: bool) -> dict[str, Any]:  # noqa: FBT001 - the table's shape
    ended = {"output_file_id": batch.output_file, "error_file_id": batch.error_file}
    return {
        "id": batch.id,
        "object": "batch",
        **{name: batch.order.get(name) for name in ("endpoint", "input_file_id", "metadata")},
        "completion_window": "24h",
        "created_at": int(batch.made_at.timestamp()),
        "status": "completed" if done else "in_progress",
        **(ended if done else dict.fromkeys(ended)),
        "request_counts": {
            "total": len(batch.outcomes),
            "completed": batch.answered if done else 0,
            "failed": batch.lost if done else 0,
        },
    }


def _together(batch: FakeBatch, done: bool) -> dict[str, Any]:  # noqa: FBT001 - as above
    whole = _openai(batch, done)
    del whole["metadata"], whole["request_counts"]
    return {**whole, "status": whole["status"].upper(), "created_at": batch.made_at.isoformat()}


def _mistral(batch: FakeBatch, done: bool) -> dict[str, Any]:  # noqa: FBT001 - as above
    return {
        "id": batch.id,
        "object": "batch",
        **{name: batch.order.get(name) for name in ("endpoint", "input_files", "metadata", "model")},
        "status": "SUCCESS" if done else "RUNNING",
        "created_at": int(batch.made_at.timestamp()),
        "output_file": batch.output_file if done else None,
        "error_file": batch.error_file if done else None,
        "errors": [],
        "total_requests": len(batch.outcomes),
        "completed_requests": len(batch.outcomes) if done else 0,
        "succeeded_requests": batch.answered if done else 0,
        "failed_requests": batch.lost if done else 0,
    }


def _xai(batch: FakeBatch, done: bool) -> dict[str, Any]:  # noqa: FBT001 - as above
    state = {
        "num_requests": len(batch.outcomes),
        "num_pending": 0 if done else len(batch.outcomes),
        "num_success": batch.answered if done else 0,
        "num_error": batch.lost if done else 0,
        "num_cancelled": 0,
    }
    made_at = batch.made_at.date().isoformat()
    return {"batch_id": batch.id, **batch.order, "create_time": made_at, "cancel_time": None, "state": state}


def _openrouter(batch: FakeBatch, done: bool) -> dict[str, Any]:  # noqa: FBT001 - as above
    whole = _openai(batch, done)
    for name in ("metadata", "input_file_id", "output_file_id", "error_file_id"):
        del whole[name]
    results = [openai_row(outcome) for outcome in batch.outcomes] if done else None
    unknown = dict.fromkeys(("error", "expires_at", "finalized_at", "provider", "usage"))
    return {**whole, **unknown, "model": batch.order["model"], "results": results}


def _gemini(batch: FakeBatch, done: bool) -> dict[str, Any]:  # noqa: FBT001 - as above
    metadata = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "name": f"batches/{batch.id}",
        "displayName": batch.order["batch"]["displayName"],
        "state": "BATCH_STATE_SUCCEEDED" if done else "BATCH_STATE_RUNNING",
        "createTime": batch.made_at.isoformat(),
        "batchStats": {
            "requestCount": str(len(batch.outcomes)),
            "successfulRequestCount": str(batch.answered if done else 0),
            "failedRequestCount": str(batch.lost if done else 0),
        },
    }
    operation: dict[str, Any] = {"name": f"batches/{batch.id}", "metadata": metadata}
    if not done:
        return operation
    responses = [
        {"metadata": {"key": name}, **({"response": body} if body else {"error": _status(problem)})}
        for name, body, problem in batch.outcomes
    ]
    output = {"inlinedResponses": {"inlinedResponses": responses}}
    return {**operation, "metadata": {**metadata, "output": output}, "done": True, "response": output}


def _status(problem: str) -> dict[str, Any]:
    return {"code": 13, "message": problem}


def _anthropic(batch: FakeBatch, done: bool) -> dict[str, Any]:  # noqa: FBT001 - as above
    counts = {
        "processing": 0 if done else len(batch.outcomes),
        "succeeded": batch.answered if done else 0,
        "errored": batch.lost if done else 0,
        "canceled": 0,
        "expired": 0,
    }
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if done else "in_progress",
        "request_counts": counts,
        "created_at": batch.made_at.isoformat(),
        "results_url": "http://elsewhere.invalid/results",
    }


SHAPES: Mapping[str, Callable[[FakeBatch, bool], dict[str, Any]]] = {
    "anthropic": _anthropic,
    "gemini": _gemini,
    "mistral": _mistral,
    "openai": _openai,
    "openrouter": _openrouter,
    "together": _together,
    "xai": _xai,
}
"""A batch as its provider shows it, done or not."""


def listed(batches: Sequence[FakeBatch]) -> Any:
    """Return the list of batches, newest first, all of one provider's, as that provider shows it."""
    rows = [SHAPES[batch.kind](batch, False) for batch in reversed(batches)]
    kind = batches[-1].kind if batches else "openai"
    if kind == "together":
        return rows
    names = {"gemini": "operations", "xai": "batches"}
    return {"object": "list", names.get(kind, "data"): rows, "has_more": False, "total": len(rows)}


def gemini_call(path: str, body: Mapping[str, Any]) -> ReceivedRequest:
    """Return the chat call that a Gemini request stands for, so that one script serves both."""
    messages = [
        {"role": content["role"], "content": "".join(part.get("text", "") for part in content["parts"])}
        for content in body["contents"]
    ]
    model = path.rpartition("/")[2].partition(":")[0]
    chat = {"model": model, "messages": messages}
    return ReceivedRequest("POST", "/v1/chat/completions", {}, msgspec.json.encode(chat))


def played(
    name: str,
    request: ReceivedRequest,
    outcome: Reply | Fault,
    render: Callable[[ReceivedRequest, Reply], Any],
) -> Outcome:
    """Return what became of a request."""
    if isinstance(outcome, Reply):
        return name, render(request, outcome), ""
    return name, None, f"scripted {outcome.kind}"
