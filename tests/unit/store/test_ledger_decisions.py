"""Every decision has its entry in the ledger, written in the transaction of the store's own row."""

import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from crossgrade.errors import CrossgradeError
from crossgrade.ledger import LogEntry, read_entry
from crossgrade.project import ProjectLedger
from crossgrade.routing import route_table_digest
from crossgrade.store import Alarm, OnboardingStep, Store
from crossgrade.store._ledger_events import decision, document_digest, recordable
from crossgrade.store._verdicts import encode_verdict
from tests.unit.store.test_erasure import filled
from tests.unit.store.test_routes import route, table
from tests.unit.store.test_verdicts import make_verdict


def entries(store: Store) -> list[LogEntry]:
    return [read_entry(row.body) for row in store.ledger.entries()]


def facts(store: Store) -> list[dict[str, Any]]:
    return [{"kind": each.kind, **each.detail} for each in entries(store)]


def test_a_verdict(any_store: Store) -> None:
    verdict = make_verdict()
    identifier = any_store.verdicts.append(verdict)
    (entry,) = facts(any_store)
    assert entry["id"] == identifier
    assert entry["digest"] == document_digest(encode_verdict(verdict))
    assert entry["evidence_digest"] == verdict.evidence_digest
    assert entry["valid_until"] == verdict.valid_until.isoformat()


def test_route_tables(any_store: Store) -> None:
    first = any_store.publish_route(table(route("chat"), route("mail")), None)
    seen = route_table_digest(first)
    down = table(route("chat", "keep"), route("mail"))
    second = any_store.publish_route(down, seen, step="down")
    third = any_store.publish_route(table(route("mail")), route_table_digest(second))
    names = ("kind", "digest", "version", "previous", "step", "changed", "removed")
    assert [tuple(each[name] for name in names) for each in facts(any_store)] == [
        ("route", seen, 1, None, "up", ["chat", "mail"], []),
        ("route", route_table_digest(second), 2, seen, "down", ["chat"], []),
        ("route", route_table_digest(third), 3, route_table_digest(second), "up", [], ["chat"]),
    ]


def test_no_table_is_in_force_without_its_entry(store: Store) -> None:
    store.ledger.secrets.signing_path.write_text("damaged")
    with pytest.raises(CrossgradeError):
        store.publish_route(table(route("chat")), None)
    assert store.routes.current() is None


def test_alarms_and_what_they_step_down(any_store: Store) -> None:
    alarm = Alarm(route="chat", kind="claim", detail={"e_value": 20.5, "segments": ["a"]}, verdict_id="v1")
    any_store.alarms.append(alarm)
    any_store.alarms.append_event(alarm.id, "stepped_down", {"version": 7})
    any_store.alarms.append_event(alarm.id, "delivered")
    raised, step = facts(any_store)
    assert (raised["id"], raised["route"], raised["alarm"]) == (alarm.id, "chat", "claim")
    assert raised["detail"] == {"e_value": "20.5", "segments": ["a"]}
    assert step == {"kind": "step", "alarm": alarm.id, "version": 7}


def test_keys_without_their_secrets(any_store: Store) -> None:
    key = any_store.keys.create("ci", tier="gold", expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    again = any_store.keys.rotate("ci", overlap=timedelta(days=1))
    any_store.keys.revoke("ci")
    found = facts(any_store)
    assert [(each["key_id"], each["event"]) for each in found] == [
        (key.id, "created"),
        (key.id, "rotated"),
        (key.id, "revoked"),
    ]
    assert (found[0]["name"], found[0]["tier"]) == ("ci", "gold")
    bodies = b"".join(row.body for row in any_store.ledger.entries())
    assert not any(secret.encode() in bodies for secret in (key.digest, key.text, again.digest, again.text))


def test_a_ledger_begins_with_the_rows_that_are_older(any_store: Store) -> None:
    key = any_store.keys.create("ci").id
    identifier = any_store.verdicts.append(make_verdict())
    digest = route_table_digest(any_store.publish_route(table(route("chat")), None))
    with any_store.ledger._database.writing() as connection:  # as before there were ledgers
        for name in ("entries", "nodes"):
            connection.exec_driver_sql(f"DELETE FROM ledger_{name}")
        connection.exec_driver_sql("UPDATE ledger_head SET size = 0, frontier = ''")
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("UPDATE ledger_head SET frontier = x''")
    second = any_store.publish_route(table(route("mail")), digest)
    opening, published = facts(any_store)
    assert (opening["kind"], published["digest"]) == ("opened", route_table_digest(second))
    assert opening["routes"] == [{"digest": digest, "version": 1}]
    assert [each["key_id"] for each in opening["keys"]] == [key]
    assert [each["id"] for each in opening["verdicts"]] == [identifier]
    assert ProjectLedger(any_store).verify().findings == ()


@pytest.mark.needs("postgresql")
def test_machines_that_change_one_caller_at_once_give_rows_and_entries_one_order(
    shared_url: str, tmp_path: Path
) -> None:
    def change(folder: Path) -> None:
        with Store.open(shared_url, folder=folder) as store:
            for _ in range(20):
                store.keys.suspend("user-1", because="stolen")
                store.keys.restore("user-1", because="found")

    with Store.open(shared_url, folder=tmp_path / "a") as store:
        machines = [Thread(target=change, args=(tmp_path / name,)) for name in "abc"]
        for each in machines:
            each.start()
        for each in machines:
            each.join()
        rows = list(store.keys.documents())
        assert rows == [(each["principal"], each["event"], each["document"]) for each in facts(store)]
        assert [kind for _, kind, _ in rows] == ["suspended", "restored"] * (len(rows) // 2)


def test_approvals_of_an_onboarding(any_store: Store) -> None:
    for kind in ("listed", "seen", "proposed", "renewal", "spent", "canary", "delivered"):
        any_store.onboardings.append(
            OnboardingStep(offer="llama", workload="support", kind=kind, detail={"usd": 1.5})
        )
    assert [each["step"] for each in facts(any_store)] == ["proposed", "renewal", "canary"]


def test_an_erasure_names_verdicts_and_no_samples(any_store: Store) -> None:
    identifier = filled(any_store)
    any_store.forget("support", {"1"}, ["d1"])
    erasure = facts(any_store)[-1]
    stored = any_store.verdicts.get(identifier).verdict
    assert erasure == {
        "kind": "erasure",
        "workload": "support",
        "samples": 1,
        "answers": 1,
        "verdicts": {identifier: document_digest(encode_verdict(stored))},
    }


def test_a_row_that_is_not_written_has_no_entry(store: Store, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE alarms")
    connection.close()
    with pytest.raises(CrossgradeError):
        store.alarms.append(Alarm(route="chat", kind="claim", detail={}))
    assert store.ledger.size() == 0


def test_facts_of_any_form_are_recorded() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    found = recordable(
        {
            "text": "x" * 1000,
            "bad": "\ud800",
            "float": float("inf"),
            "large": 2**60,
            "money": Decimal("1.50"),
            "list": list(range(1000)),
            "deep": deep,
            1: datetime(2026, 1, 1, tzinfo=UTC),
        }
    )
    assert isinstance(found, dict)
    assert (len(found["text"]), found["bad"], found["float"]) == (300, "?", "inf")
    assert (found["large"], found["money"], len(found["list"])) == (str(2**60), "1.50", 100)
    assert found["1"] == "2026-01-01T00:00:00+00:00"
    decision("verdict", **{str(n): found for n in range(3)})
    huge = decision("verdict", **{str(n): ["x" * 300] * 100 for n in range(10)})
    assert set(huge.detail) == {"facts"}
