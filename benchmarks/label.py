"""Figures of labelling: `python -m benchmarks.label [PART …]` writes docs/benchmarks/label.md."""

import sys
from collections.abc import Callable

from benchmarks import _label_draws, _label_page
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "width": _label_draws.width_rows,
    "untuned": _label_draws.untuned_rows,
    "wrong": _label_draws.wrong_rows,
    "page": _label_page.page_rows,
    "kills": _label_page.kill_rows,
}


if __name__ == "__main__":
    measure_parts("label", PARTS, sys.argv[1:], ("crossgrade", "numpy", "scipy"))
