"""The daily watch of a host's answers: false suspensions in simulated years, and days until a swap is noticed.

Healthy years are drawn with replacement from the recorded answers of one host, which is a host of its own with exactly
that distribution. Recorded answers at temperature 0 never vary, while those of a busy host do, so one in ten
is replaced by an answer at the other temperature. Swaps are drawn without replacement, because two pools of recorded answers differ more
than the hosts do: hardly any long answer is in both.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks._conform_answers import PROMPTS, WARM, recorded
from benchmarks._table import Row
from crossgrade.stats import DAILY_THRESHOLD, MOST_DAILY_ANSWERS, AnswerWatch
from crossgrade.stats._answer_watch import LEVELS, POWERS, as_levels, tolerated, two_sided
from crossgrade.stats._likeness import answer_likeness

_SEED = 20261130
_YEARS, _DAYS = 5_000, 365
_BASELINE = 6
_SWAPS, _MOST_DAYS, _HEALTHY = 300, 14, 4
_BUSY = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pools:
    """The distinct answers to each question: their probabilities, and how alike they are.

    Shapes (questions, answers) and (questions, answers, answers), filled up with answers of probability 0.
    """

    odds: Floats
    likeness: Floats


def pools(answers: Sequence[Sequence[str]]) -> Pools:
    """Return the pools of questions from their recorded answers."""
    found = [np.unique(texts, return_counts=True) for texts in answers]
    most = max(len(distinct) for distinct, _ in found)
    odds, likeness = np.zeros((len(found), most)), np.zeros((len(found), most, most))
    for at, (distinct, counts) in enumerate(found):
        size = len(distinct)
        odds[at, :size] = counts / counts.sum()
        likeness[at, :size, :size] = answer_likeness(distinct.tolist())
    return Pools(odds, likeness)


def year_rows() -> list[Row]:
    """The share of healthy years with a false suspension."""
    parts = 20
    with ProcessPoolExecutor(2) as pool:
        alarms = sum(pool.map(_years, range(parts), [_YEARS // parts] * parts))
    share = 100 * alarms / _YEARS
    return [
        Row(
            figure="daily watch: healthy years with a false suspension",
            value=share, unit="%", must="≤ 6", aim="≤ 5", holds=share <= 6,
            conditions=(
                f"{alarms} of {_YEARS:,} years of {_DAYS} days, the reference of {2 * len(PROMPTS) * _BASELINE} answers "
                f"redrawn each year; {len(PROMPTS)} questions at temperature 0 and at {WARM:g}, one answer to each a day; "
                f"answers of SmolLM2-135M-Instruct in Q8_0; threshold {DAILY_THRESHOLD:.0f}; the bound is 5 %; "
                f"seed {_SEED}"
            ),
        )
    ]  # fmt: skip


def _years(part: int, years: int) -> int:
    """Return how many of the years have an alarm."""
    rng = np.random.default_rng([_SEED, part])
    cold, warm = recorded()["q8/cold"], recorded()["q8/warm"]
    often = round(1 / _BUSY) - 1
    busy = [cold[key][:1] * (often * len(warm[key])) + warm[key] for key in PROMPTS]
    drawn_from = pools([*busy, *(warm[key] for key in PROMPTS)])
    return sum(max(year(drawn_from, _DAYS, rng)) >= DAILY_THRESHOLD for _ in range(years))


def year(drawn_from: Pools, days: int, rng: np.random.Generator) -> list[float]:
    """Return the e-values of a healthy year: `AnswerWatch` with the likeness of answers computed beforehand."""
    questions = np.arange(len(drawn_from.odds))
    counts = np.array([rng.multinomial(_BASELINE, odds) for odds in drawn_from.odds])
    draws = np.array([rng.choice(len(odds), size=days, p=odds) for odds in drawn_from.odds])
    totals = np.einsum("qij,qj->qi", drawn_from.likeness, counts)
    sums, found, squares = np.zeros(len(POWERS)), [], 0.0
    for day in range(days):
        today = draws[:, day]
        counts[questions, today] += 1
        totals += drawn_from.likeness[questions, :, today]
        kept, square = tolerated(_p_value(counts, totals, today), squares, day)
        squares += square
        sums = (sums + 1) * POWERS * kept ** (POWERS - 1)
        found.append(float(sums.mean()))
    return found


def _p_value(counts: NDArray[np.int64], totals: Floats, today: NDArray[np.int64]) -> float:
    there, n = counts > 0, int(counts[0].sum())
    surprises = -np.log(np.where(there, totals, n) / n)
    least = np.where(there, surprises, np.inf).min(axis=1)
    above = np.where(there, surprises - least[:, None], 0.0)
    levels = as_levels(above, float(above.max()))
    places = (levels + LEVELS * np.arange(len(levels))[:, None]).ravel()
    shares = np.bincount(places, counts.ravel(), LEVELS * len(levels)).reshape(-1, LEVELS) / n
    return two_sided(list(shares), int(levels[np.arange(len(levels)), today].sum()))


def swap_rows() -> list[Row]:
    """The days until the watch notices that the weights are served at another quantisation."""
    rows = []
    panels = {
        "": ("cold", "warm"),
        ", temperature 0 alone": ("cold",),
        f", temperature {WARM:g} alone": ("warm",),
    }
    for label, panel in panels.items():
        rng = np.random.default_rng(_SEED)
        days = np.array([_days_to_notice(panel, rng) for _ in range(_SWAPS)])
        median, late = float(np.median(days)), float(np.quantile(days, 0.95, method="higher"))
        row = Row(
            figure=f"daily watch: days until 95 % of swaps of Q8_0 to Q4_0 are noticed{label}",
            value=late, unit="days",
            conditions=(
                f"median {median:.0f} days, mean {days.mean():.2f}; {(days > _MOST_DAYS).mean():.1%} not within "
                f"{_MOST_DAYS} days; {_SWAPS} swaps after {_HEALTHY} healthy days, "
                f"{len(panel) * len(PROMPTS)} answers a day of at most {MOST_DAILY_ANSWERS}, {_BASELINE} of each question "
                f"in the fingerprint; answers of SmolLM2-135M-Instruct, drawn without replacement; seed {_SEED}"
            ),
        )  # fmt: skip
        if not label:
            row |= Row(must="≤ 7", aim="≤ 2", holds=late <= 7)
        rows.append(row)
    return rows


def _days_to_notice(panel: Sequence[str], rng: np.random.Generator) -> int:
    """Return on which day after the swap the watch alarms, or one more than the most days."""
    before = {f"{key}/{heat}": _shuffled("q8", heat, key, rng) for heat in panel for key in PROMPTS}
    after = {f"{key}/{heat}": _shuffled("q4", heat, key, rng) for heat in panel for key in PROMPTS}
    watch = AnswerWatch({key: texts[:_BASELINE] for key, texts in before.items()})
    for day in range(_HEALTHY):
        watch.take({key: [texts[_BASELINE + day]] for key, texts in before.items()})
    for day in range(_MOST_DAYS):
        if watch.take({key: [texts[day]] for key, texts in after.items()}).alarm:
            return day + 1
    return _MOST_DAYS + 1


def _shuffled(kind: str, heat: str, key: str, rng: np.random.Generator) -> list[str]:
    """Return a host's answers to a question in random order, at temperature 0 as a busy host gives them."""
    warm: list[str] = rng.permutation(recorded()[f"{kind}/warm"][key]).tolist()
    if heat == "warm":
        return warm
    usual = recorded()[f"{kind}/cold"][key][0]
    return [text if rng.random() < _BUSY else usual for text in warm]
