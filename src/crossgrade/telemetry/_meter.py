"""A meter: cells that count under a metric's name and labels, sent as deltas and written for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from crossgrade.telemetry._names import METRICS, Metric

Cell: TypeAlias = list[float]
"""A counter's or gauge's one value; of a histogram the count of each bucket, then the sum."""

Delta: TypeAlias = tuple[str, tuple[str, ...], list[float]]
"""A metric's name, its label values in the metric's order, what was counted since the last time."""

_MOST_SERIES = 2_000
_OVERFLOW = "other"


class Meter:
    """Counts under the names of `METRICS`; a metric keeps at most 2,000 series, then counts as `other`.

    `cell` gives the list to add to, once; adding is then the caller's own arithmetic.
    """

    def __init__(self) -> None:
        self._cells: dict[str, dict[tuple[str, ...], Cell]] = {}

    def cell(self, name: str, *labels: str) -> Cell:
        """Return the cell of a metric under these label values, made when it is first asked for."""
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
        """Return what was counted since the last call, gauges as they are, and begin again at zero."""
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
        """Add what another meter took; gauges replace. Unknown names and shapes are left out."""
        for name, labels, values in deltas:
            metric = METRICS.get(name)
            if metric is None or len(labels) != len(metric.labels) or len(values) != len(_empty(metric)):
                continue
            cell = self.cell(name, *labels)
            cell[:] = values if metric.kind == "gauge" else map(float.__add__, cell, map(float, values))

    def forget(self, name: str, label: str, value: str) -> None:
        """Leave out the series of a metric whose label has this value (a worker that is gone)."""
        at = METRICS[name].labels.index(label)
        cells = self._cells.get(name, {})
        for labels in [labels for labels in cells if labels[at] == value]:
            del cells[labels]

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return what a counter or gauge is at, by label values."""
        return {labels: cell[0] for labels, cell in self._cells.get(name, {}).items()}

    def clear(self, name: str) -> None:
        """Leave out every series of a metric."""
        self._cells.pop(name, None)

    def text(self) -> str:
        """Write everything in Prometheus' text format, version 0.0.4."""
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
    """Count a value in a histogram's cell."""
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
