"""What a move saves against the bill that the team could have without one, and what no sample tested."""

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
