"""RULER's tasks against one of the project's offers: provider, result and scores beside it."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from crossgrade.decide import Spent
from crossgrade.domain import Usage
from crossgrade.errors import UsageError
from crossgrade.longcontext import (
    HaystackPool,
    RulerMaker,
    RulerResult,
    run_ruler,
)
from crossgrade.pricing import cost_usd
from crossgrade.project._probing import ProbePlan, begin_probe, open_askers

if TYPE_CHECKING:
    from crossgrade.project._project import Project


def ruler_tasks(plan: ProbePlan, tasks: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the tasks to run: those named, or all that the plan's pairs allow.

    Raises UsageError for a task that there is not, and without an exact tokenizer.
    """
    if not plan.tokenizer.exact:
        raise UsageError(
            "RULER's lengths are exact, and no tokenizer is known for this model",
            code="tokenizer-missing",
            hint="give the model's tokenizer.json, its GGUF file or a .tiktoken file with `--tokenizer`",
        )
    known = RulerMaker(_pool(plan), pairs=plan.pairs).tasks
    for task in tasks:
        if task not in known:
            raise UsageError(
                f"there is no task {task!r} here; there are {', '.join(known)}",
                code="task-unknown",
                hint="qa_1 and qa_2 need `--pairs` with one or several passages",
            )
    return tuple(task for task in known if not tasks or task in tasks)


def ruler_cost(plan: ProbePlan, tasks: Sequence[str], samples: int) -> tuple[int, int, Decimal | None]:
    """Return the calls, the tokens and the dollars of a run in full; None without a price."""
    calls = len(plan.settings.lengths) * len(tasks) * samples
    tokens = sum(plan.settings.lengths) * len(tasks) * samples
    if plan.price is None:
        return calls, tokens, None
    return (
        calls,
        tokens,
        cost_usd(Usage(input_tokens=tokens, output_tokens=calls * 128, images=0), plan.price),
    )


def measure_ruler(
    project: "Project",
    plan: ProbePlan,
    *,
    tasks: Sequence[str],
    samples: int,
    max_cost_usd: Decimal | None = None,
    resume: str | None = None,
    on_progress: Callable[[str, str, int, Spent], None] = lambda *_: None,
    environ: Mapping[str, str] = os.environ,
) -> RulerResult:
    """Run RULER's tasks, or go on with a run; scores are kept as `model,length,score` beside the result."""
    import anyio

    maker = RulerMaker(_pool(plan), pairs=plan.pairs, seed=plan.settings.seed)
    with begin_probe(project, plan, resume, kind=f"ruler {samples} {','.join(tasks)}") as begun:

        async def run() -> RulerResult:
            async with open_askers(project, plan, begun, max_cost_usd, environ) as opened:
                return await run_ruler(
                    maker,
                    replace(opened.asker, answer_begins=""),
                    probe_id=begun.id,
                    lengths=plan.settings.lengths,
                    tasks=tasks,
                    samples=samples,
                    now=datetime.now(UTC),
                    on_progress=lambda phase, at, spent: on_progress(begun.id, phase, at, spent),
                )

        result = anyio.run(run)
    path = plan.folder / f"{begun.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".ruler.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    path.with_suffix(".csv").write_text(_scores(result), encoding="utf-8")
    return result


def _scores(result: RulerResult) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["model", "length", "score"])
    for tokens, score in () if result.row is None else result.row.scores.items():
        writer.writerow([result.offer, tokens, round(score, 4)])
    return table.getvalue()


def _pool(plan: ProbePlan) -> HaystackPool:
    return HaystackPool(plan.documents, plan.tokenizer, seed=plan.settings.seed)
