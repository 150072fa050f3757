"""Make a fit with its errors: of the shipped points, or of a team's own around the shipped constants."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from datetime import date

import numpy as np

from crossgrade.domain import Architecture
from crossgrade.hosting._fit import (
    BAND,
    CrossValidation,
    GroupError,
    Grouping,
    ServingFit,
    cross_validate,
    errors_of,
    fit_constants,
    predict_points,
)
from crossgrade.hosting._hardware import Gpu
from crossgrade.hosting._points import MeasuredPoint

GROUPINGS: tuple[Grouping, ...] = ("family", "hardware", "model", "engine")

ENOUGH_FOR_A_BAND = 20
"""Own points below which the band stays that of the shipped fit."""


def fit_serving(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    *,
    on: date,
) -> ServingFit:
    """Fit constants from our guesses, and validate them by family, hardware, model and engine."""
    constants = fit_constants(points, models, gpus)
    inside = errors_of(predict_points(points, models, gpus, constants), measured_of(points))
    return ServingFit(
        constants=constants,
        n=len(points),
        points_digest=points_digest(points),
        fitted_on=on.isoformat(),
        in_sample_median=inside.median,
        validations=tuple(cross_validate(points, models, gpus, grouping) for grouping in GROUPINGS),
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
    point is left out in turn); with fewer than `ENOUGH_FOR_A_BAND` points the band stays as it was.
    """
    measured = measured_of(points)
    before = errors_of(predict_points(points, models, gpus, shipped.constants), measured, "before")
    unseen = np.array(predict_points(points, models, gpus, shipped.constants))
    folds = min(10, len(points))
    for fold in range(folds):
        out = np.arange(len(points)) % folds == fold
        rest = [point for point, left in zip(points, out, strict=True) if not left]
        if rest:
            kept = fit_constants(rest, models, gpus, start=shipped.constants)
            unseen[out] = predict_points(points, models, gpus, kept)[out]
    after = errors_of(unseen, measured, "after")
    constants = fit_constants(points, models, gpus, start=shipped.constants)
    validation = shipped.validations[0]
    if len(points) >= ENOUGH_FOR_A_BAND:
        ratio = measured / unseen
        low, high = np.quantile(ratio, BAND)
        validation = CrossValidation(
            grouping="every tenth point",
            n=len(points),
            median=after.median,
            p90=after.p90,
            worst_median=after.median,
            coverage=float(((ratio >= low) & (ratio <= high)).mean()),
            low=float(low),
            high=float(high),
            groups=(after,),
        )
    fit = replace(
        shipped,
        constants=constants,
        n=len(points),
        points_digest=points_digest(points),
        fitted_on=on.isoformat(),
        in_sample_median=errors_of(predict_points(points, models, gpus, constants), measured).median,
        validations=(validation,),
    )
    return fit, before, after


def measured_of(points: Sequence[MeasuredPoint]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return what was measured, shape (n,)."""
    return np.array([point.output_tokens_s_gpu for point in points])


def points_digest(points: Sequence[MeasuredPoint]) -> str:
    """Name a set of points by its content."""
    return "sha256:" + hashlib.sha256(repr([astuple(point) for point in points]).encode()).hexdigest()
