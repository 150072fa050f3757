"""What a request costs whose first attempt was answered, and could not be used."""

from decimal import Decimal
from typing import Any

import pytest

from crossgrade.domain import Limit, Price, RouteSpec
from crossgrade.gateway.settings import Target
from crossgrade.testing import FakeProvider, Reply
from tests.unit.gateway.scripted import JSON_HEAD, SSE_HEAD, raw_target, scripted
from tests.unit.gateway.test_reservations import BROKEN, TOOL, Lender

PRICE = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(1))
TOKENS = Limit(scope="route", unit="tokens", cap=1e6, window_s=2_592_000)
FINE = Reply("fine", input_tokens=4, output_tokens=100)
MOST = 5_000


def raw(url: str) -> Target:
    return raw_target(url, price=PRICE, key_env=None)


def served(run: Any, make: Any, first: Target, spare: FakeProvider, **fields: Any) -> Any:
    """Run a worker whose route asks the first target, then the other, which has these fields."""
    other = make.target(spare, "other", price=PRICE, **fields)
    route = RouteSpec(name="support", incumbent=first.name, fallbacks=("other",), attempts=2)
    return run([first, other], [route], limits=(TOKENS,))


ERROR = b'{"error":{"message":"busy","type":"overloaded_error"}}'
UNUSABLE = {
    "cut": JSON_HEAD + b'content-length: 500\r\n\r\n{"id":',
    "no JSON": JSON_HEAD + b"content-length: 5\r\n\r\n{half",
    "too large": JSON_HEAD + b"content-length: %d\r\n\r\n%b" % (9 << 20, b" " * (9 << 20)),
    "badly compressed": JSON_HEAD + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nwrong",
    "a silent stream": SSE_HEAD,
}
NO_ANSWER = {
    "an error": JSON_HEAD + b"content-length: %d\r\n\r\n%b" % (len(ERROR), ERROR),
    "an error in a stream": SSE_HEAD + b"data: " + ERROR + b"\n\n",
    "a page": b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
    "a status": b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", [*UNUSABLE, *NO_ANSWER])
def test_an_attempt_that_a_model_answered_counts_even_if_its_answer_cannot_be_read(run, make, kind):
    answer = {**UNUSABLE, **NO_ANSWER}[kind]
    with scripted(answer) as (url, _), FakeProvider(FINE) as fake, served(run, make, raw(url), fake) as world:
        lender = Lender(world)
        body = make.chat(max_tokens=MOST, stream=SSE_HEAD in answer)
        assert world.post(body, "/v1/messages").status == 200
        (record,) = world.settled()
        assert (record.attempts, record.model, record.output_tokens) == (2, "other-model", 100)
        estimate = len(body) // 4 + MOST if kind in UNUSABLE else 0
        assert lender.spent("tokens") == 104 + estimate
        assert record.cost_usd == (None if kind in UNUSABLE else pytest.approx(104e-6))


def test_an_attempt_without_an_answer_counts_what_was_reserved_beside_what_was_wasted(run, make, hanging):
    slow = {"timeout_s": 0.3}
    with FakeProvider(BROKEN) as fake, served(run, make, make.target(fake), hanging, **slow) as world:
        lender = Lender(world)
        body = make.chat(max_tokens=20_000, tools=[TOOL])
        assert world.post(body, "/v1/messages").status == 504
        assert world.settled()[0].cost_usd is None
        assert lender.spent("tokens") == 20_010 + len(body) // 4 + 20_000


def test_a_status_of_one_attempt_says_nothing_of_the_next(run, make, hanging):
    slow = {"timeout_s": 0.3}
    with scripted(NO_ANSWER["a status"]) as (url, _), served(run, make, raw(url), hanging, **slow) as world:
        lender = Lender(world)
        body = make.chat(max_tokens=MOST)
        assert world.post(body).status == 504
        assert world.settled()[0].cost_usd is None
        assert lender.spent("tokens") == len(body) // 4 + MOST


@pytest.fixture
def wasted(run, make) -> Any:
    """Run a worker whose first target's answer is broken."""
    with FakeProvider(BROKEN) as fake, FakeProvider(FINE) as spare:  # noqa: SIM117  # too long for one line
        with served(run, make, make.target(fake), spare) as world:
            Lender(world)
            yield world


def test_a_bound_that_a_wasted_answer_ignored_is_not_believed_again(wasted, make):
    assert wasted.post(make.chat(max_tokens=100, tools=[TOOL]), "/v1/messages").status == 200
    assert len(wasted.settled()) == 1
    targets = wasted.worker.context.targets
    assert (targets["big"].ignored, targets["other"].ignored) == ({"max_tokens"}, frozenset())


def test_every_answer_without_a_bound_teaches_the_size_of_its_own_target(wasted, make):
    route, targets = wasted.worker.context.routes.by_name["support"], wasted.worker.context.targets
    for target in targets.values():
        route.size(target).tokens = 1
        target.ignored = frozenset({"max_tokens"})  # without a bound for all that is known
    assert wasted.post(make.chat(max_tokens=1, tools=[TOOL]), "/v1/messages").status == 200
    assert len(wasted.settled()) == 1
    assert {name: size.tokens for name, size in route.sizes.items()} == {"big": 20_000, "other": 100}
