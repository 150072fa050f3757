"""Runs of agents over two workers and a broker: steps up wait for the next run, steps down do not.

Every request has a connection of its own, which any worker may get.
"""

import json
import os
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from benchmarks.gateway._served import Served, children, metric, records, serving
from crossgrade.gateway import run_digest
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from tests.e2e.certified import ask, certify, fetch, project_of, run
from tests.waiting import until

ROUTE = "agent"
MODEL = {"provider": "openai-compatible", "prices": [{"input_per_mtok": 1, "output_per_mtok": 2}]}


def script(request: ReceivedRequest) -> Reply | Fault:
    """Call a tool in every turn; the candidate fails where it is asked to."""
    if request.model == "new" and "fail now" in json.dumps(request.json["messages"][-1]):
        return Fault("server_error")
    return Reply(f"{request.model} says hi")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(script, models=("old", "new")) as fake:
        yield fake


def config(fake: FakeProvider, **route: Any) -> dict[str, Any]:
    work = {"dataset": "none.jsonl", "scorer": {"kind": "exact"}, "incumbent": "old", "candidates": ["new"]}
    return {
        "models": {name: {**MODEL, "model": name, "base_url": fake.base_url} for name in ("old", "new")},
        "workloads": {ROUTE: work},
        "routes": {
            ROUTE: {"workload": ROUTE, "sticky": "run", "attempts": 2, "canary_steps": [0.5, 1], **route}
        },
        "serve": {"workers": 2},
    }


@pytest.fixture
def gateway(fake: FakeProvider, tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, config(fake, outcome="solved")) as served:
        yield served


@dataclass
class Agent:
    """A loop of turns in one run; `models` are those that answered."""

    served: Served
    name: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def turn(self, says: str = "go on", times: int = 1) -> str:
        """Take so many turns; returns the model of the last one."""
        for _ in range(times):
            self.messages.append({"role": "user", "content": says})
            answer = ask(
                self.served, ROUTE, path=f"/run/{self.name}/v1/chat/completions",
                body={"model": ROUTE, "messages": self.messages},
            )  # fmt: skip
            assert answer.status == 200, answer.body
            message = answer.json["choices"][0]["message"]
            self.messages.append({"role": "assistant", "content": message["content"]})
            self.models.append(answer.target)
            self.ids.append(answer.headers["x-request-id"])
        return self.models[-1]

    def reach_both(self) -> None:
        """Take turns until both workers have answered. A worker's requests have ids of one beginning."""
        while len({each[: len("req-") + 12] for each in self.ids}) < 2:
            self.turn()


def agents(served: Served, count: int, name: str, turns: int = 2) -> list[Agent]:
    made = [Agent(served, f"{name}-{number}") for number in range(count)]
    for each in made:
        each.turn(times=turns)
    return made


def recorded(served: Served, *which: Agent) -> dict[str, list[dict[str, Any]]]:
    """Wait until all turns of some agents are recorded; returns the records by run."""
    wanted = {id_ for each in which for id_ in each.ids}
    until(lambda: wanted <= {each["id"] for each in records(served)})
    found: dict[str, list[dict[str, Any]]] = {each.name: [] for each in which}
    for record in records(served):
        if record.get("run") in found:
            found[record["run"]].append(record)
    return found


def command(served: Served, *arguments: str) -> None:
    """Run a command that publishes a table, and wait until both workers serve it."""
    version = metric(served, "crossgrade_gateway_table_version")
    done = run(served, *arguments)
    assert done.returncode == 0, done.stderr
    until(lambda: metric(served, "crossgrade_gateway_table_version") == version + 2)


def test_steps_up_reach_only_runs_that_begin_later(gateway: Served) -> None:
    before = agents(gateway, 4, "before")
    certify(gateway, {ROUTE: {"share": 0.0}})
    canary = agents(gateway, 4, "zero")
    command(gateway, "route", "promote", ROUTE)
    half = agents(gateway, 12, "half")
    assert {model for each in half for model in each.models} == {"old", "new"}
    command(gateway, "route", "promote", ROUTE)
    after = agents(gateway, 4, "after")
    for each in (*before, *canary, *half, *after):
        each.turn(times=4)
        assert len(set(each.models)) == 1, each.models
    assert {each.models[0] for each in (*before, *canary)} == {"old"}
    assert {each.models[0] for each in after} == {"new"}
    found = recorded(gateway, *before, *canary, *half, *after)
    # A run that began before the verdict has no place under it; the others are whole.
    mixed = {name for name, rows in found.items() if any(row.get("mixed") for row in rows)}
    assert mixed == {each.name for each in before}
    late = [row["reason"] for each in canary for row in found[each.name][-4:]]
    assert set(late) == {"run"}


def test_an_abort_in_the_middle_of_runs_holds_at_once_and_for_good(gateway: Served) -> None:
    (verdict,) = certify(gateway, {ROUTE: {}}).values()
    running, ended = agents(gateway, 8, "running"), agents(gateway, 1, "ended")
    assert {each.models[-1] for each in (*running, *ended)} == {"new"}
    command(gateway, "route", "abort", ROUTE)
    assert {each.turn() for each in running} == {"old"}
    command(gateway, "route", "promote", ROUTE)
    command(gateway, "route", "promote", ROUTE)
    assert {each.turn(times=4) for each in running} == {"old"}
    assert {each.models[-1] for each in agents(gateway, 4, "next")} == {"new"}
    assert ended[0].turn() == "new"
    found = recorded(gateway, *running, *ended)
    for each in running:
        assert [bool(row.get("mixed")) for row in found[each.name]] == [False] * 2 + [True] * 5
    assert not any(row.get("mixed") for row in found[ended[0].name])
    until(lambda: metric(gateway, "crossgrade_gateway_mixed_runs_total", crossgrade_route=ROUTE) == 8)
    # An outcome is reported at the end of a run, about any of its answers.
    for each in (running[0], ended[0]):
        body = json.dumps({"response_id": each.ids[0], "name": "solved", "value": 1}).encode()
        headers = {"authorization": f"Bearer {gateway.key}"}
        assert fetch(urllib.request.Request(f"{gateway.url}/v1/feedback", body, headers)).status == 202
    with project_of(gateway) as project:
        left = project.store.feedback.unaudited(ROUTE, "solved", "s", verdict_id=verdict)
    key = found[ended[0].name][0]["key"]
    assert [each.run for each in left] == [run_digest(ROUTE, key, ended[0].name)]


def test_a_killed_broker_changes_the_model_of_no_run(gateway: Served) -> None:
    certify(gateway, {ROUTE: {"share": 0.5}})
    running = agents(gateway, 10, "running")
    assert {each.models[-1] for each in running} == {"old", "new"}
    for each in running:
        each.reach_both()
    (broker,) = children(gateway, b"serve.broker")
    os.kill(broker, signal.SIGKILL)
    for each in running:
        each.turn()
    until(lambda: children(gateway, b"serve.broker") not in ([], [broker]))
    command(gateway, "route", "promote", ROUTE)
    for worker in gateway.workers:
        os.kill(worker, signal.SIGKILL)  # new ones know no run but from the broker
        until(lambda gone=worker: gone not in gateway.workers and len(gateway.workers) == 2)
    for each in running:
        until(lambda each=each: _turned(each))
        each.turn(times=2)
        assert len(set(each.models)) == 1, each.models
    found = recorded(gateway, *running)
    assert not any(row.get("mixed") for rows in found.values() for row in rows)
    assert {each.models[-1] for each in agents(gateway, 2, "next")} == {"new"}


def _turned(agent: Agent) -> bool:
    """Take a turn, unless the connection went to a worker that has just been killed."""
    size = len(agent.messages)
    try:
        return bool(agent.turn())
    except OSError:
        del agent.messages[size:]
        return False


def test_without_a_broker_a_new_run_is_the_incumbents(gateway: Served) -> None:
    certify(gateway, {ROUTE: {}})
    running = agents(gateway, 6, "running")
    for each in running:
        each.reach_both()
    (broker,) = children(gateway, b"serve.broker")
    os.kill(broker, signal.SIGSTOP)  # it is there and does not answer
    try:
        lost = agents(gateway, 1, "lost", turns=1)
        assert lost[0].models == ["old"]
    finally:
        os.kill(broker, signal.SIGCONT)
    assert lost[0].turn() in {"old", "new"}  # the broker had taken the question
    assert {each.turn() for each in running} == {"new"}
    rows = sorted(recorded(gateway, *lost)["lost-0"], key=lambda row: row["at"])
    assert rows[0]["mixed"]
    assert rows[0]["reason"] == "run_unknown"


def test_a_fallback_in_a_run_marks_it_and_leaves_it_its_model(gateway: Served) -> None:
    certify(gateway, {ROUTE: {}})
    (agent,) = agents(gateway, 1, "flaky")
    assert [agent.turn("fail now"), agent.turn()] == ["old", "new"]

    def marked() -> list[tuple[str, bool]]:
        rows = sorted(recorded(gateway, agent)[agent.name], key=lambda row: row["at"])
        return [(row["reason"], row.get("mixed", False)) for row in rows]

    assert marked()[:3] == [("policy", False), ("policy", False), ("fallback", True)]
    # The other worker hears of it from the broker.
    until(lambda: (agent.turn(), marked()[-2:])[1] == [("policy", True)] * 2)


def test_pairs_of_a_run_leave_the_evidence_when_it_is_mixed(fake: FakeProvider, tmp_path: Path) -> None:
    with serving(tmp_path, config(fake, shadow={"rate": 1.0, "max_parallel": 64})) as gateway:
        certify(gateway, {ROUTE: {}})
        (whole,), (mixed,) = agents(gateway, 1, "whole"), agents(gateway, 1, "mixed")

        def waiting() -> Counter[str | None]:
            with project_of(gateway) as project:
                left = {each.id for each in project.store.pairs.waiting(ROUTE, "s")}
                return Counter(each.run for each in project.store.pairs.recent(ROUTE) if each.id in left)

        until(lambda: sum(waiting().values()) == 4)
        mixed.turn("fail now")
        key = recorded(gateway, mixed)[mixed.name][0]["key"]
        until(lambda: waiting() == {run_digest(ROUTE, key, whole.name): 2})

        def skipped() -> float:
            mixed.turn()  # by any worker, which hears of it from the broker
            return metric(gateway, "crossgrade_gateway_shadow_skipped_total", crossgrade_reason="mixed_run")

        until(skipped)


def test_clients_reach_a_run_by_their_base_url_alone(gateway: Served) -> None:
    certify(gateway, {ROUTE: {}})
    with openai.OpenAI(base_url=f"{gateway.url}/run/by-openai/v1", api_key=gateway.key) as client:
        chat = client.chat.completions.create(model=ROUTE, messages=[{"role": "user", "content": "hi"}])
        assert chat.choices[0].message.content == "new says hi"
        assert client.responses.create(model=ROUTE, input="hi").output_text == "new says hi"
        assert ROUTE in {each.id for each in client.models.list()}
    with anthropic.Anthropic(base_url=f"{gateway.url}/run/by-claude", api_key=gateway.key) as claude:
        said = claude.messages.create(
            model=ROUTE, max_tokens=9, messages=[{"role": "user", "content": "hi"}],
            extra_headers={"x-crossgrade-run": "by-claude"},
        )  # fmt: skip
        assert said.content[0].text == "new says hi"
    # A key that is new may be refused at first: such requests are recorded without a run.
    until(lambda: Counter(each["run"] for each in records(gateway) if "run" in each) == {
        "by-openai": 2, "by-claude": 1,
    })  # fmt: skip


def test_a_run_that_has_ended_long_ago_begins_again(gateway: Served) -> None:
    certify(gateway, {ROUTE: {"share": 0.0}})
    (agent,) = agents(gateway, 1, "old")
    key = recorded(gateway, agent)[agent.name][0]["key"]
    with project_of(gateway) as project:
        known = project.store.served_runs.get(run_digest(ROUTE, key, agent.name))
        assert known is not None
        assert json.loads(known.start)["offer"] == "old"
        assert not project.store.served_runs.begin([known], since=datetime.now(UTC))[known.id].is_mixed
