"""Every metric with its labels and buckets, the meter that counts them, and the lines of the log.

Names and buckets that begin with `gen_ai` are those of OpenTelemetry's semantic conventions for
generative AI; `docs/reference/metrics.md` lists all. Labels take few values: routes, targets
and models as configured, never what a client or a provider wrote.

A log line is one JSON object under few and fixed field names: `at` (RFC 3339, UTC), `level`, `event`
(a short name), then the event's own fields, such as `request_id`, `route`, `target`, `worker`, `file`,
`error` and `hint`. No field holds a prompt or an answer.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec

__all__ = ["METRICS", "Cell", "Delta", "Meter", "Metric", "MetricKind", "log_line", "observe"]

MetricKind = Literal["counter", "gauge", "histogram"]


Cell: TypeAlias = list[float]
"""The one value of a counter or gauge; for a histogram the count of each bucket, then the sum."""

Delta: TypeAlias = tuple[str, tuple[str, ...], list[float]]
"""A metric's name, its label values in the metric's order, and what was counted since the last delta."""

_MOST_SERIES = 2_000
_OVERFLOW = "other"


Level = Literal["info", "warning", "error"]
_LONGEST = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric; `unit` is a UCUM code (`s`, `{token}`, `By`), `bounds` are the upper edges of buckets."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    bounds: tuple[float, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name in Prometheus: with underscores, the unit, and `_total` after counters."""
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
           help="Records, pairs, responses, ledger entries and early refusals that were not kept."),
    Metric(name="crossgrade.gateway.pairs", kind="counter",
           labels=("crossgrade.route",), help="Shadow pairs committed to the store."),
    Metric(name="crossgrade.gateway.shadow.skipped", kind="counter",
           labels=("crossgrade.route", "crossgrade.reason"),
           help="Requests picked for shadowing but left out."),
    Metric(name="crossgrade.gateway.mixed_runs", kind="counter",
           labels=("crossgrade.route",), help="Runs of agents that more than one model may have answered."),
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
    Metric(name="crossgrade.ledger.entries", kind="counter",
           labels=("crossgrade.kind",), help="Entries of requests that were appended to the ledger."),
    Metric(name="crossgrade.ledger.waiting", kind="gauge",
           help="Entries of requests that the broker has not appended yet."),
    Metric(name="crossgrade.workers", kind="gauge", help="Workers connected to the broker."),
)  # fmt: skip

METRICS: Mapping[str, Metric] = {row.name: row for row in _ROWS}
"""Every metric by name."""


class Meter:
    """Counts under the names of `METRICS`; a metric keeps at most 2,000 series, then counts as `other`.

    `cell` gives the list to add to, once; adding is then the caller's own arithmetic.
    """

    def __init__(self) -> None:
        self._cells: dict[str, dict[tuple[str, ...], Cell]] = {}

    def cell(self, name: str, *labels: str) -> Cell:
        """Return the cell of a metric under these label values; the first call makes it."""
        cells = self._cells.setdefault(name, {})
        found = cells.get(labels)
        if found is None:
            metric = METRICS[name]
            assert len(labels) == len(metric.labels), name
            if len(cells) >= _MOST_SERIES:
                labels = (_OVERFLOW,) * len(labels)
            found = cells.setdefault(labels, _empty(metric))
        return found

    def add(self, name: str, *labels: str, value: float = 1.0) -> None:
        """Add to a counter."""
        self.cell(name, *labels)[0] += value

    def set(self, name: str, *labels: str, value: float) -> None:
        """Set a gauge."""
        self.cell(name, *labels)[0] = value

    def take(self) -> list[Delta]:
        """Return what was counted since the last call and reset it to zero; gauges keep their values."""
        deltas: list[Delta] = []
        for name, cells in self._cells.items():
            is_gauge = METRICS[name].kind == "gauge"
            for labels, cell in cells.items():
                if is_gauge:
                    deltas.append((name, labels, cell[:]))
                elif any(cell):
                    deltas.append((name, labels, cell[:]))
                    cell[:] = [0.0] * len(cell)
        return deltas

    def merge(self, deltas: Iterable[Delta]) -> None:
        """Add another meter's deltas; gauges replace the value. Unknown names and shapes are ignored."""
        for name, labels, values in deltas:
            metric = METRICS.get(name)
            if metric is None or len(labels) != len(metric.labels) or len(values) != len(_empty(metric)):
                continue
            cell = self.cell(name, *labels)
            cell[:] = values if metric.kind == "gauge" else map(float.__add__, cell, map(float, values))

    def forget(self, name: str, label: str, value: str) -> None:
        """Drop the series of a metric whose label has this value (a worker that has ended)."""
        at = METRICS[name].labels.index(label)
        cells = self._cells.get(name, {})
        for labels in [labels for labels in cells if labels[at] == value]:
            del cells[labels]

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a counter or gauge by label values."""
        return {labels: cell[0] for labels, cell in self._cells.get(name, {}).items()}

    def clear(self, name: str) -> None:
        """Drop every series of a metric."""
        self._cells.pop(name, None)

    def text(self) -> str:
        """Return everything in Prometheus' text format, version 0.0.4."""
        return "".join(line + "\n" for name, metric in METRICS.items() for line in self._lines(name, metric))

    def _lines(self, name: str, metric: Metric) -> Iterator[str]:
        cells = self._cells.get(name)
        if not cells:
            return
        shown = metric.prometheus_name
        yield f"# HELP {shown} {metric.help}"
        yield f"# TYPE {shown} {metric.kind}"
        keys = [label.replace(".", "_") for label in metric.labels]
        for labels in sorted(cells):
            pairs = [f'{key}="{_escaped(value)}"' for key, value in zip(keys, labels, strict=True)]
            cell = cells[labels]
            if metric.kind == "histogram":
                yield from _histogram_lines(shown, pairs, metric.bounds, cell)
            else:
                yield f"{shown}{_braced(pairs)} {_number(cell[0])}"


def observe(cell: Cell, bounds: tuple[float, ...], value: float) -> None:
    """Add a value to a histogram's cell."""
    cell[bisect_left(bounds, value)] += 1
    cell[-1] += value


def _empty(metric: Metric) -> Cell:
    return [0.0] * (len(metric.bounds) + 2 if metric.kind == "histogram" else 1)


def _histogram_lines(name: str, pairs: list[str], bounds: tuple[float, ...], cell: Cell) -> Iterator[str]:
    total = 0.0
    for bound, count in zip((*bounds, None), cell[:-1], strict=True):
        total += count
        edge = 'le="+Inf"' if bound is None else f'le="{_number(bound)}"'
        yield f"{name}_bucket{_braced([*pairs, edge])} {_number(total)}"
    yield f"{name}_sum{_braced(pairs)} {_number(cell[-1])}"
    yield f"{name}_count{_braced(pairs)} {_number(total)}"


def _braced(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(round(value, 12))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def log_line(event: str, *, at: float, level: Level = "info", **fields: object) -> str:
    """Return one line of the log without its newline; `at` is seconds since 1970.

    Texts are cut at 2,000 characters. JSON escapes control characters, so that a client's text cannot
    begin a line. Fields that are None are omitted.
    """
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {"at": time, "level": level, "event": event}
    line.update({name: _bounded(value) for name, value in fields.items() if value is not None})
    return msgspec.json.encode(line, enc_hook=str).decode("utf-8", "replace").replace("\x7f", "\\u007f")


def _bounded(value: object) -> object:
    if isinstance(value, str):
        # A lone surrogate (from a file name, say) cannot be encoded.
        return value[:_LONGEST].encode("utf-8", "replace").decode()
    return value
