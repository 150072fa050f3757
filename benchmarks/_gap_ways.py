"""Simulated ways through decide, port, decide, distil, decide: how often a wrong candidate is certified."""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._table import Row
from crossgrade.decide import (
    DecisionSettings,
    KnownScores,
    RunDesign,
    decide_policy,
    rehearse,
    right_or_wrong,
)
from crossgrade.domain import (
    Lineage,
    Offer,
    PromptTemplate,
    Sample,
    ScorerSpec,
    TuningTest,
    Variant,
    Workload,
    round_alpha,
)
from crossgrade.stats import proportion_interval
from crossgrade.testing import evidence
from crossgrade.tuning import Race, TuningSplit, split_samples

WAYS = 5_000
GAINS = 2_000
ALPHA, FLOOR = 0.05, 0.85
VARIANTS = 20
NOW = datetime(2026, 11, 29, tzinfo=UTC)
_FIRST, _ROWS = 150, 700
_SEED = 24
_BASE = "local:base"


def way_rows() -> list[Row]:
    """How often anything is certified on the way when every candidate is exactly at the floor."""
    wrong = sum(any(_way(np.random.default_rng((_SEED, seed)))) for seed in range(WAYS))
    share = wrong / WAYS
    low, high = proportion_interval(wrong, WAYS, 0.95).low, proportion_interval(wrong, WAYS, 0.95).high
    return [
        {
            "figure": f"wrong certifications when nothing is better, {WAYS:,} ways through decide → port → decide "
            "→ distil → decide, at the floor",
            "value": round(100 * share, 2),
            "unit": "%",
            "must": "≤ 5.5 %",
            "aim": "≤ 5 %",
            "holds": share <= 0.055,
            "conditions": f"`rounds: 3`, alpha 5 %, floor {FLOOR}; round 1 plans {_FIRST} of {_ROWS} samples and stops "
            f"early, round 2 tests the best of {VARIANTS} prompts raced on 100 touched items, round 3 a distilled "
            "model; every model is right 3 times in 4 (the incumbent) or exactly at the floor (all variants)",
            "spread": f"95 % interval {100 * low:.2f} to {100 * high:.2f} %",
        }
    ]


def gain_rows() -> list[Row]:
    """How often a planted gain ends certified: one of 20 variants keeps .95 where the others keep .80."""
    row = _gain(0.9)
    harder: Row = {
        **_gain(0.8),
        "figure": "port: the same planted gain with an incumbent that is right 8 times in 10",
    }
    for name in ("must", "aim", "holds"):
        harder.pop(name, None)
    return [row, harder]


def _gain(accuracy: float) -> Row:
    found = [_planted(np.random.default_rng((_SEED, 7, seed)), accuracy) for seed in range(GAINS)]
    chosen, certified = (sum(each[at] for each in found) for at in (0, 1))
    share = certified / GAINS
    return {
        "figure": "port: share of a planted gain (one of 20 variants lifts R from .80 to .95) that ends certified, "
        "100 development and 300 certification items",
        "value": round(100 * share, 1),
        "unit": "%",
        "must": "≥ 75 %",
        "aim": "≥ 85 %",
        "holds": share >= 0.75,
        "conditions": f"{GAINS:,} simulated ports, `rounds: 2`, alpha 5 %, so that the test has 2.5 %; the incumbent "
        f"is right {10 * accuracy:g} times in 10; given its answer, the variants' answers are independent, which "
        "is hard on the search: real prompts of one model fail on the same items",
        "spread": f"the planted variant was proposed in {100 * chosen / GAINS:.1f} %",
    }


def _way(rng: np.random.Generator) -> list[bool]:
    """Return whether each test that was made on one way certified its candidate."""
    incumbent, candidates = right_or_wrong(
        rng, _ROWS, accuracy=0.75, retention=FLOOR, correlation=0.4, candidates=VARIANTS + 1
    )
    order = [int(each) for each in np.random.default_rng(1).permutation(_ROWS)]
    samples = _samples()
    first = rehearse(
        [samples[at] for at in order],
        KnownScores(incumbent=incumbent[order], candidates={"candidate": candidates[0][order]}),
        RunDesign(samples=_FIRST, first_samples=_FIRST),
        floor=FLOOR,
        alpha=round_alpha(1, rounds=3, alpha=ALPHA),
    )
    certified = [first.outcomes["candidate"] == "pass"]
    if certified[0]:
        return certified
    touched = order[: first.incumbent_calls]
    split = _split(tuple(touched), 2)
    best = _raced(candidates[:VARIANTS], split)
    touched = list(dict.fromkeys((*touched, *map(int, split.development))))  # spared items tuned too
    number = 2
    if best:
        certified.append(_tested(incumbent, candidates[best], split, number, rounds=3))
        if certified[-1]:
            return certified
        touched = [*touched, *map(int, split.certification)]
        number = 3
    split = _split(tuple(touched), 4 - number)
    return [*certified, _tested(incumbent, candidates[VARIANTS], split, number, rounds=3)]


def _planted(rng: np.random.Generator, accuracy: float) -> tuple[bool, bool]:
    """Return whether the planted variant was proposed, and whether the proposal was certified."""
    n, place = 400, 1 + int(rng.integers(VARIANTS - 1))
    state = rng.bit_generator.state
    incumbent, candidates = right_or_wrong(
        rng, n, accuracy=accuracy, retention=0.80, correlation=0.4, candidates=VARIANTS
    )
    again = np.random.default_rng()
    again.bit_generator.state = state
    _, better = right_or_wrong(
        again, n, accuracy=accuracy, retention=0.95, correlation=0.4, candidates=VARIANTS
    )
    candidates[place] = better[place]
    split = TuningSplit(
        development=tuple(map(str, range(100))), certification=tuple(map(str, range(100, 400)))
    )
    best = _raced(candidates, split)
    return best == place, bool(best) and _tested(incumbent, candidates[best], split, 2, rounds=2)


def _raced(candidates: NDArray[np.float64], split: TuningSplit) -> int:
    """Return the variant that a race over the development items proposes; 0 is the prompt as it was."""
    places = [int(each) for each in split.development]
    race = Race([1.0] * len(places))

    async def score(wanted: Mapping[int, Sequence[int]]) -> Mapping[int, Sequence[float | None]]:
        return {
            number: [float(candidates[number][places[at]]) for at in items]
            for number, items in wanted.items()
        }

    finalists = _result(race.run(range(VARIANTS), score, kept=[0]))
    best = finalists[0]
    return best if (race.mean(best) or 0.0) > (race.mean(0) or 0.0) else 0


def _result(running: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that waits for nothing."""
    try:
        running.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError


def _tested(
    incumbent: NDArray[np.float64],
    candidate: NDArray[np.float64],
    split: TuningSplit,
    number: int,
    *,
    rounds: int,
) -> bool:
    """Return whether a decision on the certification items certifies the candidate."""
    rows = [int(each) for each in split.certification]
    test = TuningTest(
        tuning_id="simulated",
        kind="port",
        candidate="candidate",
        number=number,
        rounds=rounds,
        alpha=ALPHA,
        development=len(split.development),
        certification=len(rows),
        touched=split.touched,
        lineage=Lineage(base=_BASE),
    )
    assert test.rate is not None
    settings = DecisionSettings(floor=FLOOR, alpha=test.rate, mode="fixed", tuning=test)
    verdict = decide_policy(evidence(incumbent[rows], candidate[rows]), settings, now=NOW)
    return any(one.certified for one in verdict.certificates)


@cache
def _samples() -> tuple[Sample, ...]:
    """Return samples with texts of their own, of random words."""
    rng = np.random.default_rng(_SEED)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return tuple(
        Sample(
            id=str(at),
            fields={"input": " ".join("".join(word) for word in rng.choice(letters, (6, 7)))},
            target="x",
        )
        for at in range(_ROWS)
    )


@cache
def _split(touched: tuple[int, ...], rounds_left: int) -> TuningSplit:
    variant = Variant(
        offer=Offer(name="base", provider="local", model="base"), prompt=PromptTemplate(user="{input}")
    )
    workload = Workload(
        name="simulated",
        dataset=Path("simulated.jsonl"),
        incumbent=variant,
        candidates=(variant,),
        scorer=ScorerSpec(kind="exact"),
    )
    found = split_samples(
        _samples(), workload, touched={str(each) for each in touched}, rounds_left=rounds_left
    )
    return replace(found, reserved=())
