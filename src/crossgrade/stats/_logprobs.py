"""Whether two hosts give the same log-probabilities, or the same greedy answers, within a tolerance.

Two healthy hosts of the same weights never agree to the last bit: batches, kernels and number formats round
differently. So the question is not whether their log-probabilities differ but by how much. A gap is the mean
absolute difference of one prompt, in nats, capped at `CAP` times the tolerance, so that one prompt does not
decide.

Prompts are drawn alike and in random order, and bets are made against "the mean gap is at most the tolerance"
and against "it is at least the tolerance" (I. Waudby-Smith and A. Ramdas, J. R. Statist. Soc. B 86 (2024)
1-27). Their capitals may be read after each prompt: each is wrong with probability of at most alpha, however
long one looks on.

Greedy answers go apart where two tokens are almost tied and the kernels round differently, and then stay
apart. So a greedy answer of each host is read up to where the two part. Each token up to there is a trial,
which fails where the answers part, and the same bets are made on the share of failures. Hosts do not say
their tokens, so four bytes count as one, as in English.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossgrade.errors import UsageError
from crossgrade.stats._bets import GRID
from crossgrade.stats._pairs import FloatArray, read_numbers, read_rate

TokenLogprobs: TypeAlias = Sequence[tuple[str, Mapping[str, float]]]
"""One answer: for each position the token taken, and the log-probabilities that are given there, in nats."""

TOLERANCE_NATS = 0.05
CAP = 5.0
"""A gap counts for at most this many tolerances."""

PARTING_SHARE = 0.03
"""The share of tokens at which greedy answers of healthy hosts may part."""

_BYTES_PER_TOKEN = 4
_BROKEN = "\ufffd"

LEAST_NATS, MOST_NATS = -10_000.0, 0.001
"""What a log-probability can be: hosts write -9999 for "hardly", and may round up to just above 0."""

_HALVINGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class _Betting:
    """What bets on `n` answers say of a mean and its tolerance.

    `differs`: it was shown to be above the tolerance, wrongly with probability of at most `alpha`. `alike`:
    it was shown to be below, with the same error rate. `open`: neither. Without `could_differ`, n answers are
    too few to show a difference, whatever they are.
    """

    outcome: Literal["differs", "alike", "open"]
    e_value: float
    n: int
    alpha: float
    could_differ: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogprobDifference(_Betting):
    """What the gaps of n prompts say about the mean gap, capped, in nats.

    `low` and `high` hold at each n at once, with probability of at least 1 - 2 `alpha`. `capped` gaps were
    larger than they count.
    """

    mean_gap: float
    low: float
    high: float
    tolerance_nats: float
    capped: int
    method: str = "betting on the mean of capped gaps"

    @property
    def is_within(self) -> bool:
        """Whether the mean gap that was seen is within the tolerance, shown or not."""
        return self.mean_gap <= self.tolerance_nats


@dataclass(frozen=True, slots=True, kw_only=True)
class PartingDifference(_Betting):
    """How often the greedy answers of two hosts part: at `partings` of the `tokens` that were read."""

    partings: int
    tokens: int
    tolerance: float
    method: str = "betting on the share of tokens at which answers part"

    @property
    def is_within(self) -> bool:
        """Whether the share that was seen is within the tolerance, shown or not."""
        return self.partings <= self.tolerance * self.tokens


def logprob_gap(reference: TokenLogprobs, checked: TokenLogprobs) -> float | None:
    """Return the mean absolute difference of two answers' log-probabilities in nats.

    Positions count up to the first at which the answers took different tokens, and of each position the
    tokens that both sides list. None if none can be compared. What is not in [`LEAST_NATS`, `MOST_NATS`] is
    left out, and so are tokens that are parts of a character: they all have the same text.
    """
    gaps: list[float] = []
    for (token, ours), (other, theirs) in zip(reference, checked, strict=False):
        names = [name for name in ours.keys() & theirs.keys() if _BROKEN not in name]
        pairs = [(ours[name], theirs[name]) for name in names]
        gaps += [abs(one - two) for one, two in pairs if _is_possible(one) and _is_possible(two)]
        if token != other or _BROKEN in token:
            break
    return math.fsum(gaps) / len(gaps) if gaps else None


def impossible_logprob(places: TokenLogprobs) -> float | None:
    """Return a number of an answer that is no log-probability, None if all are some.

    Any is too large that is above `MOST_NATS`. Of tokens that were taken, it may not be below `LEAST_NATS`;
    of others that is only a probability of 0.
    """
    for token, found in places:
        for name, value in found.items():
            if not (_is_possible(value) or (name != token and value < LEAST_NATS)):
                return value
    return None


def _is_possible(value: float) -> bool:
    return LEAST_NATS <= value <= MOST_NATS


def logprobs_differ(
    gaps: Sequence[float], *, alpha: float = 0.01, tolerance_nats: float = TOLERANCE_NATS
) -> LogprobDifference:
    """Test whether the mean gap is above or below the tolerance, from one gap a prompt in the order asked.

    The outcome is the first that was reached. Raises `UsageError` without a gap, and for gaps that are
    negative or not finite, a tolerance that is not positive and an alpha outside (0, 1).
    """
    read_rate("alpha", alpha)
    values = read_numbers("gaps", list(gaps))
    if not len(values) or values.min() < 0:
        raise UsageError(
            "gaps are needed, none of them negative",
            code="gaps-invalid",
            hint="leave out prompts for which `logprob_gap` gives None",
        )
    if not 0.0 < tolerance_nats < math.inf:
        raise UsageError(
            f"tolerance_nats is {tolerance_nats}; a positive number is expected",
            code="tolerance-invalid",
            hint="0.05 nats are usual for healthy hosts",
        )
    shares = np.minimum(values / (CAP * tolerance_nats), 1.0)
    outcome, e_value = _bet(shares, 1 / CAP, alpha)
    scale = CAP * tolerance_nats
    return LogprobDifference(
        outcome=outcome,
        mean_gap=float(shares.mean()) * scale,
        low=_least_mean(shares, alpha) * scale,
        high=(1 - _least_mean(1 - shares, alpha)) * scale,
        e_value=e_value,
        n=len(values),
        alpha=alpha,
        tolerance_nats=tolerance_nats,
        capped=int((values > scale).sum()),
        could_differ=_could_differ(len(values), 1 / CAP, alpha),
    )


def greedy_parts(
    pairs: Sequence[tuple[str, str]], *, alpha: float = 0.01, tolerance: float = PARTING_SHARE
) -> PartingDifference:
    """Test whether greedy answers part at more tokens than rounding explains, from one pair a prompt.

    The answers of a pair have the same limit of tokens. Where one is the beginning of the other, they part at
    its end. Raises `UsageError` without a pair, and for a tolerance or an alpha outside (0, 1).
    """
    read_rate("alpha", alpha)
    read_rate("tolerance", tolerance)
    if not pairs:
        raise UsageError(
            "no question has a greedy answer from both sides",
            code="answers-too-few",
            hint="ask both hosts the same questions",
        )
    trials: list[float] = []
    for pair in pairs:
        ours, theirs = (text.encode(errors="surrogatepass") for text in pair)
        equal = (one == two for one, two in zip(ours, theirs, strict=False))
        same = sum(takewhile(bool, equal))
        trials += [0.0] * (same // _BYTES_PER_TOKEN) + [1.0] * (ours != theirs)
    shares = np.array(trials)
    outcome, e_value = _bet(shares, tolerance, alpha) if trials else ("open", 0.0)
    return PartingDifference(
        outcome=outcome,
        partings=int(shares.sum()),
        tokens=len(shares),
        e_value=e_value,
        n=len(pairs),
        alpha=alpha,
        tolerance=tolerance,
        could_differ=_could_differ(len(pairs), tolerance, alpha),
    )


def _bet(shares: FloatArray, mean: float, alpha: float) -> tuple[Literal["differs", "alike", "open"], float]:
    """Return which was shown first, that the mean is above or below `mean`, and the capital against below."""
    above, below = _capital(shares, mean), _capital(1 - shares, 1 - mean)
    first = [
        int(np.argmax(side >= 1 / alpha)) if (side >= 1 / alpha).any() else len(shares)
        for side in (above, below)
    ]
    if min(first) == len(shares):
        return "open", float(above.max())
    return "differs" if first[0] <= first[1] else "alike", float(above.max())


def _could_differ(n: int, mean: float, alpha: float) -> bool:
    """Return whether the largest n shares would show that their mean is above `mean`."""
    return bool(_capital(np.ones(n), mean)[-1] >= 1 / alpha)


def _capital(shares: FloatArray, mean: float) -> NDArray[np.float64]:
    """Return the capital of bets against "the mean is at most `mean`" after each of the shares in [0, 1]."""
    logs = np.log1p(GRID[:, None] * (shares / mean - 1)).cumsum(axis=1)
    capital: FloatArray = np.exp(np.minimum(logs, 700.0)).mean(axis=0)
    return capital


def _least_mean(shares: FloatArray, alpha: float) -> float:
    """Return the largest mean that the shares rule out at their last, 0 if none."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        ruled_out = bool(_capital(shares, middle)[-1] >= 1 / alpha)
        low, high = (middle, high) if ruled_out else (low, middle)
    return low
