"""Figures of the main job: `python -m benchmarks.evaluation [PART …]` writes docs/benchmarks/evaluation.md."""

import json
import sys
from collections.abc import Callable

from benchmarks import _import, _real_tables, _retention, _runner, _startup
from benchmarks._table import DOCS, Row, now, write

PARTS: dict[str, Callable[[], list[Row]]] = {
    "retention": _retention.rows,
    "tables": _real_tables.rows,
    "runner": _runner.rows,
    "import": _import.rows,
    "startup": _startup.rows,
}


def main(chosen: list[str]) -> None:
    """Measure the chosen parts (all by default) and keep the recorded rows of the others."""
    unknown = set(chosen) - PARTS.keys()
    if unknown:
        sys.exit(f"error: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    record = DOCS / "evaluation.json"
    kept = json.loads(record.read_text(encoding="utf-8"))["rows"] if chosen and record.exists() else []
    rows: list[Row] = []
    for name, measure in PARTS.items():
        if chosen and name not in chosen:
            rows += [row for row in kept if row.get("part") == name]
            continue
        print(f"==> {name}", file=sys.stderr, flush=True)
        rows += [{**row, "part": name, "measured_at": now()} for row in measure()]
    write("evaluation", rows, ("crossgrade", "numpy", "scipy", "aiohttp", "sqlalchemy"))
    print(DOCS / "evaluation.md")


if __name__ == "__main__":
    main(sys.argv[1:])
