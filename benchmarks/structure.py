"""Figures of the source itself: `python -m benchmarks.structure [PART …]` writes docs/benchmarks/structure.md.

A figure of this page does not depend on the machine.
"""

import sys
from collections import Counter

from benchmarks._structure import (
    class_names_defined_twice,
    files,
    short_modules,
    statements,
)
from benchmarks._structure_gateway import files_entered_by_a_request
from benchmarks._structure_sample import files_entered_by_a_sample
from benchmarks._table import Row, measure_parts

_BEFORE = "2026-11-27, before APIs, prices and calls had one place each"
_STATEMENTS_BEFORE = 39_218
_ENTERED_BEFORE = 120


def source_rows() -> list[Row]:
    """Return what the source is made of."""
    count = statements()
    twice = class_names_defined_twice()
    return [
        {
            "figure": "statements of the source",
            "value": f"{count:,}",
            "must": f"≤ {_STATEMENTS_BEFORE * 9 // 10:,}",
            "aim": f"≤ {_STATEMENTS_BEFORE * 8 // 10:,}",
            "holds": count <= _STATEMENTS_BEFORE * 9 // 10,
            "conditions": f"counted by `ast` without docstrings, in {files()} files; {_STATEMENTS_BEFORE:,} on {_BEFORE}",
        },
        {
            "figure": "modules under 60 lines",
            "value": short_modules(),
            "must": "≤ 40",
            "aim": "≤ 25",
            "holds": short_modules() <= 40,
            "conditions": f"`__init__.py` included; 105 on {_BEFORE}",
        },
        {
            "figure": "public class names defined twice",
            "value": len(twice),
            "must": "0",
            "aim": "0",
            "holds": not twice,
            "conditions": ", ".join(twice) or f"34 on {_BEFORE}",
        },
    ]


def gateway_rows() -> list[Row]:
    """Return how many files a request of the gateway enters."""
    entered = files_entered_by_a_request()
    names = ", ".join(sorted(f"`{name}`" for name in entered))
    return [
        {
            "figure": "files entered by one request of the gateway",
            "value": len(entered),
            "must": "≤ 16",
            "aim": "≤ 12",
            "holds": len(entered) <= 16,
            "conditions": f"`sys.setprofile`; a JSON answer, kept connections, a key, a limit, the fourth request: {names}",
        }
    ]


def sample_rows() -> list[Row]:
    """Return how many files a sample's way from `evaluate` to a report enters."""
    entered = files_entered_by_a_sample()
    rooms = Counter(name.split("/")[0].removesuffix(".py") for name in entered)
    names = ", ".join(f"{room} {count}" for room, count in rooms.most_common())
    return [
        {
            "figure": "files entered from `evaluate` over `decide` to `report`",
            "value": len(entered),
            "must": "≤ 80",
            "aim": "≤ 60",
            "holds": len(entered) <= 80,
            "conditions": "`sys.setprofile`; 60 samples, two models over HTTP, one scorer, the second time: "
            f"{names}; {_ENTERED_BEFORE} on {_BEFORE}",
        }
    ]


PARTS = {"source": source_rows, "gateway": gateway_rows, "sample": sample_rows}


if __name__ == "__main__":
    measure_parts("structure", PARTS, sys.argv[1:], ("crossgrade",))
