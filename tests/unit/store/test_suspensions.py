"""Suspensions are events beside those of keys, and the gateway's file follows each of them."""

import json

import pytest

from crossgrade.identity import read_keyring
from crossgrade.ledger import read_entry
from crossgrade.store import Keys, Store, _keys
from tests.codes import raises_code

USER = "user-0123456789abcdef"


def suspended(store: Store) -> frozenset[str]:
    return read_keyring(store.keys.path.read_bytes()).suspended


def test_a_suspension_and_its_end_are_in_the_file_and_in_the_history(any_store: Store) -> None:
    key = any_store.keys.create("ci")
    assert any_store.keys.suspend(USER, because="odd prompts at night")
    assert any_store.keys.suspend(key.id, because="leaked?")
    assert suspended(any_store) == {USER, key.id}
    assert not any_store.keys.suspend(USER, because="again")
    assert any_store.keys.restore(USER, because="it was a test")
    assert not any_store.keys.restore(USER, because="again")
    assert suspended(any_store) == {key.id}
    assert [each.principal for each in any_store.keys.suspended()] == [key.id]
    history = [(each.principal, each.kind, each.because) for each in any_store.keys.suspensions()]
    assert history == [
        (USER, "suspended", "odd prompts at night"),
        (key.id, "suspended", "leaked?"),
        (USER, "restored", "it was a test"),
    ]
    assert "odd" not in any_store.keys.path.read_text(), "reasons are not for the gateway"


def test_a_suspended_key_stays_suspended_when_it_is_rotated_and_its_record_stays(any_store: Store) -> None:
    key = any_store.keys.create("ci")
    any_store.keys.suspend(key.id, because="leaked?")
    any_store.keys.rotate("ci", overlap=_keys.timedelta(0))
    assert suspended(any_store) == {key.id}
    assert any_store.keys.get("ci").status(_keys.utc_now()) == "live"


def test_a_machine_that_follows_reads_only_what_is_new(store: Store) -> None:
    with Keys.open(store.folder / "crossgrade.db", store.folder / "other") as other:
        store.keys.suspend(USER, because="x")
        other.publish()
        assert read_keyring(other.path.read_bytes()).suspended == {USER}
        store.keys.restore(USER, because="y")
        store.keys.create("ci")
        other.publish()
        assert other.path.read_bytes() == store.keys.path.read_bytes()
        assert json.loads(other.path.read_bytes()).keys() == {"schema_version", "keys"}


def test_a_suspension_and_its_end_are_entries_of_the_ledger(any_store: Store) -> None:
    any_store.keys.suspend(USER, because="odd prompts at night")
    any_store.keys.suspend(USER, because="twice changes nothing")
    any_store.keys.restore(USER, because="it was a test")
    found = [read_entry(row.body) for row in any_store.ledger.entries()]
    assert [(each.kind, each.detail["principal"], each.detail["event"]) for each in found] == [
        ("suspended", USER, "suspended"),
        ("suspended", USER, "restored"),
    ]
    assert found[0].detail["because"] == "odd prompts at night"


@pytest.mark.parametrize("because", ["", "x" * 501, "a\nb", "\x1b[31mred"])
def test_a_reason_is_one_line_of_text(store: Store, because: str) -> None:
    with raises_code("because-invalid"):
        store.keys.suspend(USER, because=because)
    assert store.keys.suspensions() == []


def test_more_callers_than_the_gateway_reads_are_not_suspended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_keys, "MAX_SUSPENDED", 1)
    store.keys.suspend(USER, because="x")
    with raises_code("suspensions-full"):
        store.keys.suspend("user-1", because="x")
    assert suspended(store) == {USER}
