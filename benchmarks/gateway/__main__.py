"""`python -m benchmarks.gateway [PART ...]` writes docs/benchmarks/gateway.md.

A run of the part `load` is added to those recorded before; the table is the median of all runs of that state.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from benchmarks._table import Row, measure_parts
from benchmarks.gateway._abuse import abuse_rows
from benchmarks.gateway._dense import dense_rows
from benchmarks.gateway._measure import Maker, measure
from benchmarks.gateway._ours import crossgrade_serve
from benchmarks.gateway._peers import PEERS
from benchmarks.gateway._promises import carry_rows, feedback_rows, overspend_rows
from benchmarks.gateway._rows import rows
from benchmarks.gateway._runs import add_run, notes, recorded_runs, summary
from benchmarks.gateway._stalls import stall_rows
from benchmarks.gateway_watch import watch_rows

PARTS = ("load", "abuse", "spend", "carry", "stalls", "feedback", "watch")
_PACKAGES = ("crossgrade", "httptools", "uvloop", "msgspec")
_NOTE = (
    "One upstream without cost and one load generator, both in C, share a core; the gateway under test has the other, "
    "with all its processes, and goes before the machine's other work where that is permitted. Everything is "
    "started three times, and each round visits every server in turn. CPU is user and system time of a server's whole process "
    "tree, from the kernel. Ratios are taken within a round; throughput on a shared machine is noise, so requests a "
    "second a core are computed from CPU time and those that were seen stand beside. Ours checks a key, picks a route, "
    "rewrites the model, counts usage, budgets, rates and metrics and records each request; LiteLLM checks its master "
    "key without a database; nginx, Portkey and TensorZero check nothing."
)


def main(arguments: list[str]) -> None:
    """Measure the chosen parts (all by default) and keep the recorded rows of the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--rounds", type=int, default=2, help="of each start")
    parser.add_argument("--only", default="", help="peers to measure, with commas; prints and writes nothing")
    parser.add_argument(
        "--target", help="MODULE:FUNCTION that makes another server's Target; prints, writes nothing"
    )
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.parts) - set(PARTS) | set(filter(None, chosen.only.split(","))) - PEERS.keys()
    if unknown:
        sys.exit(
            f"error: no {', '.join(sorted(unknown))}; parts {', '.join(PARTS)}; peers {', '.join(PEERS)}"
        )
    ours = _maker(chosen.target) if chosen.target else crossgrade_serve
    only = set(filter(None, chosen.only.split(",")))
    measures: dict[str, Callable[[], list[Row]]] = {
        "load": lambda: summary(add_run(rows(measure(ours, chosen.rounds, only)))),
        "abuse": lambda: [*abuse_rows(), *dense_rows()],
        "spend": overspend_rows,
        "carry": carry_rows,
        "stalls": stall_rows,
        "feedback": feedback_rows,
        "watch": watch_rows,
    }
    if only or chosen.target:
        json.dump(rows(measure(ours, chosen.rounds, only)), sys.stdout, indent=2, ensure_ascii=False)
        return
    packages = [name for name in _PACKAGES if _installed(name)]
    measure_parts("gateway", measures, chosen.parts, packages, lambda: [_NOTE, "", *notes(recorded_runs())])


def _maker(name: str) -> Maker:
    module, _, function = name.partition(":")
    made: Maker = getattr(importlib.import_module(module), function)
    return made


def _installed(package: str) -> bool:
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
