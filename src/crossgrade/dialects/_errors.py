"""Errors in the words of each client API."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from crossgrade.dialects._client import data_event, encode_json, named_event
from crossgrade.dialects._failures import FILTER_DETAILS
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
_OVERLOADED = {503, 529}
_CODES: dict[type[ProviderError], tuple[int, str]] = {
    AuthError: (502, "upstream_refused_key"),
    BadRequestError: (400, "invalid_request"),
    ContentFilteredError: (400, "content_filter"),
    ContextTooLongError: (400, "context_length_exceeded"),
    ProviderTimeoutError: (504, "timeout"),
    RateLimitedError: (429, "rate_limit_exceeded"),
}


_NOTHING: Mapping[str, Any] = MappingProxyType({})


def error_words(error: ProviderError, client: str = "openai") -> tuple[int, str]:
    """Return the status and the code that tell a client of an upstream's failure.

    A key that the upstream refused is the gateway's own, so the client does not get a 401. Why a request was
    refused keeps its status. An upstream that is overloaded is so in the client's own status.
    """
    status, code = _CODES.get(type(error), (502, "upstream_error"))
    theirs = error.status or 0
    if isinstance(error, BadRequestError | ContextTooLongError) and 400 <= theirs < 500:
        return theirs, code
    if theirs in _OVERLOADED:
        return (529 if client == "anthropic" else 503), "overloaded"
    return status, code


def openai_error(
    status: int,
    message: str,
    *,
    kind: str | None = None,
    code: str | None = None,
    request_id: str | None = None,  # noqa: ARG001  # the shape of `Inbound.render_error`
    details: Mapping[str, Any] = _NOTHING,
) -> bytes:
    """Return OpenAI's error body; `kind` is its `type`, by default what goes with the status."""
    return encode_json(_openai(status, message, kind, code, details))


def anthropic_error(
    status: int,
    message: str,
    *,
    kind: str | None = None,  # noqa: ARG001  # this API's types are a closed list
    code: str | None = None,  # noqa: ARG001  # this API has no codes
    request_id: str | None = None,
    details: Mapping[str, Any] = _NOTHING,  # noqa: ARG001  # this API has none
) -> bytes:
    """Return Anthropic's error body; its type goes with the status."""
    known = {} if request_id is None else {"request_id": request_id}
    return encode_json(_anthropic(status, message) | known)


def chat_stream_error(
    status: int, message: str, kind: str | None, code: str | None, details: Mapping[str, Any] = _NOTHING
) -> bytes:
    """Return the event that ends a failed stream of completions."""
    return data_event(_openai(status, message, kind, code, details))


def message_stream_error(
    status: int,
    message: str,
    kind: str | None,  # noqa: ARG001  # the shape of `Writer.error`
    code: str | None,  # noqa: ARG001  # as above
    details: Mapping[str, Any] = _NOTHING,  # noqa: ARG001  # as above
) -> bytes:
    """Return the event that ends a failed stream of a message."""
    return named_event(_anthropic(status, message))


def response_stream_error(
    status: int,
    message: str,
    kind: str | None,
    code: str | None,
    details: Mapping[str, Any] = _NOTHING,
    *,
    sequence_number: int = 0,
) -> bytes:
    """Return the event that ends a failed stream of a response.

    The details stand at the top, as the API's reference says, and under `error`, where it sends
    them and its client looks.
    """
    error = _openai(status, message, kind, code, details)["error"]
    flat = {"code": error["code"], "message": message, "param": error["param"]}
    flat["sequence_number"] = sequence_number
    return named_event({"type": "error", **flat, "error": error})


def _openai(
    status: int, message: str, kind: str | None, code: str | None, details: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return an error in this API's words; `details` of an API that has no `code` have another vocabulary."""
    usual = "server_error" if status >= 500 else "invalid_request_error"
    kind = kind or _OPENAI_TYPES.get(status, usual)
    error: dict[str, Any] = {"message": message, "type": kind, "param": details.get("param"), "code": code}
    if "code" in details:
        error["code"] = details["code"]
        error["type"] = details.get("type", kind)
    return {"error": error | {name: details[name] for name in FILTER_DETAILS if name in details}}


def _anthropic(status: int, message: str) -> dict[str, object]:
    usual = "api_error" if status >= 500 else "invalid_request_error"
    return {"type": "error", "error": {"type": _ANTHROPIC_TYPES.get(status, usual), "message": message}}
