"""What a team could save with today's model, as a verdict is compared with it."""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

from crossgrade.catalog import successor
from crossgrade.domain import Price, Workload
from crossgrade.pricing import blended_per_mtok
from crossgrade.pricing.thrift import ThriftShare, thrift_shares

if TYPE_CHECKING:
    from crossgrade.catalog import Catalog

_BLEND = 3
_AT = "list prices, three tokens in for one out"


def thrifts_of(
    workload: Workload, prices: Mapping[str, Price | None], catalog: "Catalog", on: date
) -> tuple[ThriftShare, ...]:
    """Return how a workload's incumbent could cost less: by itself, or by a newer model of its provider.

    A workload with a limit of latency cannot wait for a batch, and an incumbent that is asked in batches
    already saves nothing more by them.
    """
    offer, logged, needs = workload.incumbent.offer, workload.logged_traffic, workload.requirements
    price = prices.get(offer.name)
    if price is None:
        return ()
    others = {each.name: prices.get(each.name) for each in workload.candidates if not each.offer.batch}
    found = thrift_shares(
        price,
        offer.provider,
        others,
        cached=None if logged is None else logged.cache_saving_share,
        can_wait=not offer.batch and needs.latency_p95_ms is None and needs.ttft_p95_ms is None,
    )
    newer, blend = successor(catalog, offer, on), blended_per_mtok(price, _BLEND)
    candidates = {(each.offer.provider, each.offer.model) for each in workload.candidates}
    if newer is None or not blend or (newer.offer.provider, newer.offer.model) in candidates:
        return found
    share = 1 - newer.blend_per_mtok / float(blend)
    way = f"newer model of {newer.offer.provider}"
    return (*found, ThriftShare(way=way, share=share, needs=_AT, offer=newer.offer.name))
