"""Figures of the main job: `python -m benchmarks.evaluation [PART …]` writes docs/benchmarks/evaluation.md."""

import sys
from collections.abc import Callable
from functools import partial

from benchmarks import (
    _drift,
    _few,
    _frozen_kill9,
    _frozen_rows,
    _frugality,
    _guards,
    _import,
    _peer_rules,
    _real_tables,
    _retention,
    _runner,
    _savings,
    _settings,
    _startup,
)
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "retention": _retention.rows,
    "settings": _settings.rows,
    "judge": _settings.judge_rows,
    "few": _few.rows,
    "certain": partial(_frugality.measure, _frugality.verdict_rows),
    "giving-up": partial(_frugality.measure, _frugality.futility_rows),
    "blocks": partial(_frugality.measure, _frugality.block_rows),
    "paid": partial(_frugality.measure, _frugality.paid_rows),
    "advice": partial(_frugality.measure, _frugality.advice_rows),
    "rules": _peer_rules.rows,
    "guards": _guards.sound,
    "faults": _guards.faulty,
    "frozen-shared": _frozen_rows.shared,
    "frozen-answers": _frozen_rows.planned_answers,
    "frozen-killed": _frozen_kill9.rows,
    "drift": _drift.rows,
    "tables": _real_tables.rows,
    "savings": _savings.rows,
    "runner": _runner.rows,
    "import": _import.rows,
    "startup": _startup.rows,
}


if __name__ == "__main__":
    measure_parts(
        "evaluation", PARTS, sys.argv[1:], ("crossgrade", "numpy", "scipy", "aiohttp", "sqlalchemy")
    )
