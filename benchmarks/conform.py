"""Figures of conform: `python -m benchmarks.conform [PART …]` writes docs/benchmarks/conform.md."""

import sys
from collections.abc import Callable

from benchmarks import _conform_faults, _conform_power, _conform_reference, _conform_watch
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "faults": _conform_faults.rows,
    "false": _conform_power.false_alarm_rows,
    "power": _conform_power.power_rows,
    "watch": _conform_watch.year_rows,
    "swap": _conform_watch.swap_rows,
    "reference": _conform_reference.rows,
}


if __name__ == "__main__":
    measure_parts("conform", PARTS, sys.argv[1:], ("crossgrade", "numpy", "scipy"))
