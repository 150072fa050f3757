"""Dossiers as the gateway knows them: what each holds for, until when, and whether that is still so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from crossgrade.errors import ConfigError

MAX_DOSSIER_BYTES = 16 << 20
MAX_DOSSIERS = 10_000

DossierBasis: TypeAlias = Mapping[str, Mapping[str, str]]
"""By offer, a digest of each part that a dossier holds for (`domain.BasisPart`)."""

UNREADABLE = "unreadable"
"""In the place of a digest of something that is gone, or is not what was installed. It equals nothing."""

_HINT = "`crossgrade dossier WORKLOAD` writes the file again; it is not edited by hand"
_POLICY = "policy"
CLOCK_SKEW = timedelta(minutes=5)
"""By how much the clock of the machine that made a dossier may be ahead."""
_PARTS = {
    "model": "the model",
    "weights": "its weights",
    "engine": "its serving engine",
    "template": "its prompt template",
    "settings": "its settings",
    "access": "the access policy",
    "policy": "the route's policy",
}
"""What the parts of a dossier's basis are in words."""


class DossierMark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest dossier of a workload: its id and digest, what it holds for, from when and until when.

    `verdict_id` is the verdict that it states, None if there was none. `lacks` are the fields that the
    configuration requires and that it misses.
    """

    id: str
    digest: str
    workload: str
    valid_until: datetime
    made_at: datetime | None = None
    verdict_id: str | None = None
    lacks: tuple[int, ...] = ()
    models: dict[str, dict[str, str]] = {}

    def is_of_another_policy(self, followed: str | None) -> bool:
        """Return whether a route that follows the verdict `followed` has another policy.

        A route that follows no verdict has none of its own.
        """
        return followed is not None and followed != self.verdict_id


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `dossiers.json` holds."""

    schema_version: Literal[1]
    dossiers: tuple[DossierMark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierEvidence:
    """The dossier behind a model on a route, when it was made, and its end in seconds since 1970.

    `changed` are the parts of its basis that are no longer what they were, `lacks` the required fields that
    it misses. Either keeps it from counting.
    """

    id: str
    digest: str
    valid_until: float
    made_at: float = 0.0
    changed: tuple[str, ...] = ()
    lacks: tuple[int, ...] = ()

    def is_in_time(self, now: float) -> bool:
        """Return whether it was made, and has not expired, at `now` (seconds since 1970).

        A clock that is set back opens nothing that was made later.
        """
        return self.made_at <= now + CLOCK_SKEW.total_seconds() and now < self.valid_until

    def refusal(self, now: float) -> Literal["dossier_expired", "dossier_incomplete"] | None:
        """Return the code of why it does not count at `now` (seconds since 1970), None if it does."""
        if self.changed or not self.is_in_time(now):
            return "dossier_expired"
        return "dossier_incomplete" if self.lacks else None

    def problem(self, now: float) -> str | None:
        """Return in words why it does not count at `now`, None if it does."""
        code = self.refusal(now)
        if code is None:
            return None
        if code == "dossier_incomplete":
            return "the newest one misses required fields"
        if self.changed:
            return f"{self.changed_words} changed since the newest one was made"
        return "the newest one has expired, or was made later than it is by the clock here"

    @property
    def changed_words(self) -> str:
        """What changed, in words; empty if nothing did."""
        return " and ".join(_PARTS.get(each, each) for each in self.changed)


class Dossiers:
    """The newest dossier of each workload at one moment, and what they are compared with.

    `basis` is by workload what its models are in the gateway's own configuration.
    """

    def __init__(
        self, marks: Iterable[DossierMark] = (), basis: Mapping[str, DossierBasis] = MappingProxyType({})
    ) -> None:
        self._marks = {each.workload: each for each in marks}
        self._basis = basis

    def replaced(self, marks: Iterable[DossierMark]) -> "Dossiers":
        """Return other dossiers, to be compared with the same basis."""
        return Dossiers(marks, self._basis)

    def of(self, workload: str | None, verdict_id: str | None) -> dict[str, DossierEvidence]:
        """Return the dossier of each offer that a workload's newest one covers.

        `verdict_id` is the verdict that the route follows, None if it follows none. A dossier that states
        another one is about another policy.
        """
        mark = None if workload is None else self._marks.get(workload)
        if mark is None:
            return {}
        now = self._basis.get(mark.workload, {})
        policy = (_POLICY,) if mark.is_of_another_policy(verdict_id) else ()
        return {
            offer: DossierEvidence(
                id=mark.id,
                digest=mark.digest,
                valid_until=mark.valid_until.timestamp(),
                made_at=0.0 if mark.made_at is None else mark.made_at.timestamp(),
                changed=(*changed_parts(then, now.get(offer, {})), *policy),
                lacks=mark.lacks,
            )
            for offer, then in mark.models.items()
        }


def changed_parts(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Return the parts of a basis that differ, in the order in which they were written.

    What cannot be read now may be anything, so it differs.
    """
    return tuple(
        part
        for part in dict.fromkeys((*then, *now))
        if now.get(part) in {None, UNREADABLE} or then.get(part) != now.get(part)
    )


def dossiers_bytes(marks: Iterable[DossierMark]) -> bytes:
    """Return the content of `dossiers.json`, sorted by workload so that equal dossiers give equal bytes."""
    found = tuple(sorted(marks, key=lambda each: each.workload))
    return msgspec.json.encode(_File(schema_version=1, dossiers=found)) + b"\n"


def read_dossiers(data: bytes, *, file: str | None = None) -> tuple[DossierMark, ...]:
    """Read `dossiers.json`. Raises ConfigError for unknown fields, a file too large, or a contradiction."""
    if len(data) > MAX_DOSSIER_BYTES:
        raise ConfigError(
            f"{len(data)} bytes of dossiers are over {MAX_DOSSIER_BYTES}",
            code="dossiers-too-large",
            file=file,
            hint=_HINT,
        )
    try:
        found = msgspec.json.decode(data, type=_File).dossiers
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ConfigError(
            f"the dossiers cannot be read: {error}", code="dossiers-unreadable", file=file, hint=_HINT
        ) from error
    problem = _problem(found)
    if problem is not None:
        raise ConfigError(
            f"the dossiers cannot be used: {problem}", code="dossiers-invalid", file=file, hint=_HINT
        )
    return found


def _problem(marks: tuple[DossierMark, ...]) -> str | None:
    if len(marks) > MAX_DOSSIERS:
        return f"{len(marks)} dossiers are over {MAX_DOSSIERS}"
    if len({each.workload for each in marks}) < len(marks):
        return "a workload has two"
    for each in marks:
        times = filter(None, (each.made_at, each.valid_until))
        if any(at.tzinfo is None for at in times):
            return f"that of {each.workload} has a time without a zone"
    return None
