"""Screens offers for a workload: why one cannot take its traffic, and why it is not worth a test."""

from collections.abc import Iterator
from datetime import date

from crossgrade.catalog._checks import is_callable
from crossgrade.catalog.bills import OfferBill
from crossgrade.dialects import HOSTS
from crossgrade.domain import Estimate, Offer, Reason, Workload


def misfit(workload: Workload, offer: Offer, row: OfferBill, on: date) -> Reason | None:
    """Return the first reason why an offer cannot take a workload's requests, None if none is known.

    Asked are, in this order: whether it is sold and goes on to be, whether Crossgrade can call it, what its
    licence and host say to the team, what the workload requires (licence, region, context), the length of its
    calls, what its requests need of the API, and its price. A requirement on a fact that is not known is not
    met, as in a verdict.
    """
    return next((each for each in _misfits(workload, offer, row, on) if each is not None), None)


def unpaid(saving: Estimate, least_usd: float) -> Reason | None:
    """Return why a saving of dollars a month is no reason for a test; an unknown one never is."""
    if saving.value is None:
        return Reason("offer-saving-unknown", f"what it would save is unknown: {saving.reason}")
    if saving.value < least_usd:
        return Reason(
            "offer-saves-too-little",
            f"it would save ${saving.value:,.2f} a month, and less than ${least_usd:,.2f} is not proposed",
        )
    return None


def _misfits(workload: Workload, offer: Offer, row: OfferBill, on: date) -> Iterator[Reason | None]:
    yield _sold(row, on)
    yield _callable(offer)
    yield _allowed(row)
    yield _required(workload, offer, row)
    yield _expressible(workload, offer)
    yield _priced(row)


def _sold(row: OfferBill, on: date) -> Reason | None:
    gone, ends = row.facts.gone(on), row.facts.ends_soon(on)
    if gone is not None:
        return Reason("offer-gone", f"it is {gone}")
    return None if ends is None else Reason("offer-ends-soon", f"it {ends}")


def _callable(offer: Offer) -> Reason | None:
    if is_callable(offer):
        return None
    return Reason("offer-uncallable", f"Crossgrade cannot call {offer.provider}")


def _allowed(row: OfferBill) -> Reason | None:
    clause = next((each for each in row.facts.clauses if each.blocks), None)
    if clause is None:
        return None
    code = "offer-forbidden" if clause.severity == "forbidden" else "offer-terms-unknown"
    return Reason(code, f"{clause.text} [{clause.code}]")


def _required(workload: Workload, offer: Offer, row: OfferBill) -> Reason | None:
    wanted, licence = workload.requirements, offer.licence or row.facts.licence
    if wanted.licences and licence not in wanted.licences:
        allowed = ", ".join(wanted.licences)
        return Reason("offer-licence", f"its licence is {licence or 'not known'}, and allowed is {allowed}")
    if wanted.regions and offer.region not in wanted.regions:
        allowed = ", ".join(wanted.regions)
        return Reason(
            "offer-region", f"its region is {offer.region or 'not known'}, and allowed is {allowed}"
        )
    tokens, least = row.facts.context_tokens, wanted.context_tokens
    if least is not None and (tokens is None or tokens < least):
        seen = "not known" if tokens is None else f"{tokens:,} tokens"
        return Reason("offer-context", f"its context is {seen}, and {least:,} tokens are required")
    if row.too_long:
        return Reason(
            "offer-context",
            f"its context is {tokens:,} tokens, and {row.too_long:,} measured calls are longer",
        )
    return None


def _expressible(workload: Workload, offer: Offer) -> Reason | None:
    """Return what the workload's requests need that the API of an offer lacks, None if nothing is known."""
    host, prompt = HOSTS.get(offer.provider), workload.incumbent.prompt
    if host is None:
        return None
    if prompt.response_schema is not None and not host.takes(prompt.response_schema):
        return Reason("offer-schema", f"{host.name} takes no JSON schema, which the prompt has")
    if prompt.text and host.dialect != "openai":
        return Reason("offer-completion", f"{host.name} completes no raw text, as the prompt asks")
    return None


def _priced(row: OfferBill) -> Reason | None:
    if row.price is None:
        return Reason("offer-price-unknown", "its price is not known")
    if row.doubts:  # the other doubts have reasons of their own above
        return Reason("offer-price-doubtful", f"its price is in doubt: {row.doubts[0]}")
    return None
