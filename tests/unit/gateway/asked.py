"""A call to a provider and a transport, as tests make them."""

import asyncio
from collections.abc import Callable

from crossgrade.errors import ProviderError
from crossgrade.gateway._upstream import UpstreamConnection


class Asked:
    """A call that keeps what it hears."""

    def __init__(self) -> None:
        self.body = b""
        self.failure = ""

    def repeats(self) -> bool:
        return False

    def on_ready(self, connection: UpstreamConnection) -> None: ...

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> Callable[[bytes], None]:
        return self.take

    def take(self, data: bytes) -> None:
        self.body += data

    def on_whole(self, body: bytes) -> None: ...

    def on_end(self) -> None: ...

    def on_fail(self, error: ProviderError) -> None:
        self.failure = error.message

    def upstream_paused(self) -> None: ...

    def upstream_resumed(self) -> None: ...


class Transport(asyncio.Transport):
    """Takes everything, and says how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = ""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"
