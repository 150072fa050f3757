"""Put the audits of a claim on the whole together, so that bursts from one segment prove nothing.

A certificate on the whole speaks of a mix of segments: with shares w_k and mean losses L_k it says that
the sum of w_k L_k is at most 0. One segment may then lie below the floor as long as others make up for it,
and a run of audits from that segment looks like a broken claim. Bets on audits as they come are
therefore no evidence, however slowly they are made.

`Strata` holds audits until every segment has some, and hands over sets in which segment k has m_k of them,
in proportion to its share. Inside a set each loss is scaled by c_k, so that m_k c_k is exactly in
proportion to w_k. With independent audits a bet of fraction f multiplies its capital by a factor of mean

    product of (1 + f c_k L_k)^m_k  <=  exp(f sum of m_k c_k L_k)  <=  1

while the claim holds, in whatever order and in whatever bursts the segments come. It is stratified
sampling with the certified shares (J. Neyman, J. R. Statist. Soc. 97 (1934) 558-625), one set at a time.

What this rests on: each segment keeps the mean loss it has, and observations do not depend on one another.
Segments of less than `SMALLEST` of the traffic would be waited for too long. They are put together with one
another into strata of about that share, and inside such a stratum the mix has to stay what it was.

An observation may be a conversation of several audits, with its mean loss and its size n. The claim is
about requests, so it weighs n / N, where N is the size that nine of ten audits so far did not
exceed. Larger conversations weigh like N. c_k then divides by the mean size in the segment as well.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypeGuard

from crossgrade.domain import JSON
from crossgrade.errors import UsageError
from crossgrade.stats._monitors import State

SMALLEST = 0.1
"""The smallest share of traffic with which a segment is a stratum of its own."""

TINY = 0.01
"""Small segments of less than this share in all are no stratum, but part of the smallest one."""

KEPT = 500
"""Observations of a stratum that are held, or twice its quota if that is more; the oldest go first."""

_COMMON = 0.9
"""The share of audits in conversations that weigh by their full size."""

Label = str | None
"""A segment's name; None stands for requests of unknown segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Segments that count as one: their share of the traffic, and how many observations a set has of them."""

    labels: tuple[Label, ...]
    share: float
    quota: int


class Strata:
    """Turns observations into sets of losses for `ClaimProcess.take` and `ChangeDetector.take`.

    `shares` are the segments' shares of the certified traffic. Without any there is one stratum that
    takes every segment, and each observation is a set of its own.
    """

    def __init__(self, shares: Mapping[Label, float] | None = None) -> None:
        self.strata = strata_of(shares) if shares else (Stratum(labels=(), share=1.0, quota=1),)
        self.since = 0
        """Observations since the last set."""
        self._of = {label: at for at, each in enumerate(self.strata) for label in each.labels}
        self._held: list[list[tuple[float, float]]] = [[] for _ in self.strata]
        self._seen = [(0, 0)] * len(self.strata)
        self._sizes: Counter[int] = Counter()

    @property
    def held(self) -> int:
        """How many observations wait for others to make a set with."""
        return sum(map(len, self._held))

    @property
    def lacking(self) -> tuple[Stratum, ...]:
        """The strata of which the next set has too few observations."""
        pairs = zip(self.strata, self._held, strict=True)
        return tuple(stratum for stratum, held in pairs if len(held) < stratum.quota)

    def stratum(self, segment: Label) -> int | None:
        """Return the place in `strata` where a segment belongs, None where the shares do not have it."""
        return 0 if not self._of else self._of.get(segment)

    def add(self, segment: Label, lost: float, size: int = 1, scale: float = 1.0) -> tuple[float, ...]:
        """Take an observation; return the set that it completes, or nothing.

        `lost` is its mean loss, at least -1, `size` the number of audits it is the mean of, `scale` what
        the loss was divided by. An observation of a segment that the shares do not have is left out.
        """
        at = self.stratum(segment)
        if at is None:
            return ()
        self.since += 1
        held = self._held[at]
        held.append((lost * min(size / self._common_size(), 1.0), scale))
        del held[: -max(KEPT, 2 * self.strata[at].quota)]
        seen, audits = self._seen[at]
        self._seen[at] = seen + 1, audits + size
        self._sizes[size] += size
        if self.lacking:
            return ()
        self.since = 0
        return self._pop()

    def _pop(self) -> tuple[float, ...]:
        """Return the newest observations of each stratum as a set: a change shows in those first."""
        found: list[tuple[float, float]] = []
        for each, held, (seen, audits) in zip(self.strata, self._held, self._seen, strict=True):
            stands_for = each.share * (seen + 1) / (each.quota * (audits + 1))
            found += [(lost, stands_for * scale) for lost, scale in held[-each.quota :]]
            del held[-each.quota :]
        largest = max(weight for _, weight in found)
        return tuple(lost * weight / largest for lost, weight in found)

    def _common_size(self) -> int:
        total, reached = self._sizes.total(), 0
        for size in sorted(self._sizes):
            reached += self._sizes[size]
            if reached >= _COMMON * total:
                return size
        return 1

    def state(self) -> State:
        """Return what `restore` needs to go on from here, as plain JSON."""
        return {
            "strata": [list(each.labels) for each in self.strata],
            "since": self.since,
            "held": [[list(one) for one in each] for each in self._held],
            "seen": [list(each) for each in self._seen],
            "sizes": [list(each) for each in sorted(self._sizes.items())],
        }

    def restore(self, state: Mapping[str, object]) -> Self:
        """Go on from where strata of the same shares stood; raises `UsageError` for others'."""
        mine = [list(each.labels) for each in self.strata]
        since, held, seen, sizes = (state.get(name) for name in ("since", "held", "seen", "sizes"))
        if not (
            state.get("strata") == mine
            and type(since) is int
            and isinstance(held, list)
            and len(held) == len(mine)
            and all(_is_table(each, None, 2) for each in held)
            and _is_table(seen, len(mine), 2)
            and _is_table(sizes, None, 2)
        ):
            raise UsageError(
                "this is not the state of such strata: other segments, or something is missing",
                hint="compute the state again from the audits",
            )
        self.since = since
        self._held = [[(float(lost), float(scale)) for lost, scale in each] for each in held]
        self._seen = [(int(each[0]), int(each[1])) for each in seen]
        self._sizes = Counter({int(size): int(audits) for size, audits in sizes})
        return self


def strata_of(shares: Mapping[Label, float]) -> tuple[Stratum, ...]:
    """Return the strata of segments with these shares of traffic, in any unit, the smallest first.

    Raises `UsageError` where a share is not positive.
    """
    if not all(share > 0 for share in shares.values()):
        raise UsageError(
            f"the shares of segments are {dict(shares)}; positive ones are wanted",
            hint="leave out segments that have no traffic",
        )
    total = sum(shares.values())
    groups: list[tuple[tuple[Label, ...], float]] = []
    for label in sorted(shares, key=lambda each: (shares[each], each or "")):
        share = shares[label] / total
        if groups and max(groups[-1][1], share) < SMALLEST - 1e-9:
            groups[-1] = (*groups[-1][0], label), groups[-1][1] + share
        else:
            groups.append(((label,), share))
    groups.sort(key=lambda each: each[1])
    if groups[0][1] < TINY:
        (names, share), (others, rest), *more = groups
        groups = [((*names, *others), share + rest), *more]
    rarest = min(share for _, share in groups)
    return tuple(
        Stratum(labels=names, share=share, quota=max(1, round(share / rarest))) for names, share in groups
    )


def _is_table(rows: object, count: int | None, width: int | None = None) -> TypeGuard[list[list[float]]]:
    """Tell whether this is a list of `count` lists of `width` finite numbers; None is any."""
    return (
        isinstance(rows, list)
        and count in (None, len(rows))
        and all(isinstance(row, list) and width in (None, len(row)) and _are_numbers(row) for row in rows)
    )


def _are_numbers(row: Iterable[JSON]) -> bool:
    return all(isinstance(each, int | float) and abs(each) < float("inf") for each in row)
