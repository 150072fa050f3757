"""A route whose incumbent ends: who answers then, what still holds, and that nothing starts without a successor."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway._served import Served, records, serving
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from tests.codes import names, noted, shown_codes
from tests.e2e.certified import Answered, ask, certify, change, project_of, reload, run
from tests.unit.store.test_verdicts import make_verdict
from tests.waiting import until

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
ROUTES = ("plain", "switched", "shadowed", "expired")


def script(request: ReceivedRequest) -> Reply | Fault:
    if request.model == "new" and "fail" in request.prompt:
        return Fault("server_error")
    return Reply(json.dumps({"model": request.model}))


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(script, models=("old", "new", "next")) as fake:
        yield fake


def config_of(fake: FakeProvider) -> dict[str, Any]:
    model = {
        "provider": "openai-compatible", "base_url": fake.base_url,
        "prices": [{"input_per_mtok": 1, "output_per_mtok": 2}],
    }  # fmt: skip
    models = {name: {**model, "model": name} for name in ("old", "new", "next")}
    models["old"]["retires_on"] = "2199-01-01"
    route = {"workload": "work", "attempts": 2, "successor": "next"}
    scorer = {"kind": "json_schema", "options": {"schema": {"type": "object"}}}
    return {
        "models": models,
        "workloads": {
            "work": {"dataset": "none.jsonl", "scorer": scorer, "incumbent": "old", "candidates": ["new"]}
        },
        "routes": {**dict.fromkeys(ROUTES, route), "shadowed": {**route, "shadow": {"rate": 1.0}}},
        "serve": {"workers": 2},
    }


def ended(config: Any) -> None:
    config["models"]["old"]["retires_on"] = YESTERDAY.isoformat()


def unnamed(config: Any) -> None:
    for route in config["routes"].values():
        route.pop("successor", None)


def log(folder: Path) -> str:
    return (folder / "serve.log").read_text()


def pairs(served: Served) -> int:
    with project_of(served) as project:
        return len(project.store.pairs.recent("shadowed"))


def record_of(served: Served, answer: Answered) -> dict[str, Any]:
    wanted = answer.headers["x-request-id"]
    (found,) = until(lambda: [each for each in records(served) if each["id"] == wanted])
    return dict(found)


def test_the_successor_answers_from_the_incumbents_end_on(tmp_path: Path, fake: FakeProvider) -> None:
    with serving(tmp_path, config_of(fake)) as served:
        past = datetime.now(UTC) - timedelta(seconds=1)
        shared = {"workload": "work"}
        certify(
            served,
            {"switched": shared, "shadowed": shared, "expired": {**shared, "valid_until": past}},
        )
        until(lambda: ask(served, "switched").target == "new")
        assert ask(served, "switched", "fail").target == "old"
        assert ask(served, "plain").target == ask(served, "expired").target == "old"
        assert ask(served, "shadowed").target == "new"
        until(lambda: pairs(served) == 1)

        reload(served, ended)
        until(lambda: ask(served, "plain").target == "next")
        until(lambda: len(served.workers) == 2)  # those of before have ended
        until(lambda: all(ask(served, "plain").target == "next" for _ in range(8)))
        fake.requests.clear()
        certified, fallback = ask(served, "switched"), ask(served, "switched", "fail")
        assert (certified.target, fallback.target) == ("new", "next")
        assert ask(served, "expired").target == ask(served, "plain").target == "next"
        record = record_of(served, fallback)
        assert (record["target"], record["reason"]) == ("next", "fallback")
        assert json.loads(fallback.json["choices"][0]["message"]["content"]) == {"model": "next"}
        assert '"event":"incumbent_ended"' in log(tmp_path)
        for _ in range(4):
            assert ask(served, "shadowed").target == "new"
        look = run(served, "watch", "--once", "--json")
        assert look.returncode == 1, "the expired certificate is an alarm"
        found = json.loads(look.stdout)["look"]
        assert {alarm["route"] for alarm in found["alarms"]} == {"expired"}
        standings = {each["route"]: each for each in found["standings"]}
        for route in ("switched", "shadowed"):
            assert (standings[route]["status"], standings[route]["reason_code"]) == (
                "unmeasurable",
                "incumbent-gone",
            )
            assert names(standings[route]["reason"], YESTERDAY)
        assert ask(served, "expired").target == "next", "stepped back to the successor"

        with project_of(served) as project:
            project.routing.abort("switched")
        until(lambda: ask(served, "switched").target == "next")
        with project_of(served) as project:
            verdict = make_verdict(
                workload="work", run_id=None, incumbent="old", candidates=("new",),
                valid_until=datetime.now(UTC) + timedelta(days=30),
                policy=project.store.routes.current().by_name["shadowed"].policy,  # type: ignore[union-attr]  # there is one
            )  # fmt: skip
            verdict_id = project.store.verdicts.append(verdict)
        applied = run(served, "route", "apply", "work", "--verdict", verdict_id, "--route", "switched")
        assert applied.returncode == 0, applied.stderr
        until(lambda: ask(served, "switched").target == "new")
        assert "old" not in {request.model for request in fake.requests}
        assert pairs(served) == 1

        reload(served, unnamed)
        until(lambda: "not reloaded: " in log(tmp_path))
        assert ask(served, "plain").target == "next", "what ran goes on"


def test_nothing_starts_that_nobody_would_answer(tmp_path: Path, fake: FakeProvider) -> None:
    with serving(tmp_path, config_of(fake)) as served:
        pass
    change(served, ended)
    change(served, unnamed)
    refused = run(served, "serve")
    assert refused.returncode == 2
    assert shown_codes(refused.stderr) == ["successor-missing"]
    assert names(refused.stderr, "old")
    examined = run(served, "doctor")
    assert examined.returncode == 3
    assert names(examined.stdout, "successor-missing")
    shown = run(served, "route", "show", environ={"CROSSGRADE_LOG": "codes"})
    assert len(noted(shown.stderr, "incumbent-ends", "old")) == len(ROUTES)
