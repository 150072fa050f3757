"""Why the verdict is what it is, and what would change it, in plain words."""

from collections.abc import Iterator

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._certify import fixed_test
from crossgrade.decide._guards import failing_parts
from crossgrade.decide._options import Option, closed_beats_open, only_open_candidates
from crossgrade.decide._records import Certificate, Guard
from crossgrade.decide._sentence import Findings
from crossgrade.decide._words import bound, count, dollars, listed, percent, retained
from crossgrade.domain import Estimate
from crossgrade.stats import LEAST_LABELS


def reasons(found: Findings) -> tuple[str, ...]:
    """Return why the verdict is what it is, the loudest first."""
    return tuple(
        dict.fromkeys(
            [
                *_warnings(found),
                *_quality(found),
                *_lengths(found),
                *_family(found),
                *_money(found),
                *_limits(found),
                *_doubts(found),
            ]
        )
    )


def _warnings(found: Findings) -> Iterator[str]:
    """Yield what must not be overlooked."""
    if found.missing:
        kind = found.view.settings.requirements.evidence
        yield (
            f"Being {kind}, it stays with {found.incumbent} until there is: {listed(found.missing)}. "
            "Importing such evidence is not supported yet."
        )
    if found.chosen is not None and found.chosen.policy.kind == "switch":
        for one in found.certificates:
            if one.candidate == found.chosen.policy.candidate and one.segment and one.shown_below:
                yield (
                    f"WARNING: on {one.segment} ({percent(one.share)} of the traffic) {one.candidate} "
                    f"keeps only {retained(one.retention)}, shown to be below the floor: "
                    "the whole passes, this part does not."
                )
    for guard in _first_failures(found):
        yield f"The guard {_place(guard)} failed: {guard.seen}."
    yield from _rests(found)


def _rests(found: Findings) -> Iterator[str]:
    """Yield what is left of the whole without its broken groups."""
    view = found.view
    if view.splittable:
        return
    for model in view.evidence.candidates:
        broken = failing_parts(found.guards, candidate=model.model)
        if not broken:
            continue
        gone = np.any([part.rows for part in view.parts if part.label in broken], axis=0)
        rows = view.paired(model.model, view.whole.rows & ~gone)
        if rows.any():
            rest = retained(fixed_test(view, model.model, rows).result())
            yield f"Without {listed(tuple(broken))}, {model.model} keeps {rest}."


def _quality(found: Findings) -> Iterator[str]:
    """Yield how each hypothesis came out."""
    for one in found.certificates:
        yield from _how(found, one)
        yield from _uncounted(found, one)
    parts = tuple(str(one.segment) for one in found.certificates if one.segment and _is_open(one))
    if parts:
        yield f"Still open: {listed(tuple(dict.fromkeys(parts)))}."
    for candidate in found.view.evidence.candidates:
        needless = tuple(
            one.segment
            for one in found.certificates
            if one.candidate == candidate.model and one.segment and one.not_needed
        )
        if needless:
            yield (
                f"{candidate.model} on {listed(needless)}: not needed, because {_chosen(found)} is certified "
                "on the whole."
            )


def _how(found: Findings, one: Certificate) -> Iterator[str]:
    """Yield how one hypothesis came out; of an open segment nothing, it is listed."""
    where = _where(found, one)
    kept = f"{one.candidate} keeps {retained(one.retention)} on {where}"
    if not one.tested:
        yield f"{kept}; not tested there: only segments may move."
    elif one.segment is None and one.excluded is not None:
        part = " on part of it" if any(one.excluded == g.name and g.segment for g in found.guards) else ""
        yield f"{kept}; not certified there, because {one.excluded} failed{part}."
    elif one.excluded is not None:
        yield f"{where} stays with {found.incumbent}: {one.excluded} failed there."
    elif one.certified:
        yield f"{kept}: certified (adjusted p = {one.adjusted_p:.2g})."
    elif one.shown_below:
        yield f"{kept}: shown to be below the floor (adjusted p = {one.adjusted_p_below:.2g})."
    elif one.not_needed and one.segment is None:
        yield f"{kept}; not needed: it costs no less than what is certified."
    elif one.given_up and one.segment is None:
        yield f"{kept}: given up, it would hardly have passed at the planned end."
    elif one.segment is None:
        yield f"{kept}: neither certified nor shown to be below the floor."


def _where(found: Findings, one: Certificate) -> str:
    """Return the segment, or the whole workload, without the segments that a guard took out of it."""
    if one.segment is not None:
        return one.segment
    gone = tuple(failing_parts(found.guards, candidate=one.candidate)) if found.view.splittable else ()
    return "the whole workload" + (f" without {listed(gone)}" if gone else "")


def _uncounted(found: Findings, one: Certificate) -> Iterator[str]:
    """Yield how many answered samples came after a test had ended, of a candidate's segments together."""
    if one.segment is not None or found.view.order is None:
        return
    paired = found.view.paired(one.candidate, found.view.whole.rows)
    if one.tested and one.excluded is None:
        later = int(paired.sum()) - one.retention.n
        if later > 0:
            yield (
                f"{count(later, 'later sample')} that {one.candidate} answered too are not counted "
                "on the whole, whose test had ended."
            )
    parts = {part.label: part for part in found.view.segments}
    late = {
        each.segment: int((paired & parts[each.segment].rows).sum()) - each.retention.n
        for each in found.certificates
        if each.segment is not None and each.candidate == one.candidate and each.excluded is None
    }
    ended = tuple(segment for segment, later in late.items() if later > 0)
    if ended:
        later = sum(late[segment] for segment in ended)
        yield (
            f"{count(later, 'later sample')} that {one.candidate} answered too are not counted "
            f"on {listed(ended)}, whose {'test' if len(ended) == 1 else 'tests'} had ended."
        )


def _lengths(found: Findings) -> Iterator[str]:
    """Yield which requests are too long for a candidate, and how that is known."""
    view = found.view
    for model, most in view.settings.max_bytes.items():
        inside = int(view.within(model).sum())
        yield (
            f"{model} is tested, and would answer, only where a request has at most {most:,} bytes: "
            f"{inside:,} of {view.evidence.n:,} samples; longer ones stay with {found.incumbent}."
        )
    yield from (f"The length limit is from {each}." for each in view.settings.limit_sources)


def _family(found: Findings) -> Iterator[str]:
    """Yield who shares the error rate."""
    siblings = found.view.settings.siblings
    others = tuple(dict.fromkeys(each.workload for each in siblings))
    if others:
        yield f"The error rate is shared with {listed(others)}: one correction over all their hypotheses."
    waiting = tuple(each.workload for each in siblings if each.candidate is None)
    if waiting:
        yield f"Without results yet, its part of the error rate kept: {listed(waiting)}."


def _chosen(found: Findings) -> str:
    return "it" if found.chosen is None else str(found.chosen.policy.candidate)


def _is_open(one: Certificate) -> bool:
    return not (one.certified or one.shown_below or one.not_needed) and one.excluded is None


def _money(found: Findings) -> Iterator[str]:
    """Yield what the certified policies cost."""
    for option in found.options:
        saving = option.cost.saving_per_request_usd
        label = _label(option)
        if not option.priced:
            yield f"{label} is certified, price unknown ({saving.reason}): without one, no reason to switch."
        elif option.costs_more:
            yield f"{label} is certified and costs more: it saves {dollars(saving)}."
        elif not option.saves:
            yield f"{label} is certified, but not shown to be cheaper: it saves {dollars(saving)}."
        else:
            month = option.cost.saving_per_month_usd
            monthly = "" if month.value is None else f", {dollars(month)}"
            yield f"{label} saves {dollars(saving)}{monthly}{_in_blocks(found)}."
    yield from _stated(found)
    for option in found.options:
        if option.choosing:
            yield (
                f"That {_label(option)} costs less was chosen on {count(option.choosing, 'sample')}; what it "
                f"saves was measured on the others."
            )
    savings = [option.cost.saving_per_request_usd for option in found.options]
    levels = {each.level for each in savings if each.low is not None}
    if levels and max(levels) > 0.95:
        yield (
            f"Intervals of costs are at {percent(max(levels))}, since several policies are compared: "
            f"any of them is wrongly called cheaper in at most {percent(limits.SAVING_ALPHA)} of decisions."
        )
    beaten = closed_beats_open(found.view, found.options)
    if beaten is not None:
        closed, rival = beaten
        against = (
            f"cheaper than {rival}, the best open one"
            if rival
            else "and no open model holds the floor for less"
        )
        yield f"A closed model beats every open one: {closed} is the cheapest certified, {against}."
    if found.chosen is not None and only_open_candidates(found.view):
        yield f"No closed model was compared: a cheaper model of {found.incumbent}'s provider may pass too."


def _stated(found: Findings) -> Iterator[str]:
    """Yield which costs nobody measured, and where list prices were read."""
    if not any(option.cost.saving_per_request_usd.method == "stated" for option in found.options):
        return
    settings = found.view.settings
    yield f"Costs of {listed(tuple(settings.stated_cost_usd))} are stated, not measured."
    for fact in settings.facts:
        if fact.model in settings.stated_cost_usd and fact.price_source:
            yield f"{fact.model} is taken to cost {fact.price_source}."


def _in_blocks(found: Findings) -> str:
    """Return on how many paired samples, and one in how many, where the incumbent answered fewer."""
    view = found.view
    blocks = view.design.run.blocks
    if blocks is None or blocks.size == 1:
        return ""
    n = int((view.asked(view.evidence.incumbent) & ~view.unpaired).sum())
    return f" (N = {n:,} samples that {found.incumbent} answered too, one in K = {blocks.size})"


def _label(option: Option) -> str:
    policy = option.policy
    return f"{policy.candidate} on {'everything' if policy.kind == 'switch' else listed(policy.segments)}"


def _limits(found: Findings) -> Iterator[str]:
    """Yield the requirements that are missed or not known."""
    for check in found.checks:
        if check.met is not True:
            state = "misses" if check.met is False else "is not known to meet"
            yield f"{check.candidate} {state} {check.name}: {check.seen}, wanted {check.wanted}."


def _doubts(found: Findings) -> Iterator[str]:
    """Yield what guards warn of; prices are told of elsewhere."""
    for guard in found.guards:
        if guard.status == "warn" and guard.name != "price-known":
            yield f"The guard {_place(guard)} warns: {guard.seen}."


def would_change(found: Findings) -> tuple[str, ...]:
    """Return what would change the verdict, each in one sentence."""
    return tuple(dict.fromkeys(_changes(found)))


def _changes(found: Findings) -> Iterator[str]:
    for name in found.missing:
        yield f"{name[:1].upper()}{name[1:]}, imported as evidence, which is not supported yet."
    for guard in _first_failures(found):
        yield f"{_place(guard)}: {guard.advice.rstrip('?')}{'?' if guard.advice.endswith('?') else '.'}"
    yield from _evidence_wanted(found)
    for option in found.options:
        if not option.priced:
            yield f"A price for {' and '.join(_unpriced(found, option))}."
    for check in found.checks:
        if check.met is not True:
            yield f"{check.candidate} shown to meet {check.name} ({check.wanted})."
    yield from _margins(found)


def _unpriced(found: Findings, option: Option) -> tuple[str, ...]:
    """Return which of an option's two models has no known price; both where each is known in part."""
    models = (option.policy.incumbent, str(option.policy.candidate))
    warned = {
        guard.candidate or found.incumbent
        for guard in found.guards
        if guard.name == "price-known" and guard.status == "warn"
    }
    return tuple(model for model in models if model in warned) or models


def _evidence_wanted(found: Findings) -> Iterator[str]:
    """Yield what further evidence would settle an undecided verdict."""
    best = found.headline
    if found.chosen is not None or found.name != "undecided" or best is None:
        return
    if found.advice is not None:
        words = found.advice.words.replace(" would probably ", ", which would probably ")
        yield f"{words[:1].upper()}{words[1:]}, if the truth is what was seen so far."
        if found.view.order is None and not found.advice.labels:
            alpha = found.view.settings.alpha
            yield (
                "Testing again adds a second chance of a wrong verdict. Two tests stay within "
                f"{percent(alpha)} together where both had `--alpha {alpha / 2:g}`. A run by "
                "`crossgrade evaluate` plans for more samples by itself."
            )
    elif best.retention.labels is not None and best.retention.labels < LEAST_LABELS:
        missing = LEAST_LABELS - best.retention.labels
        yield f"People's scores of {count(missing, 'more sample')}, drawn at random."
    elif best.retention.reason is not None:
        yield f"More evidence: {best.retention.reason}."
    elif not found.options and best.excluded is None:
        yield "Many more samples: the candidate is close to the floor."


def _first_failures(found: Findings) -> list[Guard]:
    """Return the first failed guard of each part and candidate: what one fault sets off together."""
    firsts: dict[str | None, Guard] = {}
    for guard in found.guards:
        if guard.status == "fail" and (guard.segment is None or guard.segment not in firsts):
            firsts[guard.segment if guard.segment is not None else f"\0{len(firsts)}"] = guard
    return list(firsts.values())


def _place(guard: Guard) -> str:
    return f"{guard.name} on {guard.segment}" if guard.segment else guard.name


def _margins(found: Findings) -> Iterator[str]:
    """Yield how far price and floor are from turning the verdict."""
    if found.chosen is not None:
        cost = found.chosen.cost
        total, saved = cost.per_request_usd.value, cost.saving_per_request_usd.value
        if total is not None and saved is not None and total > 0:
            now, then = (dollars(Estimate(value=each)) for each in (total, total + saved))
            yield (
                f"A price of {found.chosen.policy.candidate} that brings the policy from {now} "
                f"to more than {then} a request."
            )
        yield "Traffic that is not like these samples, or a new version of either model."
    best = found.headline
    if best is None or best.retention.low is None or best.excluded is not None:
        return
    low = bound(best.retention.low, best.retention.floor, up=False)
    if best.certified and best.retention.low < 1:
        yield f"A floor above {low} on the whole."
    elif best.shown_below:
        yield f"A floor of {low} or lower on the whole, or a better candidate."
