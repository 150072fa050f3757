"""Which headers pass between client and provider: few, by name; all others stay where they are."""

from collections.abc import Mapping

_PASSED_ON = frozenset(
    f"x-ratelimit-{what}-{kind}".encode()
    for what in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
) | frozenset(
    f"anthropic-ratelimit-{kind}-{what}".encode()
    for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    for what in ("limit", "remaining", "reset")
)
"""Headers of the provider that the client gets to see."""

_SENT_ON = frozenset((b"anthropic-beta", b"openai-beta"))
"""Headers of the client that a provider of the same API gets to see."""


def passed_on(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the lines of a provider's headers that the client gets to see."""
    return _lines(headers, _PASSED_ON)


def sent_on(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the lines of a client's headers that a provider of the same API gets to see."""
    return _lines(headers, _SENT_ON)


def _lines(headers: Mapping[bytes, bytes], names: frozenset[bytes]) -> bytes:
    if names.isdisjoint(headers):
        return b""
    return b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers.items() if name in names)
