"""The broker remembers how runs began: over its death, for all workers, and without a store not at all."""

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from crossgrade.errors import StoreError
from crossgrade.gateway import BeginRun, Done, FirstPick, KnownRun, MixRun, RequestRecord, run_digest
from crossgrade.serve import _run_memory
from crossgrade.serve._pairs import stored_feedback
from crossgrade.serve._run_memory import RunMemory
from crossgrade.store import ServedRuns, Store
from crossgrade.telemetry import Meter
from tests.unit.serve.driving import Machine, Worker, run, until
from tests.unit.serve.test_broker import _reconnected

SMALL = FirstPick(offer="small", moved=True, reason="canary", probability=0.25, verdict_id="v", score=0.5)
BIG = FirstPick(offer="big")


async def begun(worker: Worker, name: str, first: FirstPick, *, is_mixed: bool = False) -> KnownRun:
    """Ask the broker how a run began."""
    answers: list[Done | None] = []
    asked = KnownRun(name, first, is_mixed)
    worker.broker.tell_run(partial(BeginRun, route="support", run=asked), answers.append)
    await until(lambda: bool(answers))
    (done,) = answers
    assert done is not None
    assert done.error is None, done.error
    return msgspec.json.decode(done.text, type=KnownRun)


async def mixed(worker: Worker, name: str, *, is_down: bool = False) -> None:
    answers: list[Done | None] = []
    worker.broker.tell_run(partial(MixRun, id=name, is_down=is_down), answers.append)
    await until(lambda: bool(answers))


def test_the_first_worker_decides_and_a_new_broker_knows_it(machines: Callable[..., Machine]) -> None:
    machine = machines(workers=2)

    async def use() -> None:
        async with machine.worker() as one, machine.worker(1) as two:
            assert await begun(one, "a", SMALL) == KnownRun("a", SMALL)
            assert await begun(two, "a", BIG) == KnownRun("a", SMALL)
            heard: list[MixRun] = []
            one.broker.on_mixed = heard.append
            await mixed(two, "a", is_down=True)
            await until(lambda: [(each.id, each.is_down) for each in heard] == [("a", True)])
            machine.end(signal.SIGKILL)
            machine.start()
            await _reconnected(one)
            await until(lambda: two.broker.connected)
            assert await begun(one, "a", BIG) == KnownRun("a", SMALL, is_mixed=True, is_down=True)
            assert await begun(one, "b", BIG, is_mixed=True) == KnownRun("b", BIG, is_mixed=True)

    run(use())


def test_what_was_told_while_the_broker_was_away_is_told_again(machines: Callable[..., Machine]) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            assert await begun(worker, "a", SMALL) == KnownRun("a", SMALL)
            machine.end(signal.SIGKILL)
            await until(lambda: not worker.broker.connected)
            worker.broker.tell_run(partial(MixRun, id="a"), lambda _: None)
            worker.broker.tell_run(
                partial(BeginRun, route="support", run=KnownRun("b", BIG, is_mixed=True)), lambda _: None
            )
            machine.start()
            await until(lambda: worker.broker.connected)
            assert await begun(worker, "a", BIG) == KnownRun("a", SMALL, is_mixed=True)
            assert await begun(worker, "b", SMALL) == KnownRun("b", BIG, is_mixed=True)

    run(use())


class Memory:
    """A memory in this process, and what it answered and warned of."""

    def __init__(self, open_runs: Callable[[], ServedRuns]) -> None:
        self.meter = Meter()
        self.warnings: list[Exception] = []
        self.sent: list[MixRun] = []
        self.memory = RunMemory(open_runs, meter=self.meter, warn=self.warnings.append, tell=self.sent.append)

    async def told(self, *messages: BeginRun | MixRun) -> list[Done]:
        answers: list[Done] = []
        for message in messages:
            self.memory.take(message, answers.append)
        await until(lambda: len(answers) == len(messages))
        return answers


def _begin(number: int, name: str, first: FirstPick = SMALL) -> BeginRun:
    return BeginRun(number, "support", KnownRun(name, first))


def test_one_group_is_answered_in_its_order(tmp_path: Path) -> None:
    async def use() -> None:
        memory = Memory(lambda: ServedRuns.open(tmp_path / "c.db"))
        answers = await memory.told(
            _begin(1, "a"),
            _begin(2, "a", BIG),
            MixRun(3, "a", is_down=True),
            _begin(4, "b"),
            MixRun(5, "none"),
        )
        assert [each.number for each in answers] == [1, 2, 3, 4, 5]
        assert [each.error for each in answers] == [None] * 5
        known = [msgspec.json.decode(answers[at].text, type=KnownRun) for at in (0, 1, 3)]
        assert {each.first.offer for each in known} == {"small"}
        assert not known[2].is_mixed
        (again,) = await memory.told(_begin(6, "a", BIG))
        assert msgspec.json.decode(again.text, type=KnownRun) == KnownRun(
            "a", SMALL, is_mixed=True, is_down=True
        )
        assert memory.meter.values("crossgrade.gateway.mixed_runs") == {("support",): 1.0}
        assert memory.warnings == []
        assert [each.id for each in memory.sent] == ["a", "none"]
        await memory.memory.close()

    asyncio.run(use())


def test_a_store_that_fails_is_said_and_tried_again(tmp_path: Path) -> None:
    fails = [True]

    def open_runs() -> ServedRuns:
        if fails.pop(0):
            raise StoreError("the database is away", code="database-error")
        return ServedRuns.open(tmp_path / "c.db")

    async def use() -> None:
        memory = Memory(open_runs)
        fails.append(False)
        await memory.memory.tidy()  # nothing was asked: the store stays closed
        (answer,) = await memory.told(_begin(1, "a"))
        assert answer.error == "the database is away"
        assert len(memory.warnings) == 1
        (answer,) = await memory.told(_begin(2, "a"))
        assert answer.error is None
        await memory.memory.close()

    asyncio.run(use())


def test_more_runs_than_are_kept_are_forgotten(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(_run_memory, "MOST_RUNS", 2)

    async def use() -> None:
        memory = Memory(lambda: ServedRuns.open(tmp_path / "c.db"))
        for name in ("a", "b", "c"):
            await memory.told(_begin(1, name))
        await memory.memory.tidy()
        await memory.memory.close()

    asyncio.run(use())
    with Store.open(tmp_path / "c.db") as store:
        assert [store.served_runs.get(name) is not None for name in "abc"] == [False, True, True]


def test_feedback_names_the_run_and_a_mixed_one_has_no_side() -> None:
    from crossgrade.gateway import Outcome

    outcome = Outcome(response_id="req-1", name="solved", value=1.0, at=1.0, key="key-1")
    record = RequestRecord(
        id="req-1",
        at=1.0,
        worker=0,
        key="key-1",
        route="support",
        run="r-1",
        side="candidate",
        probability=0.5,
    )
    found = stored_feedback(outcome, lambda _: record)
    assert (found.run, found.side) == (run_digest("support", "key-1", "r-1"), "candidate")
    record.mixed = True
    found = stored_feedback(outcome, lambda _: record)
    assert (found.run, found.side, found.probability) == (run_digest("support", "key-1", "r-1"), None, None)
    record.run, record.mixed = None, False
    assert stored_feedback(outcome, lambda _: record).run is None
