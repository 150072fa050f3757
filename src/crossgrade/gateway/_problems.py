"""Why a request is refused or fails, and what the client is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from crossgrade.dialects import CLIENTS, ClientName, error_words
from crossgrade.errors import (
    AccessError,
    AuthError,
    ProviderError,
    RateLimitedError,
)
from crossgrade.gateway._leases import LimitRefusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The reason why a request is not answered by a model, as the client is told.

    `code` is the stable name that programs compare. `retry_after_s` is None if no waiting time is known.
    `details` are those of a provider's error, which clients of its API read. `challenge` has the
    parameters of a `www-authenticate` header that asks for another login.
    """

    status: int
    message: str
    code: str
    retry_after_s: float | None = None
    details: Mapping[str, object] = field(default_factory=dict)
    challenge: str = ""

    @property
    def kind(self) -> str | None:
        """OpenAI's `type` of the error, None for the type that goes with the status."""
        return self.code if self.code == "insufficient_quota" else None


def bad_request(message: str, code: str = "invalid_request") -> Problem:
    """Return a problem with status 400."""
    return Problem(status=400, message=message, code=code)


INTERNAL_ERROR = Problem(status=500, message="The gateway failed: its log says why.", code="internal_error")


def limit_problem(refusal: LimitRefusal) -> Problem:
    """Return the problem of a request that a budget or rate refuses."""
    status = 503 if refusal.kind == "limits_unavailable" else 429
    return Problem(
        status=status, message=refusal.message, code=refusal.kind, retry_after_s=refusal.retry_after_s
    )


def access_problem(error: AccessError) -> Problem:
    """Return the problem of a caller that is not authorised."""
    return Problem(
        status=error.status,
        message=f"{error.message}; {error.hint}",
        code=error.reason,
        challenge=error.challenge,
    )


def unpriced_model(name: str) -> Problem:
    """Return the problem of a call whose cost would not count against a budget in dollars."""
    return Problem(
        status=403,
        code="unpriced_model",
        message=f"A budget in dollars applies, and the price of `{name}` is unknown.",
    )


def unknown_model(path_route: str | None, model: str | None) -> Problem:
    """Return the problem of a route or model that does not exist."""
    if path_route is not None:
        return Problem(status=404, message=f"There is no route `{path_route}`.", code="route_not_found")
    if not model:
        return bad_request("The body names no `model`.", "no_model")
    shown = "".join(letter if letter.isprintable() else "?" for letter in model[:100])
    message = f"There is no route or model `{shown}`: `GET /v1/models` lists those that there are."
    return Problem(status=404, message=message, code="model_not_found")


def problem_body(problem: Problem, client: ClientName, request_id: str) -> bytes:
    """Return the error's body in the format of the client's API."""
    return CLIENTS[client].render_error(
        problem.status,
        problem.message,
        kind=problem.kind,
        code=problem.code,
        request_id=request_id,
        details=problem.details,
    )


def problem_event(problem: Problem, client: ClientName) -> bytes:
    """Return the error as the last event of a stream that has begun."""
    return CLIENTS[client].stream_error(
        problem.status, problem.message, problem.kind, problem.code, problem.details
    )


_MOST_WAIT_S = 3600.0
_HIDDEN = "***"
_SHORTEST_PIECE = 6
"""A piece of a key of at least this length is hidden at the end of a quotation that was cut."""


def provider_problem(error: ProviderError, key: bytes | None, client: ClientName) -> Problem:
    """Return the problem of a failed call. It quotes the provider's message briefly, and never its `key`."""
    status, code = error_words(error, client)
    message = error.message if key is None else _without(key.decode(), error.message)
    if "<" in message:  # an HTML page, which is not quoted
        message = message.partition(":")[0]
    if isinstance(error, AuthError):
        return Problem(status=status, message="The provider refused the gateway's own key.", code=code)
    details = {} if key is not None and key in msgspec.json.encode(error.details) else error.details
    wait = error.retry_after_s if isinstance(error, RateLimitedError) else None
    wait = None if wait is None else min(wait, _MOST_WAIT_S)
    return Problem(status=status, message=message, code=code, retry_after_s=wait, details=details)


def _without(key: str, message: str) -> str:
    """Hide a key in a quotation, which may have been cut in the middle of the key."""
    message = message.replace(key, _HIDDEN)
    if message.endswith("…"):
        for length in range(len(key) - 1, _SHORTEST_PIECE - 1, -1):
            if message.endswith(f"{key[:length]}…"):
                return f"{message[: -length - 1]}{_HIDDEN}…"
    return message
