"""How far off the serving model is on points that its constants and bands have not seen."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Architecture
from crossgrade.errors import UsageError
from crossgrade.hosting._band import BAND, Spread, Traits, spread_of
from crossgrade.hosting._fit import Prepared, fit_prepared, predicted, predicted_ttft_ms, prepare
from crossgrade.hosting._hardware import Gpu
from crossgrade.hosting._points import MeasuredPoint
from crossgrade.hosting._timing import Constants
from crossgrade.hosting._work import Array

PARTS = 5
"""Parts into which the hash of a point's name divides points; each is held out once."""

ENOUGH_FOR_A_GROUP = 20
"""Points from which a group's share inside its bands is stated."""

Grouping = Literal["family", "model", "hardware", "engine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupError:
    """Errors on the points of one group: n, median and 90th percentile of |predicted/measured - 1|.

    `bias` is the median of log(predicted/measured): above 0 the model is too fast.
    """

    name: str
    n: int
    median: float
    p90: float
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """How well points are predicted by constants fitted without their group.

    `coverage` is the share of points inside a band made from the errors on all other groups, and
    `low` and `high` the band itself: measured over predicted, from all points.
    """

    grouping: str
    n: int
    median: float
    p90: float
    worst_median: float
    coverage: float
    low: float
    high: float
    groups: tuple[GroupError, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFit:
    """Constants with what they were fitted on, how far off they are, and the bands that follow.

    `timed` is how many of the `n` points state a time to the first token.
    """

    constants: Constants
    n: int
    timed: int
    points_digest: str
    fitted_on: str
    in_sample_median: float
    validations: tuple[CrossValidation, ...]
    throughput: Spread
    first_token: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutGroup:
    """Points of one group that were held out: median error, the share in their bands, a band's ends.

    `ratio` is the median of a band's upper end over its lower.
    """

    grouping: str
    name: str
    n: int
    median: float
    coverage: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Logarithms of measured over predicted on points that were not seen; NaN where nothing was measured."""

    throughput: Array
    first_token: Array


def unseen_errors(
    prepared: Prepared, groups: Sequence[str], chosen: NDArray[np.bool_], begin: Constants | None = None
) -> Errors:
    """Return the errors on each group of the chosen points by a fit on the chosen points of all others."""
    names, index = np.unique(np.array(groups), return_inverse=True)
    speed, first = np.full(len(index), np.nan), np.full(len(index), np.nan)
    for number in range(len(names)):
        out = chosen & (index == number)
        if out.any():
            fitted = fit_prepared(prepared, chosen & ~out, begin=begin)
            speed[out] = (np.log(prepared.measured) - np.log(predicted(prepared, fitted)))[out]
            first[out] = (np.log(prepared.ttft_ms) - np.log(predicted_ttft_ms(prepared, fitted)))[out]
    return Errors(throughput=speed, first_token=first)


def spreads_of(prepared: Prepared, errors: Errors) -> tuple[Spread, Spread]:
    """Return the spreads of throughput and of time to the first token."""
    found = []
    for each in (errors.throughput, errors.first_token):
        known = np.isfinite(each)
        traits = [prepared.traits[index] for index in np.flatnonzero(known)]
        found.append(spread_of(each[known], traits) if traits else Spread(low=0.0, high=0.0, widths={}))
    return found[0], found[1]


def cross_validate(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    grouping: Grouping = "family",
) -> CrossValidation:
    """Return how well each group of points is predicted by a fit on all the others."""
    groups = [str(getattr(point, grouping)) for point in points]
    if len(set(groups)) < 2:
        raise UsageError(
            f"all points are of one {grouping}",
            code="fit-one-group",
            hint="give measurements of at least two, or group otherwise",
        )
    prepared = prepare(points, models, gpus)
    everything = np.ones(len(points), dtype=bool)
    errors = unseen_errors(prepared, groups, everything, fit_prepared(prepared, everything))
    return cross_validation(grouping, groups, errors.throughput)


def cross_validation(grouping: str, groups: Sequence[str], errors: Array) -> CrossValidation:
    """Return what unseen errors of throughput amount to, by group."""
    names, error = np.array(groups), -errors
    inside = np.zeros(len(error), dtype=bool)
    for name in np.unique(names):
        out = names == name
        low, high = np.quantile(error[~out], BAND)
        inside[out] = (error[out] >= low) & (error[out] <= high)
    rows = tuple(group_error(str(name), error[names == name]) for name in np.unique(names))
    fast, slow = np.quantile(error, [1 - BAND[0], 1 - BAND[1]])
    whole = group_error("all", error)
    return CrossValidation(
        grouping=grouping,
        n=len(error),
        median=whole.median,
        p90=whole.p90,
        worst_median=max(row.median for row in rows),
        coverage=float(inside.mean()),
        low=float(np.exp(-fast)),
        high=float(np.exp(-slow)),
        groups=rows,
    )


def group_error(name: str, error: Array) -> GroupError:
    """Return the errors of a group; `error` is the logarithm of predicted over measured."""
    share = np.abs(np.expm1(error))
    return GroupError(
        name=name,
        n=len(error),
        median=float(np.median(share)),
        p90=float(np.quantile(share, 0.9)),
        bias=float(np.median(error)),
    )


def part_of(name: str) -> int:
    """Return the part of the points to which a point belongs, by the SHA-256 of its name."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % PARTS


def hold_out(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    parts: Sequence[int] = range(PARTS),
) -> tuple[tuple[HeldOutGroup, ...], tuple[HeldOutGroup, ...]]:
    """Return errors of throughput and of time to the first token, each on points held out by hash.

    For each of `parts` in turn, constants and bands are fitted on the others alone; the bands come from
    leaving a family out among those.
    """
    prepared = prepare(points, models, gpus)
    everything = np.ones(len(points), dtype=bool)
    begin = fit_prepared(prepared, everything)
    mine = np.array([part_of(point.name) for point in points])
    families = [point.family for point in points]
    speed, first = np.full((3, len(points)), np.nan), np.full((3, len(points)), np.nan)
    for part in parts:
        rest, out = mine != part, mine == part
        constants = fit_prepared(prepared, rest, begin=begin)
        spreads = spreads_of(prepared, unseen_errors(prepared, families, rest, begin))
        speed[0, out] = (np.log(prepared.measured) - np.log(predicted(prepared, constants)))[out]
        first[0, out] = (np.log(prepared.ttft_ms) - np.log(predicted_ttft_ms(prepared, constants)))[out]
        for found, spread in zip((speed, first), spreads, strict=True):
            for index in np.flatnonzero(out):
                found[1:, index] = np.log(spread.band(prepared.traits[index]))
    groupings = [_groups_of(point, traits) for point, traits in zip(points, prepared.traits, strict=True)]
    return _held_out(groupings, speed), _held_out(groupings, first)


def _groups_of(point: MeasuredPoint, traits: Traits) -> dict[str, str]:
    shape = f"{point.input_tokens:g} in, {point.output_tokens:g} out"
    groups = {"all": "all", "family": point.family, "model": point.model, "tokens of a request": shape}
    return groups | dict(traits)


def _held_out(groupings: Sequence[Mapping[str, str]], found: Array) -> tuple[HeldOutGroup, ...]:
    """Return the errors (first row of `found`) and bands (its other two) of each group."""
    error, low, high = found
    inside = (error >= low) & (error <= high)
    rows = []
    for grouping in groupings[0]:
        names = np.array([groups[grouping] for groups in groupings])
        for name in np.unique(names):
            mine = (names == name) & np.isfinite(error)
            if not mine.any():
                continue
            rows.append(
                HeldOutGroup(
                    grouping=grouping,
                    name=str(name),
                    n=int(mine.sum()),
                    median=float(np.median(np.abs(np.expm1(-error[mine])))),
                    coverage=float(inside[mine].mean()),
                    ratio=float(np.median(np.exp(high - low)[mine])),
                )
            )
    return tuple(rows)
