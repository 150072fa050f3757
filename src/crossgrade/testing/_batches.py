"""The batch APIs of a fake provider: OpenAI's and its relatives', Anthropic's, Gemini's."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from crossgrade.testing import _batch_shapes as shapes
from crossgrade.testing import _render
from crossgrade.testing._answers import Sending, json_answer
from crossgrade.testing._batch_shapes import FakeBatch, Outcome
from crossgrade.testing._script import Fault, ReceivedRequest, Reply

Play = Callable[[ReceivedRequest], Reply | Fault]


class FakeBatches:
    """Uploaded files and submitted batches. A batch is done at its poll number `polls`.

    Which provider's API is spoken shows in the order: its path, and the fields it has.
    """

    def __init__(self, play: Play, polls: int) -> None:
        self._play = play
        self._polls = polls
        self._files: dict[str, tuple[str, bytes]] = {}
        self._batches: dict[str, FakeBatch] = {}
        self._uploads: set[str] = set()

    def answer(self, request: ReceivedRequest) -> Sending | None:
        """Answer a request of the batch APIs, or return None when it is none."""
        path, _, query = request.path.removeprefix("/v1").partition("?")
        parts = path.strip("/").split("/")
        return self._make(request, parts) if request.method == "POST" else self._show(parts, query)

    def _make(self, request: ReceivedRequest, parts: list[str]) -> Sending | None:
        match parts:
            case ["files"] | ["files", "upload"]:
                return self._upload(request, together=len(parts) == 2)
            case ["batches"]:
                # OpenRouter accepts what it has yet to check.
                status = 202 if "requests" in request.json else 200
                return json_answer(self._order(request.json), status=status)
            case ["batch", "jobs"]:
                lines = self._lines_of(request.json["input_files"][0])
                path = request.json["endpoint"]
                outcomes = [self._call(path, line["custom_id"], line["body"]) for line in lines]
                return json_answer(self._submit("mistral", request.json, outcomes))
            case ["messages", "batches"]:
                items = request.json["requests"]
                outcomes = [self._call("/v1/messages", item["custom_id"], item["params"]) for item in items]
                return json_answer(self._submit("anthropic", request.json, outcomes))
            case ["models", model] if model.endswith(":batchGenerateContent"):
                items = request.json["batch"]["inputConfig"]["requests"]["requests"]
                outcomes = [self._gemini_call(request.path, item) for item in items]
                return json_answer(self._submit("gemini", request.json, outcomes))
        return None

    def _show(self, parts: list[str], query: str) -> Sending | None:
        match parts:
            case ["files", *rest]:
                return self._show_file(rest)
            case ["batches"] | ["messages", "batches"] | ["batch", "jobs"]:
                return json_answer(shapes.listed(list(self._batches.values())))
            case ["messages", "batches", name, "results"] if name in self._batches:
                return _download(
                    _jsonl([shapes.anthropic_row(each) for each in self._batches[name].outcomes])
                )
            case ["batches", name, "results"] if name in self._batches:
                given = parse_qs(query)
                start = int(given.get("pagination_token", ["0"])[0])
                # Pages are smaller than asked for, so that there is more than one.
                return json_answer(shapes.xai_results(self._batches[name], start, limit=3))
            case ["batches", name] | ["messages", "batches", name] | ["batch", "jobs", name]:
                return self._poll(name)
        return None

    def _show_file(self, parts: list[str]) -> Sending | None:
        if not parts:
            rows = [{"id": name, "filename": file[0]} for name, file in self._files.items()]
            return json_answer({"object": "list", "data": rows, "has_more": False})
        if parts[0] not in self._files:
            return None
        name, content = self._files[parts[0]]
        return _download(content) if parts[1:] else json_answer(_file(parts[0], name, content, "processed"))

    def _order(self, order: dict[str, Any]) -> dict[str, Any]:
        """Submit what came to the path that several APIs share."""
        if "requests" in order:
            outcomes = [
                self._call(order["endpoint"], item["custom_id"], {"model": order["model"], **item["body"]})
                for item in order["requests"]
            ]
            return self._submit("openrouter", order, outcomes)
        lines = self._lines_of(order["input_file_id"])
        outcomes = [
            self._call(line.get("url") or order["endpoint"], line["custom_id"], line["body"])
            for line in lines
        ]
        if "name" in order:
            return self._submit("xai", order, outcomes)
        if order["input_file_id"] in self._uploads:
            return {"job": self._submit("together", order, outcomes), "warning": None}
        return self._submit("openai", order, outcomes)

    def _submit(self, kind: str, order: dict[str, Any], outcomes: list[Outcome]) -> dict[str, Any]:
        name = f"batch_{len(self._batches)}"
        batch = FakeBatch(id=name, kind=kind, order=order, outcomes=outcomes)
        self._batches[name] = batch
        if kind in {"mistral", "openai", "together"}:
            good = [shapes.openai_row(each) for each in outcomes if each[1] is not None]
            bad = [shapes.openai_row(each) for each in outcomes if each[1] is None]
            batch.output_file = self._keep("output.jsonl", _jsonl(good)) if good else None
            batch.error_file = self._keep("errors.jsonl", _jsonl(bad)) if bad else None
        return shapes.SHAPES[kind](batch, False)

    def _call(self, path: str, name: str, body: dict[str, Any]) -> Outcome:
        request = ReceivedRequest("POST", path, {}, msgspec.json.encode(body))
        return shapes.played(name, request, self._play(request), _render.body)

    def _gemini_call(self, path: str, item: dict[str, Any]) -> Outcome:
        request = shapes.gemini_call(path, item["request"])
        return shapes.played(item["metadata"]["key"], request, self._play(request), _render.gemini_body)

    def _poll(self, name: str) -> Sending | None:
        batch = self._batches.get(name)
        if batch is None:
            return None
        batch.polled += 1
        return json_answer(shapes.SHAPES[batch.kind](batch, batch.polled >= self._polls))

    def _upload(self, request: ReceivedRequest, *, together: bool) -> Sending:
        filename, content = _uploaded(request)
        name = self._keep(filename, content)
        if together:
            self._uploads.add(name)
        # Where a batch takes its time, so does the reading of its file.
        status = "processed" if self._polls == 1 else "pending"
        return json_answer(_file(name, filename, content, status))

    def _keep(self, filename: str, content: bytes) -> str:
        name = f"file-{len(self._files)}"
        self._files[name] = filename, content
        return name

    def _lines_of(self, file: str) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self._files[file][1].splitlines()]


def _file(name: str, filename: str, content: bytes, status: str) -> dict[str, Any]:
    file = {"id": name, "object": "file", "purpose": "batch", "filename": filename}
    return {**file, "bytes": len(content), "created_at": 1, "status": status}


def _uploaded(request: ReceivedRequest) -> tuple[str, bytes]:
    """Return the name and content of the file part of a multipart form."""
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    for part in request.body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if b"filename=" in head:
            name = head.partition(b'filename="')[2].partition(b'"')[0].decode()
            return name, content.removesuffix(b"\r\n")
    return "", b""


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _download(content: bytes) -> Sending:
    length = str(len(content)).encode()
    head = b"HTTP/1.1 200 Fake\r\ncontent-type: application/octet-stream\r\ncontent-length: " + length
    return Sending(head + b"\r\n\r\n", [content])
