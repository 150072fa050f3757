"""Figures of routers: `python -m benchmarks.routing [PART …]` writes docs/benchmarks/routing.md.

The parts `text` and `whole-text` need the prompts of RouteLLM's results (github.com/lm-sys/RouteLLM, Apache-2.0),
which are not copied here: set ROUTELLM to the folder `routellm/evals` of a checkout. The other parts need nothing.
"""

import sys
from collections.abc import Callable

from benchmarks import _growth, _growth_days, _router_certificates, _router_scores
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "certificates": _router_certificates.rows,
    "growth": _growth.rows,
    "growth-days": _growth_days.rows,
    "speed": _router_scores.speed_rows,
    "text": _router_scores.text_rows,
    "whole": _router_certificates.whole_rows,
    "whole-text": _router_scores.whole_text,
}


if __name__ == "__main__":
    measure_parts("routing", PARTS, sys.argv[1:], ("crossgrade", "numpy", "scipy"))
