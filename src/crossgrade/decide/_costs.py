"""What each policy costs, from the samples that both models answered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn, FloatColumn, ModelColumns
from crossgrade.decide._records import Certificate, DecisionSettings, PolicyCost
from crossgrade.decide._view import View
from crossgrade.domain import Estimate, Reason
from crossgrade.pricing.commitment import Commitment
from crossgrade.pricing.saving import (
    Contracts,
    contracted_savings,
    logged_volume,
    mean_cost,
    per_month,
    policy_savings,
    unknown_estimate,
    without_interval,
)
from crossgrade.pricing.thrift import best_share
from crossgrade.routing import Policy, position, threshold_name
from crossgrade.stats import Retention, retention

_UNDER_A_MINIMUM = Reason("contract-minimum", "a contract's minimum is owed with or without the move")
_RULE_OF_THREE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitChoice:
    """The segments that a split moves, and the rows that chose them, which may not price it as well."""

    segments: tuple[str, ...]
    spent: BoolColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paid:
    """What the incumbent and a policy cost on each sample; `rows` are those on which both were asked.

    `cold_usd` is the part of the policy's cost that input has which a change of model leaves uncached.
    """

    rows: BoolColumn
    moved: BoolColumn
    incumbent_usd: FloatColumn
    policy_usd: FloatColumn
    stated: bool
    cold_usd: FloatColumn | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RareCalls:
    """What the samples cannot show: calls rarer than `one_in` that cost `multiple` times the mean call.

    At just that rate and cost they eat the whole saving.
    """

    one_in: float
    multiple: float


def moved_rows(view: View, policy: Policy) -> BoolColumn:
    """Return the rows that the policy sends to its candidate."""
    return _chosen_rows(view, policy) & view.within(policy.candidate)


def divided_rows(view: View, policy: Policy) -> BoolColumn:
    """Return the rows whose input the model that answers may not find in its cache: another answered before.

    A policy that sends some requests of a conversation back, because they are too long or cannot be carried,
    makes the incumbent read those anew. Where the fact that it splits by differs inside a conversation, both
    models may. Without named conversations (clusters of requests) there are none.
    """
    found, cluster = np.zeros(view.evidence.n, dtype=np.bool_), view.clusters
    if cluster is None or policy.candidate is None or view.evidence.cluster is None:
        return found
    chosen, within = _chosen_rows(view, policy), view.within(policy.candidate)

    def somewhere(rows: BoolColumn) -> BoolColumn:
        counts = np.bincount(cluster[rows], minlength=int(cluster.max()) + 1)
        inside: BoolColumn = counts[cluster] > 0
        return inside

    back = chosen & ~within & somewhere(chosen & within)
    return back | (somewhere(chosen & within) & somewhere(~chosen))


def _chosen_rows(view: View, policy: Policy) -> BoolColumn:
    """Return the rows that the policy's fact chooses, whether its candidate may answer them or not."""
    segment, routing = view.evidence.segment, view.evidence.routing
    if policy.fact == "score" and routing is not None and routing.score is not None:
        moved = np.array([policy.reaches(score) for score in routing.score.tolist()], dtype=np.bool_)
    elif policy.kind != "split" or segment is None:
        moved = np.full(view.evidence.n, policy.kind == "switch")
    else:
        moved = np.array([policy.moves(label) for label in segment], dtype=np.bool_)
    return moved


def saving_level(view: View) -> float:
    """Return the level of the intervals of costs: 95 %, and more where more than two policies are compared.

    Policies that cost as much as the incumbent are then called cheaper, any of them, in at most 5 % of
    decisions: each interval lies above zero at a half of (1 - level), and alpha is divided among them
    (Bonferroni). Possible are a switch and a split to each candidate. No interval sees calls that are too
    rare for the samples and cost many times as much: `rare_calls` says how much they may cost.
    """
    kinds = (not view.settings.splits_only) + bool(view.segments)
    return 1 - 2 * limits.SAVING_ALPHA / max(2, len(view.evidence.candidates) * kinds)


def policy_cost(view: View, policy: Policy, *, without: BoolColumn | None = None) -> PolicyCost:
    """Return what a policy costs and saves per request, per month and per point of score.

    Rows `without` are left out: the others of their segments stand for them.
    """
    paid = _paid(view, policy, without)
    rows = paid.rows
    score = view.incumbent
    if policy.candidate is not None:
        score = np.where(paid.moved, view.block_means(view.candidate(policy.candidate)), score)
    weight, volume = view.traffic_weights(rows)[rows], _volume(view.settings)
    cluster = view.clusters_of(rows)
    savings = policy_savings(
        paid.incumbent_usd[rows],
        paid.policy_usd[rows],
        score[rows],
        weight=weight,
        cluster=cluster,
        requests_per_month=volume,
        level=saving_level(view),
        stated=paid.stated,
    )
    savings = contracted_savings(
        savings,
        paid.incumbent_usd[rows],
        paid.policy_usd[rows],
        contracts=_contracts(view.settings, policy, paid.moved[rows]),
        requests_per_month=volume,
        weight=weight,
        cluster=cluster,
        stated=paid.stated,
    )
    return PolicyCost(
        policy=policy,
        per_request_usd=savings.per_request_usd,
        per_solved_usd=savings.per_solved_usd,
        saving_per_request_usd=savings.saving_per_request_usd,
        saving_per_month_usd=savings.saving_per_month_usd,
        saving_share=savings.saving_share,
        **_beyond_thrift(view, policy, paid),
        owed_usd_per_month=savings.owed_usd_per_month,
        cold_cache_usd=None
        if paid.cold_usd is None
        else float(np.average(paid.cold_usd[rows], weights=weight)),
    )


def _contracts(settings: DecisionSettings, policy: Policy, moved: BoolColumn) -> Contracts:
    """Return the minimums that are owed to the providers of a policy's two models."""
    leaving = settings.contracts.get(policy.incumbent)
    joining = settings.contracts.get(str(policy.candidate))
    return Contracts(
        leaving=Commitment.of(leaving),
        joining=Commitment.of(joining),
        same_provider=leaving is not None and joining is not None and leaving.provider == joining.provider,
        moved=moved,
    )


def _beyond_thrift(view: View, policy: Policy, paid: _Paid) -> dict[str, Estimate]:
    """Return what a policy saves against the least bill with the incumbent; nothing if none is known.

    What stays with the incumbent costs less in both. By batch the candidate counts with its batch price.
    """
    best = best_share(view.settings.thrifts)
    if best is None or best.share is None or policy.candidate is None:
        return {}
    if not view.settings.contracts.keys().isdisjoint({policy.incumbent, policy.candidate}):
        unknown = unknown_estimate(_UNDER_A_MINIMUM, unit="USD")
        return dict.fromkeys(("beyond_thrift_per_request_usd", "beyond_thrift_per_month_usd"), unknown)
    rows = paid.rows
    kept = paid.incumbent_usd * (1 - best.share)
    taken = paid.policy_usd * (1 - best.others.get(policy.candidate, 0.0))
    saving = mean_cost(
        kept[rows],
        less=np.where(paid.moved, taken, kept)[rows],
        weight=view.traffic_weights(rows)[rows],
        cluster=view.clusters_of(rows),
        level=saving_level(view),
    )
    saving = without_interval(saving) if paid.stated else saving
    return {
        "beyond_thrift_per_request_usd": saving,
        "beyond_thrift_per_month_usd": per_month(saving, _volume(view.settings)),
    }


def _volume(settings: DecisionSettings) -> Estimate | None:
    """Return the requests a month: as the log gave them, with their interval, or as they are stated."""
    n, logged = settings.requests_per_month, settings.logged_traffic
    if n is None:
        return None
    if logged is None or logged.requests_per_month != n:
        return Estimate(value=n, unit="requests/month", method="stated")
    return logged_volume(n, logged.low, logged.high, logged.hours)


def rare_calls(view: View, cost: PolicyCost) -> RareCalls | None:
    """Return what calls too rare to be seen must cost to cancel the saving; None if costs are stated.

    n calls show none of those that happen at a rate of 3 / n in 5 % of cases ("rule of three", J. A. Hanley,
    A. Lippman-Hand, JAMA 249 (1983) 1743). n is Kish's effective number of the candidate's clusters of calls.
    """
    saving, policy = cost.saving_per_request_usd.value, cost.policy
    if saving is None or policy.candidate is None:
        return None
    paid, candidate = _paid(view, policy), view.columns(policy.candidate)
    calls = paid.moved & view.asked(candidate) & np.isfinite(candidate.cost_usd)
    weight = view.traffic_weights(paid.rows)
    moved = float(weight[paid.rows & paid.moved].sum()) / float(weight[paid.rows].sum())
    share = view.traffic_weights(calls)[calls]
    mean = float(np.average(candidate.cost_usd[calls], weights=share)) if share.sum() > 0 else 0.0
    if paid.stated or moved <= 0 or mean <= 0:
        return None
    units = share if view.clusters is None else np.bincount(view.clusters[calls], share)
    one_in = float(units.sum() ** 2 / (units**2).sum()) / _RULE_OF_THREE
    return RareCalls(one_in=one_in, multiple=saving / moved * one_in / mean)


def policy_retention(view: View, policy: Policy, certificates: Sequence[Certificate]) -> Estimate:
    """Return what a policy keeps of the incumbent's score over the whole of the view: a switch as certified.

    Where a router's thresholds are tested in its place, a switch is read like a split. A view that leaves
    segments out (`View.without`), because a guard found them unfit, leaves them out for every policy. The
    interval is for reading beside the policy's cost; what is claimed are the certificates.
    """
    if policy.kind == "keep":
        return Estimate(value=1.0, low=1.0, high=1.0, unit="share", method="the incumbent itself")
    if policy.kind == "switch" and not view.thresholds:
        mine = (one for one in certificates if one.candidate == policy.candidate and one.segment is None)
        found = next(mine).retention
    else:
        found = _kept_in_all(view, policy)
    return kept_share(found)


def kept_share(found: Retention) -> Estimate:
    """Return a retention as an estimate, with the level of its two-sided interval."""
    return Estimate(
        value=found.value,
        low=found.low,
        high=found.high,
        level=found.low_confidence + found.high_confidence - 1,
        n=found.n,
        unit="share",
        method=found.method,
        reason=found.reason,
        reason_code=found.reason_code,
    )


def _kept_in_all(view: View, policy: Policy) -> Retention:
    """Return the retention of a policy over the whole of the view, each sample weighted by its traffic."""
    moved = moved_rows(view, policy)
    scores = np.where(moved, view.candidate(str(policy.candidate)), view.incumbent)
    rows = view.whole.rows & np.isfinite(scores) & np.isfinite(view.incumbent)
    return retention(
        view.incumbent[rows],
        scores[rows],
        view.settings.floor,
        view.settings.alpha,
        view.clusters_of(rows),
        weights=view.traffic_weights(rows)[rows],
    )


def cheaper_segments(view: View, candidate: str, segments: Iterable[str]) -> SplitChoice:
    """Return those of the segments on which the candidate is not found to cost more.

    On a segment where the sign of the saving is beyond doubt all rows choose and price. Elsewhere one half
    of the samples chooses, by the sign of its mean, and the other half prices: whoever takes the segments
    with the largest savings and reports those same savings takes luck and reports it. Of a router's
    thresholds it is the lowest, which has all others in it.
    """
    if view.thresholds:
        return SplitChoice(segments=(list(segments)[-1],), spent=np.zeros(view.evidence.n, dtype=np.bool_))
    moved, spent = list[str](), np.zeros(view.evidence.n, dtype=np.bool_)
    for segment in segments:
        paid = _paid(view, split_policy(view, candidate, (segment,)))
        rows = paid.rows & paid.moved
        found = _mean_saving(view, paid, rows)
        if found.value is not None and _doubtful(view, paid, rows, found):
            half = _drawn_half(view, rows)
            if half.any() and (rows & ~half).any():
                found = _mean_saving(view, paid, half)
                spent |= half
        if found.value is None or found.value > 0:
            moved.append(segment)
    return SplitChoice(segments=tuple(moved), spent=spent)


def _doubtful(view: View, paid: _Paid, rows: BoolColumn, found: Estimate) -> bool:
    """Return whether one half of the rows might save where another does not.

    It cannot where even the half with the smallest savings saves, or the half with the largest does not.
    """
    savings = paid.incumbent_usd[rows] - paid.policy_usd[rows]
    savings = np.sort(savings if view.weight is None else savings * view.weight[rows])
    savings = savings[np.isfinite(savings)]
    middle = len(savings) // 2
    if savings[: middle + 1].sum() > 0 or savings[middle:].sum() <= 0:
        return False
    return found.low is None or found.high is None or found.low <= 0 < found.high


def switch_policy(view: View, candidate: str) -> Policy:
    """Return the policy that moves everything to the candidate that its certificate can speak of."""
    return Policy(
        kind="switch",
        incumbent=view.evidence.incumbent.model,
        candidate=candidate,
        max_bytes=view.settings.max_bytes.get(candidate),
        plain_only=view.settings.plain_only,
    )


def split_policy(view: View, candidate: str, segments: tuple[str, ...]) -> Policy:
    """Return the policy that moves these segments to the candidate, as far as its limit of length goes."""
    routing = view.evidence.routing
    router = None if routing is None else routing.router
    least_scores = {} if router is None else {threshold_name(least): least for least in router.thresholds}
    least_score = least_scores.get(segments[0])
    return Policy(
        kind="split",
        incumbent=view.evidence.incumbent.model,
        candidate=candidate,
        segments=segments,
        fact="segment" if least_score is None else "score",
        least_score=least_score,
        max_bytes=view.settings.max_bytes.get(candidate),
        plain_only=view.settings.plain_only,
    )


def dearer_candidates(view: View, candidate: str) -> frozenset[str]:
    """Return the candidates that cost at least as much per request, at the recorded tokens.

    Candidates of unknown cost are not among them.
    """

    def price(model: str) -> float | None:
        return policy_cost(view, switch_policy(view, model)).per_request_usd.value

    own = price(candidate)
    others = [each.model for each in view.evidence.candidates if each.model != candidate]
    if own is None:
        return frozenset()
    return frozenset(each for each in others if (other := price(each)) is not None and other >= own)


def _drawn_half(view: View, rows: BoolColumn) -> BoolColumn:
    """Return about half of the rows, drawn by the name of their cluster or sample."""
    salt = f"the half that chooses segments, {view.settings.seed}"
    found = rows.copy()
    units = view.evidence.units
    found[rows] = [position(units[row], salt) < 0.5 for row in np.flatnonzero(rows).tolist()]
    return found


def _mean_saving(view: View, paid: _Paid, rows: BoolColumn) -> Estimate:
    """Return the mean saving on rows of one segment, with an interval that leaves no doubt of its sign."""
    return mean_cost(
        paid.incumbent_usd[rows],
        less=paid.policy_usd[rows],
        weight=None if view.weight is None else view.weight[rows],
        cluster=view.clusters_of(rows),
        level=limits.SAVING_BEYOND_DOUBT,
    )


def _paid(view: View, policy: Policy, without: BoolColumn | None = None) -> _Paid:
    incumbent = view.evidence.incumbent
    moved = moved_rows(view, policy)
    rows = view.asked(incumbent) if without is None else view.asked(incumbent) & ~without
    if policy.candidate is None:
        theirs, stated = _costs(view, incumbent, rows)
        return _Paid(rows=rows, moved=moved, incumbent_usd=theirs, policy_usd=theirs, stated=stated)
    candidate = view.columns(policy.candidate)
    rows = rows & (~moved | view.asked(candidate))
    theirs, stated = _costs(view, incumbent, rows)
    ours, also_stated = _costs(view, candidate, rows & moved)
    policy_usd = np.where(moved, view.block_means(ours), theirs)
    cold = None if stated or also_stated else _cold(view, candidate, moved, divided_rows(view, policy) & rows)
    return _Paid(
        rows=rows,
        moved=moved,
        incumbent_usd=theirs,
        policy_usd=policy_usd if cold is None else policy_usd + cold,
        stated=stated or also_stated,
        cold_usd=cold,
    )


def _cold(view: View, candidate: ModelColumns, moved: BoolColumn, divided: BoolColumn) -> FloatColumn | None:
    """Return what rows without a warm cache cost more; None if none is divided, or of one it is not known."""
    unknown = np.full(view.evidence.n, np.nan)
    saved = [
        unknown if each.cache_saved_usd is None else each.cache_saved_usd
        for each in (candidate, view.evidence.incumbent)
    ]
    more = np.where(divided, np.where(moved, *saved), 0.0)
    return more if divided.any() and np.isfinite(more).all() else None


def _costs(view: View, model: ModelColumns, rows: BoolColumn) -> tuple[FloatColumn, bool]:
    """Return a model's cost per sample, and whether it is stated rather than measured."""
    stated = view.settings.stated_cost_usd.get(model.model)
    unknown = int((rows & ~np.isfinite(model.cost_usd)).sum())
    if stated is None or unknown <= limits.UNKNOWN_COST * int(rows.sum()):
        return model.cost_usd, False
    return np.full(view.evidence.n, stated), True
