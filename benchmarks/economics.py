"""Figures of costs: `python -m benchmarks.economics [PART …]` writes docs/benchmarks/economics.md."""

import sys
from collections.abc import Callable

from benchmarks import _outlook, _prices, _same_bill, _serving
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "serving": _serving.rows,
    "bills": _same_bill.rows,
    "prices": _prices.rows,
    "outlook": _outlook.rows,
}

_NOTE = (
    "The serving model's guesses, from which its fit starts, were made with the whole sample in view, and the form of "
    "the model and the traits of its bands were chosen by the same cross-validation: expect somewhat larger errors on "
    "models and engines that are not in it. Times are of this shared machine; CPU is of the process. Break-even figures are arithmetic: they say at "
    "what volume a box costs what a host asks, not that the box can serve it."
)


if __name__ == "__main__":
    measure_parts(
        "economics",
        PARTS,
        sys.argv[1:],
        ("crossgrade", "numpy", "scipy", "genai-prices"),
        notes=lambda: [_NOTE],
    )
