"""Traffic logs in, workloads out: logs of other tools read, scanned, and drawn from."""

from crossgrade.workloads.traffic.columns import Run
from crossgrade.workloads.traffic.databases import clickhouse_client, without_password
from crossgrade.workloads.traffic.definitions import EvalDefinition, definition_of
from crossgrade.workloads.traffic.drawing import Drawn, draw_samples, subject_of
from crossgrade.workloads.traffic.encoding import ReadPart
from crossgrade.workloads.traffic.findings import Finding, Likelihood, Move, Scan, Sums, scan_record
from crossgrade.workloads.traffic.formats import LOG_FORMATS, LogFormat
from crossgrade.workloads.traffic.parts import LogPart, ReadingOptions
from crossgrade.workloads.traffic.reading import Problems, Reading, log_files
from crossgrade.workloads.traffic.remote import is_remote, log_path, remote_path
from crossgrade.workloads.traffic.request import LoggedRequest, merged
from crossgrade.workloads.traffic.scanning import scan_logs
from crossgrade.workloads.traffic.workers import AHEAD, in_order, in_processes

__all__ = [
    "AHEAD",
    "LOG_FORMATS",
    "Drawn",
    "EvalDefinition",
    "Finding",
    "Likelihood",
    "LogFormat",
    "LogPart",
    "LoggedRequest",
    "Move",
    "Problems",
    "ReadPart",
    "Reading",
    "ReadingOptions",
    "Run",
    "Scan",
    "Sums",
    "clickhouse_client",
    "definition_of",
    "draw_samples",
    "in_order",
    "in_processes",
    "is_remote",
    "log_files",
    "log_path",
    "merged",
    "remote_path",
    "scan_logs",
    "scan_record",
    "subject_of",
    "without_password",
]
