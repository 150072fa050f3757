"""The witness as a service: `POST /add-checkpoint` of C2SP tlog-witness, and nothing else.

Nobody is authenticated beyond the signature on the checkpoint, as C2SP has it: whoever brings a checkpoint
of a known log gets it cosigned.
"""

import asyncio
import sys
import time
from contextlib import suppress

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from crossgrade.errors import CrossgradeError
from crossgrade.ledger import MOST_REQUEST_BYTES, WitnessDecision
from crossgrade.serve._witness_state import WitnessFolder
from crossgrade.telemetry import Level, log_line

LONGEST_BODY_S = 10.0
"""Most seconds that a request's body may take to arrive."""
LONGEST_CONNECTION_S = 30.0
"""Age at which a connection is closed, once its request is answered."""
SAME_REFUSAL_S = 60.0
"""Seconds in which a size that differs is logged once for each log."""
_MOST_CONNECTIONS = 64
_LONGEST_STOP_S = 5
_SIZE_TYPE = "text/x.tlog.size"


def witness_app(folder: WitnessFolder) -> Starlette:
    """Return the app."""

    async def add_checkpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(LONGEST_BODY_S):
                body = await _body(request)
        except TimeoutError:
            return _refused(408, "request-slow", f"the body took more than {LONGEST_BODY_S:g} s")
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if body is None:
            return _refused(413, "request-too-large", f"a request has at most {MOST_REQUEST_BYTES:,} bytes")
        return await run_in_threadpool(_decided, folder, body, time.time(), told)

    told = _Told()
    app = Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"])])
    app.router.redirect_slashes = False
    return app


def witness_server(folder: WitnessFolder) -> uvicorn.Server:
    """Return the server, which runs on a socket that the caller opened."""
    config = uvicorn.Config(
        witness_app(folder),
        http=_ShortConnection,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_LONGEST_STOP_S,
    )
    return uvicorn.Server(config)


def _decided(folder: WitnessFolder, body: bytes, now: float, told: "_Told") -> Response:
    try:
        decision, line = folder.cosign(body, now_s=int(now))
    except CrossgradeError as error:
        _log(log_line("witness", at=now, level="error", code=error.code, error=error.message))
        return _refused(503, error.code, "the witness cannot keep its record and cosigns nothing")
    told.tell(decision, now)
    if decision.status == 200:
        return PlainTextResponse(line)
    if decision.status == 409:
        return Response(f"{decision.known_size}\n", 409, media_type=_SIZE_TYPE)
    return _refused(decision.status, decision.reason, decision.detail)


class _ShortConnection(H11Protocol):
    """Closes a connection of a certain age, so that clients that send nothing do not hold it for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as H11Protocol has it
        super().connection_made(transport)
        self._end = self.loop.call_later(LONGEST_CONNECTION_S, self.shutdown)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)


async def _body(request: Request) -> bytes | None:
    """Return the body, or None if it is too large."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_REQUEST_BYTES:
            return None
    return bytes(data)


class _Told:
    """Logs what was decided about known logs; what strangers send is not logged, or they could fill it.

    A size that differs is what a log says that was restarted, and one that was rolled back too. It is logged
    at most once a minute for each log, because anybody may repeat it.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def tell(self, decision: WitnessDecision, now: float) -> None:
        if decision.checkpoint is None or decision.status in {403, 404}:
            return
        origin, size = decision.checkpoint.origin, decision.checkpoint.size
        level: Level = "info"
        facts = {"origin": origin, "size": size}
        if decision.is_conflict:
            level = "warning"
        elif decision.reason == "old-size-differs":
            if abs(now - self._last.get(origin, 0.0)) < SAME_REFUSAL_S:
                return
            self._last[origin] = now
            level, facts = "warning", {**facts, "known_size": decision.known_size}
        _log(log_line("witness", at=now, level=level, outcome=decision.reason, **facts))


def _log(line: str) -> None:
    with suppress(OSError):  # a log that is full or closed is no reason to cosign nothing
        print(line, file=sys.stderr, flush=True)


def _refused(status: int, code: str, why: str) -> Response:
    headers = {"connection": "close"} if status in {408, 413} else None
    return PlainTextResponse(f"{code}: {why}\n" if why else f"{code}\n", status, headers)
