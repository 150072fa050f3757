"""Answers that the gateway gives by itself: errors in the client's dialect, heads of responses."""

import math
from dataclasses import dataclass

from crossgrade.dialects import CLIENTS, ClientName
from crossgrade.errors import AccessError
from crossgrade.gateway._limits import LimitRefusal

_REASONS = {
    200: b"OK",
    202: b"Accepted",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    417: b"Expectation Failed",
    422: b"Unprocessable Content",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON_TYPE = b"application/json"
STREAM_TYPE = b"text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a request gets no answer of a model: what the client is told.

    `code` is the stable name that programs compare.
    """

    status: int
    message: str
    code: str
    retry_after_s: float | None = None

    @property
    def kind(self) -> str | None:
        """OpenAI's `type` of the error, None for what goes with the status."""
        return self.code if self.code == "insufficient_quota" else None


def bad_request(message: str, code: str = "invalid_request") -> Problem:
    """Return the usual 400."""
    return Problem(status=400, message=message, code=code)


def limit_problem(refusal: LimitRefusal) -> Problem:
    """Return what a client is told when a budget or rate refuses."""
    status = 503 if refusal.kind == "limits_unavailable" else 429
    return Problem(
        status=status, message=refusal.message, code=refusal.kind, retry_after_s=refusal.retry_after_s
    )


def access_problem(error: AccessError) -> Problem:
    """Return what a caller is told who is not let in."""
    return Problem(status=error.status, message=f"{error.message}; {error.hint}", code=error.reason)


def unknown_model(path_route: str | None, model: str | None) -> Problem:
    """Return what is said of a route or model that there is not."""
    if path_route is not None:
        return Problem(status=404, message=f"There is no route `{path_route}`.", code="route_not_found")
    if not model:
        return bad_request("The body names no `model`.", "no_model")
    shown = "".join(letter if letter.isprintable() else "?" for letter in model[:100])
    message = f"There is no route or model `{shown}`: `GET /v1/models` lists those that there are."
    return Problem(status=404, message=message, code="model_not_found")


def problem_body(problem: Problem, client: ClientName, request_id: str) -> bytes:
    """Return the error's body in the words of the client's API."""
    return CLIENTS[client].render_error(
        problem.status, problem.message, kind=problem.kind, code=problem.code, request_id=request_id
    )


def problem_event(problem: Problem, client: ClientName) -> bytes:
    """Return the error as the last event of a stream that had begun."""
    return CLIENTS[client].stream_error(problem.status, problem.message, problem.kind, problem.code)


def head(status: int, content_type: bytes, *, length: int | None, extra: bytes = b"") -> bytes:
    """Return a response's head; without a `length` the body is chunked.

    `extra` holds further header lines, each with its CRLF.
    """
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    reason = _REASONS.get(status, b"Status")
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%b\r\n%b\r\n" % (
        status,
        reason,
        content_type,
        framing,
        extra,
    )


def whole(status: int, content_type: bytes, body: bytes, extra: bytes) -> bytes:
    """Return a whole response; `extra` as for `head`."""
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        status,
        _REASONS.get(status, b"Status"),
        content_type,
        len(body),
        extra,
        body,
    )


def problem_headers(problem: Problem) -> bytes:
    """Return the header lines that belong to an error."""
    lines = b""
    if problem.retry_after_s is not None:
        lines = b"retry-after: %d\r\n" % max(1, math.ceil(problem.retry_after_s))
    if problem.status == 401:
        lines += b'www-authenticate: Bearer realm="crossgrade"\r\n'
    return lines


def problem_answer(problem: Problem, client: ClientName, request_id: str, lines: bytes) -> bytes:
    """Return the whole answer that says an error; `lines` are further header lines."""
    body = problem_body(problem, client, request_id)
    extra = b"%bx-request-id: %b\r\n%b" % (problem_headers(problem), request_id.encode(), lines)
    return whole(problem.status, JSON_TYPE, body, extra)
