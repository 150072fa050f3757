"""The page of what a tuning tried: every variant, the proposal, and the verdict on its one test."""

from collections.abc import Sequence

from crossgrade.decide import Verdict
from crossgrade.domain import PromptTemplate, TuningTrial
from crossgrade.report import _format as fmt
from crossgrade.report._html import PagePart, render_page
from crossgrade.report._view import Table

_HEAD = ("model", "variant", "items", "score", "unparsed", "failed", "what became of it")


def render_tuning(
    workload: str, candidate: str, trials: Sequence[TuningTrial], verdict: Verdict | None
) -> str:
    """Return what was tried for a candidate as one HTML page; raises MissingExtraError without `report`.

    `verdict` is that of the test of the proposal, None if nothing was proposed.
    """
    best = [each for each in trials if each.is_best]
    return render_page(
        f"Prompts for {candidate}",
        above=f"Prompts that were tried for {candidate} on {workload}",
        headline="No variant did better" if verdict is None else f"Tested once: {verdict.name}",
        lead="Nothing was tested, and no error rate was spent." if verdict is None else verdict.sentence,
        facts=(("variants", f"{len(trials):,}"), ("answers", f"{sum(each.n for each in trials):,}")),
        sections=[
            PagePart(title="What was tried", table=_table(trials)),
            *(
                PagePart(title=f"The best prompt of {each.model}", lines=prompt_lines(each.prompt))
                for each in best
            ),
            *([] if verdict is None else [_reasons(verdict)]),
        ],
    )


def trial_rows(trials: Sequence[TuningTrial]) -> list[tuple[str, ...]]:
    """Return what a table shows of each variant, the best of each model first."""
    ranked = sorted(
        trials, key=lambda each: (each.model, not each.is_best, not each.is_kept, -(each.score or 0.0))
    )
    return [
        (
            each.model,
            each.name,
            f"{each.n:,}",
            "none" if each.score is None else f"{each.score:.3f}",
            f"{each.unparsed:,}",
            f"{each.failed:,}",
            _fate(each),
        )
        for each in ranked
    ]


def prompt_lines(prompt: PromptTemplate) -> tuple[str, ...]:
    """Return a prompt as lines of text."""
    system = () if prompt.system is None else (f"System: {prompt.system}",)
    kind = "Text" if prompt.text else "User"
    schema = () if prompt.response_schema is None else ("The answer follows a JSON schema.",)
    grammar = () if prompt.grammar is None else (f"The answer follows the grammar {prompt.grammar}",)
    return (*system, *(f"{kind}: {prompt.user}".splitlines()), *schema, *grammar)


def _fate(trial: TuningTrial) -> str:
    if trial.refused is not None:
        return f"refused: {trial.refused}"
    if trial.is_best:
        return "the best" if trial.number else "the best: it stays as it was"
    if trial.breaks_format:
        return "breaks the output format"
    return "asked all items" if trial.is_kept else "dropped"


def _table(trials: Sequence[TuningTrial]) -> Table:
    return Table(
        title="Scores on development items",
        head=_HEAD,
        rows=tuple(trial_rows(trials)),
        numeric=frozenset(range(2, 6)),
        note="Scores are on development items, which have no part in the test. The best of several variants "
        "looks better than it is. Variants that were dropped were asked fewer items.",
    )


def _reasons(verdict: Verdict) -> PagePart:
    lines = tuple(dict.fromkeys(fmt.sentence(each.text) for each in verdict.reasons))
    return PagePart(title="What the test says", lines=lines)
