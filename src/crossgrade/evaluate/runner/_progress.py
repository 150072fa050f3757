"""How a run goes, for whoever shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from crossgrade.stats import Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands.

    `done` samples of `planned` have counted: `asked` of them were asked and scored, the others are not
    needed any more.
    `calls` were paid for in this run, `reused` answers had been paid for before. `errors` are
    calls that failed for good, `unscored` pairs that have no score. `spent_usd` is what the
    calls of the run have cost as far as that is known; `unknown_costs` calls are not in it.
    `calls_saved` were not made because the verdict was already certain. `live` is each
    candidate's retention so far; `limits` the calls that each account takes at once;
    `in_batches` requests wait for a batch to end.
    """

    run_id: str
    done: int
    asked: int
    planned: int
    calls: int
    reused: int
    errors: int
    unscored: int
    spent_usd: Decimal
    unknown_costs: int
    calls_saved: int
    in_batches: int = 0
    live: Mapping[str, Retention] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
