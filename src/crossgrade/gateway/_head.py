"""Heads of HTTP messages: which endpoint a request asks for, whether it is valid, which headers pass.

On a kept connection, nearly all heads are the same bytes. A client sends heads that differ in the length of
the body at most, and so do many model servers. The first is parsed. A later one is only compared with it,
since the same bytes mean the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from crossgrade.dialects import ClientName
from crossgrade.domain import DialectName, Serving
from crossgrade.gateway._problems import Problem, bad_request

EndpointName = Literal[
    "chat", "completions", "embeddings", "responses", "messages",
    "models", "liveliness", "readiness", "metrics", "feedback",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A served path; an endpoint with a `client` API calls a model.

    Targets of this `dialect` accept its requests unchanged, under `path`. `needs_key` says that the caller
    must be known, `has_output` that answers have output tokens, which vectors have not. `run` is the run of
    an agent under which the path was asked for, None outside of runs.
    """

    name: EndpointName
    method: bytes
    path: str
    client: ClientName | None = None
    dialect: DialectName = "openai"
    needs_key: bool = True
    has_output: bool = True
    run: str | None = None


_CALLS = (
    Endpoint("chat", b"POST", "/chat/completions", "openai"),
    Endpoint("completions", b"POST", "/completions", "openai-text"),
    Endpoint("embeddings", b"POST", "/embeddings", "openai", has_output=False),
    Endpoint("responses", b"POST", "/responses", "openai-responses", "openai-responses"),
    Endpoint("messages", b"POST", "/messages", "anthropic", "anthropic"),
    Endpoint("models", b"GET", "/models"),
)
_PAGES = (
    Endpoint("liveliness", b"GET", "/health/liveliness", needs_key=False),
    Endpoint("readiness", b"GET", "/health/readiness", needs_key=False),
    Endpoint("metrics", b"GET", "/metrics"),
    Endpoint("feedback", b"POST", "/v1/feedback"),
)
_API: dict[bytes, Endpoint] = {
    prefix + endpoint.path.encode(): endpoint for endpoint in _CALLS for prefix in (b"/v1", b"")
}
_ALL: dict[bytes, Endpoint] = _API | {endpoint.path.encode(): endpoint for endpoint in _PAGES}
_ROUTED = re.compile(rb"/r/([A-Za-z0-9._~-]{1,128})(/.*)")
_BELOW_MESSAGES = re.compile(rb"(?:/run/[^/]*)?(?:/r/[^/]+)?(?:/v1)?/messages(?:/[^?]*)?(?:\?.*)?")
"""Paths of Anthropic's API that are not served, such as `/v1/messages/count_tokens`, or are malformed."""

_RUN_HEADER = b"x-crossgrade-run"
_RUN_PREFIX = b"/run/"
_RUN_ID = rb"(?!\.\.?(?:/|\Z))[A-Za-z0-9._-]{1,64}"
_IN_RUN = re.compile(rb"/run/(%b)(?=[/?]|\Z)" % _RUN_ID)
_BAD_RUN = bad_request(
    "The id of the run is missing or malformed: it has 1 to 64 letters, digits, `.`, `_` or `-`.", "bad_run"
)
_TWO_RUNS = bad_request("The path and the header name two different runs: send one.", "ambiguous_run")

_HOST = re.compile(rb"[A-Za-z0-9._~\-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")

_ONCE = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding",
        b"expect", b"authorization", b"x-api-key", b"api-key", b"x-request-id", b"x-forwarded-user",
        b"anthropic-version", b"anthropic-beta", b"openai-beta",
    )
)  # fmt: skip
_OURS = b"x-crossgrade-"
"""The prefix of headers that say who calls and which route. None of them may be repeated."""


def client_of(target: bytes) -> ClientName:
    """Return the API in whose format a request target is answered; OpenAI's if it is unknown."""
    place = locate(target)
    if isinstance(place, Problem):
        return "anthropic" if _BELOW_MESSAGES.fullmatch(target) else "openai"
    return place[0].client or "openai"


class Sink(Protocol):
    """Takes the body of a request that is too large to be kept in memory."""

    def body(self, data: bytes) -> None:
        """Take the next piece."""

    def body_end(self) -> None:
        """Note that the body is complete."""


class Answering(Protocol):
    """The work on one request, as its connection sees it."""

    @property
    def begun(self) -> bool:
        """Whether a part of the answer was sent and more is to come."""

    def client_gone(self) -> None:
        """Cancel: the client has disconnected."""

    def client_paused(self) -> None:
        """Send no more for now: the client reads slowly."""

    def client_resumed(self) -> None:
        """Continue to send."""


class Request:
    """One request as it arrives: its head, then its body in pieces or passed to a `sink`."""

    # Defaults on the class: a plain request touches few of them.
    method = b""
    target = b""
    version = "1.1"
    length: int | None = 0
    size = others = other_bytes = head_bytes = phase = 0
    headed = complete = started = keep_alive = vetted = waited = False
    problem: Problem | None = None
    sink: Sink | None = None

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.parts: list[bytes] = []

    def repeated(self, name: bytes, value: bytes) -> None:
        """Take a header whose name was there before, or a trailer."""
        if self.headed:
            self.problem = self.problem or bad_request("Trailers are not accepted.", "trailer_refused")
        elif name in _ONCE or name.startswith(_OURS):
            self.problem = bad_request(
                f"The header `{name.decode('latin-1')}` is there twice.", "duplicate_header"
            )
        else:
            self.others += 1
            self.other_bytes += len(name) + len(value) + 4

    def without_upgrade(self) -> bytes:
        """Return the head again, without the headers that ask for another protocol."""
        kept = [item for item in self.headers.items() if item[0] not in (b"connection", b"upgrade")]
        lines = b"".join(b"%b: %b\r\n" % item for item in kept)
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (self.method, self.target, lines)

    def text(self, name: bytes) -> str | None:
        """Return a header as text; None if it is missing or empty."""
        value = self.headers.get(name)
        return value.decode("latin-1").strip() or None if value else None


class WholeRequest(Request):
    """A request that arrived complete on a kept connection.

    It has the head of an earlier request (the very same `headers` object) and a body.
    """

    headed = complete = started = keep_alive = True

    def __init__(self, head: Request, body: bytes) -> None:
        self.method = head.method
        self.target = head.target
        self.headers = head.headers
        self.parts = [body]
        self.length = self.size = len(body)


def locate(target: bytes) -> tuple[Endpoint, str | None] | Problem:
    """Return the endpoint of a request target, and the route that its path names (None if it names none)."""
    endpoint = _ALL.get(target)
    if endpoint is not None:
        return endpoint, None
    if not target.startswith(b"/"):
        return bad_request(
            "The request target is not a path: this is an API, not a forward proxy.", "bad_target"
        )
    path = target.partition(b"?")[0]
    run = None
    if path.startswith(_RUN_PREFIX):
        found = _IN_RUN.match(path)
        if found is None:
            return _BAD_RUN
        run, path = found[1].decode(), path[found.end() :]
    routed = _ROUTED.fullmatch(path)
    endpoint = _API.get(routed[2]) if routed is not None else _ALL.get(path)
    if endpoint is None:
        return Problem(status=404, message="There is no such path here.", code="unknown_path")
    if run is not None:
        endpoint = replace(endpoint, run=run)
    return endpoint, None if routed is None else routed[1].decode()


def check_head(request: Request, serving: Serving) -> Problem | None:
    """Return why a head is refused, None if it is valid; sets the body's `length` (None: chunked)."""
    headers = request.headers
    length = headers.get(b"content-length")
    if (
        length is not None
        and headers.get(b"host") in _SEEN_HOSTS
        and _SPECIAL.isdisjoint(headers)
        and not request.others
        and request.problem is None
        and request.version == "1.1"
        and len(headers) <= serving.head_max_count
        and request.head_bytes <= serving.head_max_bytes
    ):  # nearly every request: no header needs a closer check
        request.length = int(length)
        return body_too_large(serving) if request.length > serving.body_max_bytes else None
    return _check_closely(request, serving)


_SPECIAL = frozenset((b"content-encoding", b"expect", b"transfer-encoding", _RUN_HEADER))
_SEEN_HOSTS: set[bytes | None] = set()
_MOST_SEEN = 100
"""The number of `host` values remembered as well-formed."""


def _check_closely(request: Request, serving: Serving) -> Problem | None:
    headers = request.headers
    problem = request.problem
    if problem is None and len(headers) + request.others > serving.head_max_count:
        problem = Problem(
            status=431,
            code="too_many_headers",
            message=f"The request has more than {serving.head_max_count} headers.",
        )
    if problem is None and request.head_bytes > serving.head_max_bytes:
        problem = _large_head(request, serving)
    problem = problem or _host_problem(request)
    length = headers.get(b"content-length")
    request.length = int(length) if length is not None else None if b"transfer-encoding" in headers else 0
    return problem or _run_problem(request) or _body_problem(request, serving)


def head_too_large(serving: Serving) -> Problem:
    """Return the refusal of a head over the limit."""
    return Problem(
        status=431,
        code="head_too_large",
        message=f"The request's head is over the limit of {serving.head_max_bytes} bytes.",
    )


def body_too_large(serving: Serving) -> Problem:
    """Return the refusal of a body over the limit."""
    return Problem(
        status=413,
        code="request_too_large",
        message=f"The request's body is over the limit of {serving.body_max_bytes} bytes.",
    )


def _large_head(request: Request, serving: Serving) -> Problem | None:
    """Count exactly: the head may have arrived in one piece with a body."""
    size = len(request.target) + request.other_bytes
    size += sum(len(name) + len(value) + 4 for name, value in request.headers.items())
    return head_too_large(serving) if size > serving.head_max_bytes else None


def _host_problem(request: Request) -> Problem | None:
    host = request.headers.get(b"host")
    if request.version not in ("1.1", "1.0"):
        return bad_request("Only HTTP/1.1 and HTTP/1.0 are spoken here.", "bad_http_version")
    if host is None:
        return None if request.version == "1.0" else bad_request("The `host` header is missing.", "bad_host")
    if _HOST.fullmatch(host) is None:
        return bad_request("The `host` header is malformed.", "bad_host")
    if len(_SEEN_HOSTS) < _MOST_SEEN:
        _SEEN_HOSTS.add(host)
    return None


def _run_problem(request: Request) -> Problem | None:
    """Let the target name the run that a header names, or return why that is refused.

    What follows looks at the target alone, so that requests outside of runs cost nothing more.
    """
    named = request.headers.get(_RUN_HEADER)
    if named is None:
        return None
    run = named.strip()
    if re.fullmatch(_RUN_ID, run) is None:
        return _BAD_RUN
    found = _IN_RUN.match(request.target)
    if found is not None:
        return None if found[1] == run else _TWO_RUNS
    if request.target.startswith(b"/") and not request.target.startswith(_RUN_PREFIX):
        request.target = _RUN_PREFIX + run + request.target
    return None  # any other target is refused later


def _body_problem(request: Request, serving: Serving) -> Problem | None:
    if request.length is not None and request.length > serving.body_max_bytes:
        return body_too_large(serving)
    headers = request.headers
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        return Problem(
            status=415,
            code="unsupported_encoding",
            message="The body is compressed, which is not accepted: send it without `content-encoding`.",
        )
    expect = headers.get(b"expect")
    if expect is not None and expect.strip().lower() != b"100-continue":
        return Problem(status=417, code="bad_expectation", message="Only `expect: 100-continue` is known.")
    return None


_PASSED_ON = frozenset(
    f"x-ratelimit-{what}-{kind}".encode()
    for what in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
) | frozenset(
    f"anthropic-ratelimit-{kind}-{what}".encode()
    for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    for what in ("limit", "remaining", "reset")
)
"""The provider's headers that the client receives."""

_SENT_ON = frozenset((b"anthropic-beta", b"openai-beta"))
"""The client's headers that a provider of the same API receives."""


def passed_on(headers: Mapping[bytes, bytes]) -> bytes:
    """Return those lines of a provider's headers that the client receives."""
    return _lines(headers, _PASSED_ON)


def sent_on(headers: Mapping[bytes, bytes]) -> bytes:
    """Return those lines of a client's headers that a provider of the same API receives."""
    return _lines(headers, _SENT_ON)


def _lines(headers: Mapping[bytes, bytes], names: frozenset[bytes]) -> bytes:
    if names.isdisjoint(headers):
        return b""
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers.items() if name in names)


_LONGEST_HEAD = 8192
_MOST_DIGITS = 10
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)\r\n", re.IGNORECASE)


class KnownHead:
    """A head that was parsed and passed every check, split where the number of its content-length is."""

    __slots__ = ("_after", "_before", "_most", "_start")

    def __init__(self, before: bytes, after: bytes, most: int) -> None:
        self._before = before
        self._start = len(before)
        self._after = after
        self._most = most

    def body(self, data: bytes) -> bytes | None:
        """Return the body, if `data` is this head with one complete body and nothing more.

        None means anything else, which the parser must read; it has seen none of it.
        """
        if not data.startswith(self._before):
            return None
        start, after = self._start, self._after
        end = data.find(after, start, start + _MOST_DIGITS + len(after))
        digits = data[start:end]
        if end < 0 or not digits.isdigit():
            return None
        body = data[end + len(after) :]
        length = int(digits)
        return body if length == len(body) and length <= self._most else None


def known_head(data: bytes, size: int, most: int) -> KnownHead | None:
    """Return what to compare later heads with, if `data` is a head and a body of `size` bytes, else None.

    `most` bounds the size of later bodies.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end != len(data) - size or end > _LONGEST_HEAD:
        return None
    match = _LENGTH.search(data, 0, end)
    if match is None:
        return None
    return KnownHead(data[: match.start(1)], data[match.end(1) : end], most)


MOST_HEAD_BYTES = 65_536
MOST_BODY_BYTES = 99_999_999
"""The largest length that is read without the parser: eight digits."""

_NAME = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*:"
_VALUE = rb"[^\r\n\0]*\r\n"
_OTHERS = (
    rb"(?:[BD-OQ-SVWYZbd-oq-svwyz]%b%b|[Xx]-(?![Rr][Aa])%b%b|[Cc]ontent-[Tt]ype:[ \t]*application/json%b)*+"
) % (_NAME, _VALUE, _NAME, _VALUE, _VALUE)
"""Any headers except those that frame the answer, encode it, or are passed on to the client.

Headers that begin with a letter of one of those (content-length, content-encoding, connection,
proxy-connection, transfer-encoding, trailer, upgrade, anthropic-ratelimit, x-ratelimit) match only if they
are certainly none of them. That is twice as fast as to exclude each by name.
"""

_PLAIN = re.compile(
    rb"HTTP/1\.1 200 [^\r\n\0]*\r\n%b[Cc]ontent-[Ll]ength:[ \t]*([0-9]{1,8})[ \t]*\r\n%b\r\n"
    % (_OTHERS, _OTHERS)
)


def plain_body(data: bytes) -> bytes | None:
    """Return the body of a plain answer with status 200, None if `data` is anything else.

    A plain answer is complete in one read, and none of its headers needs the parser, which would call back
    for each header. One expression finds the body: a JSON request then runs a tenth less code.
    """
    head = _PLAIN.match(data)
    if head is None:
        return None
    start = head.end()
    if len(data) - start != int(head[1]) or start > MOST_HEAD_BYTES:
        return None
    return data[start:]
