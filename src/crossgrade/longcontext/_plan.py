"""Estimates the calls, tokens and cost of a probe by simulating probes of assumed quality curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from crossgrade.domain import Price, Usage, sum_usd
from crossgrade.longcontext._probe import ProbeSettings
from crossgrade.longcontext._search import ALONE_TOKENS, BASE, next_of
from crossgrade.pricing import cost_usd

_WIDTH_OCTAVES = 0.7
_BASE, _TAIL = 0.95, 0.1
_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeEstimate:
    """The least and the most calls, input tokens and dollars of a probe, over simulated ones.

    `cost_usd` assumes no prompt cache. It is None without a price.
    """

    calls: tuple[int, int]
    input_tokens: tuple[int, int]
    cost_usd: tuple[Decimal, Decimal] | None


class _Used(NamedTuple):
    """Calls and input tokens of one simulated probe: all of them, and those on haystacks (`long_*`)."""

    tokens: int
    calls: int
    long_tokens: int
    long_calls: int

    def cost_usd(self, price: Price, max_output_tokens: int, *, beside: bool = False) -> Decimal | None:
        """Return the cost without a prompt cache, with `beside` for the calls that another model gets too."""
        tokens, calls = (self.long_tokens, self.long_calls) if beside else (self.tokens, self.calls)
        return cost_usd(Usage(input_tokens=tokens, output_tokens=calls * max_output_tokens, images=0), price)


def estimate_probe(
    settings: ProbeSettings, prices: Sequence[Price | None], max_output_tokens: int
) -> ProbeEstimate:
    """Simulate probes of models with an effective length at each length of the ladder, and beyond it.

    `prices` are the price of the model and, if another model is asked beside it, that model's price. None is
    an unknown price.
    """
    beside = len(prices) - 1
    used = sorted(
        _simulate(settings, crossing, np.random.default_rng([number, run]), against=beside > 0, tests=tests)
        for number, crossing in enumerate([*settings.lengths, settings.lengths[-1] * 4])
        for run in range(_RUNS)
        for tests in (0.5, 1.0 if settings.gate_tokens else 2.0)
    )
    low, high = (_cost_usd(each, prices, max_output_tokens) for each in (used[0], used[-1]))
    calls = [each.calls + beside * each.long_calls for each in used]
    tokens = [each.tokens + beside * each.long_tokens for each in used]
    return ProbeEstimate(
        calls=(min(calls), max(calls)),
        input_tokens=(min(tokens), max(tokens)),
        cost_usd=None if low is None or high is None else (low, high),
    )


def _cost_usd(used: _Used, prices: Sequence[Price | None], max_output_tokens: int) -> Decimal | None:
    return sum_usd(
        None if price is None else used.cost_usd(price, max_output_tokens, beside=number > 0)
        for number, price in enumerate(prices)
    )


def _simulate(
    settings: ProbeSettings, crossing: int, rng: np.random.Generator, *, against: bool, tests: float
) -> _Used:
    """Simulate a probe of a model with the effective length `crossing`, beside one whose quality never falls.

    `tests` is the number of full certificates it takes. A clear result takes about half of one. After a
    length that is not certified, a shorter one is tested.
    """
    searches = settings.searches(against=against)
    search, n = searches[0], settings.questions
    floor = settings.floor * _BASE
    tail = min(_TAIL, floor / 2)
    centre = math.log2(crossing) - _WIDTH_OCTAVES * math.log((_BASE - floor) / (floor - tail))
    search.add_base(_BASE * settings.base_questions, settings.base_questions)
    while (index := next_of(searches)) is not None:
        if index == BASE:
            search.add_base(float(rng.binomial(n, _BASE)), n)
            continue
        x = math.log2(search.lengths[index])
        share = tail + (_BASE - tail) / (1 + math.exp((x - centre) / _WIDTH_OCTAVES))
        right = int(rng.binomial(n, share))
        for each in searches:
            other = float(rng.binomial(n, _BASE)) if each.same_length else None
            each.add(index, right, n, reference_right=other)
    at = settings.gate_tokens or min(each.result().low for each in searches)
    haystacks = round(tests * settings.certify_haystacks)
    fresh = haystacks * settings.questions
    long_calls = int(search.asked.sum()) + fresh
    long_tokens = int(search.asked @ np.asarray(settings.lengths)) + fresh * at
    alone = search.base_asked + settings.base_questions + fresh  # the base questions without documents too
    return _Used(long_tokens + alone * ALONE_TOKENS, long_calls + alone, long_tokens, long_calls)
