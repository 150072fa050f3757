"""Offers of the catalogue on the command line: days, patterns, the catalogue of the project here."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crossgrade.cli._frame import DEFAULT_CONFIG
from crossgrade.cli._params import Day
from crossgrade.errors import NotFoundError, nearest

if TYPE_CHECKING:
    from crossgrade.catalog import Catalog, Listing

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def day_option(function: FunctionT) -> FunctionT:
    """Add `--on DATE`, passed as `on`: the day whose prices are looked up."""
    return click.option("--on", type=Day(), metavar="DATE", help="Day of the prices.  [default: today]")(
        function
    )


def day(on: datetime | None) -> date:
    """Return the day that `--on` gave, or today."""
    return datetime.now(UTC).date() if on is None else on.date()


def catalog_here(config_path: str) -> "Catalog":
    """Return the catalogue of the project here, or the packaged one if there is no project."""
    if config_path == DEFAULT_CONFIG and not Path(config_path).exists():
        from crossgrade.catalog import packaged_catalog

        return packaged_catalog()
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        return project.catalog


def priced(catalog: "Catalog", patterns: Sequence[str], on: date) -> "list[Listing]":
    """Return the listings with a price on a day that match any pattern, as `matching` does.

    Raises NotFoundError for one that has a price today but had none on that day, naming the first.
    """
    listings, today = catalog.listings(on), datetime.now(UTC).date()
    for pattern in patterns if on < today else ():
        if any(_matches(each, pattern) for each in listings):
            continue
        later = [each for each in catalog.listings(today) if _matches(each, pattern)]
        if later:
            raise NotFoundError(
                f"no price of {later[0].name} is known on {on}",
                code="price-unknown",
                hint=_since(catalog, later[0]),
            )
    return matching(listings, patterns)


def _since(catalog: "Catalog", listing: "Listing") -> str:
    rates = [rate for rate in catalog.rates(listing.provider, listing.identifier) if rate.has_price]
    known = f"the first known is of {rates[0].seen_on}" if rates else "no older one is known"
    return f"{known}; `crossgrade catalog show {listing.name}` has every dated rate"


def matching(listings: "Sequence[Listing]", patterns: Sequence[str]) -> "list[Listing]":
    """Return the listings that match any pattern; raises NotFoundError with the nearest names.

    A pattern is a name with `*`: of a model, of `model@provider`, or of the provider's own id.
    """
    if not patterns:
        return list(listings)
    found = {pattern: [each for each in listings if _matches(each, pattern)] for pattern in patterns}
    for pattern, those in found.items():
        if not those:
            names = sorted({each.name for each in listings} | {each.model for each in listings})
            near = nearest(pattern, names, 3)
            raise NotFoundError(
                f"no offer is named {pattern[:80]!r}" + (f"; near it: {', '.join(near)}" if near else ""),
                code="offer-unknown",
                hint="`crossgrade catalog list` shows them; `llama-4-*` and `*@groq` match several",
            )
    wanted = {each for those in found.values() for each in those}
    return [each for each in listings if each in wanted]


def _matches(listing: "Listing", pattern: str) -> bool:
    pattern = pattern.lower()
    names = (listing.name, listing.model, listing.identifier.lower())
    return any(fnmatchcase(name, pattern) for name in names)
