"""Routes that keep runs together: steps up wait for the next run, steps down do not, mixed runs are marked."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crossgrade.domain import RouteSpec, Shadow
from crossgrade.gateway import _runs
from crossgrade.gateway._head import locate
from crossgrade.gateway._messages import MixRun
from crossgrade.gateway._payload import read_payload
from crossgrade.gateway._runs import begins_run
from crossgrade.routing import RouteTable
from crossgrade.testing import FakeProvider, Fault
from tests.unit.gateway.conftest import World, chat, running, target
from tests.unit.gateway.test_policy import CALLED, MORE, NOW, SYSTEM, USER, publish, table
from tests.waiting import until

SPEC = RouteSpec(name="support", incumbent="big", sticky="run")
FIRST = chat()
LATER = chat(messages=[USER, *MORE])

Start = Callable[..., AbstractContextManager[World]]


@pytest.fixture
def agents(tmp_path: Path, fake: FakeProvider) -> Start:
    """Return a function that runs a worker whose route keeps runs together."""

    @contextmanager
    def start(spec: RouteSpec = SPEC, at: RouteTable | None = None, **more: Any) -> Iterator[World]:
        if at is not None:
            publish(tmp_path, at)
        targets = [target(fake), target(more.pop("candidate", fake), "small"), target(fake, "third")]
        with running(tmp_path, targets, [spec], **more) as world:
            yield world

    return start


def step(world: World, path: Path, to: RouteTable) -> None:
    """Publish another table, and wait until it is served."""
    publish(path, to)
    until(lambda: world.worker.context.routes.version == to.version)


def asked(world: World, run: str | None, body: bytes = FIRST, **headers: str) -> str:
    """Ask in a run; returns which target answered."""
    path = "/v1/chat/completions" if run is None else f"/run/{run}/v1/chat/completions"
    answer = world.post(body, path, **headers)
    assert answer.status == 200, answer
    return answer.headers["x-crossgrade-target"]


def test_a_step_up_reaches_only_runs_that_begin_later(agents: Start, tmp_path: Path) -> None:
    with agents(at=table(share=0.0)) as world:
        assert asked(world, "a") == "big"
        step(world, tmp_path, table(version=2))
        assert [asked(world, "a", LATER), asked(world, "a")] == ["big", "big"]
        assert [asked(world, "b"), asked(world, "b", LATER)] == ["small", "small"]
        records = world.settled(5)
        assert [each.reason for each in records] == ["canary", "run", "run", "policy", "policy"]
        assert [each.side for each in records] == ["incumbent"] * 3 + ["candidate"] * 2
        assert not any(each.mixed for each in records)
        assert world.broker.asked_runs == 3  # once for each run and table


def test_a_first_table_and_another_verdict_are_steps_up_too(agents: Start, tmp_path: Path) -> None:
    with agents() as world:
        assert asked(world, "a") == "big"
        step(world, tmp_path, table())
        assert [asked(world, "a", LATER), asked(world, "b")] == ["big", "small"]
        other = table(version=2)
        step(world, tmp_path, replace(other, routes=(replace(other.routes[0], verdict_id="v2", share=0.5),)))
        assert asked(world, "b", LATER) == "small"
        records = world.settled(4)
        assert [each.reason for each in records] == ["keep", "run", "policy", "policy"]
        # A run under two certificates is evidence about neither.
        assert [each.mixed for each in records] == [False, True, False, True]


def test_a_lower_share_leaves_runs_alone_and_a_share_of_none_does_not(agents: Start, tmp_path: Path) -> None:
    with agents(at=table()) as world:
        runs = [f"r-{number}" for number in range(12)]
        assert {asked(world, run) for run in runs} == {"small"}
        step(world, tmp_path, table(version=2, share=0.01))
        assert {asked(world, run, LATER) for run in runs} == {"small"}
        step(world, tmp_path, table(version=3, share=0.0))
        assert {asked(world, run, LATER) for run in runs} == {"big"}
        step(world, tmp_path, table(version=4))
        assert {asked(world, run, LATER) for run in runs} == {"big"}
        assert asked(world, "next") == "small"
        assert [each.mixed for each in world.settled(49)] == [False] * 24 + [True] * 24 + [False]
        assert sum(known.is_mixed and known.is_down for known in world.broker.runs.values()) == 12


@pytest.mark.parametrize(
    ("down", "reason"),
    [
        (table("keep", 2), "keep"),
        (table(version=2, share=0.0), "canary"),
        (table(version=2, until=NOW - timedelta(seconds=1)), "expired"),
        (table("split", 2, segments=("de",)), "policy"),
        (table(version=2, max_bytes=1), "too_long"),
        (table(version=2, plain_only=True), "not_plain"),
    ],
)
def test_a_step_down_holds_at_once_and_marks_the_run(
    agents: Start, tmp_path: Path, down: RouteTable, reason: str
) -> None:
    given = {"x_crossgrade_segment": "fr"}
    with agents(at=table()) as world:
        assert asked(world, "a", **given) == "small"
        step(world, tmp_path, down)
        calls = chat(messages=[USER, CALLED])
        assert asked(world, "a", calls, **given) == "big"
        before, after = world.settled(2)
        assert (before.mixed, after.mixed, after.reason) == (False, True, reason)


def test_the_end_of_a_certificate_ends_runs_in_its_middle(agents: Start) -> None:
    with agents(at=table()) as world:
        assert asked(world, "a") == "small"
        world.worker.context.wall = lambda: time.time() + 2 * 86_400
        assert asked(world, "a", LATER) == "big"
        assert (world.settled(2)[1].reason, world.records[1].mixed) == ("expired", True)


def test_another_candidate_gets_no_run_that_began_before(agents: Start, tmp_path: Path) -> None:
    with agents(at=table()) as world:
        assert asked(world, "a") == "small"
        other = table(version=2)
        (route,) = other.routes
        step(
            world,
            tmp_path,
            replace(other, routes=(replace(route, targets={"gpt": "big", "llama": "third"}),)),
        )
        assert [asked(world, "a", LATER), asked(world, "b")] == ["big", "third"]
        assert [(each.reason, each.mixed) for each in world.settled(3)] == [
            ("policy", False), ("run", True), ("policy", False),
        ]  # fmt: skip


def test_what_divides_traffic_is_that_of_the_first_request(agents: Start) -> None:
    with agents(at=table("split", segments=("de",))) as world:
        assert asked(world, "a", x_crossgrade_segment="de") == "small"
        assert [asked(world, "a", LATER), asked(world, "a", LATER, x_crossgrade_segment="fr")] == [
            "small"
        ] * 2
        assert asked(world, "b", x_crossgrade_segment="fr") == "big"
        assert asked(world, "b", LATER, x_crossgrade_segment="de") == "big"
        records = world.settled(5)
        assert [each.segment for each in records] == ["de", "de", "de", "fr", "fr"]
        assert not any(each.mixed for each in records)


def test_a_request_that_the_candidate_may_not_answer_steps_its_run_down(agents: Start) -> None:
    with agents(at=table(max_bytes=2_000)) as world:
        assert asked(world, "a") == "small"
        assert asked(world, "a", chat(user="x" * 3_000)) == "big"
        assert asked(world, "a", LATER) == "big"
        assert [(each.reason, each.mixed) for each in world.settled(3)] == [
            ("policy", False), ("too_long", True), ("run", True),
        ]  # fmt: skip


def test_a_fallback_mixes_its_run(agents: Start) -> None:
    with (
        FakeProvider(["hi", Fault("server_error"), "hi"]) as flaky,
        agents(at=table(), candidate=flaky) as world,
    ):
        assert [asked(world, "a") for _ in range(3)] == ["small", "big", "small"]
        assert [(each.reason, each.mixed) for each in world.settled(3)] == [
            ("policy", False), ("fallback", True), ("policy", True),
        ]  # fmt: skip


def test_a_fallback_on_another_route_is_marked_too(agents: Start) -> None:
    with (
        FakeProvider([Fault("server_error"), "hi"]) as flaky,
        agents(replace(SPEC, sticky="conversation"), at=table(), candidate=flaky) as world,
    ):
        assert [asked(world, "a"), asked(world, "a"), asked(world, None)] == ["big", "small", "small"]
        assert [each.mixed for each in world.settled(3)] == [True, False, False]
        assert world.broker.asked_runs == 0


def test_a_canary_draws_runs(agents: Start) -> None:
    with agents(at=table(share=0.5)) as world:
        picked = {f"r-{number}": asked(world, f"r-{number}") for number in range(24)}
        assert set(picked.values()) == {"big", "small"}
        assert {run: asked(world, run, LATER) for run in picked} == picked
        assert {each.probability for each in world.settled(48)} == {0.5}


def test_runs_are_those_of_one_caller_and_route(agents: Start, tmp_path: Path) -> None:
    from crossgrade.gateway._messages import run_digest

    assert len({run_digest(*names) for names in (("a", "b", "c"), ("a", "c", "b"), ("ab", "", "c"))}) == 3


@pytest.mark.parametrize("body", [LATER, chat(tools=[], messages=[CALLED]), chat(text="x" * (2 << 20))])
def test_a_run_that_is_not_known_and_has_begun_is_the_incumbents(agents: Start, body: bytes) -> None:
    with agents(at=table()) as world:
        assert [asked(world, "a", body), asked(world, "a", FIRST)] == ["big", "big"]
        assert [(each.reason, each.mixed) for each in world.settled(2)] == [("run_unknown", True)] * 2


def test_a_request_that_names_no_run_is_the_incumbents(agents: Start, tmp_path: Path) -> None:
    with agents(at=table()) as world:
        assert asked(world, None) == "big"
        step(world, tmp_path, table("keep", 2))
        assert asked(world, None) == "big"
        records = world.settled(2)
        assert [(each.reason, each.mixed, each.run) for each in records] == [
            ("run_unknown", False, None), ("keep", False, None),
        ]  # fmt: skip


def test_what_another_worker_began_goes_on_here(agents: Start) -> None:
    with agents(at=table()) as world:
        assert [asked(world, "a"), asked(world, "b", LATER)] == ["small", "big"]
        world.worker.context.runs._known.clear()
        assert [asked(world, "a", LATER), asked(world, "b")] == ["small", "big"]


def test_what_another_worker_stepped_down_is_down_here(agents: Start, tmp_path: Path) -> None:
    with agents(at=table()) as world:
        assert asked(world, "a") == "small"
        (known,) = world.broker.runs.values()
        known.is_mixed = known.is_down = True
        step(world, tmp_path, table(version=2))
        assert asked(world, "a", LATER) == "big"
        assert [each.mixed for each in world.settled(2)] == [False, True]


def test_a_worker_hears_of_what_another_one_saw(agents: Start) -> None:
    with agents(at=table()) as world:
        assert [asked(world, "a"), asked(world, "b")] == ["small"] * 2
        first, second = list(world.broker.runs)
        runs = world.worker.context.runs
        for message in (MixRun(0, first), MixRun(0, second, is_down=True), MixRun(0, "unknown")):
            world.on_loop(lambda message=message: runs.mixed(message))
        assert [asked(world, "a", LATER), asked(world, "b", LATER)] == ["small", "big"]
        assert [each.mixed for each in world.settled(4)] == [False, False, True, True]


def test_a_step_down_that_the_broker_forgot_is_known_here(agents: Start, tmp_path: Path) -> None:
    with agents(at=table()) as world:
        assert asked(world, "a") == "small"
        step(world, tmp_path, table(version=2, share=0.0))
        assert asked(world, "a", LATER) == "big"
        (known,) = world.broker.runs.values()
        known.is_mixed = known.is_down = False
        step(world, tmp_path, table(version=3))
        assert asked(world, "a", LATER) == "big"


def test_without_a_broker_another_table_changes_no_run_that_is_known(agents: Start, tmp_path: Path) -> None:
    with agents(at=table(share=0.5)) as world:
        began = {f"r-{number}": asked(world, f"r-{number}") for number in range(12)}
        world.broker.is_away = True
        step(world, tmp_path, table(version=2))
        assert {run: asked(world, run, LATER) for run in began} == began
        assert not any(each.mixed for each in world.settled(24))


def test_without_a_broker_runs_are_the_incumbents(agents: Start) -> None:
    with agents(at=table()) as world:
        assert asked(world, "known") == "small"
        world.broker.is_away = True
        assert asked(world, "lost") == "big"
        assert asked(world, "known", LATER) == "small"
        world.broker.is_away = False
        assert [asked(world, "lost"), asked(world, "next")] == ["big", "small"]
        assert [(each.reason, each.mixed) for each in world.settled(5)] == [
            ("policy", False), ("run_unknown", True), ("policy", False), ("run_unknown", True), ("policy", False),
        ]  # fmt: skip


@pytest.mark.parametrize("comes", [True, False])
def test_a_broker_that_answers_late_or_never_costs_a_bounded_wait(
    agents: Start, monkeypatch: pytest.MonkeyPatch, comes: bool
) -> None:
    monkeypatch.setattr(_runs, "WAIT_S", 0.05)
    with agents(at=table()) as world:
        late: list[Callable[[], None]] = []
        world.broker.answers_runs = late.append
        assert asked(world, "a") == "big"
        (known,) = world.broker.runs.values()
        assert (known.first.offer, known.is_mixed) == ("small", False)
        if comes:
            late[0]()
            until(lambda: known.is_mixed)
        assert asked(world, "a", LATER) == "big"
        assert all(each.mixed for each in world.settled(2))


def test_requests_of_one_run_wait_for_one_answer(agents: Start, make: Any) -> None:
    with agents(at=table()) as world:
        held: list[Callable[[], None]] = []
        world.broker.answers_runs = held.append
        connections = [world.connect() for _ in range(3)]
        for connection in connections:
            connection.sendall(world.head("/run/a/v1/chat/completions", len(FIRST)) + FIRST)
        until(lambda: world.broker.asked_runs == 1)
        gone = world.connect()
        gone.sendall(world.head("/run/a/v1/chat/completions", len(FIRST)) + FIRST)
        until(lambda: len(world.worker.context.runs._waiting.get(next(iter(world.broker.runs)), ())) == 4)
        gone.close()
        until(lambda: world.settled(1)[0].error == "client_gone")
        for answer in held:
            answer()
        answers = [make.read_answer(connection) for connection in connections]
        assert [each.headers["x-crossgrade-target"] for each in answers] == ["small"] * 3


def test_a_caller_who_may_not_use_the_route_begins_no_run(agents: Start) -> None:
    with agents(replace(SPEC, teams=("others",)), at=table()) as world:
        answer = world.post(FIRST, "/run/a/v1/chat/completions")
        assert (answer.status, answer.code) == (403, "route_denied")
        assert world.broker.asked_runs == 0


def test_a_fault_while_a_run_waits_ends_its_request_alone(
    agents: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agents(at=table()) as world:
        with monkeypatch.context() as patched:
            patched.setattr(_runs.RunRoute, "pick_for", lambda *_: 1 / 0)
            errors: list[Any] = []
            world.on_loop(lambda: world.loop.set_exception_handler(lambda _, context: errors.append(context)))
            answer = world.post(FIRST, "/run/a/v1/chat/completions")
            assert (answer.status, answer.code) == (500, "internal_error")
            assert isinstance(errors[0]["exception"], ZeroDivisionError)
        assert asked(world, "a") == "small"


def test_the_oldest_runs_leave_a_workers_memory(agents: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runs, "MOST_KNOWN", 3)
    with agents(at=table()) as world:
        for run in ("a", "b", "a", "c", "d"):
            asked(world, run)
        assert world.broker.asked_runs == 4
        assert asked(world, "a") == "small"
        assert world.broker.asked_runs == 4
        assert asked(world, "b", LATER) == "small"
        assert world.broker.asked_runs == 5


def test_mixed_runs_are_not_shadowed(agents: Start, tmp_path: Path) -> None:
    with agents(replace(SPEC, shadow=Shadow(rate=1.0)), at=table()) as world:
        assert asked(world, "a") == "small"
        until(lambda: len(world.broker.pairs) == 1)
        assert world.broker.pairs[0].run == next(iter(world.broker.runs))
        assert [asked(world, "b", LATER), asked(world, None)] == ["big", "big"]
        step(world, tmp_path, table(version=2, share=0.0))
        assert asked(world, "a", LATER) == "big"
        assert asked(world, "c") == "big"
        until(lambda: len(world.broker.pairs) == 2)
        assert world.broker.pairs[1].served_by == "incumbent"


def _payload(body: bytes, path: bytes) -> Any:
    place = locate(path)
    assert isinstance(place, tuple)
    return read_payload(place[0], body)


def _body(**fields: Any) -> bytes:
    return json.dumps({"model": "support", **fields}).encode()


USED = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]}
SAID = {"role": "assistant", "content": "hi"}


@pytest.mark.parametrize(
    ("path", "body", "begins"),
    [
        (b"/v1/chat/completions", _body(messages=[SYSTEM, USER]), True),
        (b"/v1/chat/completions", _body(messages=[{**SYSTEM, "role": "developer"}, USER, USER]), True),
        (b"/v1/chat/completions", _body(messages=[USER, SAID, USER]), False),
        (b"/v1/chat/completions", _body(messages=[USER, CALLED]), False),
        (b"/v1/chat/completions", _body(messages=[{"role": "function", "content": "x"}]), False),
        (b"/v1/chat/completions", _body(messages=[{"role": "model", "content": "x"}]), False),
        (b"/v1/chat/completions", _body(messages=[{"content": "x"}]), False),
        (b"/v1/chat/completions", _body(messages=[{"role": ["user"]}]), False),
        (b"/v1/chat/completions", _body(messages=[]), False),
        (b"/v1/chat/completions", _body(messages="hello"), False),
        (b"/v1/chat/completions", _body(input="hello"), False),
        (b"/v1/chat/completions", _body(), False),
        (b"/v1/messages", _body(system="x", messages=[USER]), True),
        (b"/v1/messages", _body(messages=[USER, SAID, USED]), False),
        (b"/v1/responses", _body(input="hello"), True),
        (b"/v1/responses", _body(input=[USER]), True),
        (b"/v1/responses", _body(input=[{"type": "message", **USER}]), True),
        (b"/v1/responses", _body(input=[USER, {"type": "function_call_output", "output": "x"}]), False),
        (b"/v1/responses", _body(input=[{"type": "item_reference", "id": "x"}]), False),
        (b"/v1/responses", _body(input="hello", previous_response_id="r"), False),
        (b"/v1/responses", _body(input="hello", conversation="c"), False),
        (b"/v1/responses", _body(input="hello", conversation=None), True),
        (b"/v1/responses", _body(messages=[USER]), False),
        (b"/v1/completions", _body(prompt="hello"), False),
        (b"/v1/embeddings", _body(input="hello"), False),
    ],
)
def test_a_conversation_begins_where_no_model_has_spoken(path: bytes, body: bytes, begins: bool) -> None:
    assert begins_run(_payload(body, path)) is begins
