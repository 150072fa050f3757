"""What a token costs on GPUs of one's own, with the band of the model behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from crossgrade.domain import Architecture, Estimate
from crossgrade.errors import UsageError
from crossgrade.hosting._band import traits_of
from crossgrade.hosting._cycle import Load, Served, prompt_seconds, serve
from crossgrade.hosting._hardware import Deployment
from crossgrade.hosting._memory import memory_fit
from crossgrade.hosting._validate import ServingFit

BAND_LEVEL = 0.8
"""Share of measured points of unseen families that lie in the band."""

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedAt:
    """A deployment with so many requests in flight: what it does, and what that costs.

    `input_per_mtok` and `output_per_mtok` are US dollars per million tokens at the utilisation that
    was asked for, `per_mtok` of both together in the load's proportion. `tokens_per_day` counts both
    at full use. The bands are those of throughput; whatever follows from it carries the same.
    """

    in_flight: float
    output_tokens_s: Estimate
    ttft_ms: Estimate
    tpot_ms: Estimate
    input_per_mtok: Estimate
    output_per_mtok: Estimate
    per_mtok: Estimate
    tokens_per_day: Estimate


def hosting_ladder(
    model: Architecture,
    deployment: Deployment,
    load: Load,
    fit: ServingFit,
    *,
    usd_per_gpu_hour: Decimal,
    utilisation: float = 1.0,
    in_flight: Sequence[float] | None = None,
) -> tuple[ServedAt, ...]:
    """Return throughput, latency and price at each number of requests in flight; by default at most.

    Raises `UsageError` for a price that is not above zero, a utilisation outside (0, 1], or a model
    that does not fit.
    """
    if not 0 < usd_per_gpu_hour < 1_000_000:
        raise UsageError(
            f"{usd_per_gpu_hour} dollars a GPU-hour",
            code="rent-invalid",
            hint="give what an hour of one GPU costs, above 0",
        )
    if not 0 < utilisation <= 1:
        raise UsageError(
            f"a utilisation of {utilisation:g}",
            code="utilisation-invalid",
            hint="give a share above 0, up to 1",
        )
    wanted = None if in_flight is None else np.array(in_flight, dtype=np.float64)
    served = serve(model, deployment, load, fit.constants, wanted)
    usd_per_gpu_s = float(usd_per_gpu_hour) / 3600 / utilisation
    room = memory_fit(model, deployment, load.held_tokens).sequences
    return tuple(
        _served_at(
            served,
            index,
            load,
            _bands(fit, model, deployment, load, None if flying >= room else float(flying)),
            usd_per_gpu_s,
        )
        for index, flying in enumerate(served.in_flight)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCost:
    """What reading one prompt costs, nothing else running: seconds, and dollars a million prompt tokens.

    `missing_bytes` is by how much a GPU is too small to hold it, 0 where it fits.
    """

    tokens: float
    seconds: Estimate
    per_mtok: Estimate
    missing_bytes: float


def prompt_costs(
    model: Architecture,
    deployment: Deployment,
    fit: ServingFit,
    tokens: Sequence[float],
    *,
    usd_per_gpu_hour: Decimal,
) -> tuple[PromptCost, ...]:
    """Return what reading prompts of these sizes costs, also of those that do not fit the memory."""
    loads = [Load(input_tokens=count, output_tokens=1) for count in tokens]
    counts = np.array([load.input_tokens for load in loads], dtype=np.float64)
    taken = prompt_seconds(model, deployment, fit.constants, counts)
    usd_per_s = float(usd_per_gpu_hour) / 3600 * deployment.gpus
    return tuple(
        PromptCost(
            tokens=float(count),
            seconds=bands.falls(float(seconds), "s"),
            per_mtok=bands.falls(float(seconds) * usd_per_s / float(count) * 1e6, "USD/Mtok"),
            missing_bytes=memory_fit(model, deployment, int(count)).missing_bytes,
        )
        for count, seconds, bands in zip(
            counts, taken, (_bands(fit, model, deployment, load, 0.0) for load in loads), strict=True
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bands:
    """Bands of a deployment under a load: measured over predicted speed, and time to the first token."""

    speed: tuple[float, float]
    first_token: tuple[float, float]
    n: int
    timed: int

    def grows(self, value: float, unit: str) -> Estimate:
        """What grows with throughput."""
        slow, fast = self.speed
        return _banded(value, value * slow, value * fast, unit, self.n)

    def falls(self, value: float, unit: str) -> Estimate:
        """What falls with throughput."""
        slow, fast = self.speed
        return _banded(value, value / fast, value / slow, unit, self.n)

    def waits(self, value: float, unit: str) -> Estimate:
        """The time to the first token, whose band is its own."""
        low, high = self.first_token
        return _banded(value, value * low, value * high, unit, self.timed)


def _bands(
    fit: ServingFit, model: Architecture, deployment: Deployment, load: Load, in_flight: float | None
) -> _Bands:
    traits = traits_of(model, deployment, load, in_flight)
    return _Bands(
        speed=fit.throughput.band(traits), first_token=fit.first_token.band(traits), n=fit.n, timed=fit.timed
    )


def _banded(value: float, low: float, high: float, unit: str, n: int) -> Estimate:
    return Estimate(value=value, low=low, high=high, level=BAND_LEVEL, n=n, unit=unit, method="serving model")


def _served_at(served: Served, index: int, load: Load, bands: _Bands, usd_per_gpu_s: float) -> ServedAt:
    tokens_s = float(served.output_tokens_s[index])
    given, wanted = load.input_tokens, load.output_tokens
    input_usd = float(served.input_gpu_s[index]) * usd_per_gpu_s * 1e6
    output_usd = float(served.output_gpu_s[index]) * usd_per_gpu_s * 1e6
    both = (given * input_usd + wanted * output_usd) / (given + wanted)
    return ServedAt(
        in_flight=float(served.in_flight[index]),
        output_tokens_s=bands.grows(tokens_s, "tokens/s"),
        ttft_ms=bands.waits(float(served.ttft_ms[index]), "ms"),
        tpot_ms=bands.falls(float(served.tpot_ms[index]), "ms"),
        input_per_mtok=bands.falls(input_usd, "USD/Mtok"),
        output_per_mtok=bands.falls(output_usd, "USD/Mtok"),
        per_mtok=bands.falls(both, "USD/Mtok"),
        tokens_per_day=bands.grows(tokens_s * (given + wanted) / wanted * SECONDS_PER_DAY, "tokens/day"),
    )


def box_usd_per_day(deployment: Deployment, usd_per_gpu_hour: Decimal) -> Decimal:
    """Return what a deployment costs a day, used or not."""
    return usd_per_gpu_hour * 24 * deployment.gpus


def break_even_tokens_per_day(usd_per_day: Decimal, hosted_per_mtok: Decimal) -> Decimal:
    """Return at how many tokens a day a box costs what a host would ask for them.

    Whether the box could serve so many is another question: compare `tokens_per_day`.
    """
    if hosted_per_mtok <= 0:
        raise UsageError(
            f"a hosted price of {hosted_per_mtok} a million tokens",
            code="price-invalid",
            hint="give a price above 0",
        )
    return usd_per_day / hosted_per_mtok * 1_000_000
