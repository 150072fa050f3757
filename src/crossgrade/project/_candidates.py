"""Which models of a results table are candidates where none is named: those that do not cost more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from crossgrade.domain import Usage

if TYPE_CHECKING:
    from crossgrade.catalog.bills import ListCost
    from crossgrade.decide import EveryModel
    from crossgrade.workloads import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The candidates among all models of a table, the cheapest first.

    `every_model` records that several were taken, and which were set aside. `usd` is what a request costs
    each model whose price is known, the incumbent too.
    """

    candidates: tuple[str, ...]
    every_model: "EveryModel | None" = None
    usd: Mapping[str, float] = field(default_factory=dict)


def field_of(
    results: "Results", incumbent: str, *, typical: Usage | None, stated: Mapping[str, float], on: date
) -> Field:
    """Return every model but the incumbent as a candidate, less those that cost more than the incumbent.

    All are compared at the same tokens: `typical`, else the means that the table has of the incumbent. What
    the tested answers cost has no part in it, because it may depend on their scores. A cost that was `stated`
    replaces the list price. A model without a price stays. If all others cost more, all stay.
    """
    from crossgrade.decide import EveryModel
    from crossgrade.workloads import mean_usage

    others = tuple(name for name in results.model_names if name != incumbent)
    if len(others) == len(results.model_names) or not others:
        return Field(candidates=others)  # which pairing refuses
    usage = typical or mean_usage(results, with_costs=True).get(incumbent)
    listed = {} if usage is None else list_prices((incumbent, *others), usage, on)
    usd = {model: float(cost.usd) for model, cost in listed.items() if cost is not None} | dict(stated)
    if len(others) == 1:
        return Field(candidates=others, usd=usd)
    own = usd.get(incumbent)
    aside = {name: usd[name] for name in others if own is not None and usd.get(name, 0.0) > own}
    if len(aside) == len(others):
        aside = {}
    kept = [name for name in others if name not in aside]
    kept.sort(key=lambda name: usd.get(name, float("inf")))
    return Field(candidates=tuple(kept), every_model=EveryModel(incumbent_usd=own, set_aside=aside), usd=usd)


def list_prices(models: Sequence[str], usage: Usage, on: date) -> "dict[str, ListCost | None]":
    """Return what a request with this usage costs each model at the packaged list prices."""
    from crossgrade.catalog import packaged_catalog
    from crossgrade.catalog.bills import list_costs

    return list_costs(models, usage, packaged_catalog(), on)
