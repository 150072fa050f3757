"""How long a million usage records take to be priced, exactly; and the break-even of a real box."""

import statistics
import tempfile
import time
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np

from benchmarks._table import Row
from crossgrade.catalog import packaged_catalog
from crossgrade.domain import Offer
from crossgrade.hosting import Deployment, known_gpu, known_model, shipped_fit
from crossgrade.hosting.boxes import box_bill
from crossgrade.pricing import cost_usd
from crossgrade.pricing.columns import price_calls
from crossgrade.pricing.usage import UsageColumns, stated_traffic
from crossgrade.workloads import read_trace

_CALLS = 1_000_000
_REPEATS = 5
_CHECKED = 2_000
_DAY = date(2026, 11, 25)
_LUNA = Offer(name="luna", provider="openai", model="gpt-5.6-luna")


def rows() -> list[Row]:
    """Measure all rows: speed, with its exactness checked on the way, and break-even volumes."""
    return [*_speed(), *_break_even()]


def _records() -> UsageColumns:
    """A million calls, some in the second context tier, a part of each one's input cached."""
    rng = np.random.default_rng(1)
    paid = np.minimum(rng.lognormal(8, 1.8, _CALLS), 1e6).astype(np.int64)
    answered = np.minimum(rng.lognormal(5, 1.2, _CALLS), 1e5).astype(np.int64)
    cached = (paid * rng.random(_CALLS)).astype(np.int64)
    return UsageColumns.from_tokens(paid, answered, cached=cached)


def _speed() -> list[Row]:
    usage, price = _records(), packaged_catalog().price(_LUNA, _DAY)
    assert price is not None, "the catalogue has a price of it"
    assert price.tiers, "and context tiers"
    times = []
    for _ in range(_REPEATS):
        before, cpu = time.perf_counter(), time.process_time()
        priced = price_calls(usage, price)
        total = priced.total_usd()
        times.append((time.perf_counter() - before, time.process_time() - cpu))
    exact = [cost_usd(usage.row(at), price) for at in range(_CHECKED)]
    assert [priced.cost_usd(at) for at in range(_CHECKED)] == exact
    seconds, cpu_s = (statistics.median(span[at] for span in times) for at in (0, 1))
    return [
        {
            "figure": "price 1M usage records",
            "value": round(seconds, 3),
            "unit": "s",
            "must": "≤ 2",
            "aim": "≤ 0.5",
            "holds": seconds <= 2,
            "conditions": f"median of {_REPEATS}, wall; CPU {cpu_s:.3f} s; cached and fresh input, output, two context tiers; the sum "
            f"is ${total:,.2f} to the last digit; {_CHECKED:,} of them compared with the decimal of each call",
        },
        _reading(usage),
    ]


def _reading(usage: UsageColumns) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.csv"
        rows = np.column_stack([usage.input_tokens, usage.output_tokens])
        np.savetxt(path, rows, "%d", ",", header="input_tokens,output_tokens", comments="")
        before = time.perf_counter()
        assert len(read_trace(path).usage) == _CALLS
        seconds = time.perf_counter() - before
    return {
        "figure": "read a trace of 1M requests",
        "value": round(seconds, 3),
        "unit": "s",
        "conditions": "CSV of two columns",
    }


def _break_even() -> list[Row]:
    scout = Offer(name="scout", provider="groq", model="meta-llama/llama-4-scout-17b-16e-instruct")
    gpt = Offer(name="gpt-4o", provider="openai", model="gpt-4o")
    traffic = stated_traffic(3000, 1000, calls_per_day=Decimal(2500))
    hosted = {}
    for offer in (gpt, scout):
        price = packaged_catalog().price(offer, _DAY)
        assert price is not None, "the catalogue has a price of both"
        hosted[offer.name] = price_calls(traffic.usage, price).total_usd() * 1_000_000 / 4000
    box = box_bill(
        "llama-4-scout on 4 x h100",
        known_model("llama-4-scout"),
        Deployment(gpu=known_gpu("h100"), tensor_parallel=4),
        traffic,
        shipped_fit(),
        usd_per_gpu_hour=Decimal("2.35"),
        against=hosted,
    )
    wanted = {"gpt-4o": 52.0, "scout": 1350.0}
    return [
        {
            "figure": f"break-even of a 4×H100 Scout box at $2.35 against {even.against}",
            "value": round(float(even.tokens_per_day) / 1e6, 1),
            "unit": "M tokens/day",
            "must": f"about {wanted[even.against]:g}",
            "aim": "explained in the docs",
            "holds": abs(float(even.tokens_per_day) / 1e6 / wanted[even.against] - 1) < 0.03,
            "conditions": f"3:1, ${even.hosted_per_mtok:.4f} a million hosted; the box is then "
            f"{even.utilisation.value or 0:.0%} busy; explained in docs/guides/self-hosting.md",
        }
        for even in box.break_even
    ]
