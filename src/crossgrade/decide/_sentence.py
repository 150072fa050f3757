"""The verdict in one sentence, and everything that its words are made from."""

from dataclasses import dataclass
from datetime import date

from crossgrade.decide._advice import Advice, audits_settle
from crossgrade.decide._guards import broken_segments
from crossgrade.decide._options import Option
from crossgrade.decide._records import (
    Certificate,
    Guard,
    PolicyCost,
    RequirementCheck,
    VerdictName,
    shown_first,
)
from crossgrade.decide._requirements import TERMS
from crossgrade.decide._safety import SAFETY_REGRESSION
from crossgrade.decide._view import View
from crossgrade.decide._words import dollars, error_rate, exact, in_units, listed, percent, retained
from crossgrade.routing import Policy
from crossgrade.stats import MOST_NEEDED

_CLOSE = 0.05
"""Nearer than this to the floor, a retention is called close to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that the words are made from; `gone_on` is the day of an incumbent's end that has come."""

    view: View
    name: VerdictName
    chosen: Option | None
    options: tuple[Option, ...]
    certificates: tuple[Certificate, ...]
    guards: tuple[Guard, ...]
    checks: tuple[RequirementCheck, ...]
    missing: tuple[str, ...]
    advice: Advice | None
    pending: tuple[Certificate, ...] = ()
    costs: tuple[PolicyCost, ...] = ()
    gone_on: date | None = None

    @property
    def incumbent(self) -> str:
        """The incumbent's name."""
        return self.view.evidence.incumbent.model

    def certificate(self, candidate: str, segment: str | None) -> Certificate:
        """Return the certificate of one hypothesis."""
        return next(one for one in self.certificates if (one.candidate, one.segment) == (candidate, segment))

    @property
    def headline(self) -> Certificate | None:
        """The certificate that the words are about."""
        moved = None if self.chosen is None else self.chosen.policy.candidate
        return shown_first(self.certificates, moved, self.costs)

    @property
    def open_one(self) -> Certificate | None:
        """What keeps an undecided verdict open: the headline's hypothesis, or another where it is settled."""
        best = self.headline
        if best is None or best.excluded is not None or not self.pending or best in self.pending:
            return best
        return self.pending[0]


def sentence(found: Findings) -> str:
    """Return the verdict in one sentence."""
    settings = found.view.settings
    of_whole = settings.whole_floor if found.view.thresholds else None
    floor = f"floor {exact(settings.floor)}"
    floor += "" if of_whole is None else f" of what moves and {exact(of_whole)} of the whole"
    floor += f", error rate {error_rate(settings.alpha)}"
    if settings.siblings:
        floor += f" over {settings.workloads} workloads together"
    if found.chosen is not None:
        return _move(found, floor)
    if found.name == "invalid":
        names = listed(tuple(dict.fromkeys(g.name for g in found.guards if g.status == "fail")))
        return f"Invalid: the evidence on {found.view.evidence.workload} cannot carry a decision ({names})."
    return _undecided(found, floor) if found.name == "undecided" else _keep(found, floor)


def _undecided(found: Findings, floor: str) -> str:
    """Return the sentence of a verdict that more samples, a price or a mended guard could settle."""
    unsettled = [option for option in found.options if not option.unmet and not option.costs_more]
    if unsettled:
        return _certified_but(found, unsettled[0], floor)
    one, more = found.open_one, ""
    if one is not None and one.excluded is not None:
        more = f"; {_unfit(one.excluded)}"
    elif one is not None and one is not found.headline:
        more = _still_open(found, one)
    elif one is not None and one.retention.reason is not None:
        # What has no value says why already.
        more = "" if one.retention.value is None else f"; {in_units(one.retention.reason, found.view.unit)}"
    elif found.advice is not None:
        more = f"; {found.advice.words}"
    elif one is not None and one.retention.value is not None:
        what = "audits in service" if audits_settle(found.view, one) else f"{found.view.wanted}s"
        more = f"; {too_little(found, one, f'how many more {what} would settle it')}"
    more = f"{_waits(found)}{more}"
    return f"Undecided on {found.view.evidence.workload}: {_best(found)} ({floor}){more}."


def _unfit(guard: str) -> str:
    """Return why the printed interval of a hypothesis that a guard excluded decides nothing."""
    why = "it found part of the evidence unfit"
    if guard == SAFETY_REGRESSION:
        why = "it found the candidate less safe than the incumbent"
    return f"the guard {guard} decides and not the interval: {why}"


def _waits(found: Findings) -> str:
    """Return why a router's threshold that holds its floor by itself is not certified."""
    best = found.headline
    if best is None or not found.view.thresholds or best.excluded is not None:
        return ""
    holds = all(each.low is not None and each.low >= each.floor for each in best.claims)
    return "; a threshold that moves fewer is tested before it, and has not passed" if holds else ""


def _still_open(found: Findings, one: Certificate) -> str:
    """Return what is open where the hypothesis that the sentence begins with is settled."""
    where = "the whole workload" if one.segment is None else one.segment
    more = f"; {one.candidate} on {where} is still open"
    if found.advice is not None:
        return f"{more}, and {found.advice.words}"
    if one.retention.reason is not None:
        return f"{more}: {in_units(one.retention.reason, found.view.unit)}"
    return f"{more}: {too_little(found, one, f'how many more {found.view.wanted}s would settle it')}"


def too_little(found: Findings, one: Certificate, how_many: str) -> str:
    """Return why `how_many` (further samples that would settle a hypothesis) is not said."""
    if any(each.needed is not None for each in one.claims):  # and so many that there was no advice
        what = f"no practical number of {found.view.wanted}s"
        return f"{what} would settle it (it takes more than {MOST_NEEDED:,})"
    if any(each.value is not None and abs(each.value - each.floor) < _CLOSE for each in one.claims):
        return f"it is too close to the floor to say {how_many}"
    return f"too little was seen to say {how_many}"


def _keep(found: Findings, floor: str) -> str:
    """Return the sentence of a verdict that leaves everything as it is."""
    kept = f"Keep {found.incumbent} for {found.view.evidence.workload}"
    if found.missing:
        return f"{kept}: {listed(found.missing)} must be there first."
    if found.options:
        first = found.options[0]
        barred = any(each.name == TERMS for each in first.unmet)
        missed = "you may not use it" if barred else "misses a requirement"
        why = first.costs_what if first.costs_more else missed
        return f"{kept}: {first.policy.candidate} is certified, but {why}."
    best, gone = found.headline, tuple(dict.fromkeys(c.name for c in found.checks if c.met is False))
    why = "shown to be below the floor" if best is not None and best.shown_below else "which moves nothing"
    if best is not None and best.excluded is not None and not best.shown_below:
        why += f"; {_unfit(best.excluded)}"
    if best is not None and best.segment is not None and best.shown_below:
        tested = [one for one in found.certificates if one.tested]
        every = all(one.shown_below for one in tested)
        part = "threshold" if found.view.thresholds else "segment"
        why += f"; so is every other {part}" if every and len(tested) > 1 else f"; no {part} may move"
    if gone and (best is None or not best.shown_below):
        why = "but you may not use it" if gone == (TERMS,) else f"but candidates miss {listed(gone)}"
    return f"{kept}: {_best(found)}, {why} ({floor})."


def _best(found: Findings) -> str:
    """Return what the most promising candidate keeps, and where."""
    best = found.headline
    if best is None:
        return "nothing was tested"
    where = "" if best.segment is None else f" on {best.segment}"
    kept = f"{best.candidate} keeps {retained(best.retention, found.incumbent, unit=found.view.unit)}{where}"
    return kept + kept_whole(found, best)


def _kept_of_all(found: Findings, candidate: str) -> str:
    """Return what a candidate keeps of the whole workload."""
    return retained(found.certificate(candidate, None).retention, unit=found.view.unit)


def _move(found: Findings, floor: str) -> str:
    """Return the sentence of a switch or split."""
    assert found.chosen is not None
    policy, cost = found.chosen.policy, found.chosen.cost
    month = cost.saving_per_month_usd
    saving = dollars(month if month.value is not None else cost.saving_per_request_usd)
    if policy.kind == "switch":
        whole = found.certificate(str(policy.candidate), None)
        kept = retained(whole.retention, policy.incumbent, unit=found.view.unit)
        return (
            f"Switch {_represented(found)}{found.view.evidence.workload} from {policy.incumbent} to "
            f"{policy.candidate}: it keeps {kept} ({floor}), and "
            f"saves {saving}{_up_to(found)}{_rest(found)}."
        )
    if policy.fact == "score":
        return _route(found, floor, saving)
    share = sum(found.certificate(str(policy.candidate), each).share for each in policy.segments)
    return (
        f"Split {found.view.evidence.workload}: {policy.candidate} takes {listed(policy.segments)} "
        f"({percent(share)} of {_represented(found)}the traffic, each certified; {floor}) and saves "
        f"{saving}; the rest stays with {policy.incumbent}{_up_to(found)}."
    )


def _route(found: Findings, floor: str, saving: str) -> str:
    """Return the sentence of a split by a router."""
    assert found.chosen is not None
    policy = found.chosen.policy
    moved = found.certificate(str(policy.candidate), policy.segments[0])
    return (
        f"Split {_represented(found)}{found.view.evidence.workload}: {policy.candidate} takes the "
        f"{percent(moved.share)} of requests with {policy.segments[0]} by the router. On these together it "
        f"keeps {retained(moved.retention, policy.incumbent)}{kept_whole(found, moved)} ({floor}). "
        f"The split saves {saving}, and the rest stays with {policy.incumbent}{_up_to(found)}{_rest(found)}."
    )


def kept_whole(found: Findings, one: Certificate) -> str:
    """Return the rest of a sentence on what moves: what the split keeps of the whole, if that has a floor."""
    if one.whole is None:
        return ""
    return f"; over {all_requests(found, one.candidate)} the split keeps {retained(one.whole)}"


def all_requests(found: Findings, candidate: str) -> str:
    """Return `all requests`, without the segments that a guard took out of the whole."""
    return f"all requests{without_segments(found, candidate)}"


def without_segments(found: Findings, candidate: str) -> str:
    """Return ` without` the segments that a guard took out of the whole, "" if there are none."""
    gone = broken_segments(found.view, found.guards, candidate)
    return f" without {listed(gone)}" if gone else ""


def _represented(found: Findings) -> str:
    """Return of which part of the traffic the verdict speaks, where that is not all of it."""
    logged = found.view.settings.logged_traffic
    if logged is None or logged.shown_share is None or not logged.is_partial:
        return ""
    return f"the represented {percent(logged.shown_share)} of "


def _rest(found: Findings) -> str:
    """Return what happens to requests that no sample stands for, where there are any."""
    if not found.view.settings.plain_only:
        return ""
    return f"; requests with tools, images or files, which no sample represents, stay with {found.incumbent}"


def _up_to(found: Findings) -> str:
    """Return which requests the chosen policy's candidate may not answer, where there are any."""
    assert found.chosen is not None
    policy = found.chosen.policy
    stay = _barred(found, policy)
    return f"; {stay} stay with {policy.incumbent}" if stay else ""


def _barred(found: Findings, policy: Policy) -> str:
    """Return which requests a policy's candidate may not answer, "" where there are none."""
    view, stay = found.view, []
    if policy.max_bytes is not None:
        longer = percent(view.share_of(~view.short(policy.candidate)))
        stay.append(f"requests of more than {policy.max_bytes:,} bytes ({longer} of these)")
    bound = ~view.carried(policy.candidate)
    if bound.any():
        api = view.settings.client_api
        stay.append(
            f"requests that only the API {api} can express ({percent(view.share_of(bound))} of these)"
        )
    return " and ".join(stay)


def _certified_but(found: Findings, option: Option, floor: str) -> str:
    """Return the sentence of a policy that is certified and still cannot be the verdict."""
    policy = option.policy
    where, kept = f"{listed(policy.segments)} of {found.view.evidence.workload}", f" ({floor})"
    if policy.kind == "switch":
        where = f"all of {found.view.evidence.workload}"
        kept = f": it keeps {_kept_of_all(found, str(policy.candidate))} ({floor})"
    barred = _barred(found, policy)
    question, until = "price unknown", f"the price of {policy.candidate} is known"
    if option.priced:
        question, until = "not shown to be cheaper", f"{policy.candidate} is shown to be cheaper"
        if option.unknown:
            unknown = listed(tuple(check.name for check in option.unknown))
            question, until = f"not known to meet {unknown}", "that is known"
    return (
        f"Certified, {question}. {policy.candidate} holds the floor on {where}"
        f"{f', except {barred}' if barred else ''}{kept}. {policy.incumbent} stays until {until}."
    )
