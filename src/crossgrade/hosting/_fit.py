"""Fit the constants of the serving model to measured points.

Least squares on logarithms with a pseudo-Huber loss, drawn towards where the fit starts (a normal
prior on the logarithm of each constant): 24 constants on a few hundred points would else follow
the noise of whatever family has most. Points of a family weigh as one over the root of their number.
Those of the time to the first token are fitted after the others, on the points that state it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from crossgrade.domain import Architecture
from crossgrade.errors import UsageError
from crossgrade.hosting._band import Traits, traits_of
from crossgrade.hosting._cycle import CycleWork, Load, Served, cycle, cycle_work, most_in_flight, waiting_ms
from crossgrade.hosting._hardware import Deployment, Gpu
from crossgrade.hosting._memory import memory_fit
from crossgrade.hosting._points import MeasuredPoint
from crossgrade.hosting._timing import Constants
from crossgrade.hosting._work import Array, StepWork

LOSS_SCALE = 0.15
"""Error on the logarithm beyond which a point's pull hardly grows."""

FIRST_TOKEN_SCALE = 0.3
"""The same for times to the first token, which benchmarks take in more ways."""

PRIOR_STRENGTH = 3.0
"""How strongly constants are drawn towards the start, against one point of average weight."""

LIMIT_SHARE = 0.7
"""Mean time a token where a limit on the 99th percentile is stated: our assumption."""

_SPREAD = {
    "rate_matrices": 0.4, "rate_experts": 0.5, "rate_reading": 0.5, "rate_prompts": 0.5,
    "bandwidth_matrices": 0.2, "bandwidth_experts": 0.3, "bandwidth_reading": 0.3,
    "overlap": 0.5, "link": 0.5, "apart": 0.5, "packed": 0.5, "first_token": 0.5, "vllm": 0.4,
    "sglang": 0.4, "kernel_us": 0.7, "round_us": 0.7, "amd": 0.3,
}  # fmt: skip
_FIRST_TOKEN = ("handling_", "own", "queued_", "between")
_NAMES = tuple(field.name for field in fields(Constants))
_SHARES = ("rate_", "bandwidth_", "link", "apart", "packed", "amd", "queued_power")
FIRST_TOKEN_NAMES = tuple(name for name in _NAMES if name.startswith(_FIRST_TOKEN))
THROUGHPUT_NAMES = tuple(name for name in _NAMES if name not in FIRST_TOKEN_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Points with the work of their cycles; everything that constants do not change.

    `wanted` are the requests in flight as stated, `in_flight` those that fit; `ttft_ms` is NaN where a
    point does not state it. `trained` leaves out points under a limit: their load depends on the fit.
    """

    work: CycleWork
    input_tokens: Array
    output_tokens: Array
    wanted: Array
    in_flight: Array
    gpus: Array
    measured: Array
    ttft_ms: Array
    weights: Array
    trained: NDArray[np.bool_]
    limited: tuple[tuple[int, Architecture, Deployment, Load, float], ...]
    traits: tuple[Traits, ...]


def fit_constants(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    *,
    start: Constants | None = None,
) -> Constants:
    """Return the constants that fit the points best; `start` (our guesses) is also what draws them."""
    prepared = prepare(points, models, gpus)
    return fit_prepared(prepared, np.ones(len(points), dtype=bool), start=start)


def predict_points(
    points: Sequence[MeasuredPoint],
    models: Mapping[str, Architecture],
    gpus: Mapping[str, Gpu],
    constants: Constants,
) -> Array:
    """Return predicted output tokens a second and GPU of each point."""
    return predicted(prepare(points, models, gpus), constants)


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


def prepare(
    points: Sequence[MeasuredPoint], models: Mapping[str, Architecture], gpus: Mapping[str, Gpu]
) -> Prepared:
    """Return points with what follows from them whatever the constants.

    Raises `UsageError` for a model or GPU that is not known.
    """
    works, flying, replicas, limited, traits = [], [], [], [], []
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
        room = max(1, memory_fit(model, deployment, load.held_tokens).sequences)
        here = float(room if point.in_flight is None else min(point.in_flight, room))
        works.append(cycle_work(model, deployment, load, np.array([here])))
        flying.append(here)
        traits.append(traits_of(model, deployment, load, None if here >= room else here))
        replicas.append(float(deployment.gpus))
        if point.tpot_limit_ms is not None:
            limited.append((index, model, deployment, load, point.tpot_limit_ms * LIMIT_SHARE))
    trained = np.ones(len(points), dtype=bool)
    trained[[row[0] for row in limited]] = False  # their load is not stated, so it depends on the fit
    return Prepared(
        work=CycleWork(
            decoding=_joined([work.decoding for work in works]),
            mixed=_joined([work.mixed for work in works]),
            prompt=_joined([work.prompt for work in works]),
            packed=_joined([work.packed for work in works]),
            together=np.concatenate([work.together for work in works]),
            most_together=np.concatenate([work.most_together for work in works]),
        ),
        input_tokens=np.array([point.input_tokens for point in points]),
        output_tokens=np.array([point.output_tokens for point in points]),
        wanted=np.array(
            [
                here if point.in_flight is None else point.in_flight
                for point, here in zip(points, flying, strict=True)
            ]
        ),
        in_flight=np.array(flying),
        gpus=np.array(replicas),
        measured=np.array([point.output_tokens_s_gpu for point in points]),
        ttft_ms=np.array([np.nan if point.ttft_ms is None else point.ttft_ms for point in points]),
        weights=_weights([point.family for point in points]),
        trained=trained,
        limited=tuple(limited),
        traits=tuple(traits),
    )


def _joined(works: Sequence[StepWork]) -> StepWork:
    """Lay works side by side along their last axis."""
    columns = {
        field.name: np.concatenate([getattr(work, field.name) for work in works], axis=-1)
        for field in fields(StepWork)
    }
    return StepWork(**columns)


def _closed_loop(prepared: Prepared, constants: Constants) -> Served:
    return cycle(
        prepared.work,
        constants,
        input_tokens=prepared.input_tokens,
        output_tokens=prepared.output_tokens,
        in_flight=prepared.in_flight,
        gpus=prepared.gpus,
    )


def predicted(prepared: Prepared, constants: Constants) -> Array:
    """Return predicted output tokens a second and GPU."""
    found = _closed_loop(prepared, constants).output_tokens_s_gpu
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


def predicted_ttft_ms(prepared: Prepared, constants: Constants) -> Array:
    """Return predicted milliseconds to the first token, waiting for room included."""
    served = _closed_loop(prepared, constants)
    return served.ttft_ms + waiting_ms(served, prepared.wanted, prepared.output_tokens)


def fit_prepared(
    prepared: Prepared,
    chosen: NDArray[np.bool_],
    *,
    start: Constants | None = None,
    begin: Constants | None = None,
) -> Constants:
    """Return the constants that fit the chosen points best; `begin` is where the search begins."""
    start = start or Constants()
    throughput = chosen & prepared.trained
    wanted = np.log(prepared.measured)

    def speeds(constants: Constants) -> Array:
        return np.log(_closed_loop(prepared, constants).output_tokens_s_gpu) - wanted

    found = _least(
        speeds,
        THROUGHPUT_NAMES,
        start,
        begin=begin or start,
        weights=prepared.weights,
        chosen=throughput,
        scale=LOSS_SCALE,
    )
    timed = chosen & np.isfinite(prepared.ttft_ms)
    if not timed.any():
        return found
    # What is fitted so far does not change any more, and with it the times of steps and prompts.
    waits = np.log(np.where(timed, prepared.ttft_ms, 1.0))

    def delays(constants: Constants) -> Array:
        return np.log(predicted_ttft_ms(prepared, constants)) - waits

    return _least(
        delays,
        FIRST_TOKEN_NAMES,
        found,
        begin=begin or found,
        weights=prepared.weights,
        chosen=timed,
        scale=FIRST_TOKEN_SCALE,
    )


def _least(
    errors: Callable[[Constants], Array],
    names: Sequence[str],
    start: Constants,
    *,
    begin: Constants,
    weights: Array,
    chosen: NDArray[np.bool_],
    scale: float,
) -> Constants:
    """Return `start` with the named constants fitted."""
    from scipy.optimize import least_squares

    centre = np.log(np.array([getattr(start, name) for name in names]))
    spread = np.array([_SPREAD.get(name, 1.0) for name in names])
    most = np.array([0.0 if name.startswith(_SHARES) else np.inf for name in names])

    def constants_at(x: Array) -> Constants:
        return replace(start, **dict(zip(names, np.exp(np.minimum(x, most)).tolist(), strict=True)))

    def residuals(x: Array) -> Array:
        scaled = errors(constants_at(x))[chosen] / scale
        tamed = np.sign(scaled) * np.sqrt(2 * (np.sqrt(1 + scaled**2) - 1))
        return np.concatenate([tamed * np.sqrt(weights[chosen]), PRIOR_STRENGTH * (x - centre) / spread])

    first = np.minimum(np.log(np.array([getattr(begin, name) for name in names])), most - 1e-6)
    return constants_at(least_squares(residuals, first, bounds=(-np.inf, most), max_nfev=80).x)


def _weights(groups: Sequence[str]) -> Array:
    """One over the root of a group's number of points, 1 on average."""
    _, index, counts = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[index])
    return np.asarray(weights / weights.mean())
