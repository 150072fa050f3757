"""The batch APIs of a fake provider: OpenAI's files and batches, Anthropic's message batches."""

from collections.abc import Callable
from typing import Any

import msgspec

from crossgrade.testing import _render
from crossgrade.testing._answers import Sending, json_answer
from crossgrade.testing._script import Fault, ReceivedRequest, Reply

Play = Callable[[ReceivedRequest], Reply | Fault]


class FakeBatches:
    """Uploaded files and submitted batches. A batch is done at its poll number `polls`."""

    def __init__(self, play: Play, polls: int) -> None:
        self._play = play
        self._polls = polls
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._polled: dict[str, int] = {}

    def answer(self, request: ReceivedRequest) -> Sending | None:
        """Answer a request of the batch APIs, or return None when it is none."""
        found: Sending | None = None
        match request.method, request.path.removeprefix("/v1").strip("/").split("/"):
            case "POST", ["files"]:
                name = self._keep(_uploaded(request))
                file = {"id": name, "object": "file", "purpose": "batch", "filename": "batch.jsonl"}
                found = json_answer(
                    {**file, "bytes": len(self._files[name]), "created_at": 1, "status": "processed"}
                )
            case "GET", ["files", name, "content"] if name in self._files:
                found = _lines(self._files[name])
            case "POST", ["batches"]:
                found = json_answer(self._submit_openai(request.json))
            case "POST", ["messages", "batches"]:
                found = json_answer(self._submit_anthropic(request.json))
            case "GET", ["batches", name] | ["messages", "batches", name]:
                found = self._poll(name)
            case "GET", ["messages", "batches", name, "results"] if name in self._files:
                found = _lines(self._files[name])
        return found

    def _submit_openai(self, order: dict[str, Any]) -> dict[str, Any]:
        good, bad = [], []
        for line in self._files[order["input_file_id"]].splitlines():
            item = msgspec.json.decode(line)
            request = ReceivedRequest("POST", item["url"], {}, msgspec.json.encode(item["body"]))
            outcome = self._play(request)
            base = {"id": f"r-{item['custom_id']}", "custom_id": item["custom_id"], "error": None}
            if isinstance(outcome, Reply):
                body = _render.openai_body(request, outcome)
                good.append({**base, "response": {"status_code": 200, "request_id": "x", "body": body}})
            else:
                error = {"error": {"message": f"scripted {outcome.kind}", "code": outcome.kind}}
                bad.append({**base, "response": {"status_code": 500, "request_id": "x", "body": error}})
        name = f"batch_{len(self._batches)}"
        self._batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": order["endpoint"],
            "input_file_id": order["input_file_id"],
            "completion_window": order["completion_window"],
            "created_at": 1,
            "status": "completed",
            "output_file_id": self._keep(_jsonl(good)) if good else None,
            "error_file_id": self._keep(_jsonl(bad)) if bad else None,
            "request_counts": {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)},
        }
        return {**self._batches[name], "status": "validating", "output_file_id": None, "error_file_id": None}

    def _submit_anthropic(self, order: dict[str, Any]) -> dict[str, Any]:
        name = f"msgbatch_{len(self._batches)}"
        results = []
        for item in order["requests"]:
            request = ReceivedRequest("POST", "/v1/messages", {}, msgspec.json.encode(item["params"]))
            outcome = self._play(request)
            if isinstance(outcome, Reply):
                result = {"type": "succeeded", "message": _render.anthropic_body(request, outcome)}
            else:
                error = {"type": "api_error", "message": f"scripted {outcome.kind}"}
                result = {"type": "errored", "error": {"type": "error", "error": error}}
            results.append({"custom_id": item["custom_id"], "result": result})
        self._files[name] = _jsonl(results)
        failed = sum(item["result"]["type"] == "errored" for item in results)
        counts = {"processing": 0, "succeeded": len(results) - failed, "errored": failed}
        self._batches[name] = {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended",
            "request_counts": {**counts, "canceled": 0, "expired": 0},
            "results_url": "http://elsewhere.invalid/results",
        }
        return {**self._batches[name], "processing_status": "in_progress"}

    def _poll(self, name: str) -> Sending | None:
        batch = self._batches.get(name)
        if batch is None:
            return None
        self._polled[name] = self._polled.get(name, 0) + 1
        if self._polled[name] >= self._polls:
            return json_answer(batch)
        waiting = {"status": "in_progress"} if "status" in batch else {"processing_status": "in_progress"}
        return json_answer({**batch, **waiting, "output_file_id": None, "error_file_id": None})

    def _keep(self, content: bytes) -> str:
        name = f"file-{len(self._files)}"
        self._files[name] = content
        return name


def _uploaded(request: ReceivedRequest) -> bytes:
    """Return the file part of a multipart form."""
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    for part in request.body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b"filename=" in head:
            return content.removesuffix(b"\r\n")
    return b""


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _lines(content: bytes) -> Sending:
    length = str(len(content)).encode()
    head = b"HTTP/1.1 200 Fake\r\ncontent-type: application/octet-stream\r\ncontent-length: " + length
    return Sending(head + b"\r\n\r\n", [content])
