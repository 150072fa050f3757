"""What a run measured of each model: the tokens that are billed, and what was solved for them."""

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from crossgrade.catalog.bills import Measured
from crossgrade.domain import ScoredAnswer, Workload
from crossgrade.economics import Traffic, UsageColumns

if TYPE_CHECKING:
    from crossgrade.store import Run, Store


def measured_of(store: "Store", run: "Run", workload: Workload) -> dict[str, Measured]:
    """Return what a run measured of each of the workload's models that it asked."""
    answers = store.answers.scored(run.id, str(run.settings["scorer_digest"]))
    by_model: dict[str, list[ScoredAnswer]] = {}
    for answer in answers:
        if answer.usage.input_tokens is not None:
            by_model.setdefault(answer.model, []).append(answer)
    calls = None if workload.requests_per_month is None else Decimal(workload.requests_per_month)
    return {
        model: Measured(
            traffic=Traffic(
                usage=UsageColumns.of(answer.usage for answer in theirs),
                calls_per_month=calls,
                measured=True,
                source=f"run {run.id}",
            ),
            scores=np.array([np.nan if answer.score is None else answer.score for answer in theirs]),
        )
        for model, theirs in by_model.items()
    }
