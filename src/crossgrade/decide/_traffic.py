"""Whether recent traffic is like the samples: two sets of requests in counts, and the facts that moved.

Every fact becomes a question with the answer yes or no ("at least 1,024 bytes?", "has code?", "has this
word?"), so that one exact test serves all, and Holm corrects for asking many.

Which questions are asked is chosen on both sides together, without regard to which request is of which
side. If there is no drift, the sides are exchangeable given all requests together, so each p-value is right
whatever is chosen that way. A choice on one side alone would not be: it prefers shares that are extreme there
by chance, and the other side then seems to have moved.

Requests of one conversation are alike, and a sample may stand for many requests. Shares are weighted. The
number n of independent requests that would tell as much is taken as if the requests of a conversation were
all the same: (sum of w)² / (sum of w²) over conversations (L. Kish, Survey Sampling, 1965, section 11.7).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from crossgrade.decide._evidence import BoolColumn, FloatColumn, IntColumn
from crossgrade.decide._traffic_facts import COUNTED, LABELLED, NO_SYSTEM, SeenRequest

WORDS = "words"
LEFT_OUT = "left out"
COMPARED = frozenset({*COUNTED, *LABELLED, WORDS, LEFT_OUT})
"""All that is compared, by name."""

_THRESHOLDS = (0.5, 0.15, 0.05)
"""A count is compared with the powers of two that about so many of all requests reach."""

_VALUES = 6
"""So many values of a fact are compared, the most frequent ones."""

_RARE_WORDS, _COMMON_WORDS, _COMMON = 16, 8, 0.3
_LEAST_WORD, _MOST_WORD = 0.02, 0.98
"""Compared are the most frequent words below a share of requests, and above it those nearest to one half.

Topics move the former. The latter show that prompts are written otherwise. A word that nearly all or nearly
none have tells little, and would cost a part of the error rate.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactShare:
    """How many requests have a value of a fact: `frozen` of `frozen_n` samples, `recent` of `recent_n`.

    The counts are of independent requests: see this module.
    """

    fact: str
    value: str
    frozen: int
    frozen_n: int
    recent: int
    recent_n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficComparison:
    """The samples of a run beside recent requests, in counts that hold no text.

    `source` says in words where the recent requests come from. `frozen_requests` and `recent_requests` are
    how many were looked at. `shares` has an entry for every question that the two sides answer differently or
    could, none if there are too few requests to compare.
    """

    source: str
    frozen_requests: int
    recent_requests: int
    shares: tuple[FactShare, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """The weights of one side's requests, and the numbers of their conversations."""

    weight: FloatColumn
    conversation: IntColumn

    @classmethod
    def of(cls, requests: Sequence[SeenRequest]) -> "_Side":
        numbers: dict[str, int] = {}
        weight = np.array([each.weight for each in requests], dtype=np.float64)
        return cls(
            weight=weight / weight.max(initial=0.0),
            conversation=np.array(
                [numbers.setdefault(each.conversation, len(numbers)) for each in requests], dtype=np.int64
            ),
        )

    def counted(self, has: BoolColumn, known: BoolColumn) -> tuple[int, int]:
        """Return how many of how many independent requests have something, of those of which it is known."""
        weight = self.weight[known]
        total = float(weight.sum())
        if not total:
            return 0, 0
        sums = np.bincount(self.conversation[known], weight)
        # Equal weights give a whole number, but for the last digit.
        n = math.floor(total**2 / float((sums**2).sum()) + 1e-9)
        return round(float(self.weight[known & has].sum()) / total * n), n


class _Both:
    """The requests of both sides together, the samples first."""

    def __init__(self, frozen: Sequence[SeenRequest], recent: Sequence[SeenRequest]) -> None:
        self._requests = (*frozen, *recent)
        self._frozen, self._recent = _Side.of(frozen), _Side.of(recent)
        self._first = len(frozen)
        self._all = np.ones(len(self._requests), dtype=np.bool_)

    def shares(self) -> Iterator[FactShare]:
        """Yield the share on each side of everything that is compared."""
        for fact in COUNTED:
            counts = np.array([each.counted.get(fact, np.nan) for each in self._requests])
            known = np.isfinite(counts)
            for least in _thresholds(counts[known]):
                yield self._share(fact, f"at least {least:,}", counts >= least, known)
        for fact in LABELLED:
            labels = np.array([each.labelled.get(fact) for each in self._requests], dtype=np.object_)
            known = np.array([each is not None for each in labels], dtype=np.bool_)
            for rank, value in _values(labels[known].tolist()):
                shown = _ranked(rank) if fact == "system" and value != NO_SYSTEM else value
                yield self._share(fact, shown, labels == value, known)
        for number, has in enumerate(self._words(), start=1):
            yield self._share(WORDS, f"word {number}", has, self._all)

    def left_out(self, before: Mapping[str, float], now: Mapping[str, float]) -> Iterator[FactShare]:
        """Yield the shares of the traffic that cannot be samples, by cause."""
        sizes = [
            side.counted(*[np.ones(len(side.weight), dtype=np.bool_)] * 2)[1]
            for side in (self._frozen, self._recent)
        ]
        for cause in dict.fromkeys((*before, *now)):
            found, other = (
                round(min(shares.get(cause, 0.0), 1.0) * n)
                for shares, n in zip((before, now), sizes, strict=True)
            )
            yield FactShare(
                fact=LEFT_OUT, value=cause, frozen=found, frozen_n=sizes[0], recent=other, recent_n=sizes[1]
            )

    def _share(self, fact: str, value: str, has: BoolColumn, known: BoolColumn) -> FactShare:
        at = self._first
        found, n = self._frozen.counted(has[:at], known[:at])
        other, m = self._recent.counted(has[at:], known[at:])
        return FactShare(fact=fact, value=value, frozen=found, frozen_n=n, recent=other, recent_n=m)

    def _words(self) -> list[BoolColumn]:
        """Return which requests have each word that is compared: see `_RARE_WORDS`."""
        n = len(self._requests)
        words = np.fromiter(chain.from_iterable(each.words for each in self._requests), dtype=np.int64)
        of = np.repeat(np.arange(n), [len(each.words) for each in self._requests])
        found = np.bincount(words)
        share = found / max(n, 1)
        kept = np.flatnonzero((share >= _LEAST_WORD) & (share <= _MOST_WORD))
        rare, common = kept[share[kept] <= _COMMON], kept[share[kept] > _COMMON]
        rare = rare[np.argsort(-found[rare], kind="stable")][:_RARE_WORDS]
        common = common[np.argsort(np.abs(2 * found[common] - n), kind="stable")][:_COMMON_WORDS]
        chosen = np.concatenate([common, rare])
        place = np.full(len(found), -1)
        place[chosen] = np.arange(len(chosen))
        has = np.zeros((len(chosen), n), dtype=np.bool_)
        at = place[words]
        has[at[at >= 0], of[at >= 0]] = True
        return list(has)


def compare_traffic(
    frozen: Sequence[SeenRequest],
    recent: Sequence[SeenRequest],
    *,
    source: str,
    left_out: tuple[Mapping[str, float], Mapping[str, float]] | None = None,
) -> TrafficComparison:
    """Return the comparison of a run's samples with recent requests.

    `left_out` has the shares of the traffic that cannot be samples by cause, as the log behind the samples
    and the recent log say. They count as shares of as many requests as were looked at, which is no more than
    there were. Weights must be positive.
    """
    both = _Both(frozen, recent)
    shares = (*both.shares(), *(() if left_out is None else both.left_out(*left_out)))
    return TrafficComparison(
        source=source, frozen_requests=len(frozen), recent_requests=len(recent), shares=shares
    )


def _thresholds(counts: FloatColumn) -> list[int]:
    """Return the powers of two to compare counts with: those that some reach and some do not."""
    powers = [1 << bit for bit in range(int(counts.max(initial=0.0)).bit_length())]
    reached = ((least, float((counts >= least).mean())) for least in powers)
    apart = {least: math.log(share / (1 - share)) for least, share in reached if 0 < share < 1}
    if not apart:
        return []
    logits = [math.log(target / (1 - target)) for target in _THRESHOLDS]
    return sorted({min(apart, key=lambda least: abs(apart[least] - logit)) for logit in logits})


def _values(labels: Sequence[str]) -> list[tuple[int, str]]:
    """Return the values to compare with their ranks, the most frequent first: of two values the second."""
    found = Counter(labels)
    ranked = list(enumerate(sorted(found, key=lambda value: (-found[value], value)), start=1))
    return ranked[1:] if len(ranked) <= 2 else ranked[:_VALUES]


def _ranked(rank: int) -> str:
    return "the most frequent" if rank == 1 else f"number {rank} by frequency"
