"""Certification: one test for each hypothesis, and one correction over all, also across workloads."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from crossgrade.decide._digest import evidence_digest
from crossgrade.decide._evidence import BoolColumn, Evidence
from crossgrade.decide._following import FUTILITY, Follower
from crossgrade.decide._guards import (
    GUARDS,
    GuardKind,
    failing,
    failing_parts,
    run_guards,
    sound_candidates,
    sound_view,
)
from crossgrade.decide._hypotheses import fixed_test, shares_of, weighted_test, whole_test
from crossgrade.decide._records import Certificate, DecisionSettings, EvidencePoint, Guard, Sibling
from crossgrade.decide._view import Part, View, make_view
from crossgrade.stats import GROWTH_HORIZONS, FixedRetention, Outcome, Retention, holm, holm_levels

_PATH_POINTS = 120

Test: TypeAlias = FixedRetention | Follower
"""What tested a hypothesis: once at the end, or observation by observation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One hypothesis after its test: `p` small certifies, `p_below` small shows the opposite.

    `whole` is the test of the whole workload, where that has a floor of its own.
    """

    candidate: str
    part: Part
    share: float
    test: Test
    p: float
    p_below: float
    path: tuple[EvidencePoint, ...] = ()
    excluded: str | None = None
    unfinished: bool = False
    given_up: bool = False
    whole: FixedRetention | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What tested one hypothesis, and whether a sequential run left it open."""

    test: Test
    path: tuple[EvidencePoint, ...] = ()
    unfinished: bool = False
    given_up: bool = False


def certify(view: View, guards: Iterable[Guard]) -> tuple[tuple[Certificate, ...], tuple[EvidencePoint, ...]]:
    """Test every hypothesis; return certificates (each candidate's whole first) and the bets' paths.

    The correction is over these hypotheses and those of the workloads that share alpha. A
    certificate's bounds are at the levels at which the correction compared its p-values.
    """
    guards = tuple(guards)
    tested = tested_hypotheses(view, guards)
    if view.thresholds:
        return (_read_only(view, guards, tested[0].candidate), *_in_sequence(view, tested)), ()
    certificates = tuple(each for family in _families(view, tested) for each in _corrected(view, family))
    wholes = {one.candidate for one in tested if one.part.label is None}
    models = [model.model for model in view.evidence.candidates]
    read_only = tuple(_read_only(view, guards, model) for model in models if model not in wholes)
    return (*read_only, *certificates), tuple(point for one in tested for point in one.path)


def _families(view: View, tested: Sequence[Tested]) -> Iterator[Sequence[Tested]]:
    """Yield the hypotheses that one correction covers: all, or against a baseline those of each candidate."""
    if view.settings.baseline is None:
        yield tested
        return
    for model in dict.fromkeys(one.candidate for one in tested):
        yield [one for one in tested if one.candidate == model]


def _corrected(view: View, tested: Sequence[Tested]) -> Iterator[Certificate]:
    """Yield the certificates of hypotheses under one correction (weighted Holm), siblings' included."""
    family: tuple[Tested | Sibling, ...] = (*tested, *view.settings.siblings)
    weights = [one.share for one in family]
    alpha = view.settings.alpha
    sides = [[one.p for one in family], [one.p_below for one in family]]
    adjusted, below = (holm(side, weights) for side in sides)
    levels, levels_below = (holm_levels(side, weights, alpha=alpha) for side in sides)
    for one, p, q, low, high in zip(tested, adjusted, below, levels, levels_below, strict=False):
        yield _certificate(view, one, (p, q), (low, high))


def tested_hypotheses(view: View, guards: Iterable[Guard]) -> tuple[Tested, ...]:
    """Test every hypothesis of the workload, each candidate's whole before its segments.

    A hypothesis that a guard excluded stays with p = 1. Its share of alpha is not passed on, because the
    data decide which hypotheses are excluded.
    """
    guards = tuple(guards)
    models = [model.model for model in view.evidence.candidates]
    if view.thresholds:
        share = view.settings.alpha_share
        return tuple(_test(view, guards, models[0], part, share) for part in view.thresholds)
    labels = [str(part.label) for part in view.segments]
    shares = shares_of(view.settings, models, labels)
    return tuple(
        _test(view, guards, candidate, part, shares[candidate, part.label])
        for candidate in models
        for part in (view.whole, *view.segments)
        if (candidate, part.label) in shares
    )


def _in_sequence(view: View, tested: Sequence[Tested]) -> Iterator[Certificate]:
    """Yield a router's certificates, from the fewest requests to the most.

    The thresholds were listed before these scores were seen. Each is tested at alpha, the strictest first,
    and the first that fails ends the sequence (fixed-sequence testing: no share of alpha is lost to their
    number). That the retention is below the floor is tested in the other order.

    A threshold that claims a floor of the whole too passes if both of its tests do, each at alpha: that one
    of the claims is false is an intersection-union null (R. L. Berger, Technometrics 24 (1982) 295-300).
    That one is below its floor is shown by either test at alpha / 2 (Bonferroni).
    """
    share, p, below = view.settings.alpha_share, 0.0, list[float]()
    level = view.settings.alpha * share
    level_below = level / _claims(view)
    for one in reversed(tested):
        below.append(max(one.p_below, below[-1] if below else 0.0))
    for one, p_below in zip(tested, reversed(below), strict=True):
        p = max(p, one.p)
        adjusted = min(p / share, 1.0), min(p_below / share, 1.0)
        yield _certificate(view, one, adjusted, (level, level_below))


def _claims(view: View) -> int:
    """Return how many floors a threshold must hold: that of what moves, and that of the whole if there is."""
    return 1 + (view.settings.whole_floor is not None)


def whole_certified(view: View, guards: Iterable[Guard], candidate: str) -> Certificate | None:
    """Return a candidate's certificate on the whole (None unless its initial share of alpha certifies it)."""
    models = [model.model for model in view.evidence.candidates]
    labels = [str(part.label) for part in view.segments]
    settings = view.settings
    shares = shares_of(settings, models, labels)
    share = shares.get((candidate, None))
    if not share:
        return None
    tested = _test(view, tuple(guards), candidate, view.whole, share)
    level = settings.alpha * share
    certificate = _certificate(view, tested, (tested.p / share, tested.p_below / share), (level, level))
    return certificate if certificate.certified and certificate.excluded is None else None


def _read_only(view: View, guards: Iterable[Guard], candidate: str) -> Certificate:
    """Return the retention on the whole if only segments are tested; it is shown, not certified.

    It has no bounds, because no test made them. Segments stopped separately, so the rows are weighted to
    represent the whole traffic. Segments that a guard failed are no part of it.
    """
    seen = sound_view(view, guards, candidate)
    rows = seen.paired(candidate, seen.whole.rows)
    result = weighted_test(seen, candidate, rows).result()
    return Certificate(
        candidate=candidate,
        segment=None,
        retention=replace(result, low=None, high=None, outcome="undecided", needed=None),
        adjusted_p=1.0,
        certified=False,
        tested=False,
        moved_share=view.moved_share(candidate, view.whole),
    )


def _certificate(
    view: View, tested: Tested, adjusted: tuple[float, float], levels: tuple[float, float]
) -> Certificate:
    """Return the certificate of a tested hypothesis, with the outcome after correction."""
    alpha = view.settings.alpha
    certified = adjusted[0] <= alpha
    shown_below = not certified and adjusted[1] <= alpha

    def claim(test: Test) -> Retention:
        """Return what one test says: of two claims that one which is shown to be false need not be this."""
        fails = shown_below and (tested.whole is None or test.p_value_below <= levels[1])
        outcome: Outcome = "pass" if certified else "fail" if fails else "undecided"
        return replace(test.result(*levels), outcome=outcome, alpha=alpha)

    return Certificate(
        candidate=tested.candidate,
        segment=tested.part.label,
        retention=claim(tested.test),
        adjusted_p=adjusted[0],
        certified=certified,
        share=view.share(tested.part),
        excluded=tested.excluded,
        adjusted_p_below=adjusted[1],
        shown_below=shown_below,
        unfinished=tested.unfinished,
        given_up=tested.given_up,
        whole=None if tested.whole is None else claim(tested.whole),
        moved_share=view.moved_share(tested.candidate, tested.part),
    )


def _test(view: View, guards: tuple[Guard, ...], candidate: str, part: Part, share: float) -> Tested:
    """Test one hypothesis, a threshold's with the floor of the whole; a guard that failed excludes it."""
    broken = failing_parts(guards, candidate=candidate)
    whole = part.label is None
    seen = sound_view(view, guards, candidate)
    members = seen.whole.rows if whole else part.rows
    run = _run(view, candidate, part, members, share)
    test = run.test
    excluded = failing(guards, candidate=candidate, segment=part.label)
    if excluded is None and whole and broken:
        excluded = next(iter(broken.values()))
    p, p_below = test.p_value, test.p_value_below
    floor = view.settings.whole_floor
    pooled = None
    if floor is not None and view.thresholds:
        pooled = whole_test(seen, candidate, part.rows, floor)
        p = max(p, pooled.p_value)
        p_below = min(1.0, _claims(view) * min(p_below, pooled.p_value_below))
    if excluded is not None:
        p = 1.0
        # The claim about the whole includes broken groups. It is shown to be below the floor only if it
        # is both with and without them. Nothing is claimed about a broken segment.
        p_below = max(p_below, _without_groups(view, candidate, broken)) if whole else 1.0
    return Tested(
        candidate=candidate,
        part=part,
        share=share,
        test=test,
        p=p,
        p_below=p_below,
        path=run.path,
        excluded=excluded,
        unfinished=run.unfinished,
        given_up=run.given_up,
        whole=pooled,
    )


def _run(view: View, candidate: str, part: Part, members: BoolColumn, share: float) -> _Run:
    """Return the result of the hypothesis's test: fixed, or sequential if the evidence has an order."""
    if view.order is None:
        return _Run(test=fixed_test(view, candidate, view.paired(candidate, members)))
    return _replay(view, candidate, part, members, share)


def _replay(view: View, candidate: str, part: Part, members: BoolColumn, share: float) -> _Run:
    """Replay the run's observations in the recorded order, and stop where the run stopped.

    The run is over when every planned sample was asked, scored or not, so the test at the end uses all
    observations. A run that gave up may have continued later: everything that it observed counts.
    """
    settings = view.settings

    def follow(futility: float | None) -> Follower:
        follower = Follower(
            view.design,
            part.label,
            floor=settings.floor,
            alpha=settings.alpha * share,
            mode=settings.mode,
            horizons=GROWTH_HORIZONS if view.thresholds else (1.0,),
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
    return _Run(test=follower, path=path, unfinished=follower.unfinished, given_up=given_up)


def _without_groups(view: View, candidate: str, broken: dict[str, str]) -> float:
    """Return the p-value of "below the floor" on the rows outside the broken groups."""
    rows = view.paired(candidate, view.whole.rows)
    for part in view.parts:
        if part.label in broken:
            rows &= ~part.rows
    return fixed_test(view, candidate, rows).p_value_below


def siblings(
    evidence: Evidence,
    settings: DecisionSettings,
    *,
    run_id: str | None = None,
    guards: Mapping[str, GuardKind] = GUARDS,
) -> tuple[Sibling, ...]:
    """Return a workload's hypotheses with their p-values, for decisions that share alpha with it.

    Hypotheses of unfit evidence have p = 1, so that they pass no share of alpha on to the others.
    """
    view = make_view(evidence, settings)
    seen = run_guards(view, guards)
    sound = sound_candidates(view, seen)
    digest = evidence_digest(evidence)
    return tuple(
        Sibling(
            workload=evidence.workload,
            share=one.share,
            candidate=one.candidate,
            segment=one.part.label,
            p=one.p if one.candidate in sound else 1.0,
            p_below=one.p_below if one.candidate in sound else 1.0,
            run_id=run_id,
            evidence_digest=digest,
        )
        for one in tested_hypotheses(view, seen)
    )
