"""What a caller cannot do: spend around a limit by asking another way."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crossgrade.domain import Limit, RouteSpec
from crossgrade.gateway._broker import BrokerLink
from crossgrade.identity import Principal
from crossgrade.testing import FakeProvider, Reply
from tests.unit.gateway.test_reservations import A_DOLLAR, BROKEN, TOOL, Lender, price
from tests.unit.serve.driving import Machine
from tests.waiting import until

DAY = 86_400
LIMITS = (
    Limit(scope="route", match="support", unit="usd", cap=10, window_s=DAY),
    Limit(scope="route", match="sales", unit="usd", cap=10, window_s=DAY),
    Limit(scope="key", unit="requests", cap=10, window_s=DAY),
    Limit(scope="team", unit="usd", cap=1e300, window_s=DAY),
)


@pytest.fixture
def context(run, make, fake):
    routes = [
        RouteSpec(name="support", incumbent="big"),
        RouteSpec(name="sales", incumbent="big", tiers=("gold",)),
    ]
    with run([make.target(fake), make.target(fake, "spare")], routes, limits=LIMITS) as world:
        yield world.worker.context


@pytest.mark.parametrize(
    ("who", "asked", "counted"),
    [
        (Principal(id="k"), "support", ["support", "k"]),
        (Principal(id="k"), "big", ["k", "support"]),
        (Principal(id="k", tier="gold", routes=("sales",)), "big", ["k", "sales"]),
        (Principal(id="k"), "spare", ["k"]),
    ],
)
def test_a_target_asked_for_by_its_own_name_counts_for_the_route_it_is_reached_by(
    context, who, asked, counted
):
    permit = context.permit(who, context.routes.find(None, asked))
    assert [counter.match for counter in permit.counters] == counted


def test_a_cap_above_what_can_be_counted_is_as_good_as_none(context):
    permit = context.permit(Principal(id="k", team="blue"), context.routes.find(None, "support"))
    (cap,) = (counter.cap for counter in permit.counters if counter.scope == "team")
    assert cap.bit_length() <= 62


@pytest.fixture
def lent(tmp_path_factory) -> Iterator[Callable[[Any], Callable[[], float]]]:
    """Return a function that lets a worker borrow from a broker of its own; it returns what reads the spend.

    The spend is that of the budget in dollars, as the broker knows it once it has heard of everything.
    """
    made: list[Machine] = []

    def lend(world: Any) -> Callable[[], float]:
        limits = world.worker.limits
        machine = Machine(tmp_path_factory.mktemp("m"), dict(os.environ), limits._configured)
        made.append(machine)
        machine.start()
        machine.wait()
        link = BrokerLink(
            str(machine.folder / "k.sock"), worker=0, limits=limits, metrics=world.worker.metrics
        )
        spent: list[int] = []
        take = limits.take_spends

        def note() -> Any:
            found = take()
            spent.extend(each.spent for each in found if each.lease.unit == "usd")
            return found

        limits.take_spends = note
        world.on_loop(link.start)
        until(lambda: link.connected)

        def read() -> float:
            asyncio.run_coroutine_threadsafe(link.close(), world.loop).result(10)
            return sum(spent) / 1e9

        return read

    yield lend
    for machine in made:
        machine.end()


def test_answers_that_cannot_be_used_spend_a_cap_and_no_more(run, make, lent):
    """Each request makes two attempts of $0.20, and reserves for one of them."""
    with FakeProvider(BROKEN) as fake:
        route = RouteSpec(name="support", incumbent="big", attempts=2)
        with run([make.target(fake, price=price(10))], [route], limits=(A_DOLLAR,)) as world:
            read = lent(world)
            statuses: list[int] = []
            for _ in range(20):
                body = make.chat(tools=[TOOL], max_tokens=20_000)
                status = world.post(body, "/v1/messages").status
                statuses += [] if status == 503 else [status]  # the broker, a process, was late to answer
                if status == 429:
                    break
            assert statuses == [502, 502, 429]
            assert read() == pytest.approx(0.8, rel=0.01)


_NESTED = b'{"model":"support","messages":[],"metadata":{"stream_options":{"include_usage":false}},'
TRICKS = {
    "before": _NESTED + b'"stream_options":{"include_usage":false},"stream":true}',
    "after": b'{"stream_options":{"include_usage":false},"stream":true,' + _NESTED[1:-1] + b"}",
    "escaped": _NESTED + b'"stream\\u005foptions":{"include_usage":false},"stream":true}',
    "a text": b'{"model":"support","messages":[],"stop":["stream_options"],"stream":true,"stream_options":null}',
    "beside a field that is there twice": _NESTED
    + b'"x":1,"stream_options" : {"include_usage":false} ,"x":2,"stream":true}',
    "twice": b'{"model":"support","stream":true,"stream_options":{"include_usage":false,"include_usage":false}}',
}


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("padding", [0, 2_000])
def test_a_stream_is_asked_for_its_usage_whatever_else_is_called_so(run, make, fake, trick, padding):
    body = TRICKS[trick][:-1] + b',"user":"%b"}' % (b"a" * padding)
    with run([make.target(fake)]) as world:
        answer = world.post(body)
        assert answer.status == 200, answer.body
        (record,) = world.settled()
    (received,) = fake.requests
    assert received.json["stream_options"] == {"include_usage": True}
    assert received.json == {
        **json.loads(body), "model": "big-model", "stream_options": {"include_usage": True}
    }  # fmt: skip
    assert (record.output_tokens, record.cost_origin) == (4, "unknown")
    assert b"prompt_tokens" not in answer.body, "the client did not ask for it"


def test_a_stream_without_usage_counts_at_least_what_was_reserved(run, make):
    limit = Limit(scope="route", unit="tokens", cap=20_000, window_s=2_592_000)
    with (
        FakeProvider(Reply("a few words", usage={})) as fake,
        run([make.target(fake)], limits=(limit,)) as world,
    ):
        lender = Lender(world)
        body = make.chat(stream=True, max_tokens=5_000)
        assert world.post(body).status == 200
        assert world.settled()[0].output_tokens is None
        assert lender.spent("tokens") == 5_000 + len(body) // 4
