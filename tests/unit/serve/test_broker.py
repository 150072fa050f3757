"""The broker as a process: what it was told survives its death and its workers' deaths."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from crossgrade.domain import Limit, StoredResponses
from crossgrade.gateway import (
    ADMIN,
    DENIED,
    UNKNOWN_RESPONSE,
    Done,
    Find,
    Outcome,
    Remember,
    RequestRecord,
    ShadowAnswer,
    ShadowPair,
)
from crossgrade.gateway._leases import Hold, LimitRefusal
from crossgrade.gateway._messages import Collect
from crossgrade.identity import Principal
from crossgrade.routing import Policy, Route, RouteTable
from crossgrade.serve._redis import RedisCounters
from crossgrade.store import Budgets, LimitWindow, Store
from tests.unit.serve.driving import Machine, Worker, run, until
from tests.unit.serve.running import redis

Make = Callable[..., Machine]
A_DOLLAR = Limit(scope="key", unit="usd", cap=1.0, window_s=86_400)


def _record(number: int = 1, **fields: object) -> RequestRecord:
    known = {"route": "support", "target": "fake", "status": 200, "response_id": f"chatcmpl-{number}"}
    return RequestRecord(id=f"req-{number}", at=time.time(), worker=0, **{**known, **fields})  # type: ignore[arg-type]


async def _written(worker: Worker) -> None:
    """Wait until the broker has acknowledged everything."""
    worker.broker._flush()
    await until(lambda: not (worker.broker._unwritten or worker.broker._records))


async def _reconnected(worker: Worker) -> None:
    await until(lambda: not worker.broker.connected)
    await until(lambda: worker.broker.connected)


def test_a_killed_broker_counts_what_it_had_written_and_what_is_in_flight(machines: Make) -> None:
    machine = machines(A_DOLLAR)

    async def use() -> None:
        async with machine.worker() as worker:
            first, second = await worker.reserve(0.3), await worker.reserve(0.2)
            assert isinstance(first, Hold)
            assert isinstance(second, Hold)
            worker.limits.settle(first, 0.3, 0)
            worker.broker.record(_record(cost_usd=0.3))
            await _written(worker)
            machine.end(signal.SIGKILL)
            worker.limits.settle(second, 0.1, 0)  # while nobody is there
            worker.broker.record(_record(2, cost_usd=0.1))
            machine.start()
            await _reconnected(worker)
            assert isinstance(await worker.reserve(0.61), LimitRefusal)
            last = await worker.reserve(0.6)
            assert isinstance(last, Hold)
            worker.limits.settle(last, 0.6, 0)
            await _written(worker)

    run(use())
    machine.end()
    with Budgets.open(machine.folder / "crossgrade.db") as budgets:
        ((window, spent, _),) = budgets.windows(now=time.time())
    assert (window.name, spent) == ("key-1", 1_000_000_000)
    lines = [line for path in machine.records() for line in path.read_bytes().splitlines()]
    assert [json.loads(line)["id"] for line in lines if b'"id"' in line] == ["req-1", "req-2"]


def test_a_killed_worker_leaves_what_it_had_in_flight_as_spent(machines: Make) -> None:
    machine = machines(A_DOLLAR)

    async def use() -> None:
        async with machine.worker() as other:
            async with machine.worker(1) as worker:
                assert isinstance(await worker.reserve(0.4), Hold)
                await _written(worker)
                worker.broker._closing = True
                assert worker.broker._transport is not None
                worker.broker._transport.abort()
            while isinstance(await other.reserve(0.7), Hold):  # pragma: no cover
                pytest.fail("the reservation of the worker that is gone was forgotten")
            await asyncio.sleep(0.25)
            assert isinstance(await other.reserve(0.6), Hold)

    run(use())


def test_two_workers_share_what_little_is_left(machines: Make) -> None:
    machine = machines(Limit(scope="team", unit="requests", cap=10, window_s=86_400), workers=2)

    async def use() -> None:
        async with machine.worker() as one, machine.worker(1) as two:
            outcomes = []
            for at in range(14):
                outcome = await (one, two)[at % 2].reserve(0.0)
                outcomes.append(outcome)
                if isinstance(outcome, Hold):
                    (one, two)[at % 2].limits.settle(outcome, 0.0, 0)
            assert [isinstance(each, Hold) for each in outcomes] == [True] * 10 + [False] * 4
            refusal = outcomes[-1]
            assert isinstance(refusal, LimitRefusal)
            assert (refusal.kind, refusal.scope, refusal.match) == ("rate_limit_exceeded", "team", "blue")

    run(use())


def test_without_a_broker_what_was_lent_can_be_used_and_no_more(machines: Make) -> None:
    machine = machines(A_DOLLAR)

    async def use() -> None:
        async with machine.worker() as worker:
            hold = await worker.reserve(0.1)
            assert isinstance(hold, Hold)
            worker.limits.settle(hold, 0.1, 0)
            machine.end(signal.SIGKILL)
            assert isinstance(await worker.reserve(0.5), Hold)
            worker.broker.metrics_text(seen.append)
            refused = await worker.reserve(0.7)
            assert isinstance(refused, LimitRefusal)
            assert refused.kind == "limits_unavailable"

    seen: list[str | None] = []
    run(use())


PAIR = ShadowPair(
    route="support",
    request_id="req-1",
    at=1_764_000_000.0,
    endpoint="/v1/chat/completions",
    request=b'{"model":"m","messages":[{"role":"user","content":"I am jane@example.org, 4111 1111 1111 1111"}]}',
    served_by="incumbent",
    incumbent=ShadowAnswer(
        model="gpt",
        target="gpt",
        dialect="openai",
        body=b'{"id":"chatcmpl-9","choices":[{"message":{"role":"assistant","content":"Hi jane@example.org"},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}',
        cost_usd=0.001,
        latency_ms=12.5,
    ),
    candidate=ShadowAnswer(
        model="llama",
        target="llama",
        dialect="openai",
        stream=True,
        body=b'data: {"id":"chatcmpl-8","choices":[{"delta":{"role":"assistant","content":"Hello"}}]}\n\n'
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    ),
    verdict_id="v-1",
    probability=0.05,
)


def test_a_pair_is_redacted_and_in_the_store_when_it_is_acknowledged(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            worker.broker.keep_pair(PAIR, kept.set_result)
            assert await kept
            machine.end(signal.SIGKILL)

    run(use())
    with Store.open(machine.folder / "crossgrade.db") as store:
        (pair,) = store.pairs.recent("support")
    assert pair.request is not None
    assert json.loads(pair.request)["messages"][0]["content"] == "I am [email], [card]"
    assert pair.incumbent.answer is not None
    assert pair.candidate.answer is not None
    assert (pair.incumbent.answer.text, pair.candidate.answer.text) == ("Hi [email]", "Hello")
    assert (pair.incumbent.response_id, pair.candidate.response_id) == ("chatcmpl-9", "chatcmpl-8")
    assert (pair.verdict_id, pair.probability, pair.incumbent.answer.usage.input_tokens) == ("v-1", 0.05, 9)


def test_a_pair_whose_broker_died_is_handed_over_again_and_kept_once(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            machine.end(signal.SIGKILL)
            worker.broker.keep_pair(PAIR, kept.set_result)
            machine.start()
            assert await kept
            # The same message again, as if the acknowledgement had been lost, to yet another broker.
            machine.end(signal.SIGKILL)
            again: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            worker.broker._asked.add(1, sent[0], again.set_result)
            machine.start()
            assert getattr(await again, "error", "none") is None

    sent: list[bytes] = []
    import crossgrade.gateway._broker as module

    original = module.BrokerLink._request

    def spy(self: module.BrokerLink, number: int, message: object, on_done: object, most: int) -> None:
        sent.append(module._encoder.encode(message) + b"\n")
        original(self, number, message, on_done, most)  # type: ignore[arg-type]

    module.BrokerLink._request = spy  # type: ignore[method-assign, assignment]
    try:
        run(use())
    finally:
        module.BrokerLink._request = original  # type: ignore[method-assign]
    with Store.open(machine.folder / "crossgrade.db") as store:
        assert len(store.pairs.recent("support")) == 1


def test_feedback_finds_its_response_in_the_request_log(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            for number in range(50):
                worker.broker.record(_record(number, side="candidate", verdict_id="v-1", probability=0.25))
            await _written(worker)
            for identifier in ("chatcmpl-7", "req-8", "nobody"):
                said: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
                outcome = Outcome(response_id=identifier, name="solved", value=1.0, at=time.time())
                worker.broker.feedback(outcome, said.set_result)
                assert await said == (UNKNOWN_RESPONSE if identifier == "nobody" else None)

    run(use())
    with closing(sqlite3.connect(machine.folder / "crossgrade.db")) as database:
        rows = database.execute("SELECT response_id, side, probability FROM feedback ORDER BY response_id")
        assert rows.fetchall() == [
            ("", None, None),
            ("chatcmpl-7", "candidate", 0.25),
            ("chatcmpl-8", "candidate", 0.25),
        ]


def test_feedback_finds_a_response_that_another_worker_has_not_written_yet(
    machines: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.gateway._broker.FLUSH_S", 3_600)
    machine = machines(workers=2)

    async def use() -> None:
        async with machine.worker(0) as one, machine.worker(1) as two:
            await asyncio.gather(_written(one), _written(two))
            for link in (one.broker, two.broker):
                assert link._ticker is not None
                link._ticker.cancel()
            one.broker.record(_record(1))
            outcome = Outcome(response_id="chatcmpl-1", name="solved", value=1.0, at=time.time())
            assert await _report(two, outcome) is None

    run(use())


def test_a_response_is_found_by_another_worker_once_it_is_kept_and_is_gone_with_the_broker(
    machines: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machines(workers=2, stored_responses=StoredResponses())
    asked = partial(Find, tenant="key-1", previous="resp_1", items=["msg_1", "msg_2"])

    async def find(worker: Worker) -> Done | None:
        found: asyncio.Future[Done | None] = asyncio.get_running_loop().create_future()
        worker.broker.find(asked, found.set_result)
        return await found

    async def keep(worker: Worker, remember: Callable[[int], Remember]) -> None:
        kept = asyncio.Event()
        worker.broker.remember(remember, kept.set)
        await kept.wait()

    async def use() -> None:
        async with machine.worker(0) as one, machine.worker(1) as two:
            item = msgspec.Raw(b'{"a":"\\n"}')
            given = msgspec.Raw(b"[1]")
            remember = partial(Remember, tenant="key-1", id="resp_1", previous=None, input=given)
            await keep(two, partial(remember, output=[("msg_1", item)]))
            monkeypatch.setitem(two.broker._handlers, Collect, lambda _: None)  # it is too busy to help
            done = await find(one)
            assert done is not None
            assert json.loads(done.text) == {"input": [1, {"a": "\n"}], "items": {"msg_1": {"a": "\n"}}}
            machine.end(signal.SIGKILL)
            await until(lambda: not one.broker.connected)
            monkeypatch.setattr("crossgrade.gateway._broker.WAIT_S", 0.01)
            await keep(one, partial(remember, output=[("msg_2", item)]))  # it is sent when a broker is back
            monkeypatch.setattr(
                "crossgrade.gateway._broker.WAIT_S", 60.0
            )  # as long as a new one takes to start
            finding = asyncio.create_task(find(one))
            machine.start()
            done = await finding
            monkeypatch.undo()
            assert done is not None
            assert json.loads(done.text) == {"input": [1, {"a": "\n"}], "items": {"msg_2": {"a": "\n"}}}
            machine.end(signal.SIGKILL)
            assert await find(one) is None

    run(use())


def test_feedback_counts_from_the_key_that_got_the_response_or_its_team(machines: Make) -> None:
    """Request ids can be guessed, and outcomes take routes back."""
    machine = machines()
    reporters = {("k-1", ""): None, ("k-2", ""): DENIED, ("k-2", "blue"): None, ("k-1", "red"): None}
    reporters |= {(ADMIN, ""): None, ("", ""): DENIED, ("k-2", "red"): DENIED}

    async def use() -> None:
        async with machine.worker() as worker:
            worker.broker.record(_record(1, key="k-1", team="blue"))
            worker.broker.record(_record(2, key="k-1"))
            await _written(worker)
            for number, ((key, team), wanted) in enumerate(reporters.items()):
                outcome = Outcome(
                    response_id="req-1", name=f"n{number}", value=1.0, at=time.time(), key=key, team=team
                )
                assert await _report(worker, outcome) == wanted
            nobodys = Outcome(response_id="req-2", name="solved", value=0.0, at=time.time(), key="k-2")
            assert await _report(worker, nobodys) == DENIED

    run(use())
    with closing(sqlite3.connect(machine.folder / "crossgrade.db")) as database:
        assert database.execute("SELECT count(*) FROM feedback").fetchone() == (4,)


def test_metrics_name_no_subject_of_a_token_and_are_written_once_for_all_who_ask(machines: Make) -> None:
    machine = machines(A_DOLLAR)

    async def use() -> None:
        async with machine.worker() as worker:
            loop = asyncio.get_running_loop()
            for who in (Principal(id="user-0123456789abcdef"), Principal(id="k-1")):
                outcome: asyncio.Future[Hold | LimitRefusal] = loop.create_future()
                counters = worker.limits.resolve(who, "support")
                if (hold := worker.limits.reserve(counters, 0.25, 0, outcome.set_result)) is None:
                    hold = await outcome
                assert isinstance(hold, Hold)
                worker.limits.settle(hold, 0.25, 0)
            await _written(worker)
            texts: list[asyncio.Future[str | None]] = [loop.create_future() for _ in range(20)]
            for text in texts:
                worker.broker.metrics_text(text.set_result)
            for text in texts:
                said = await text
                assert said is not None
                assert 'crossgrade_match="k-1"' in said
                assert "user-" not in said

    run(use())


async def _report(worker: Worker, outcome: Outcome) -> str | None:
    said: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    worker.broker.feedback(outcome, said.set_result)
    return await said


def test_metrics_add_up_over_workers(machines: Make) -> None:
    machine = machines(A_DOLLAR, workers=2)

    async def use() -> None:
        async with machine.worker() as one, machine.worker(1) as two:
            for worker in (one, two):
                worker.broker.record(
                    _record(input_tokens=10, cost_usd=0.5, cost_origin="usage", reason="keep")
                )
                hold = await worker.reserve(0.25)
                assert isinstance(hold, Hold)
                worker.limits.settle(hold, 0.25, 0)
                worker.broker._metrics_at = 0.0
                await _written(worker)
            text: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
            one.broker.metrics_text(text.set_result)
            lines = (await text or "").splitlines()
        series = '{crossgrade_route="support",crossgrade_target="fake",'
        assert f'crossgrade_gateway_requests_total{series}crossgrade_reason="keep",error_type=""}} 2' in lines
        assert f'crossgrade_gateway_cost_usd_total{series}crossgrade_cost_origin="usage"}} 1' in lines
        assert "crossgrade_workers 2" in lines
        assert any(line.startswith("crossgrade_limit_spent{") and line.endswith(" 0.5") for line in lines)

    run(use())


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.needs("command:redis-server", "module:redis")),
        pytest.param("postgresql", marks=pytest.mark.needs("postgresql")),
    ]
)
def shared(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where brokers of several machines find each other, as variables of the environment."""
    if request.param == "redis":
        with redis() as (_, url):
            yield {"CROSSGRADE_REDIS_URL": url}
        return
    yield {"CROSSGRADE_DATABASE_URL": _fresh_schema()}


def _fresh_schema() -> str:
    import sqlalchemy

    server = os.environ["CROSSGRADE_TEST_POSTGRES_URL"]
    schema = f"test_{uuid4().hex}"
    engine = sqlalchemy.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.schema.CreateSchema(schema))
    engine.dispose()
    return f"{server}?options=-csearch_path%3D{schema}".replace("+psycopg", "")


def test_two_machines_share_a_limit(machines: Make, shared: dict[str, str]) -> None:
    limits = Limit(scope="key", unit="requests", cap=40, window_s=86_400)
    first, second = machines(limits, environ=shared), machines(limits, environ=shared)

    async def spend(worker: Worker) -> int:
        served = 0
        for _ in range(30):
            outcome = await worker.reserve(0.0)
            if isinstance(outcome, Hold):
                worker.limits.settle(outcome, 0.0, 0)
                served += 1
        return served

    async def use() -> None:
        async with first.worker() as one, second.worker() as two:
            served = sum(await asyncio.gather(spend(one), spend(two)))
            assert served <= 40
            # What one machine had leased and did not use comes back, and the other can use it.
            for worker in (one, two) * 4:
                await asyncio.sleep(1.0)
                while isinstance(outcome := await worker.reserve(0.0), Hold):
                    worker.limits.settle(outcome, 0.0, 0)
                    served += 1
            assert served == 40

    run(use())


@pytest.mark.needs("command:redis-server", "module:redis")
def test_what_a_stalled_redis_did_not_answer_counts_once(machines: Make) -> None:
    with redis() as (server, url):
        # Its patience is shorter than a second, so that it tries more than once during a stall.
        machine = machines(A_DOLLAR, environ={"CROSSGRADE_REDIS_URL": f"{url}?socket_timeout=0.2"})

        async def use() -> None:
            async with machine.worker() as worker:
                for stall in (False, True):  # the first settlement makes its script known
                    hold = await worker.reserve(0.1)
                    assert isinstance(hold, Hold)
                    worker.limits.settle(hold, 0.1, 0)
                    if stall:
                        server.send_signal(signal.SIGSTOP)
                    await _written(worker)
                    await asyncio.sleep(2.5)  # three tries
                assert isinstance(await worker.reserve(0.7), LimitRefusal)  # its loan gets no answer either
                server.send_signal(signal.SIGCONT)
                await asyncio.sleep(1.5)

        run(use())
        machine.end()
        counters = RedisCounters.open(url)
        (broker,) = (name.rpartition(":")[2] for name in counters._redis.scan_iter("*keeper:*"))
        assert counters.spent([_day()]) == {_day(): 200_000_000}
        assert counters.leases(broker) == {}, "nothing is lent for ever"
        counters.close()


def _day() -> LimitWindow:
    return LimitWindow("key", "key-1", "usd", 86_400, int(time.time()) // 86_400 * 86_400)


@pytest.mark.needs("postgresql")
def test_a_route_table_of_another_machine_is_served_here(machines: Make, tmp_path: Path) -> None:
    url = _fresh_schema()
    machine = machines(environ={"CROSSGRADE_DATABASE_URL": url})
    policy = Policy(kind="keep", incumbent="gpt")
    table = RouteTable(version=1, routes=(Route(name="chat", policy=policy, targets={"gpt": "gpt"}),))
    with Store.open(url, folder=tmp_path) as there:
        there.publish_route(table, None)
        published = there.routes.path.read_bytes()

    async def use() -> None:
        here = machine.folder / "routes.json"
        await until(lambda: here.exists() and here.read_bytes() == published)

    run(use())


def test_many_records_do_not_wait_for_the_next_flush(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            for number in range(1_499):
                worker.broker.record(_record(number))
            assert len(worker.broker._records) == 1_499
            worker.broker.record(_record(1_499))
            assert worker.broker._records == []
            await _written(worker)

    run(use())
    (file,) = machine.records()
    assert file.read_bytes().count(b'"id":"req-') == 1_500
