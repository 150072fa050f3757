"""Errors in the words of each client API."""

from crossgrade.dialects._client import data_event, encode_json, named_event
from crossgrade.errors import (
    AuthError,
    BadRequestError,
    ContentFilteredError,
    ContextTooLongError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
)

_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_CODES: dict[type[ProviderError], tuple[int, str]] = {
    AuthError: (502, "upstream_refused_key"),
    BadRequestError: (400, "invalid_request"),
    ContentFilteredError: (400, "content_filter"),
    ContextTooLongError: (400, "context_length_exceeded"),
    ProviderTimeoutError: (504, "timeout"),
    RateLimitedError: (429, "rate_limit_exceeded"),
}


def error_words(error: ProviderError) -> tuple[int, str]:
    """Return the status and the code that tell a client of an upstream's failure.

    A key that the upstream refused is the gateway's own, so the client does not get a 401.
    """
    return _CODES.get(type(error), (502, "upstream_error"))


def openai_error(
    status: int,
    message: str,
    *,
    kind: str | None = None,
    code: str | None = None,
    request_id: str | None = None,  # noqa: ARG001  # the shape of `Inbound.render_error`
) -> bytes:
    """Return OpenAI's error body; `kind` is its `type`, by default what goes with the status."""
    return encode_json(_openai(status, message, kind, code))


def anthropic_error(
    status: int,
    message: str,
    *,
    kind: str | None = None,  # noqa: ARG001  # this API's types are a closed list
    code: str | None = None,  # noqa: ARG001  # this API has no codes
    request_id: str | None = None,
) -> bytes:
    """Return Anthropic's error body; its type goes with the status."""
    known = {} if request_id is None else {"request_id": request_id}
    return encode_json(_anthropic(status, message) | known)


def chat_stream_error(status: int, message: str, kind: str | None, code: str | None) -> bytes:
    """Return the event that ends a failed stream of completions."""
    return data_event(_openai(status, message, kind, code))


def message_stream_error(status: int, message: str, kind: str | None, code: str | None) -> bytes:  # noqa: ARG001  # the shape of `Writer.error`
    """Return the event that ends a failed stream of a message."""
    return named_event(_anthropic(status, message))


def response_stream_error(
    status: int, message: str, kind: str | None, code: str | None, sequence_number: int = 0
) -> bytes:
    """Return the event that ends a failed stream of a response.

    The details stand at the top, as the API's reference says, and under `error`, where it sends
    them and its client looks.
    """
    error = _openai(status, message, kind, code)["error"]
    flat = {"code": error["code"], "message": message, "param": None, "sequence_number": sequence_number}
    return named_event({"type": "error", **flat, "error": error})


def _openai(
    status: int, message: str, kind: str | None, code: str | None
) -> dict[str, dict[str, str | None]]:
    usual = "server_error" if status >= 500 else "invalid_request_error"
    kind = kind or _OPENAI_TYPES.get(status, usual)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _anthropic(status: int, message: str) -> dict[str, object]:
    usual = "api_error" if status >= 500 else "invalid_request_error"
    return {"type": "error", "error": {"type": _ANTHROPIC_TYPES.get(status, usual), "message": message}}
