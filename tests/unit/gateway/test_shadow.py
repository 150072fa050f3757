"""Sampled copies to the other model of the policy."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crossgrade.domain import Price, RouteSpec, Shadow
from crossgrade.routing import Policy, Route, RouteTable, route_table_bytes
from crossgrade.testing import FakeProvider, Fault, Reply
from tests.unit.gateway.test_reservations import Lender
from tests.waiting import until

SWITCHED = RouteTable(
    version=1,
    routes=(
        Route(
            name="support",
            policy=Policy(kind="switch", incumbent="gpt", candidate="llama"),
            targets={"gpt": "big", "llama": "small"},
            valid_until=datetime.now(UTC) + timedelta(days=1),
            verdict_id="v1",
        ),
    ),
)


@pytest.fixture
def shadowed(run, make, fake, tmp_path):
    """Run a worker whose candidate answers, and whose incumbent is the given fake provider."""
    (tmp_path / "routes.json").write_bytes(route_table_bytes(SWITCHED))

    def start(incumbent, shadow, **fields):
        targets = [make.target(incumbent, **fields), make.target(fake, "small")]
        return run(targets, [RouteSpec(name="support", incumbent="big", shadow=shadow)])

    return start


def pairs(world, count=1):
    for _ in range(3_000):
        if len(world.broker.pairs) >= count:
            return world.broker.pairs
        time.sleep(0.01)
    raise AssertionError("no pair came")


@pytest.mark.parametrize("stream", [False, True])
def test_a_pair_holds_both_answers_as_they_came(shadowed, make, fake, stream):
    with FakeProvider("hello from the old one") as old, shadowed(old, Shadow(rate=1.0)) as world:
        body = make.chat(stream=stream)
        answer = world.post(body)
        assert answer.headers["x-crossgrade-target"] == "small"
        (pair,) = pairs(world)
        assert pair.request == body
        assert pair.served_by == "candidate"
        assert (pair.candidate.target, pair.incumbent.target) == ("small", "big")
        assert b"hello" in pair.candidate.body
        assert b"old" in pair.incumbent.body
        assert pair.incumbent.stream is stream
        assert pair.verdict_id == "v1"
        assert (old.requests[0].model, fake.requests[0].model) == ("big-model", "small-model")
        records = world.settled(2)
        assert [record.shadow for record in records] == [False, True]
        assert records[1].output_tokens == 5


def test_a_copy_is_no_call_of_the_run(shadowed, make, fake):
    with FakeProvider() as old, shadowed(old, Shadow(rate=1.0)) as world:
        assert world.post(make.chat(), "/run/r-1/v1/chat/completions").status == 200
        (pair,) = pairs(world)
        assert pair.endpoint == "/v1/chat/completions"
        assert [record.run for record in world.settled(2)] == ["r-1", None]


@pytest.mark.parametrize(("rate", "shadow"), [(1.0, "big"), (0.0, None)])
def test_the_ledger_says_where_a_copy_of_a_request_goes(run, make, fake, tmp_path, rate, shadow):
    (tmp_path / "routes.json").write_bytes(route_table_bytes(SWITCHED))
    route = RouteSpec(name="support", incumbent="big", shadow=Shadow(rate=rate), ledger="require")
    with run([make.target(fake), make.target(fake, "small")], [route]) as world:
        assert world.post(make.chat()).status == 200
        until(lambda: len(world.broker.entries) == 2)
        assert world.broker.entries[1].detail.get("shadow") == shadow


def test_a_named_conversation_is_known_by_a_digest(shadowed, make):
    bodies = {
        "header": make.chat(user="1"),
        "field": make.chat(conversation="with Ann Smith"),
        "other": make.chat(conversation={"id": "with Bob"}),
        "unnamed": make.chat(prompt_cache_key="of all traffic"),
    }
    with FakeProvider() as old, shadowed(old, Shadow(rate=1.0)) as world:
        world.post(bodies["header"], x_crossgrade_conversation="with Ann Smith")
        for name in ("field", "other", "unnamed"):
            world.post(bodies[name])
        conversation_of = {pair.request: pair.conversation for pair in pairs(world, 4)}
    found = {name: conversation_of[body] for name, body in bodies.items()}
    assert found["header"] == found["field"] != found["other"]
    assert len(found["other"]) == 32
    assert found["unnamed"] is None


def test_a_shadow_that_fails_is_kept_as_that_and_harms_nobody(shadowed, make):
    with FakeProvider(Fault("server_error")) as old, shadowed(old, Shadow(rate=1.0, max_parallel=8)) as world:
        for _ in range(7):
            assert world.post(make.chat()).status == 200
        assert pairs(world, 7)[0].incumbent.error == "upstream"
        assert not world.worker.context.targets["big"].breaker.is_open


def _skipped(world):
    deltas = world.on_loop(world.worker.metrics.take)
    return {labels[1]: values[0] for name, labels, values in deltas if name.endswith("shadow.skipped")}


def test_what_is_not_shadowed_is_counted(shadowed, make):
    with FakeProvider(Reply("x", delay_s=0.2)) as old:
        with shadowed(old, Shadow(rate=1.0, max_parallel=1)) as world:
            world.post(make.chat(), x_crossgrade_no_shadow="1")
            world.post(make.chat())
            world.post(make.chat())
            world.on_loop(lambda: None)
            assert _skipped(world) == {"opt_out": 1, "parallel": 1}
        with shadowed(old, Shadow(rate=1.0, tiers=("consented",))) as world:
            world.post(make.chat())
            world.on_loop(lambda: None)
            assert _skipped(world) == {"tier": 1}
        with shadowed(old, Shadow(rate=1.0, max_usd_per_day=1.0)) as world:
            world.post(make.chat())
            world.on_loop(lambda: None)
            assert _skipped(world) == {"unpriced": 1}
        price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1))
        with shadowed(old, Shadow(rate=1.0, max_usd_per_day=1e-9), price=price) as world:
            world.post(make.chat(max_tokens=9))
            world.on_loop(lambda: None)
            assert _skipped(world) == {"budget": 1}


CAPPED = Shadow(rate=1.0, max_usd_per_day=1.0)
DEAR = Price(input_per_mtok=Decimal(0), output_per_mtok=Decimal(2))


@pytest.mark.parametrize(("fields", "tokens"), [({}, 32_768), ({"max_tokens": 500}, 500), ({"n": 3}, 98_304)])
def test_a_copy_reserves_what_the_other_models_answer_may_cost(shadowed, make, fields, tokens):
    with FakeProvider(Fault("hang")) as old, shadowed(old, CAPPED, price=DEAR) as world:
        Lender(world)
        world.post(make.chat(**fields))
        until(lambda: old.requests)
        (counter,) = world.worker.limits._counters.values()
        assert world.on_loop(lambda: counter.lease.reserved) == tokens * 2_000


def test_a_copy_teaches_the_size_of_the_other_models_answers(shadowed, make):
    with FakeProvider(Reply("word", output_tokens=40_000)) as old, shadowed(old, CAPPED, price=DEAR) as world:
        Lender(world)
        sizes = world.worker.context.routes.by_name["support"].sizes
        world.post(make.chat())
        pairs(world)
        assert {name: size.tokens for name, size in sizes.items()} == {"big": 40_000}
        world.post(make.chat(max_tokens=10))
        pairs(world, 2)
        assert world.worker.context.targets["big"].ignored == {"max_tokens"}


def test_a_copy_whose_stream_states_no_usage_counts_what_was_reserved(shadowed, make):
    with FakeProvider(Reply("word", usage={})) as old, shadowed(old, CAPPED, price=DEAR) as world:
        lender = Lender(world)
        world.post(make.chat(stream=True, max_tokens=500))
        pairs(world)
        assert lender.spent() == 500 * 2_000


@pytest.mark.parametrize(
    ("region", "share", "copied"), [(None, 0.0, 0), ("us", 0.0, 0), ("eu", 0.0, 1), (None, 1.0, 1)]
)
def test_a_candidate_outside_of_the_regions_gets_no_copy(run, make, fake, tmp_path, region, share, copied):
    """The incumbent has all requests in any case: it is asked for comparison wherever it is."""
    route = replace(SWITCHED.routes[0], share=share)
    (tmp_path / "routes.json").write_bytes(route_table_bytes(RouteTable(version=1, routes=(route,))))
    spec = RouteSpec(name="support", incumbent="big", shadow=Shadow(rate=1.0, regions=("eu",)))
    with run([make.target(fake), make.target(fake, "small", region=region)], [spec]) as world:
        assert world.post(make.chat()).status == 200
        world.on_loop(lambda: None)
        if copied:
            assert pairs(world)
        else:
            assert _skipped(world) == {"region": 1}
            assert len(fake.requests) == 1


def test_a_candidate_that_may_not_be_used_gets_no_copy(run, make, fake, tmp_path):
    (tmp_path / "routes.json").write_bytes(route_table_bytes(SWITCHED))
    spec = RouteSpec(name="support", incumbent="big", shadow=Shadow(rate=1.0))
    small = make.target(fake, "small", blocked="retention-unknown")
    with run([make.target(fake), small], [spec]) as world:
        assert world.post(make.chat()).headers["x-crossgrade-target"] == "big"
        world.on_loop(lambda: None)
        assert _skipped(world) == {"terms": 1}
        assert world.settled()[0].reason == "terms"


def test_nothing_is_shadowed_at_rate_zero_or_without_a_candidate(shadowed, run, make, fake, tmp_path):
    with FakeProvider() as old:
        with shadowed(old, Shadow(rate=0.0)) as world:
            world.post(make.chat())
        (tmp_path / "routes.json").unlink()
        with shadowed(old, Shadow(rate=1.0)) as world:
            world.post(make.chat())
            world.on_loop(lambda: None)
            assert not world.broker.pairs
