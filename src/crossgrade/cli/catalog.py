"""`crossgrade catalog`: what offers cost on a day, what changed, what looks wrong, and adding to it."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import Renamed, config_option, json_option
from crossgrade.cli._offers import catalog_here, day, day_option, matching, priced
from crossgrade.cli._output import note, print_fields, print_json, print_table, warn
from crossgrade.cli._params import Day
from crossgrade.errors import DataError, UsageError

if TYPE_CHECKING:
    from crossgrade.catalog import Catalog, Listing
    from crossgrade.domain import Price

_MOST_SKIPPED = 20
_FIRST_ZONE = timezone(timedelta(hours=14))
"""Where a day begins first; a day that has begun nowhere is in the future."""
_MONEY = ("input", "output", "cached", "batch", "3:1")


@click.group()
def command() -> None:
    """Look up dated prices, what changed and what looks wrong.

    Prices are US dollars per million tokens. Nothing is fetched: the list is genai-prices, dated rates
    that the package ships, and the project's own `price_files`.
    """


@command.command("list")
@click.argument("patterns", nargs=-1, metavar="[OFFER]...")
@click.option("--all", "everything", is_flag=True, help="Also what is retired or delisted on that day.")
@day_option
@config_option
@json_option
def list_(
    patterns: tuple[str, ...], on: datetime | None, config_path: str, *, everything: bool, as_json: bool
) -> None:
    """List offers with their prices.

    OFFER is a name or a pattern, `llama-4-*`, `*@groq`.
    """
    catalog, today = catalog_here(config_path), day(on)
    found = priced(catalog, patterns, today)
    rows = [_row(catalog, listing, today) for listing in found]
    gone = [row for row in rows if row["status"] in {"retired", "delisted"}]
    if not everything:
        rows = [row for row in rows if row not in gone]
    if as_json:
        print_json({"on": today, "unit": "USD per million tokens", "offers": rows}, schema_version=1)
        return
    headers = ("offer", *_MONEY, "context", "status", "retires_on", "licence")
    print_table(headers, [[row[name] for name in headers] for row in rows], right=(*_MONEY, "context"))
    note(f"{len(rows):,} offers on {today}, US dollars per million tokens")
    if gone and not everything:
        note(f"left out, retired or delisted: {', '.join(str(row['offer']) for row in gone[:12])}")


@command.command()
@click.argument("name", metavar="OFFER")
@day_option
@config_option
@json_option
def show(name: str, on: datetime | None, config_path: str, *, as_json: bool) -> None:
    """Show what is known of an OFFER, with every dated rate.

    OFFER is `model@provider`.
    """
    from crossgrade.catalog import validate_price

    catalog, today = catalog_here(config_path), day(on)
    found = priced(catalog, [name], today)
    if len(found) > 1:
        raise UsageError(
            f"{name!r} names {len(found)} offers: {', '.join(each.name for each in found[:8])}",
            code="offer-ambiguous",
            hint="give one of them",
        )
    listing = found[0]
    price = catalog.price(listing.offer(), today)
    assert price is not None, "listings are what has a price"
    facts = catalog.facts(listing.offer(), today)
    record = {
        **_row(catalog, listing, today),
        "identifier": listing.identifier,
        "cache_write": price.cache_creation_per_mtok,
        "reasoning": price.reasoning_per_mtok,
        "request_usd": price.request_usd,
        "image_usd": price.image_usd,
        "tiers": [
            {"above_tokens": start, "input": above.input_per_mtok, "output": above.output_per_mtok}
            for start, above in price.tiers
        ],
        "precision": facts.precision,
        "open_weights": facts.open_weights,
        "delisted_on": facts.delisted_on,
        "price_source": price.source,
        "facts_source": facts.source,
        "doubts": validate_price(price, today=today),
        "clauses": catalog.clauses(listing.offer(), today),
        "rates": [
            {"seen_on": rate.seen_on, "event": rate.event, "input": rate.input, "output": rate.output}
            | {"cached": rate.cached_input, "source": rate.source}
            for rate in catalog.rates(listing.provider, listing.identifier)
        ],
    }
    if as_json:
        print_json({"on": today, "offer": record}, schema_version=1)
        return
    rates, said = record.pop("rates"), record.pop("clauses")
    print_fields(record)
    if said:
        click.echo("licence and host:")
        print_table(("clause", "severity", "what"), [(each.code, each.severity, each.words) for each in said])
    if rates:
        click.echo("rates:")
        print_table(
            list(rates[0]), [list(rate.values()) for rate in rates], right=("input", "output", "cached")
        )
    note(f"prices of {today}, US dollars per million tokens")


@command.command()
@click.argument("first", type=Day(), metavar="FROM")
@click.argument("last", type=Day(), metavar="[TO]", required=False)
@click.option("--offer", "patterns", multiple=True, metavar="OFFER", help="Only these; repeat.")
@config_option
@json_option
def diff(
    first: datetime, last: datetime | None, patterns: tuple[str, ...], config_path: str, *, as_json: bool
) -> None:
    """Show what changed in the catalogue between two days.

    Days are YYYY-MM-DD. Shows which prices differ, and which offers came and went.
    """
    catalog, before, after = catalog_here(config_path), first.date(), day(last)
    if before >= after:
        raise UsageError(
            f"{before} is not before {after}", code="dates-reversed", hint="give the earlier day first"
        )
    listings = {each.name: each for each in (*catalog.listings(before), *catalog.listings(after))}
    found = matching(list(listings.values()), patterns)
    rows = [row for listing in found if (row := _difference(catalog, listing, before, after)) is not None]
    if as_json:
        print_json({"from": before, "to": after, "changes": rows}, schema_version=1)
        return
    headers = ("offer", "change", "input_before", "input", "output_before", "output")
    print_table(headers, [[row[name] for name in headers] for row in rows], right=headers[2:])
    note(f"{len(rows):,} changes; prices without a known day count as always having held")


@command.command()
@click.argument("patterns", nargs=-1, metavar="[OFFER]...")
@click.option("--history", is_flag=True, help="Check every dated rate, not only those of the day.")
@day_option
@config_option
@json_option
def check(
    patterns: tuple[str, ...], on: datetime | None, config_path: str, *, history: bool, as_json: bool
) -> None:
    """Name the rows that cannot be right.

    Those are exchanged prices, outliers, and stale or disagreeing prices.
    """
    from crossgrade.catalog import check_catalog

    catalog, today = catalog_here(config_path), day(on)
    wanted = {each.name for each in priced(catalog, patterns, today)}
    doubts = [
        each
        for each in check_catalog(catalog, today, history=history)
        if not patterns or each.listing in wanted
    ]
    if as_json:
        print_json({"on": today, "doubts": doubts}, schema_version=1)
        return
    print_table(
        ("offer", "rule", "seen on", "what", "source"),
        [(each.listing, each.rule, each.seen_on, each.seen, each.source) for each in doubts],
    )
    note(f"{len(doubts)} doubtful rows; they are priced as listed, so compare before you rest on one")


@command.command("import")
@click.argument("source", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option(
    "--output",
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("prices.csv"),
    show_default=True,
    cls=Renamed,
    metavar="FILE",
    help="CSV file of rates to add to; it is made where it is missing.",
)
@click.option("--seen-on", type=Day(), metavar="DATE", help="Day the file was true.  [default: today]")
@click.option("--offer", "patterns", multiple=True, metavar="OFFER", help="Only these; repeat.")
@config_option
@json_option
def import_(
    source: Path,
    path: Path,
    seen_on: datetime | None,
    patterns: tuple[str, ...],
    config_path: str,
    *,
    as_json: bool,
) -> None:
    """Write what a price file or a list of models adds, as dated rates.

    FILE is LiteLLM's `model_prices_and_context_window.json`, or the list of models that OpenRouter, Azure
    OpenAI or Amazon Bedrock returns, of which the days are taken on which models end. It is read as data.
    Rates are added, never changed; put the CSV file under `price_files` of crossgrade.yaml. An entry that is
    wrong is skipped and named.
    """
    from crossgrade.catalog import Listing, model_name, new_rates, rates_to_csv, read_listed, read_rates
    from crossgrade.workloads.files import whole_file

    today = day(seen_on)
    if today > datetime.now(_FIRST_ZONE).date():
        raise UsageError(
            f"{today} is in the future: no file can be true as of then yet",
            code="day-in-future",
            hint="name the day on which the file was fetched",
        )
    there = read_rates(path) if path.exists() else ()
    catalog = _with(catalog_here(config_path), there, config_path)
    wrong: list[DataError] = []
    read = read_listed(source, seen_on=today, on_wrong=wrong.append)
    if patterns:
        named = {
            Listing(provider=rate.provider, model=model_name(rate.model), identifier=rate.model): rate
            for rate in read
        }
        read = tuple(named[each] for each in matching(list(named), patterns))
    added = tuple(new_rates(read, catalog, today))
    if added:
        with whole_file(path) as file:
            file.write(rates_to_csv((*there, *added)))
    if as_json:
        skipped = [{"entry": each.where, "message": each.message, "code": each.code} for each in wrong]
        print_json(
            {"read": len(read), "added": len(added), "rates": added, "path": path, "skipped": skipped},
            schema_version=1,
        )
    else:
        what = "prices" if any(rate.has_price for rate in read) else "ends of models"
        click.echo(f"{len(added):,} of {len(read):,} {what} are new as of {today}: added to {path}")
    for each in wrong[:_MOST_SKIPPED]:
        warn(f"skipped {each.where}: {each.message} [{each.code}]", code="entry-skipped")
    if len(wrong) > _MOST_SKIPPED:
        warn(f"skipped {len(wrong) - _MOST_SKIPPED} more entries; `--json` lists them", code="entry-skipped")
    if added and path not in _price_files(config_path):
        note(
            f"add `price_files: [{path.name}]` to crossgrade.yaml, so that the project uses them",
            code="price-file-to-add",
        )


def _with(catalog: "Catalog", there: Sequence[Any], config_path: str) -> "Catalog":
    """Return the catalogue with what the file holds already, where the project does not read it."""
    from crossgrade.catalog import Catalog

    return catalog if _price_files(config_path) else Catalog(there)


def _price_files(config_path: str) -> tuple[Path, ...]:
    if not Path(config_path).exists():
        return ()
    from crossgrade.project import read_config

    config = read_config(config_path)
    return tuple(each.relative_to(config.root) for each in config.price_files)


def _row(catalog: "Catalog", listing: "Listing", today: date) -> dict[str, Any]:
    from crossgrade.pricing import blended_per_mtok

    offer = listing.offer()
    price, facts = catalog.price(offer, today), catalog.facts(offer, today)
    assert price is not None, "listings are what has a price"
    return {
        "offer": listing.name,
        "input": price.input_per_mtok,
        "output": price.output_per_mtok,
        "cached": price.cache_read_per_mtok,
        "batch": _batch(price),
        "3:1": blended_per_mtok(price, 3),
        "context": facts.context_tokens,
        "status": facts.status(today),
        "retires_on": facts.retires_on,
        "retires_source": facts.retires_source,
        "retires_seen_on": facts.retires_seen_on,
        "licence": facts.licence,
    }


def _batch(price: "Price") -> str | None:
    return None if price.batch_discount is None else f"-{float(price.batch_discount):.0%}"


def _difference(catalog: "Catalog", listing: "Listing", before: date, after: date) -> dict[str, Any] | None:
    offer = listing.offer()
    was, now = catalog.price(offer, before), catalog.price(offer, after)
    then, today = catalog.facts(offer, before).status(before), catalog.facts(offer, after).status(after)
    change = _change(was, now)
    if today != then and today in {"retired", "delisted"}:
        change = today
    if change is None:
        return None
    return {
        "offer": listing.name,
        "change": change,
        "input_before": was.input_per_mtok if was else None,
        "input": now.input_per_mtok if now else None,
        "output_before": was.output_per_mtok if was else None,
        "output": now.output_per_mtok if now else None,
    }


def _change(was: "Price | None", now: "Price | None") -> str | None:
    if was is None or now is None:
        return None if was is now else "new" if was is None else "gone"
    pairs = ((was.input_per_mtok, now.input_per_mtok), (was.output_per_mtok, now.output_per_mtok))
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    risen, fallen = any(other > one for one, other in known), any(other < one for one, other in known)
    if risen and fallen:
        return "changed"
    return "dearer" if risen else "cheaper" if fallen else None
