"""What a worker counts: each request record is read once, at its flush."""

from collections.abc import Iterable, Mapping, Sequence

from crossgrade.gateway._messages import RequestRecord
from crossgrade.gateway.settings import Target
from crossgrade.telemetry import METRICS, Delta, Meter, observe

_DURATION = METRICS["gen_ai.server.request.duration"].bounds
_FIRST_TOKEN = METRICS["gen_ai.server.time_to_first_token"].bounds
_PER_TOKEN = METRICS["gen_ai.server.time_per_output_token"].bounds
_TOKENS = METRICS["gen_ai.client.token.usage"].bounds
_ADDED = METRICS["crossgrade.gateway.added"].bounds
_MOST_KINDS = 4_000


class _Series:
    """The cells that records of one kind (route, target, reason, error …) add to."""

    __slots__ = (
        "added", "attempts", "cost", "duration", "first_token", "input", "output", "per_token",
        "requests", "unpriced",
    )  # fmt: skip

    def __init__(self, meter: Meter, record: RequestRecord, provider: str, model: str) -> None:
        route, target, error = record.route, record.target, _error_type(record)
        call = (record.operation, provider, model, route, target)
        self.requests = meter.cell("crossgrade.gateway.requests", route, target, record.reason, error)
        self.added = meter.cell("crossgrade.gateway.added", route)
        self.attempts = meter.cell("crossgrade.gateway.attempts", route, target)
        self.cost = meter.cell("crossgrade.gateway.cost", route, target, record.cost_origin)
        self.unpriced = meter.cell("crossgrade.gateway.unpriced", route, target)
        self.duration = meter.cell("gen_ai.server.request.duration", *call, error)
        self.first_token = meter.cell("gen_ai.server.time_to_first_token", *call)
        self.per_token = meter.cell("gen_ai.server.time_per_output_token", *call)
        self.input = meter.cell("gen_ai.client.token.usage", *call, "input")
        self.output = meter.cell("gen_ai.client.token.usage", *call, "output")

    def count(self, record: RequestRecord) -> None:
        self.requests[0] += 1
        self.attempts[0] += record.attempts
        added_ms = record.added_ms
        if added_ms is not None:
            observe(self.added, _ADDED, added_ms / 1000)
        if not record.target:
            return
        if record.cost_usd is None:
            self.unpriced[0] += 1
        else:
            self.cost[0] += record.cost_usd
        output = record.output_tokens
        if record.input_tokens is not None:
            observe(self.input, _TOKENS, record.input_tokens)
        if output is not None:
            observe(self.output, _TOKENS, output)
        if record.latency_ms is not None:
            observe(self.duration, _DURATION, record.latency_ms / 1000)
            if record.ttft_ms is not None:
                self._count_stream(record.latency_ms, record.ttft_ms, output)

    def _count_stream(self, latency_ms: float, ttft_ms: float, output: int | None) -> None:
        observe(self.first_token, _FIRST_TOKEN, ttft_ms / 1000)
        if output is not None and output > 1:
            observe(self.per_token, _PER_TOKEN, (latency_ms - ttft_ms) / (output - 1) / 1000)


class Metrics:
    """The meter of one worker.

    `targets` give the provider and model of a target's name. `add` and `set` count what records do not
    contain. Names and labels are those of `telemetry.METRICS`.
    """

    def __init__(self, targets: Sequence[Target], worker: int) -> None:
        self._meter = Meter()
        self._worker = str(worker)
        self._known: Mapping[str, tuple[str, str]] = {t.name: (t.provider, t.model) for t in targets}
        self._series: dict[tuple[object, ...], _Series] = {}

    def count(self, records: Iterable[RequestRecord]) -> None:
        """Count request records."""
        series = self._series
        for record in records:
            kind = (
                record.route, record.target, record.reason, record.operation,
                record.error, record.status, record.cost_origin,
            )  # fmt: skip
            found = series.get(kind)
            if found is None:
                found = self._new_series(kind, record)
            found.count(record)

    def _new_series(self, kind: tuple[object, ...], record: RequestRecord) -> _Series:
        if len(self._series) >= _MOST_KINDS:
            self._series.clear()
        provider, model = self._known.get(record.target, ("", ""))
        found = self._series[kind] = _Series(self._meter, record, provider, model)
        return found

    def add(self, name: str, *labels: str, value: float = 1.0) -> None:
        """Add to a counter."""
        self._meter.add(name, *labels, value=value)

    def set(self, name: str, *labels: str, value: float) -> None:
        """Set a gauge of this worker; `labels` are those after `crossgrade.worker`."""
        self._meter.set(name, self._worker, *labels, value=value)

    def take(self) -> list[Delta]:
        """Return what was counted since the last call."""
        return self._meter.take()


def _error_type(record: RequestRecord) -> str:
    """Return an error's name from a bounded set: our own code, or the status."""
    if record.error is None and record.status < 400:
        return ""
    return record.error if record.error is not None and len(record.error) <= 40 else str(record.status)
