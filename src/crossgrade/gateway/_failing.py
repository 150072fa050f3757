"""From a provider's failure to what is done about it, and to what the client is told."""

from crossgrade.dialects import error_words
from crossgrade.errors import (
    AuthError,
    BadRequestError,
    ContentFilteredError,
    ContextTooLongError,
    ProviderError,
    RateLimitedError,
)
from crossgrade.gateway._answers import Problem
from crossgrade.gateway._breaker import Breaker

_MOST_WAIT_S = 3600.0
_HIDDEN = "***"
_SHORTEST_PIECE = 6
"""So much of a key at the end of a quotation that was cut there is hidden too."""


def may_try_another(error: ProviderError) -> bool:
    """Tell whether another target may succeed where this one failed.

    A request that is not malformed but more than this target can do (its API cannot carry it, its
    model cannot read it) has no status of the client's own making.
    """
    if isinstance(error, BadRequestError):
        return error.status is None or error.status >= 500
    return error.retryable or isinstance(error, AuthError | ContextTooLongError)


def note_failure(breaker: Breaker, error: ProviderError, now: float) -> None:
    """Let a target's breaker know: refusing a request is no failure of the target's own.

    What a 400 or 403 says of keys and credit shows nothing: it may be a quotation of the request,
    whose words must not shut the target for everybody else.
    """
    if isinstance(error, RateLimitedError):
        breaker.slow_down(now, error.retry_after_s)
    elif isinstance(error, AuthError) and error.status in (400, 403):
        breaker.abandoned()
    elif isinstance(error, BadRequestError | ContextTooLongError | ContentFilteredError):
        breaker.succeeded()
    else:
        breaker.failed(now)


def provider_problem(error: ProviderError, key: bytes | None = None) -> Problem:
    """Return what the client is told; the provider's words are quoted briefly, its `key` never."""
    status, code = error_words(error)
    message = error.message if key is None else _without(key.decode(), error.message)
    if "<" in message:  # a page for people, which is not quoted
        message = message.partition(":")[0]
    if isinstance(error, AuthError):
        return Problem(status=status, message="The provider refused the gateway's own key.", code=code)
    if isinstance(error, RateLimitedError):
        wait = None if error.retry_after_s is None else min(error.retry_after_s, _MOST_WAIT_S)
        return Problem(status=status, message=message, code=code, retry_after_s=wait)
    said = error.status
    if isinstance(error, BadRequestError | ContextTooLongError) and said is not None and 400 <= said < 500:
        status = said
    return Problem(status=status, message=message, code=code)


def _without(key: str, message: str) -> str:
    """Hide a key in a quotation, which may have been cut in the middle of it."""
    message = message.replace(key, _HIDDEN)
    if message.endswith("…"):
        for length in range(len(key) - 1, _SHORTEST_PIECE - 1, -1):
            if message.endswith(f"{key[:length]}…"):
                return f"{message[: -length - 1]}{_HIDDEN}…"
    return message
