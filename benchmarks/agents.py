"""Figures of agents' runs: `python -m benchmarks.agents [PART …]` writes docs/benchmarks/agents.md."""

import sys
from collections.abc import Callable

from benchmarks import _agent_figures, _agent_simulations, _agent_trials
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "figures": _agent_figures.figure_rows,
    "import": _agent_figures.import_rows,
    "false": _agent_simulations.false_rows,
    "coverage": _agent_simulations.coverage_rows,
    "power": _agent_simulations.power_rows,
    "trials": _agent_trials.trial_rows,
}


if __name__ == "__main__":
    measure_parts("agents", PARTS, sys.argv[1:], ("crossgrade", "numpy", "scipy"))
