"""What would change the verdict, in plain words."""

from collections.abc import Iterator

from crossgrade.decide._advice import Advice, audits_settle, others_than
from crossgrade.decide._costs import rare_calls
from crossgrade.decide._incumbent_reasons import end_changes
from crossgrade.decide._label_reasons import again_changes, first_changes, label_changes
from crossgrade.decide._options import Option
from crossgrade.decide._reasons import first_failures, place, remark
from crossgrade.decide._records import Certificate, Remark
from crossgrade.decide._requirements import AGENT_TRIALS, TERMS
from crossgrade.decide._sentence import Findings, too_little
from crossgrade.decide._trial_changes import more_tasks, trial_changes, trials_price
from crossgrade.decide._words import bound, dollars, error_rate
from crossgrade.domain import Estimate
from crossgrade.stats import LEAST_FLOOR, Retention


def would_change(found: Findings) -> tuple[Remark, ...]:
    """Return what would change the verdict, each in one sentence."""
    return tuple(dict.fromkeys(_changes(found)))


def _changes(found: Findings) -> Iterator[Remark]:
    for name in found.missing:
        if name != AGENT_TRIALS:
            what = f"{name[:1].upper()}{name[1:]}"
            yield Remark("evidence-imported", f"{what}, imported as evidence, which is not supported yet.")
    yield from trial_changes(found)
    for guard in first_failures(found):
        advice = f"{guard.advice.rstrip('?')}{'?' if guard.advice.endswith('?') else '.'}"
        yield remark(guard, "guard-repaired", f"{place(guard)}: {advice}", guard=guard.name)
    yield from end_changes(found)
    yield from _evidence_wanted(found)
    for option in found.options:
        if not option.priced:
            yield remark(option, "price-known", f"A price for {' and '.join(_unpriced(found, option))}.")
    for check in found.checks:
        if check.met is not True and check.name == TERMS:
            yield Remark(
                "permission-stated",
                f"Permission to use {check.candidate}, stated under `team.permitted` with your reason.",
                candidate=check.candidate,
                requirement=check.name,
            )
        elif check.met is False or (check.met is None and check.name != AGENT_TRIALS):
            yield Remark(
                "requirement-met",
                f"{check.candidate} shown to meet {check.name} ({check.wanted}).",
                candidate=check.candidate,
                requirement=check.name,
            )
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


def _evidence_wanted(found: Findings) -> Iterator[Remark]:
    """Yield what further evidence would settle an undecided verdict."""
    best, advice = found.open_one, found.advice
    if found.chosen is not None or found.name != "undecided" or best is None:
        return
    labels = found.view.settings.labels
    if labels is not None and labels.left:
        yield from label_changes(labels, found.view.evidence.workload)
    elif advice is not None:
        yield from _advised(found, advice)
    elif best.retention.judge_alone:
        yield from first_changes(found, best)
    elif best.retention.reason is not None and found.view.evidence.incumbent.runs is not None:
        yield remark(best, "more-evidence", more_tasks(found, str(best.candidate)))
    elif best.retention.reason is not None:
        where = "" if best.segment is None else f" on {best.segment}"
        others = others_than(found.view, best.retention)
        new = f" {others}" if others else ""
        yield remark(best, "more-evidence", f"More samples{new}{where}: {best.retention.reason}.")
    elif best.given_up:
        yield remark(
            best,
            "given-up-samples",
            f"The planned {found.view.wanted}s that were not asked: "
            f"`crossgrade evaluate {found.view.evidence.workload} --resume RUN` asks them.",
        )
    elif not found.options and best.excluded is None:
        if audits_settle(found.view, best):
            yield _audited(best, f"Many more audits in service: {too_little(found, best, 'how many')}.")
        else:
            text = f"Many more {found.view.wanted}s: {too_little(found, best, 'how many')}."
            yield remark(best, "many-more-samples", f"{text}{trials_price(found, str(best.candidate))}")


def _advised(found: Findings, advice: Advice) -> Iterator[Remark]:
    """Yield how many more samples, labels or audits would probably settle it."""
    words = advice.words.replace(" would probably ", ", which would probably ")
    if advice.kind == "audits":
        one = found.certificate(advice.candidate, advice.segment)
        yield _audited(one, f"{words[:1].upper()}{words[1:]}, if the truth is what was seen so far.")
        return
    pairs = "" if advice.paired is None else f" {found.incumbent} answers about {advice.paired:,} of them."
    sealed = found.view.settings.baseline is not None
    if sealed:
        pairs = f" They must be fresh rows, sealed while {found.incumbent} can be asked."
    elif advice.planned is not None:
        pairs += f" A run plans for them where `planned` is larger by about {advice.planned:,}."
    yield Remark(
        "more-labels" if advice.kind == "labels" else "more-samples",
        f"{words[:1].upper()}{words[1:]}, if the truth is what was seen so far.{pairs}"
        f"{trials_price(found, advice.candidate, advice.more)}",
        candidate=advice.candidate,
        segments=() if advice.segment is None else (advice.segment,),
    )
    labels = found.view.settings.labels
    if advice.kind == "labels" and labels is not None:
        yield from again_changes(labels, found.view.evidence.workload)
    if not found.view.goes_on and advice.kind == "samples" and not sealed:
        alpha = found.view.settings.alpha
        yield Remark(
            "testing-again",
            "Testing again adds a second chance of a wrong verdict. Two tests stay within "
            f"{error_rate(alpha)} together where both had `--alpha {alpha / 2:g}`. A run by "
            "`crossgrade evaluate` plans for more samples by itself.",
        )


def _audited(best: Certificate, amount: str) -> Remark:
    """Return how many audits a threshold of a growing route takes, and how to begin them."""
    return remark(
        best,
        "more-audits",
        f"{amount} A route with `grow: true` can begin with this verdict (`crossgrade route apply`). Nothing "
        f"moves there yet, and {best.candidate} is audited.",
    )


def _margins(found: Findings) -> Iterator[Remark]:
    """Yield how far price and floor are from turning the verdict."""
    if found.chosen is not None:
        cost = found.chosen.cost
        total, saved = cost.per_request_usd.value, cost.saving_per_request_usd.value
        if total is not None and saved is not None and total > 0:
            now, then = (dollars(Estimate(value=each)) for each in (total, total + saved))
            yield remark(
                found.chosen,
                "price-above",
                f"A price of {found.chosen.policy.candidate} at which the policy costs more than {then} "
                f"a request (now {now}).",
            )
        rare = rare_calls(found.view, cost)
        if rare is not None:
            multiple = f"{rare.multiple:,.0f}" if rare.multiple >= 10 else f"{rare.multiple:.1f}"
            yield remark(
                found.chosen,
                "rare-costs",
                f"Calls of {found.chosen.policy.candidate} rarer than 1 in {rare.one_in:,.0f} that cost more "
                f"than {multiple} times as much as its mean call.",
            )
        yield Remark(
            "other-traffic", "Traffic that is not like these samples, or a new version of either model."
        )
    else:
        yield from _lower_prices(found)
    best = found.headline
    if best is None or best.excluded is not None:
        return
    for claim in best.claims:
        whole = best.segment is None or claim is best.whole
        yield from _floor_margin(
            found, best, claim, "for the whole workload" if whole else f"on {best.segment}"
        )


def _lower_prices(found: Findings) -> Iterator[Remark]:
    """Yield the price from which certified policies that are not shown to save anything would."""
    for option in found.options:
        total, saved = option.cost.per_request_usd.value, option.cost.saving_per_request_usd.value
        if total is not None and saved is not None and not option.saves and not option.unmet:
            now, then = (dollars(Estimate(value=each)) for each in (total, total + saved))
            yield remark(
                option,
                "price-below",
                f"A price of {option.policy.candidate} at which the policy is shown to cost less than {then} "
                f"a request (now {now}).",
            )


def _floor_margin(found: Findings, best: Certificate, claim: Retention, where: str) -> Iterator[Remark]:
    """Yield how far one claim is from its floor, where that decides."""
    if claim.low is None:
        return
    low = bound(claim.low, claim.floor, up=False)
    if best.certified and claim.low < 1 and found.name != "keep":
        yield remark(best, "floor-above", f"A floor above {low} {where}.")
    elif claim.outcome == "fail" and float(low) < LEAST_FLOOR:
        yield remark(best, "better-candidate", f"A better candidate: no floor is low enough {where}.")
    elif claim.outcome == "fail":
        yield remark(best, "floor-at-most", f"A floor of {low} or lower {where}, or a better candidate.")
