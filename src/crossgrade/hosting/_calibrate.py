"""Make a fit with its errors: of the shipped points, or of a team's own around the shipped constants."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from datetime import date

import numpy as np

from crossgrade.domain import Architecture
from crossgrade.hosting._band import Spread, spread_of
from crossgrade.hosting._fit import (
    fit_prepared,
    predicted,
    predicted_ttft_ms,
    prepare,
)
from crossgrade.hosting._hardware import Gpu
from crossgrade.hosting._points import MeasuredPoint
from crossgrade.hosting._validate import (
    CrossValidation,
    GroupError,
    Grouping,
    ServingFit,
    cross_validation,
    group_error,
    spreads_of,
    unseen_errors,
)
from crossgrade.hosting._work import Array

GROUPINGS: tuple[Grouping, ...] = ("family", "hardware", "model", "engine")

ENOUGH_FOR_A_BAND = 20
"""Own points below which a band stays that of the shipped fit."""


def fit_serving(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    *,
    on: date,
) -> ServingFit:
    """Fit constants from our guesses, and validate them by family, hardware, model and engine."""
    prepared = prepare(points, models, gpus)
    everything = np.ones(len(points), dtype=bool)
    constants = fit_prepared(prepared, everything)
    by_group = {
        grouping: unseen_errors(
            prepared, [str(getattr(point, grouping)) for point in points], everything, constants
        )
        for grouping in GROUPINGS
    }
    throughput, first_token = spreads_of(prepared, by_group["family"])
    inside = group_error("all", np.log(predicted(prepared, constants)) - np.log(prepared.measured))
    return ServingFit(
        constants=constants,
        n=len(points),
        timed=int(np.isfinite(prepared.ttft_ms).sum()),
        points_digest=points_digest(points),
        fitted_on=on.isoformat(),
        in_sample_median=inside.median,
        validations=tuple(
            cross_validation(grouping, [str(getattr(point, grouping)) for point in points], errors.throughput)
            for grouping, errors in by_group.items()
        ),
        throughput=throughput,
        first_token=first_token,
    )


def refit_serving(
    shipped: ServingFit,
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    *,
    on: date,
) -> tuple[ServingFit, GroupError, GroupError]:
    """Refit to a team's measurements, drawn towards the shipped constants; errors before and after.

    The errors after are on points that a fit on the rest of its tenth had not seen (every tenth
    point is left out in turn); with fewer than `ENOUGH_FOR_A_BAND` points a band stays as it was.
    """
    prepared = prepare(points, models, gpus)
    measured = np.log(prepared.measured)
    before = group_error("before", np.log(predicted(prepared, shipped.constants)) - measured)
    constants = fit_prepared(prepared, np.ones(len(points), dtype=bool), start=shipped.constants)
    speed = measured - np.log(predicted(prepared, shipped.constants))
    first = np.log(prepared.ttft_ms) - np.log(predicted_ttft_ms(prepared, shipped.constants))
    folds = min(10, len(points))
    for fold in range(folds):
        out = np.arange(len(points)) % folds == fold
        if not out.all():
            kept = fit_prepared(prepared, ~out, start=shipped.constants, begin=constants)
            speed[out] = (measured - np.log(predicted(prepared, kept)))[out]
            first[out] = (np.log(prepared.ttft_ms) - np.log(predicted_ttft_ms(prepared, kept)))[out]
    after = group_error("after", -speed)
    timed = np.isfinite(first)
    enough = len(points) >= ENOUGH_FOR_A_BAND
    fit = replace(
        shipped,
        constants=constants,
        n=len(points),
        timed=int(timed.sum()),
        points_digest=points_digest(points),
        fitted_on=on.isoformat(),
        in_sample_median=group_error("all", np.log(predicted(prepared, constants)) - measured).median,
        validations=(_own_validation(after, speed) if enough else shipped.validations[0],),
        throughput=_own_spread(speed) if enough else shipped.throughput,
        first_token=_own_spread(first[timed]) if timed.sum() >= ENOUGH_FOR_A_BAND else shipped.first_token,
    )
    return fit, before, after


def _own_spread(errors: Array) -> Spread:
    """Return one spread for all of a team's own points, which are mostly of one deployment."""
    return spread_of(errors, [{}] * len(errors))


def _own_validation(after: GroupError, errors: Array) -> CrossValidation:
    low, high = _own_spread(errors).typical
    ratio = np.exp(errors)
    return CrossValidation(
        grouping="every tenth point",
        n=after.n,
        median=after.median,
        p90=after.p90,
        worst_median=after.median,
        coverage=float(((ratio >= low) & (ratio <= high)).mean()),
        low=low,
        high=high,
        groups=(after,),
    )


def points_digest(points: Sequence[MeasuredPoint]) -> str:
    """Name a set of points by its content."""
    return "sha256:" + hashlib.sha256(repr([astuple(point) for point in points]).encode()).hexdigest()
