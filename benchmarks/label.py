"""Figures of labelling: `python -m benchmarks.label [PART …]` writes docs/benchmarks/label.md."""

import sys
from collections.abc import Callable

from benchmarks import _label_draws
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "width": _label_draws.width_rows,
    "untuned": _label_draws.untuned_rows,
    "wrong": _label_draws.wrong_rows,
}


if __name__ == "__main__":
    measure_parts("label", PARTS, sys.argv[1:], ("crossgrade", "numpy", "scipy"))
