"""Runs local models: with `provider: local`, a GGUF file runs in a managed child process.

The child is llama.cpp's own server (through the `xllamacpp` wheel), so a local model is an OpenAI-compatible
endpoint. It starts with the first request, on a free loopback port and with a random key. It ends with its
parent, even if the parent is killed. The defaults are for measuring: one thread, one request at a time and no
prompt cache, because each of these changes answers even at temperature 0.
"""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from crossgrade.dialects import Embeddings, as_schema_request, as_tool_call, forced_tools
from crossgrade.domain import ModelAnswer, ModelRequest, Offer
from crossgrade.errors import MissingExtraError, ProviderError, UpstreamError, UsageError
from crossgrade.providers.adapters import AdapterFile, find_adapter, weights_name
from crossgrade.providers.hosted import LARGEST_ANSWER, HostedProvider, open_hosted
from crossgrade.providers.local_process import LocalProcess, LocalSettings, start_process
from crossgrade.providers.models import InstalledModel, ModelShelf, models_home

_KEY_VARIABLE = "CROSSGRADE_LOCAL_KEY"
_MAX_STARTS = 3


class LocalProvider:
    """One local model, asked like any other provider; made by `open_local`."""

    def __init__(
        self,
        offer: Offer,
        model: InstalledModel,
        settings: LocalSettings,
        *,
        measure_ttft: bool,
        largest: int,
        adapter: AdapterFile | None = None,
    ) -> None:
        self._offer = offer
        self._model = model
        self._adapter = adapter
        self._settings = settings
        self._measure_ttft = measure_ttft
        self._largest = largest
        self._slots = asyncio.Semaphore(settings.slots)
        self._starting = asyncio.Lock()
        self._starts = 0
        self._resources = AsyncExitStack()
        self._running: tuple[LocalProcess, HostedProvider] | None = None

    def __repr__(self) -> str:
        return f"LocalProvider({self.name!r}, {self._model.path!r})"

    @property
    def name(self) -> str:
        """The offer's name."""
        return self._offer.name

    @property
    def account(self) -> str:
        """The model's file and its adapter's: each model has its own child process, and so its own limits."""
        return f"local {self._model.path}" + ("" if self._adapter is None else f" {self._adapter.path}")

    @property
    def base_url(self) -> None:
        """None: the address of a child is as new as the child."""

    @property
    def places(self) -> int:
        """The answers that the child computes at once: more would share its threads."""
        return self._settings.slots

    @property
    def identity(self) -> str:
        """The digests of the file and of its adapter, and the settings that change answers."""
        return f"{weights_name(self._model, self._adapter)} {self._settings}"

    @property
    def process_id(self) -> int | None:
        """The child's process id, or None before the first request."""
        return None if self._running is None else self._running[0].pid

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """Ask the model once. The first request starts its child.

        Requests beyond the free slots wait here, so that latencies do not include the wait. The answer's
        `runtime` names the engine, the digests of the files and the settings that change answers. Raises a
        `ProviderError` with the engine's message if the model cannot be loaded, and `UpstreamError` if the
        child stops during the request. The next request starts it again. After three starts in total
        it is not started any more.
        """
        tools = forced_tools(request)
        async with self._slots:
            process, endpoint = await self._ready()
            try:
                answer = await endpoint.ask(as_schema_request(request, tools) if tools else request)
            except UpstreamError as error:
                failure = await process.failure()
                if failure is None:
                    raise
                raise UpstreamError(
                    f"the local model `{self._model.name}` stopped: {failure}",
                    code="local-model-stopped",
                    provider="local",
                ) from error
        runtime = f"{process.runtime} {weights_name(self._model, self._adapter, 12)} {self._settings}"
        return replace(as_tool_call(answer) if tools else answer, runtime=runtime)

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """Raise `UsageError`: children are started to answer, not to embed."""
        raise UsageError(
            f"offer `{self.name}` is a local model, which gives no embeddings for {len(texts)} texts",
            code="embeddings-not-served",
            hint="name an offer at an OpenAI-compatible host",
        )

    async def aclose(self) -> None:
        """End the child."""
        await self._resources.aclose()

    async def _ready(self) -> tuple[LocalProcess, HostedProvider]:
        async with self._starting:
            if self._running is not None and not self._running[0].running:
                self._running = None
                await self._resources.aclose()
            if self._running is None:
                self._running = await self._start()
            return self._running

    async def _start(self) -> tuple[LocalProcess, HostedProvider]:
        if self._starts == _MAX_STARTS:
            raise ProviderError(
                f"the local model `{self._model.name}` stopped {_MAX_STARTS} times; it is not started again",
                code="local-model-given-up",
                provider="local",
                hint="check free memory, and the file with `crossgrade models verify`",
            )
        self._starts += 1
        async with AsyncExitStack() as opened:
            process = await start_process(
                self._model, self._settings, alias=self._offer.model, adapter=self._adapter
            )
            opened.push_async_callback(process.stop)
            endpoint = await opened.enter_async_context(
                open_hosted(
                    replace(self._offer, base_url=process.base_url, api_key_env=_KEY_VARIABLE),
                    environ={_KEY_VARIABLE: process.api_key},
                    measure_ttft=self._measure_ttft,
                    largest=self._largest,
                    # On a busy machine the engine may close a connection just after a streamed answer.
                    keeps_alive=not self._measure_ttft,
                )
            )
            self._resources = opened.pop_all()
        return process, endpoint


@asynccontextmanager
async def open_local(
    offer: Offer,
    *,
    environ: Mapping[str, str],
    settings: LocalSettings | None = None,
    root: Path | None = None,
    measure_ttft: bool = False,
    largest: int = LARGEST_ANSWER,
) -> AsyncIterator[LocalProvider]:
    """Open a local model for the duration of a `with` block. Its child starts with the first request.

    `offer.model` is a name that `crossgrade models list` shows, or the path of a GGUF file, relative
    to `root` (by default the current folder). `environ` may have CROSSGRADE_HOME. `settings` are by default
    those for measuring, with the context of `offer.context_tokens`.

    Raises `MissingExtraError` without the extra `local`, `NotFoundError` for a model that is not
    installed, and `DataError` if its file is gone, damaged or changed, or its adapter is for another model.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingExtraError("running local models", "local")
    shelf = ModelShelf(models_home(environ))
    model = await asyncio.to_thread(shelf.find, offer.model, root=root)
    adapter = await asyncio.to_thread(find_adapter, offer.adapter, model, root=root)
    chosen = settings or LocalSettings()
    if chosen.context_tokens is None:
        chosen = replace(chosen, context_tokens=offer.context_tokens)
    provider = LocalProvider(
        offer, model, chosen.fitted(model), measure_ttft=measure_ttft, largest=largest, adapter=adapter
    )
    try:
        yield provider
    finally:
        await provider.aclose()
