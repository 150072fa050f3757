"""Requests to the broker over its socket, for the supervisor and the admin API."""

import asyncio
from typing import Any

import msgspec

from crossgrade.errors import NotFoundError, StoreError
from crossgrade.gateway import UNKNOWN_RESPONSE, Done, FromBroker, Outcome, Report, Survey, socket_address

_PATIENCE_S = 5.0
_LONGEST_LINE = 16 << 20


async def survey(path: str) -> dict[str, Any]:
    """Return the state of workers and limits; raises StoreError if the broker does not answer."""
    answer: dict[str, Any] = msgspec.json.decode((await _ask(path, Survey(1))).text)
    return answer


async def report(path: str, outcome: Outcome) -> None:
    """Commit feedback; raises StoreError if that fails, and NotFoundError if nobody got such a response."""
    answer = await _ask(path, Report(1, outcome))
    if answer.error == UNKNOWN_RESPONSE:
        raise NotFoundError(
            "no response of this gateway has this id",
            code="response-not-found",
            hint="send the `id` of an answer, or its `x-request-id`",
        )
    if answer.error is not None:
        raise StoreError(answer.error, code="keeper-refused")


async def _ask(path: str, message: Survey | Report) -> Done:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            with socket_address(path) as address:
                reader, writer = await asyncio.open_unix_connection(address, limit=_LONGEST_LINE)
            try:
                writer.write(msgspec.json.encode(message) + b"\n")
                answer = msgspec.json.decode(await reader.readline(), type=FromBroker)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
        raise StoreError(
            f"the broker does not answer ({error})",
            code="keeper-away",
            hint="is `crossgrade serve` running in this project?",
        ) from error
    assert isinstance(answer, Done)
    return answer
