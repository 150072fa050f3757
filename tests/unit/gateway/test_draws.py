"""Audits of a growing route: what is drawn is decided by a hash, and every draw leaves one pair."""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

import msgspec
import pytest

from crossgrade.domain import AccessRule, Price, RouteSpec, Shadow
from crossgrade.errors import UpstreamError
from crossgrade.gateway import Keep, ShadowAnswer, ShadowPair
from crossgrade.gateway._broker import MOST_PAIRS_BYTES, BrokerLink
from crossgrade.gateway._limits import Limits
from crossgrade.gateway._messages import Done
from crossgrade.gateway._metrics import Metrics
from crossgrade.gateway._targets import note_failure
from crossgrade.routing import Growth, Policy, Route, Router, RouteTable, route_table_bytes
from crossgrade.routing.router import threshold_name
from crossgrade.testing import FakeProvider, Fault, Reply
from crossgrade.testing._script import FaultKind
from tests.unit.routing.test_router import router

NOW = datetime.now(UTC)
KINDS = tuple(kind for kind in get_args(FaultKind) if kind != "drip")  # which is an answer, only slow
TABLE = Router(stake=0.9, segments={"easy": 0.2, "hard": -0.2}, thresholds=(0.1, -0.3))
"""A router of segments alone, which reads no text."""


def growing(scorer=TABLE, *, is_held=False, least=None, until=NOW + timedelta(days=30), **policy):
    least = scorer.thresholds[0] if least is None else least
    return Route(
        name="support",
        policy=Policy(
            kind="split", fact="score", incumbent="gpt", candidate="llama",
            segments=(threshold_name(least),), least_score=least, **policy,
        ),
        targets={"gpt": "big", "llama": "small"},
        valid_until=until,
        verdict_id="v1",
        router=scorer,
        growth=Growth(start=1, since=NOW, rate=0.05, is_held=is_held),
    )  # fmt: skip


@pytest.fixture
def grown(run, make, fake, tmp_path):
    """Run a worker on a growing route; `candidate` are fields of the candidate's target."""

    def start(route=None, shadow=None, old=None, new=None, incumbent=None, access=None, **candidate):
        table = RouteTable(version=1, routes=(route or growing(),))
        (tmp_path / "routes.json").write_bytes(route_table_bytes(table))
        targets = [
            make.target(old or fake, **(incumbent or {})),
            make.target(new or fake, "small", **candidate),
        ]
        shadow, gated = shadow or Shadow(rate=1.0), access is not None
        spec = RouteSpec(name="support", incumbent="big", shadow=shadow, attempts=1, gated=gated)
        return run(targets, [spec], access=access or ())

    return start


def pairs(world, count=1):
    for _ in range(3_000):
        if len(world.broker.pairs) >= count:
            return world.broker.pairs
        time.sleep(0.01)
    raise AssertionError(f"{len(world.broker.pairs)} pairs, not {count}")


def _skipped(world):
    deltas = world.on_loop(world.worker.metrics.take)
    return {labels[1]: values[0] for name, labels, values in deltas if name.endswith("shadow.skipped")}


def settle(world, requests):
    """Wait until so many requests were served and their copies have ended; return the pairs."""
    shadows = world.worker.context.shadows
    for _ in range(3_000):
        served = sum(not record.shadow for record in world.records)
        world.on_loop(lambda: None)  # a copy begins a turn of the loop after its request's record
        if served >= requests and not world.on_loop(lambda: shadows._calls):
            return world.broker.pairs
        time.sleep(0.01)
    raise AssertionError(f"{len(world.records)} records")


@pytest.mark.parametrize(
    ("segment", "side", "score"), [("easy", "candidate", 0.2), ("hard", "incumbent", -0.2)]
)
def test_requests_on_both_sides_of_the_threshold_are_audited_with_their_scores(
    grown, make, segment, side, score
):
    with grown() as world:
        assert world.post(make.chat(), x_crossgrade_segment=segment).status == 200
        (pair,) = pairs(world)
    assert (pair.served_by, pair.score, pair.missed) == (side, score, None)
    assert pair.incumbent.body
    assert pair.candidate.body


@pytest.mark.parametrize(("segment", "allowed"), [("easy", "big"), ("hard", "big"), ("easy", "small")])
def test_a_draw_that_access_rules_keep_from_one_model_is_missed(grown, make, segment, allowed):
    with grown(access=(AccessRule(name="one", models=(allowed,)),)) as world:
        answer = world.post(make.chat(), x_crossgrade_segment=segment)
        assert answer.headers["x-crossgrade-target"] == allowed
        (pair,) = settle(world, 1)
        assert pair.missed == "access"
        assert not pair.incumbent.body
        assert not pair.candidate.body
        is_moved = segment == "easy" and allowed == "big"
        assert world.records[0].reason == ("access" if is_moved else "policy")
        assert _skipped(world) == {"access": 1}


def test_a_held_route_is_audited_and_moves_nothing(grown, make):
    with grown(growing(is_held=True)) as world:
        answer = world.post(make.chat(), x_crossgrade_segment="easy")
        assert answer.headers["x-crossgrade-target"] == "big"
        assert world.settled()[0].reason == "held"
        (pair,) = pairs(world)
        assert (pair.served_by, pair.score) == ("incumbent", 0.2)


def test_a_conversation_is_drawn_as_a_whole_at_the_rate_and_anew_each_day(grown, make):
    conversations, requests = 60, 3
    noon = datetime(2026, 11, 28, 12, tzinfo=UTC)
    route = growing(until=noon + timedelta(days=30))
    with grown(route, shadow=Shadow(rate=0.3, max_parallel=10_000)) as world:
        drawn = {}
        for day in (0, 1):
            world.worker.context.wall = (noon + timedelta(days=day)).timestamp
            world.broker.pairs.clear()
            for number in range(conversations * requests):
                named = {"x_crossgrade_conversation": f"c{number % conversations}"}
                answer = world.post(make.chat(seed=number), x_crossgrade_segment="easy", **named)
                assert answer.status == 200
            made = settle(world, (day + 1) * conversations * requests)
            drawn[day] = Counter(pair.conversation for pair in made)
            numbers = Counter(json.loads(pair.request)["seed"] % conversations for pair in made)
            drawn[day, "numbers"] = set(numbers)
            assert set(numbers.values()) == set(drawn[day].values()) == {requests}
            assert 9 <= len(drawn[day]) <= 27  # 18 expected; names and days are fixed here
            assert len(drawn[day]) == len(numbers)
    assert not set(drawn[0]) & set(drawn[1]), "a day's digest is of that day"
    assert drawn[0, "numbers"] != drawn[1, "numbers"]


@pytest.mark.parametrize(("scorer", "shared"), [(router(), True), (TABLE, False)], ids=["text", "segments"])
def test_an_unnamed_conversation_is_known_by_its_opening_where_the_router_reads_it(
    grown, make, scorer, shared
):
    first = [{"role": "user", "content": "an easy one"}]
    later = [*first, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "and then?"}]
    with grown(growing(scorer)) as world:
        for messages in (first, later):
            world.post(make.chat(messages=messages), x_crossgrade_segment="easy")
        found = [pair.conversation for pair in pairs(world, 2)]
    assert None not in found
    assert (len(set(found)) == 1) is shared


@pytest.mark.parametrize(
    ("route", "fields", "headers"),
    [
        (growing(max_bytes=20), {}, {"x_crossgrade_segment": "easy"}),
        (growing(plain_only=True), {"tools": []}, {"x_crossgrade_segment": "easy"}),
        (growing(until=NOW - timedelta(days=1)), {}, {"x_crossgrade_segment": "easy"}),
        (growing(until=NOW - timedelta(days=1)), {}, {"x_crossgrade_segment": "hard"}),
        (growing(), {"logit_bias": {"1": 1}}, {"x_crossgrade_segment": "easy"}),
        (growing(), {"logit_bias": {"1": 1}}, {"x_crossgrade_segment": "hard"}),
        (growing(), {}, {"x_crossgrade_segment": "unheard of"}),
        (growing(), {}, {}),
    ],
)
def test_what_can_never_move_is_not_drawn(grown, make, route, fields, headers):
    other_api = {"dialect": "anthropic"} if "logit_bias" in fields else {}
    fields = {"tools": [{"type": "function", "function": {"name": "f"}}]} if "tools" in fields else fields
    with grown(route, **other_api) as world:
        answer = world.post(make.chat(**fields), **headers)
        assert (answer.status, answer.headers["x-crossgrade-target"]) == (200, "big")
        assert settle(world, 1) == []


PRICE = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1))


def check_missed(world, code):
    (pair,) = settle(world, 1)
    assert pair.missed == code
    assert pair.score == 0.2
    assert pair.conversation
    assert pair.request == pair.incumbent.body == pair.candidate.body == b""
    assert (pair.incumbent.error, pair.incumbent.cost_usd) == (code, 0.0)
    assert _skipped(world) == {code: 1}


@pytest.mark.parametrize(
    ("code", "shadow", "headers", "fields"),
    [
        ("opt_out", {}, {"x_crossgrade_no_shadow": "1"}, {}),
        ("tier", {"tiers": ("consented",)}, {}, {}),
        ("too_large", {}, {}, {"pad": " " * 1_100_000}),
        ("unpriced", {"max_usd_per_day": 1.0}, {}, {}),
    ],
)
def test_a_draw_that_must_not_be_copied_is_missed(grown, make, code, shadow, headers, fields):
    with grown(shadow=Shadow(rate=1.0, **shadow)) as world:
        answer = world.post(make.chat(**fields), x_crossgrade_segment="easy", **headers)
        assert (answer.status, answer.headers["x-crossgrade-target"]) == (200, "small")
        check_missed(world, code)


def test_a_draw_beyond_the_budget_is_missed(grown, make):
    shadow = Shadow(rate=1.0, max_usd_per_day=1e-9)
    with grown(shadow=shadow, incumbent={"price": PRICE}) as world:
        world.post(make.chat(max_tokens=9), x_crossgrade_segment="easy")
        check_missed(world, "budget")


def test_a_draw_with_a_field_that_the_other_model_may_not_get_is_missed(grown, make):
    with grown(incumbent={"provider": "openrouter"}) as world:
        world.post(make.chat(models=["x"]), x_crossgrade_segment="easy")
        check_missed(world, "forbidden_field")


def test_a_draw_whose_other_model_is_failing_is_missed(grown, make):
    with grown() as world:
        error = UpstreamError("it fails", code="shadow-status")
        breaker = world.worker.context.targets["big"].breaker
        for _ in range(50):
            world.on_loop(lambda: note_failure(breaker, error, world.worker.context.now()))
        assert breaker.is_open
        world.post(make.chat(), x_crossgrade_segment="easy")
        check_missed(world, "unavailable")


def test_a_draw_whose_candidate_is_outside_of_the_regions_is_missed(grown, make):
    with grown(shadow=Shadow(rate=1.0, regions=("eu",)), region="us") as world:
        world.post(make.chat(), x_crossgrade_segment="hard")
        (pair,) = settle(world, 1)
        assert (pair.missed, pair.candidate.error, pair.served_by) == ("region", "region", "incumbent")


def test_draws_beyond_the_copies_in_flight_are_missed(grown, make):
    with (
        FakeProvider(Reply("x", delay_s=0.3)) as old,
        grown(shadow=Shadow(rate=1.0, max_parallel=1), old=old) as world,
    ):
        for _ in range(3):
            world.post(make.chat(), x_crossgrade_segment="easy")
        assert Counter(pair.missed for pair in settle(world, 3)) == {None: 1, "parallel": 2}


def test_an_answer_too_large_to_be_kept_is_missed(grown, make):
    with FakeProvider("x" * 1_200_000) as new, grown(new=new) as world:
        assert world.post(make.chat(), x_crossgrade_segment="easy").status == 200
        check_missed(world, "too_large")


def test_a_client_that_leaves_is_a_missed_draw(grown, make):
    with FakeProvider(Fault("hang")) as new, grown(new=new) as world:
        connection = world.connect()
        body = make.chat()
        head = world.head("/v1/chat/completions", len(body), x_crossgrade_segment="easy")
        connection.sendall(head + body)
        while not new.requests:
            time.sleep(0.01)
        connection.close()
        check_missed(world, "failed")


def test_a_worker_that_stops_records_the_copies_in_flight(grown, make):
    with FakeProvider(Fault("hang")) as old:
        with grown(old=old) as world:
            world.post(make.chat(), x_crossgrade_segment="easy")
            while not old.requests:
                time.sleep(0.01)
            assert not world.broker.pairs
        (pair,) = world.broker.pairs
    assert (pair.missed, pair.incumbent.cost_usd) == ("stopped", None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fails", ["incumbent", "candidate"])
def test_every_draw_leaves_one_pair_whatever_a_provider_does(grown, make, fails, stream):
    def answer(request):
        kind = str(request.json["messages"][0]["content"])
        return Fault(kind, size=3 << 20) if kind in KINDS else Reply("fine")

    said = [*KINDS, "fine"] * 2
    with FakeProvider(answer) as bad:
        named = {"old": bad} if fails == "incumbent" else {"new": bad}
        quick = {"timeout_s": 0.5}
        with grown(shadow=Shadow(rate=1.0, max_parallel=100), **named, incumbent=quick, **quick) as world:
            for kind in said:
                messages = [{"role": "user", "content": kind}]
                world.post(make.chat(messages=messages, stream=stream), x_crossgrade_segment="easy")
            made = settle(world, len(said))
            wanted = {record.id for record in world.records if not record.shadow}
    assert Counter(pair.request_id for pair in made) == dict.fromkeys(wanted, 1)
    missed = {pair.missed for pair in made}
    assert missed == ({None} if fails == "incumbent" else {None, "failed"}) | (missed & {"unavailable"})


def pair_of(size, missed=None):
    side = ShadowAnswer(model="m", target="t", dialect="openai", body=b"x" * size)
    return ShadowPair(
        route="support", request_id="r", at=0.0, endpoint="/v1/chat/completions", request=b"",
        served_by="incumbent", incumbent=side, candidate=side, missed=missed,
    )  # fmt: skip


def test_a_pair_without_room_is_replaced_by_a_missed_one_under_its_id():
    """While the broker is away, pairs wait; a large answer must not vanish where a small one would not."""
    metrics = Metrics((), 0)
    link = BrokerLink("nowhere", worker=0, limits=Limits(()), metrics=metrics)
    kept = []
    link.keep_pair(pair_of(MOST_PAIRS_BYTES // 3), kept.append)
    link.keep_pair(pair_of(MOST_PAIRS_BYTES // 3), kept.append, instead=lambda: pair_of(0, "not_kept"))
    link.keep_pair(pair_of(MOST_PAIRS_BYTES // 3), kept.append)
    first, second = (msgspec.json.decode(line, type=Keep).pair for line in link._asked.lines())
    assert (first.missed, second.missed, kept) == (None, "not_kept", [False])
    assert [(name, values[0]) for name, _, values in metrics.take()] == [("crossgrade.gateway.dropped", 1)]


def test_a_pair_that_the_store_refuses_is_replaced_once_under_its_id():
    link = BrokerLink("nowhere", worker=0, limits=Limits(()), metrics=Metrics((), 0))
    kept = []
    link.keep_pair(pair_of(9), kept.append, instead=lambda: pair_of(0, "not_kept"))
    (line,) = link._asked.lines()
    first = msgspec.json.decode(line, type=Keep)
    link._done(Done(first.number, error="it cannot be read"))
    (line,) = link._asked.lines()
    second = msgspec.json.decode(line, type=Keep)
    assert (second.id, second.pair.missed, kept) == (first.id, "not_kept", [])
    link._done(Done(second.number))
    assert (kept, link._asked.lines()) == ([True], [])
