"""A verdict in at most ten words with one number: what a reader takes away who reads nothing else."""

from crossgrade.decide import PolicyCost, Verdict, shown_first
from crossgrade.report import _format as fmt

_LONGEST_NAME = 36


def headline(verdict: Verdict) -> str:
    """Return the verdict's headline; names of models are cut where they are long."""
    if verdict.name in {"switch", "split"}:
        return _move(verdict)
    if verdict.name == "invalid":
        failed = sum(guard.status == "fail" for guard in verdict.guards)
        return f"Invalid: {fmt.count(failed, 'check')} of the evidence failed"
    certified = _certified_cost(verdict)
    if verdict.name == "keep":
        return f"Keep {_name(verdict.incumbent)}: {_why_keep(verdict, certified)}"
    if certified is not None:
        return f"{_name(certified.policy.candidate)} is certified, but {_missing(verdict, certified)}"
    return f"Undecided: {_open(verdict)}"


def _move(verdict: Verdict) -> str:
    name, logged = _name(verdict.policy.candidate), verdict.settings.logged_traffic
    represented = 1.0 if logged is None or logged.shown_share is None else logged.shown_share
    if verdict.name == "split" or represented < 1:
        moved = represented * sum(
            each.share
            for each in verdict.certificates
            if each.candidate == verdict.policy.candidate
            and each.segment in (verdict.policy.segments or (None,))
        )
        return f"Move {fmt.percent(moved, 0 if moved >= 0.01 else 2)} of requests to {name}"
    cost = next((each for each in verdict.costs if each.policy == verdict.policy), None)
    month, share = verdict.saving_per_month_usd, None if cost is None else cost.saving_share.value
    if month is not None and month.value is not None:
        return f"Switch to {name}: saves {fmt.money(month.value)} a month"
    if share is not None:
        return f"Switch to {name}: each request costs {fmt.percent(share, 0)} less"
    return f"Switch to {name}"


def _why_keep(verdict: Verdict, certified: PolicyCost | None) -> str:
    if verdict.settings.requirements.evidence != "plain":
        return f"evidence for {verdict.settings.requirements.evidence} work is missing"
    missed = [check for check in verdict.requirements if check.met is False]
    if certified is not None and not any(c.candidate == certified.policy.candidate for c in missed):
        return f"{_name(certified.policy.candidate)} costs {_how_much_more(certified)}"
    best = shown_first(verdict.certificates, None, verdict.costs)
    if best is not None and best.shown_below and best.retention.value is not None:
        return f"{_name(best.candidate)} keeps only {fmt.percent(best.retention.value)} of its quality"
    models = {check.candidate for check in missed}
    if len(models) == 1:
        return f"{_name(models.pop())} misses {fmt.count(len(missed), 'requirement')}"
    if models:
        return f"{len(models)} candidates miss a requirement"
    return "nothing cheaper is certified"


def _how_much_more(cost: PolicyCost) -> str:
    share = cost.saving_share.value
    if cost.saving_per_request_usd.value == 0:
        return "the same"
    return "more" if share is None or abs(share) < 0.005 else f"{fmt.percent(-share, 0)} more"


def _missing(verdict: Verdict, cost: PolicyCost) -> str:
    """Return what a certified policy lacks to become the verdict."""
    if cost.saving_per_request_usd.value is None:
        return "its price is unknown"
    unknown = [c for c in verdict.requirements if c.met is None and c.candidate == cost.policy.candidate]
    if unknown:
        return f"{fmt.count(len(unknown), 'requirement')} {'is' if len(unknown) == 1 else 'are'} unknown"
    return "not shown to be cheaper"


def _open(verdict: Verdict) -> str:
    best = shown_first(verdict.certificates, None, verdict.costs)
    if best is not None and best.excluded is not None:
        failed = {guard.segment for guard in verdict.guards if guard.status == "fail" and guard.segment}
        what = "group" if verdict.groups else "segment"
        if failed:
            return f"{fmt.count(len(failed), what)} failed a check of the evidence"
        return "a check of the evidence failed"
    more = needed_of(verdict, labels="labels")
    if more is not None:
        return f"about {more} needed{needed_for(verdict)}"
    if best is None or best.retention.value is None:
        return "too little can be measured"
    return f"{_name(best.candidate)} keeps {fmt.percent(best.retention.value)} so far"


def needed_of(verdict: Verdict, *, labels: str) -> str | None:
    """Return `1,200 more samples`, `labels` or audits, whatever would settle the verdict (None: unknown)."""
    amounts = {
        "samples": verdict.needed,
        labels: verdict.needed_labels,
        "audits": verdict.needed_audits,
    }
    return next((f"{each:,} more {what}" for what, each in amounts.items() if each is not None), None)


def needed_for(verdict: Verdict) -> str:
    """Return ` for NAME`, the candidate that more samples would settle, if there are several candidates."""
    several = len(verdict.candidates) > 1
    asked = (each.candidate for each in verdict.would_change if each.code in {"more-samples", "more-labels"})
    candidate = next(asked, None) if several else None
    return "" if candidate is None else f" for {_name(candidate)}"


def _certified_cost(verdict: Verdict) -> PolicyCost | None:
    """Return the cost of the first certified policy that moves anything."""
    wholes = {one.candidate for one in verdict.certificates if one.certified and one.segment is None}
    for cost in verdict.costs:
        if cost.policy.kind == "split" or (cost.policy.kind == "switch" and cost.policy.candidate in wholes):
            return cost
    return None


def _name(model: str | None) -> str:
    return fmt.short(model or "the incumbent", _LONGEST_NAME)
