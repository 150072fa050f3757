"""Watch a certified claim while its route serves: whether it is still right, and whether it just broke.

The claim is retention R = E[s] / E[b] >= floor, for the incumbent's score b and the score s of
the model that the route picks. An audit is a live request whose two answers were both scored. Under
the claim the loss g = floor b - s has no upward drift, and g >= -1: a bet of fraction f turns
capital K into K (1 + f g) and cannot go broke.

The guarantees below need E[g | past] <= 0 for every audit, whatever came before it. That fails for audits
of one conversation, and for bursts from one segment of a claim on the whole. `Strata` makes observations for
which it holds. It returns several losses at a time, and only the set has no upward drift: the capital
is multiplied by all of them and read after the last.

`ClaimProcess` compounds the capital from the first audit and never resets: P(ever >= 1 / alpha)
<= alpha while the claim holds (J. Ville, 1939). After a long good spell it has lost so much that it
takes long to notice a change. `ChangeDetector` starts a bet afresh at every audit and adds all of
them up, the e-Shiryaev-Roberts detector of J. Shin, A. Ramdas and A. Rinaldo, "E-detectors: A
nonparametric framework for sequential change detection", New England J. Statist. Data Sci. 2 (2)
(2024) 229-260 (arXiv:2203.03532). Its sum minus the number of audits is a
supermartingale while the claim holds, so the mean number of audits to a false alarm is at least its
threshold. The first is evidence about the certificate, the second is the alarm.

Both spread their bets over the 25 constant fractions of `_bets`. The detector weighs them alike; the
claim's process, which bets for much longer, by 1 / sqrt(f).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np

from crossgrade.domain import JSON
from crossgrade.errors import UsageError
from crossgrade.stats._bets import GRID
from crossgrade.stats._pairs import FloatArray, read_floor, read_rate

State: TypeAlias = dict[str, JSON]
"""What a monitor remembers, as plain JSON."""

CLAIM_SHARES: FloatArray = GRID**-0.5 / (GRID**-0.5).sum()
CHANGE_SHARES: FloatArray = np.full(len(GRID), 1 / len(GRID))
_LARGEST_LOG = 700.0  # of a capital that a float holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The evidence reached its threshold at audit `n`."""

    n: int
    e_value: float
    threshold: float


class ClaimProcess:
    """The e-process against a certified claim: evidence, valid at any time, that it is not right.

    It alarms with probability of at most `alpha` however long it runs if the claim is right. It
    never resets: after an alarm further audits change nothing.
    """

    def __init__(self, floor: float, alpha: float = 0.05, *, heaviest: float = 1.0) -> None:
        """Watch the claim R >= `floor`; `heaviest` is the weight above which audits are capped."""
        self.floor = read_floor(floor)
        self.alpha = read_rate("alpha", alpha)
        self.heaviest = _read_heaviest(heaviest)
        self.n = 0
        self.e_value = 1.0
        self.alarm: Detection | None = None
        self._logs = np.zeros(len(GRID))

    @property
    def threshold(self) -> float:
        """The e-value that makes the alarm."""
        return 1 / self.alpha

    def update(self, incumbent: float, served: float, weight: float = 1.0) -> Detection | None:
        """Take the next audit's scores in [0, 1]; None until the alarm, then the alarm.

        `weight` is one over the probability with which the request came to be audited, relative to
        `heaviest`; where all are audited alike leave both at 1. A capped audit counts for less than
        it should: the claim is then about traffic weighted so. Raises `UsageError` for a score
        outside [0, 1] or a weight that is not positive.
        """
        return self.take(audit_loss(self.floor, incumbent, served, weight, self.heaviest))

    def take(self, *lost: float) -> Detection | None:
        """Take the next audit as its loss, at least -1 and at most 0 in the mean under the claim.

        Several losses are a set of `Strata`, which only together have no upward drift.
        """
        if self.alarm is not None:
            return self.alarm
        self.n += len(lost)
        self._logs += np.log1p(GRID * np.array(lost)[:, None]).sum(axis=0)
        largest = float(self._logs.max())
        e_value = float(CLAIM_SHARES @ np.exp(self._logs - largest)) * math.exp(min(largest, _LARGEST_LOG))
        self.e_value = max(self.e_value, e_value)
        if self.e_value >= self.threshold:
            self.alarm = Detection(n=self.n, e_value=self.e_value, threshold=self.threshold)
        return self.alarm

    def state(self) -> State:
        """Return what `restore` needs to go on from here, as plain JSON."""
        return {"n": self.n, "e_value": self.e_value, "log_capital": self._logs.tolist()}

    def restore(self, state: Mapping[str, object]) -> Self:
        """Go on from where a process of the same settings stood; raises `UsageError` for another's."""
        self.n, self.e_value, self._logs = _read_state(state, "log_capital")
        if self.e_value >= self.threshold:
            self.alarm = Detection(n=self.n, e_value=self.e_value, threshold=self.threshold)
        return self


class ChangeDetector:
    """The e-detector of a change: alarms when a claim that was right breaks, and restarts.

    While the claim is right the mean number of audits to a false alarm is at least `threshold`.
    """

    def __init__(self, floor: float, threshold: float = 5000.0, *, heaviest: float = 1.0) -> None:
        """Watch the claim R >= `floor`; `heaviest` as for `ClaimProcess`."""
        if not 1.0 <= threshold < math.inf:
            raise UsageError(
                f"threshold is {threshold}; a mean number of audits to a false alarm is expected, 1 or more",
                code="threshold-invalid",
                hint="5000 alarms once in 5,000 audits at most, on average, while nothing is wrong",
            )
        self.floor = read_floor(floor)
        self.threshold = float(threshold)
        self.heaviest = _read_heaviest(heaviest)
        self.n = 0
        self._sums = np.zeros(len(GRID))

    @property
    def e_value(self) -> float:
        """The sum of all bets since the last alarm; the alarm comes when it reaches the threshold."""
        return float(CHANGE_SHARES @ self._sums)

    def update(self, incumbent: float, served: float, weight: float = 1.0) -> Detection | None:
        """Take the next audit's scores as `ClaimProcess.update` does; return an alarm where there is one."""
        return self.take(audit_loss(self.floor, incumbent, served, weight, self.heaviest))

    def take(self, *lost: float) -> Detection | None:
        """Take the next audit as its loss, or a set of several, as `ClaimProcess.take` does."""
        self.n += len(lost)
        self._sums = (self._sums + len(lost)) * (1 + GRID * np.array(lost)[:, None]).prod(axis=0)
        e_value = self.e_value
        if e_value < self.threshold:
            return None
        self._sums = np.zeros(len(GRID))
        return Detection(n=self.n, e_value=e_value, threshold=self.threshold)

    def state(self) -> State:
        """Return what `restore` needs to go on from here, as plain JSON."""
        return {"n": self.n, "e_value": self.e_value, "sums": self._sums.tolist()}

    def restore(self, state: Mapping[str, object]) -> Self:
        """Go on from where a detector of the same settings stood; raises `UsageError` for another's."""
        self.n, _, self._sums = _read_state(state, "sums")
        return self


def audit_loss(
    floor: float, incumbent: float, served: float, weight: float = 1.0, heaviest: float = 1.0
) -> float:
    """Return floor b - s, in [-1, floor], scaled by the share of the heaviest weight.

    Raises `UsageError` for a score outside [0, 1] or a weight that is not positive.
    """
    if not (0.0 <= incumbent <= 1.0 and 0.0 <= served <= 1.0):
        raise UsageError(
            f"an audit has scores {incumbent!r} and {served!r}; scores must lie in [0, 1]",
            code="score-out-of-range",
            hint="leave unscored pairs out, and map the scorer's scale to [0, 1]",
        )
    if not weight > 0.0:
        raise UsageError(
            f"an audit has weight {weight!r}; one over a probability is expected",
            code="weight-invalid",
            hint="leave out requests that could not be audited",
        )
    return min(weight / heaviest, 1.0) * (floor * incumbent - served)


def _read_heaviest(heaviest: float) -> float:
    if not 0.0 < heaviest < math.inf:
        raise UsageError(
            f"heaviest is {heaviest}; a positive weight is expected",
            code="weight-invalid",
            hint="take one over the smallest probability with which a request is audited",
        )
    return float(heaviest)


def _read_state(state: Mapping[str, object], name: str) -> tuple[int, float, FloatArray]:
    """Check a monitor's state: a count, an e-value, one number a bet."""
    n, e_value, numbers = state.get("n"), state.get("e_value"), state.get(name)
    if (
        type(n) is int
        and n >= 0
        and isinstance(e_value, int | float)
        and isinstance(numbers, list)
        and len(numbers) == len(GRID)
        and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    ):
        return n, float(e_value), np.array(numbers, dtype=np.float64)
    raise UsageError(
        f"this is not the state of such a monitor: it lacks `n`, `e_value` or {len(GRID)} finite `{name}`",
        code="state-invalid",
        hint="compute the state again from the audits",
    )
