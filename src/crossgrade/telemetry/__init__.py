"""Names of metrics and of log fields, and the meter that counts under them."""

from crossgrade.telemetry._logs import log_line
from crossgrade.telemetry._meter import Cell, Delta, Meter, observe
from crossgrade.telemetry._names import METRICS, Metric, MetricKind

__all__ = ["METRICS", "Cell", "Delta", "Meter", "Metric", "MetricKind", "log_line", "observe"]
