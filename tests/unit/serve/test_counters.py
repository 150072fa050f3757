"""Limits in a database and in Redis: the same rules, whoever counts."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from crossgrade.gateway import LeaseId, Spend
from crossgrade.serve._accounts import pace_s, share_of
from crossgrade.serve._counting import Counters, Counting, Settlement, broker_name, open_counters
from crossgrade.serve._records import RecordFiles, Settled
from crossgrade.serve._redis import RedisCounters
from crossgrade.store import Budgets, CountedPosition, LimitWindow, utc_now
from tests.codes import raises_code

DAY = LimitWindow("key", "a|b", "usd", 86_400, int(time.time()) // 86_400 * 86_400)
START = CountedPosition(segment="s", position=0)


def later(position: int) -> CountedPosition:
    """Return a checkpoint of the present moment."""
    return CountedPosition(segment="t", position=position, at=utc_now().isoformat())


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("redis", marks=pytest.mark.needs("module:fakeredis")),
        pytest.param("postgresql", marks=pytest.mark.needs("postgresql")),
    ]
)
def counters(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Counters]:
    if request.param == "redis":
        import fakeredis

        client = fakeredis.FakeRedis(decode_responses=True)
        yield RedisCounters(client)
        client.close()
        return
    url = str(tmp_path / "crossgrade.db")
    if request.param == "postgresql":
        import sqlalchemy

        server = os.environ["CROSSGRADE_TEST_POSTGRES_URL"]
        schema = f"test_{uuid4().hex}"
        engine = sqlalchemy.create_engine(server)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.schema.CreateSchema(schema))
        engine.dispose()
        url = f"{server}?options=-csearch_path%3D{schema}"
    with Budgets.open(url) as budgets:
        yield budgets


def test_no_more_is_lent_than_the_cap_allows(counters: Counters) -> None:
    one = counters.join("one", START)
    counters.join("two", START)
    assert counters.lend("one", DAY, cap=100, need=10, share=0.5) == (50, 0)
    assert counters.lend("two", DAY, cap=100, need=30, share=0.125) == (30, 0)
    assert counters.lend("two", DAY, cap=100, need=21) == (0, 0)
    assert counters.settle("one", {DAY: (40, -50)}, one, later(1))
    assert counters.lend("two", DAY, cap=100, need=30) == (30, 40)
    assert counters.leases("two") == {DAY: 60}
    assert counters.lend("one", DAY, cap=100, need=1) == (0, 40)
    assert counters.spent([DAY]) == {DAY: 40}


def test_large_amounts_are_exact(counters: Counters) -> None:
    one = counters.join("one", START)
    cap = 1_000_000_000_000_001  # a million dollars, in billionths, and one
    assert counters.lend("one", DAY, cap=cap, need=1) == (cap, 0)
    assert counters.settle("one", {DAY: (cap - 1, -(cap - 1))}, one, later(1))
    assert counters.leases("one") == {DAY: 1}
    assert counters.lend("one", DAY, cap=cap, need=1) == (0, cap - 1)


def test_a_broker_keeps_its_checkpoint_when_it_joins_again(counters: Counters) -> None:
    assert counters.checkpoint("one") is None
    one, nine = counters.join("one", START), later(9)
    assert counters.settle("one", {}, one, nine)
    again = counters.join("one", START)
    assert (again.segment, again.position) == ("t", 9)
    assert counters.checkpoint("one") == again != nine


def test_a_settlement_that_got_no_answer_is_repeated_and_counts_once(counters: Counters) -> None:
    one, first, second = counters.join("one", START), later(1), later(2)
    counters.lend("one", DAY, cap=100, need=60, share=0.0)
    for _ in range(3):
        assert counters.settle("one", {DAY: (40, -50)}, one, first)
    assert (counters.spent([DAY]), counters.leases("one")) == ({DAY: 40}, {DAY: 10})
    assert counters.settle("one", {DAY: (5, -5)}, first, second)
    # A late one of before counts no more, and neither does one of before the broker joined again.
    assert not counters.settle("one", {DAY: (40, -50)}, one, first)
    third = counters.join("one", START)
    assert not counters.settle("one", {DAY: (3, -3)}, second, later(3))
    assert (third.segment, third.position, counters.spent([DAY])) == ("t", 2, {DAY: 45})


def test_a_settlement_is_known_to_count_although_the_leases_were_freed_since(counters: Counters) -> None:
    one, first = counters.join("one", START), later(1)
    counters.lend("one", DAY, cap=100, need=60, share=0.0)
    assert counters.settle("one", {DAY: (40, -50)}, one, first)
    counters.reclaim(silent_since=utc_now() + timedelta(minutes=1))
    assert counters.settle("one", {DAY: (40, -50)}, one, first)
    assert not counters.settle("one", {DAY: (5, -5)}, first, later(2))
    assert (counters.spent([DAY]), counters.leases("one")) == ({DAY: 40}, {})


def test_leases_of_a_silent_broker_are_freed_and_it_hears_of_it(counters: Counters) -> None:
    one = counters.join("one", START)
    counters.join("two", START)
    counters.lend("one", DAY, cap=100, need=60, share=0.0)
    assert counters.reclaim(silent_since=utc_now() - timedelta(minutes=1)) == []
    assert counters.brokers() == 2
    assert counters.lend("two", DAY, cap=100, need=60).amount == 0
    soon = utc_now() + timedelta(minutes=1)
    assert counters.reclaim(silent_since=soon) == ["one", "two"]
    assert counters.reclaim(silent_since=soon) == []
    assert (counters.leases("one"), counters.brokers()) == ({}, 0)
    assert not counters.settle("one", {DAY: (5, -5)}, one, later(1))
    counters.join("two", START)
    assert counters.brokers() == 1
    assert counters.lend("two", DAY, cap=100, need=100) == (100, 0)
    known = counters.checkpoint("one")
    assert known is not None
    assert (known.segment, known.position) == ("s", 0)


@pytest.mark.needs("module:fakeredis")
def test_who_is_silent_is_one_question_however_many_brokers_there_are() -> None:
    import fakeredis

    class Counted(fakeredis.FakeRedis):
        asked = 0

        def execute_command(self, *words: object, **options: object) -> object:
            self.asked += 1
            return super().execute_command(*words, **options)

    client = Counted(decode_responses=True)
    counters = RedisCounters(client)
    for number in range(20):
        counters.join(f"broker-{number}", START)
    counters.reclaim(silent_since=utc_now() - timedelta(minutes=1))  # the first also loads the script
    client.asked = 0
    counters.reclaim(silent_since=utc_now() - timedelta(minutes=1))
    counters.forget("broker-1", before=time.time())
    assert (client.asked, counters.brokers()) == (2, 20)
    client.close()


def test_old_windows_are_forgotten(counters: Counters) -> None:
    counters.join("one", START)
    old = LimitWindow("key", "a", "requests", 60, 60)
    counters.lend("one", old, cap=10, need=5)
    counters.lend("one", DAY, cap=10, need=5)
    counters.forget("one", before=time.time() - 86_400)
    assert counters.leases("one") == {DAY: 10}


def test_what_an_earlier_life_had_written_is_counted_once(tmp_path: Path) -> None:
    lease = LeaseId("key", "a", "usd", 86_400, DAY.begins)
    files = RecordFiles(tmp_path / "requests")
    url = str(tmp_path / "crossgrade.db")
    first = Counting(partial(open_counters, url, None), "me", shared=False)
    assert first.begin(files, (files.segment, files.position)) == {}
    assert first.lend(lease, 100, 10) == (100, 0)
    files.append(b"", 0, Settled("life", 1, [Spend(lease, 30, 30, 0)]))
    first.close()  # and nothing committed
    second = Counting(partial(open_counters, url, None), "me", shared=False)
    assert second.begin(files, (files.segment, files.position)) == {lease: (70, 30)}
    second.close()
    third = Counting(partial(open_counters, url, None), "me", shared=False)
    assert third.begin(files, (files.segment, files.position)) == {lease: (70, 30)}
    assert third.lend(lease, 100, 1) == (0, 30)
    third.close()


@pytest.mark.needs("module:fakeredis")
def test_what_redis_has_lost_is_counted_again_from_the_log(tmp_path: Path) -> None:
    import fakeredis

    lease = LeaseId("key", "a|b", "usd", 86_400, DAY.begins)
    files = RecordFiles(tmp_path / "requests")
    client = fakeredis.FakeRedis(decode_responses=True)
    counters = RedisCounters(client)
    counting = Counting(lambda: counters, "me", shared=True)

    def spend(amount: int, more: int = 0) -> dict[LeaseId, int] | None:
        files.append(b"", 0, Settled("life", 1, [Spend(lease, amount, amount, 0)]))
        changes = {lease: (amount + more, -amount - more)}
        return counting.commit(Settlement.now(changes, (files.segment, files.position)), files)

    assert counting.begin(files, (files.segment, files.position)) == {}
    counting.lend(lease, 1_000, 800)
    assert spend(30) is None
    kept = {name: client.hgetall(name) for name in client.scan_iter() if name != "{crossgrade}:keepers"}
    assert spend(20) is None
    for name, values in kept.items():
        client.hset(name, mapping=values)
    assert spend(5) == {lease: 20}
    assert spend(7, more=20 + 5) is None
    assert counters.spent([DAY]) == {DAY: 30 + 20 + 5 + 7}
    client.close()


def test_a_broker_has_one_name_for_good(tmp_path: Path) -> None:
    assert broker_name(tmp_path) == broker_name(tmp_path)
    (tmp_path / "keeper.id").write_text("as an earlier version named it\n", encoding="ascii")
    assert broker_name(tmp_path) == "as an earlier version named it", "it has leases under that name"


@pytest.mark.needs("module:redis")
def test_a_redis_that_is_not_there_is_said_without_its_password() -> None:
    with raises_code("redis-unavailable") as caught:
        RedisCounters.open("redis://:secret@127.0.0.1:9/0")
    assert "secret" not in str(caught.value)
    with raises_code("redis-url-invalid"):
        RedisCounters.open("nonsense://:secret@host")


def test_many_brokers_come_to_the_store_in_turns() -> None:
    assert [pace_s(brokers) for brokers in (1, 100, 400, 10_000)] == [1.0, 1.0, 4.0, 20.0]
    assert [share_of(brokers) for brokers in (1, 4, 1_000)] == [1 / 8, 1 / 8, 1 / 2_000]


def test_a_broker_settles_in_its_turn_and_is_heard_of_without_changes(tmp_path: Path) -> None:
    changes = {LeaseId("key", "a", "usd", 86_400, DAY.begins): (1, 0)}
    counting = Counting(partial(open_counters, str(tmp_path / "crossgrade.db"), None), "me", shared=True)
    counting.brokers = 400
    assert [counting.is_due(tick) for tick in (3, 4)] == [False, True]
    settlement = counting.settlement(changes, ("s", 7), 4)
    assert settlement is not None
    assert (settlement.changes, settlement.until.position) == (changes, 7)
    assert [counting.is_due(tick) for tick in (7, 8)] == [False, True]
    assert counting.settlement({}, ("s", 7), 13) is None
    assert counting.settlement({}, ("s", 7), 14) is not None
