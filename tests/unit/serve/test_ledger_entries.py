"""The broker as a process appends what workers hand over for the ledger: once each, whatever happens to it."""

import asyncio
import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from crossgrade.errors import StoreError
from crossgrade.gateway import Done, Inscribe
from crossgrade.gateway._messages import InscribedKind
from crossgrade.serve._contact import survey
from crossgrade.serve._ledger import MOST_AT_ONCE, LedgerWriter, StoredLedger
from crossgrade.store import Store
from crossgrade.telemetry import Meter
from tests.unit.serve.driving import Machine, Worker, run, until

Make = Callable[..., Machine]


def entry(identifier: str, kind: InscribedKind = "request", **fields: Any) -> Callable[[int], Inscribe]:
    """Return what makes an entry with its number."""
    detail = {"id": identifier} if kind == "dropped" else {"request": identifier}
    given: dict[str, Any] = {"is_awaited": kind == "request", "detail": detail, **fields}
    return partial(Inscribe, kind=kind, id=identifier, **given)


async def appended(worker: Worker, message: Callable[[int], Inscribe]) -> Done | None:
    """Hand over an entry, and wait for the answer."""
    done: asyncio.Future[Done | None] = asyncio.get_running_loop().create_future()
    assert worker.broker.inscribe(message, done.set_result)
    return await asyncio.wait_for(done, 40)


def names(folder: Path) -> list[tuple[str, str]]:
    """Return kind and id of every entry, in the order of the log."""
    with Store.open(folder / "crossgrade.db") as store:
        bodies = [json.loads(row.body) for row in store.ledger.entries()]
    assert [body["seq"] for body in bodies] == list(range(len(bodies)))
    return [(body["kind"], body["detail"].get("request") or body["detail"]["id"]) for body in bodies]


def test_entries_are_numbered_in_the_order_in_which_they_come(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            first = await appended(worker, entry("r1"))
            second = await appended(worker, entry("r1", "completion"))
            assert first == Done(first.number, text="0")
            assert second == Done(second.number, text="1")

    run(use())
    machine.end()
    assert names(machine.folder) == [("request", "r1"), ("completion", "r1")]


def test_a_broker_killed_before_it_answered_appends_nothing_twice(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            for round_ in range(5):
                handed = [
                    asyncio.ensure_future(appended(worker, entry(f"{round_}-{number}", kind)))
                    for number in range(40)
                    for kind in ("request", "completion")
                ]
                await asyncio.sleep(0.004 * round_)
                machine.end(signal.SIGKILL)
                machine.start()
                answers = await asyncio.gather(*handed)
                assert all(each is not None and each.error is None for each in answers)

    run(use())
    machine.end()
    found = names(machine.folder)
    assert len(found) == len(set(found)) == 5 * 80


def test_a_repeated_entry_has_the_number_that_it_had(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            await appended(worker, entry("r0"))
            once = await appended(worker, entry("r1"))
            again = await appended(worker, entry("r1"))
            machine.end(signal.SIGKILL)
            machine.start()
            later = await appended(worker, entry("r1"))
            assert [each.text for each in (once, again, later) if each is not None] == ["1", "1", "1"]

    run(use())
    machine.end()
    assert names(machine.folder) == [("request", "r0"), ("request", "r1")]


def test_while_the_database_is_locked_entries_wait_and_none_is_lost(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            await appended(worker, entry("r0"))
            with sqlite3.connect(machine.folder / "crossgrade.db", isolation_level=None) as other:
                other.execute("BEGIN IMMEDIATE")
                handed = asyncio.ensure_future(appended(worker, entry("r1")))
                queued = asyncio.ensure_future(appended(worker, entry("r0", "completion")))
                await seen(machine, lambda state: state["waiting"] == 2)
                assert not handed.done()
                other.execute("COMMIT")
            other.close()
            assert await handed == Done(2, text="1")
            assert (await queued) is not None
            assert await surveyed(machine) == {"waiting": 0, "dropped": 0, "error": None}

    run(use())
    machine.end()
    assert set(names(machine.folder)) == {("request", "r0"), ("request", "r1"), ("completion", "r0")}


async def surveyed(machine: Machine) -> dict[str, Any]:
    state: dict[str, Any] = (await survey(str(machine.folder / "k.sock")))["ledger"]
    return state


async def seen(machine: Machine, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Look again and again at what the broker says of the ledger."""
    while not condition(await surveyed(machine)):  # noqa: ASYNC110  # what another process does sets no event
        await asyncio.sleep(0.01)


def _may_mount() -> bool:
    asked = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(asked, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not _may_mount(), reason="this user may not mount a file system of their own (`unshare`)")
def test_a_full_disk_refuses_what_is_awaited_and_keeps_the_rest(machines: Make) -> None:
    machine = machines()
    machine.end()
    small = machine.folder / "small"
    small.mkdir()
    mount = f'mount -t tmpfs -o size=4m tmpfs {small} && exec "$@"'
    machine.prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    machine.environ["CROSSGRADE_DATABASE_URL"] = str(small / "crossgrade.db")
    machine.start()
    assert machine.process is not None
    inside = Path(f"/proc/{machine.process.pid}/root{small}")  # nobody else sees what is mounted there
    ballast = inside / "ballast"

    async def use() -> None:
        async with machine.worker() as worker:
            assert (await appended(worker, entry("r0"))) == Done(1, text="0")
            _fill(ballast)
            refused = await appended(worker, entry("r1"))
            assert refused is not None
            assert refused.error in {"disk-full", "disk-broken"}
            kept = asyncio.ensure_future(appended(worker, entry("r0", "completion")))
            await seen(machine, lambda state: state["waiting"] == 1 and state["error"] is not None)
            assert not kept.done()
            ballast.unlink()
            later = await appended(worker, entry("r2"))
            assert later is not None
            assert later.error is None
            assert (await kept) is not None
            for name in ("crossgrade.db", "crossgrade.db-wal"):
                shutil.copy(inside / name, machine.folder)

    run(use())
    machine.end()
    found = names(machine.folder)
    assert found[0] == ("request", "r0")
    assert set(found[1:]) == {("completion", "r0"), ("request", "r2")}


def _fill(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_an_entry_that_can_never_be_appended_keeps_no_other_out(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            floats = {"detail": {"request": "r1", "cost_usd": 0.1}}
            huge = {"detail": {"request": "r2", "why": "x" * 70_000}}
            bad = [entry("r1", **floats), entry("r2", "completion", **huge)]
            handed = [appended(worker, each) for each in (entry("r0"), *bad, entry("r3"))]
            answers = await asyncio.gather(*handed)
            assert [None if each is None else each.error for each in answers] == [
                None, "entry-invalid", "entry-too-large", None,
            ]  # fmt: skip
            assert await surveyed(machine) == {"waiting": 0, "dropped": 1, "error": None}

    run(use())
    machine.end()
    assert names(machine.folder) == [("request", "r0"), ("request", "r3")]


def test_a_broker_that_ends_appends_what_it_has(machines: Make) -> None:
    machine = machines()

    async def use() -> None:
        async with machine.worker() as worker:
            await appended(worker, entry("r0"))
            with closing(sqlite3.connect(machine.folder / "crossgrade.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                for number in range(300):
                    assert worker.broker.inscribe(entry(f"c{number}", "completion"), lambda _: None)
                await seen(machine, lambda state: state["waiting"] == 300)
                assert machine.process is not None
                machine.process.terminate()
                await asyncio.sleep(0.1)
                other.execute("COMMIT")

    run(use())
    machine.end()
    assert len(names(machine.folder)) == 301


def test_secrets_are_kept_where_there_is_a_key(machines: Make) -> None:
    machine = machines()
    secret = {"secret": b"0123456789abcdefsalted", "subject": "key-1"}

    async def use() -> None:
        async with machine.worker() as worker:
            await appended(worker, entry("r0", **secret))
            with Store.open(machine.folder / "crossgrade.db") as store:
                store.ledger.make_key("example.com/log")
            await appended(worker, entry("r1", **secret))

    run(use())
    machine.end()
    with Store.open(machine.folder / "crossgrade.db") as store:
        first, second = store.ledger.entries()
        assert (first.payload, first.subject) == (None, None)
        assert store.ledger.texts.read(second.seq) == secret["secret"]
        assert store.ledger.newest_checkpoint() is not None


class LostAnswer(StoredLedger):
    """A ledger whose first commit is made, and whose answer is lost, as when a database server goes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder / "crossgrade.db"), folder)
        self.is_lost = True

    def append(self, messages: Sequence[Inscribe]) -> Sequence[int]:
        numbers = super().append(messages)
        if self.is_lost:
            self.is_lost = False
            raise StoreError("the connection was lost", code="database-error")
        return numbers


def test_an_entry_whose_commit_was_answered_by_nothing_is_not_made_again(tmp_path: Path) -> None:
    answers: list[Done] = []
    warned: list[Exception] = []

    async def use() -> None:
        writer = LedgerWriter(LostAnswer(tmp_path), meter=Meter(), warn=warned.append)
        writer.add(entry("r0", "completion")(1), answers.append)
        await until(lambda: bool(answers))
        await writer.close()

    run(use())
    assert answers == [Done(1, text="0")]
    assert [getattr(each, "code", "") for each in warned] == ["database-error"]
    assert names(tmp_path) == [("completion", "r0")]


def test_what_a_request_waits_for_goes_before_a_backlog(tmp_path: Path) -> None:
    answers: list[Done] = []

    async def use() -> None:
        ledger = StoredLedger(str(tmp_path / "crossgrade.db"), tmp_path)
        writer = LedgerWriter(ledger, meter=Meter(), warn=pytest.fail)
        for number in range(3 * MOST_AT_ONCE):
            writer.add(entry(f"c{number}", "completion")(number), answers.append)
        writer.add(entry("r0")(-1), answers.append)
        await until(lambda: len(answers) == 3 * MOST_AT_ONCE + 1)
        await writer.close()

    run(use())
    assert answers[0].number == -1
    assert [answer.number for answer in answers[1:]] == list(range(3 * MOST_AT_ONCE))


def test_rules_are_entered_when_they_are_not_the_newest_and_by_one_worker_only(machines: Make) -> None:
    machine = machines()

    def rules(name: str) -> Callable[[int], Inscribe]:
        return entry(f"rules-{name}", "access", detail={"event": "rules", "id": f"rules-{name}"})

    async def use() -> None:
        async with machine.worker() as worker:
            for name in ("a", "a", "b", "a"):
                await appended(worker, rules(name))
            machine.end(signal.SIGKILL)
            machine.start()
            again = await appended(worker, rules("a"))
            other = await appended(worker, rules("b"))
            assert [each.text for each in (again, other) if each is not None] == ["2", "3"]

    run(use())
    machine.end()
    assert names(machine.folder) == [("access", f"rules-{name}") for name in "abab"]
