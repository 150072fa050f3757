"""The result of a load on a real server: throughput, latencies and the price that follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedCall:
    """One answered request; times in milliseconds, tokens as the server counted them."""

    input_tokens: int
    output_tokens: int
    ttft_ms: float
    latency_ms: float

    @property
    def tpot_ms(self) -> float | None:
        """Time between tokens after the first; None if there is only one."""
        if self.output_tokens < 2:
            return None
        return max(0.0, self.latency_ms - self.ttft_ms) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLevel:
    """A server with so many requests in flight.

    `usd_per_mtok` counts tokens in and out together, `usd_per_output_mtok` puts the whole bill on
    those out; None without a price an hour.
    """

    in_flight: int
    n: int
    errors: int
    seconds: float
    input_tokens: float
    output_tokens: float
    output_tokens_s: float
    ttft_ms: float
    ttft_p90_ms: float
    tpot_ms: float | None
    tpot_p90_ms: float | None
    usd_per_mtok: float | None
    usd_per_output_mtok: float | None


def measured_level(
    calls: Sequence[TimedCall],
    *,
    in_flight: int,
    errors: int,
    seconds: float,
    usd_per_hour: Decimal | None,
) -> MeasuredLevel | None:
    """Return the measurement of calls within `seconds`, or None if none was answered."""
    if not calls or seconds <= 0:
        return None
    given, wanted = sum(call.input_tokens for call in calls), sum(call.output_tokens for call in calls)
    between = [call.tpot_ms for call in calls if call.tpot_ms is not None]
    first = [call.ttft_ms for call in calls]
    spent = None if usd_per_hour is None else float(usd_per_hour) * seconds / 3600
    return MeasuredLevel(
        in_flight=in_flight,
        n=len(calls),
        errors=errors,
        seconds=seconds,
        input_tokens=given / len(calls),
        output_tokens=wanted / len(calls),
        output_tokens_s=wanted / seconds,
        ttft_ms=fmean(first),
        ttft_p90_ms=_p90(first),
        tpot_ms=fmean(between) if between else None,
        tpot_p90_ms=_p90(between) if between else None,
        usd_per_mtok=None if spent is None or not given + wanted else spent / (given + wanted) * 1e6,
        usd_per_output_mtok=None if spent is None or not wanted else spent / wanted * 1e6,
    )


def _p90(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else quantiles(values, n=10, method="inclusive")[-1]
