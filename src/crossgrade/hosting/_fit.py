"""Fit the constants of the serving model to measured points, and tell how far off it is elsewhere.

Least squares on logarithms with a pseudo-Huber loss, drawn towards where the fit starts (a normal
prior on the logarithm of each constant): 22 constants on a few hundred points would else follow
the noise of whatever family has most. Points of a family weigh as one over the root of their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Architecture
from crossgrade.errors import UsageError
from crossgrade.hosting._cycle import CycleWork, Load, cycle, cycle_work, most_in_flight
from crossgrade.hosting._hardware import Deployment, Gpu
from crossgrade.hosting._memory import memory_fit
from crossgrade.hosting._points import MeasuredPoint
from crossgrade.hosting._timing import Constants
from crossgrade.hosting._work import Array, StepWork

LOSS_SCALE = 0.15
"""Error on the logarithm beyond which a point's pull hardly grows."""

PRIOR_STRENGTH = 3.0
"""How strongly constants are drawn towards the start, against one point of average weight."""

BAND = (0.10, 0.90)
"""Quantiles of measured over predicted between which the printed band lies."""

LIMIT_SHARE = 0.7
"""Mean time a token where a limit on the 99th percentile is stated: our assumption."""

_SPREAD = {
    "rate_matrices": 0.4, "rate_experts": 0.5, "rate_reading": 0.5, "rate_prompts": 0.5,
    "bandwidth_matrices": 0.2, "bandwidth_experts": 0.3, "bandwidth_reading": 0.3,
    "overlap": 0.5, "link": 0.5, "apart": 0.5, "first_token": 0.5, "vllm": 0.4, "sglang": 0.4,
    "kernel_us": 0.7, "round_us": 0.7,
}  # fmt: skip
_NAMES = tuple(field.name for field in fields(Constants))
_SHARES = ("rate_", "bandwidth_", "link", "apart")

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
    """Constants with what they were fitted on and how far off they are."""

    constants: Constants
    n: int
    points_digest: str
    fitted_on: str
    in_sample_median: float
    validations: tuple[CrossValidation, ...]

    @property
    def band(self) -> tuple[float, float]:
        """Measured over predicted, between which 80 % of points of an unseen family lie."""
        first = self.validations[0]
        return first.low, first.high


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """Points with the work of their cycles; everything that constants do not change."""

    work: CycleWork
    input_tokens: Array
    output_tokens: Array
    in_flight: Array
    gpus: Array
    measured: Array
    trained: NDArray[np.bool_]
    limited: tuple[tuple[int, Architecture, Deployment, Load, float], ...]


def fit_constants(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    *,
    start: Constants | None = None,
) -> Constants:
    """Return the constants that fit the points best; `start` (our guesses) is also what draws them."""
    prepared = _prepare(points, models, gpus)
    return _fit(prepared, _weights([point.family for point in points]), prepared.trained, start)


def cross_validate(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    grouping: Grouping = "family",
) -> CrossValidation:
    """Return how well each group of points is predicted by a fit on all the others."""
    prepared = _prepare(points, models, gpus)
    weights = _weights([point.family for point in points])
    groups = np.array([getattr(point, grouping) for point in points])
    names = np.unique(groups)
    if len(names) < 2:
        raise UsageError(
            f"all points are of one {grouping}",
            code="fit-one-group",
            hint="give measurements of at least two, or group otherwise",
        )
    error = np.zeros(len(points))
    for name in names:
        out = groups == name
        fitted = _fit(prepared, weights, prepared.trained & ~out, None)
        error[out] = (np.log(_predict(prepared, fitted)) - np.log(prepared.measured))[out]
    inside = np.zeros(len(points), dtype=bool)
    for name in names:
        out = groups == name
        low, high = np.quantile(error[~out], BAND)
        inside[out] = (error[out] >= low) & (error[out] <= high)
    rows = tuple(_group(str(name), error[groups == name]) for name in names)
    fast, slow = np.quantile(error, [1 - BAND[0], 1 - BAND[1]])
    whole = _group("all", error)
    return CrossValidation(
        grouping=grouping,
        n=len(points),
        median=whole.median,
        p90=whole.p90,
        worst_median=max(row.median for row in rows),
        coverage=float(inside.mean()),
        low=float(np.exp(-fast)),
        high=float(np.exp(-slow)),
        groups=rows,
    )


def predict_points(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    constants: Constants,
) -> Array:
    """Return predicted output tokens a second and GPU of each point."""
    return _predict(_prepare(points, models, gpus), constants)


def errors_of(predicted: Array, measured: Array, name: str = "all") -> GroupError:
    """Return the errors of predictions against what was measured."""
    return _group(name, np.log(predicted) - np.log(measured))


def deployment_of(point: MeasuredPoint, gpus: Mapping[str, Gpu]) -> Deployment:
    """Return the deployment on which a point was measured."""
    gpu = gpus.get(point.hardware)
    if gpu is None:
        raise UsageError(
            f"point {point.name}: no GPU named {point.hardware!r} is known",
            code="gpu-unknown",
            hint=f"one of: {', '.join(gpus)}",
        )
    return Deployment(
        gpu=gpu,
        precision=point.precision,
        tensor_parallel=point.tensor_parallel,
        attention_replicas=point.attention_replicas,
        expert_parallel=point.expert_parallel,
        engine=point.engine,
        kv_bits=point.kv_bits,
    )


def _prepare(
    points: Sequence[MeasuredPoint], models: Mapping[str, Architecture], gpus: Mapping[str, Gpu]
) -> _Prepared:
    works, flying, replicas, limited = [], [], [], []
    for index, point in enumerate(points):
        model = models.get(point.model)
        if model is None:
            raise UsageError(
                f"point {point.name}: no model named {point.model!r} is known",
                code="fit-model-unknown",
                hint=f"one of: {', '.join(models)}",
            )
        deployment = deployment_of(point, gpus)
        load = Load(input_tokens=point.input_tokens, output_tokens=point.output_tokens)
        held = max(1, int(point.input_tokens + point.output_tokens / 2))
        room = max(1, memory_fit(model, deployment, held).sequences)
        here = float(room if point.in_flight is None else min(point.in_flight, room))
        works.append(cycle_work(model, deployment, load, np.array([here])))
        flying.append(here)
        replicas.append(float(deployment.gpus))
        if point.tpot_limit_ms is not None:
            limited.append((index, model, deployment, load, point.tpot_limit_ms * LIMIT_SHARE))
    trained = np.ones(len(points), dtype=bool)
    trained[[row[0] for row in limited]] = False  # their load is not stated, so it depends on the fit
    return _Prepared(
        work=CycleWork(
            decoding=_joined([work.decoding for work in works]),
            mixed=_joined([work.mixed for work in works]),
            prompt=_joined([work.prompt for work in works]),
        ),
        input_tokens=np.array([point.input_tokens for point in points]),
        output_tokens=np.array([point.output_tokens for point in points]),
        in_flight=np.array(flying),
        gpus=np.array(replicas),
        measured=np.array([point.output_tokens_s_gpu for point in points]),
        trained=trained,
        limited=tuple(limited),
    )


def _joined(works: Sequence[StepWork]) -> StepWork:
    """Lay works side by side along their last axis."""
    columns = {
        field.name: np.concatenate([getattr(work, field.name) for work in works], axis=-1)
        for field in fields(StepWork)
    }
    return StepWork(**columns)


def _closed_loop(prepared: _Prepared, constants: Constants) -> Array:
    served = cycle(
        prepared.work,
        constants,
        input_tokens=prepared.input_tokens,
        output_tokens=prepared.output_tokens,
        in_flight=prepared.in_flight,
        gpus=prepared.gpus,
    )
    return served.output_tokens_s_gpu


def _predict(prepared: _Prepared, constants: Constants) -> Array:
    found = _closed_loop(prepared, constants)
    for index, model, deployment, load, limit_ms in prepared.limited:
        flying = np.array([most_in_flight(model, deployment, load, constants, limit_ms)])
        served = cycle(
            cycle_work(model, deployment, load, flying),
            constants,
            input_tokens=np.array([load.input_tokens]),
            output_tokens=np.array([load.output_tokens]),
            in_flight=flying,
            gpus=np.array([float(deployment.gpus)]),
        )
        found[index] = served.output_tokens_s_gpu[0]
    return found


def _fit(
    prepared: _Prepared, weights: Array, chosen: NDArray[np.bool_], start: Constants | None
) -> Constants:
    from scipy.optimize import least_squares

    centre = np.log(np.array(astuple(start or Constants())))
    spread = np.array([_SPREAD.get(name, 1.0) for name in _NAMES])
    most = np.array([0.0 if name.startswith(_SHARES) else np.inf for name in _NAMES])
    wanted = np.log(prepared.measured)

    def residuals(x: Array) -> Array:
        constants = Constants(**dict(zip(_NAMES, np.exp(x).tolist(), strict=True)))
        scaled = (np.log(_closed_loop(prepared, constants)) - wanted)[chosen] / LOSS_SCALE
        tamed = np.sign(scaled) * np.sqrt(2 * (np.sqrt(1 + scaled**2) - 1))
        return np.concatenate([tamed * np.sqrt(weights[chosen]), PRIOR_STRENGTH * (x - centre) / spread])

    begin = np.minimum(centre, most - 1e-6)
    found = least_squares(residuals, begin, bounds=(-np.inf, most), max_nfev=80)
    values = np.exp(np.minimum(found.x, most))
    return Constants(**dict(zip(_NAMES, values.tolist(), strict=True)))


def _weights(groups: Sequence[str]) -> Array:
    """One over the root of a group's number of points, 1 on average."""
    names, index, counts = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    del names
    weights = 1 / np.sqrt(counts[index])
    return np.asarray(weights / weights.mean())


def _group(name: str, error: Array) -> GroupError:
    share = np.abs(np.expm1(error))
    return GroupError(
        name=name,
        n=len(error),
        median=float(np.median(share)),
        p90=float(np.quantile(share, 0.9)),
        bias=float(np.median(error)),
    )
