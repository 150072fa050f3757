"""Compares the terms of an offer with a team: what is forbidden, what must be met, what is not known."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from crossgrade.catalog._terms import Term, Terms
from crossgrade.domain import Clause, ClauseCode, Severity, Team
from crossgrade.errors import UsageError

_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"

TERRITORIES = {"EU": frozenset(_EU.split())}
"""The countries of a territory that licences name (ISO 3166)."""


_SIZES: tuple[tuple[str, str, str, ClauseCode, ClauseCode], ...] = (
    ("most_users", "monthly_active_users", "{:,} monthly users", "users-above", "users-unknown"),
    (
        "most_revenue_usd",
        "monthly_revenue_usd",
        "${:,} of revenue a month",
        "revenue-above",
        "revenue-unknown",
    ),
)
"""Limits of licences on size: fact, key of the team, words, and the codes above them and where unknown."""


def clauses(model: str, terms: Terms, team: Team, *, region: str | None = None) -> tuple[Clause, ...]:
    """Return what the terms say about this team's use of a model, the gravest first.

    `region` is where the configuration says that its requests are processed. What the team asks of a host
    is compared with what is known of the host. A model on the team's own machines has no host.
    """
    found = [*(_licence(model, terms, team) if terms.has_licence else ())]
    if not terms.is_own:
        found += _host(model, terms, team, region)
    order: dict[Severity, int] = {"forbidden": 0, "unknown": 1, "permitted": 2, "condition": 3}
    return tuple(sorted((_permitted(each, team) for each in found), key=lambda each: order[each.severity]))


def refuse_forbidden(clauses: Iterable[Clause], *, unknown: bool = False) -> None:
    """Raise UsageError for the first clause that forbids a model or, with `unknown`, that may do so."""
    for clause in clauses:
        permission = f"say why you may under `team.permitted`: {clause.permission}"
        if clause.severity == "forbidden":
            raise UsageError(
                f"you may not use {clause.model}: {clause.words}",
                code="use-forbidden",
                hint=f"leave {clause.model} out, or {permission}",
            )
        if unknown and clause.blocks:
            raise UsageError(
                f"it is open whether you may use {clause.model}: {clause.words}",
                code="use-unknown",
                hint=f"find out, and {permission}",
            )


def _permitted(clause: Clause, team: Team) -> Clause:
    """Return the clause, permitted if the team says why it may be overlooked."""
    if not clause.blocks:
        return clause
    for each in team.permitted:
        if (each.model, each.clause) == (clause.model, clause.code):
            return replace(clause, severity="permitted", because=each.because)
    return clause


def _clause(model: str, code: ClauseCode, severity: Severity, text: str, term: Term | None = None) -> Clause:
    if term is None:
        return Clause(model=model, code=code, severity=severity, text=text)
    words = f"{text} {term.note}" if term.note else text
    return Clause(
        model=model, code=code, severity=severity, text=words, source=term.source, read_on=term.read_on
    )


def _licence(model: str, terms: Terms, team: Team) -> Iterator[Clause]:
    if terms.licence is None or not terms.of_model.keys() - {"licence", "maker"}:
        which = "its licence" if terms.licence is None else f"the licence {terms.licence}"
        yield _clause(model, "licence-unknown", "unknown", f"It is not known what {which} says.")
        return
    withheld = terms.of_model.get("withheld")
    if withheld is not None:
        yield from _territory(model, terms.licence, withheld, team.country)
    yield from _size(model, terms, team)
    yield from _display(model, terms, team)
    codes: dict[str, ClauseCode] = {"business": "licence-business", "outputs": "licence-outputs"}
    for fact, code in {**codes, "uses": "licence-uses"}.items():
        term = terms.of_model.get(fact)
        if term is not None:
            yield _clause(model, code, "condition", f"{terms.licence}: {term.value}", term)


def _territory(model: str, licence: str, term: Term, country: str | None) -> Iterator[Clause]:
    rule = (
        f"The {licence} grants no rights in this model to a team whose principal place of business is "
        f"in the {term.value}"
    )
    if country is None:
        text = f"{rule}, and `team.country` is not stated."
        yield _clause(model, "territory-unknown", "unknown", text, term)
    elif country in TERRITORIES.get(term.value, frozenset({term.value})):
        yield _clause(model, "territory-withheld", "forbidden", f"{rule}, and yours is in {country}.", term)


def _size(model: str, terms: Terms, team: Team) -> Iterator[Clause]:
    """Yield the limits on a team's users and revenue above which the licence does not hold."""
    for fact, key, words, above, unknown in _SIZES:
        term, stated = terms.of_model.get(fact), getattr(team, key)
        if term is None:
            continue
        rule = f"Above {words.format(term.number)} the {terms.licence} grants no rights"
        if stated is None:
            yield _clause(model, unknown, "unknown", f"{rule}, and `team.{key}` is not stated.", term)
        elif stated > term.number:
            yield _clause(model, above, "forbidden", f"{rule}, and you have {words.format(stated)}.", term)


def _display(model: str, terms: Terms, team: Team) -> Iterator[Clause]:
    """Yield what must be shown, unless the team is known to be too small for that."""
    shown = terms.of_model.get("display")
    if shown is None:
        return
    users, revenue = terms.of_model.get("display_users"), terms.of_model.get("display_revenue_usd")
    text = f"The {terms.licence} asks you to display {shown.value} prominently"
    if users is None or revenue is None:
        yield _clause(model, "display-due", "condition", f"{text}.", shown)
        return
    stated = team.monthly_active_users, team.monthly_revenue_usd
    small = (
        stated[0] is not None
        and stated[0] <= users.number
        and stated[1] is not None
        and stated[1] <= revenue.number
    )
    if not small:
        above = f"above {users.number:,} monthly users or ${revenue.number:,} of revenue a month"
        yield _clause(model, "display-due", "condition", f"{text} {above}.", shown)


def _host(model: str, terms: Terms, team: Team, region: str | None) -> Iterator[Clause]:
    if team.regions:
        yield from _regions(model, terms.of_host.get("regions"), team.regions, region)
    kept = terms.of_host.get("retention_days")
    if team.max_retention_days is not None:
        asked = f"`team.max_retention_days` is {team.max_retention_days}"
        if kept is None:
            text = f"It is not known how long the host keeps requests, and {asked}."
            yield _clause(model, "retention-unknown", "unknown", text)
        elif kept.number > team.max_retention_days:
            text = f"The host may keep requests for {kept.number} days, and {asked}."
            yield _clause(model, "retention-above", "forbidden", text, kept)
    if team.training_on_inputs == "never":
        trains = terms.of_host.get("trains")
        if trains is None:
            text = "It is not known whether the host trains models on requests."
            yield _clause(model, "training-unknown", "unknown", text)
        elif trains.value == "yes":
            text = "The host may train models on requests, and `team.training_on_inputs` is `never`."
            yield _clause(model, "training-on-inputs", "forbidden", text, trains)
    outputs = terms.of_host.get("outputs")
    if outputs is not None:
        yield _clause(model, "licence-outputs", "condition", outputs.value, outputs)


def _regions(model: str, term: Term | None, asked: tuple[str, ...], region: str | None) -> Iterator[Clause]:
    wanted = f"`team.regions` is {', '.join(asked)}"
    if region is not None:
        if not _inside(region, asked):
            text = f"Requests are processed in {region}, and {wanted}."
            yield _clause(model, "region-outside", "forbidden", text)
    elif term is None:
        text = f"It is not known where the host processes requests, and {wanted}. State the model's `region`."
        yield _clause(model, "region-unknown", "unknown", text)
    else:
        inside = [each for each in term.value.split() if _inside(each, asked)]
        places = ", ".join(term.value.split())
        if not inside:
            text = f"The host processes requests in {places}, and {wanted}."
            yield _clause(model, "region-outside", "forbidden", text, term)
        elif len(inside) < len(term.value.split()):
            text = (
                f"The host processes requests in one of {places}, and {wanted}. State the model's `region`."
            )
            yield _clause(model, "region-unknown", "unknown", text, term)


def _inside(region: str, asked: tuple[str, ...]) -> bool:
    """Return whether a region is one of those asked for, or a part of one: `eu-central-1` is in `eu`."""
    return any(region == each or region.startswith(f"{each}-") for each in asked)
