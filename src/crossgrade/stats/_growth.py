"""The evidence that more traffic may move: an e-process from a certificate's samples on, in service.

A route that grows has a list of thresholds, fixed beforehand, each of which moves more requests than the one
before. Against "what this threshold moves keeps less than the floor" each has bets of its own, as
`SequentialRetention` with `anytime` makes them. They begin with the samples of the certificate and go on with
audited live requests. The capital has no upward drift while retention over what the threshold moves was below
the floor throughout, so it ever reaches 1 / alpha with probability of at most alpha (J. Ville, 1939), however
long audits go on and whatever moved meanwhile. A threshold counts once all stricter ones have got there: a
fixed sequence, which needs no correction for their number and no independence between them (N. Xu,
N. Karampatziakis and P. Mineiro, "Active, anytime-valid risk controlling prediction sets", NeurIPS 2024,
arXiv:2406.10490).
"""

from collections.abc import Mapping
from typing import Self

import numpy as np

from crossgrade.domain import JSON
from crossgrade.errors import UsageError
from crossgrade.stats._bets import Bets
from crossgrade.stats._monitors import State
from crossgrade.stats._pairs import FloatArray, read_count, read_floor, read_rate

GROWTH_HORIZONS = (2.0, 8.0)
"""The plans of the bets, in units of the certificate's observations: one for soon, one for later."""

FIRST_SHARE = 0.75
"""The first start spends this share of alpha, and each later one the same share of what is left."""


def growth_alpha(alpha: float, start: int) -> float:
    """Return the error rate of a start, from 1; those of all starts together stay within alpha."""
    return alpha * FIRST_SHARE * (1 - FIRST_SHARE) ** (start - 1)


class GrowthProcess:
    """The e-process for one threshold: evidence, at any time, that what it moves keeps the floor.

    It passes with probability of at most `alpha` if the retention of what the threshold moves was below
    `floor` throughout. Once it has passed, further observations change nothing. `planned` is the number of
    the certificate's observations, to which the bets are tuned.
    """

    def __init__(self, floor: float, alpha: float, planned: int) -> None:
        self.floor = read_floor(floor)
        self.alpha = read_rate("alpha", alpha)
        self.planned = read_count("planned", planned)
        self.n = 0
        self.e_value = 1.0
        self._bets = Bets(self.floor, self.planned, GROWTH_HORIZONS)

    @property
    def threshold(self) -> float:
        """The e-value at which the threshold passes."""
        return 1 / self.alpha

    @property
    def passed(self) -> bool:
        """Whether there is enough evidence."""
        return self.e_value >= self.threshold

    def take(
        self, incumbent: FloatArray, candidate: FloatArray, weights: FloatArray, *, together: bool = False
    ) -> bool:
        """Take observations in order and return whether the threshold has passed.

        Scores are in [0, 1], and a weight in (0, 1] is the observation's share of the heaviest possible one.
        It may depend on what came before the observation, and not on its own scores. The evidence is read
        after each observation, or with `together` after the last: then only the mean of all of them need be
        below the floor under the hypothesis, in whatever order they came.
        """
        if len(incumbent) and not self.passed:
            take = self._bets.take_together if together else self._bets.walk
            read = np.atleast_1d(take(weights * incumbent, weights * candidate)[0])
            reached = np.flatnonzero(read >= self.threshold)
            taken = int(reached[0]) + 1 if len(reached) and not together else len(incumbent)
            self.n += taken
            self.e_value = max(self.e_value, float(read[:taken].max()))
        return self.passed

    def state(self) -> State:
        """Return what `restore` needs to go on from here, as plain JSON."""
        return {"n": self.n, "e_value": self.e_value, "bets": dict(self._bets.state())}

    def restore(self, state: Mapping[str, JSON]) -> Self:
        """Go on from where a process of the same settings stood; raises `UsageError` for another's."""
        n, e_value, bets = state.get("n"), state.get("e_value"), state.get("bets")
        if (
            type(n) is int
            and n >= 0
            and isinstance(e_value, float)
            and isinstance(bets, Mapping)
            and self._bets.restore(bets)
        ):
            self.n, self.e_value = n, e_value
            return self
        raise UsageError(
            "this is not the state of such a process",
            code="state-invalid",
            hint="compute it again from the certificate and the audits",
        )
