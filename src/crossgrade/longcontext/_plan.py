"""What a probe is likely to use, before anything is asked: simulated probes of assumed curves."""

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from crossgrade.domain import Price, Usage
from crossgrade.economics import cost_usd
from crossgrade.longcontext._probe import ProbeSettings
from crossgrade.longcontext._search import LengthSearch

_ALONE_TOKENS = 220
_WIDTH_OCTAVES = 0.7
_BASE, _TAIL = 0.95, 0.1
_RUNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeEstimate:
    """Calls, input tokens and dollars of a probe: the cheapest and the dearest of simulated ones.

    `cost_usd` is without any prompt cache, and None without a price.
    """

    calls: tuple[int, int]
    input_tokens: tuple[int, int]
    cost_usd: tuple[Decimal, Decimal] | None


def estimate_probe(settings: ProbeSettings, price: Price | None, max_output_tokens: int) -> ProbeEstimate:
    """Simulate probes of models whose effective length lies at each length of the ladder, and beyond it."""
    used = [
        _simulate(settings, crossing, np.random.default_rng([number, run]))
        for number, crossing in enumerate([*settings.lengths, settings.lengths[-1] * 4])
        for run in range(_RUNS)
    ]
    calls = [calls for calls, _ in used]
    tokens = [tokens for _, tokens in used]
    ends = [
        None if price is None else cost_usd(Usage(input_tokens=t, output_tokens=c * max_output_tokens), price)
        for c, t in (min(used, key=lambda each: each[1]), max(used, key=lambda each: each[1]))
    ]
    low, high = ends
    return ProbeEstimate(
        calls=(min(calls), max(calls)),
        input_tokens=(min(tokens), max(tokens)),
        cost_usd=None if low is None or high is None else (low, high),
    )


def _simulate(settings: ProbeSettings, crossing: int, rng: np.random.Generator) -> tuple[int, int]:
    search = LengthSearch(
        settings.lengths,
        base=_BASE,
        floor=settings.floor,
        questions=settings.questions,
        most_answers=settings.most_answers,
    )
    floor = settings.floor * _BASE
    tail = min(_TAIL, floor / 2)
    centre = math.log2(crossing) - _WIDTH_OCTAVES * math.log((_BASE - floor) / (floor - tail))
    while (index := search.next()) is not None:
        x = math.log2(search.lengths[index])
        share = tail + (_BASE - tail) / (1 + math.exp((x - centre) / _WIDTH_OCTAVES))
        search.add(index, int(rng.binomial(settings.questions, share)), settings.questions)
    calls = int(search.asked.sum()) + 2 * settings.base_questions
    tokens = int(search.asked @ np.asarray(settings.lengths)) + 2 * settings.base_questions * _ALONE_TOKENS
    at = settings.gate_tokens or min(search.result().low, settings.lengths[-1])
    haystacks = settings.certify_haystacks // 2  # about what a clear answer takes
    questions = haystacks * settings.questions
    return calls + 2 * questions, tokens + questions * (at + _ALONE_TOKENS)
