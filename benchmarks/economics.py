"""Figures of costs: `python -m benchmarks.economics [PART …]` writes docs/benchmarks/economics.md."""

import json
import sys
from collections.abc import Callable

from benchmarks import _outlook, _prices, _serving
from benchmarks._table import DOCS, Row, now, write

PARTS: dict[str, Callable[[], list[Row]]] = {
    "serving": _serving.rows,
    "prices": _prices.rows,
    "outlook": _outlook.rows,
}

_NOTE = (
    "The serving model's guesses, from which its fit starts, were made with the whole sample in view, and the form of "
    "the model was chosen by the same cross-validation: expect somewhat larger errors on models and engines that are "
    "not in it. Times are of this shared machine; CPU is of the process. Break-even figures are arithmetic: they say at "
    "what volume a box costs what a host asks, not that the box can serve it."
)


def main(chosen: list[str]) -> None:
    """Measure the chosen parts (all by default) and keep the recorded rows of the others."""
    unknown = set(chosen) - PARTS.keys()
    if unknown:
        sys.exit(f"error: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    record = DOCS / "economics.json"
    kept = json.loads(record.read_text(encoding="utf-8"))["rows"] if chosen and record.exists() else []
    rows: list[Row] = []
    for name, measure in PARTS.items():
        if chosen and name not in chosen:
            rows += [row for row in kept if row.get("part") == name]
            continue
        print(f"==> {name}", file=sys.stderr, flush=True)
        rows += [{**row, "part": name, "measured_at": now()} for row in measure()]
    write("economics", rows, ("crossgrade", "numpy", "scipy", "genai-prices"), notes=(_NOTE,))
    print(DOCS / "economics.md")


if __name__ == "__main__":
    main(sys.argv[1:])
