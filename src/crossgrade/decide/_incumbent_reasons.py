"""What there is to say of the incumbent: a cheaper bill without a move, and its end with what follows it."""

from collections.abc import Iterator
from dataclasses import replace

from crossgrade.decide._options import Option
from crossgrade.decide._records import Remark
from crossgrade.decide._sentence import Findings
from crossgrade.decide._words import dollars, percent
from crossgrade.domain import Estimate
from crossgrade.pricing.thrift import ThriftShare, best_share


def thrift_reasons(found: Findings) -> Iterator[Remark]:
    """Yield how the chosen policy compares with paying less for the incumbent; nothing without a move."""
    ways, chosen = found.view.settings.thrifts, found.chosen
    if chosen is None or not ways:
        return
    best = best_share(ways)
    if best is not None:
        yield _against(found, chosen, best)
    unknown = [each for each in ways if each.share is None]
    if unknown:
        listed = ", ".join(f"{each.way} ({each.reason})" for each in unknown)
        yield Remark("thrift-unknown", f"What else {found.incumbent} could save is not known: {listed}.")
    compared = {each.model for each in found.view.evidence.candidates}
    incumbent_end = found.view.settings.incumbent_end
    if incumbent_end is not None and incumbent_end.retires_on is not None:
        return  # its own reasons say so, with the day
    for each in ways:
        if each.offer is not None and each.offer not in compared and each.share:
            yield Remark(
                "successor-not-compared",
                f"{each.offer}, a {each.way}, costs {percent(each.share)} less than {found.incumbent} "
                f"({each.needs}), and was not compared.",
            )


def _against(found: Findings, chosen: Option, best: ThriftShare) -> Remark:
    """Return what the policy saves against the best of these ways, or that it saves nothing."""
    saving, month = chosen.cost.beyond_thrift_per_request_usd, chosen.cost.beyond_thrift_per_month_usd
    assert saving is not None, "a known way has a saving to compare with"
    assert best.share is not None, "a known way has a share"
    needs = f", {best.needs}," if best.needs else ""
    bill = f"{found.incumbent} by {best.way}{needs} would cost {percent(best.share)} less without a move"
    shown = saving if month is None or month.value is None else month
    amount = dollars(shown)
    if saving.value is None:
        return remark(chosen, "thrift-saves", f"{bill}. What the move saves against it is {amount}.")
    if (saving.value if saving.high is None else saving.high) <= 0:
        return remark(
            chosen,
            "thrift-saves-more",
            f"WARNING: {bill}. Against that bill the move saves nothing. It costs {_cost(shown)} more.",
        )
    if (saving.value if saving.low is None else saving.low) <= 0:
        return remark(
            chosen,
            "thrift-may-save-more",
            f"WARNING: {bill}. Against that bill the move is not shown to save: it saves {amount}.",
        )
    return remark(chosen, "thrift-saves", f"{bill}. Against that bill the move saves {amount}.")


def remark(chosen: Option, code: str, text: str) -> Remark:
    """Return a remark about the chosen policy."""
    return Remark(code, text, candidate=chosen.policy.candidate, segments=chosen.policy.segments)


def _cost(saving: Estimate) -> str:
    """Return a saving below zero as what it costs."""
    value, low, high = (None if each is None else -each for each in (saving.value, saving.low, saving.high))
    return dollars(replace(saving, value=value, low=high, high=low))


def end_reasons(found: Findings) -> Iterator[Remark]:
    """Yield the incumbent's end, if one is known, and its provider's newer model as tried or not tried."""
    known = found.view.settings.incumbent_end
    if known is None:
        return
    if known.retires_on is not None and found.gone_on is None:
        sealed = found.view.settings.baseline is not None
        then = "its sealed answers are what is left" if sealed else "nothing can be compared with it"
        yield Remark(
            "incumbent-ends",
            f"{known.model} ends on {known.retires_on.isoformat()}{known.origin}. "
            f"After that day it answers nothing, and {then}.",
        )
    if known.tried is not None:
        yield Remark(
            "successor-tried",
            f"{known.tried}, a newer model of the incumbent's provider that costs less, was compared.",
            candidate=known.tried,
        )
    elif known.successor is not None and known.retires_on is not None:
        yield Remark(
            "successor-not-tried",
            f"{known.successor}, a newer model of the incumbent's provider that costs less, was not "
            "compared.",
        )


def end_changes(found: Findings) -> Iterator[Remark]:
    """Yield what to compare before the incumbent ends, or with its sealed answers once it has."""
    settings = found.view.settings
    known = settings.incumbent_end
    if known is None or known.retires_on is None or known.tried is not None or known.successor is None:
        return
    if settings.baseline is not None:
        when = f" with the sealed answers of {known.model}"
    elif found.gone_on is None:
        when = f" before {known.model} ends on {known.retires_on.isoformat()}"
    else:
        return
    yield Remark("successor-compared", f"A comparison of {known.successor}{when}.")
