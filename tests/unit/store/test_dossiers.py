"""Dossiers are added and never changed; the gateway's file has the newest of each workload."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from crossgrade.domain import DOSSIER_FIELDS, Attachment, Dossier, DossierField, DossierModel
from crossgrade.identity import read_dossiers
from crossgrade.ledger import read_entry
from crossgrade.store import Store
from tests.codes import raises_code

UNTIL = datetime(2027, 2, 27, tzinfo=UTC)
DOSSIER = Dossier(
    workload="triage",
    models=(
        DossierModel(
            name="big", part="incumbent", provider="openai", model="gpt", basis={"model": "sha256:m"}
        ),
    ),
    fields=tuple(DossierField(number=number, status="missing", gaps=("no",)) for number in DOSSIER_FIELDS),
    controls=(),
    frameworks=(),
    made_at=datetime(2026, 11, 29, tzinfo=UTC),
    valid_until=UNTIL,
    verdict_id="v1",
    lacks=(16,),
)


def test_a_dossier_is_kept_as_it_was_and_published(any_store: Store) -> None:
    stored = any_store.dossiers.append(DOSSIER)
    assert any_store.dossiers.newest() == [stored]
    (mark,) = read_dossiers(any_store.dossiers.path.read_bytes())
    assert mark == stored.mark
    assert (mark.verdict_id, mark.lacks, mark.models) == ("v1", (16,), {"big": {"model": "sha256:m"}})


def test_fields_are_written_with_their_names_and_read_without_them(store: Store) -> None:
    import json
    import sqlite3

    stored = store.dossiers.append(DOSSIER)
    written = json.loads(stored.text)
    assert {each["number"]: each["name"] for each in written["fields"]} == DOSSIER_FIELDS
    for each in written["fields"]:
        del each["name"]
    with sqlite3.connect(store.folder / "crossgrade.db") as connection:
        connection.execute("UPDATE dossiers SET dossier = ?", (json.dumps(written),))
    connection.close()
    assert store.dossiers.newest()[0].dossier == DOSSIER


def test_the_newest_of_each_workload_counts(any_store: Store) -> None:
    any_store.dossiers.append(DOSSIER)
    other = any_store.dossiers.append(replace(DOSSIER, workload="other"))
    newest = any_store.dossiers.append(DOSSIER)
    marks = read_dossiers(any_store.dossiers.path.read_bytes())
    assert {each.id for each in marks} == {other.id, newest.id}
    assert any_store.dossiers.recent("triage")[0].id == newest.id
    assert len(any_store.dossiers.recent()) == 3


def test_those_with_a_file_come_oldest_first(any_store: Store) -> None:
    path = 'papers/100%_"é".md'

    def attached(name: str) -> Dossier:
        file = Attachment(path=name, sha256="a" * 64, size_bytes=1)
        first = replace(DOSSIER.fields[0], attachments=(file,))
        return replace(DOSSIER, fields=(first, *DOSSIER.fields[1:]))

    made = [attached(path), DOSSIER, attached("papers/100 __é_.md"), replace(attached(path), lacks=())]
    for each in (*made, replace(attached(path), workload="other")):
        any_store.dossiers.append(each)
    assert list(any_store.dossiers.naming_file("triage", path)) == [made[0], made[3]]
    assert list(any_store.dossiers.newest_first("triage")) == made[::-1]


def test_a_lost_file_is_written_again(any_store: Store) -> None:
    any_store.dossiers.append(DOSSIER)
    content = any_store.dossiers.path.read_bytes()
    any_store.dossiers.path.unlink()
    any_store.dossiers.publish()
    assert any_store.dossiers.path.read_bytes() == content
    assert any_store.dossiers.path.stat().st_mode & 0o077 == 0


def test_the_ledger_has_the_digest_of_the_row(any_store: Store) -> None:
    stored = any_store.dossiers.append(DOSSIER)
    entry = read_entry(any_store.ledger.entry(any_store.ledger.size() - 1).body)
    assert entry.kind == "dossier"
    assert entry.detail["digest"] == stored.digest
    assert entry.detail["missing"] == list(DOSSIER_FIELDS)
    ((name, facts),) = any_store.dossiers.documents()
    assert name == stored.id
    assert facts == entry.detail


@pytest.mark.parametrize("damage", ["{}", "no", '{"workload": 7}'])
def test_a_damaged_row_is_named(store: Store, damage: str) -> None:
    import sqlite3

    stored = store.dossiers.append(DOSSIER)
    with sqlite3.connect(store.folder / "crossgrade.db") as connection:
        connection.execute("UPDATE dossiers SET dossier = ?", (damage,))
    with raises_code("dossier-unreadable", stored.id):
        store.dossiers.newest()
