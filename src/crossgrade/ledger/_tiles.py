"""A log as static files that any tool of C2SP tlog-tiles reads: tiles of hashes, and bundles of entries.

A full tile has 256 hashes of one level of the tree, and a bundle the 256 entries below a tile of level 0.
The last of each may be partial. Tiles of level n have the hashes of subtrees over 256^n entries.
"""

from collections.abc import Iterator
from typing import NamedTuple

from crossgrade.errors import DataError
from crossgrade.ledger._entries import MAX_ENTRY_BYTES
from crossgrade.ledger._merkle import GrowingTree, leaf_hash

TILE_WIDTH = 256
_TILE_LEVELS = 8
_LENGTH_BYTES = 2


class LogFile(NamedTuple):
    """A file of an exported log: its path below the folder, with slashes, and its content."""

    path: str
    content: bytes


def tile_path(level: int | None, number: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile, or of a bundle of entries (level None), that has `width` items."""
    groups = [f"{number % 1000:03d}"]
    while (number := number // 1000) > 0:
        groups.insert(0, f"x{number % 1000:03d}")
    kind = "entries" if level is None else str(level)
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{kind}/{'/'.join(groups)}{partial}"


class TileWriter:
    """Turns entries, in their order, into the files of a log, each as soon as it is full."""

    def __init__(self) -> None:
        self.tree = GrowingTree()
        self._entries: list[bytes] = []
        self._hashes: list[list[bytes]] = [[]]

    def append(self, body: bytes) -> Iterator[LogFile]:
        """Add an entry, and yield the files that are full now."""
        leaf = leaf_hash(body)
        self._entries.append(body)
        self._hashes[0].append(leaf)
        for position, found in self.tree.append(leaf):
            if position.level % _TILE_LEVELS == 0:
                level = position.level // _TILE_LEVELS
                if level == len(self._hashes):
                    self._hashes.append([])
                self._hashes[level].append(found)
        if len(self._entries) == TILE_WIDTH:
            yield self._bundle()
        for level, hashes in enumerate(self._hashes):
            if len(hashes) == TILE_WIDTH:
                yield self._tile(level)

    def rest(self) -> Iterator[LogFile]:
        """Yield the partial files at the end. Nothing may be added afterwards."""
        if self._entries:
            yield self._bundle()
        for level, hashes in enumerate(self._hashes):
            if hashes:
                yield self._tile(level)

    def _bundle(self) -> LogFile:
        entries, self._entries = self._entries, []
        number = (self.tree.size - 1) // TILE_WIDTH
        content = b"".join(len(each).to_bytes(_LENGTH_BYTES, "big") + each for each in entries)
        return LogFile(tile_path(None, number, len(entries)), content)

    def _tile(self, level: int) -> LogFile:
        hashes, self._hashes[level] = self._hashes[level], []
        number = ((self.tree.size >> (_TILE_LEVELS * level)) - 1) // TILE_WIDTH
        return LogFile(tile_path(level, number, len(hashes)), b"".join(hashes))


def read_bundle(content: bytes) -> list[bytes]:
    """Return the entries of a bundle. Raises `DataError` for one that is cut off or has more than 256."""
    entries = []
    at = 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "big")
        entries.append(content[start:at])
        if start > len(content) or at > len(content) or len(entries) > TILE_WIDTH:
            raise DataError(
                "the bundle of entries is cut off, or has too many",
                code="ledger-bundle-invalid",
                hint="get the file again",
            )
    return entries


MAX_BUNDLE_BYTES = TILE_WIDTH * (_LENGTH_BYTES + MAX_ENTRY_BYTES)
"""The largest bundle of entries."""
