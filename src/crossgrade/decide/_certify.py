"""Certification: one test for each hypothesis, one correction over all of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import BoolColumn
from crossgrade.decide._following import FUTILITY, Follower
from crossgrade.decide._guards import failing, failing_parts
from crossgrade.decide._hypotheses import alpha_shares
from crossgrade.decide._records import Certificate, EvidencePoint, Guard, Sibling
from crossgrade.decide._view import Part, View
from crossgrade.stats import Outcome, Retention, corrected_retention, holm, retention

_PATH_POINTS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One hypothesis after its test: `p` small certifies, `p_below` small shows the opposite."""

    candidate: str
    part: Part
    share: float
    result: Retention
    p: float
    p_below: float
    path: tuple[EvidencePoint, ...] = ()
    excluded: str | None = None
    unfinished: bool = False
    given_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What the test of one hypothesis found, and whether a sequential run left it open."""

    result: Retention
    path: tuple[EvidencePoint, ...] = ()
    unfinished: bool = False
    given_up: bool = False


def certify(view: View, guards: Iterable[Guard]) -> tuple[tuple[Certificate, ...], tuple[EvidencePoint, ...]]:
    """Test every hypothesis; return certificates (each candidate's whole first) and the bets' paths.

    The correction is over these hypotheses and those of the workloads that share alpha.
    """
    tested = tested_hypotheses(view, guards)
    family: tuple[Tested | Sibling, ...] = (*tested, *view.settings.siblings)
    weights = [one.share for one in family]
    adjusted = holm([one.p for one in family], weights)
    below = holm([one.p_below for one in family], weights)
    certificates = tuple(
        _certificate(view, one, p, q) for one, p, q in zip(tested, adjusted, below, strict=False)
    )
    wholes = {one.candidate for one in tested if one.part.label is None}
    models = [model.model for model in view.evidence.candidates]
    read_only = tuple(_read_only(view, model) for model in models if model not in wholes)
    return (*read_only, *certificates), tuple(point for one in tested for point in one.path)


def tested_hypotheses(view: View, guards: Iterable[Guard]) -> tuple[Tested, ...]:
    """Test every hypothesis of the workload, each candidate's whole before its segments.

    A hypothesis that a guard took out stays with p = 1: which ones are taken out depends on the
    data, so its share of alpha is not handed to the others.
    """
    guards = tuple(guards)
    models = [model.model for model in view.evidence.candidates]
    labels = [str(part.label) for part in view.segments]
    settings = view.settings
    shares = alpha_shares(models, labels, splits_only=settings.splits_only, total=settings.alpha_share)
    return tuple(
        _test(view, guards, candidate, part, shares[candidate, part.label])
        for candidate in models
        for part in (view.whole, *view.segments)
        if (candidate, part.label) in shares
    )


def whole_certified(view: View, guards: Iterable[Guard], candidate: str) -> Certificate | None:
    """Return a candidate's certificate on the whole, where its initial share of alpha certifies it."""
    models = [model.model for model in view.evidence.candidates]
    labels = [str(part.label) for part in view.segments]
    settings = view.settings
    shares = alpha_shares(models, labels, splits_only=settings.splits_only, total=settings.alpha_share)
    share = shares.get((candidate, None))
    if not share:
        return None
    tested = _test(view, tuple(guards), candidate, view.whole, share)
    certificate = _certificate(view, tested, tested.p / share, tested.p_below / share)
    return certificate if certificate.certified and certificate.excluded is None else None


def _read_only(view: View, candidate: str) -> Certificate:
    """Return what the candidate keeps on the whole where only segments are tested: for reading.

    Segments stopped separately, so the rows are weighted to stand for the whole traffic.
    """
    rows = view.paired(candidate, view.whole.rows)
    weights = view.traffic_weights(rows)[rows]
    result = retention(
        view.incumbent[rows],
        view.candidate(candidate)[rows],
        view.settings.floor,
        view.settings.alpha,
        None if view.clusters is None else view.clusters[rows],
        weights=weights if rows.any() else None,
    )
    return Certificate(
        candidate=candidate,
        segment=None,
        retention=replace(result, outcome="undecided", needed=None),
        adjusted_p=1.0,
        certified=False,
        tested=False,
    )


def _certificate(view: View, tested: Tested, adjusted_p: float, adjusted_p_below: float) -> Certificate:
    """Return the certificate; the outcome shown is the one after correction."""
    alpha = view.settings.alpha
    certified = adjusted_p <= alpha
    shown_below = not certified and adjusted_p_below <= alpha
    outcome: Outcome = "pass" if certified else "fail" if shown_below else "undecided"
    return Certificate(
        candidate=tested.candidate,
        segment=tested.part.label,
        retention=replace(tested.result, outcome=outcome, alpha=alpha),
        adjusted_p=adjusted_p,
        certified=certified,
        share=view.share(tested.part),
        excluded=tested.excluded,
        adjusted_p_below=adjusted_p_below,
        shown_below=shown_below,
        unfinished=tested.unfinished,
        given_up=tested.given_up,
    )


def _test(view: View, guards: tuple[Guard, ...], candidate: str, part: Part, share: float) -> Tested:
    """Test one hypothesis, and take it out where a guard says so."""
    broken = failing_parts(guards, candidate=candidate)
    whole = part.label is None
    seen = view.without(frozenset(broken)) if view.splittable else view
    members = seen.whole.rows if whole else part.rows
    rows = view.paired(candidate, members)
    run = _run(view, candidate, part, members, share)
    result = run.result
    excluded = failing(guards, candidate=candidate, segment=part.label)
    if excluded is None and whole and broken:
        excluded = next(iter(broken.values()))
    p, p_below = result.p_value, result.p_value_below
    if _too_few(view, candidate, rows, result):
        # What is left is what the bets found, which hold at any number of pairs.
        p, p_below = (min(1.0, 2 / e) if e else 1.0 for e in (result.e_pass, result.e_fail))
    if excluded is not None:
        p = 1.0
        # Broken groups stay in the claim about the whole, which is shown to be below the floor
        # only where it is with them and without them; of a broken segment nothing is claimed.
        p_below = max(p_below, _without_groups(view, candidate, broken)) if whole else 1.0
    return Tested(
        candidate=candidate,
        part=part,
        share=share,
        result=result,
        p=p,
        p_below=p_below,
        path=run.path,
        excluded=excluded,
        unfinished=run.unfinished,
        given_up=run.given_up,
    )


def _run(view: View, candidate: str, part: Part, members: BoolColumn, share: float) -> _Run:
    """Return what the design that the evidence allows finds on the rows that belong to the hypothesis."""
    if view.order is None:
        return _Run(result=fixed_test(view, candidate, view.paired(candidate, members)))
    return _replay(view, candidate, part, members, share)


def fixed_test(view: View, candidate: str, rows: BoolColumn) -> Retention:
    """Test once on these rows: score, t or cluster t, or a judge's scores corrected by people's."""
    settings, weight = view.settings, view.weight
    b, c = view.incumbent[rows], view.candidate(candidate)[rows]
    human = view.human(candidate)
    if human is not None:
        theirs, ours = (column[rows] for column in human)
        return corrected_retention(b, c, theirs, ours, floor=settings.floor, alpha=settings.alpha)
    return retention(
        b,
        c,
        settings.floor,
        settings.alpha,
        None if view.clusters is None else view.clusters[rows],
        weights=None if weight is None or not weight[rows].any() else weight[rows],
    )


def _replay(view: View, candidate: str, part: Part, members: BoolColumn, share: float) -> _Run:
    """Make the observations that the run made, in the recorded order, and stop where it stopped.

    The run is over when every planned sample was asked; that some got no score says nothing about when
    it stopped, so the test at the end is made on the observations there are. A run that gave up may have
    gone on since: all that it observed counts.
    """
    settings = view.settings

    def follow(futility: float | None) -> Follower:
        follower = Follower(
            view.design,
            part.label,
            floor=settings.floor,
            alpha=settings.alpha * share,
            mode=settings.mode,
            futility=futility,
        )
        follower.take(view.asked_in_order(candidate, part, members))
        return follower

    follower = follow(None)
    test = follower.test
    given_up = follower.unfinished and test.conditional_power < FUTILITY and follow(FUTILITY).gave_up
    looks = test.path
    kept = looks[:: max(1, len(looks) // _PATH_POINTS)]
    path = tuple(
        EvidencePoint(
            candidate=candidate,
            segment=part.label,
            n=n,
            e_pass=e_pass,
            e_fail=e_fail,
            threshold=(1 if test.anytime else 2) / (settings.alpha * share),
        )
        for n, e_pass, e_fail in (kept if looks[-1:] == kept[-1:] else (*kept, looks[-1]))
    )
    result = follower.result()
    if view.clusters is not None:
        result = replace(result, n=follower.pairs, clusters=test.n)
    return _Run(result=result, path=path, unfinished=follower.unfinished, given_up=given_up)


def _too_few(view: View, candidate: str, rows: BoolColumn, result: Retention) -> bool:
    """Return whether a fixed test rests on too few pairs or human scores for its approximation to hold."""
    if view.mode == "anytime":
        return False
    human = view.human(candidate)
    if human is not None:
        both = np.isfinite(human[0]) & np.isfinite(human[1])
        return int((both & rows).sum()) < limits.HUMAN_LABELS
    return (result.clusters or result.n) < limits.SETTLED_N


def _without_groups(view: View, candidate: str, broken: dict[str, str]) -> float:
    """Return the p-value of "below the floor" on the rows outside the broken groups."""
    rows = view.paired(candidate, view.whole.rows)
    for part in view.parts:
        if part.label in broken:
            rows &= ~part.rows
    return fixed_test(view, candidate, rows).p_value_below
