"""Turns live pairs and delayed outcomes into audits.

The workload's own scorer scores pairs, if it needs no reference answer. Outcomes become audits if chance
decided which model answered: a canary picks the candidate with probability p for each unit. An outcome s of
the candidate counts as s / p, an outcome b of the incumbent as b / (1 - p), and the other side as 0. Their
means are E[s] and E[b], so the loss floor b - s has the mean that the claim is about (D. G. Horvitz and D. J.
Thompson, J. Am. Statist. Assoc. 47 (1952) 663-685). Without a canary there is no comparison.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TypeAlias, cast

import anyio

from crossgrade.domain import JSON, Offer, Reason, Sample, Score, Workload, sum_usd
from crossgrade.errors import BadRequestError, CrossgradeError, DataError
from crossgrade.evaluate import PairScorer, Scorer, build_scorer, lacks_live, scorer_kind
from crossgrade.project import Project, live_request, open_judge
from crossgrade.store import Audit, Pair, PairAnswer, Store

AnyScorer: TypeAlias = Scorer | PairScorer

GROUP = 40
"""The number of pairs that are scored concurrently and committed together."""

MOST_AT_ONCE = 2000
"""The most pairs of a route that one check scores, so that a backlog does not delay other routes."""

_OUTCOMES_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """The result of scoring a route's new pairs.

    `unmeasurable` is the reason why the scorer can score no live pair, `problem` the reason why it did not
    score all of them this time. `digest` is the scorer's digest, None if it could not be opened.
    """

    digest: str | None = None
    unmeasurable: Reason | None = None
    problem: Reason | None = None


def judge_of(project: Project, workload: Workload) -> Offer | None:
    """Return the offer that the workload's scorer asks, or None if it asks none."""
    if not scorer_kind(workload.scorer.kind, project.plugins.scorers).asks_model:
        return None
    return project.config.offers.get(str(workload.scorer.options.get("model")))


@asynccontextmanager
async def open_scorer(project: Project, workload: Workload) -> AsyncIterator[AnyScorer]:
    """Open the workload's scorer, with its judge if it has one. Raises like `build_scorer`."""
    async with open_judge(project, judge_of(project, workload)) as judges:
        yield build_scorer(
            workload.scorer,
            ask=judges.ask if judges else None,
            embed=judges.embed if judges else None,
            cost_of=judges.cost_of if judges else None,
            project_dir=project.config.root,
            kinds=project.plugins.scorers,
            functions=project.plugins.functions,
        )


async def score_pairs(project: Project, route: str, verdict_id: str, workload: Workload) -> Scoring:
    """Score up to `MOST_AT_ONCE` of the route's new pairs; the next check scores the rest."""
    reason = lacks_live(workload.scorer, project.plugins.scorers)
    if reason is not None:
        return Scoring(unmeasurable=reason)
    digest = None
    try:
        async with open_scorer(project, workload) as scorer:
            digest = scorer.digest
            for _ in range(0, MOST_AT_ONCE, GROUP):
                pairs = project.store.pairs.unscored(route, digest, verdict_id=verdict_id, limit=GROUP)
                problem = judge_over_budget(project, workload) if pairs else None
                if problem is not None or not pairs:
                    return Scoring(digest=digest, problem=problem)
                project.store.pairs.append_audits(
                    await all_audits(partial(_audit, scorer, pair, workload) for pair in pairs)
                )
    except DataError as error:
        return Scoring(digest=digest, unmeasurable=Reason(error.code, error.message))
    except CrossgradeError as error:
        return Scoring(digest=digest, problem=Reason(error.code, error.message))
    return Scoring(digest=digest)


def judge_over_budget(project: Project, workload: Workload) -> Reason | None:
    """Return why the workload's judge may not be asked now, or None: the limit of a day, or no judge."""
    cap = project.config.watching.max_usd_per_day
    if cap is None or judge_of(project, workload) is None:
        return None
    spent = project.store.pairs.spent_since(datetime.now(UTC) - timedelta(days=1))
    if spent is None:
        return Reason(
            "judge-cost-unknown", "what the judge costs is unknown, and `watch.max_usd_per_day` bounds it"
        )
    if spent < Decimal(str(cap)):
        return None
    return Reason("judge-budget-spent", f"the judge has cost ${spent} in a day, of ${cap} allowed")


async def all_audits(jobs: Iterable[Callable[[], Awaitable[Audit]]]) -> list[Audit]:
    """Make audits concurrently, and return them in order; the first error cancels the others."""
    made: dict[int, Audit] = {}
    failed: list[CrossgradeError] = []

    async def make(at: int, job: Callable[[], Awaitable[Audit]]) -> None:
        try:
            made[at] = await job()
        except CrossgradeError as error:
            failed.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for at, job in enumerate(jobs):
            group.start_soon(make, at, job)
    if failed:
        raise failed[0]
    return [made[at] for at in sorted(made)]


async def _audit(scorer: AnyScorer, pair: Pair, workload: Workload) -> Audit:
    scores: tuple[Score, Score]
    if _texts_are_gone(pair):
        none = Score(value=None, explanation="its texts are not there: not kept, or erased")
        scores = none, none
    else:
        scores = await score_sides(scorer, live_sample(pair, workload), pair.incumbent, pair.candidate)
    incumbent, candidate = scores
    why = "; ".join(each.explanation for each in scores if each.explanation)[:2000]
    return Audit(
        route=pair.route,
        source="pair",
        source_id=pair.id,
        scorer_digest=scorer.digest,
        incumbent=incumbent.value,
        candidate=candidate.value,
        verdict_id=pair.verdict_id,
        segment=pair.segment,
        weight=1 / pair.probability,
        conversation=pair.conversation,
        asked_at=pair.at,
        explanation=why or None,
        cost_usd=sum_usd((incumbent.cost_usd, candidate.cost_usd)),
    )


async def score_sides(
    scorer: AnyScorer, sample: Sample, incumbent: PairAnswer, candidate: PairAnswer
) -> tuple[Score, Score]:
    """Return the scores of both answers to a sample; a call that failed scores 0."""
    first, second = incumbent.answer, candidate.answer
    if hasattr(scorer, "score_pair"):
        if first is not None and second is not None:
            return await cast("PairScorer", scorer).score_pair(sample, first, second)
        won = Score(value=1.0, explanation="the call it was to be compared with failed")
        return (
            _failed(incumbent) if first is None else won,
            _failed(candidate) if second is None else won,
        )
    return await _single(scorer, sample, incumbent), await _single(scorer, sample, candidate)


async def _single(scorer: Scorer, sample: Sample, side: PairAnswer) -> Score:
    return _failed(side) if side.answer is None else await scorer.score(sample, side.answer)


def _failed(side: PairAnswer) -> Score:
    return Score(value=0.0, explanation=f"the call failed: {side.error}")


def _texts_are_gone(pair: Pair) -> bool:
    sides = pair.incumbent, pair.candidate
    return pair.request is None or any(side.answer is None and side.error is None for side in sides)


def live_sample(pair: Pair, workload: Workload) -> Sample:
    """Return a live request as a sample, with the fields that a scorer may read.

    `input` (and the judge's `request_field`) is the user's last message, `system` the system's last
    message, `messages` the conversation as text, and `request` the body as it was received.
    """
    body = pair.request or b""
    fields: dict[str, JSON] = {"request": body.decode("utf-8", "replace")}
    try:
        messages = _messages(pair.endpoint, body)
    except BadRequestError:
        # A body with fields of its own API only cannot be read as messages, so the body is the input.
        messages = [("user", str(fields["request"]))]
    by_role = dict(messages)
    fields["input"] = by_role.get("user", "")
    fields["system"] = by_role.get("system")
    fields["messages"] = "\n\n".join(f"{role}: {text}" for role, text in messages)
    named = workload.scorer.options.get("request_field")
    if isinstance(named, str):
        fields.setdefault(named, fields["input"])
    return Sample(id=pair.id, fields=fields, segment=pair.segment)


def _messages(endpoint: str, body: bytes) -> list[tuple[str, str]]:
    request = live_request(endpoint, body)
    if request.text is not None:
        return [("user", request.text)]
    return [(message.role, message.content or "") for message in request.messages]


def outcome_digest(name: str) -> str:
    """Return the scorer digest of outcomes reported under a name."""
    return hashlib.sha256(f"outcome:{name}".encode()).hexdigest()


def audit_outcomes(store: Store, route: str, verdict_id: str, name: str) -> None:
    """Turn the route's outcomes of a name into audits, without scores if there is no canary."""
    digest = outcome_digest(name)
    while True:
        found = store.feedback.unaudited(route, name, digest, verdict_id=verdict_id, limit=_OUTCOMES_AT_ONCE)
        audits = []
        for each in found:
            probability = each.probability or 0.0
            value = each.value if 0.0 < probability < 1.0 else None
            audits.append(
                Audit(
                    route=route,
                    source="feedback",
                    source_id=each.response_id,
                    scorer_digest=digest,
                    incumbent=value if each.side == "incumbent" else None,
                    candidate=value if each.side == "candidate" else None,
                    verdict_id=verdict_id,
                    segment=each.segment,
                    weight=1.0 if value is None else 1 / probability,
                )
            )
        store.pairs.append_audits(audits)
        if not found:
            return
