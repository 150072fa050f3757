"""Combine the audits of a claim on the whole into sets, so that bursts from one segment are no evidence.

A certificate on the whole is about a mix of segments: with shares w_k and mean losses L_k it claims that
the sum of w_k L_k is at most 0. One segment may be below the floor where others make up for it. A run of
audits from that segment looks like a broken claim, so bets on audits as they come prove nothing.

`Strata` holds audits until every segment has some. It returns sets in which segment k has m_k audits,
in proportion to its share. Each loss in a set is scaled by c_k so that m_k c_k is exactly proportional to
w_k. If audits are independent, a bet of fraction f multiplies its capital by a factor with mean

    product of (1 + f c_k L_k)^m_k  <=  exp(f sum of m_k c_k L_k)  <=  1

while the claim holds, in whatever order and bursts the segments come. This is stratified sampling with the
certified shares (J. Neyman, J. R. Statist. Soc. 97 (1934) 558-625), one set at a time.

Two assumptions: each segment keeps its mean loss, and observations are independent. Waiting for segments
with less than `SMALLEST` of the traffic would take too long. They are combined into strata of about
that share, and the mix inside such a stratum must stay as certified.

An observation may be a conversation of n audits, with their mean loss. The claim is about requests, so it
has weight n / N. N is the size that nine of ten audits so far did not exceed, and larger conversations
have weight 1. c_k then also divides by the segment's mean size.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeAlias, TypeGuard

from crossgrade.domain import JSON
from crossgrade.errors import UsageError
from crossgrade.stats._monitors import State

SMALLEST = 0.1
"""The smallest share of traffic with which a segment is a stratum of its own."""

TINY = 0.01
"""Small segments with less than this share in total join the smallest stratum."""

KEPT = 500
"""Observations of a stratum that are held at most, or twice its quota. The oldest are dropped."""

_COMMON = 0.9
"""The share of audits whose conversation is weighted by its full size."""

SegmentName: TypeAlias = str | None
"""A segment's name, None for requests without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Segments that count as one, their share of the traffic, and their observations in a set."""

    labels: tuple[SegmentName, ...]
    share: float
    quota: int


class _Held(NamedTuple):
    """An observation that waits: its weighted loss, the divisor in it, and its number of audits."""

    lost: float
    scale: float
    size: int


class Strata:
    """Turns observations into sets of losses for `ClaimProcess.take` and `ChangeDetector.take`.

    `shares` are the segments' shares of the certified traffic. Without shares there is one stratum for
    all segments, and each observation is a set.
    """

    def __init__(self, shares: Mapping[SegmentName, float] | None = None) -> None:
        self.strata = strata_of(shares) if shares else (Stratum(labels=(), share=1.0, quota=1),)
        self.since = 0
        """Observations since the last set."""
        self._of = {label: at for at, each in enumerate(self.strata) for label in each.labels}
        self._held: list[list[_Held]] = [[] for _ in self.strata]
        self._seen = [(0, 0)] * len(self.strata)
        self._sizes: Counter[int] = Counter()

    @property
    def held(self) -> int:
        """Audits that wait for others to complete a set."""
        return sum(each.size for held in self._held for each in held)

    @property
    def lacking(self) -> tuple[Stratum, ...]:
        """The strata that the next set waits for."""
        pairs = zip(self.strata, self._held, strict=True)
        return tuple(stratum for stratum, held in pairs if len(held) < stratum.quota)

    def stratum(self, segment: SegmentName) -> int | None:
        """Return the position of a segment's stratum in `strata`, None for a segment without share."""
        return 0 if not self._of else self._of.get(segment)

    def add(self, segment: SegmentName, lost: float, size: int = 1, scale: float = 1.0) -> tuple[float, ...]:
        """Add an observation. Return the set that it completes, or an empty tuple.

        `lost` is its mean loss, at least -1, `size` its number of audits, `scale` the divisor that `lost`
        already contains. A segment without share is ignored.
        """
        at = self.stratum(segment)
        if at is None:
            return ()
        self.since += 1
        held = self._held[at]
        held.append(_Held(lost * min(size / self._common_size(), 1.0), scale, size))
        del held[: -max(KEPT, 2 * self.strata[at].quota)]
        seen, audits = self._seen[at]
        self._seen[at] = seen + 1, audits + size
        self._sizes[size] += size
        if self.lacking:
            return ()
        self.since = 0
        return self._pop()

    def _pop(self) -> tuple[float, ...]:
        """Return the newest observations of each stratum as a set, because a change shows in them first."""
        found: list[tuple[float, float]] = []
        for each, held, (seen, audits) in zip(self.strata, self._held, self._seen, strict=True):
            stands_for = each.share * (seen + 1) / (each.quota * (audits + 1))
            found += [(one.lost, stands_for * one.scale) for one in held[-each.quota :]]
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
        """Return what `restore` needs to resume, as plain JSON."""
        return {
            "strata": [list(each.labels) for each in self.strata],
            "since": self.since,
            "held": [[list(one) for one in each] for each in self._held],
            "seen": [list(each) for each in self._seen],
            "sizes": [list(each) for each in sorted(self._sizes.items())],
        }

    def restore(self, state: Mapping[str, object]) -> Self:
        """Resume from the state of strata with the same shares; raises `UsageError` for any other."""
        mine = [list(each.labels) for each in self.strata]
        since, held, seen, sizes = (state.get(name) for name in ("since", "held", "seen", "sizes"))
        if not (
            state.get("strata") == mine
            and type(since) is int
            and isinstance(held, list)
            and len(held) == len(mine)
            and all(_is_table(each, None, 3) for each in held)
            and _is_table(seen, len(mine), 2)
            and _is_table(sizes, None, 2)
        ):
            raise UsageError(
                "this is not the state of these strata: the segments differ, or a field is missing",
                code="state-invalid",
                hint="compute the state again from the audits",
            )
        self.since = since
        self._held = [[_Held(float(one[0]), float(one[1]), int(one[2])) for one in each] for each in held]
        self._seen = [(int(each[0]), int(each[1])) for each in seen]
        self._sizes = Counter({int(size): int(audits) for size, audits in sizes})
        return self


def strata_of(shares: Mapping[SegmentName, float]) -> tuple[Stratum, ...]:
    """Return the strata of segments with these shares of traffic (any unit), the smallest first.

    Raises `UsageError` for a share that is not positive.
    """
    if not all(share > 0 for share in shares.values()):
        raise UsageError(
            f"the shares of segments must be positive (got {dict(shares)})",
            code="shares-invalid",
            hint="leave out segments without traffic",
        )
    total = sum(shares.values())
    groups: list[tuple[tuple[SegmentName, ...], float]] = []
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
    """Return whether this is a list of `count` lists of `width` finite numbers; None means any."""
    return (
        isinstance(rows, list)
        and count in (None, len(rows))
        and all(isinstance(row, list) and width in (None, len(row)) and _are_numbers(row) for row in rows)
    )


def _are_numbers(row: Iterable[JSON]) -> bool:
    return all(isinstance(each, int | float) and abs(each) < float("inf") for each in row)
