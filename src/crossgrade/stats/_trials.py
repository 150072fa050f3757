"""Several attempts a task: where the variance comes from, and what more attempts or more tasks would show."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crossgrade.errors import UsageError
from crossgrade.stats._pairs import read_floor, read_numbers, read_rate
from crossgrade.stats._tails import normal_quantile, normal_tail

_MOST = 1_000_000
ALIKE = 0.65
"""The correlation of two attempts of a model at one task: 0.49 to 0.75 in published trials."""

TASK_CORRELATION = 0.85
"""That of two models' rates of solving the tasks with one agent: 0.65 to 0.97 in published trials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpread:
    """The variance of a task's d = c - floor * b, where b and c are the solved shares of its attempts.

    `between` is that of the tasks themselves, `within` that of a single attempt of each model. The mean over
    n tasks of k attempts has the variance (between + within / k) / n. `incumbent_mean` is the mean of b.
    """

    between: float
    within: float
    incumbent_mean: float
    floor: float

    def power(self, retention: float, *, tasks: int, attempts: int, alpha: float = 0.05) -> float:
        """Return the chance that a fixed test certifies a retention that is really this one."""
        read_rate("alpha", alpha)
        spread = math.sqrt((self.between + self.within / attempts) / tasks)
        effect = (retention - self.floor) * self.incumbent_mean
        if spread <= 0:
            return float(effect > 0)
        return normal_tail(normal_quantile(1 - alpha) - effect / spread)

    def tasks_needed(
        self, retention: float, *, attempts: int, alpha: float = 0.05, power: float = 0.8
    ) -> int | None:
        """Return how many tasks of so many attempts certify a retention with this power; None if none do."""
        effect = (retention - self.floor) * self.incumbent_mean
        if effect <= 0:
            return None
        z = normal_quantile(1 - alpha) + normal_quantile(power)
        needed = math.ceil((z / effect) ** 2 * (self.between + self.within / attempts))
        return max(needed, 1) if needed <= _MOST else None

    def attempts_needed(
        self, retention: float, *, tasks: int, alpha: float = 0.05, power: float = 0.8
    ) -> int | None:
        """Return how many attempts at so many tasks do; None if none do, for the tasks differ too much."""
        effect = (retention - self.floor) * self.incumbent_mean
        if effect <= 0:
            return None
        z = normal_quantile(1 - alpha) + normal_quantile(power)
        left = tasks * (effect / z) ** 2 - self.between
        if left <= 0:
            return None
        needed = math.ceil(self.within / left)
        return max(needed, 1) if needed <= _MOST else None


def planned_spread(
    incumbent_mean: float,
    retention: float,
    floor: float,
    *,
    alike: float = ALIKE,
    correlation: float = TASK_CORRELATION,
) -> TrialSpread:
    """Return the spread to plan with before any trial has run.

    `alike` is the correlation of two attempts of one model at a task, in [0, 1], and `correlation` that of
    the two models' rates of solving the tasks, in [-1, 1]. With the variances v of a single attempt of either
    model, v_b = b (1 - b), between = alike (v_c + floor^2 v_b - 2 floor correlation sqrt(v_b v_c)) and
    within = (1 - alike) (v_c + floor^2 v_b). Raises `UsageError` for a retention that needs a mean above 1.
    """
    read_floor(floor)
    read_rate("incumbent_mean", incumbent_mean)
    candidate = retention * incumbent_mean
    if not (0 <= candidate <= 1 and 0 <= alike <= 1 and -1 <= correlation <= 1):
        raise UsageError(
            f"a retention of {retention} of an incumbent mean of {incumbent_mean} with correlations of "
            f"{alike} and {correlation} cannot be",
            code="retention-impossible",
            hint=f"with this incumbent the expected retention is at most {1 / incumbent_mean:.3f}",
        )
    own, other = incumbent_mean * (1 - incumbent_mean), candidate * (1 - candidate)
    once = other + floor**2 * own
    shared = 2 * floor * correlation * math.sqrt(own * other)
    return TrialSpread(
        between=max(alike * (once - shared), 0.0),
        within=(1 - alike) * once,
        incumbent_mean=incumbent_mean,
        floor=floor,
    )


def trial_spread(
    incumbent: ArrayLike,
    candidate: ArrayLike,
    incumbent_attempts: ArrayLike,
    candidate_attempts: ArrayLike,
    floor: float,
) -> TrialSpread | None:
    """Split the variance of d = c - floor * b into that between tasks and that between attempts.

    The shares have one entry a task, in [0, 1], and the attempts are how many each rests on. Of right and
    wrong attempts p (1 - p) k / (k - 1) estimates the variance of one without bias. (W. G. Cochran, Sampling
    Techniques, 3rd edition, 1977, section 10.3.) Returns None for fewer than two tasks, and where no task has
    two attempts of both models: the two variances then cannot be told apart.
    """
    read_floor(floor)
    b, c = read_numbers("incumbent", incumbent), read_numbers("candidate", candidate)
    kb, kc = (
        read_numbers("incumbent_attempts", incumbent_attempts),
        read_numbers("candidate_attempts", candidate_attempts),
    )
    several = (kb >= 2) & (kc >= 2)
    if len(b) < 2 or not several.any():
        return None
    once_b, once_c = (_one_attempt(p[several], k[several]) for p, k in ((b, kb), (c, kc)))
    within = float((once_c + floor**2 * once_b).mean())
    noise = float((once_c / kc[several] + floor**2 * once_b / kb[several]).mean())
    total = float((c - floor * b).var(ddof=1))
    return TrialSpread(
        between=max(total - noise, 0.0), within=within, incumbent_mean=float(b.mean()), floor=floor
    )


def _one_attempt(share: np.ndarray, attempts: np.ndarray) -> np.ndarray:
    found: np.ndarray = share * (1 - share) * attempts / (attempts - 1)
    return found
