"""Probes of a project's models, run or resumed; RULER's tasks too."""

import csv
import io
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, cast

from crossgrade.decide import ProbeResult, Spent
from crossgrade.domain import JSON, Offer, ScorerSpec
from crossgrade.errors import MissingExtraError, UsageError
from crossgrade.longcontext import (
    Asker,
    OldJournal,
    Probe,
    ProbeCalls,
    ProbeSettings,
    RulerMaker,
    RulerResult,
    check_same_settings,
    digest,
    read_journal,
    run_ruler,
)
from crossgrade.project._evaluating import open_judge
from crossgrade.project._opened import OpenProject, run_to_end
from crossgrade.project._probe_plans import MAX_OUTPUT_TOKENS, ProbeOptions, ProbePlan, plan_probe
from crossgrade.project._replaying import ReplayPlan, plan_replay, run_replay
from crossgrade.report import render_probe, write_json, write_text
from crossgrade.store import ProbeStart

if TYPE_CHECKING:
    from crossgrade.calls import Provider
    from crossgrade.evaluate import Scorer
    from crossgrade.evidence.replay import ReplayResult, SameBy

OnProbeProgress = Callable[[str, str, int, Spent], None]
"""Gets the probe's id, its phase, a length or number, and what was spent."""
_MOST_ANSWER_TOKENS = 128
_JUDGING: dict[str, JSON] = {
    "criteria": "The answer says the same as the correct answer. Its wording may differ.",
    "scale": "pass_fail",
    "show_target": True,
}
_DEFAULTS = ProbeOptions()


class ProjectProbes:
    """Probes of how long the context of a project's models holds; `Project.probes`."""

    def __init__(self, project: OpenProject) -> None:
        self._project = project

    def plan(self, offer: str, settings: ProbeSettings, options: ProbeOptions = _DEFAULTS) -> ProbePlan:
        """Read documents, pairs and tokenizer, and return what a probe of a model will ask.

        Raises DataError and UsageError for what cannot be used, and NotFoundError for a model that the
        configuration does not have.
        """
        return plan_probe(self._project, offer, settings, options)

    def run(
        self,
        plan: ProbePlan,
        *,
        max_cost_usd: Decimal | None = None,
        resume: str | None = None,
        on_progress: OnProbeProgress = lambda *_: None,
    ) -> ProbeResult:
        """Run a probe or resume one; the result is kept in the project's folder.

        Its page is written beside it if the `report` extra is installed. `resume` is the id of the probe to
        continue. Whatever ends the probe early, what was paid for is in the store. Raises ProviderError if
        the model cannot be asked, and UsageError if `max_cost_usd` is given and a price is unknown, or
        `resume` is no probe with this plan.
        """
        from crossgrade.calls import in_own_task

        project, pool = self._project, plan.pool()
        with begin_probe(project, plan, resume) as begun:

            async def probe() -> ProbeResult:
                async with open_askers(project, plan, begun, max_cost_usd) as opened:
                    return await Probe(
                        begun.id,
                        plan.settings,
                        pool,
                        opened.asker,
                        documents=len(plan.documents),
                        now=datetime.now(UTC),
                        pairs=plan.pairs,
                        against=opened.against,
                        judge=opened.judge,
                        on_progress=lambda phase, at, spent: on_progress(begun.id, phase, at, spent),
                    ).run()

            result = run_to_end(in_own_task, probe)
        result = replace(result, notes=(*plan.notes, *result.notes))
        path = plan.folder / f"{begun.id}.json"
        write_json(path, result)
        with suppress(MissingExtraError):  # the result is there all the same
            write_text(path.with_suffix(".html"), render_probe(result))
        return result

    def ruler(
        self,
        plan: ProbePlan,
        *,
        tasks: Sequence[str],
        samples: int,
        max_cost_usd: Decimal | None = None,
        resume: str | None = None,
        on_progress: OnProbeProgress = lambda *_: None,
    ) -> RulerResult:
        """Run RULER's tasks or resume a run; raises as `run` does.

        The scores are kept as `model,length,score` beside the result.
        """
        from crossgrade.calls import in_own_task

        project = self._project
        maker = RulerMaker(plan.pool(), pairs=plan.pairs, seed=plan.settings.seed)
        with begin_probe(project, plan, resume, kind=f"ruler {samples} {','.join(tasks)}") as begun:

            async def run() -> RulerResult:
                async with open_askers(project, plan, begun, max_cost_usd) as opened:
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

            result = run_to_end(in_own_task, run)
        path = plan.folder / f"{begun.id}.json"
        write_json(path.with_suffix(".ruler.json"), result)
        write_text(path.with_suffix(".csv"), _scores(result))
        return result

    def plan_replay(
        self,
        offer: str,
        sources: Sequence[str | Path],
        *,
        most: int = 20,
        seed: int = 1,
        same_by: "SameBy" = "action",
    ) -> ReplayPlan:
        """Return what a replay of recorded runs asks of a model; raises as `project._replaying` says."""
        return plan_replay(self._project, offer, sources, most=most, seed=seed, same_by=same_by)

    def replay(
        self,
        plan: ReplayPlan,
        *,
        max_cost_usd: Decimal | None = None,
        on_step: "Callable[[int, Spent], None]" = lambda *_: None,
    ) -> "tuple[ReplayResult, Path]":
        """Run a replay: a screening, which certifies nothing. Return its result, and the file it is in."""
        return run_replay(self._project, plan, max_cost_usd=max_cost_usd, on_step=on_step)


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunProbe:
    """A probe that this process runs; `older` has the calls of a journal that an earlier version wrote."""

    id: str
    started_at: datetime
    older: OldJournal


@contextmanager
def begin_probe(
    project: OpenProject, plan: ProbePlan, resume: str | None, *, kind: str = ""
) -> Iterator[BegunProbe]:
    """Record a new probe, or find the one to resume, and lock it for this process.

    `kind` must be the same as before, besides the plan. Raises UsageError for a model that the team may not
    use, for an unknown id, and if the probe was started with other settings.
    """
    for offer in (plan.offer, plan.against, plan.judge):
        if offer is not None:
            project.check_allowed(offer.name)
    settings = digest(kind + plan.digest) if kind else plan.digest
    probe_id = resume or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    journal = plan.folder / f"{_checked(probe_id)}.jsonl"
    runs = project.store.runs
    with runs.lock(probe_id):
        start = runs.probe(probe_id)
        if start is None and resume and not journal.exists():
            raise UsageError(
                f"there is no probe {resume!r} in this project",
                code="probe-unknown",
                hint="leave `--resume` out to begin one",
            )
        older = read_journal(journal, settings) if resume and journal.exists() else OldJournal()
        if start is None:
            start = ProbeStart(id=probe_id, offer=plan.offer.name, settings_digest=settings)
            runs.append_probe(start)
        check_same_settings(probe_id, start.settings_digest, settings)
        yield BegunProbe(id=probe_id, started_at=start.at, older=older)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAskers:
    """The models that a probe asks: its own, one to compare with, and a judge of answers to pairs."""

    asker: Asker
    against: Asker | None
    judge: "Scorer | None"


@asynccontextmanager
async def open_askers(
    project: OpenProject,
    plan: ProbePlan,
    begun: BegunProbe,
    max_cost_usd: Decimal | None,
) -> AsyncIterator[OpenAskers]:
    """Open the models of a plan; a local one gets a context for the longest prompt."""
    from crossgrade.calls import Batches, Budget, CallLimiters, Calls, Journal, OpenModel, check_prices
    from crossgrade.evaluate import build_scorer
    from crossgrade.providers import LocalSettings, open_batches, usable_cores

    offers = {each.name: each for each in (plan.offer, plan.against) if each is not None}
    prices = {name: project.price_of(offer) for name, offer in offers.items()}
    check_prices(offers, prices, max_cost_usd)
    longest = max(*plan.settings.lengths, plan.settings.gate_tokens or 0)
    # The questions on one haystack differ only at the end, and are asked one after the other.
    local = LocalSettings(
        threads=usable_cores(), context_tokens=longest + _MOST_ANSWER_TOKENS, cache_prompt=True
    )
    store, budget, limiters = project.store, Budget(max_cost_usd), CallLimiters()
    async with AsyncExitStack() as stack:

        async def opened(offer: Offer) -> "Provider":
            opening = project.open_provider(offer, environ=project.environ, measure_ttft=True, local=local)
            return await stack.enter_async_context(opening)

        providers = {name: await opened(offer) for name, offer in offers.items()}
        batches = {
            name: await stack.enter_async_context(open_batches(offer, environ=project.environ))
            for name, offer in offers.items()
            if offer.batch
        }
        journal = Journal(store)
        own = Batches(providers=batches, store=store, budget=budget, run_id=begun.id)
        # A probe measures the model of today, so answers from before its start are not reused.
        calls = Calls(journal, budget, batches=own, since=begun.started_at)
        shared = ProbeCalls(calls=calls, budget=budget, journal=journal, older=begun.older)
        askers = [
            Asker(
                model=OpenModel.of(offer, providers[name], limiters, prices[name]),
                probe=shared,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                text=plan.text,
            )
            for name, offer in offers.items()
        ]
        judge = None
        opening = open_judge(project, plan.judge, limiters=limiters)
        if (judges := await stack.enter_async_context(opening)) is not None:
            options = {"model": str(plan.judge and plan.judge.name), **_JUDGING}
            built = build_scorer(
                ScorerSpec(kind="judge", options=options),
                ask=judges.ask,
                cost_of=judges.cost_of,
                project_dir=project.config.root,
            )
            judge = cast("Scorer", built)
        yield OpenAskers(asker=askers[0], against=askers[1] if len(askers) > 1 else None, judge=judge)


def _checked(probe_id: str) -> str:
    if not probe_id or not all(letter.isalnum() or letter == "-" for letter in probe_id):
        raise UsageError(
            f"{probe_id!r} is no probe's id: letters, digits and dashes are", code="probe-id-invalid"
        )
    return probe_id


def _scores(result: RulerResult) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["model", "length", "score"])
    for tokens, score in () if result.row is None else result.row.scores.items():
        writer.writerow([result.offer, tokens, round(score, 4)])
    return table.getvalue()
