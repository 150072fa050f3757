"""What every API that clients speak offers: read a request, write an answer or an error."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, Protocol

from crossgrade.dialects._frame import Writer
from crossgrade.dialects._inbound import InboundRequest
from crossgrade.domain import ModelAnswer

ClientName = Literal["openai", "openai-text", "openai-responses", "anthropic"]
"""The APIs that clients may speak: `/chat/completions`, `/completions`, `/responses`, `/messages`."""


class RenderError(Protocol):
    """Writes an error's body."""

    def __call__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> bytes:
        """Return the body. `kind` is the error's type, by default what goes with the status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientApi:
    """One client API's translators, all pure.

    `read_request(body)` raises `BadRequestError` naming a field that is wrong or cannot be
    carried. `render_answer(answer, inbound, id, created)` writes a whole answer, `writer(inbound,
    id, created)` a streamed one; `id` is the answer's, made of `id_prefix` and a unique token of
    letters and digits, `created` in Unix seconds. `render_error(status, message, kind=, code=,
    request_id=)` writes an error's body, `stream_error(status, message, kind, code)` the event
    that ends a stream that failed.
    """

    id_prefix: str
    read_request: Callable[[bytes], InboundRequest]
    render_answer: Callable[[ModelAnswer, InboundRequest, str, int], bytes]
    writer: Callable[[InboundRequest, str, int], Writer]
    render_error: RenderError
    stream_error: Callable[[int, str, str | None, str | None], bytes]


class Clients(Mapping[ClientName, ClientApi]):
    """The client APIs by name, each at a `module:attribute` that is imported when it is first used.

    A worker of the gateway thus imports only the APIs that its clients use.
    """

    def __init__(self, places: Mapping[ClientName, str]) -> None:
        self._places = places
        self._loaded: dict[str, ClientApi] = {}

    def __getitem__(self, name: ClientName) -> ClientApi:
        found = self._loaded.get(name)
        if found is None:
            module, _, attribute = self._places[name].partition(":")
            found = self._loaded[name] = getattr(import_module(module), attribute)
        return found

    def __iter__(self) -> Iterator[ClientName]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
