"""Keys are events; the file that the gateway loads follows each of them."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from crossgrade.errors import NotFoundError
from crossgrade.identity import KeyLimit, read_keyring, read_records
from crossgrade.store import Keys, OnboardingStep, Store, utc_now
from tests.codes import raises_code


def let_in(store: Store, text: str) -> bool:
    return read_keyring(store.keys.path.read_bytes()).principal(text.encode(), time.time()) is not None


def unfinished(store: Store) -> Path:
    """The file that becomes `keys.json` once it is whole."""
    return store.keys.path.with_name(f".{store.keys.path.name}.{os.getpid()}")


def test_a_new_key_is_let_in_and_its_secret_is_nowhere(any_store: Store) -> None:
    until = datetime(2030, 1, 1, tzinfo=UTC)
    limits = (KeyLimit(unit="usd", cap=5, window_s=86_400),)
    key = any_store.keys.create(
        "ci",
        expires_at=until,
        team="care",
        tier="t",
        routes=("help",),
        limits=limits,
        segment="de",
        tenant="x",
    )
    (record,) = any_store.keys.records()
    assert (record.id, record.name, record.team, record.tier) == (key.id, "ci", "care", "t")
    assert (record.expires_at, record.routes, record.limits) == (until, ("help",), limits)
    assert (record.segment, record.tenant) == ("de", "x")
    assert let_in(any_store, key.text)
    secret = key.text.rpartition("-")[2].encode()
    assert all(secret not in path.read_bytes() for path in any_store.folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("cap", "window_s"), [(-5.0, 60), (0.0, 60), (float("nan"), 60), (1.0, -60)])
def test_a_key_that_no_gateway_could_read_is_not_made(any_store: Store, cap: float, window_s: int) -> None:
    """One such key would keep every later change, a revocation above all, from counting."""
    good = any_store.keys.create("good")
    with raises_code("key-not-made"):
        any_store.keys.create("bad", limits=(KeyLimit(unit="usd", cap=cap, window_s=window_s),))
    assert [record.name for record in any_store.keys.records()] == ["good"]
    any_store.keys.revoke("good")
    assert not let_in(any_store, good.text)


def test_the_file_is_its_owners_only(store: Store) -> None:
    unfinished(store).write_text("left by a crash")
    store.keys.create("ci")
    assert store.keys.path.stat().st_mode & 0o777 == 0o600
    assert not unfinished(store).exists()


def test_rotating_lets_both_secrets_in_for_a_while(any_store: Store) -> None:
    old = any_store.keys.create("ci")
    fresh = any_store.keys.rotate("ci", overlap=timedelta(hours=1))
    assert fresh.id == old.id
    assert let_in(any_store, old.text)
    assert let_in(any_store, fresh.text)
    newest = any_store.keys.rotate(old.id, overlap=timedelta(0))
    assert not let_in(any_store, old.text)  # two secrets at most
    assert not let_in(any_store, fresh.text)
    assert let_in(any_store, newest.text)


def test_a_revoked_key_is_let_in_no_more(any_store: Store) -> None:
    key, other = any_store.keys.create("ci"), any_store.keys.create("app")
    first = any_store.keys.revoke(key.id)
    assert any_store.keys.revoke("ci") == first
    assert not let_in(any_store, key.text)
    assert let_in(any_store, other.text)
    with raises_code("key-not-live", "ci", "revoked"):
        any_store.keys.rotate(key.id, overlap=timedelta(0))


def test_names_are_unique_among_live_keys(store: Store) -> None:
    old = store.keys.create("ci")
    with raises_code("key-name-taken", "ci"):
        store.keys.create("ci")
    store.keys.revoke("ci")
    fresh = store.keys.create("ci")
    assert store.keys.get("ci").id == fresh.id
    assert store.keys.get(old.id).revoked_at is not None
    with raises_code("key-not-found", "x"):
        store.keys.get("x")


def test_the_file_can_be_written_again(store: Store) -> None:
    key = store.keys.create("ci")
    before = store.keys.path.read_bytes()
    store.keys.path.unlink()
    store.keys.publish()
    assert store.keys.path.read_bytes() == before
    assert read_records(before)[0].id == key.id
    assert json.loads(before)["schema_version"] == 1


def test_a_change_that_fails_leaves_the_file(store: Store) -> None:
    store.keys.create("ci")
    before = store.keys.path.read_bytes()
    with pytest.raises(NotFoundError):
        store.keys.revoke("nobody")
    assert store.keys.path.read_bytes() == before


def test_a_file_that_cannot_be_written_is_said(store: Store) -> None:
    unfinished(store).mkdir()
    with raises_code("keys-unwritable"):
        store.keys.create("ci")


def test_keys_made_at_once_are_all_in_the_file(path: Path) -> None:
    Store.open(path).close()
    script = (
        "import sys\nfrom crossgrade.store import Store\n"
        "with Store.open(sys.argv[1]) as store:\n    store.keys.create(sys.argv[2])\n"
    )
    making = [subprocess.Popen([sys.executable, "-c", script, str(path), f"k{n}"]) for n in range(4)]
    assert [process.wait() for process in making] == [0, 0, 0, 0]
    with Store.open(path) as store:
        assert {record.name for record in read_records(store.keys.path.read_bytes())} == {
            "k0",
            "k1",
            "k2",
            "k3",
        }


def test_steps_of_onboarding_are_kept_in_order(any_store: Store) -> None:
    for kind in ("seen", "verdict", "canary"):
        any_store.onboardings.append(OnboardingStep(offer="new", workload="w", kind=kind, detail={"a": 1}))
    any_store.onboardings.append(OnboardingStep(offer="other", workload="w", kind="seen"))
    steps = any_store.onboardings.steps("new", "w")
    assert [step.kind for step in steps] == ["seen", "verdict", "canary"]
    assert steps[0].detail == {"a": 1}
    assert steps[0].at.tzinfo is not None


def test_another_machine_writes_the_same_file(any_store: Store, tmp_path: Path) -> None:
    url = any_store.keys._database.engine.url.render_as_string(hide_password=False)
    elsewhere = tmp_path / "elsewhere"
    with Keys.open(url, elsewhere) as keys:
        key = any_store.keys.create("ci")
        keys.publish()
        any_store.keys.revoke(key.id)
        keys.publish()
        assert keys.path.read_bytes() == any_store.keys.path.read_bytes()


def test_an_event_committed_late_counts_too(any_store: Store, tmp_path: Path) -> None:
    url = any_store.keys._database.engine.url.render_as_string(hide_password=False)
    key = any_store.keys.create("ci")
    row = "INSERT INTO key_events (id, key_id, kind, detail, at) VALUES (:id, :key_id, 'revoked', '{}', :at)"
    with Keys.open(url, tmp_path / "elsewhere") as keys:
        for number, key_id in ((99, any_store.keys.create("other").id), (98, key.id)):
            keys.publish()
            with keys._database.writing() as connection:
                connection.execute(text(row), {"id": number, "key_id": key_id, "at": utc_now().isoformat()})
        keys.publish()
        now = time.time()
        assert read_keyring(keys.path.read_bytes()).principal(key.text.encode(), now) is None
