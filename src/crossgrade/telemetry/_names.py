"""Every metric: its name, what it counts, its labels and buckets.

Names and buckets that begin with `gen_ai` are those of OpenTelemetry's semantic conventions for
generative AI; `docs/reference/metrics.md` lists all. Labels take few values: routes, targets
and models as configured, never what a client or a provider wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MetricKind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric; `unit` is a UCUM code (`s`, `{token}`, `By`), `bounds` the upper edges of buckets."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    bounds: tuple[float, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name as Prometheus writes it: underscores, the unit, `_total` behind counters."""
        unit = {"s": "_seconds", "By": "_bytes", "USD": "_usd"}.get(self.unit, "")
        total = "_total" if self.kind == "counter" else ""
        return self.name.replace(".", "_") + unit + total


_CALL = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "crossgrade.route",
    "crossgrade.target",
)
_SECONDS = tuple(0.01 * 2**step for step in range(14))
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(float(4**step) for step in range(14))
_ADDED = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

_ROWS = (
    Metric(name="gen_ai.server.request.duration", kind="histogram", unit="s", bounds=_SECONDS,
           labels=(*_CALL, "error.type"), help="Time from a request's last byte to its answer's last byte."),
    Metric(name="gen_ai.server.time_to_first_token", kind="histogram", unit="s", bounds=_FIRST_TOKEN,
           labels=_CALL, help="Time to the first token of streamed answers."),
    Metric(name="gen_ai.server.time_per_output_token", kind="histogram", unit="s", bounds=_PER_TOKEN,
           labels=_CALL, help="Time per output token after the first, of streamed answers."),
    Metric(name="gen_ai.client.token.usage", kind="histogram", unit="{token}", bounds=_TOKENS,
           labels=(*_CALL, "gen_ai.token.type"), help="Tokens per call, as the provider counted them."),
    Metric(name="crossgrade.gateway.requests", kind="counter",
           labels=("crossgrade.route", "crossgrade.target", "crossgrade.reason", "error.type"),
           help="Requests, by the target that the policy picked and the reason."),
    Metric(name="crossgrade.gateway.cost", kind="counter", unit="USD",
           labels=("crossgrade.route", "crossgrade.target", "crossgrade.cost.origin"),
           help="Dollars spent, by whether usage was counted by the provider or estimated."),
    Metric(name="crossgrade.gateway.unpriced", kind="counter",
           labels=("crossgrade.route", "crossgrade.target"), help="Calls whose cost is unknown."),
    Metric(name="crossgrade.gateway.added", kind="histogram", unit="s", bounds=_ADDED,
           labels=("crossgrade.route",), help="Time that the gateway itself added to a request."),
    Metric(name="crossgrade.gateway.attempts", kind="counter",
           labels=("crossgrade.route", "crossgrade.target"), help="Calls to providers, retries included."),
    Metric(name="crossgrade.gateway.refused", kind="counter",
           labels=("crossgrade.scope", "crossgrade.unit"), help="Requests refused by a limit."),
    Metric(name="crossgrade.gateway.dropped", kind="counter",
           labels=("crossgrade.what",),
           help="Records, pairs and refusals of unknown callers that were not kept."),
    Metric(name="crossgrade.gateway.pairs", kind="counter",
           labels=("crossgrade.route",), help="Shadow pairs committed to the store."),
    Metric(name="crossgrade.gateway.shadow.skipped", kind="counter",
           labels=("crossgrade.route", "crossgrade.reason"),
           help="Requests picked for shadowing but left out."),
    Metric(name="crossgrade.gateway.reloads", kind="counter",
           labels=("crossgrade.file", "crossgrade.outcome"), help="Reloads of route tables and keys."),
    Metric(name="crossgrade.gateway.connections", kind="gauge",
           labels=("crossgrade.worker",), help="Open client connections."),
    Metric(name="crossgrade.gateway.loop_lag", kind="gauge", unit="s",
           labels=("crossgrade.worker",), help="Longest delay of the event loop in the last second."),
    Metric(name="crossgrade.gateway.breaker", kind="gauge",
           labels=("crossgrade.worker", "crossgrade.target"),
           help="1 while a failing target gets no requests."),
    Metric(name="crossgrade.gateway.table_version", kind="gauge",
           labels=("crossgrade.worker",), help="Version of the route table that a worker serves."),
    Metric(name="crossgrade.limit.spent", kind="gauge",
           labels=("crossgrade.scope", "crossgrade.match", "crossgrade.unit", "crossgrade.window"),
           help="Amount spent of a configured limit in its current window."),
    Metric(name="crossgrade.limit.cap", kind="gauge",
           labels=("crossgrade.scope", "crossgrade.match", "crossgrade.unit", "crossgrade.window"),
           help="Cap of a configured limit."),
    Metric(name="crossgrade.watch.alarms", kind="counter",
           labels=("crossgrade.route", "crossgrade.kind"), help="Alarms that `watch` raised."),
    Metric(name="crossgrade.workers", kind="gauge", help="Workers connected to the broker."),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {row.name: row for row in _ROWS}
"""Every metric by name."""
