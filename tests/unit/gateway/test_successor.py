"""Who answers once the incumbent has ended: as the clock says, while the worker runs."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from crossgrade.domain import RouteSpec, Shadow
from crossgrade.gateway._route_set import check_offers
from crossgrade.routing import Policy, Route, RouteTable, route_table_bytes
from crossgrade.testing import FakeProvider, Fault, Reply
from tests.codes import names, raises_code
from tests.waiting import until

END = datetime(2126, 12, 11, tzinfo=UTC)
BEFORE, AFTER = END - timedelta(seconds=1), END + timedelta(seconds=1)
TARGETS = {"gpt": "big", "llama": "small"}
SWITCH = Policy(kind="switch", incumbent="gpt", candidate="llama")
SPEC = partial(RouteSpec, name="support", incumbent="big", successor="next")


def script(request):
    if "fail" in request.prompt and request.model == "small-model":
        return Fault("server_error")
    return Reply(f"I am {request.model}")


@pytest.fixture
def fake():
    with FakeProvider(script) as provider:
        yield provider


@pytest.fixture
def served(run, make, fake, tmp_path):
    """Return a function that serves a route whose incumbent ends on a day to come."""

    def start(spec=None, policy=SWITCH, names=("big", "small", "next"), end=END, **changes):
        if policy is not None:
            targets = {model: TARGETS[model] for model in (policy.incumbent, policy.candidate) if model}
            later = None if policy.kind == "keep" else AFTER + timedelta(days=30)
            given = {"valid_until": later, "verdict_id": "v1", **changes}
            route = Route(name="support", policy=policy, targets=targets, **given)
            path = tmp_path / "routes.json"
            path.write_bytes(route_table_bytes(RouteTable(version=1, routes=(route,))))
        targets = [make.target(fake, name) for name in names]
        return run(targets, [spec or SPEC()], ends_at={"big": end.timestamp()})

    return start


def at(world, moment):
    """Set the worker's clock, and wait until it has looked at it."""
    world.worker.context.wall = moment.timestamp
    world.on_loop(lambda: world.worker._turn(0.0))


def asked(world, make, text="hello", **headers):
    answer = world.post(make.chat(messages=[{"role": "user", "content": text}]), **headers)
    return answer.headers["x-crossgrade-target"]


KEEP = Policy(kind="keep", incumbent="gpt")


@pytest.mark.parametrize(
    ("policy", "changes", "reason"),
    [
        (None, {}, "keep"),
        (KEEP, {}, "keep"),
        (SWITCH, {"share": 0.0}, "canary"),
        (SWITCH, {"valid_until": END - timedelta(days=1)}, "expired"),
        (Policy(kind="split", incumbent="gpt", candidate="llama", segments=("easy",)), {}, "unknown_fact"),
    ],
    ids=["no-table", "keep", "aborted", "expired", "unknown-fact"],
)
def test_the_successor_answers_wherever_the_incumbent_would(served, make, policy, changes, reason):
    with served(policy=policy, **changes) as world:
        at(world, BEFORE)
        assert asked(world, make) == "big"
        at(world, END)
        assert asked(world, make) == "next"
        first, second = world.settled(2)
    assert (first.target, first.side, first.reason) == ("big", "incumbent", reason)
    assert (second.target, second.side, second.reason) == ("next", None, reason)


def test_it_takes_over_without_a_request_and_says_so_once(served, tmp_path, capfd):
    with served() as world:
        table = (tmp_path / "routes.json").read_bytes()
        world.worker.context.wall = AFTER.timestamp
        until(lambda: world.worker.context.routes.by_name["support"].gone == "big")
        world.on_loop(lambda: world.worker._take_routes(table))
        assert world.worker.context.routes.by_name["support"].incumbent.name == "next"
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    (line,) = (each for each in lines if each["event"] == "incumbent_ended")
    assert (line["route"], line["incumbent"], line["target"]) == ("support", "big", "next")


@pytest.mark.parametrize("fallbacks", [(), ("next",)])
def test_it_is_the_last_fallback_of_a_certified_candidate(served, make, fake, fallbacks):
    with served(SPEC(attempts=2, fallbacks=fallbacks)) as world:
        at(world, AFTER)
        assert asked(world, make) == "small"
        assert asked(world, make, "fail") == "next"
        first, second = world.settled(2)
    assert (first.reason, first.side) == ("policy", None)
    assert (second.reason, second.attempts) == ("fallback", 2)
    assert "big-model" not in {request.model for request in fake.requests}


def test_a_candidate_may_be_the_successor(served, make):
    split = Policy(kind="split", incumbent="gpt", candidate="llama", segments=("easy",))
    with served(SPEC(successor="small"), split) as world:
        at(world, BEFORE)
        assert asked(world, make, x_crossgrade_segment="hard") == "big"
        at(world, AFTER)
        assert asked(world, make, x_crossgrade_segment="hard") == "small"
        assert asked(world, make, x_crossgrade_segment="easy") == "small"


def test_nothing_is_compared_with_a_model_that_is_gone(served, make, fake):
    with served(SPEC(shadow=Shadow(rate=1.0))) as world:
        at(world, BEFORE)
        asked(world, make)
        until(lambda: len(world.broker.pairs) == 1)
        at(world, AFTER)
        fake.requests.clear()
        for _ in range(3):
            asked(world, make)
        world.settled(4)
        until(lambda: not world.worker.context.shadows._calls)
        assert len(world.broker.pairs) == 1
    assert {request.model for request in fake.requests} == {"small-model"}


def test_its_target_may_be_missing_and_the_route_table_still_holds(served, make):
    with served(names=("small", "next"), end=datetime(2026, 1, 1, tzinfo=UTC)) as world:
        assert asked(world, make) == "small"
        assert world.worker.context.routes.by_name["support"].gone == "big"


def test_a_configured_incumbent_comes_before_the_successor(served, make):
    """The route table may have an older incumbent than the configuration."""
    with served(SPEC(incumbent="small"), KEEP) as world:
        at(world, AFTER)
        assert asked(world, make) == "small"


def test_a_direct_request_gets_the_model_that_it_names(served, make):
    with served() as world:
        at(world, AFTER)
        assert world.post(make.chat("big")).headers["x-crossgrade-target"] == "big"
        assert world.post(make.chat("next")).headers["x-crossgrade-target"] == "next"


def test_an_offer_that_only_a_candidate_needs_must_be_there():
    route = Route(
        name="support", policy=SWITCH, targets=TARGETS, valid_until=AFTER + timedelta(days=1), verdict_id="v"
    )
    table = RouteTable(version=1, routes=(route,))
    with raises_code("route-offer-missing", "small"):
        check_offers(table, [SPEC()], {}, {"big", "small"})


@pytest.mark.parametrize("candidate", [False, True])
def test_what_its_api_cannot_carry_is_refused_as_ever(run, make, fake, tmp_path, candidate):
    """No model of the client's own API is left, so the client is told; the incumbent is not asked again."""
    claude = {"provider": "anthropic", "dialect": "anthropic"}
    targets = [make.target(fake), *(make.target(fake, name, **claude) for name in ("small", "next"))]
    if candidate:
        route = Route(
            name="support",
            policy=SWITCH,
            targets=TARGETS,
            valid_until=AFTER + timedelta(days=1),
            verdict_id="v",
        )
        (tmp_path / "routes.json").write_bytes(route_table_bytes(RouteTable(version=1, routes=(route,))))
    with run(targets, [SPEC()], ends_at={"big": END.timestamp()}) as world:
        body = make.chat(logit_bias={"5": 1})
        assert world.post(body).headers["x-crossgrade-target"] == "big"
        at(world, AFTER)
        fake.requests.clear()
        answer = world.post(body)
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert names(answer.json["error"]["message"], "logit_bias")
        assert not fake.requests
