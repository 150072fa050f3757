"""Asks every task of RULER at every length, and computes the scores, averages and effective length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from crossgrade.decide import Spent
from crossgrade.errors import BudgetExceededError
from crossgrade.longcontext._asking import Asker
from crossgrade.longcontext._ruler import RulerRow, ruler_row
from crossgrade.longcontext._ruler_tasks import RulerMaker
from crossgrade.stats import Proportion, proportion_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class RulerCell:
    """One task at one length: `share` is the mean score with its interval. Failed calls score 0."""

    task: str
    tokens: int
    share: Proportion
    failures: int
    refused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RulerResult:
    """A run of RULER's tasks; `row` is over the lengths with every task, None if there is none."""

    probe_id: str
    offer: str
    measured_at: datetime
    samples: int
    tokenizer: str
    model: str | None
    runtime: str | None
    cells: tuple[RulerCell, ...]
    row: RulerRow | None
    reason: str | None
    spent: Spent
    reason_code: str | None = None


async def run_ruler(
    maker: RulerMaker,
    asker: Asker,
    *,
    probe_id: str,
    lengths: Sequence[int],
    tasks: Sequence[str],
    samples: int,
    now: datetime,
    on_progress: Callable[[str, int, Spent], None] = lambda *_: None,
) -> RulerResult:
    """Ask `samples` samples of each task at each of `lengths` (tokens), in their order.

    As in RULER, a length includes the output tokens. A prompt that is refused as too long ends its task at
    that length. Raises a `ProviderError` that retries did not solve.
    """
    cells: list[RulerCell] = []
    reason, reason_code, model, runtime = None, None, None, None
    try:
        for tokens in lengths:
            for task in tasks:
                scores: list[float] = []
                failures, refused = 0, False
                for number in range(samples):
                    on_progress(f"ruler {task}", tokens, asker.spent)
                    sample = maker.make(task, tokens - maker.answer_tokens(task), number)
                    asked = await asker.ask(sample.prompt, max_output_tokens=sample.max_output_tokens)
                    if asked.answer is not None:
                        model, runtime = asked.answer.model or model, asked.answer.runtime or runtime
                    failures += asked.answer is None
                    refused = asked.is_too_long
                    scores.append(0.0 if asked.text is None else sample.score(asked.text))
                    if refused:
                        break
                share = proportion_interval(sum(scores), len(scores))
                cells.append(
                    RulerCell(task=task, tokens=tokens, share=share, failures=failures, refused=refused)
                )
    except BudgetExceededError as error:
        reason, reason_code = error.message, error.code
    return RulerResult(
        probe_id=probe_id,
        offer=asker.model.name,
        measured_at=now,
        samples=samples,
        tokenizer=maker.tokenizer_name,
        model=model,
        runtime=runtime,
        cells=tuple(cells),
        row=_row(asker.model.name, cells, tasks),
        reason=reason,
        reason_code=reason_code,
        spent=asker.spent,
    )


def _row(name: str, cells: Sequence[RulerCell], tasks: Sequence[str]) -> RulerRow | None:
    scores: dict[int, float] = {}
    for tokens in dict.fromkeys(cell.tokens for cell in cells):
        here = [cell.share.value or 0.0 for cell in cells if cell.tokens == tokens]
        if len(here) == len(tasks):
            scores[tokens] = 100 * sum(here) / len(here)
    return ruler_row(name, scores) if scores else None
