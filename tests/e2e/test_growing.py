"""A route grows from an undecided verdict to a share of its traffic, by the requests that the gateway serves."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.gateway._served import Served, metric, serving
from crossgrade.decide import DecisionSettings, decide_policy, train_router
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply
from crossgrade.watch import look
from tests.e2e.certified import ask, project_of
from tests.e2e.test_gateway_growth import config_for
from tests.unit.decide.test_router import columns, evidence
from tests.waiting import until

KEPT = {"easy": 0.99, "hard": 0.5}
ASKED = 120


def script(request: ReceivedRequest) -> Reply:
    """Answer as a schema asks, but for the candidate on hard requests."""
    is_hard = "hard" in str(request.json["messages"][0]["content"])
    return Reply("no idea" if request.model == "new" and is_hard else "{}")


def undecided_verdict(served: Served) -> str:
    """Record a verdict on samples of both kinds that are too few for a certificate."""
    rng = np.random.default_rng(1)
    labels = rng.choice(list(KEPT), 220)
    b = np.ones(len(labels))
    c = (rng.random(len(labels)) < np.array([KEPT[label] for label in labels])).astype(float)
    b[rng.random(len(b)) < 0.1] = 0.0
    found = evidence(
        len(labels), workload="work", input=None, segment=labels.astype(object),
        incumbent=columns("old", b, 0.01), candidates=(columns("new", c * b, 0.001),),
    )  # fmt: skip
    settings = DecisionSettings(mode="fixed", floor=0.93, grow=True)
    routed = train_router(found, settings)
    verdict = decide_policy(routed, settings, now=datetime.now(UTC) - timedelta(minutes=1))
    assert verdict.name == "undecided"
    with project_of(served) as project:
        return project.store.verdicts.append(verdict, routed)


def test_what_is_shown_to_keep_the_floor_moves_and_nothing_else(tmp_path: Path) -> None:
    with FakeProvider(script, models=("old", "new")) as fake:
        config = config_for(fake.base_url)
        config["routes"] = {"grows": config["routes"]["grows"]}
        with serving(tmp_path, config) as served:
            verdict_id = undecided_verdict(served)
            with project_of(served) as project:
                project.apply(verdict_id)
            until(lambda: metric(served, "crossgrade_gateway_table_version") == len(served.workers))

            def send(at: int) -> str:
                kind = ("easy", "hard")[at % 2]
                return ask(served, "grows", f"{kind} {at}", headers={"x-crossgrade-segment": kind}).target

            with ThreadPoolExecutor(4) as pool:
                assert set(pool.map(send, range(2 * ASKED))) == {"old"}
            until(lambda: metric(served, "crossgrade_gateway_pairs_total") == 2 * ASKED)
            with project_of(served) as project:
                tomorrow = datetime.now(UTC) + timedelta(days=1, hours=2)
                found = look(project, now=tomorrow)
            assert found.grown == ["grows"]
            (standing,) = found.growth
            assert standing.audits == 2 * ASKED
            assert [(step.passed, step.moves) for step in standing.steps] == [(True, True), (False, False)]
            until(lambda: metric(served, "crossgrade_gateway_table_version") == 2 * len(served.workers))
            assert [send(at) for at in range(2 * ASKED, 2 * ASKED + 4)] == ["new", "old", "new", "old"]
