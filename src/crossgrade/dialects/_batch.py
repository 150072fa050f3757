"""How one batch API is spoken: where it listens, how much it takes, and its translators, all pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from crossgrade.dialects._batch_records import BatchList, BatchOrder, BatchStatus, Item, made_id
from crossgrade.dialects._dialect import WireRequest

ReadPage: TypeAlias = Callable[[bytes, Sequence[str]], tuple[list[Item], str | None]]
"""Reads results that come several at once, and the query of the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """How the calls become a file that is uploaded before the batch is made.

    `line` writes a call; `fields` go beside the file, where `{name}` stands for its name.
    """

    line: Callable[[str, WireRequest], dict[str, Any]]
    path: str = "/files"
    fields: tuple[tuple[str, str], ...] = (("purpose", "batch"),)

    def content(self, order: BatchOrder) -> bytes:
        """Return the file: a line of JSON for each call."""
        return b"".join(
            msgspec.json.encode(self.line(name, call)) + b"\n" for name, call in order.calls.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDialect:
    """One batch API.

    `path` lists the batches and, with an id behind it, tells how one is. `upload` None: the
    calls are part of the order. `order` builds the call that makes a batch, `made` reads its id.
    Results are read by `line` (from a file of JSON lines) or by `page` (given also the custom ids
    in the order submitted). `labelled` says what carries an order's label: the batch, the name of
    its file, or nothing.
    """

    path: str
    upload: Upload | None = None
    order: Callable[[BatchOrder], WireRequest]
    made: Callable[[bytes], str] = made_id
    status: Callable[[bytes], BatchStatus]
    listed: Callable[[bytes], BatchList]
    list_query: str
    line: Callable[[bytes], Item] | None = None
    page: ReadPage | None = None
    labelled: Literal["batch", "file", "nothing"] = "batch"
    most_requests: int = 50_000
    most_bytes: int = 90 * 2**20
