"""Local model servers for the gateway, each restarted at the same address when it ends."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.domain import Offer
from crossgrade.errors import CrossgradeError, MissingExtraError

if TYPE_CHECKING:
    from crossgrade.providers.adapters import AdapterFile
    from crossgrade.providers.local_process import LocalProcess
    from crossgrade.providers.models import InstalledModel

LOCAL_KEY_ENV = "CROSSGRADE_LOCAL_KEY"
"""The variable with the key of the local model servers, new at every start of `serve`."""

SLOTS = 4
"""The number of requests that one local model answers at a time."""

_PAUSE_S = 2.0


class LocalServers:
    """The local model servers of a gateway; `urls` has each offer's address, even before `start`."""

    def __init__(
        self,
        offers: Sequence[Offer],
        *,
        root: Path,
        environ: Mapping[str, str],
        api_key: str,
        on_event: Callable[[str], None],
    ) -> None:
        self._offers = {offer.name: offer for offer in offers}
        self._root = root
        self._environ = environ
        self._api_key = api_key
        self._on_event = on_event
        self._ports = {name: _free_port() for name in self._offers}
        self._models: dict[str, InstalledModel] = {}
        self._adapters: dict[str, AdapterFile | None] = {}
        self._processes: dict[str, LocalProcess] = {}
        self._keeping: list[asyncio.Task[None]] = []

    @property
    def urls(self) -> dict[str, str]:
        """The address of each offer's server."""
        return {name: f"http://127.0.0.1:{port}/v1" for name, port in self._ports.items()}

    async def start(self) -> None:
        """Find every model and load it.

        Raises MissingExtraError without the extra `local`, NotFoundError for a model that is not installed,
        DataError for an adapter of another model, ProviderError for one that cannot be loaded.
        """
        if not self._offers:
            return
        import importlib.util

        if importlib.util.find_spec("xllamacpp") is None:
            raise MissingExtraError("serving local models", "local")
        from crossgrade.providers.adapters import find_adapter
        from crossgrade.providers.models import ModelShelf, models_home

        shelf = ModelShelf(models_home(self._environ))
        for name, offer in self._offers.items():
            model = await asyncio.to_thread(shelf.find, offer.model, root=self._root)
            self._models[name] = model
            self._adapters[name] = await asyncio.to_thread(
                find_adapter, offer.adapter, model, root=self._root
            )
        await asyncio.gather(*(self._load(name) for name in self._offers))
        self._keeping = [asyncio.create_task(self._keep(name)) for name in self._offers]

    async def stop(self) -> None:
        """End every server."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await asyncio.gather(*(process.stop() for process in self._processes.values()))

    async def _load(self, name: str) -> None:
        from crossgrade.providers.cores import usable_cores
        from crossgrade.providers.local_process import LocalSettings, start_process

        offer = self._offers[name]
        settings = LocalSettings(
            threads=max(1, usable_cores() // (2 * len(self._offers))),
            slots=SLOTS,
            context_tokens=offer.context_tokens,
            cache_prompt=True,
        )
        model = self._models[name]
        self._processes[name] = await start_process(
            model,
            settings.fitted(model),
            alias=offer.model,
            port=self._ports[name],
            api_key=self._api_key,
            adapter=self._adapters[name],
        )
        self._on_event(f"local model {name} is loaded ({self.urls[name]}, pid {self._processes[name].pid})")

    async def _keep(self, name: str) -> None:
        while True:
            await self._processes[name].wait()
            self._on_event(f"local model {name} ended: started again in {_PAUSE_S:g} s")
            await asyncio.sleep(_PAUSE_S)
            try:
                await self._load(name)
            except CrossgradeError as error:
                self._on_event(f"local model {name}: {error.message}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
