"""Live claims under bursts from one segment, and under conversations: simulated audits.

Three claims at floor 0.85, each on two segments with half of the traffic, of which one makes up for the
other. Segments come in bursts: a chain stays in one for so many audits on average. In two more settings
all audits of a conversation share its own loss rate. Everything is at or above the floor, so an alarm is
a false one. The last rows are what segments cost: audits to the alarm in the setting of `gateway_watch`.

Every stream goes through the arithmetic of the public classes, many streams at a time; `check` runs
the classes themselves on some of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks._table import Row
from crossgrade.stats import ChangeDetector, ClaimProcess, Strata
from crossgrade.stats._bets import GRID
from crossgrade.stats._monitors import CHANGE_SHARES, CLAIM_SHARES
from crossgrade.stats._strata import KEPT

FLOOR, ALPHA, THRESHOLD = 0.85, 0.05, 5000.0
AUDITS, RUNS, GROUP = 3000, 5000, 1000
SEED = 20261201
DWELLS = (1, 20, 100, 300)
SIZES = (8, 30)
CORRELATION = 0.4
LOSSES = FLOOR * np.array([1.0, 1.0, 0.0, 0.0]) - np.array([1.0, 0.0, 1.0, 0.0])
"""Of an audit with both right, only the incumbent, only the candidate, none."""


class Pooled(NamedTuple):
    """The incumbent's accuracy and the retention in each of the two segments."""

    retention: float
    accuracy: float
    segments: tuple[float, float]


SEGMENTS = {
    "2 segments": (0.5, 0.5),
    "6 segments": (1 / 6,) * 6,
    "shares .6 .25 .1 .05": (0.6, 0.25, 0.1, 0.05),
}
DELAY_RUNS = 500

POOLED = (
    Pooled(0.85, 0.9, (1.0, 0.70)),
    Pooled(0.90, 0.85, (1.05, 0.75)),
    Pooled(0.95, 0.85, (1.05, 0.85)),
)


class Fall(NamedTuple):
    """Shares of the four outcomes before and after a fall, for so many audits each, at a floor."""

    floor: float
    control: np.ndarray
    broken: np.ndarray
    quiet: int
    patience: int


class Alarms(NamedTuple):
    """The audit of each run's first alarm, infinity where there is none."""

    claim: np.ndarray
    change: np.ndarray


def burst_rows(fall: Fall) -> list[Row]:
    """Return the rows of claims under bursts and of conversations, then how soon a fall is noticed."""
    check()
    return [*map(_pooled_row, POOLED), *map(_conversation_row, SIZES), *_delay_rows(fall)]


def _pooled_row(pooled: Pooled) -> Row:
    plain: dict[int, Alarms] = {}
    sets: dict[int, Alarms] = {}
    for dwell in DWELLS:
        groups = [_pooled(pooled, dwell, group) for group in range(RUNS // GROUP)]
        plain[dwell], sets[dwell] = (joined([each[i] for each in groups]) for i in (0, 1))
    worst = max(DWELLS, key=lambda dwell: share_of(sets[dwell].claim))
    by_dwell = "; ".join(
        f"{dwell}: {percent(sets[dwell].claim)} (as they come {percent(plain[dwell].claim)}; e-detector "
        f"{percent(sets[dwell].change)}, as they come {percent(plain[dwell].change)})"
        for dwell in DWELLS
    )
    return must_row(
        f"claim alarms in 3,000 audits, retention {pooled.retention:g} of segments at "
        f"{pooled.segments[0]:g} and {pooled.segments[1]:g}, worst burst",
        100 * share_of(sets[worst].claim),
        f"floor {FLOOR}, half of the traffic each, {RUNS:,} runs, seed {SEED}; by mean burst in audits: {by_dwell}",
        {
            "bets on audits as they come": f"{100 * max(share_of(plain[dwell].claim) for dwell in DWELLS):.1f} %"
        },
    )


def _conversation_row(size: int) -> Row:
    groups = [_conversations(size, group) for group in range(RUNS // GROUP)]
    plain, units, sampled = (joined([each[i] for each in groups]) for i in (0, 1, 2))
    return must_row(
        f"claim alarms in 3,000 audits, retention at the floor, conversations of {size} in a row",
        100 * share_of(units.claim),
        f"floor {FLOOR}, intra-class correlation 0.3, all requests audited, {RUNS:,} runs, seed {SEED}; e-detector "
        f"{percent(units.change)}; unnamed conversations with 1 request in 20 audited: claim "
        f"{percent(sampled.claim)}, e-detector {percent(sampled.change)}",
        {"every audit by itself": f"{percent(plain.claim)}"},
    )


def _delay_rows(fall: Fall) -> list[Row]:
    rows: list[Row] = []
    for name, shares in SEGMENTS.items():
        delays = {dwell: _delay(fall, shares, dwell) for dwell in DWELLS}
        shown = {dwell: "never" if np.isinf(delay) else f"{delay:.0f}" for dwell, delay in delays.items()}
        row: Row = {
            "figure": f"e-detector: the same fall with {name}, in no order and in bursts",
            "value": "; ".join(f"{dwell}: {delay}" for dwell, delay in shown.items()),
            "unit": "audits",
            "conditions": f"the setting of the first row, {DELAY_RUNS:,} runs, seed {SEED}; by mean burst in audits, "
            f"1 is no order, never is more than {fall.patience:,}",
        }
        rows.append(row)
    return rows


def _delay(fall: Fall, shares: Sequence[float], dwell: int) -> float:
    """Return the median audits from the fall to the alarm, by the public classes."""
    rng, delays = np.random.default_rng((SEED, 5, len(shares), dwell)), []
    losses = fall.floor * np.array([1.0, 1.0, 0.0, 0.0]) - np.array([1.0, 0.0, 1.0, 0.0])
    length = fall.quiet + fall.patience
    for _ in range(DELAY_RUNS):
        moves = np.where(rng.random(length) < 1 / dwell, np.arange(length), 0)
        segments = rng.choice(len(shares), length, p=shares)[np.maximum.accumulate(moves)]
        kinds = np.append(
            rng.choice(4, fall.quiet, p=fall.control), rng.choice(4, fall.patience, p=fall.broken)
        )
        strata, detector = (
            Strata({str(i): share for i, share in enumerate(shares)}),
            ChangeDetector(fall.floor),
        )
        alarm = np.inf
        for audit, (segment, kind) in enumerate(zip(segments.tolist(), kinds.tolist(), strict=True), 1):
            lost = strata.add(str(segment), float(losses[kind]))
            if lost and detector.take(*lost) is not None and audit > fall.quiet:
                alarm = audit - fall.quiet
                break
        delays.append(alarm)
    return float(np.median(delays))


def _pooled(pooled: Pooled, dwell: int, group: int) -> tuple[Alarms, Alarms]:
    """Return the alarms of bets on audits as they come, and on sets."""
    rng = np.random.default_rng((SEED, int(100 * pooled.retention), dwell, group))
    segments = bursts(rng, GROUP, AUDITS, dwell)
    kinds = outcomes(rng, segments, pooled)
    growth = 1 + GRID * LOSSES[:, None]
    plain = first_alarms(growth, np.ones(4), kinds.T)
    pairs = (growth[:, None] * growth[None, :]).reshape(16, len(GRID))
    return plain, first_alarms(pairs, np.full(16, 2.0), in_sets(segments, kinds))


def bursts(rng: np.random.Generator, runs: int, audits: int, dwell: int) -> np.ndarray:
    """Return which of two segments each audit is of; a chain stays for `dwell` audits in the mean."""
    if dwell <= 1:
        return rng.integers(0, 2, (runs, audits))
    moves = rng.random((runs, audits)) < 1 / dwell
    moves[:, 0] = rng.random(runs) < 0.5
    return np.cumsum(moves, axis=1) % 2


def outcomes(rng: np.random.Generator, segments: np.ndarray, pooled: Pooled) -> np.ndarray:
    """Return which of the four outcomes each audit has: the models agree more often than by chance."""
    served = pooled.accuracy * np.array(pooled.segments)[segments]
    first, second = rng.random(segments.shape), rng.random(segments.shape)
    second = np.where(rng.random(segments.shape) < CORRELATION, first, second)
    return 2 * (first >= pooled.accuracy) + (second >= served)


def in_sets(segments: np.ndarray, kinds: np.ndarray) -> Iterator[np.ndarray]:
    """Yield at each audit the set of two that it completes as 4 a + b, or 16 where it completes none."""
    runs = len(segments)
    held, depth, side = (
        np.zeros((runs, KEPT), dtype=np.int64),
        np.zeros(runs, dtype=int),
        np.zeros(runs, dtype=int),
    )
    everyone = np.arange(runs)
    for segment, kind in zip(segments.T, kinds.T, strict=True):
        pairs = (depth > 0) & (segment != side)
        newest = held[everyone, (depth - 1) % KEPT]
        yield np.where(pairs, 4 * newest + kind, 16)
        full = ~pairs & (depth == KEPT)
        held[full, :-1] = held[full, 1:]
        depth = np.where(pairs, depth - 1, np.minimum(depth + 1, KEPT))
        held[everyone[~pairs], depth[~pairs] - 1] = kind[~pairs]
        side = np.where(pairs, side, segment)


def first_alarms(growth: np.ndarray, counts: np.ndarray, kinds: Iterable[np.ndarray]) -> Alarms:
    """Return each run's first alarms; a kind without growth of its own leaves the capital alone."""
    growth = np.vstack([growth, np.ones(len(GRID))])
    counts = np.append(counts, 0.0)
    claim = change = capital = sums = None
    for audit, kind in enumerate(kinds, 1):
        if claim is None:
            claim, change = np.full(len(kind), np.inf), np.full(len(kind), np.inf)
            capital, sums = np.ones((len(kind), len(GRID))), np.zeros((len(kind), len(GRID)))
        capital = np.minimum(capital * growth[kind], 1e6)  # far beyond any alarm
        sums = (sums + counts[kind, None]) * growth[kind]
        claim[(capital @ CLAIM_SHARES >= 1 / ALPHA) & np.isinf(claim)] = audit
        hit = sums @ CHANGE_SHARES >= THRESHOLD
        sums[hit] = 0
        change[hit & np.isinf(change)] = audit
    return Alarms(claim, change)


def _conversations(size: int, group: int) -> tuple[Alarms, Alarms, Alarms]:
    """Return the alarms of bets on single audits, on conversations, and on one request in twenty."""
    rng = np.random.default_rng((SEED, 3, size, group))
    many = AUDITS // size
    wrong = _beta(rng, (GROUP, many))
    lost = rng.random((GROUP, many, size)) < wrong[:, :, None]
    single = 1 + GRID * np.array([FLOOR - 1, FLOOR])[:, None]
    units = 1 + GRID * (FLOOR - 1 + np.arange(size + 1)[:, None] / size)
    plain = first_alarms(single, np.ones(2), lost.reshape(GROUP, -1).T.astype(int))
    whole = first_alarms(units, np.ones(size + 1), lost.sum(axis=2).T)
    sampled = [_sampled(rng, size) for _ in range(GROUP)]
    return plain, whole, first_alarms(single, np.ones(2), np.array(sampled).T)


def _sampled(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return which of 3,000 audits were lost where one request in twenty is audited."""
    audited = np.empty(0, dtype=int)
    while len(audited) < AUDITS:
        wrong = _beta(rng, (AUDITS * 20 // size,))
        rates = np.repeat(wrong, rng.binomial(size, 0.05, len(wrong)))
        audited = np.append(audited, rng.random(len(rates)) < rates)
    return audited[:AUDITS].astype(int)


def _beta(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return the loss rates of conversations: mean 0.15, intra-class correlation 0.3."""
    return rng.beta(0.15 * (1 / 0.3 - 1), 0.85 * (1 / 0.3 - 1), shape)


def check() -> None:
    """Fail unless the public classes alarm where the streams above do."""
    rng = np.random.default_rng(SEED)
    segments = bursts(rng, 6, 1500, 100)
    kinds = outcomes(rng, segments, Pooled(0.7, 0.9, (0.9, 0.5)))
    growth = 1 + GRID * LOSSES[:, None]
    pairs = (growth[:, None] * growth[None, :]).reshape(16, len(GRID))
    found = first_alarms(pairs, np.full(16, 2.0), in_sets(segments, kinds))
    for run in range(6):
        strata = Strata({"0": 0.5, "1": 0.5})
        sets = [
            strata.add(str(segment), float(LOSSES[kind]))
            for segment, kind in zip(segments[run], kinds[run], strict=True)
        ]
        same(sets, found, run)


def same(sets: Iterable[tuple[float, ...]], found: Alarms, run: int) -> None:
    process, detector = ClaimProcess(FLOOR, ALPHA), ChangeDetector(FLOOR, THRESHOLD)
    claim = change = np.inf
    for audit, lost in enumerate(sets, 1):
        if lost and process.take(*lost) is not None and np.isinf(claim):
            claim = audit
        if lost and detector.take(*lost) is not None and np.isinf(change):
            change = audit
    assert (claim, change) == (found.claim[run], found.change[run])


def joined(parts: list[Alarms]) -> Alarms:
    return Alarms(
        np.concatenate([each.claim for each in parts]), np.concatenate([each.change for each in parts])
    )


def share_of(first: np.ndarray) -> float:
    return float(np.isfinite(first).mean())


def percent(first: np.ndarray) -> str:
    return f"{100 * share_of(first):.1f} %"


def must_row(figure: str, value: float, conditions: str, peers: dict[str, float | str]) -> Row:
    return {
        "figure": figure,
        "value": value,
        "unit": "%",
        "must": "<= 6",
        "aim": "<= 5",
        "holds": value <= 6,
        "peers": peers,
        "conditions": conditions,
    }
