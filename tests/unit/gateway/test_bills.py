"""What answers cost, by the usage that each provider states in its own words."""

from decimal import Decimal

import pytest

from benchmarks._same_bill import PRICE, answers, by_hand
from crossgrade.dialects import DIALECTS, Counts
from crossgrade.domain import Price, RouteSpec
from crossgrade.pricing import Prices
from tests.unit.gateway.scripted import JSON_HEAD, KEY, SSE_HEAD, raw_target, scripted

ANSWERS = [one for one in answers() if one.used.images == 0]
LONG = {(one.dialect, one.stream): one for one in ANSWERS if one.used.input > 200_000}
SHORT = {
    (one.dialect, one.stream): one for one in ANSWERS if one.used.input <= 200_000 and one.used.reasoning
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("calls", [LONG, SHORT], ids=["long", "reasoned"])
def test_a_call_of_every_api_costs_what_its_usage_says(run, make, calls, dialect, stream):
    one = calls[dialect, stream]
    if stream:
        answer = SSE_HEAD + one.body
    else:
        answer = JSON_HEAD + b"content-length: %d\r\n\r\n%b" % (len(one.body), one.body)
    route = RouteSpec(name="support", incumbent="raw")
    with scripted(answer) as (url, _):
        target = raw_target(url, price=PRICE, dialect=dialect)
        with run([target], [route], environ={"KEY": KEY}) as world:
            assert world.post(make.chat(stream=stream)).status == 200
            record = world.settled()[0]
    assert (record.input_tokens, record.output_tokens) == (one.used.input, one.used.output)
    assert (record.cost_origin, record.cost_usd) == (
        "usage",
        pytest.approx(float(by_hand(one.used)), abs=1e-9),
    )


def test_reasoning_has_its_own_price():
    price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2), reasoning_per_mtok=Decimal(3))
    usage = Counts(1_000, 1_000, reasoning_output_tokens=600)
    assert Prices(price).cost_usd(usage) == pytest.approx(0.001 + 0.0008 + 0.0018, abs=1e-12)


def test_images_are_counted_or_make_the_cost_unknown(run, make, fake):
    price = Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2), image_usd=Decimal("0.01"))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    with run([make.target(fake, price=price)]) as world:
        world.post(make.chat())
        world.post(make.chat(messages=[{"role": "user", "content": [image]}]))
        text, picture = world.settled(2)
    assert (text.cost_origin, picture.cost_origin) == ("usage", "unknown")
    assert picture.cost_usd is None
