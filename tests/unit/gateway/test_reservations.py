"""What a request reserves from a budget in dollars before its cost is known."""

import asyncio
import json
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from crossgrade.domain import Limit, Price, RouteSpec, ToolCall
from crossgrade.gateway import NANO, Ask, Deny, Grant
from crossgrade.gateway._routes import ANSWERS, Size
from crossgrade.testing import FakeProvider, Reply
from tests.unit.gateway.scripted import JSON_HEAD, raw_target, scripted

A_DOLLAR = Limit(scope="route", unit="usd", cap=1.0, window_s=2_592_000)
CALLERS = 64
LONG = 32_000


def price(output_per_mtok: float) -> Price:
    return Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(str(output_per_mtok)))


class Lender:
    """Lends to a worker as the broker does, up to the caps."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._limits = world.worker.limits
        self._spent: Counter[str] = Counter()
        self._lent: Counter[str] = Counter()
        self._limits.send = self._lend

    def _lend(self, ask: Ask) -> bool:
        unit = ask.lease.unit
        left = self._left(ask)
        loop = asyncio.get_running_loop()
        if left < ask.need:
            self._limits.recalled(ask.lease)
            left = self._left(ask)
        if left < ask.need:
            loop.call_soon(self._limits.denied, Deny(ask.lease, ask.need, 1.0))
        else:
            amount = max(ask.need, left // 8)
            self._lent[unit] += amount
            loop.call_soon(self._limits.granted, Grant(ask.lease, amount, ask.alone))
        return True

    def _left(self, ask: Ask) -> int:
        self._count()
        return ask.cap - self._spent[ask.lease.unit] - self._lent[ask.lease.unit]

    def _count(self) -> None:
        for each in self._limits.take_spends():
            self._spent[each.lease.unit] += each.spent
            self._lent[each.lease.unit] -= each.shrunk

    def spent(self, unit: str = "usd") -> float:
        """Return what was spent, in nano-dollars or units."""
        self._world.on_loop(self._count)
        return self._spent[unit]


def ask_at_once(
    world: Any, make: Any, body: bytes, count: int, path: str = "/v1/chat/completions"
) -> list[int]:
    """Send so many requests at once; return the statuses."""
    connections = [world.connect() for _ in range(count)]
    for connection in connections:
        connection.sendall(world.head(path, len(body)) + body)
    return [make.read_answer(connection).status for connection in connections]


@pytest.fixture
def long() -> Any:
    with FakeProvider(lambda _: Reply("word", input_tokens=10, output_tokens=LONG, delay_s=0.3)) as fake:
        yield fake


@pytest.mark.parametrize(
    "fields",
    [{}, {"max_output_tokens": 1}, {"max_tokens": 0}, {"max_tokens": LONG, "max_completion_tokens": 1}],
    ids=["none", "of another API", "zero", "two"],
)
def test_callers_without_a_bound_spend_about_the_cap(run, make, long, fields):
    with run([make.target(long, price=price(2))], limits=(A_DOLLAR,)) as world:
        lender = Lender(world)
        statuses = ask_at_once(world, make, make.chat(**fields), CALLERS)
        statuses += ask_at_once(world, make, make.chat(**fields), CALLERS)
        assert set(statuses) == {200, 429}
        assert 0.95 <= lender.spent() / NANO <= 1.05


def test_a_bound_counts_for_all_choices(run, make, fake):
    with run([make.target(fake, price=price(1_000))], limits=(A_DOLLAR,)) as world:
        Lender(world)
        body = {"model": "support", "prompt": "hi", "max_tokens": 100}
        codes = [
            world.post(json.dumps({**body, **fields}).encode(), "/v1/completions").status
            for fields in ({}, {"n": 11}, {"best_of": 11})
        ]
        assert codes == [200, 429, 429]


def test_a_budget_below_what_an_answer_may_cost_is_spent_by_one_at_a_time(run, make, long):
    """What is learned from a model's answers cannot be known before the first."""
    with run([make.target(long, price=price(200))], limits=(A_DOLLAR,)) as world:
        lender = Lender(world)
        assert world.post(make.chat()).status == 200
        assert world.post(make.chat()).status == 429
        assert lender.spent() / NANO == pytest.approx(6.4, rel=0.01)


def test_sizes_are_learned_for_each_model_and_route(run, make, fake):
    targets = [make.target(fake, price=price(2)), make.target(fake, "other", price=price(2))]
    routes = [RouteSpec(name="support", incumbent="big"), RouteSpec(name="sales", incumbent="big")]
    with run(targets, routes, limits=(A_DOLLAR,)) as world:
        Lender(world)
        route, sales = (world.worker.context.routes.by_name[name] for name in ("support", "sales"))
        assert world.post(make.chat()).status == 200
        assert len(world.settled()) == 1
        for _ in range(ANSWERS - 2):
            route.sizes["big"].learn(10)
        assert route.sizes["big"].tokens == 32_768
        assert world.post(make.chat()).status == 200
        assert len(world.settled(2)) == 2
        assert 10 <= route.sizes["big"].tokens < 1_000
        assert not sales.sizes
        for _ in range(3):
            world.post(make.chat("sales", max_tokens=1))
        assert not sales.sizes, "a bound that the caller sets teaches nothing"


def test_a_size_is_the_largest_of_the_last_answers():
    size = Size(32_768)
    size.learn(40_000)
    assert size.tokens == 40_000, "it rises at once"
    for tokens in (*[10] * (ANSWERS - 1), 900, *[10] * (ANSWERS - 2)):
        size.learn(tokens)
    assert size.tokens == 40_000
    size.learn(700)
    assert size.tokens == 900
    for _ in range(ANSWERS - 1):
        size.learn(10)
    assert size.tokens == 900
    size.learn(10)
    assert size.tokens == 10


def test_short_answers_of_others_do_not_let_callers_spend_more(run, make):
    def reply(request: Any) -> Reply:
        is_short = "brief" in json.dumps(request.json["messages"])
        return Reply(
            "word", input_tokens=10, output_tokens=5 if is_short else LONG, delay_s=0 if is_short else 0.3
        )

    with FakeProvider(reply) as fake, run([make.target(fake, price=price(2))], limits=(A_DOLLAR,)) as world:
        lender = Lender(world)
        brief = make.chat(messages=[{"role": "user", "content": "brief"}])
        assert {world.post(brief).status for _ in range(200)} == {200}
        assert set(ask_at_once(world, make, make.chat(), CALLERS)) == {200, 429}
        assert 0.8 <= lender.spent() / NANO <= 1.2


def test_the_context_window_bounds_what_is_expected_at_first(run, make, fake):
    with run([make.target(fake, context_tokens=2_000)]) as world:
        assert world.worker.context.targets["big"].unlearned == 2_000


VECTOR = json.dumps(
    {
        "object": "list",
        "data": [{"embedding": [0.125] * 3_000}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
    }
)


def test_embeddings_need_an_input_price_only_and_have_no_output(run, make):
    answer = JSON_HEAD + b"content-length: %d\r\n\r\n%b" % (len(VECTOR), VECTOR.encode())
    with scripted(answer) as (url, _):
        only = Price(input_per_mtok=Decimal(1), output_per_mtok=None)
        target = raw_target(url, price=only, key_env=None)
        limits = (A_DOLLAR, Limit(scope="route", unit="tokens", cap=1_000, window_s=2_592_000))
        with run([target], limits=limits) as world:
            lender = Lender(world)
            body = json.dumps({"model": "support", "input": "hello"}).encode()
            assert world.post(body, "/v1/embeddings").status == 200
            record = world.settled()[0]
            assert (record.cost_usd, record.cost_origin) == (pytest.approx(8e-6), "usage")
            assert (lender.spent("usd"), lender.spent("tokens")) == (8_000, 8)


@pytest.mark.parametrize("model", ["support", "big"], ids=["route", "direct"])
def test_a_model_without_a_price_is_refused_where_a_budget_in_dollars_holds(run, make, fake, model):
    limit = Limit(scope="key", unit="usd", cap=1.0, window_s=60)
    with run([make.target(fake)], limits=(limit,)) as world:
        Lender(world)
        answer = world.post(make.chat(model))
        assert (answer.status, answer.code) == (403, "unpriced_model")
        assert not fake.requests
    with run([make.target(fake)], limits=(limit,), unpriced="allow") as world:
        Lender(world)
        assert world.post(make.chat(model)).status == 200
    with run([make.target(fake)], limits=(Limit(scope="key", unit="requests", cap=9, window_s=60),)) as world:
        Lender(world)
        assert world.post(make.chat(model)).status == 200


def hang_up(
    world: Any, provider: FakeProvider, body: bytes, path: str = "/v1/chat/completions"
) -> int | None:
    """Send a request and close before its answer; return the status if it was refused, None if it was sent."""
    before, recorded = len(provider.requests), len(world.records)
    connection = world.connect()
    connection.sendall(world.head(path, len(body)) + body)
    for _ in range(1_000):
        if len(provider.requests) > before or len(world.records) > recorded:
            break
        time.sleep(0.005)
    connection.close()
    record = world.settled(recorded + 1)[recorded]
    return None if len(provider.requests) > before else record.status


def test_who_hangs_up_pays_the_estimate_even_if_less_than_it_was_left(run, make, hanging):
    with run([make.target(hanging, price=price(40))], limits=(A_DOLLAR,)) as world:
        lender = Lender(world)
        assert [hang_up(world, hanging, make.chat()) for _ in range(3)] == [None, 429, 429]
        assert lender.spent() / NANO == pytest.approx(1.31, rel=0.01)


def test_an_answer_without_a_bound_counts_in_tokens_as_it_does_in_dollars(run, make, hanging):
    limit = Limit(scope="route", unit="tokens", cap=20_000, window_s=2_592_000)
    with run([make.target(hanging)], limits=(limit,)) as world:
        lender = Lender(world)
        assert [hang_up(world, hanging, make.chat()) for _ in range(3)] == [None, 429, 429]
        assert lender.spent("tokens") == 32_768 + len(make.chat()) // 4


def test_a_rate_in_tokens_below_what_an_answer_may_have_lets_one_at_a_time_pass(run, make, fake):
    limit = Limit(scope="route", unit="tokens", cap=20_000, window_s=2_592_000)
    with run([make.target(fake)], limits=(limit,)) as world:
        Lender(world)
        assert [world.post(make.chat()).status for _ in range(3)] == [200, 200, 200]


COMPLETION = {"model": "support", "prompt": "hi", "max_tokens": 100}
MANY = [
    ({"prompt": ["hi"] * 11}, "completions"),
    ({"prompt": [[1, 2]] * 11}, "completions"),
    ({"prompt": ["hi"] * 3, "n": 2, "best_of": 4}, "completions"),
    ({"n": 11, "messages": []}, "chat/completions"),
]
FEW = [({}, "completions"), ({"prompt": list(range(99))}, "completions"), ({"prompt": []}, "completions")]


@pytest.mark.parametrize(
    ("fields", "path", "status"), [(*each, 429) for each in MANY] + [(*each, 200) for each in FEW]
)
@pytest.mark.parametrize("place", ["parsed", "first", "last"])
def test_a_bound_holds_for_each_answer(run, make, fake, fields, path, status, place):
    with run([make.target(fake, price=price(1_000))], limits=(A_DOLLAR,), body_parse_bytes=2_000) as world:
        Lender(world)
        padding = {} if place == "parsed" else {"user": 'a "b", [c' * 250}
        given = {**COMPLETION, **fields}
        model = given.pop("model")
        if place == "last":
            body = {**padding, **given, "model": model}
        else:
            body = {"model": model, **padding, **given}
        answer = world.post(json.dumps(body).encode(), f"/v1/{path}")
        assert answer.status == status, answer.body
        assert len(fake.requests) == (status == 200)


@pytest.mark.parametrize("place", ["parsed", "first", "last"])
def test_an_answer_without_a_bound_counts_for_all_choices(run, make, hanging, place):
    with run([make.target(hanging, price=price(2))], limits=(A_DOLLAR,), body_parse_bytes=2_000) as world:
        lender = Lender(world)
        padding = {} if place == "parsed" else {"user": "a" * 2_000}
        body = {"messages": [], **padding, "n": 16}
        body = {**body, "model": "support"} if place == "last" else {"model": "support", **body}
        assert [hang_up(world, hanging, json.dumps(body).encode()) for _ in range(2)] == [None, 429]
        assert lender.spent() / NANO == pytest.approx(16 * 0.0655, rel=0.01)


def test_what_is_learned_is_the_size_of_one_choice(run, make, fake):
    with run([make.target(fake, price=price(2))], limits=(A_DOLLAR,)) as world:
        Lender(world)
        size = world.worker.context.routes.by_name["support"].size(world.worker.context.targets["big"])
        size.tokens = 1
        tokens = world.post(make.chat(n=4)).json["usage"]["completion_tokens"]
        assert len(world.settled()) == 1
        assert size.tokens == -(-tokens // 4)


BROKEN = Reply(
    "",
    tool_calls=(ToolCall(id="c1", name="f", arguments='{"a":'),),
    finish_reason="tool_calls",
    input_tokens=10,
    output_tokens=20_000,
)
TOOL = {"name": "f", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    "spare", [BROKEN, Reply("fine", input_tokens=4, output_tokens=100)], ids=["broken", "fine"]
)
def test_every_attempt_that_was_answered_is_billed_and_recorded(run, make, spare):
    with FakeProvider(BROKEN) as fake, FakeProvider(spare) as other:
        targets = [make.target(fake, price=price(10)), make.target(other, "other", price=price(20))]
        routes = [RouteSpec(name="support", incumbent="big", fallbacks=("other",), attempts=2)]
        with run(targets, routes, limits=(A_DOLLAR,)) as world:
            lender = Lender(world)
            body = make.chat(tools=[TOOL], max_tokens=20_000)
            answer = world.post(body, "/v1/messages")
            assert answer.status == (502 if spare is BROKEN else 200)
            (record,) = world.settled()
            each = (spare.input_tokens or 0, spare.output_tokens or 0)
            cost = (10 + each[0] + 20_000 * 10 + each[1] * 20) / 1e6
            assert (record.attempts, record.cost_origin) == (2, "usage")
            assert (record.model, record.input_tokens, record.output_tokens) == ("other-model", *each)
            assert record.cost_usd == pytest.approx(cost)
            assert lender.spent() / NANO == pytest.approx(cost)
            if answer.status == 200:
                assert float(answer.headers["x-crossgrade-cost-usd"]) == pytest.approx(cost)


def test_a_stream_that_was_not_asked_for_its_usage_counts_what_was_reserved(run, make, fake):
    limit = Limit(scope="route", unit="tokens", cap=20_000, window_s=2_592_000)
    with run([make.target(fake)], limits=(limit,), body_parse_bytes=2_000) as world:
        lender = Lender(world)
        body = make.chat(stream=True, max_tokens=5_000, user="a" * 2_000)
        assert world.post(body).status == 200
        assert (world.settled()[0].error, world.records[0].output_tokens) == (None, None)
        assert lender.spent("tokens") == 5_000 + len(body) // 4


def test_a_bound_that_a_target_ignored_is_not_believed_again(run, make, long):
    limit = Limit(scope="key", unit="usd", cap=1.0, window_s=2_592_000)
    with run([make.target(long, price=price(2))], limits=(limit,)) as world:
        lender = Lender(world)
        body = make.chat(max_completion_tokens=1)
        assert world.post(body).status == 200
        assert len(world.settled()) == 1
        assert world.worker.context.targets["big"].ignored == {"max_completion_tokens"}
        assert set(ask_at_once(world, make, body, CALLERS)) == {200, 429}
        assert 0.8 <= lender.spent() / NANO <= 1.2


def test_a_bound_that_is_exceeded_by_little_is_still_believed(run, make):
    with FakeProvider(Reply("word", input_tokens=10, output_tokens=110)) as fake:
        limit = Limit(scope="key", unit="tokens", cap=10_000, window_s=2_592_000)
        with run([make.target(fake)], limits=(limit,)) as world:
            Lender(world)
            assert world.post(make.chat(max_tokens=100)).status == 200
            assert len(world.settled()) == 1
            assert not world.worker.context.targets["big"].ignored
