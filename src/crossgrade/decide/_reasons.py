"""Why the verdict is what it is, in plain words.

`docs/reference/verdict.md` lists the codes, as they stand here and in `_changes.py`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._costs import divided_rows
from crossgrade.decide._guards import failing_parts
from crossgrade.decide._hypotheses import fixed_test
from crossgrade.decide._incumbent_reasons import end_reasons, thrift_reasons
from crossgrade.decide._label_reasons import label_reasons
from crossgrade.decide._options import Option, closed_beats_open, only_open_candidates
from crossgrade.decide._records import Certificate, Guard, Remark
from crossgrade.decide._requirements import AGENT_TRIALS, TERMS
from crossgrade.decide._router_reasons import router_reasons
from crossgrade.decide._sentence import Findings, kept_whole, without_segments
from crossgrade.decide._tuning_reasons import tuning_reasons
from crossgrade.decide._uncounted import uncounted_remarks
from crossgrade.decide._words import confidence, count, dollars, error_rate, listed, percent, retained
from crossgrade.domain import Estimate

_MOST_FIELDS = 5
"""Fields that keep requests from another API, as far as a reason names them."""


def reasons(found: Findings) -> tuple[Remark, ...]:
    """Return why the verdict is what it is, the loudest first."""
    return tuple(
        dict.fromkeys(
            [
                *_warnings(found),
                *label_reasons(found),
                *router_reasons(found),
                *_quality(found),
                *_looks(found),
                *_not_answered(found),
                *_family(found),
                *_baseline(found),
                *tuning_reasons(found),
                *_money(found),
                *thrift_reasons(found),
                *end_reasons(found),
                *_limits(found),
                *_doubts(found),
            ]
        )
    )


def remark(
    about: Certificate | Guard | Option,
    code: str,
    text: str,
    *,
    guard: str | None = None,
) -> Remark:
    """Return a remark about the candidate and the segments of a certificate, a guard or an option."""
    if isinstance(about, Option):
        candidate, segments = about.policy.candidate, about.policy.segments
    else:
        candidate, segments = about.candidate, () if about.segment is None else (about.segment,)
    return Remark(code, text, candidate=candidate, segments=segments, guard=guard)


def _warnings(found: Findings) -> Iterator[Remark]:
    """Yield what must not be overlooked."""
    if found.missing:
        kind = found.view.settings.requirements.evidence
        yield Remark(
            "evidence-missing",
            f"Being {kind}, it stays with {found.incumbent} until there is evidence: "
            f"{listed(found.missing)}. "
            + "".join(f"{each}. " for each in dict.fromkeys(_other_trials(found)))
            + (
                "Single answers say little about whole runs, and other teams' scores are of other agents."
                if kind == "agentic"
                else "Importing such evidence is not supported yet."
            ),
        )
    if found.chosen is not None and found.chosen.policy.kind == "switch":
        for one in found.certificates:
            if one.candidate == found.chosen.policy.candidate and one.segment and one.shown_below:
                yield remark(
                    one,
                    "segment-below-the-floor",
                    f"WARNING: on {one.segment} ({percent(one.share)} of the traffic) {one.candidate} "
                    f"keeps only {retained(one.retention, unit=found.view.unit)}, "
                    "shown to be below the floor: "
                    "the whole passes, this part does not.",
                )
    if found.gone_on is not None:
        yield Remark(
            "incumbent-ended",
            f"{found.incumbent} ended on {found.gone_on}, so it cannot be kept: where it would answer, the "
            "route's `successor` does, which no certificate covers.",
        )
    yield from _terms(found)
    yield from _field(found)
    for guard in first_failures(found):
        yield remark(
            guard, "guard-failed", f"The guard {place(guard)} failed: {guard.seen}.", guard=guard.name
        )
    yield from _rests(found)


def _other_trials(found: Findings) -> Iterator[str]:
    """Yield which runs there are instead of those that would count."""
    for fact in found.view.settings.facts:
        if fact.no_trials is not None:
            yield fact.no_trials


def _terms(found: Findings) -> Iterator[Remark]:
    """Yield what licences and hosts say to the team, forbidden uses first."""
    for clause in found.view.settings.clauses:
        model, words = clause.model, clause.words
        if clause.severity == "forbidden":
            told = Remark("use-forbidden", f"WARNING: you may not use {model}. {words}")
        elif clause.severity == "unknown":
            told = Remark("use-unknown", f"It is open whether you may use {model}. {words}")
        elif clause.severity == "permitted":
            told = Remark(
                "use-permitted", f"{model} is used by your own permission ({clause.because}). {words}"
            )
        else:
            told = Remark("use-conditional", f"A condition of using {model}: {words}")
        yield replace(told, candidate=model, requirement=clause.code)


def _field(found: Findings) -> Iterator[Remark]:
    """Yield how the candidates were found, if none was named."""
    every = found.view.settings.every_model
    if every is None:
        return
    candidates = len(found.view.evidence.candidates)
    shared = f"are tested and share the error rate of {error_rate(found.view.settings.alpha)}"
    yield Remark(
        "every-model-tested",
        f"No candidate was named, so {count(candidates, 'other model')} of the results "
        + ("is tested." if candidates == 1 else f"{shared}. Fewer candidates need fewer samples."),
    )
    if every.set_aside:
        costs = (f"{model} ({_request_usd(usd)})" for model, usd in every.set_aside.items())
        yield Remark(
            "set-aside",
            f"Not tested, because a request costs more than the {_request_usd(every.incumbent_usd)} of "
            f"{found.incumbent} at list prices and at the same tokens: {listed(tuple(costs))}.",
        )


def _request_usd(usd: float | None) -> str:
    return dollars(Estimate(value=usd))


def _rests(found: Findings) -> Iterator[Remark]:
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
            rest = retained(fixed_test(view, model.model, rows).result(), unit=view.unit)
            yield Remark(
                "without-failed-groups",
                f"Without {listed(tuple(broken))}, {model.model} keeps {rest}.",
                candidate=model.model,
            )


def _quality(found: Findings) -> Iterator[Remark]:
    """Yield how each hypothesis came out."""
    for one in found.certificates:
        if not found.view.thresholds or one.segment is None or _is_chosen(found, one):
            yield from _how(found, one)
            if one.segment is None:
                yield from uncounted_remarks(found, one.candidate)
    for candidate in found.view.evidence.candidates:
        parts = tuple(
            one.segment
            for one in found.certificates
            if one.candidate == candidate.model
            and one.segment
            and _is_open(one)
            and not found.view.thresholds
        )
        if parts:
            whose = f" for {candidate.model}" if len(found.view.evidence.candidates) > 1 else ""
            yield Remark(
                "still-open",
                f"Still open{whose}: {listed(parts)}.",
                candidate=candidate.model,
                segments=parts,
            )
        needless = tuple(
            one.segment
            for one in found.certificates
            if one.candidate == candidate.model and one.segment and one.not_needed
        )
        if needless:
            yield Remark(
                "not-needed",
                f"{candidate.model} on {listed(needless)}: not needed, because {_chosen(found)} is certified "
                "on the whole.",
                candidate=candidate.model,
                segments=needless,
            )


def _how(found: Findings, one: Certificate) -> Iterator[Remark]:
    """Yield how one hypothesis came out; of an open segment nothing, it is listed."""
    where = _where(found, one)
    keeps = retained(one.retention, unit=found.view.unit)
    kept = f"{one.candidate} keeps {keeps} on {where}{kept_whole(found, one)}"
    if not one.tested:
        what = "what a router moves is tested" if found.view.thresholds else "only segments may move"
        yield remark(one, "not-tested", f"{kept}; not tested there: {what}.")
    elif one.excluded is not None:
        yield _excluded(found, one, kept)
    elif one.certified:
        yield remark(one, "certified", f"{kept}: certified (adjusted p = {one.adjusted_p:.2g}).")
    elif one.shown_below:
        p = f"{one.adjusted_p_below:.2g}"
        yield remark(one, "below-the-floor", f"{kept}: shown to be below the floor (adjusted p = {p}).")
    elif one.segment is not None:
        return
    elif one.not_needed:
        yield remark(one, "not-needed", f"{kept}; not needed: it costs no less than what is certified.")
    elif one.given_up:
        yield remark(one, "given-up", f"{kept}: given up, it would hardly have passed at the planned end.")
    else:
        yield remark(one, "undecided", f"{kept}: neither certified nor shown to be below the floor.")


def _excluded(found: Findings, one: Certificate, kept: str) -> Remark:
    """Return why a guard keeps a hypothesis from being certified."""
    named = any(one.excluded == guard.name for guard in found.guards)  # or: every segment failed one
    if one.segment is not None:
        text = f"{one.segment} stays with {found.incumbent}: {one.excluded} failed there."
    else:
        part = " on part of it" if any(one.excluded == g.name and g.segment for g in found.guards) else ""
        text = f"{kept}; not certified there, because {one.excluded} failed{part}."
    return remark(one, "excluded", text, guard=one.excluded if named else None)


def _where(found: Findings, one: Certificate) -> str:
    """Return the segment, or the whole workload, without the segments that a guard took out of it."""
    if one.segment is not None:
        return one.segment
    return f"the whole workload{without_segments(found, one.candidate)}"


def _looks(found: Findings) -> Iterator[Remark]:
    """Yield why evidence for mode `anytime` may not be tested again, where only a run that goes on may be."""
    view, evidence = found.view, found.view.evidence
    if view.settings.mode != "anytime" or view.goes_on:
        return
    if view.order is not None:
        yield Remark(
            "shuffled-once",
            "These results have no recorded order, so the seed shuffled them for the bets. More results are "
            "shuffled anew, for another test, with its own chance of a wrong verdict.",
        )
        return
    why = "rows that ask the same are one observation"
    if evidence.judge is not None:
        why = "people's scores correct a judge's at the end"
    elif evidence.cluster is not None:
        why = "the samples of a cluster were not asked together"
    yield Remark(
        "tested-once",
        f"The mode is `anytime`, and these samples were tested once, at the end: {why}. Another test has its "
        "own chance of a wrong verdict.",
    )


def _not_answered(found: Findings) -> Iterator[Remark]:
    """Yield which requests a candidate may not answer, and how that is known."""
    view = found.view
    for model in view.settings.across:
        bound, fields = ~view.carried(model), view.evidence.uncarried
        counts = Counter([] if fields is None else [str(each) for each in fields[bound]])
        named = listed(tuple(f"`{name}` ({n:,})" for name, n in counts.most_common(_MOST_FIELDS)))
        what = (
            f"All {view.evidence.n:,} samples can be carried to it."
            if not counts
            else f"{int(bound.sum()):,} of {view.evidence.n:,} samples ({percent(view.share_of(bound))} of "
            f"the requests) cannot be carried to it, because of {named}. They are not in its test, and such "
            f"requests stay with {found.incumbent}."
        )
        yield Remark(
            "other-api",
            f"{model} does not speak the clients' API, {view.settings.client_api}. {what}",
            candidate=model,
        )
    for model, most in view.settings.max_bytes.items():
        inside = int(view.within(model).sum())
        yield Remark(
            "length-limit",
            f"{model} is tested, and would answer, only where a request has at most {most:,} bytes: "
            f"{inside:,} of {view.evidence.n:,} samples; longer ones stay with {found.incumbent}.",
            candidate=model,
        )
    for each in view.settings.limit_sources:
        yield Remark("length-limit-source", f"The length limit is from {each}.")


def _family(found: Findings) -> Iterator[Remark]:
    """Yield who shares the error rate."""
    siblings = found.view.settings.siblings
    others = tuple(dict.fromkeys(each.workload for each in siblings))
    if others:
        yield Remark(
            "error-rate-shared",
            f"The error rate is shared with {listed(others)}: one correction over all their hypotheses.",
        )
    waiting = tuple(each.workload for each in siblings if each.candidate is None)
    if waiting:
        yield Remark(
            "error-rate-kept", f"Without results yet, its part of the error rate kept: {listed(waiting)}."
        )


def _baseline(found: Findings) -> Iterator[Remark]:
    """Yield which sealed answers stand for the incumbent's, and what is left of their error rate."""
    baseline = found.view.settings.baseline
    if baseline is None:
        return
    which = listed(
        tuple(
            f"{name} is number {number}"
            + (f" of {baseline.planned} planned" if number <= baseline.planned else ", after those planned")
            for name, number in baseline.numbers.items()
        )
    )
    yield Remark(
        "sealed-baseline",
        f"The answers of {found.incumbent} are those of {baseline.answers:,} samples sealed on "
        f"{baseline.sealed_at:%Y-%m-%d} ({baseline.digest[:19]}…). All candidates that are ever compared "
        f"with them share an error rate of {error_rate(baseline.alpha)}: {which}, and "
        f"{error_rate(float(f'{baseline.left:.3g}'))} is left for others. It holds for candidates that were "
        "not tuned to these samples.",
    )
    if baseline.seen_before:
        yield Remark(
            "samples-seen",
            f"Before these samples were sealed, {listed(baseline.seen_before)} had answered some of them, "
            "outside of this error rate. It does not cover what was learnt from that.",
        )


def _is_chosen(found: Findings, one: Certificate) -> bool:
    policy = None if found.chosen is None else found.chosen.policy
    return policy is not None and one.candidate == policy.candidate and one.segment in policy.segments


def _chosen(found: Findings) -> str:
    return "it" if found.chosen is None else str(found.chosen.policy.candidate)


def _is_open(one: Certificate) -> bool:
    return not (one.certified or one.shown_below or one.not_needed) and one.excluded is None


def _money(found: Findings) -> Iterator[Remark]:
    """Yield what the certified policies cost."""
    for option in found.options:
        yield _saving(found, option)
        owed = option.cost.owed_usd_per_month
        if owed:
            month = dollars(Estimate(value=abs(owed), unit="USD/month"))
            less = "less" if owed > 0 else "more"
            text = f"{_label(option)}: because of your contracts it saves {month} {less} than prices say."
            yield remark(option, "contract-owed", text)
    yield from _stated(found)
    for option in found.options:
        yield from _cold_cache(found, option)
        if option.choosing:
            yield remark(
                option,
                "saving-on-other-samples",
                f"{_label(option)}: these segments were chosen on {count(option.choosing, 'sample')}, and "
                "what they save was measured on the others.",
            )
    savings = [option.cost.saving_per_request_usd for option in found.options]
    measured = [each for each in savings if each.low is not None]
    levels = {each.level for each in measured}
    if levels and max(levels) > 0.95:
        fewest = min(each.n or 0 for each in measured)
        yield Remark(
            "several-policies",
            f"Intervals of costs are at {confidence(max(levels))}, since several policies are compared: "
            f"any of them is wrongly called cheaper in at most {percent(limits.SAVING_ALPHA)} of decisions, "
            f"as long as no call rarer than about 3 in {fewest:,} costs many times as much.",
        )
    beaten = closed_beats_open(found.view, found.options)
    if beaten is not None:
        closed, rival = beaten
        against = (
            f"cheaper than {rival}, the best open one"
            if rival
            else "and no open model holds the floor for less"
        )
        yield Remark(
            "closed-beats-open",
            f"A closed model beats every open one: {closed} is the cheapest certified, {against}.",
            candidate=closed,
        )
    if found.chosen is not None and only_open_candidates(found.view):
        yield Remark(
            "no-closed-model",
            f"No closed model was compared: a cheaper model of {found.incumbent}'s provider may pass too.",
        )


def _saving(found: Findings, option: Option) -> Remark:
    """Return what a certified policy saves, or why that is no reason to move."""
    saving, label = option.cost.saving_per_request_usd, _label(option)
    if not option.priced:
        return remark(
            option,
            "price-unknown",
            f"{label} is certified, but its cost is not known ({saving.reason}), "
            "so there is no reason to switch yet.",
        )
    saves = f"it saves {dollars(saving)}{_in_blocks(found)}"
    if option.costs_more:
        more = f"{label} is certified and {option.costs_what}"
        return remark(option, "costs-more", f"{more}: {saves}." if saving.value else f"{more}.")
    if not option.saves:
        return remark(
            option, "not-shown-cheaper", f"{label} is certified, but not shown to be cheaper: {saves}."
        )
    month = option.cost.saving_per_month_usd
    monthly = "" if month.value is None else f", {dollars(month)}"
    return remark(option, "saves", f"{label} saves {dollars(saving)}{monthly}{_in_blocks(found)}.")


def _cold_cache(found: Findings, option: Option) -> Iterator[Remark]:
    """Yield what requests cost whose conversation changes its model, or why that is not counted."""
    view, policy, usd = found.view, option.policy, option.cost.cold_cache_usd
    divided = divided_rows(view, policy)
    if usd is not None:
        share, amount = percent(view.share_of(divided)), dollars(Estimate(value=usd, unit="USD/request"))
        yield remark(
            option,
            "cold-cache",
            f"{_label(option)}: {share} of the requests are priced with nothing read from a cache, because "
            f"their conversation is divided between the models. It adds {amount}.",
        )
    may_return = not view.within(policy.candidate).all()
    if usd is None and divided.any():
        why = "it is not known what was read from a cache"
    elif may_return and view.evidence.cluster is None:
        why = "the samples do not name their conversations"
    elif policy.plain_only:
        why = "no sample stands for requests that are not plain"
    else:
        return
    yield remark(
        option,
        "cold-cache-unknown",
        f"{_label(option)}: a conversation that changes its model midway is read anew, without a cache. What "
        f"that costs is not counted: {why}.",
    )


def _stated(found: Findings) -> Iterator[Remark]:
    """Yield which costs were not measured, and where list prices were read."""
    if not any(option.cost.saving_per_request_usd.method == "stated" for option in found.options):
        return
    settings = found.view.settings
    stated = listed(tuple(settings.stated_cost_usd))
    yield Remark(
        "cost-stated", f"Costs of {stated} were not measured. They are list prices, or stated by you."
    )
    for fact in settings.facts:
        if fact.model in settings.stated_cost_usd and fact.price_source:
            yield Remark("price-source", f"{fact.model} is taken to cost {fact.price_source}.")


def _in_blocks(found: Findings) -> str:
    """Return on how many paired samples, and one in how many, where the incumbent answered fewer."""
    blocks = found.view.blocks
    if blocks is None:
        return ""
    n = count(found.view.paired_n, "sample")
    return f" (N = {n} that {found.incumbent} answered too, one in K = {blocks.size})"


def _label(option: Option) -> str:
    policy = option.policy
    return f"{policy.candidate} on {'everything' if policy.kind == 'switch' else listed(policy.segments)}"


def _limits(found: Findings) -> Iterator[Remark]:
    """Yield the requirements that are missed or not known."""
    for check in found.checks:
        if check.met is not True and check.name != TERMS:
            state = "misses" if check.met is False else "is not known to meet"
            text = f"{check.candidate} {state} {check.name}: {check.seen}, wanted {check.wanted}."
            if check.name == AGENT_TRIALS:
                text = f"{check.candidate} is not {check.wanted}: {check.seen}."
            yield Remark(
                "requirement-missed" if check.met is False else "requirement-unknown",
                text,
                candidate=check.candidate,
                requirement=check.name,
            )


def _doubts(found: Findings) -> Iterator[Remark]:
    """Yield what guards warn of; prices are told of elsewhere."""
    for guard in found.guards:
        if guard.status == "warn" and guard.name != "price-known":
            yield remark(
                guard, "guard-warned", f"The guard {place(guard)} warns: {guard.seen}.", guard=guard.name
            )


def first_failures(found: Findings) -> list[Guard]:
    """Return the first failed guard of each part and candidate: what one fault sets off together."""
    firsts: dict[str | None, Guard] = {}
    for guard in found.guards:
        if guard.status == "fail" and (guard.segment is None or guard.segment not in firsts):
            firsts[guard.segment if guard.segment is not None else f"\0{len(firsts)}"] = guard
    return list(firsts.values())


def place(guard: Guard) -> str:
    """Return a guard's name, and the part that it looked at."""
    return f"{guard.name} on {guard.segment}" if guard.segment else guard.name
