"""A provider to test against: a real HTTP server on loopback that answers as it is told.

In a test:

    with FakeProvider(["first answer", Fault("rate_limit", retry_after="1"), "second"]) as fake:
        ...  # fake.base_url, fake.offer(), fake.requests

From a shell: `python -m crossgrade.testing.fake --port 8399 --text ok --delay-ms 20`.
"""

import argparse
import asyncio
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crossgrade.domain import Offer
from crossgrade.testing import _render
from crossgrade.testing._answers import Sending, answer, error_body, json_answer
from crossgrade.testing._batches import FakeBatches
from crossgrade.testing._model import FakeModel
from crossgrade.testing._script import Player, ReceivedRequest, Reply, Script
from crossgrade.testing._server import ServerConnection


class FakeProvider:
    """A loopback server that speaks OpenAI's, Anthropic's and Gemini's APIs and plays a script.

    It serves chat and text completions, responses, messages (whole and streamed), embeddings, models,
    files and batches, with or without `/v1` in the path. The script decides the answers of
    completions and messages; it is called in the server's thread. With `api_key` other keys are
    refused. `requests` keeps the last `keep` calls of a model. `batch_polls` is the number of
    the poll at which a batch is done.
    """

    def __init__(
        self,
        script: Script = "ok",
        *,
        models: Sequence[str] = ("fake-model",),
        api_key: str | None = None,
        port: int = 0,
        keep: int = 100_000,
        batch_polls: int = 1,
    ) -> None:
        self._player = Player(script)
        self._models = tuple(models)
        self._api_key = api_key
        self._port = port
        self._batches = FakeBatches(self._player.play, batch_polls)
        self._connections: set[ServerConnection] = set()
        self._loop: asyncio.AbstractEventLoop
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None
        self.requests: deque[ReceivedRequest] = deque(maxlen=keep)

    @property
    def url(self) -> str:
        """The server's address without a path."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """The base URL that clients of OpenAI's API take."""
        return f"{self.url}/v1"

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    def close_connections(self) -> None:
        """Close every open connection from the server's side."""
        self._loop.call_soon_threadsafe(self._close_connections)

    def offer(self, name: str = "fake", **fields: Any) -> Offer:
        """Return an offer at this server; `fields` replace any of the offer's."""
        given: dict[str, Any] = {
            "provider": "openai-compatible",
            "model": self._models[0],
            "base_url": self.base_url,
        }
        return Offer(name=name, **{**given, **fields})

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-provider", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            self._loop.close()
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        try:
            server = await self._loop.create_server(
                lambda: ServerConnection(self._answer, self._connections), "127.0.0.1", self._port
            )
        except OSError as error:
            self._error = error
            self._ready.set()
            return
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        # First take no more: a server that is closed between a connection's acceptance and its
        # transport leaves that socket open, with nobody to close it.
        for listening in server.sockets:
            self._loop.remove_reader(listening)
        for _ in range(4):  # one that was just accepted is known, and then gone, some turns later
            self._close_connections()
            await asyncio.sleep(0)
        server.close()
        await server.wait_closed()

    def _close_connections(self) -> None:
        for connection in tuple(self._connections):
            connection.close()

    def _answer(self, request: ReceivedRequest) -> Sending:
        if not self._allowed(request):
            refusal = error_body(request, "invalid_api_key", "Incorrect API key provided.")
            return json_answer(refusal, status=401)
        path = request.path.partition("?")[0]
        if request.method == "POST" and path.endswith(_render.CALLS) and isinstance(request.json, dict):
            self.requests.append(request)
            return answer(request, self._player.play(request))
        if request.method == "POST" and path.endswith("/embeddings"):
            return json_answer(_render.embeddings_body(request))
        if request.method == "GET" and path.endswith("/models"):
            rows = [
                {"id": name, "object": "model", "created": 1, "owned_by": "fake"} for name in self._models
            ]
            return json_answer({"object": "list", "data": rows})
        found = self._batches.answer(request)
        if found is not None:
            return found
        return json_answer(error_body(request, "not_found_error", f"no such path: {path}"), status=404)

    def _allowed(self, request: ReceivedRequest) -> bool:
        if self._api_key is None:
            return True
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        names = ("x-api-key", "api-key", "x-goog-api-key")
        return self._api_key in {bearer, *map(request.headers.get, names)}


def main() -> None:
    """Serve one fixed reply, or a made-up model, until interrupted; prints the base URL on the first line."""
    parser = argparse.ArgumentParser(prog="python -m crossgrade.testing.fake", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--text", default="ok", help="the answer")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="before every answer")
    parser.add_argument("--as-model", type=Path, help="answer as a made-up model of this file's text instead")
    parser.add_argument("--api-key", help="refuse any other key")
    given = parser.parse_args()
    reply = Reply(given.text, delay_s=given.delay_ms / 1000)
    script: Script = reply if given.as_model is None else FakeModel(given.as_model)
    with FakeProvider(script, port=given.port, api_key=given.api_key, keep=1) as fake:
        print(fake.base_url, flush=True)  # the command's output
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    main()
