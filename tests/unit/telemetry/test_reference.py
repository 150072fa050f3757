"""docs/reference/metrics.md lists every metric with its labels, and nothing else."""

import re
from pathlib import Path

from crossgrade.telemetry import METRICS

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")


def test_the_page_lists_every_metric() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", PAGE, re.MULTILINE)
    assert [(name, kind, re.findall(r"`(\w+)`", labels), text) for name, kind, labels, text in rows] == [
        (
            metric.prometheus_name,
            metric.kind,
            [label.replace(".", "_") for label in metric.labels],
            metric.help,
        )
        for metric in METRICS.values()
    ]
