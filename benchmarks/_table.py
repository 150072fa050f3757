"""Rows of a benchmark: one JSON file and one Markdown table with the same content.

`python -m benchmarks._table` writes the Markdown of every recorded benchmark again and measures nothing.
"""

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
    """One figure: what was measured, what it must be, and under which conditions.

    `holds` says whether the value is within `must`. A row without a must has none: there is nothing to hold.
    `spread` says of how many values this is the median, and how far apart they lie. `machine` is where it
    was measured; without it, the record's.
    """

    figure: str
    value: float | str | None
    unit: str
    must: str
    aim: str
    holds: bool
    peers: Mapping[str, float | str]
    conditions: str
    spread: str
    part: str
    measured_at: str
    machine: str


class Record(TypedDict):
    """What docs/benchmarks/NAME.json holds."""

    schema_version: int
    benchmark: str
    written_at: str
    machine: str
    versions: Mapping[str, str]
    notes: Sequence[str]
    rows: Sequence[Row]


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
    record: Record = {
        "schema_version": 1,
        "benchmark": name,
        "written_at": now(),
        "machine": machine(),
        "versions": {package: version(package) for package in packages},
        "notes": list(notes),
        "rows": [judged(row) for row in rows],
    }
    save(record)


def save(record: Record) -> None:
    """Write a record and its table."""
    DOCS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (DOCS / f"{record['benchmark']}.json").write_text(text, encoding="utf-8")
    (DOCS / f"{record['benchmark']}.md").write_text(table(record), encoding="utf-8")


def read(name: str) -> Record:
    """Read docs/benchmarks/NAME.json."""
    record: Record = json.loads((DOCS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def recorded() -> list[str]:
    """Return the names of the benchmarks that have a record."""
    return sorted(path.stem for path in DOCS.glob("*.json") if path.with_suffix(".md").exists())


def judged(row: Row) -> Row:
    """Return the row as it is recorded: `holds` only beside a must."""
    if row.get("must"):
        return row
    kept: Row = row.copy()
    kept.pop("holds", None)
    return kept


def table(record: Record) -> str:
    """Return the Markdown page of a record."""
    rows = record["rows"]
    versions = ", ".join(f"{package} {number}" for package, number in record["versions"].items())
    machines = " and ".join(dict.fromkeys(row.get("machine", record["machine"]) for row in rows))
    head = f"Measured {_span(rows)} on {machines}; {versions}."
    again = f"`make bench-{record['benchmark']}` measures it again."
    lines = [
        f"# Benchmark: {record['benchmark']}",
        "",
        f"{head} {again} *Holds* is empty where nothing must hold.",
        "",
        "| figure | value | must | aim | holds | peers | conditions | measured |",
        "|---|---:|---:|---:|---|---|---|---|",
        *(_line(row) for row in rows),
        "",
        *record["notes"],
    ]
    return "\n".join(lines).rstrip() + "\n"


def measure_parts(
    name: str,
    parts: Mapping[str, Callable[[], list[Row]]],
    chosen: Sequence[str],
    packages: Sequence[str],
    notes: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Measure the chosen parts (all by default), keep the recorded rows of the others, write both."""
    unknown = set(chosen) - parts.keys()
    if unknown:
        sys.exit(f"error: no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    kept: list[Row] = []
    if chosen and (DOCS / f"{name}.json").exists():
        record = read(name)
        kept = [{"machine": record["machine"], **row} for row in record["rows"]]
    rows: list[Row] = []
    for part, rows_of in parts.items():
        if chosen and part not in chosen:
            rows += [row for row in kept if row.get("part") == part]
            continue
        print(f"==> {part}", file=sys.stderr, flush=True)
        rows += [{"measured_at": now(), "machine": machine(), **row, "part": part} for row in rows_of()]
    write(name, rows, packages, notes())
    print(DOCS / f"{name}.md")


def _line(row: Row) -> str:
    value = row.get("value")
    shown = "not measured" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    unit = row.get("unit", "")
    peers = "; ".join(
        f"{peer} {number:.4g}" if isinstance(number, float) else f"{peer} {number}"
        for peer, number in row.get("peers", {}).items()
    )
    holds = "" if not row.get("must") else "yes" if row.get("holds") else "**no**"
    cells = (
        row["figure"],
        f"{shown} {unit}".strip(),
        row.get("must", ""),
        row.get("aim", ""),
        holds,
        peers,
        "; ".join(filter(None, (row.get("conditions", ""), row.get("spread", "")))),
        row["measured_at"][:10],
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _span(rows: Sequence[Row]) -> str:
    """From the first to the last moment at which a row was measured: parts are measured apart."""
    moments = sorted(row["measured_at"] for row in rows)
    return moments[0] if moments[0] == moments[-1] else f"from {moments[0]} to {moments[-1]}"


if __name__ == "__main__":
    for each in recorded():
        save(read(each))
