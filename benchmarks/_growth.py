"""How far a route grows in service by audits alone, how often it is wrong, and what a fall does to it.

The samples of the certificate and the audits are drawn with replacement from published pairs, so that what the
router really keeps at each threshold is known. Audits count by days of 100.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat

import numpy as np

from benchmarks._router_certificates import FLOOR as SETTINGS
from benchmarks._router_certificates import SETS, TRAINING, _evidence, _first_steps, _pool, _truth
from benchmarks._table import Row
from crossgrade.decide import DecisionSettings, Evidence, GrowthStep, growth_steps, passed_steps
from crossgrade.stats import ChangeDetector, ClaimProcess

N = 1000
FLOOR = 0.85
DAY = 100
AUDITS = (500, 2000, 5000)
DRAWS = 100
WRONG_STEPS, WRONG_DRAWS = 8, 63
FALLS, FALL_DRAWS, AFTER = (0.97, 0.94, 0.90), 15, 6000


def rows() -> list[Row]:
    """Return the shares that move, the wrong steps, and the falls."""
    with ProcessPoolExecutor() as pool:
        return [*_growing(pool), *_wrong(pool), *_falls(pool)]


def _growing(pool: ProcessPoolExecutor) -> Iterator[Row]:
    found = np.array(list(pool.map(_shares, range(SETS))))
    begun, *moved, wrong = found.mean(axis=0)
    for audits, share, must, aim in zip(AUDITS, moved, (0.25, 0.58, 0.77), (0.40, 0.70, 0.85), strict=True):
        yield {
            "figure": f"share moved by growing, after {audits:,} audits",
            "value": float(share),
            "unit": "",
            "must": f">= {must:g}",
            "aim": f">= {aim:g}",
            "holds": bool(share >= must),
            "conditions": (
                f"MMLU, floor {FLOOR} on what moves, from a certificate of n = {N:,} that moves {begun:.2f}; "
                f"starts share alpha, the first has three quarters; {wrong:.1%} moved something below the floor; "
                f"{SETS} training sets, {DRAWS} streams each"
            ),
        }


def _wrong(pool: ProcessPoolExecutor) -> Iterator[Row]:
    found = np.array(list(pool.map(_worst, range(SETS))))
    worst = float(found.mean(axis=0).max())
    yield {
        "figure": "wrong steps up where the floor is the retention of a step, the worst step",
        "value": worst,
        "unit": "",
        "must": "<= 0.055",
        "aim": "<= 0.05",
        "holds": worst <= 0.055,
        "conditions": (
            f"{WRONG_STEPS} steps in turn, {SETS * WRONG_STEPS * WRONG_DRAWS:,} streams of n = {N:,} and "
            f"{AUDITS[-1]:,} audits; the first start has three quarters of 5 %"
        ),
    }


def _falls(pool: ProcessPoolExecutor) -> Iterator[Row]:
    for fall in FALLS:
        found = np.concatenate(list(pool.map(_fallen, range(SETS), repeat(fall))))
        wrong, down, back = found.T
        alarmed = np.isfinite(down)
        again = np.isfinite(back)
        figures = (
            ("wrong steps up", float(wrong.mean()), ""),
            ("audits to the step down, median", float(np.median(down)), "audits"),
            ("audits from there to half of the share, median", float(np.median(back[alarmed])), "audits"),
        )
        for figure, value, unit in figures:
            yield {
                "figure": f"a fall to {fall:g} of the retention: {figure}",
                "value": value if np.isfinite(value) else f"none in {AFTER:,}",
                "unit": unit,
                "conditions": (
                    f"at a random one of 500 to 2,500 audits; {alarmed.mean():.0%} stepped down within {AFTER:,} "
                    f"audits, {again[alarmed].mean():.0%} of these had half of the share again within as many; "
                    f"{len(found)} streams"
                ),
            }


def _begun(pool: Evidence, draw: np.ndarray, floor: float, start: int = 1) -> tuple[GrowthStep, ...]:
    """Return the thresholds after a certificate of the drawn samples."""
    routing = pool.routing
    assert routing is not None
    assert routing.score is not None
    assert pool.segment is not None
    sample = _evidence(
        pool.incumbent.score[draw],
        pool.candidates[0].score[draw],
        pool.segment[draw],
        tuple(map(str, range(len(draw)))),
    )
    scores = replace(routing, trained=np.zeros(len(draw), dtype=np.bool_), score=routing.score[draw])
    settings = DecisionSettings(mode="fixed", floor=floor, grow=True)
    return growth_steps(replace(sample, routing=scores), settings, start=start)


def _audit(steps: tuple[GrowthStep, ...], b: np.ndarray, c: np.ndarray, score: np.ndarray) -> int:
    """Count a day's audits, and return how many thresholds, from the strictest on, have passed."""
    for step in steps:
        moved = score >= step.least_score
        step.process.take(b[moved], c[moved], np.ones(int(moved.sum())), together=True)
    return passed_steps(steps)


def _columns(pool: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    assert pool.routing is not None
    assert pool.routing.score is not None
    return pool.incumbent.score, pool.candidates[0].score, pool.routing.score


def _shares(seed: int) -> tuple[float, ...]:
    """Return the mean share at the certificate and after so many audits, and how often it is wrong."""
    pool = _pool(seed, SETTINGS, TRAINING)
    share, kept, _ = _truth(pool)
    b, c, score = _columns(pool)
    rng = np.random.default_rng((seed, 4))
    found = []
    for _ in range(DRAWS):
        steps = _begun(pool, rng.integers(0, pool.n, N), FLOOR)
        passed = [passed_steps(steps)]
        for day in range(AUDITS[-1] // DAY):
            draw = rng.integers(0, pool.n, DAY)
            count = _audit(steps, b[draw], c[draw], score[draw])
            if (day + 1) * DAY in AUDITS:
                passed.append(count)
        moved = [float(share[count - 1]) if count else 0.0 for count in passed]
        found.append((*moved, float((kept[: passed[-1]] < FLOOR).any())))
    return tuple(np.mean(found, axis=0).tolist())


def _worst(seed: int) -> list[float]:
    """Return for each of the first steps how often it passes where the floor is its own retention."""
    pool = _pool(seed, SETTINGS, TRAINING)
    _, kept, _ = _truth(pool)
    b, c, score = _columns(pool)
    rng = np.random.default_rng((seed, 5))
    rates = []
    for at in range(min(WRONG_STEPS, len(kept))):
        wrong, up_to = 0, _first_steps(pool, at + 1)
        for _ in range(WRONG_DRAWS):
            steps = _begun(up_to, rng.integers(0, pool.n, N), float(kept[at]))
            for _ in range(AUDITS[-1] // DAY):
                draw = rng.integers(0, pool.n, DAY)
                _audit(steps, b[draw], c[draw], score[draw])
            wrong += passed_steps(steps) > at
        rates.append(wrong / WRONG_DRAWS)
    return rates + [0.0] * (WRONG_STEPS - len(rates))


def _fallen(seed: int, fall: float) -> np.ndarray:
    """Return of each stream: a wrong step up, audits to the step down, audits from it to half of the share."""
    pool = _pool(seed, SETTINGS, TRAINING)
    rng = np.random.default_rng((seed, round(fall * 100)))
    streams = (_Falling(pool, rng, fall).run() for _ in range(FALL_DRAWS))
    return np.array(list(streams), dtype=np.float64)


class _Falling:
    """One route that grows, falls at a random moment, steps down on the alarm and begins again."""

    def __init__(self, pool: Evidence, rng: np.random.Generator, fall: float) -> None:
        self._pool, self._rng, self._fall = pool, rng, fall
        self._share, self._kept, _ = _truth(pool)
        self._samples = rng.integers(0, pool.n, N)
        self._steps = _begun(pool, self._samples, FLOOR)
        self._count, self._before = passed_steps(self._steps), 0.0
        self._falls_on = int(rng.integers(5, 26))
        self._monitors: tuple[ClaimProcess, ChangeDetector] | None = (
            ClaimProcess(FLOOR),
            ChangeDetector(FLOOR),
        )
        self._wrong, self._down, self._back = False, np.inf, np.inf

    def run(self) -> tuple[float, float, float]:
        day, ends = -self._falls_on, AFTER // DAY
        while day < ends and not np.isfinite(self._back):
            was_up = not np.isfinite(self._down)
            self._live(day)
            if was_up and np.isfinite(self._down):
                ends = day + AFTER // DAY
            day += 1
        return float(self._wrong), self._down, self._back

    def _live(self, day: int) -> None:
        """Serve and audit a day, counted from the fall."""
        draw = self._rng.integers(0, self._pool.n, DAY)
        b, c, score = (column[draw] for column in _columns(self._pool))
        if day == 0:
            self._before = self._moved
        if day >= 0:
            c = c * (self._rng.random(DAY) < self._fall)
        alarm = self._alarm(b, c, score)
        if alarm is not None:
            self._down = day * DAY + alarm if day >= 0 else self._down
            self._monitors, self._count = None, 0
            self._steps = _begun(self._pool, self._samples, FLOOR, start=2)
            return  # evidence is of requests after the alarm
        count = max(self._count, _audit(self._steps, b, c, score))
        if day >= 0:
            self._wrong |= bool((self._kept[self._count : count] * self._fall < FLOOR).any())
        self._count = count
        if np.isfinite(self._down) and count and self._moved >= self._before / 2:
            self._back = min(self._back, (day + 1) * DAY - self._down)

    @property
    def _moved(self) -> float:
        return float(self._share[self._count - 1]) if self._count else 0.0

    def _alarm(self, b: np.ndarray, c: np.ndarray, score: np.ndarray) -> int | None:
        """Return after how many audits of the day the first alarm comes, if one does."""
        if self._monitors is None or not self._count:
            return None
        moved = score >= self._steps[self._count - 1].least_score
        for number in np.flatnonzero(moved).tolist():
            alarms = [each.update(b[number], c[number]) for each in self._monitors]
            if any(alarms):
                return number + 1
        return None
