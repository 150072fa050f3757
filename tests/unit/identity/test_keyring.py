"""Keys: made, kept as digests, found, refused with a reason."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import Limit, RouteSpec
from crossgrade.errors import AccessError, ConfigError
from crossgrade.identity import (
    KeyLimit,
    KeyRecord,
    Keyring,
    KeySecret,
    NewKey,
    authenticate,
    check_route,
    is_key,
    keyring_bytes,
    new_key,
    read_keyring,
    read_records,
)
from tests.codes import raises_code

NOW = datetime(2026, 11, 25, tzinfo=UTC)
T = NOW.timestamp()


def record(key: NewKey, **changes: Any) -> KeyRecord:
    fields = {
        "id": key.id,
        "name": "ci",
        "secrets": (KeySecret(digest=key.digest, created_at=NOW),),
        "created_at": NOW,
        **changes,
    }
    return KeyRecord(**fields)


def test_a_key_has_an_id_a_secret_and_a_checksum() -> None:
    key = new_key()
    assert key.text.startswith(f"sk-cg-{key.id}-")
    assert len(key.text) == 66
    assert is_key(key.text)
    assert key.text not in repr(key)
    wrong = key.text[:-1] + ("A" if key.text[-1] != "A" else "B")
    assert not is_key(wrong)
    assert not is_key(key.text[:20] + ("0" if key.text[20] != "0" else "1") + key.text[21:])
    assert new_key().text != key.text


def test_its_holder_is_found_by_it() -> None:
    key, other = new_key(), new_key()
    limits = (KeyLimit(unit="usd", cap=100, window_s=86_400),)
    mine = record(
        key, team="care", tier="standard", routes=("help",), limits=limits, segment="de", tenant="x"
    )
    keyring = read_keyring(keyring_bytes([mine, record(other)]))
    found = keyring.principal(key.text.encode(), T)
    assert found is not None
    assert (found.id, found.team, found.tier, found.routes) == (key.id, "care", "standard", ("help",))
    assert (found.segment, found.tenant) == ("de", "x")
    assert found.limits == (Limit(scope="key", unit="usd", cap=100, window_s=86_400, match=key.id),)
    assert len(keyring) == 2


def test_no_file_holds_a_secret() -> None:
    key = new_key()
    assert key.text[17:].encode() not in keyring_bytes([record(key)])


@pytest.mark.parametrize(
    "token", [b"", b"sk-cg-", b"x" * 66, b"sk-cg-\xff" + b"a" * 59, b"sk-cg-" + b"a" * 60]
)
def test_what_is_no_key_is_not_known(token: bytes) -> None:
    keyring = Keyring([record(new_key())])
    assert keyring.principal(token, T) is None
    assert keyring.refusal(token, T).reason == "key_unknown"


def test_another_secret_of_the_same_id_is_not_known() -> None:
    key = new_key()
    keyring = Keyring([record(key, revoked_at=NOW)])
    guess = new_key(key.id).text.encode()
    assert keyring.principal(guess, T) is None
    assert keyring.refusal(guess, T).reason == "key_unknown"  # not told that the key exists


def test_a_revoked_key_is_refused_with_the_reason() -> None:
    key = new_key()
    keyring = Keyring([record(key, revoked_at=NOW)])
    assert keyring.principal(key.text.encode(), T) is None
    refusal = keyring.refusal(key.text.encode(), T)
    assert (refusal.reason, refusal.status) == ("key_revoked", 401)
    assert key.text not in str(refusal)


def test_a_key_expires_on_the_second() -> None:
    key = new_key()
    keyring = Keyring([record(key, expires_at=NOW + timedelta(seconds=10))])
    token = key.text.encode()
    assert keyring.principal(token, T + 9.9) is not None
    assert keyring.principal(token, T + 10) is None
    assert keyring.refusal(token, T + 10).reason == "key_expired"


def test_two_secrets_are_live_while_a_key_is_rotated() -> None:
    old = new_key()
    fresh = new_key(old.id)
    secrets = (
        KeySecret(digest=fresh.digest, created_at=NOW),
        KeySecret(digest=old.digest, created_at=NOW, expires_at=NOW + timedelta(hours=1)),
    )
    keyring = Keyring([record(old, secrets=secrets)])
    assert keyring.principal(old.text.encode(), T) == keyring.principal(fresh.text.encode(), T)
    assert keyring.principal(old.text.encode(), T + 3600) is None
    assert keyring.refusal(old.text.encode(), T + 3600).reason == "key_replaced"
    assert keyring.principal(fresh.text.encode(), T + 3600) is not None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda tree: tree | {"more": 1}, ("keys-unreadable", "more")),
        (lambda tree: tree | {"schema_version": 2}, ("keys-unreadable",)),
        (lambda tree: {"keys": tree["keys"]}, ("keys-unreadable", "schema_version")),
        (lambda tree: tree | {"keys": tree["keys"] * 2}, ("keys-invalid",)),
        (lambda tree: with_key(tree, more=1), ("keys-unreadable", "more")),
        (lambda tree: with_key(tree, secrets=[]), ("keys-invalid", "0")),
        (lambda tree: with_key(tree, secrets=tree["keys"][0]["secrets"] * 3), ("keys-invalid", "3")),
        (lambda tree: with_key(tree, expires_at="2026-01-01T00:00:00"), ("keys-invalid",)),
        (lambda tree: with_key(tree, expires_at="soon"), ("keys-unreadable", "RFC3339")),
        (
            lambda tree: with_key(tree, limits=[{"unit": "usd", "cap": 0, "window_s": 1}]),
            ("keys-invalid", "0"),
        ),
        (
            lambda tree: with_key(tree, limits=[{"unit": "usd", "cap": 1, "window_s": -1}]),
            ("keys-invalid", "0"),
        ),
        (
            lambda tree: with_key(tree, limits=[{"unit": "eur", "cap": 1, "window_s": 1}]),
            ("keys-unreadable",),
        ),
        (
            lambda tree: with_key(tree, secrets=[tree["keys"][0]["secrets"][0] | {"digest": "x"}]),
            ("keys-invalid", "SHA-256"),
        ),
    ],
)
def test_a_damaged_file_is_refused(change: Any, problem: str) -> None:
    tree = json.loads(keyring_bytes([record(new_key())]))
    with raises_code(*problem) as caught:
        read_records(json.dumps(change(tree)).encode(), file="keys.json")
    assert caught.value.file == "keys.json"


def with_key(tree: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return tree | {"keys": [tree["keys"][0] | changes]}


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_or_the_lookup(data: bytes) -> None:
    with pytest.raises(ConfigError):
        read_keyring(data)
    assert Keyring([record(new_key())]).principal(data, T) is None


def test_nothing_sent_is_nobody() -> None:
    with pytest.raises(AccessError) as caught:
        authenticate(None, keys=Keyring(), tokens=None, now=T)
    assert caught.value.reason == "no_key"
    with pytest.raises(AccessError) as caught:
        authenticate(b"sk-other", keys=Keyring(), tokens=None, now=T)
    assert caught.value.reason == "key_unknown"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"routes": ("other",)}, ("route-denied", "other")),
        ({"team": "care"}, ("route-denied", "standard", "none")),
        ({"tier": "standard", "team": "ops"}, ("route-denied", "care", "ops")),
        ({"tier": "standard", "team": "care"}, None),
        ({"tier": "standard", "team": "care", "routes": ("help",)}, None),
        ({"routes": ("help",)}, ("route-denied", "standard")),
    ],
)
def test_a_route_is_for_its_tiers_and_teams(changes: dict[str, Any], rule: tuple[str, ...] | None) -> None:
    key = new_key()
    principal = Keyring([record(key, **changes)]).principal(key.text.encode(), T)
    assert principal is not None
    route = RouteSpec(name="help", incumbent="old", tiers=("standard",), teams=("care",))
    if rule is None:
        check_route(principal, route)
        return
    with raises_code(*rule) as caught:
        check_route(principal, route)
    assert caught.value.status == 403
