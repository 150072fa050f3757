"""What each policy costs, from the samples that both models answered."""

from collections.abc import Iterable, Sequence

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn, ModelColumns
from crossgrade.decide._records import Certificate, PolicyCost
from crossgrade.decide._view import View
from crossgrade.domain import Estimate
from crossgrade.economics import policy_savings
from crossgrade.routing import Policy
from crossgrade.stats import Retention, retention


def moved_rows(view: View, policy: Policy) -> BoolColumn:
    """Return the rows that the policy sends to its candidate."""
    segment = view.evidence.segment
    if policy.kind != "split" or segment is None:
        moved = np.full(view.evidence.n, policy.kind == "switch")
    else:
        moved = np.array([policy.moves(label) for label in segment], dtype=np.bool_)
    return moved & view.within(policy.candidate)


def policy_cost(view: View, policy: Policy) -> PolicyCost:
    """Return what a policy costs and saves per request, per month and per point of score."""
    evidence = view.evidence
    candidate = next((each for each in evidence.candidates if each.model == policy.candidate), None)
    model = evidence.incumbent if candidate is None else candidate
    moved = moved_rows(view, policy)
    rows = view.asked(evidence.incumbent) & (~moved | view.asked(model))
    theirs, stated = _costs(view, evidence.incumbent, rows)
    ours, also_stated, score = theirs, stated, view.incumbent
    if candidate is not None:
        ours, also_stated = _costs(view, candidate, rows & moved)
        ours = view.block_means(ours)
        score = np.where(moved, view.block_means(view.candidate(model.model)), view.incumbent)
    savings = policy_savings(
        theirs[rows],
        np.where(moved, ours, theirs)[rows],
        score[rows],
        weight=view.traffic_weights(rows)[rows],
        cluster=None if view.clusters is None else view.clusters[rows],
        requests_per_month=view.settings.requests_per_month,
        stated=stated or also_stated,
    )
    return PolicyCost(
        policy=policy,
        per_request_usd=savings.per_request_usd,
        per_solved_usd=savings.per_solved_usd,
        saving_per_request_usd=savings.saving_per_request_usd,
        saving_per_month_usd=savings.saving_per_month_usd,
        saving_share=savings.saving_share,
    )


def policy_retention(view: View, policy: Policy, certificates: Sequence[Certificate]) -> Estimate:
    """Return what a policy keeps of the incumbent's score: a switch as certified, a split over all its rows.

    The interval is for reading beside the policy's cost; what is claimed are the certificates.
    """
    if policy.kind == "keep":
        return Estimate(value=1.0, low=1.0, high=1.0, unit="share", method="the incumbent itself")
    if policy.kind == "switch":
        mine = (one for one in certificates if one.candidate == policy.candidate and one.segment is None)
        found = next(mine).retention
    else:
        found = _split_retention(view, policy)
    return Estimate(
        value=found.value,
        low=found.low,
        high=found.high,
        level=found.low_confidence + found.high_confidence - 1,
        n=found.n,
        unit="share",
        method=found.method,
        reason=found.reason,
    )


def _split_retention(view: View, policy: Policy) -> Retention:
    """Return the retention of a policy that moves some segments, each weighted by its traffic."""
    moved = moved_rows(view, policy)
    scores = np.where(moved, view.candidate(str(policy.candidate)), view.incumbent)
    rows = np.isfinite(scores) & np.isfinite(view.incumbent)
    return retention(
        view.incumbent[rows],
        scores[rows],
        view.settings.floor,
        view.settings.alpha,
        None if view.clusters is None else view.clusters[rows],
        weights=view.traffic_weights(rows)[rows],
    )


def cheaper_segments(view: View, incumbent: str, candidate: str, segments: Iterable[str]) -> tuple[str, ...]:
    """Return those of the segments on which the candidate is not known to cost more."""

    def saving(segment: str) -> float | None:
        policy = Policy(
            kind="split",
            incumbent=incumbent,
            candidate=candidate,
            segments=(segment,),
            max_bytes=view.settings.max_bytes.get(candidate),
        )
        return policy_cost(view, policy).saving_per_request_usd.value

    return tuple(each for each in segments if (found := saving(each)) is None or found > 0)


def _costs(view: View, model: ModelColumns, rows: BoolColumn) -> tuple[FloatColumn, bool]:
    """Return a model's cost per sample, and whether it is stated rather than measured."""
    stated = view.settings.stated_cost_usd.get(model.model)
    unknown = int((rows & ~np.isfinite(model.cost_usd)).sum())
    if stated is None or unknown <= limits.UNKNOWN_COST * int(rows.sum()):
        return model.cost_usd, False
    return np.full(view.evidence.n, stated), True
