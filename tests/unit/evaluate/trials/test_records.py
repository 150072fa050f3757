"""What the gateway recorded of a trial: it is waited for, and what is missing leaves no verdict."""

import json
import os
from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from crossgrade.calls import Budget
from crossgrade.domain import Offer, Price
from crossgrade.errors import TrialError
from crossgrade.evaluate import TrialCall, _trials
from crossgrade.evaluate._trial_budget import TrialRoom, most_call_usd
from crossgrade.evaluate._trial_relay import TrialRelay
from crossgrade.evaluate._trial_sandbox import PhaseEnd, open_workspace
from crossgrade.project._trial_gateway import (
    MOST_FOLDERS,
    RequestLog,
    TrialGateways,
    gateway_folder,
    model_section,
)
from tests.unit.evaluate.trials.running import Unreachable, agent, provider

pytestmark = pytest.mark.anyio
ANSWERED = TrialCall(status=200, input_tokens=3, output_tokens=1, cost_usd=0.001)


def _running(gateway: Unreachable, **limits: object) -> _trials._RunningTrial:
    spec = agent("true", **limits)
    asked = provider(spec, gateway)
    relay = TrialRelay(run_id="a.1", prefix="/run/a.1/r/model/", host="127.0.0.1", port=9)
    door = gateway.door("model")
    return _trials._RunningTrial(spec, asked.tasks["make-file"], relay, door, gateway)


async def test_missing_records_leave_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trials, "RECORDS_S", 0.01)
    running = _running(Unreachable([ANSWERED]))
    running.relay.calls = 2
    with pytest.raises(TrialError) as caught:
        await running._calls()
    assert caught.value.message.startswith("environment:records_missing: ")
    assert caught.value.cost_usd is None, "what is missing may have cost anything"


async def test_records_that_come_late_are_waited_for() -> None:
    gateway = Unreachable()
    running = _running(gateway)
    running.relay.calls = 1
    async with anyio.create_task_group() as group:
        group.start_soon(_later, gateway)
        assert await running._calls() == [ANSWERED]


async def _later(gateway: Unreachable) -> None:
    await anyio.sleep(0.01)
    gateway.recorded = [ANSWERED]


@pytest.mark.parametrize(
    ("limits", "closed"), [({"tokens": 3}, "tokens"), ({"usd": 0.0005}, "usd"), ({}, "")]
)
async def test_a_trial_that_spent_its_limit_gets_no_more_calls(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, object], closed: str
) -> None:
    monkeypatch.setattr(_trials, "_WATCH_S", 0.0)
    running = _running(Unreachable([ANSWERED]), **limits)
    async with anyio.create_task_group() as group:
        group.start_soon(running._watch)
        await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert running.relay.closed == closed


@pytest.mark.parametrize(
    ("recorded", "calls", "usd", "room"),
    [(0, 0, 1.0, True), (0, 1, 1.0, False), (1, 1, 1.0, True), (1, 2, 0.0031, True), (1, 3, 0.0029, False),
     (1, 16, 1.0, True), (1, 17, 1.0, False)],
)  # fmt: skip
def test_calls_begin_while_those_in_flight_leave_room(
    recorded: int, calls: int, usd: float, room: bool
) -> None:
    running = _running(Unreachable([ANSWERED] * recorded), usd=usd)
    running.relay.calls = calls
    assert running.has_room() is room


def test_a_call_beyond_the_limit_closes_the_way() -> None:
    running = _running(Unreachable([ANSWERED] * 2), usd=0.0015)
    running.relay.calls = 2
    assert running.has_room()
    assert running.relay.closed == "usd"


@pytest.mark.parametrize(
    ("call", "usd"),
    [
        (TrialCall(status=499, error="client_gone", attempts=1, cost_usd=0.0001, input_tokens=9), None),
        (TrialCall(status=499, error="client_gone", attempts=1), None),
        (TrialCall(status=200, error="broken_off", attempts=1, cost_usd=0.1, input_tokens=9, output_tokens=1), None),
        (TrialCall(status=504, error="upstream_timeout", attempts=1), None),
        (TrialCall(status=499, error="client_gone", attempts=1, cost_usd=0.0), "0.001"),
        (TrialCall(status=502, error="upstream_failed", attempts=1, cost_usd=0.0), "0.001"),
        (TrialCall(status=429, error="rate_limited"), "0.001"),
    ],
)  # fmt: skip
def test_what_was_cut_off_may_have_cost_anything(call: TrialCall, usd: str | None) -> None:
    calls = [ANSWERED, call]
    assert _trials.trial_cost_usd(calls) == (None if usd is None else Decimal(usd))
    known = _trials._usage(calls)
    assert (known.input_tokens, known.output_tokens) == ((None, None) if usd is None else (3, 1))


def _line(**fields: object) -> str:
    return json.dumps({"id": "x", "at": 1.0, "worker": 0, **fields}) + "\n"


def test_the_log_is_read_as_it_grows(tmp_path: Path) -> None:
    log, path = RequestLog(tmp_path), tmp_path / "20260101-000001.jsonl"
    assert log.calls("a") == ()
    path.write_text(_line(run="a", status=200) + _line(status=200))
    assert log.calls("a") == (), "what is not settled may be written again"
    with path.open("a") as file:
        file.write('{"settled": {}}\n'.replace(": {", ":{") + _line(run="a", status=500)[:20])
    assert [each.status for each in log.calls("a")] == [200]
    with path.open("a") as file:
        file.write(_line(run="a", status=500)[20:] + _line(run="b", status=200) + '{"settled":{}}\n')
    (tmp_path / "20260102-000001.jsonl").write_text(_line(run="a", status=201) + '{"settled":{}}\n')
    assert [each.status for each in log.calls("a")] == [200, 500, 201]
    assert [each.status for each in log.calls("b")] == [200]


def test_an_offer_is_served_at_the_price_that_was_found(tmp_path: Path) -> None:
    offer = Offer(name="m", provider="openai", model="gpt", max_concurrency=3)
    price = Price(input_per_mtok=1, output_per_mtok=None, source="list")  # type: ignore[arg-type]
    section = model_section(offer, price, tmp_path)
    assert section["prices"] == [{"input_per_mtok": "1", "request_usd": "0", "source": "list"}]
    assert section["max_concurrency"] == 3
    assert "prices" not in model_section(offer, None, tmp_path)


def test_a_local_model_is_served_with_its_adapter(tmp_path: Path) -> None:
    offer = Offer(name="m", provider="local", model="tiny", adapter="adapters/own.gguf")
    assert model_section(offer, None, tmp_path)["adapter"] == str(tmp_path / "adapters" / "own.gguf")


def test_the_oldest_folders_of_gateways_are_removed_unless_one_is_used(tmp_path: Path) -> None:
    with gateway_folder(tmp_path) as used:
        os.utime(used, (1, 1))
        left = []
        for number in range(MOST_FOLDERS + 1):
            with gateway_folder(tmp_path) as folder:
                left.append(folder)
            os.utime(folder, (number + 2, number + 2))
        assert used.is_dir()
        assert [each.is_dir() for each in left] == [False, *[True] * MOST_FOLDERS]


async def test_a_call_in_flight_at_the_end_of_an_agent_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ends_with_a_call_in_flight(*_: object, **__: object) -> PhaseEnd:
        running.relay.calls = 1
        group.start_soon(_later, gateway)
        return PhaseEnd(word="ended")

    monkeypatch.setattr(_trials, "run_agent", ends_with_a_call_in_flight)
    gateway = Unreachable()
    running = _running(gateway)
    with open_workspace(running.agent.limits) as workspace:
        async with anyio.create_task_group() as group:
            await running._work(workspace)
            assert gateway.recorded == [ANSWERED], "the way to the gateway stays open until then"


ASKS = {"model": "x", "messages": [{"role": "user", "content": "a"}]}
PRICE = Price(input_per_mtok=Decimal(10), output_per_mtok=Decimal(30))


@pytest.mark.parametrize(
    ("path", "body", "usd"),
    [
        ("/v1/chat/completions", {**ASKS, "max_tokens": 1000}, "0.03032"),
        ("/v1/chat/completions", {**ASKS, "max_tokens": 1000, "n": 2}, "0.06064"),
        ("/v1/messages", {**ASKS, "max_tokens": 10}, "0.00062"),
        ("/v1/responses", {"model": "x", "input": "", "max_output_tokens": 100}, "0.00332"),
        ("/v1/chat/completions", ASKS, "0.1232"),
        ("/v1/telemetry", {"a": 1}, "0.12322"),
    ],
)
def test_the_most_that_a_call_may_cost_is_known_before_it(path: str, body: object, usd: str) -> None:
    most = most_call_usd(path, json.dumps(body).encode(), PRICE)
    assert most == pytest.approx(Decimal(usd), abs=Decimal("0.0007"))


def test_a_trial_holds_more_than_its_limit_only_where_the_budget_has_room() -> None:
    budget = Budget(Decimal(3))
    budget.reserve(Decimal(1))
    room = TrialRoom(budget, PRICE, Decimal(1))
    nothing = {"spent_usd": Decimal(0), "unknown": 0, "others": 0}
    assert room.admits(Decimal(1), **nothing)  # type: ignore[arg-type]  # by name
    assert room.more_usd == 0
    assert room.admits(Decimal(2), spent_usd=Decimal("0.5"), unknown=0, others=0)
    assert room.more_usd == Decimal("1.5")
    assert not room.admits(Decimal(1), spent_usd=Decimal("0.5"), unknown=0, others=1), "two may be in flight"
    room.leave()
    assert budget.has_room_for(Decimal(2)), "what a trial held besides its limit is given back"


def test_what_was_lost_with_a_process_is_counted_once(tmp_path: Path) -> None:
    before = tmp_path / "gateway-1"
    log = before / ".crossgrade" / "serve" / "requests"
    log.mkdir(parents=True)
    lines = [_line(run=run, status=200, attempts=1, cost_usd=0.25) for run in ("t.1", "t.2", "t.3", "t.3")]
    lines.append(_line(run="t.4", status=499, error="client_gone", attempts=1))
    (log / "1.jsonl").write_text("".join(lines) + '{"settled":{}}\n')
    (before / "run").write_text("r1")
    (before / "settled").write_text("t.2\n")
    (before / "begun").write_text("t.1\nt.2\nt.3\nt.4\nt.6\n")
    (before / "ended").write_text("t.1\nt.2\nt.3\n")

    def gateways() -> TrialGateways:
        own = tmp_path / "gateway-2"
        own.mkdir(exist_ok=True)
        return TrialGateways(providers={}, parent=tmp_path, ended={"t.5"}, open_gateway=None, own=own)  # type: ignore[arg-type]

    assert gateways().lost("r2", []) == []
    resumed = gateways()
    lost = [Decimal("0.5"), None, None]
    assert resumed.lost("r1", ["t.1"]) == lost, "a call may have been in flight of which there is no record"
    assert gateways().lost("r1", ["t.1"]) == lost, "it was killed too, and counted nothing"
    (before / "ended").unlink()
    assert gateways().lost("r1", ["t.1"]) == [None, None, None]
    (before / "stopped").touch()
    assert gateways().lost("r1", ["t.1"]) == [Decimal("0.5"), None, Decimal(0)], "all calls were recorded"
    resumed.settle()
    assert gateways().lost("r1", ["t.1"]) == []
    assert (tmp_path / "gateway-2" / "settled").read_text() == "t.5\n"
