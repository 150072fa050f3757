"""Entries are written one way, and read only as they were written."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from crossgrade.errors import DataError
from crossgrade.ledger import PayloadMark, entry_body, read_entry

AT = datetime(2026, 11, 29, 7, 30, tzinfo=UTC)
GOOD = entry_body("verdict", {"b": 1, "a": ["x", None, True]}, seq=3, at=AT)


def test_the_bytes_are_canonical_json() -> None:
    assert GOOD == (
        b'{"at":"2026-11-29T07:30:00.000000Z","detail":{"a":["x",null,true],"b":1},"kind":"verdict",'
        b'"seq":3,"v":1}'
    )


def test_an_entry_is_read_as_written() -> None:
    mark = PayloadMark(commit="a" * 64, sealed="b" * 64)
    local = AT.astimezone(timezone(timedelta(hours=5)))
    entry = read_entry(
        entry_body("completion", {"name": "é\u2028"}, seq=0, at=local, subject="p1", payload=mark)
    )
    assert (entry.seq, entry.at, entry.kind, entry.subject, entry.payload) == (
        0,
        AT,
        "completion",
        "p1",
        mark,
    )
    assert entry.detail == {"name": "é\u2028"}


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        ({"cost": 0.5}, "entry-invalid"),
        ({"cost": float("nan")}, "entry-invalid"),
        ({"n": 2**53}, "entry-invalid"),
        ({"name": "\ud800"}, "entry-invalid"),
        ({1: "x"}, "entry-invalid"),
        ({"bytes": b"x"}, "entry-invalid"),
        ({"text": "x" * 70_000}, "entry-too-large"),
    ],
)
def test_what_is_not_written(detail: Any, code: str) -> None:
    with pytest.raises(DataError) as caught:
        entry_body("verdict", detail, seq=0, at=AT)
    assert caught.value.code == code


def test_depth_is_limited() -> None:
    nested: Any = 1
    for _ in range(200_000):
        nested = [nested]
    with pytest.raises(DataError) as caught:
        entry_body("verdict", {"deep": nested}, seq=0, at=AT)
    assert caught.value.code == "entry-invalid"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (GOOD.decode(), "entry-not-bytes"),
        (None, "entry-not-bytes"),
        (b"x" * 70_000, "entry-too-large"),
        (b"", "entry-invalid"),
        (b"[]", "entry-invalid"),
        (b"\xff", "entry-invalid"),
        (b"[" * 60_000, "entry-invalid"),
        (GOOD.replace(b'"b":1', b'"b":1,"b":1'), "entry-not-canonical"),
        (GOOD.replace(b'"b":1', b'"b":1.0'), "entry-not-canonical"),
        (GOOD.replace(b'"b":1', b'"b": 1'), "entry-not-canonical"),
        (GOOD.replace(b'"seq":3', b'"seq":3,"seq":3'), "entry-not-canonical"),
        (GOOD.replace(b'"a":["x"', b'"a":["\\u0078"'), "entry-not-canonical"),
        (GOOD.replace(b'"v":1', b'"subject":null,"v":1'), "entry-not-canonical"),
        (GOOD.replace(b'"v":1', b'"v":2'), "entry-version-unknown"),
        (b'{"v":2,"what":"ever"}', "entry-version-unknown"),
        (GOOD.replace(b'"v":1', b'"v":true'), "entry-invalid"),
        (GOOD.replace(b'"v":1', b'"v":1,"w":1'), "entry-invalid"),
        (GOOD.replace(b'"kind":"verdict"', b'"kind":"party"'), "entry-kind-unknown"),
        (GOOD.replace(b'"seq":3', b'"seq":-3'), "entry-invalid"),
        (GOOD.replace(b"2026-11-29", b"2026-13-29"), "entry-invalid"),
        (GOOD.replace(b".000000Z", b"Z"), "entry-invalid"),
        (
            GOOD.replace(b'"seq":3', b'"payload":{"commit":"a","sealed":"b"},"seq":3,"subject":"p"'),
            "entry-invalid",
        ),
    ],
)
def test_what_is_not_read(body: object, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_entry(body)
    assert caught.value.code == code
