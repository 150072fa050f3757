"""`crossgrade audit verify` compares a project's decisions with its ledger, and what requests say with both."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossgrade.cli._frame import run
from crossgrade.project import Project
from crossgrade.routing import route_table_bytes, route_table_digest
from crossgrade.store import LedgerEvent
from tests.codes import names
from tests.unit.cli.ledgers import NAME, STATE, changed, codes, opened
from tests.unit.store.test_dossiers import DOSSIER
from tests.unit.store.test_erasure import filled
from tests.unit.store.test_routes import route, table

pytestmark = pytest.mark.usefixtures("audited")

WHO = "user-0123456789abcdef"
RESTORED = """\
INSERT INTO key_events (key_id, kind, detail, at)
SELECT key_id, 'restored', detail, at FROM key_events WHERE kind = 'suspended'
"""


def test_the_projects_own_rows_are_compared_with_the_ledger(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    said("keys", "create", "ci")
    with opened() as store:
        identifier = filled(store)
        store.publish_route(table(route("chat")), None)
    assert said("audit", "verify")["holds"]
    before = (STATE / "routes.json").read_bytes()
    with opened() as store:
        current = store.routes.current()
        assert current is not None
        store.publish_route(table(route("chat", "keep")), route_table_digest(current))
        store.forget("support", {"1"})
    assert said("audit", "verify")["holds"]
    (STATE / "routes.json").write_bytes(before)
    assert codes(said("audit", "verify", code=1)) == {"route-differs"}
    changed("UPDATE verdicts SET verdict = replace(verdict, 'switch', 'keep')")
    assert codes(said("audit", "verify", code=1)) == {"route-differs", "decision-differs"}
    changed("UPDATE verdicts SET id = 'other'")
    found = said("audit", "verify", code=1)
    assert codes(found) == {"route-differs", "decision-missing", "decision-unrecorded"}
    assert any(identifier in each["message"] for each in found["findings"])


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM key_events WHERE kind = 'suspended'", {"decision-missing", "keys-differ"}),
        (
            "UPDATE key_events SET key_id = 'user-2222222222222222' WHERE kind = 'suspended'",
            {"decision-missing", "decision-unrecorded", "keys-differ"},
        ),
        (
            "UPDATE key_events SET detail = replace(detail, 'gold', 'iron') WHERE kind = 'created'",
            {"decision-missing", "decision-unrecorded", "keys-differ"},
        ),
        (
            "UPDATE key_events SET detail = 7 WHERE kind = 'created'",
            {"decision-missing", "decision-unrecorded", "keys-differ"},
        ),
        (RESTORED, {"decision-unrecorded", "keys-differ"}),
        (RESTORED.replace(", at FROM", ", 'z' FROM"), {"decision-unrecorded", "keys-differ"}),
    ],
)
def test_events_of_keys_are_compared_with_the_ledger(
    said: Callable[..., Any], statement: str, expected: set[str]
) -> None:
    said("audit", "init", NAME)
    said("keys", "create", "ci", "--tier", "gold")
    said("access", "suspend", WHO, "--because", "stolen")
    assert said("audit", "verify")["holds"]
    changed(statement)
    assert codes(said("audit", "verify", code=1)) == expected


def test_events_that_changed_places_are_found(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    said("access", "suspend", WHO, "--because", "stolen")
    said("access", "restore", WHO, "--because", "found")
    said("access", "suspend", WHO, "--because", "stolen again")
    assert said("audit", "verify")["holds"]
    changed("UPDATE key_events SET id = 9 WHERE kind = 'restored'")
    assert codes(said("audit", "verify", code=1)) >= {"decision-missing", "keys-differ"}


def test_files_that_nobody_published_are_found(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    said("keys", "create", "ci")
    published = table(route("chat"))
    (STATE / "routes.json").write_bytes(route_table_bytes(published))
    assert codes(said("audit", "verify", code=1)) == {"route-differs"}
    (STATE / "routes.json").unlink()
    (STATE / "keys.json").write_bytes((STATE / "keys.json").read_bytes() + b" ")
    assert codes(said("audit", "verify", code=1)) == {"keys-differ"}


def test_requests_under_a_table_that_nobody_published_are_found(
    said: Callable[..., Any], tmp_path: Path
) -> None:
    said("audit", "init", NAME)
    with opened() as store:
        published = route_table_digest(store.publish_route(table(route("chat")), None))
        for policy in (published, None, "sha256:forged", "sha256:forged"):
            store.ledger.append(
                [LedgerEvent("request", {"policy": policy, "request": str(store.ledger.size())})]
            )
    said("audit", "export", tmp_path / "out")
    for where in ((), (tmp_path / "out",)):
        found = said("audit", "verify", *where, code=1)
        assert [(each["code"], each["seq"]) for each in found["findings"]] == [("policy-unrecorded", 3)]


def test_requests_under_a_verdict_that_nobody_recorded_are_found(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    with opened() as store:
        identifier = filled(store)
        for verdict in (identifier, None, "forged", "forged"):
            store.ledger.append(
                [LedgerEvent("request", {"verdict": verdict, "request": str(store.ledger.size())})]
            )
    found = said("audit", "verify", code=1)
    assert [(each["code"], each["seq"]) for each in found["findings"]] == [("verdict-unrecorded", 3)]


def test_requests_under_a_dossier_that_nobody_recorded_are_found(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    with opened() as store:
        recorded = store.dossiers.append(DOSSIER).digest
        for dossier in (recorded, None, "sha256:forged", "sha256:forged"):
            store.ledger.append(
                [LedgerEvent("request", {"dossier": dossier, "request": str(store.ledger.size())})]
            )
    found = said("audit", "verify", code=1)
    assert [(each["code"], each["seq"]) for each in found["findings"]] == [("dossier-unrecorded", 3)]


@pytest.mark.parametrize("column", ["workload", "name", "decided_at", "valid_until", "evidence_digest"])
def test_the_columns_of_a_verdict_are_compared_with_its_entry(said: Callable[..., Any], column: str) -> None:
    said("audit", "init", NAME)
    with opened() as store:
        filled(store)
        store.forget("support", {"1"})
    assert said("audit", "verify")["holds"]
    changed(f"UPDATE verdicts SET {column} = 'other'")
    assert codes(said("audit", "verify", code=1)) == {"decision-differs"}


def test_what_is_decided_while_the_ledger_is_verified_is_no_finding(audited: Path) -> None:
    run(["audit", "init", NAME])
    run(["keys", "create", "ci"])
    is_over = threading.Event()

    def decide() -> None:
        with opened() as store:
            while not is_over.is_set():
                store.keys.suspend(WHO, because="stolen")
                store.keys.restore(WHO, because="found")

    thread = threading.Thread(target=decide)
    with Project.open(audited / "crossgrade.yaml") as verifier:
        thread.start()
        found = [verifier.ledger.verify(log=verifier.ledger.verifier) for _ in range(20)]
        is_over.set()
        thread.join()
    assert len({each.size for each in found}) > 1
    assert [each.findings for each in found] == [()] * 20


def test_a_verdict_that_says_it_is_older_than_the_ledger_is_found(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    said("keys", "create", "ci")
    with opened() as store:
        filled(store)
    assert said("audit", "verify")["remarks"] == []
    columns = "workload, name, run_id, decided_at, valid_until, verdict, evidence_digest, evidence"
    changed(
        f"INSERT INTO verdicts (id, at, {columns}) SELECT 'forged', '2020-01-01', {columns} FROM verdicts"
    )
    (finding,) = said("audit", "verify", code=1)["findings"]
    assert finding["code"] == "decision-unrecorded"
    assert names(finding["message"], "forged")


def older(said: Callable[..., Any]) -> str:
    """Leave a project as it is after an upgrade from before there were ledgers; return a verdict's id."""
    said("keys", "create", "ci")
    with opened() as store:
        identifier = filled(store)
        store.publish_route(table(route("chat")), None)
    for name in ("entries", "nodes", "checkpoints"):
        changed(f"DELETE FROM ledger_{name}")
    changed("UPDATE ledger_head SET size = 0, frontier = x''")
    return identifier


@pytest.mark.parametrize("first", ["init", "key", "verdict", "route"])
def test_a_ledger_begins_with_what_was_decided_before_it(said: Callable[..., Any], first: str) -> None:
    identifier = older(said)
    assert said("audit", "verify")["findings"] == []
    with opened() as store:
        current = store.routes.current()
        assert current is not None
        in_force = route_table_digest(current)
        if first == "verdict":
            filled(store)
        elif first == "route":
            store.publish_route(table(route("mail")), in_force)
    if first == "key":
        said("keys", "create", "second")
    said("audit", "init", NAME)
    assert said("audit", "verify")["holds"]
    begin, *more = said("audit", "list")["entries"]
    assert (begin["seq"], begin["kind"]) == (0, "opened")
    assert [each["id"] for each in begin["detail"]["verdicts"]] == [identifier]
    assert [each["event"] for each in begin["detail"]["keys"]] == ["created"]
    assert begin["detail"]["routes"] == [{"digest": in_force, "version": 1}]
    assert [each["kind"] for each in more] == ([] if first == "init" else [first])


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE verdicts SET verdict = replace(verdict, 'switch', 'keep')", {"decision-differs"}),
        ("UPDATE verdicts SET name = 'other'", {"decision-differs"}),
        ("UPDATE key_events SET detail = '{}'", {"decision-missing", "decision-unrecorded", "keys-differ"}),
        ("DELETE FROM key_events", {"decision-missing", "keys-differ"}),
        (
            RESTORED.replace("restored", "revoked").replace("suspended", "created"),
            {"decision-unrecorded", "keys-differ"},
        ),
    ],
)
def test_decisions_from_before_the_ledger_are_compared_with_it(
    said: Callable[..., Any], statement: str, expected: set[str]
) -> None:
    older(said)
    said("audit", "init", NAME)
    assert said("audit", "verify")["holds"]
    changed(statement)
    assert codes(said("audit", "verify", code=1)) == expected


def test_an_erasure_of_samples_in_a_verdict_from_before_the_ledger_holds(said: Callable[..., Any]) -> None:
    older(said)
    said("audit", "init", NAME)
    with opened() as store:
        store.forget("support", {"1"})
    assert said("audit", "verify")["holds"]


def test_only_the_beginning_of_a_ledger_says_what_is_older(said: Callable[..., Any]) -> None:
    said("audit", "init", NAME)
    said("keys", "create", "ci")
    with opened() as store:
        filled(store)
        facts = [dict(each) for _, each in store.verdicts.documents()]
        store.ledger.append(
            [LedgerEvent("opened", {"verdicts": [{**each, "id": "forged"} for each in facts]})]
        )
    columns = "workload, name, run_id, decided_at, valid_until, verdict, evidence_digest, evidence, at"
    changed(f"INSERT INTO verdicts (id, {columns}) SELECT 'forged', {columns} FROM verdicts")
    assert codes(said("audit", "verify", code=1)) == {"decision-unrecorded"}


def test_many_decisions_from_before_the_ledger_take_several_entries(said: Callable[..., Any]) -> None:
    older(said)
    columns = "workload, name, run_id, decided_at, valid_until, verdict, evidence_digest, at"
    changed(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) "
        f"INSERT INTO verdicts (id, {columns}) SELECT 'v' || i, {columns} FROM verdicts, n"
    )
    said("audit", "init", NAME)
    found = said("audit", "verify")
    assert found["holds"]
    assert found["kinds"]["opened"] == found["entries"] > 2
