"""Figures of conform: `python -m benchmarks.conform [PART …]` writes docs/benchmarks/conform.md."""

import sys
from collections.abc import Callable

from benchmarks import _conform_faults, _conform_reference
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "reference": _conform_reference.rows,
    "faults": _conform_faults.rows,
}


if __name__ == "__main__":
    measure_parts("conform", PARTS, sys.argv[1:], ("crossgrade", "numpy"))
