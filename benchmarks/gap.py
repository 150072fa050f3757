"""Figures of tuning: `python -m benchmarks.gap [PART …]` writes docs/benchmarks/gap.md."""

import sys
from collections.abc import Callable

from benchmarks import _gap_demo, _gap_distil, _gap_ways
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "ways": _gap_ways.way_rows,
    "gain": _gap_ways.gain_rows,
    "port": _gap_demo.port_rows,
    "distil": _gap_distil.distil_rows,
    "interruptions": _gap_distil.interruption_rows,
}


if __name__ == "__main__":
    measure_parts("gap", PARTS, sys.argv[1:], ("crossgrade", "numpy", "scipy"))
