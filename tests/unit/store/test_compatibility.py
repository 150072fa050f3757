"""Records of live checks are appended, and the newest of the same offer is found."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from crossgrade.dialects.stated import StatedLimits
from crossgrade.domain import Offer
from crossgrade.store import CompatibilityRecord, LiveCheck, Store

OFFER = Offer(name="gpt", provider="openai", model="gpt-4.1")
AT_HOME = replace(OFFER, base_url="https://user:secret@llm.example:8443/v1")


def record(offer: Offer, *statuses: str) -> CompatibilityRecord:
    checks = tuple(
        LiveCheck(name=f"c{at}", status=status, seen="seen", calls=1, cost_usd=Decimal("0.25"))  # type: ignore[arg-type]  # one of them
        for at, status in enumerate(statuses)
    )
    return CompatibilityRecord.of(offer, checks, limits=StatedLimits(requests_per_minute=5))


def test_the_newest_record_of_an_offer_is_found(any_store: Store) -> None:
    first, second = record(OFFER, "works"), record(OFFER, "fails", "unknown")
    other = record(replace(OFFER, name="llama"), "works")
    for each in (first, second, other):
        any_store.compatibility.append(each)
    assert any_store.compatibility.newest([OFFER]) == {"gpt": second}
    assert set(any_store.compatibility.newest([OFFER, replace(OFFER, name="llama")])) == {"gpt", "llama"}
    assert [each.name for each in second.failing] == ["c0"]
    assert (second.calls, second.cost_usd) == (2, Decimal("0.5"))


def test_a_record_of_another_model_or_address_is_not_the_offers(any_store: Store) -> None:
    any_store.compatibility.append(kept := record(OFFER, "works"))
    for changed in (AT_HOME, replace(OFFER, model="gpt-5"), replace(OFFER, provider="azure")):
        any_store.compatibility.append(record(changed, "fails"))
        assert any_store.compatibility.newest([OFFER]) == {"gpt": kept}
        assert any_store.compatibility.newest([changed])["gpt"].failing


def test_an_address_is_kept_without_what_may_be_secret(store: Store, path: Path) -> None:
    store.compatibility.append(record(AT_HOME, "works"))
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT host, record FROM compatibility").fetchall()
    assert rows[0][0] == "llm.example:8443"
    assert "secret" not in repr(rows)


def test_a_cost_is_unknown_where_that_of_a_call_is() -> None:
    known = record(OFFER, "works")
    assert replace(known, checks=(replace(known.checks[0], cost_usd=None),)).cost_usd is None


def test_a_recorded_fixture_is_still_read(data_dir: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript((data_dir / "store" / "0010.sql").read_text(encoding="utf-8"))
    with Store.open(tmp_path / "old.db") as store:
        found = store.compatibility.newest([OFFER])["gpt"]
    assert [each.name for each in found.failing] == ["tools"]
    assert found.limits.tokens_per_minute == 30_000
