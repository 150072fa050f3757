"""What the broker brings into the store, whatever a provider's answer holds."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from crossgrade.gateway import UNKNOWN_RESPONSE, Keep, Outcome, Report, ShadowAnswer, ShadowPair
from crossgrade.serve import _pairs
from crossgrade.serve._archive import Archive
from crossgrade.store import Pair, Store


def pair(name: str) -> ShadowPair:
    answer = ShadowAnswer(model="m", target="t", dialect="openai", error="none")
    return ShadowPair(
        route="support", request_id=name, at=time.time(), endpoint="/v1/chat/completions", request=b"{}",
        served_by="incumbent", incumbent=answer, candidate=answer,
    )  # fmt: skip


def test_a_pair_that_cannot_be_read_loses_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored_pair = _pairs.stored_pair

    def picky(identifier: str, given: ShadowPair) -> Pair:
        if given.request_id == "odd":
            raise TypeError("unhashable type: 'dict'")
        return stored_pair(identifier, given)

    monkeypatch.setattr(_pairs, "stored_pair", picky)
    url = str(tmp_path / "crossgrade.db")
    outcome = Outcome(response_id="r", name="solved", value=1.0, at=time.time())

    async def keep() -> list[str | None]:
        with closing(Archive(url, tmp_path, lambda _: None)) as archive:
            messages = [
                Keep(number, f"01890000-0000-7000-8000-00000000000{number}", pair(name))
                for number, name in enumerate(("one", "odd", "two"))
            ]
            return await asyncio.gather(*map(archive.keep, (*messages, Report(3, outcome))))

    assert asyncio.run(keep()) == [None, "TypeError(\"unhashable type: 'dict'\")", None, UNKNOWN_RESPONSE]
    with Store.open(url) as store:
        assert {each.request_id for each in store.pairs.recent("support")} == {"one", "two"}


def test_no_key_fills_the_store_with_outcomes_of_unknown_responses(tmp_path: Path) -> None:
    url, now = str(tmp_path / "crossgrade.db"), time.time()
    times = [*(now - 90_000 + number for number in range(110)), now]

    async def keep() -> list[str | None]:
        with closing(Archive(url, tmp_path, lambda _: None)) as archive:
            outcomes = [
                Outcome(response_id=f"r{at}", name="solved", value=1.0, at=at, key=key)
                for key in ("one", "other")
                for at in times
            ]
            return [await archive.keep(Report(number, each)) for number, each in enumerate(outcomes)]

    assert set(asyncio.run(keep())) == {UNKNOWN_RESPONSE}
    with closing(sqlite3.connect(url)) as database:
        rows = database.execute("SELECT response_id, count(*) FROM feedback GROUP BY response_id")
        assert rows.fetchall() == [("", 2 * 101)]
