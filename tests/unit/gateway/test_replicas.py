"""Replicas share a model's requests by weight, keep a conversation, and stand in for one another."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from crossgrade.domain import Price, RouteSpec, Shadow
from crossgrade.identity import KeyRecord, KeySecret, keyring_bytes, new_key
from crossgrade.routing import Policy, Route, RouteTable, by_weight, route_table_bytes
from crossgrade.testing import FakeProvider, Fault


def within(share: float, n: int) -> range:
    """Return counts that a binomial leaves less than once in a million runs (five deviations)."""
    half = 5 * (n * share * (1 - share)) ** 0.5
    return range(int(n * share - half), int(n * share + half) + 2)


def test_units_are_spread_by_weight_and_stay_where_they_are() -> None:
    weights = {"a": 5.0, "b": 3.0, "c": 2.0, "never": 0.0}
    orders = {f"user {number}": by_weight(f"user {number}", weights) for number in range(4_000)}
    first = Counter(order[0] for order in orders.values())
    assert all(first[name] in within(weight / 10, 4_000) for name, weight in weights.items())
    assert all(order[-1] == "never" for order in orders.values())
    after_a = Counter(order[1] for order in orders.values() if order[0] == "a")
    assert after_a["b"] in within(3 / 5, first["a"]), "those of one that is gone go on by weight too"
    without = {name: weight for name, weight in weights.items() if name != "a"}
    for unit, order in orders.items():
        assert by_weight(unit, without) == [name for name in order if name != "a"]


@pytest.fixture
def twice(run, make):
    """Run a worker on the model `big`, at two addresses, and `small`."""
    down = set()

    def at(address):
        return FakeProvider(lambda request: Fault("server_error") if address in down else address)

    with at("one") as one, at("two") as two, FakeProvider("small") as small:

        def start(spec=None, weights=(3.0, 1.0), **serving):
            targets = [
                make.target(
                    one, weight=weights[0], price=Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1))
                ),
                make.target(
                    two,
                    "big-2",
                    weight=weights[1],
                    replica_of="big",
                    price=Price(input_per_mtok=Decimal(3), output_per_mtok=Decimal(3)),
                ),
                make.target(small, "small"),
            ]
            spec = spec or RouteSpec(name="support", incumbent="big", fallbacks=("small",))
            return run(targets, [spec], **serving)

        start.down = down
        yield start


def ask(world, make, number, **fields):
    return world.post(make.chat(messages=[{"role": "user", "content": f"question {number}"}], **fields))


def test_weights_are_obeyed_and_a_conversation_keeps_its_replica(twice, make):
    with twice() as world:
        seen = Counter()
        for number in range(200):
            answer = ask(world, make, number)
            seen[answer.headers["x-crossgrade-target"]] += 1
        assert seen["big-2"] in within(0.25, 200)
        for number in range(20):
            first = {"role": "user", "content": f"question {number}"}
            longer = [first, {"role": "assistant", "content": "…"}, {"role": "user", "content": "and?"}]
            picked = {
                world.post(make.chat(messages=messages)).headers["x-crossgrade-target"]
                for messages in ([first], longer, longer)
            }
            assert len(picked) == 1
        records = world.settled(260)
        assert {record.reason for record in records} == {"keep"}
        assert {record.side for record in records} == {"incumbent"}
        costs = {target: {r.cost_usd for r in records if r.target == target} for target in ("big", "big-2")}
        assert max(costs["big-2"]) == pytest.approx(3 * max(costs["big"])), "each at its own price"


def test_without_stickiness_every_request_is_drawn_by_itself(twice, make):
    with twice(RouteSpec(name="support", incumbent="big", sticky="none"), weights=(1.0, 1.0)) as world:
        seen = Counter(ask(world, make, 0).headers["x-crossgrade-target"] for _ in range(60))
        assert seen["big"] in within(0.5, 60)


def test_a_replica_takes_over_before_the_fallback(twice, make):
    with twice() as world:
        twice.down.add("one")
        for number in range(30):
            assert ask(world, make, number).headers["x-crossgrade-target"] == "big-2"
        assert world.worker.context.targets["big"].breaker.is_open
        assert not world.worker.context.targets["big-2"].breaker.is_open
        assert {record.reason for record in world.settled(30)} == {"keep"}, (
            "the model that was picked answered"
        )
        twice.down.add("two")
        assert ask(world, make, 0).headers["x-crossgrade-target"] == "small"
        assert world.settled(31)[-1].reason == "fallback"


def test_a_candidate_s_replicas_carry_its_certificate(twice, make, tmp_path):
    """The policy names the model; which address answers changes neither side, verdict nor the shadow's pair."""
    policy = Policy(kind="switch", incumbent="gpt", candidate="llama")
    route = Route(
        name="support",
        policy=policy,
        targets={"gpt": "small", "llama": "big"},
        valid_until=datetime.now(UTC) + timedelta(days=1),
        verdict_id="v1",
    )
    (tmp_path / "routes.json").write_bytes(route_table_bytes(RouteTable(version=1, routes=(route,))))
    spec = RouteSpec(name="support", incumbent="small", shadow=Shadow(rate=1.0, max_parallel=100))
    with twice(spec, weights=(1.0, 1.0)) as world:
        for number in range(30):
            ask(world, make, number)
        records = [record for record in world.settled(60) if not record.shadow]
        assert {record.target for record in records} == {"big", "big-2"}
        assert {(record.side, record.verdict_id, record.reason) for record in records} == {
            ("candidate", "v1", "policy")
        }
        assert {(pair.candidate.model, pair.candidate.target) for pair in world.broker.pairs} == {
            ("big-model", "big")
        }


def test_a_replica_asked_for_by_name_is_under_its_routes_rules(twice, make, tmp_path):
    fresh = new_key()
    now = datetime.now(UTC)
    secrets = (KeySecret(digest=fresh.digest, created_at=now),)
    record = KeyRecord(id=fresh.id, name="a", secrets=secrets, created_at=now, tier="free")
    (tmp_path / "keys.json").write_bytes(keyring_bytes([record]))
    spec = RouteSpec(name="support", incumbent="big", tiers=("paid",))
    with twice(spec, open_on_loopback=False) as world:
        world.key = fresh.text
        for model in ("support", "big", "big-2"):
            assert world.post(make.chat(model)).status == 403
