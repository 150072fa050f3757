"""Counts whole days of audits as evidence of each threshold of a growing route, without a store and a clock.

A conversation is one observation a day: the sums of its scores, over the size of the day's largest one. A
request that was drawn and not audited counts as the worst case.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from crossgrade.decide import GrowthStep, passed_steps
from crossgrade.domain import JSON
from crossgrade.errors import UsageError
from crossgrade.store import Draw

_VERSION = 1
"""The version of the state. A state of another version is ignored and computed again."""

_WORST = (1.0, 0.0)


class DayCounter:
    """The evidence of the thresholds `steps`, the strictest first, as days of draws are counted in order.

    `rate` is the probability of the route's first draws: a draw with probability p weighs rate / p, and does
    not count below that rate. `day` is the last day counted, `audits` the number of draws that counted, and
    `missed` those that were not audited or did not count, by reason.
    """

    def __init__(self, steps: Sequence[GrowthStep], rate: float) -> None:
        self.steps = tuple(steps)
        self.rate = rate
        self.day: date | None = None
        self.audits = 0
        self.missed: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """The number of draws with a router's score that were taken, whether they counted or not."""
        return self.audits + self.missed["rate-fell"]

    @property
    def passed(self) -> int:
        """The number of thresholds, from the strictest on, that have passed."""
        return passed_steps(self.steps)

    def take(self, day: date, draws: Sequence[Draw]) -> None:
        """Count all draws of a day: a conversation is one observation of every threshold it reaches."""
        self.day = day
        counted = [draw for draw in draws if draw.score is not None and draw.probability >= self.rate]
        lighter = sum(draw.score is not None for draw in draws) - len(counted)
        if lighter:  # such a draw would weigh more than the heaviest that is allowed
            self.missed["rate-fell"] += lighter
        if not counted:
            return
        names: dict[str, int] = {}
        owner = np.array(
            [names.setdefault(draw.conversation or draw.pair_id, len(names)) for draw in counted]
        )
        scores = np.array([self._scores(draw) for draw in counted])
        reached = np.array([draw.score for draw in counted], dtype=np.float64)
        weight = np.ones(len(names))
        np.minimum.at(weight, owner, self.rate / np.array([draw.probability for draw in counted]))
        largest = int(np.bincount(owner).max())
        for step in self.steps:
            moved = reached >= step.least_score
            size = np.bincount(owner[moved], minlength=len(names))
            some = size > 0
            sums = (np.bincount(owner[moved], each[moved], minlength=len(names)) for each in scores.T)
            b, c = (each[some] / size[some] for each in sums)
            step.process.take(b, c, weight[some] * size[some] / largest, together=True)

    def _scores(self, draw: Draw) -> tuple[float, float]:
        """Return both scores of a draw, or the worst that they could have been."""
        self.audits += 1
        incumbent, candidate = draw.incumbent, draw.candidate
        if incumbent is not None and candidate is not None:
            return incumbent, candidate
        self.missed[draw.missed or ("unscored" if draw.is_audited else "unlabelled")] += 1
        return _WORST

    def state(self) -> dict[str, JSON]:
        """Return what `restore` needs to go on from here, as plain JSON."""
        return {
            "version": _VERSION,
            "day": None if self.day is None else self.day.isoformat(),
            "audits": self.audits,
            "missed": dict(self.missed),
            "steps": [dict(step.process.state()) for step in self.steps],
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Go on from where a counter of the same thresholds stood; return whether it is such a state.

        After a state that is not, the counter may stand anywhere: begin again with a new one.
        """
        try:
            if state["version"] != _VERSION:
                return False
            self.day = None if state["day"] is None else date.fromisoformat(state["day"])
            self.audits = int(state["audits"])
            self.missed = Counter({str(reason): int(n) for reason, n in state["missed"].items()})
            for step, kept in zip(self.steps, state["steps"], strict=True):
                step.process.restore(kept)
        except (AttributeError, KeyError, TypeError, ValueError, UsageError):
            return False
        return True
