"""From evidence to a verdict: guards, certificates, costs, and the cheapest certified policy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import numpy as np

from crossgrade._version import __version__
from crossgrade.decide import _thresholds as limits
from crossgrade.decide._advice import Advice, AdviceKind, advise
from crossgrade.decide._agents import compare_agents
from crossgrade.decide._certify import certify, whole_certified
from crossgrade.decide._changes import would_change
from crossgrade.decide._costs import (
    dearer_candidates,
    policy_cost,
    policy_retention,
    split_policy,
    switch_policy,
)
from crossgrade.decide._digest import evidence_digest
from crossgrade.decide._evidence import Evidence, ModelColumns
from crossgrade.decide._growth import router_settings
from crossgrade.decide._guards import (
    GUARDS,
    GuardKind,
    failing,
    less_safe,
    run_guards,
    sound_candidates,
    sound_view,
)
from crossgrade.decide._options import Option, certified_options, cheapest, open_hypotheses
from crossgrade.decide._reading import groups, losses
from crossgrade.decide._reasons import reasons
from crossgrade.decide._records import (
    Certificate,
    DecisionSettings,
    EvidencePoint,
    Guard,
    PolicyCost,
    RequirementCheck,
    Verdict,
    VerdictName,
    shown_first,
)
from crossgrade.decide._requirements import (
    check_requirements,
    incumbent_gone_on,
    missing_evidence,
    retirement,
    trials_end,
)
from crossgrade.decide._router import certifying
from crossgrade.decide._sentence import Findings, sentence
from crossgrade.decide._view import Part, View, make_view
from crossgrade.errors import UsageError
from crossgrade.routing import Policy
from crossgrade.stats import METHOD_VERSION


def decide_policy(
    evidence: Evidence,
    settings: DecisionSettings | None = None,
    *,
    now: datetime,
    run_id: str | None = None,
    spent_usd: Decimal | None = None,
    guards: Mapping[str, GuardKind] = GUARDS,
) -> Verdict:
    """Return the verdict: the cheapest certified policy that meets the requirements.

    - `switch`, `split`: such a policy moves traffic, meets every requirement, and is shown to
      cost less than the incumbent.
    - `undecided`: something that is not known yet could move traffic: a hypothesis still open, a
      certified policy without a price ("certified, price unknown"), a requirement not shown
      either way, a broken group in the evidence. The policy keeps the incumbent meanwhile.
    - `keep`: nothing open is left: the candidates are shown to be below the floor, miss a
      requirement, are less safe, or cost more; or the workload's class of evidence is not there.
    - `invalid`: a guard found the evidence as a whole unfit, for every candidate.

    `guards` are those that look at the evidence, by default the built-in ones. With a router (`train_router`)
    they look at all samples, and the policies are tested on those that did not train it. Where the whole has
    a floor of its own (`whole_floor`) and there is no router, everything is tested at the larger floor.
    `now` is aware; the verdict is valid for `settings.valid_days` from it, or until a model that
    its policy names is retired. The same evidence, settings and `now` give the same verdict.
    Raises `DataError` for evidence whose columns do not fit together.
    """
    settings = settings or DecisionSettings()
    if now.tzinfo is None:
        raise UsageError("`now` has no time zone", code="time-zone-missing", hint="pass datetime.now(UTC)")
    if now.year > limits.LATEST_YEAR:
        raise UsageError(
            f"`now` is in the year {now.year}", code="time-out-of-range", hint="pass datetime.now(UTC)"
        )
    view = make_view(evidence, settings)
    if not view.thresholds:
        view = replace(view, settings=_strictest(settings))
    seen = (*run_guards(view, guards), *retirement(view, now))
    digest = evidence_digest(evidence)
    if evidence.routing is not None:
        evidence = certifying(evidence, in_order=settings.grow)
        view = make_view(evidence, router_settings(view.settings))
    certificates, path = certify(view, seen)
    checks = check_requirements(view, now)
    missing = missing_evidence(settings.requirements, settings.facts)
    sound = sound_candidates(view, seen)
    invalid = not sound and not less_safe(view, seen)
    certificates = tuple(_grounded(one, seen, invalid=invalid) for one in certificates)
    options = certified_options(view, certificates, checks)
    chosen = None if invalid or missing else cheapest(options)
    certificates = _needless(view, certificates, chosen)
    pending = open_hypotheses(certificates, _in_the_running(sound, checks))
    name = _name(chosen, options, pending, invalid=invalid, missing=bool(missing))
    keep = Policy(kind="keep", incumbent=evidence.incumbent.model)
    costs = _kept(view, seen, certificates, _costs(view, keep, options))
    first = shown_first(certificates, None, costs)
    advice = advise(view, pending, first) if name == "undecided" else None
    words = Findings(
        view=view,
        name=name,
        chosen=chosen,
        options=() if invalid else options,
        certificates=certificates,
        guards=seen,
        checks=checks,
        missing=missing,
        advice=advice,
        pending=pending,
        costs=costs,
        gone_on=incumbent_gone_on(view, now),
    )
    policy = keep if chosen is None else chosen.policy
    withheld = settings.baseline is not None and settings.baseline.withheld
    drawn, drawn_from = ((), 0) if withheld else losses(view, policy)
    best, routing = words.headline, evidence.routing
    return Verdict(
        workload=evidence.workload,
        name=name,
        policy=policy,
        incumbent=evidence.incumbent.model,
        candidates=tuple(each.model for each in evidence.candidates),
        floor=view.settings.floor,
        alpha=settings.alpha,
        mode=view.mode,
        sentence=sentence(words),
        reasons=reasons(words),
        would_change=would_change(words),
        certificates=certificates,
        guards=seen,
        requirements=checks,
        costs=costs,
        frontier=_kept(view, seen, certificates, _frontier(view, costs)),
        losses=drawn,
        path=_last_points(path) if withheld else path,
        asked=_asked(view),
        planned=view.planned(view.whole),
        calls_saved=_calls_saved(view, path, certificates),
        needed=_needed(advice, "samples"),
        needed_labels=_needed(advice, "labels"),
        needed_audits=_needed(advice, "audits"),
        decided_at=now,
        valid_until=valid_until(settings, policy, now),
        evidence_digest=digest,
        seed=settings.seed,
        price_sources=tuple(f"{f.model}: {f.price_source}" for f in settings.facts if f.price_source),
        saving_per_month_usd=next(each for each in costs if each.policy == policy).saving_per_month_usd,
        spent_usd=spent_usd,
        run_id=run_id,
        settings=settings,
        method_version=METHOD_VERSION,
        losses_drawn_from=drawn_from,
        groups=() if best is None else groups(view, seen, best.candidate),
        package_version=__version__,
        routing=None if routing is None else routing.report,
        blocks=view.blocks,
        paired=None if view.blocks is None else view.paired_n,
        agents=compare_agents(view),
    )


def settled_by(
    evidence: Evidence,
    settings: DecisionSettings,
    candidate: str,
    *,
    now: datetime,
    guards: Mapping[str, GuardKind] = GUARDS,
) -> frozenset[str] | None:
    """Return the candidates that cost at least as much as `candidate`, if a verdict may switch to it already.

    None if it may not: the candidate is not certified on the whole at its initial share of alpha, a guard
    failed on the whole or on a part of it, a requirement is missed or unknown, or the switch is not shown to
    save money. Raises `DataError` as `decide_policy` does.
    """
    view = make_view(evidence, settings)
    seen = (*run_guards(view, guards), *retirement(view, now))
    if missing_evidence(settings.requirements, settings.facts):
        return None
    if candidate not in sound_candidates(view, seen):
        return None
    certificate = whole_certified(view, seen, candidate)
    if certificate is None:
        return None
    options = certified_options(view, (certificate,), check_requirements(view, now))
    return dearer_candidates(view, candidate) if any(each.eligible for each in options) else None


def _needed(advice: Advice | None, kind: AdviceKind) -> int | None:
    """Return how many more of a kind are advised, None where the advice is of another or there is none."""
    return advice.more if advice is not None and advice.kind == kind else None


def _strictest(settings: DecisionSettings) -> DecisionSettings:
    """Return the settings under which parts that each hold the floor make a whole that holds its own."""
    return replace(settings, floor=max(settings.floor, settings.whole_floor or 0.0))


def _grounded(one: Certificate, guards: Sequence[Guard], *, invalid: bool) -> Certificate:
    """Return the certificate, void where the evidence as a whole is unfit for its candidate."""
    guard = failing(guards, candidate=one.candidate, segment=None)
    if guard is None and not invalid:
        return one
    return replace(
        one,
        certified=False,
        shown_below=False,
        excluded=one.excluded or guard or "every segment failed a guard",
        retention=replace(one.retention, outcome="undecided"),
        whole=None if one.whole is None else replace(one.whole, outcome="undecided"),
    )


def _needless(
    view: View, certificates: tuple[Certificate, ...], chosen: Option | None
) -> tuple[Certificate, ...]:
    """Return the certificates, those marked that could not change a switch any more.

    They are the chosen candidate's segments, and dearer candidates, as far as the run left them open.
    """
    if chosen is None or chosen.policy.kind != "switch" or not any(one.unfinished for one in certificates):
        return certificates
    own = str(chosen.policy.candidate)
    dearer = dearer_candidates(view, own)
    return tuple(
        replace(one, not_needed=True)
        if one.unfinished
        and not one.certified
        and not one.shown_below
        and (one.candidate in dearer or (one.candidate == own and one.segment is not None))
        else one
        for one in certificates
    )


def _in_the_running(sound: Sequence[str], checks: Sequence[RequirementCheck]) -> list[str]:
    """Return the candidates that no guard and no missed requirement has put out."""
    out = {check.candidate for check in checks if check.met is False}
    return [model for model in sound if model not in out]


def _name(
    chosen: Option | None,
    options: Sequence[Option],
    pending: Sequence[Certificate],
    *,
    invalid: bool,
    missing: bool,
) -> VerdictName:
    """Return what the verdict is called; see `decide_policy`."""
    if invalid:
        return "invalid"
    if missing:
        return "keep"
    if chosen is not None:
        return "switch" if chosen.policy.kind == "switch" else "split"
    unsettled = any(not option.unmet and not option.costs_more for option in options)
    return "undecided" if unsettled or pending else "keep"


def _costs(view: View, keep: Policy, options: Sequence[Option]) -> tuple[PolicyCost, ...]:
    """Return the costs of keeping, of switching to each candidate, and of the certified splits."""
    switches = [switch_policy(view, each.model) for each in view.evidence.candidates]
    splits = [option.cost for option in options if option.policy.kind == "split"]
    return (*(policy_cost(view, policy) for policy in (keep, *switches)), *splits)


def _frontier(view: View, costs: Sequence[PolicyCost]) -> tuple[PolicyCost, ...]:
    """Return the costs of a router's other thresholds, certified or not."""
    known = {cost.policy for cost in costs}
    names = [str(part.label) for part in view.thresholds]
    models = [each.model for each in view.evidence.candidates] if names else []
    policies = [split_policy(view, model, (name,)) for model in models for name in names]
    return tuple(policy_cost(view, policy) for policy in policies if policy not in known)


def _kept(
    view: View, guards: Sequence[Guard], certificates: Sequence[Certificate], costs: Sequence[PolicyCost]
) -> tuple[PolicyCost, ...]:
    """Return the costs, each with what its policy keeps over the segments that no guard failed."""
    sound = {each.model: sound_view(view, guards, each.model) for each in view.evidence.candidates}
    return tuple(
        replace(
            cost,
            retention=policy_retention(
                sound.get(str(cost.policy.candidate), view), cost.policy, certificates
            ),
        )
        for cost in costs
    )


def _asked(view: View) -> int:
    """Return how many samples any model was asked."""
    models = (view.evidence.incumbent, *view.evidence.candidates)
    return int(np.any([view.asked(model) for model in models], axis=0).sum())


def _calls_saved(view: View, path: Iterable[EvidencePoint], certificates: Iterable[Certificate]) -> int:
    """Return how many planned model calls were not made because what they inform was certain.

    A sample that nobody asked about because the run was cut short saved nothing.
    """
    if view.order is None:
        return 0
    settled = {(at.candidate, at.segment) for at in path if max(at.e_pass, at.e_fail) >= at.threshold}
    settled |= {(one.candidate, one.segment) for one in certificates if one.not_needed or one.given_up}
    models = [model.model for model in view.evidence.candidates]
    saved = 0
    for part in view.segments or (view.whole,):
        tested = (part.label,) if view.settings.splits_only else (part.label, None)
        certain = [model for model in models if all((model, label) in settled for label in tested)]
        saved += sum(_unasked(view, part, view.columns(model)) for model in certain)
        if len(certain) == len(models):
            saved += _unasked(view, part, view.evidence.incumbent)
    return saved


def _unasked(view: View, part: Part, model: ModelColumns) -> int:
    """Return how many planned calls to a model about a part were not made."""
    planned = view.evidence.planned_by_segment.get(str(part.label), int(part.rows.sum()))
    planned = view.planned(part) if part.label is None else planned
    reached = view.reached(model)
    if model is view.evidence.incumbent and view.design.run.blocks is not None:
        planned, reached = view.design.part(part.label).observations, reached & ~view.unpaired
    return max(0, planned - int((reached & part.rows).sum()))


def _last_points(path: Sequence[EvidencePoint]) -> tuple[EvidencePoint, ...]:
    """Return the last point of each hypothesis: the steps between two points tell single results."""
    return tuple({(each.candidate, each.segment): each for each in path}.values())


def valid_until(settings: DecisionSettings, policy: Policy, now: datetime) -> datetime:
    """Return when the verdict expires: after its days, or when a model it rests on is retired.

    The trials of an agent that it rests on last as many days from the newest of them.

    That is the model to which traffic moves. The incumbent's end ends no certificate of a candidate: it only
    takes away what else could answer, which the route's `successor` replaces. It ends a verdict that keeps
    the incumbent, and a claim on the whole, a part of which the incumbent answers. Once it has come, it ends
    nothing.
    """
    named = {policy.candidate or policy.incumbent}
    if settings.whole_floor is not None:
        named.add(policy.incumbent)
    retired = [
        datetime.combine(facts.retires_on, time(), tzinfo=UTC)
        for facts in settings.facts
        if facts.model in named and facts.retires_on is not None
        if facts.model != policy.incumbent or facts.retires_on > now.date()
    ]
    tried = [
        datetime.combine(trials_end(facts.trials, settings.valid_days), time(), tzinfo=UTC)
        for facts in settings.facts
        if settings.requirements.evidence == "agentic" and facts.model == policy.candidate
        if facts.trials is not None
    ]
    return max(min([now + timedelta(days=settings.valid_days), *retired, *tried]), now)
