"""Rows of a benchmark: one JSON file and one Markdown table with the same content."""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"


class Row(TypedDict, total=False):
    """One figure: what was measured, what it must be, and under which conditions."""

    figure: str
    value: float | str | None
    unit: str
    must: str
    aim: str
    holds: bool
    peers: Mapping[str, float | str]
    conditions: str
    part: str
    measured_at: str


def machine() -> str:
    """The processor, its cores, memory and Python, without any path or host name."""
    name = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    return f"{name}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()}, CPython {python}"


def now() -> str:
    """The present moment in UTC, RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(name: str, rows: Sequence[Row], packages: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Write docs/benchmarks/NAME.json and NAME.md from the same rows."""
    versions = {package: version(package) for package in packages}
    record = {
        "schema_version": 1,
        "benchmark": name,
        "written_at": now(),
        "machine": machine(),
        "versions": versions,
        "rows": rows,
    }
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / f"{name}.json").write_text(
        json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    lines = [
        f"# Benchmark: {name}",
        "",
        f"Measured {_span(rows)} on {record['machine']}; "
        + ", ".join(f"{package} {number}" for package, number in versions.items())
        + f". `make bench-{name}` measures it again.",
        "",
        "| figure | value | must | aim | holds | peers | conditions |",
        "|---|---:|---:|---:|---|---|---|",
    ]
    lines += [_line(row) for row in rows]
    lines += ["", *notes]
    (DOCS / f"{name}.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def measure_parts(
    name: str,
    parts: Mapping[str, Callable[[], list[Row]]],
    chosen: Sequence[str],
    packages: Sequence[str],
    notes: Sequence[str] = (),
) -> None:
    """Measure the chosen parts (all by default), keep the recorded rows of the others, write both."""
    unknown = set(chosen) - parts.keys()
    if unknown:
        sys.exit(f"error: no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    record = DOCS / f"{name}.json"
    kept = json.loads(record.read_text(encoding="utf-8"))["rows"] if chosen and record.exists() else []
    rows: list[Row] = []
    for part, rows_of in parts.items():
        if chosen and part not in chosen:
            rows += [row for row in kept if row.get("part") == part]
            continue
        print(f"==> {part}", file=sys.stderr, flush=True)
        rows += [{**row, "part": part, "measured_at": now()} for row in rows_of()]
    write(name, rows, packages, notes)
    print(DOCS / f"{name}.md")


def _line(row: Row) -> str:
    value = row.get("value")
    shown = "not measured" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    unit = row.get("unit", "")
    peers = "; ".join(
        f"{peer} {number:.4g}" if isinstance(number, float) else f"{peer} {number}"
        for peer, number in row.get("peers", {}).items()
    )
    cells = (
        row["figure"],
        f"{shown} {unit}".strip(),
        row.get("must", ""),
        row.get("aim", ""),
        "yes" if row.get("holds") else "**no**",
        peers,
        row.get("conditions", ""),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _span(rows: Sequence[Row]) -> str:
    """From the first to the last moment at which a row was measured: parts are measured apart."""
    moments = sorted(row["measured_at"] for row in rows)
    return moments[0] if moments[0] == moments[-1] else f"from {moments[0]} to {moments[-1]}"
