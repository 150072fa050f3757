"""Checks a certificate's other conditions: its expiry, prices, and the models' retirements and versions."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from crossgrade.catalog import WARN_DAYS
from crossgrade.decide import Verdict
from crossgrade.domain import JSON, Price, Watching
from crossgrade.routing import Route
from crossgrade.store import AlarmKind

_RATES = re.compile(r"\$([0-9.]+) in, \$([0-9.]+) out per million tokens")
"""The prices in a verdict's `price_source`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A condition of a certificate that no longer holds; `detail` has the values that show it."""

    kind: AlarmKind
    detail: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A model that routes name and that its provider stops selling soon.

    `days` are those that are left, 0 or fewer once it is gone. `within` is the warning that this is: 90, 30
    or 7 days. `routes` ask it, as incumbent too. `successor` is its provider's newer model that costs less,
    if one is known.
    """

    model: str
    retires_on: date
    days: int
    within: int
    routes: tuple[str, ...]
    successor: str | None = None


def endings(
    asked: Mapping[str, Iterable[str]],
    retires_on: Callable[[str], date | None],
    successor: Callable[[str], str | None],
    today: date,
) -> list[Ending]:
    """Return which of the models that routes ask end within 90 days, the first to end first.

    `asked` are the routes by model, `retires_on` says when a model ends (None: unknown), and `successor`
    names what its provider sells instead.
    """
    found = []
    for model, routes in asked.items():
        day = retires_on(model)
        if day is None or (days := (day - today).days) > WARN_DAYS[0]:
            continue
        found.append(
            Ending(
                model=model,
                retires_on=day,
                days=days,
                within=min(each for each in WARN_DAYS if days <= each),
                routes=tuple(dict.fromkeys(routes)),
                successor=successor(model),
            )
        )
    return sorted(found, key=lambda each: (each.retires_on, each.model))


def broken_conditions(
    route: Route,
    verdict: Verdict | None,
    *,
    price: Price | None,
    retires_on: date | None,
    watching: Watching,
    now: datetime,
) -> list[Broken]:
    """Return the conditions of a route that are broken at `now`: expiry, retirement, price.

    `price` is what the candidate costs today, and `retires_on` is its last day. If one is None (unknown), its
    condition is not checked.
    """
    found = [_expired(route, now), _retired(route, retires_on, watching, now.date())]
    if verdict is not None and price is not None:
        found.append(_price_rose(route, verdict, price, watching.price_rise))
    return [each for each in found if each is not None]


def changed_version(
    measured: Mapping[str, Iterable[str]], served: Iterable[tuple[str, str, str]]
) -> Broken | None:
    """Return the first model that was served in a version that was not certified, or None.

    `measured` are the certified versions by model. `served` are (model, version, id of the first pair),
    oldest first. If no version of a model was measured, its first served version counts as certified.
    """
    known = {model: set(versions) for model, versions in measured.items()}
    for model, version, pair in served:
        if version not in known.setdefault(model, {version}):
            detail: dict[str, JSON] = {
                "model": model,
                "measured": sorted(known[model]),
                "served": version,
                "pair": pair,
            }
            return Broken(kind="version", detail=detail)
    return None


def _expired(route: Route, now: datetime) -> Broken | None:
    if route.valid_until is None or now < route.valid_until:
        return None
    return Broken(kind="expired", detail={"valid_until": route.valid_until.isoformat()})


def _retired(route: Route, retires_on: date | None, watching: Watching, today: date) -> Broken | None:
    if retires_on is None or today + timedelta(days=watching.retirement_days) < retires_on:
        return None
    model = route.targets.get(route.policy.candidate or "")
    return Broken(kind="retired", detail={"model": model, "retires_on": retires_on.isoformat()})


def _price_rose(route: Route, verdict: Verdict, price: Price, rise: float) -> Broken | None:
    facts = next((each for each in verdict.settings.facts if each.model == route.policy.candidate), None)
    rates = _RATES.search((facts and facts.price_source) or "")
    if rates is None:
        return None
    before = [Decimal(rate.rstrip(".")) for rate in rates.groups()]
    today = [price.input_per_mtok, price.output_per_mtok]
    factor = 1 + Decimal(str(rise))
    if not any(now is not None and now > old * factor for old, now in zip(before, today, strict=True)):
        return None
    detail: dict[str, JSON] = {
        "model": route.policy.candidate,
        "per_mtok_usd_then": [str(rate) for rate in before],
        "per_mtok_usd_now": [None if rate is None else str(rate) for rate in today],
    }
    return Broken(kind="price", detail=detail)
