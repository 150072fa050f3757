"""Asks witnesses to cosign the ledger's newest checkpoint, and keeps what they sign.

Nothing waits for it: the ledger is read and written in short transactions of their own, and a witness that
does not answer is asked again later, with the same result as if it had been asked now.
"""

import asyncio
import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import aiohttp

from crossgrade.errors import CrossgradeError, DataError, StoreError, said_by
from crossgrade.ledger import (
    Checkpoint,
    CheckpointRequest,
    NoteVerifier,
    SignedNote,
    cosigned,
    known_size,
)

if TYPE_CHECKING:
    from crossgrade.store import LedgerLog

TIMEOUT_S: Final = 10.0
"""Most seconds that one answer of a witness may take, from the connection to its last byte."""
MOST_CLOCK_OFFSET_S: Final = 300
"""A cosignature whose time is further from this machine's is kept, and its outcome says so."""

_MOST_ANSWER_BYTES = 16_384
_MOST_TURNS = 4
CosigningStatus: TypeAlias = Literal[
    "cosigned", "kept", "empty", "away", "refused", "behind", "split", "invalid"
]


@dataclass(frozen=True, slots=True)
class Cosigning:
    """What came of asking one witness.

    - `cosigned`: the cosignature is kept beside the checkpoint; `kept`: it is from an earlier call.
    - `empty`: the ledger has no entry yet, and the witness has seen none. There is nothing to cosign.
    - `away`: no answer in time. `refused`: the witness does not take this log's checkpoints.
    - `behind`: the witness cosigned a larger log than this. The log was cut, or an old copy restored.
    - `split`: the witness cosigned another history than this one.
    - `invalid`: the answer is no valid cosignature of the witness's key.

    `size` is the size of the checkpoint that was shown, `known_size` the one that the witness had, as far as
    it said so. `clock_offset_s` is the time of the cosignature less that of this machine.
    """

    witness: str
    url: str
    status: CosigningStatus
    size: int
    detail: str = ""
    known_size: int | None = None
    clock_offset_s: int | None = None

    @property
    def is_alarm(self) -> bool:
        """Whether somebody has to look: this log or the witness is not what it was."""
        return self.status in {"behind", "split", "invalid"}

    @property
    def problem(self) -> StoreError | None:
        """The problem as an error to log; None if the checkpoint is cosigned, or has no entries."""
        about = f"the witness {self.witness} ({self.url})"
        if self.status == "away":
            return StoreError(
                f"{about} does not answer: {self.detail}",
                code="witness-away",
                hint="check that it runs and can be reached; it is asked again, and nothing is lost",
            )
        if self.status == "refused":
            return StoreError(
                f"{about} refuses to cosign: {self.detail}",
                code="witness-refused",
                hint="add the ledger's public key there with `crossgrade witness add`",
            )
        if self.status == "behind":
            return StoreError(
                f"{about} saw more than there is: {self.detail}",
                code="ledger-behind",
                hint="the ledger was cut, or an older copy was restored: find the newest copy",
            )
        if self.status == "split":
            return StoreError(
                f"{about} saw another history: {self.detail}",
                code="ledger-split",
                hint="entries were changed: compare the ledger with a copy, `crossgrade audit verify` helps",
            )
        if self.status == "invalid":
            return StoreError(
                f"{about} answers with no valid cosignature: {self.detail}",
                code="witness-invalid",
                hint="check its address and public key with its operator",
            )
        return None


async def cosign(
    log: "LedgerLog",
    witnesses: Sequence[tuple[str, str]],
    *,
    known: MutableMapping[str, int] | None = None,
    timeout_s: float = TIMEOUT_S,
    clock: Callable[[], float] = time.time,
) -> tuple[Cosigning, ...]:
    """Show the newest checkpoint to all witnesses at once, keep their cosignatures, and say what came of it.

    `witnesses` are pairs of an address and the witness's public key. `known` holds the size that each
    witness last had, by its key, and is kept up to date. A caller that passes it again saves a request, and
    a witness that cosigned the newest checkpoint in an earlier call is not asked again. Without it every
    witness is asked, because a cosigned checkpoint may be that of an old copy of the ledger. Raises
    StoreError if the ledger has no signed checkpoint, or cannot be read or written. A witness gives a
    cosignature that could not be kept once more when it is asked again.
    """
    if not witnesses:
        return ()
    known = {} if known is None else known
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_s), trust_env=False, auto_decompress=False
    ) as session:
        asking = [_Asking(log, url, key, session, clock).ask(known) for url, key in witnesses]
        found = await asyncio.gather(*asking, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return tuple(each for each in found if isinstance(each, Cosigning))


async def keep_cosigned(
    open_log: "Callable[[], LedgerLog]",
    witnesses: Sequence[tuple[str, str]],
    every_s: float,
    warn: Callable[[Exception], None],
) -> None:
    """Ask for cosignatures every so many seconds, until cancelled; `warn` hears of each that failed.

    `open_log` may block and fail. A round that fails changes nothing: the next one asks for the same. When a
    witness first saw another history than this (`behind`, `split`), an entry of kind `alarm` says so, and
    the next one is written only after the witness cosigned again.
    """
    known: dict[str, int] = {}
    alarmed: set[tuple[str, str]] = set()
    while True:
        try:
            log = await asyncio.to_thread(open_log)
            for each in await cosign(log, witnesses, known=known):
                if each.problem is not None:
                    warn(each.problem)
                await _record_alarm(log, each, alarmed)
        except CrossgradeError as error:
            warn(error)
        await asyncio.sleep(every_s)


async def _record_alarm(log: "LedgerLog", seen: Cosigning, alarmed: set[tuple[str, str]]) -> None:
    """Write that a witness saw another history, unless that is written already."""
    from crossgrade.store import LedgerEvent

    who = (seen.witness, seen.url)
    if seen.status in {"cosigned", "kept"}:
        alarmed.discard(who)
    elif seen.status in {"behind", "split"} and who not in alarmed:
        detail = {
            "route": None,
            "alarm": f"ledger-{seen.status}",
            "witness": seen.witness,
            "size": seen.size,
            "known_size": seen.known_size,
        }
        await asyncio.to_thread(log.append, [LedgerEvent("alarm", detail)])
        alarmed.add(who)


class _Asking:
    """One witness that is asked, as often as it takes to know what it has."""

    def __init__(
        self,
        log: "LedgerLog",
        url: str,
        key: str,
        session: aiohttp.ClientSession,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._url = url
        self._key = key
        self._verifier = NoteVerifier.of_witness(key)
        self._session = session
        self._clock = clock

    async def ask(self, known: MutableMapping[str, int]) -> Cosigning:
        note, checkpoint = await self._newest()
        if known.get(self._key) == checkpoint.size and self._is_cosigned(note):
            return self._said("kept", checkpoint)
        try:
            return await self._ask(known, note, checkpoint)
        except TimeoutError:
            return self._said("away", checkpoint, "it did not answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return self._said("away", checkpoint, said_by(error))

    async def _ask(
        self, known: MutableMapping[str, int], note: SignedNote, checkpoint: Checkpoint
    ) -> Cosigning:
        key = self._key
        old = min(known.get(key, 0), checkpoint.size)
        for _ in range(_MOST_TURNS):
            status, body = await self._post(CheckpointRequest(old, await self._proof(old, checkpoint), note))
            if status == 200 and checkpoint.size == 0:
                return self._said("empty", checkpoint, known_size=0)  # every empty log is the same
            if status == 200:
                known[key] = checkpoint.size
                return await self._keep(note, checkpoint, body, old)
            size = _size_in(body) if status == 409 else None
            if size is None or size == old:
                return self._refused(status, body, checkpoint, old)
            if size > checkpoint.size:  # another process may have shown it a newer one
                note, checkpoint = await self._newest()
            if size > checkpoint.size:
                detail = f"it cosigned {size} entries of this log, which has {checkpoint.size}"
                return self._said("behind", checkpoint, detail, known_size=size)
            known[key] = old = size
        return self._said("refused", checkpoint, "its size changes with every answer", known_size=old)

    async def _newest(self) -> tuple[SignedNote, Checkpoint]:
        text = await asyncio.to_thread(self._log.newest_checkpoint)
        if text is None:
            raise StoreError(
                "the ledger has no signed checkpoint that a witness could cosign",
                code="ledger-not-signed",
                hint="make the ledger's key with `crossgrade audit init NAME`",
            )
        note = SignedNote.read(text)
        return note, Checkpoint.from_text(note.text)

    async def _proof(self, old: int, checkpoint: Checkpoint) -> tuple[bytes, ...]:
        if old in {0, checkpoint.size}:
            return ()
        return tuple(await asyncio.to_thread(self._log.consistency, old, checkpoint.size))

    async def _post(self, request: CheckpointRequest) -> tuple[int, bytes]:
        url = f"{self._url.rstrip('/')}/add-checkpoint"
        data = bytes(request)
        async with self._session.post(url, data=data, allow_redirects=False) as answer:
            body = await answer.content.read(_MOST_ANSWER_BYTES)
            while not answer.content.at_eof() and len(body) < _MOST_ANSWER_BYTES:
                body += await answer.content.read(_MOST_ANSWER_BYTES - len(body))
            return answer.status, body

    async def _keep(self, note: SignedNote, checkpoint: Checkpoint, body: bytes, old: int) -> Cosigning:
        try:
            signed = cosigned(note, body, self._verifier)
        except DataError as error:
            return self._said("invalid", checkpoint, error.message, known_size=old)
        await asyncio.to_thread(self._log.add_cosignature, checkpoint.size, str(signed))
        (signature,) = (each for each in signed.signatures if each.key_id == self._verifier.key_id)
        offset = signature.cosigned_at_s - int(self._clock())
        detail = f"its clock is {offset} s from this one" if abs(offset) > MOST_CLOCK_OFFSET_S else ""
        return self._said("cosigned", checkpoint, detail, known_size=checkpoint.size, clock_offset_s=offset)

    def _is_cosigned(self, note: SignedNote) -> bool:
        return any(
            self._verifier.verifies(note.text, each)
            for each in note.signatures
            if (each.name, each.key_id) == (self._verifier.name, self._verifier.key_id)
        )

    def _refused(self, status: int, body: bytes, checkpoint: Checkpoint, old: int) -> Cosigning:
        """Say what any other answer means. 409 with the size that was sent, and 422, say: another history."""
        if status == 422 or (status == 409 and _size_in(body) == old):
            detail = f"it cosigned {old} entries that are not the first {old} of this log"
            return self._said("split", checkpoint, detail, known_size=old)
        if status >= 500:
            return self._said("away", checkpoint, f"HTTP {status}")
        why = {403: "it does not trust the key of this log", 404: "it does not know this log"}
        return self._said("refused", checkpoint, f"HTTP {status}: {why.get(status, _line(body))}")

    def _said(
        self,
        status: CosigningStatus,
        checkpoint: Checkpoint,
        detail: str = "",
        *,
        known_size: int | None = None,
        clock_offset_s: int | None = None,
    ) -> Cosigning:
        return Cosigning(
            self._verifier.name,
            self._url,
            status,
            checkpoint.size,
            detail,
            known_size=known_size,
            clock_offset_s=clock_offset_s,
        )


def _size_in(body: bytes) -> int | None:
    try:
        return known_size(body)
    except DataError:
        return None


def _line(body: bytes) -> str:
    """Return the beginning of an answer in printable ASCII, for a person to read."""
    return "".join(char if " " <= char <= "~" else " " for char in body[:200].decode("ascii", "replace"))
