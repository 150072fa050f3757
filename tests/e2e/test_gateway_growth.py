"""A growing route leaves one pair for every drawn request, with the router's score, whatever happens to it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from benchmarks.gateway._served import Served, metric, records, serving
from crossgrade.routing import Growth, Policy, Router
from crossgrade.routing.router import threshold_name
from crossgrade.store import Draw
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from tests.e2e.certified import ask, certify, project_of
from tests.waiting import until

ROUTER = Router(stake=0.9, segments={"easy": 0.2, "hard": -0.2}, thresholds=(0.1, -0.3))
SPLIT = Policy(
    kind="split",
    fact="score",
    incumbent="old",
    candidate="new",
    segments=(threshold_name(0.1),),
    least_score=0.1,
)
SINCE = datetime.now(UTC) - timedelta(minutes=1)
GROWTH = Growth(start=1, since=SINCE, rate=1.0)
FAULTS = ("server_error", "drop", "half_json", "huge", "html", "empty_choices")


def script(request: ReceivedRequest) -> Reply | Fault:
    """Fail as the text asks, `MODEL KIND`."""
    model, _, kind = str(request.json["messages"][0]["content"]).partition(" ")
    return Fault(kind, size=2 << 20) if model == request.model and kind in FAULTS else Reply("fine")  # type: ignore[arg-type]  # one of them


def config_for(url: str) -> dict[str, Any]:
    model = {
        "provider": "openai-compatible", "base_url": url,
        "prices": [{"input_per_mtok": 1, "output_per_mtok": 2}],
    }  # fmt: skip
    work = {
        "dataset": "none.jsonl",
        "scorer": {"kind": "json_schema", "options": {"schema": {"type": "object"}}},
        "incumbent": "old",
        "candidates": ["new"],
        "router": True,
        "mode": "fixed",
    }
    shadow = {"rate": 1.0, "max_parallel": 1_000}
    route = {"workload": "work", "grow": True, "attempts": 1}
    return {
        "models": {name: {**model, "model": name} for name in ("old", "new")},
        "workloads": {"work": work},
        "routes": {
            "grows": {**route, "shadow": shadow},
            "held": {**route, "shadow": shadow},
            "poor": {**route, "shadow": {**shadow, "max_usd_per_day": 0.000001}},
        },
    }


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Mapping[str, str]]]:
    with FakeProvider(script, models=("old", "new")) as fake:
        config = config_for(fake.base_url)
        with serving(tmp_path_factory.mktemp("growth"), config) as served:
            route = {"policy": SPLIT, "router": ROUTER, "workload": "work"}
            held = Growth(start=2, since=SINCE, rate=1.0, is_held=True)
            yield (
                served,
                certify(
                    served,
                    {
                        "grows": {**route, "growth": GROWTH},
                        "held": {**route, "growth": held},
                        "poor": {**route, "growth": GROWTH},
                    },
                ),
            )


def draws(gateway: tuple[Served, Mapping[str, str]], route: str) -> list[Draw]:
    served, verdicts = gateway
    with project_of(served) as project:
        return project.store.pairs.draws(route, verdict_id=verdicts[route], scorer_digest="none", since=SINCE)


def served_reasons(served: Served, route: str) -> list[str]:
    return [
        line["reason"] for line in records(served) if line.get("route") == route and not line.get("shadow")
    ]


def test_scores_and_conversations_of_both_sides_are_recorded(
    gateway: tuple[Served, Mapping[str, str]],
) -> None:
    served, _ = gateway
    for segment in ("easy", "hard"):
        for _ in range(2):
            named = {"x-crossgrade-segment": segment, "x-crossgrade-conversation": segment}
            answered = ask(served, "held", headers=named)
            assert answered.target == "old"
    drawn = until(lambda: len(found := draws(gateway, "held")) == 4 and found)
    assert Counter(each.score for each in drawn) == {0.2: 2, -0.2: 2}
    assert len({each.conversation for each in drawn}) == 2
    assert {each.missed for each in drawn} == {None}
    reasons = until(lambda: len(found := served_reasons(served, "held")) == 4 and found)
    assert Counter(reasons) == {"held": 2, "policy": 2}


def test_a_draw_beyond_the_budget_is_a_missed_pair_that_costs_nothing(
    gateway: tuple[Served, Mapping[str, str]],
) -> None:
    served, verdicts = gateway
    # One copy of unknown length may pass a budget, so this one has a bound.
    assert ask(served, "poor", headers={"x-crossgrade-segment": "easy"}, max_tokens=9).target == "new"
    (drawn,) = until(lambda: draws(gateway, "poor"))
    assert (drawn.missed, drawn.score) == ("budget", 0.2)
    with project_of(served) as project:
        pairs = project.store.pairs
        assert pairs.unscored("poor", "none") == []
        assert pairs.audit_cost("poor", verdict_id=verdicts["poor"], since=SINCE) == 0
        (pair,) = pairs.recent("poor")
    assert pair.request is None
    assert (pair.incumbent.answer, pair.incumbent.error, pair.candidate.answer) == (None, "budget", None)
    assert metric(served, "crossgrade_gateway_pairs_total", crossgrade_route="poor") == 0


def test_every_draw_leaves_one_pair(gateway: tuple[Served, Mapping[str, str]]) -> None:
    served, _ = gateway
    said = [f"{model} {kind}" for model in ("old", "new") for kind in (*FAULTS, "nothing")] * 3
    asked = [(text, segment, at % 5 == 0) for at, text in enumerate(said) for segment in ("easy", "hard")]

    def send(each: tuple[str, str, bool]) -> str:
        text, segment, opts_out = each
        headers = {"x-crossgrade-segment": segment, **({"x-crossgrade-no-shadow": "1"} if opts_out else {})}
        return ask(served, "grows", text, headers=headers).headers["x-request-id"]

    with ThreadPoolExecutor(4) as pool:
        wanted = sorted(pool.map(send, asked))
    until(lambda: len(draws(gateway, "grows")) >= len(wanted))
    with project_of(served) as project:
        pairs = project.store.pairs.recent("grows", limit=1_000)
    assert sorted(pair.request_id for pair in pairs) == wanted
    assert {pair.missed for pair in pairs} >= {None, "opt_out", "failed"}
    for pair in pairs:
        assert pair.score in (0.2, -0.2)
        assert pair.conversation
        assert (pair.request is None) is (pair.missed is not None)
