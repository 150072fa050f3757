"""Stores verdicts with their evidence, so that they can be computed again.

Evidence is stored as MessagePack (which has NaN and infinity), compressed with Zstandard.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import zstandard
from msgspec.msgpack import Ext
from sqlalchemy import Row, desc, insert, select

from crossgrade.decide import Evidence, Verdict, finite_json, upgraded_verdict
from crossgrade.domain import JSON
from crossgrade.errors import NotFoundError, StoreError
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._ledger_rows import VERDICT_FACTS, verdict_decision
from crossgrade.store._records import LATEST, new_id, utc_now


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """A recorded verdict with its id. `is_known` is true if the same verdict was recorded before."""

    id: str
    verdict: Verdict
    is_known: bool = False


class Verdicts:
    """The verdicts of a store."""

    def __init__(self, database: Database, ledger: LedgerLog) -> None:
        self._database = database
        self._ledger = ledger

    def append(self, verdict: Verdict, evidence: Evidence | None = None) -> str:
        """Record a verdict and return its id. With its evidence it can be computed again later."""
        identifier = new_id()
        row = {
            "id": identifier,
            "workload": verdict.workload,
            "name": verdict.name,
            "run_id": verdict.run_id,
            "decided_at": verdict.decided_at.isoformat(),
            "valid_until": verdict.valid_until.isoformat(),
            "verdict": encode_verdict(verdict),
            "evidence_digest": verdict.evidence_digest,
            "evidence": None if evidence is None else pack_evidence(evidence),
            "at": utc_now().isoformat(),
        }
        with self._database.writing() as connection:
            self._ledger.record(connection, [verdict_decision(row)])
            connection.execute(insert(t.verdicts), row)
        return identifier

    def same_as(self, verdict: Verdict) -> StoredVerdict | None:
        """Return the newest verdict of the workload if it is the same except for its time, otherwise None.

        The day of expiry must be the same.
        """
        for newest in self.recent(verdict.workload, limit=1):
            known = newest.verdict
            if known.valid_until.date() != verdict.valid_until.date():
                return None
            moved = replace(known, decided_at=verdict.decided_at, valid_until=verdict.valid_until)
            if encode_verdict(moved) == encode_verdict(verdict):
                return replace(newest, is_known=True)
        return None

    def get(self, verdict_id: str) -> StoredVerdict:
        """Return the verdict with an id, or the only verdict whose id begins with it.

        `latest` is the newest verdict. Raises `NotFoundError` for an unknown or ambiguous id.
        """
        if verdict_id == LATEST and (newest := self.recent()[:1]):
            return newest[0]
        query = (
            select(t.verdicts.c.id, t.verdicts.c.verdict)
            .where(t.verdicts.c.id.startswith(verdict_id, autoescape=True))
            .limit(2)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        if len(rows) != 1:
            seen = f"there is no verdict `{verdict_id}`" if not rows else f"two verdicts begin `{verdict_id}`"
            code = "verdict-ambiguous" if rows else "verdict-unknown"
            raise NotFoundError(seen, code=code, hint="`crossgrade report --list` shows the verdicts")
        return _stored(rows[0])

    def evidence(self, verdict_id: str) -> Evidence:
        """Return the evidence of a verdict. Raises `NotFoundError` if it was recorded without evidence."""
        query = select(t.verdicts.c.evidence).where(t.verdicts.c.id == self.get(verdict_id).id)
        with self._database.reading() as connection:
            packed = connection.execute(query).scalar()
        if packed is None:
            raise NotFoundError(
                f"verdict {verdict_id} was recorded without its evidence", code="evidence-missing"
            )
        try:
            return unpack_evidence(packed)
        except (zstandard.ZstdError, msgspec.MsgspecError, KeyError, ValueError) as error:
            raise StoreError(
                f"the evidence of verdict {verdict_id} is damaged ({error})", code="evidence-damaged"
            ) from error

    def documents(self) -> Iterator[tuple[str, Mapping[str, JSON]]]:
        """Yield the id of every verdict, and its facts as in the ledger's entry."""
        v = t.verdicts.c
        query = select(v.verdict, v.evidence_digest, *(v[name] for name in VERDICT_FACTS)).order_by(v.id)
        with self._database.reading() as connection:
            for row in connection.execute(query.execution_options(yield_per=1_000)):
                yield row.id, verdict_decision(row._asdict()).detail

    def recent(self, workload: str | None = None, *, limit: int = 100) -> list[StoredVerdict]:
        """Return verdicts (of one workload), newest first."""
        query = (
            select(t.verdicts.c.id, t.verdicts.c.verdict)
            .order_by(desc(t.verdicts.c.decided_at), desc(t.verdicts.c.id))
            .limit(limit)
        )
        if workload is not None:
            query = query.where(t.verdicts.c.workload == workload)
        with self._database.reading() as connection:
            return [_stored(row) for row in connection.execute(query)]


def encode_verdict(verdict: Verdict) -> str:
    """Return the verdict as JSON text, in which texts stand for the numbers that JSON lacks."""
    return msgspec.json.encode(finite_json(msgspec.to_builtins(verdict))).decode()


def decode_verdict(text: str) -> Verdict:
    """Return the verdict that `encode_verdict` wrote in this or an older release."""
    return msgspec.convert(upgraded_verdict(msgspec.json.decode(text)), Verdict, strict=False)


def _stored(row: Row[str, str]) -> StoredVerdict:
    try:
        return StoredVerdict(id=row.id, verdict=decode_verdict(row.verdict))
    except (msgspec.MsgspecError, ValueError) as error:
        raise StoreError(f"verdict {row.id} cannot be read ({error})", code="verdict-unreadable") from error


_MAX_BYTES = 2**31
"""The largest evidence that is unpacked, in bytes. It limits the memory that a hostile database can use."""

_NUMBERS = 1
_TEXTS = 2


def pack_evidence(evidence: Evidence) -> bytes:
    """Return the evidence as bytes that `unpack_evidence` reads back exactly."""
    return zstandard.compress(msgspec.msgpack.encode(evidence, enc_hook=_from_array))


def unpack_evidence(packed: bytes) -> Evidence:
    """Return the evidence that `pack_evidence` wrote. Raises `ValueError` for more than 2 GiB."""
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= _MAX_BYTES:
        raise ValueError(f"{size} bytes of evidence")
    return msgspec.msgpack.decode(
        zstandard.decompress(packed), type=Evidence, ext_hook=_to_array, dec_hook=_as_array
    )


def _from_array(column: Any) -> Ext:
    if not isinstance(column, np.ndarray):
        raise NotImplementedError(f"{type(column).__name__} in evidence")
    # Numbers are stored as raw bytes to keep their exact bits, and texts as a list to keep None.
    if column.dtype == object:
        return Ext(_TEXTS, msgspec.msgpack.encode(column.tolist()))
    return Ext(_NUMBERS, msgspec.msgpack.encode((column.dtype.str, column.tobytes())))


def _to_array(code: int, content: memoryview) -> Any:
    if code == _TEXTS:
        texts = msgspec.msgpack.decode(content, type=list[str | None])
        column = np.empty(len(texts), dtype=object)
        column[:] = texts
        return column
    if code == _NUMBERS:
        dtype, values = msgspec.msgpack.decode(content, type=tuple[str, bytes])
        return np.frombuffer(values, dtype=np.dtype(dtype)).copy()
    raise ValueError(f"unknown kind of column {code}")


def _as_array(_kind: type, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{type(value).__name__} where a column belongs")
    return value
