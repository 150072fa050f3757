"""Figures of the context probe: `python -m benchmarks.longcontext [PART …]` writes docs/benchmarks/longcontext.md."""

import json
import sys
from collections.abc import Callable

from benchmarks import _longcontext_prompts, _longcontext_search
from benchmarks._table import DOCS, Row, now, write

PARTS: dict[str, Callable[[], list[Row]]] = {
    "search": _longcontext_search.rows,
    "prompts": _longcontext_prompts.rows,
}


def main(chosen: list[str]) -> None:
    """Measure the chosen parts (all by default) and keep the recorded rows of the others."""
    unknown = set(chosen) - PARTS.keys()
    if unknown:
        sys.exit(f"error: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    record = DOCS / "longcontext.json"
    kept = json.loads(record.read_text(encoding="utf-8"))["rows"] if chosen and record.exists() else []
    rows: list[Row] = []
    for name, measure in PARTS.items():
        if chosen and name not in chosen:
            rows += [row for row in kept if row.get("part") == name]
            continue
        print(f"==> {name}", file=sys.stderr, flush=True)
        rows += [{**row, "part": name, "measured_at": now()} for row in measure()]
    write("longcontext", rows, ("crossgrade", "numpy", "tiktoken", "tokenizers"))
    print(DOCS / "longcontext.md")


if __name__ == "__main__":
    main(sys.argv[1:])
