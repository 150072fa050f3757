"""Suspended callers: by the id of a key or of a token's subject, and by nothing that is like it."""

import json
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pytest

from crossgrade.errors import AccessError
from crossgrade.identity import (
    MAX_SUSPENDED,
    KeyRecord,
    Keyring,
    KeySecret,
    Suspension,
    TokenVerifier,
    authenticate,
    keyring_bytes,
    new_key,
    read_keyring,
    user_id,
)
from tests.codes import raises_code

ISSUER = "https://login.example.com/"  # as conftest.py has it
NOW = 1_800_000_000.0
AT = datetime.fromtimestamp(NOW, UTC)


def suspension(principal: str) -> Suspension:
    return Suspension(principal=principal, at=AT)


def test_a_suspended_key_is_refused_and_no_other_one() -> None:
    mine, other = new_key(), new_key()
    records = [
        KeyRecord(
            id=key.id, name=key.id, secrets=(KeySecret(digest=key.digest, created_at=AT),), created_at=AT
        )
        for key in (mine, other)
    ]
    keyring = read_keyring(keyring_bytes(records, [suspension(mine.id)]))
    with pytest.raises(AccessError) as caught:
        authenticate(mine.text.encode(), keys=keyring, tokens=None, now=NOW)
    assert (caught.value.reason, caught.value.status) == ("suspended", 403)
    assert authenticate(other.text.encode(), keys=keyring, tokens=None, now=NOW).id == other.id


def test_a_stranger_does_not_learn_that_a_key_is_suspended() -> None:
    mine = new_key()
    with pytest.raises(AccessError) as caught:
        authenticate(mine.text.encode(), keys=Keyring(suspended=[mine.id]), tokens=None, now=NOW)
    assert caught.value.reason == "key_unknown"


@pytest.mark.parametrize("cut", [1, 2, 10])
def test_an_id_that_begins_or_ends_alike_is_another_caller(
    verifier: TokenVerifier, signer: Any, cut: int
) -> None:
    who = user_id(ISSUER, "ada")
    near = [who[:-cut], who + "0" * cut, who.upper(), "user-", ""]
    keyring = Keyring(suspended=near)
    assert authenticate(signer.token(), keys=keyring, tokens=verifier, now=NOW).id == who


def test_a_token_that_was_verified_before_is_refused_at_once(verifier: TokenVerifier, signer: Any) -> None:
    token, who = signer.token(), user_id(ISSUER, "ada")
    assert authenticate(token, keys=Keyring(), tokens=verifier, now=NOW).id == who
    for fresh in (token, signer.token(signer.claims(iat=NOW - 3))):
        with pytest.raises(AccessError) as caught:
            authenticate(fresh, keys=Keyring(suspended=[who]), tokens=verifier, now=NOW)
        assert caught.value.reason == "suspended"


class _EarlierFile(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The form of `keys.json` before there were suspensions."""

    schema_version: Literal[1]
    keys: tuple[KeyRecord, ...]


def test_earlier_readers_read_the_file_as_long_as_they_can_follow_it() -> None:
    assert msgspec.json.decode(keyring_bytes([]), type=_EarlierFile).keys == ()
    assert json.loads(keyring_bytes([])) == {"schema_version": 1, "keys": []}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(keyring_bytes([], [suspension("k")]), type=_EarlierFile)


@pytest.mark.parametrize(
    "suspended",
    [
        [{"principal": "", "at": "2026-11-29T07:00:00Z"}],
        [{"principal": "k", "at": "2026-11-29T07:00:00"}],
        [{"principal": str(n), "at": "2026-11-29T07:00:00Z"} for n in range(MAX_SUSPENDED + 1)],
    ],
)
def test_a_file_with_a_wrong_suspension_is_refused_as_a_whole(suspended: list[dict[str, str]]) -> None:
    data = json.dumps({"schema_version": 1, "keys": [], "suspended": suspended}).encode()
    with raises_code("keys-invalid"):
        read_keyring(data)
