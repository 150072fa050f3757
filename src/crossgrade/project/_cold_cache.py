"""What reading input from a provider's cache took off the costs that a run measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from crossgrade.domain import Offer, Price, ScoredAnswer

if TYPE_CHECKING:
    from crossgrade.decide import Evidence, ModelColumns


def with_cache_savings(
    evidence: "Evidence",
    answers: Sequence[ScoredAnswer],
    offers: Mapping[str, Offer],
    price: Callable[[Offer, date], Price | None],
) -> "Evidence":
    """Return evidence with what each model's answers would have cost more with all of their input uncached.

    It is the mean over a sample's answers, at the price of the day. It is unknown if the provider did not say
    what was read from the cache, or if there is no price.
    """
    import numpy as np

    found: dict[str, dict[str, list[float]]] = {}
    for each in answers:
        of_model = found.setdefault(each.model, {})
        of_model.setdefault(each.sample_id, []).append(_saved(each, offers.get(each.model), price))

    def with_savings(columns: "ModelColumns") -> "ModelColumns":
        own = found.get(columns.model, {})
        saved = [np.mean(own.get(str(sample), [np.nan])) for sample in evidence.sample_ids]
        return replace(columns, cache_saved_usd=np.array(saved, dtype=np.float64))

    return replace(
        evidence,
        incumbent=with_savings(evidence.incumbent),
        candidates=tuple(map(with_savings, evidence.candidates)),
    )


def _saved(answer: ScoredAnswer, offer: Offer | None, price: Callable[[Offer, date], Price | None]) -> float:
    """Return what the cache took off one answer's cost, NaN if that is unknown."""
    from crossgrade.pricing import cost_usd

    read = answer.usage.cache_read_input_tokens
    if offer is None or not read:
        return 0.0 if read == 0 else float("nan")
    today = datetime.now(UTC).date()
    own = price(offer, answer.on or today) or price(offer, today)
    if own is None:
        return float("nan")
    usages = (replace(answer.usage, cache_read_input_tokens=0), answer.usage)
    cold, warm = (cost_usd(usage, own, batch=offer.batch) for usage in usages)
    return float("nan") if cold is None or warm is None else float(cold - warm)
