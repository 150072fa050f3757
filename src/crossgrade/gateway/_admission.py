"""Who asks, and the facts by which the policy picks: from headers, key and body."""

import re
from hashlib import blake2b

from crossgrade.domain import StickyUnit
from crossgrade.errors import AccessError
from crossgrade.gateway._answers import Problem
from crossgrade.gateway._head import Request
from crossgrade.gateway._payload import Payload
from crossgrade.gateway._routes import ServedRoute
from crossgrade.identity import Principal
from crossgrade.routing import RequestFacts

LOCAL = Principal(id="local")
"""Who asks without a key, where that is allowed."""

_LONGEST_FACT = 200
_LOOPBACK = re.compile(rb"(?:[a-z]+://)?(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?", re.IGNORECASE)

_FORWARDED = frozenset((b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"))
"""Headers of proxies: whoever asks is then not on this machine."""


def token_of(headers: dict[bytes, bytes]) -> bytes | None:
    """Return the key or access token that a request carries; raises AccessError for two different ones."""
    bearer, other, third = headers.get(b"authorization"), headers.get(b"x-api-key"), headers.get(b"api-key")
    if other is None:
        other = third
    elif third is not None and third != other:
        raise _ambiguous()
    if bearer is None:
        return other
    scheme, _, token = bearer.partition(b" ")
    token = token.strip()
    if other is not None and other != token:
        raise _ambiguous()
    return token if scheme.lower() == b"bearer" else None


def _ambiguous() -> AccessError:
    message = "The request carries two different keys: send one, in one header."
    return AccessError(message, reason="ambiguous_key", status=400)


def loopback_problem(headers: dict[bytes, bytes]) -> Problem | None:
    """Return why a request without a key is refused although the server is open on loopback.

    A web page must not spend the user's money through their own browser: the names by which the
    server was called, and the page that called, have to be loopback too. Nor must a proxy on this
    machine open the door to all of its visitors.
    """
    origin = headers.get(b"origin")
    host = headers.get(b"host", b"localhost")
    is_local = _LOOPBACK.fullmatch(host) and (origin is None or _LOOPBACK.fullmatch(origin))
    if is_local and _FORWARDED.isdisjoint(headers):
        return None
    return Problem(
        status=403,
        code="not_loopback",
        message="Without a key this server answers only calls by a loopback name, and through no proxy.",
    )


def segment_of(principal: Principal, request: Request) -> str | None:
    """Return the segment: the one bound to the caller, else the one that the request names."""
    if principal.segment is not None:
        return principal.segment
    return _fact(request, b"x-crossgrade-segment")


def facts_of(plan: ServedRoute, principal: Principal, segment: str | None, payload: Payload) -> RequestFacts:
    """Return what is known of a request; the rest is unknown, which sends it to the incumbent."""
    return RequestFacts(
        route=plan.name,
        key=principal.id,
        tenant=principal.tenant,
        segment=segment,
        has_tools=payload.has_tools,
        modality=payload.modality,
        body_bytes=payload.size,
    )


def unit_of(
    sticky: StickyUnit, principal: Principal, request: Request, payload: Payload, request_id: str
) -> str:
    """Return what a canary keeps together: a conversation, a user, a key, else the request alone.

    A conversation without a name is known by its first messages, which every later request of it
    begins with.
    """
    if sticky == "key":
        return principal.id
    if sticky == "conversation":
        named = conversation_of(request, payload) or payload.asked.conversation_name
        if named is not None:
            return named
    if sticky != "none":
        user = _fact(request, b"x-crossgrade-user") or payload.asked.user_name
        if user is not None:
            return user
    first = payload.opening() if sticky == "conversation" else b""
    return blake2b(first, digest_size=16).hexdigest() if first else request_id


def conversation_of(request: Request, payload: Payload) -> str | None:
    """Return the client's own name for the conversation, None where it gives none."""
    return _fact(request, b"x-crossgrade-conversation") or payload.asked.named_conversation


def _fact(request: Request, name: bytes) -> str | None:
    value = request.text(name)
    return None if value is None else value[:_LONGEST_FACT]
