"""The entries of a log: canonical JSON, written one way only and read strictly.

The bytes of an entry are JSON as in RFC 8785: keys in the order of their code points, no white space, UTF-8.
Numbers are integers, so that every implementation writes the same bytes; others are decimal text.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from crossgrade.domain import JSON
from crossgrade.errors import DataError

EntryKind: TypeAlias = Literal[
    "opened",
    "verdict",
    "route",
    "step",
    "alarm",
    "key",
    "handover",
    "approval",
    "dossier",
    "erasure",
    "access",
    "request",
    "completion",
    "dropped",
    "suspended",
]
ENTRY_KINDS: frozenset[str] = frozenset(get_args(EntryKind))

MAX_ENTRY_BYTES = 65_535
"""The largest entry: C2SP tlog-tiles writes an entry's length in two bytes."""

_VERSION = 1
_MAX_INTEGER = 2**53 - 1
_MAX_DEPTH = 16
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_DIGEST = re.compile(r"[0-9a-f]{64}")

_encode = msgspec.json.Encoder(order="sorted").encode

_EXACT = "an entry is read exactly as it was written"
_UPGRADE = "it may be of a newer Crossgrade: pip install --upgrade crossgrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadMark:
    """What an entry says about its payload, both SHA-256 in hexadecimal.

    `commit` is over salt and text, and proves later which text it was. `sealed` is over the ciphertext.
    """

    commit: str
    sealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """An entry as read. `subject` is whose key encrypts the payload, None without a payload."""

    seq: int
    at: datetime
    kind: str
    detail: Mapping[str, JSON]
    subject: str | None = None
    payload: PayloadMark | None = None


def encoded_detail(detail: Mapping[str, JSON]) -> msgspec.Raw:
    """Return the facts of an entry as `entry_body` has them. Raises `DataError` as it does."""
    _check(detail, _MAX_DEPTH)
    try:
        return msgspec.Raw(_encode(detail))
    except (UnicodeEncodeError, TypeError) as error:
        raise DataError(f"an entry cannot be written: {error}", code="entry-invalid", hint=_EXACT) from error


def entry_body(
    kind: EntryKind,
    detail: Mapping[str, JSON] | msgspec.Raw,
    *,
    seq: int,
    at: datetime,
    subject: str | None = None,
    payload: PayloadMark | None = None,
) -> bytes:
    """Return the bytes of entry `seq`, counted from 0, which happened `at`.

    `detail` may come from `encoded_detail`. Raises `DataError` for a kind that does not exist, a float, an
    integer beyond 2^53 - 1, a text that is not Unicode, and more than 65,535 bytes or 16 levels.
    """
    if kind not in ENTRY_KINDS:
        raise DataError(f"`{kind}` is no kind of entry", code="entry-kind-unknown", hint=_EXACT)
    entry: dict[str, Any] = {
        "v": _VERSION,
        "seq": seq,
        "at": _time_text(at),
        "kind": kind,
        "detail": detail if isinstance(detail, msgspec.Raw) else encoded_detail(detail),
    }
    if payload is not None:
        entry["subject"] = subject
        entry["payload"] = {"commit": payload.commit, "sealed": payload.sealed}
    try:
        body = _encode(entry)
    except (UnicodeEncodeError, TypeError) as error:
        raise DataError(f"an entry cannot be written: {error}", code="entry-invalid", hint=_EXACT) from error
    if len(body) > MAX_ENTRY_BYTES:
        raise DataError(
            f"an entry of {len(body)} bytes is over the limit of {MAX_ENTRY_BYTES}",
            code="entry-too-large",
            hint=_EXACT,
        )
    return body


@lru_cache(maxsize=16)
def _time_text(at: datetime) -> str:
    """Return a time as entries have it; those of a group have the same."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is int:
        if abs(value) > _MAX_INTEGER:
            raise DataError(f"the integer {value} is beyond 2^53 - 1", code="entry-invalid", hint=_EXACT)
        return
    if depth == 0:
        raise DataError(
            f"an entry is nested deeper than {_MAX_DEPTH} levels", code="entry-invalid", hint=_EXACT
        )
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise DataError(f"the key {key!r} is not a text", code="entry-invalid", hint=_EXACT)
            _check(item, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth - 1)
    else:
        raise DataError(
            f"a {kind.__name__} cannot be in an entry",
            hint="write numbers other than integers as decimal text",
            code="entry-invalid",
        )


class _Payload(msgspec.Struct, forbid_unknown_fields=True):
    commit: str
    sealed: str


class _Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    v: int
    seq: int
    at: str
    kind: str
    detail: dict[str, Any]
    subject: str | None = None
    payload: _Payload | None = None


_decode = msgspec.json.Decoder(_Entry, float_hook=str).decode


def read_entry(body: object) -> LogEntry:
    """Return the entry that some bytes are. Raises `DataError` with a code that says what is wrong.

    `entry-not-bytes` for anything but bytes, `entry-too-large`, `entry-not-canonical` for JSON that
    `entry_body` would write in another way (a key twice, white space, a float), `entry-version-unknown` and
    `entry-kind-unknown` for what a newer Crossgrade may have written, and `entry-invalid` for the rest.
    """
    if type(body) is not bytes:
        raise DataError(f"the entry is {type(body).__name__}, not bytes", code="entry-not-bytes", hint=_EXACT)
    if len(body) > MAX_ENTRY_BYTES:
        raise DataError(f"the entry has {len(body)} bytes", code="entry-too-large", hint=_EXACT)
    try:
        raw = _decode(body)
        is_canonical = _encode(raw) == body
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _check_version(body)
        raise DataError(
            f"the entry is not as version {_VERSION} is ({error})", code="entry-invalid", hint=_EXACT
        ) from error
    if raw.v != _VERSION:
        raise _version_unknown(raw.v)
    if not is_canonical:
        raise DataError("the entry is not canonical JSON", code="entry-not-canonical", hint=_EXACT)
    if raw.kind not in ENTRY_KINDS:
        raise DataError(f"`{raw.kind[:64]}` is no kind of entry", code="entry-kind-unknown", hint=_UPGRADE)
    return LogEntry(
        seq=_number(raw.seq),
        at=_time(raw.at),
        kind=raw.kind,
        detail=raw.detail,
        subject=raw.subject,
        payload=_mark(raw),
    )


def _check_version(body: bytes) -> None:
    """Raise the error of an unknown version, if an entry that cannot be read says it has one."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        tree = msgspec.json.decode(body)
        if isinstance(tree, dict) and tree.get("v", _VERSION) != _VERSION:
            raise _version_unknown(tree["v"])


def _version_unknown(version: object) -> DataError:
    return DataError(
        f"the entry has version {str(version)[:64]}", code="entry-version-unknown", hint=_UPGRADE
    )


def _number(seq: int) -> int:
    if not 0 <= seq <= _MAX_INTEGER:
        raise DataError(f"an entry cannot have the number {seq}", code="entry-invalid", hint=_EXACT)
    return seq


def _time(text: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise DataError(f"`{text[:64]}` is no time as entries have it", code="entry-invalid", hint=_EXACT)


def _mark(raw: _Entry) -> PayloadMark | None:
    if raw.payload is None:
        return None
    mark = PayloadMark(commit=raw.payload.commit, sealed=raw.payload.sealed)
    if raw.subject is None or not all(map(_DIGEST.fullmatch, (mark.commit, mark.sealed))):
        raise DataError(
            "the entry's payload has no subject, or no digests", code="entry-invalid", hint=_EXACT
        )
    return mark
