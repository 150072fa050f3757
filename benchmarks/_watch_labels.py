"""Live claims where people correct a judge and some of their labels are missing: simulated audits.

One pair in five is drawn for people. Trusting the judge causes false alarms where it is harsh and the claim is
exactly right. It hides a fall where the judge is lenient.

The streams go through the arithmetic of `JudgedLoss` and the monitors, many at a time. `check` runs the
classes themselves on some of them.
"""

from typing import NamedTuple

import numpy as np

from benchmarks._table import Row
from benchmarks._watch_bursts import (
    ALPHA,
    AUDITS,
    FLOOR,
    GROUP,
    RUNS,
    SEED,
    THRESHOLD,
    Alarms,
    joined,
    must_row,
    percent,
    same,
    share_of,
)  # fmt: skip
from crossgrade.stats import JudgedLoss
from crossgrade.stats._bets import GRID
from crossgrade.stats._monitors import CHANGE_SHARES, CLAIM_SHARES
from crossgrade.watch._monitor import UNLABELLED

LABEL_SHARE = 0.2
ARRIVALS = (1.0, 0.5, 0.25)


class Judge(NamedTuple):
    """What the candidate scores where the incumbent is right and where not, and the judge's two errors.

    `forgives` is the share of wrong answers that it takes for right ones, `harsh` the reverse.
    """

    words: str
    right: float
    lucky: float
    forgives: float
    harsh: float


HOLDS = Judge("the claim holds exactly, a harsh judge", 0.82, 0.12, 0.0, 0.25)
BROKEN = Judge("retention fell to 0.745, a lenient judge", 0.72, 0.10, 0.6, 0.0)


def label_rows() -> list[Row]:
    """Return the rows of missing labels."""
    check()
    holds = {share: _labelled(HOLDS, share) for share in ARRIVALS}
    broken = {share: _labelled(BROKEN, share) for share in ARRIVALS}
    alone = {judge: _labelled(judge, 0.25, by_draw=False) for judge in (HOLDS, BROKEN)}
    setting = f"floor {FLOOR}, 1 pair in 5 drawn for people, {RUNS:,} runs, seed {SEED}; by share of labels that arrive: "
    worst = max(share_of(each.claim) for each in holds.values())
    return [
        must_row(
            f"claim alarms in 3,000 audits, missing labels: {HOLDS.words}",
            100 * worst,
            setting + "; ".join(f"{share:.0%}: {percent(each.claim)}" for share, each in holds.items()),
            {"the drawn pair alone left out": percent(alone[HOLDS].claim)},
        ),
        {
            "figure": f"alarms in 3,000 audits, a quarter of the labels: {BROKEN.words}",
            "value": 100 * share_of(np.minimum(broken[0.25].claim, broken[0.25].change)),
            "unit": "%",
            "peers": {
                "the drawn pair alone left out": percent(
                    np.minimum(alone[BROKEN].claim, alone[BROKEN].change)
                ),
            },
            "conditions": setting
            + "; ".join(
                f"{share:.0%}: alarm in {percent(np.minimum(each.claim, each.change))}, median audits to the change "
                f"alarm {np.median(each.change):.0f}"
                for share, each in broken.items()
            )
            + f"; `watch` calls the claim unmeasurable in {100 * _unmeasurable(0.25):.1f} % of runs with a quarter "
            "of the labels",
        },
    ]


def _labelled(judge: Judge, arrives: float, *, by_draw: bool = True) -> Alarms:
    groups = [_judged(judge, arrives, group, by_draw=by_draw)[0] for group in range(RUNS // GROUP)]
    return joined(groups)


def _judged(judge: Judge, arrives: float, group: int, *, by_draw: bool) -> tuple[Alarms, "Stream"]:
    """Return the alarms where so large a share of the labels comes.

    `by_draw` leaves out the audits since the draw before with a label that did not come, as `watch`
    does; otherwise the drawn audit alone.
    """
    rng = np.random.default_rng((SEED, 4, int(100 * judge.right), int(100 * arrives), group))
    stream = Stream.of(rng, judge, arrives, by_draw=by_draw)
    product, square = np.zeros(GROUP), np.full(GROUP, 4.0)  # as `JudgedLoss` begins
    capital, sums = np.ones((GROUP, len(GRID))), np.zeros((GROUP, len(GRID)))
    claim, change = np.full(GROUP, np.inf), np.full(GROUP, np.inf)
    for audit in range(AUDITS):
        counts, drawn = stream.counts[:, audit], stream.drawn[:, audit]
        by_people, by_judge = stream.people[:, audit], stream.judge[:, audit]
        trust = np.clip(product / square, 0.0, 1.0)
        guess, fall = trust * by_judge, (1 + trust * FLOOR * (1 - LABEL_SHARE)) / LABEL_SHARE
        lost = np.where(drawn, guess + (by_people - guess) / LABEL_SHARE, guess) / fall
        learned = counts & drawn
        product += np.where(learned, by_judge * by_people, 0.0)
        square += np.where(learned, by_judge**2, 0.0)
        growth = np.where(counts[:, None], 1 + GRID * lost[:, None], 1.0)
        capital = np.minimum(capital * growth, 1e6)
        sums = (sums + counts[:, None]) * growth
        claim[(capital @ CLAIM_SHARES >= 1 / ALPHA) & np.isinf(claim)] = audit + 1
        hit = sums @ CHANGE_SHARES >= THRESHOLD
        sums[hit] = 0
        change[hit & np.isinf(change)] = audit + 1
    return Alarms(claim, change), stream


class Stream(NamedTuple):
    """People's and the judge's losses of audits, which were drawn for people, and which count."""

    people: np.ndarray
    judge: np.ndarray
    drawn: np.ndarray
    counts: np.ndarray
    scores: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, rng: np.random.Generator, judge: Judge, arrives: float, *, by_draw: bool) -> "Stream":
        """Draw audits; the incumbent is right in 80 %."""
        shape = (GROUP, AUDITS)
        b = (rng.random(shape) < 0.8) * 1.0
        s = (rng.random(shape) < np.where(b > 0, judge.right, judge.lucky)) * 1.0
        seen = np.where((s == 0) & (rng.random(shape) < judge.forgives), 1.0, s)
        seen = np.where((s == 1) & (rng.random(shape) < judge.harsh), 0.0, seen)
        drawn = rng.random(shape) < LABEL_SHARE
        came = drawn & (rng.random(shape) < arrives)
        return cls(FLOOR * b - s, FLOOR * b - seen, drawn, _with_draw(drawn, came) if by_draw else came | ~drawn,
                   (b, s, seen))  # fmt: skip


def _unmeasurable(arrives: float) -> float:
    """Return the share of runs in which more draws than allowed have no label after the last audit."""
    stream = _judged(BROKEN, arrives, 0, by_draw=True)[1]
    heard = (stream.drawn & stream.counts).sum(axis=1)
    drawn = stream.drawn.sum(axis=1)
    return float(np.mean(drawn - heard > UNLABELLED * drawn))


def _with_draw(drawn: np.ndarray, came: np.ndarray) -> np.ndarray:
    """Return which audits count: those up to a draw whose label came, since the draw before."""
    counts = np.zeros_like(drawn)
    heard = np.zeros(len(drawn), dtype=bool)
    for audit in reversed(range(drawn.shape[1])):
        heard = np.where(drawn[:, audit], came[:, audit], heard)
        counts[:, audit] = heard
    return counts


def check() -> None:
    """Fail unless the public classes alarm where the streams above do."""
    alarms, stream = _judged(BROKEN, 0.5, 0, by_draw=True)
    for run in range(4):
        judged = JudgedLoss(FLOOR, LABEL_SHARE)
        b, s, seen = (column[run] for column in stream.scores)
        lost = []
        for audit in range(AUDITS):
            human = (b[audit], s[audit]) if stream.drawn[run, audit] else None
            counts = stream.counts[run, audit]
            lost.append((judged.loss((b[audit], seen[audit]), human),) if counts else ())
        same(lost, alarms, run)
