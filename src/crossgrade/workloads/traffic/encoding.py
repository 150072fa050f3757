"""The requests of one part of a log as columns: all that a scan needs of them, without their texts.

A part is read alone, perhaps in another process, so its models, routes, formats and kinds have numbers of its
own. `LogColumns` puts parts together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.workloads.traffic.chat import (
    has_media,
    is_agentic,
    number_of,
    session_of,
    shared_head,
    unfit,
)
from crossgrade.workloads.traffic.kinds import Kind, Kinds
from crossgrade.workloads.traffic.parts import LogPart, ReadingOptions
from crossgrade.workloads.traffic.reading import PartCounts, PartReader
from crossgrade.workloads.traffic.request import LoggedRequest, call_of

Column = NDArray[Any]
UNKNOWN = -1
_CHUNK = 1 << 15
_MOST_NAMES = 1 << 15
ROW = np.dtype(
    [
        ("id", "i8"),
        ("at", "f8"),
        ("latency", "f4"),
        ("ttft", "f4"),
        ("input", "i4"),
        ("output", "i4"),
        ("cached", "i4"),
        ("written", "i4"),
        ("reasoning", "i4"),
        ("failed", "i1"),
        ("model", "i2"),
        ("kind", "i4"),
        ("route", "i4"),
        ("file", "i4"),
        ("format", "i1"),
        ("session", "i8"),
        ("cost", "f8"),
        ("agentic", "i1"),
        ("media", "i1"),
        ("batch", "i1"),
        ("text", "i1"),
        ("unfit", "i1"),
        ("prefix", "i8"),
        ("prefix_share", "f4"),
        ("calls", "i4"),
    ]
)


class Names:
    """Texts by number; beyond 32,767 all further ones are `(other)`."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str | None) -> int:
        """Return a name's number, -1 for none."""
        if name is None:
            return UNKNOWN
        found = self._numbers.get(name)
        if found is None:
            if len(self.known) >= _MOST_NAMES - 1:
                name = "(other)"
            found = self._numbers.setdefault(name[:120], len(self.known))
            if found == len(self.known):
                self.known.append(name[:120])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPart:
    """The `n` requests of a part of the file `file`, and what was counted in it.

    `columns` are those of `ROW`. One that has the same value throughout has it once. The columns `model`,
    `route`, `format` and `kind` are positions in the lists of these names (-1: none). `providers` are by the
    position of the model.
    """

    file: int
    n: int
    columns: dict[str, Column]
    models: Sequence[str]
    routes: Sequence[str]
    formats: Sequence[str]
    kinds: Sequence[Kind]
    providers: dict[int, str]
    counted: PartCounts


def read_part(part: LogPart, options: ReadingOptions) -> ReadPart:
    """Read a part of a log. The result depends on the part alone."""
    reader, encoder = PartReader(part, options), _Encoder()
    chunks, requests = list[dict[str, Column]](), reader.requests()
    while chunk := list(islice(requests, _CHUNK)):
        chunks.append(encoder.encode(chunk, part.file))
    columns = {
        name: np.concatenate([chunk[name] for chunk in chunks]) if chunks else np.empty(0, ROW[name])
        for name in ROW.names or ()
    }
    return ReadPart(
        file=part.file,
        n=len(columns["id"]),
        columns={name: _shortened(column) for name, column in columns.items()},
        models=encoder.models.known,
        routes=encoder.routes.known,
        formats=encoder.formats.known,
        kinds=encoder.kinds.known,
        providers=encoder.providers,
        counted=reader.counted,
    )


def _shortened(column: Column) -> Column:
    """Return a column, or its first value if all are the same, bit by bit."""
    bits = column.view(f"i{column.itemsize}")
    return column[:1].copy() if len(column) and (bits == bits[0]).all() else column


class _Encoder:
    """The names and kinds of a part's requests, by number."""

    def __init__(self) -> None:
        self.kinds = Kinds()
        self.models = Names()
        self.routes = Names()
        self.formats = Names()
        self.providers: dict[int, str] = {}

    def encode(self, chunk: Sequence[LoggedRequest], file: int) -> dict[str, Column]:
        """Return the columns of some requests."""
        models = [self.models.number(each.model) for each in chunk]
        heads = [shared_head(each) for each in chunk]
        for model, each in zip(models, chunk, strict=True):
            if each.provider and model not in self.providers:
                self.providers[model] = each.provider
        columns: dict[str, list[Any]] = {
            "id": [number_of(each.id) or 1 if each.id else 0 for each in chunk],
            "at": [each.started_at for each in chunk],
            "latency": [each.latency_s for each in chunk],
            "ttft": [each.ttft_s for each in chunk],
            "input": [UNKNOWN if each.input is None else each.input for each in chunk],
            "output": [_output(each) for each in chunk],
            "cached": [UNKNOWN if each.cached is None else each.cached for each in chunk],
            "written": [UNKNOWN if each.cache_written is None else each.cache_written for each in chunk],
            "reasoning": [UNKNOWN if each.reasoning is None else each.reasoning for each in chunk],
            "failed": [UNKNOWN if each.failed is None else each.failed for each in chunk],
            "model": models,
            "kind": [self.kinds.number(each) for each in chunk],
            "route": [self.routes.number(each.route) for each in chunk],
            "file": [file] * len(chunk),
            "format": [self.formats.number(each.format) for each in chunk],
            "session": [session_of(each) if each.session or each.messages else 0 for each in chunk],
            "cost": [each.cost_usd for each in chunk],
            "agentic": [each.messages is not None and is_agentic(each) for each in chunk],
            "media": [each.messages is not None and has_media(each) for each in chunk],
            "batch": [UNKNOWN if each.batch is None else each.batch for each in chunk],
            "text": [each.messages is not None for each in chunk],
            "unfit": [unfit(each) for each in chunk],
            "prefix": [number for number, _ in heads],
            "prefix_share": [share for _, share in heads],
            "calls": [each.calls or 0 for each in chunk],
        }
        # None becomes NaN in a column of floats.
        return {name: np.array(values, ROW[name]) for name, values in columns.items()}


def _output(request: LoggedRequest) -> int:
    """Return a request's output tokens; a call whose answer is no text has none where none are stated."""
    if request.output is not None:
        return request.output
    call = call_of(request.call, request.model, batch=False)
    return 0 if call in {"embedding", "rerank", "moderation"} and request.input is not None else UNKNOWN
