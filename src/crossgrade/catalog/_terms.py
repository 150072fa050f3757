"""Reads what licences of models and terms of hosts say: dated, sourced facts, one a row of `terms.csv`.

Rows are added and never changed: of several rows on one fact the newest counts. What is not there is
unknown, and unknown is never allowed.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files

from crossgrade.catalog._listed import MAKERS, model_name, provider_name
from crossgrade.dialects import HOSTS
from crossgrade.domain import Offer, TeachingRight
from crossgrade.errors import DataError, UsageError

_FACTS: Mapping[str, frozenset[str]] = {
    "model": frozenset({"licence", "maker", "withheld"}),
    "licence": frozenset(
        {"business", "display", "display_revenue_usd", "display_users", "most_revenue_usd", "most_users"}
        | {"outputs", "permissive", "uses"}
    ),
    "host": frozenset({"outputs", "regions", "retention_days", "trains"}),
}
_NUMBERS = frozenset({"display_revenue_usd", "display_users", "most_revenue_usd", "most_users"}) | {
    "retention_days"
}
_ANSWERS = frozenset({"permissive", "trains"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One fact of a licence or a host: what was read, where, and on which day.

    `names` are patterns of models, the name of a licence, or a provider. `note` is what limits the fact.
    """

    read_on: date
    kind: str
    names: str
    fact: str
    value: str
    note: str
    source: str

    @property
    def number(self) -> int:
        """The value of a fact that is a number."""
        return int(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is known of an offer's licence and host, each fact by its name.

    `licence` is None where none is known. `has_licence` is False for a closed model, and for one that its
    maker serves: the contract with the host is all there is. `is_own` marks a model on the team's machines.
    """

    licence: str | None
    of_model: Mapping[str, Term] = field(default_factory=dict)
    of_host: Mapping[str, Term] = field(default_factory=dict)
    has_licence: bool = True
    is_own: bool = False


def terms_of(offer: Offer, *, open_weights: bool | None) -> Terms:
    """Return the terms of an offer: of its model's licence and of its host.

    A licence in the configuration takes precedence. An address of one's own is no host of the table.
    """
    provider, facts = provider_name(offer.provider), _model_terms(model_name(offer.model))
    host = HOSTS.get(offer.provider)
    listed = offer.base_url is None or (host is not None and offer.base_url == host.base_url)
    named = facts.get("licence")
    licence = offer.licence or (None if named is None else named.value)
    maker = facts.get("maker")
    by_maker = provider in MAKERS or (maker is not None and maker.value == provider)
    return Terms(
        licence=licence,
        of_model={**({} if licence is None else _of("licence", licence)), **facts},
        of_host=_of("host", provider) if listed else {},
        has_licence=open_weights is not False and not (by_maker and listed),
        is_own=offer.provider == "local",
    )


def read_terms(text: str, file: str) -> Iterator[Term]:
    """Yield the rows of a file of terms. Raises `DataError` for one that does not fit the columns."""
    columns = [each.name for each in fields(Term)]
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    if next(lines, []) != columns:
        raise DataError(
            "not a file of terms",
            code="rate-columns",
            file=file,
            hint=f"the columns are {', '.join(columns)}",
        )
    for line in lines:
        cells = dict(zip(columns, line, strict=False))
        try:
            yield _term(cells)
        except (KeyError, ValueError) as error:
            raise DataError(
                f"a row that cannot be: {error}", code="rate-invalid", file=file, line=lines.line_num
            ) from error


@lru_cache(maxsize=1)
def packaged_terms() -> tuple[Term, ...]:
    """Return the packaged terms, oldest first. src/crossgrade/data/catalog/README.md explains them."""
    text = (files("crossgrade") / "data" / "catalog" / "terms.csv").read_text(encoding="utf-8")
    return tuple(sorted(read_terms(text, "terms.csv"), key=lambda term: term.read_on))


def _term(cells: Mapping[str, str]) -> Term:
    fact, value = cells["fact"], cells["value"]
    if fact not in _FACTS[cells["kind"]]:
        raise ValueError(f"{cells['kind']} has no fact {fact!r}")
    if fact in _NUMBERS and int(value) < 0:
        raise ValueError(f"{fact} is {value}")
    if fact in _ANSWERS and value not in {"yes", "no"}:
        raise ValueError(f"{fact} is {value!r}, yes or no is expected")
    if not cells["names"] or not value or not cells["source"]:
        raise ValueError("a name, a value and a source are expected")
    return Term(
        read_on=date.fromisoformat(cells["read_on"]), **{k: v for k, v in cells.items() if k != "read_on"}
    )


@lru_cache(maxsize=4096)
def _model_terms(model: str) -> Mapping[str, Term]:
    """Return the facts of a model; of patterns that match, the longest counts."""
    found: dict[str, tuple[int, Term]] = {}
    for term in packaged_terms():
        if term.kind != "model":
            continue
        length = max((len(each) for each in term.names.split() if fnmatchcase(model, each)), default=0)
        if length and length >= found.get(term.fact, (0, term))[0]:
            found[term.fact] = length, term
    return {fact: term for fact, (_, term) in found.items()}


@lru_cache(maxsize=256)
def _of(kind: str, name: str) -> Mapping[str, Term]:
    return {term.fact: term for term in packaged_terms() if term.kind == kind and term.names == name}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachingTerms:
    """The ground on which a model may teach, and the duties that come with it."""

    ground: str
    duties: tuple[str, ...] = ()


def teaching_terms(model: str, terms: Terms, stated: Sequence[TeachingRight]) -> TeachingTerms:
    """Return why a model's answers may be trained on.

    What the team states of the model counts most. Without it an open licence must be known to allow it, and
    a host must not forbid it. Raises `UsageError` if it is forbidden, and if that is not known.
    """
    outputs = terms.of_model.get("outputs") if terms.has_licence else None
    duties = () if outputs is None else (f"{terms.licence}: {outputs.value}",)
    right = next((each for each in stated if each.model == model), None)
    if right is not None:
        said = f"stated by the team on {right.stated_on.isoformat()}: {right.source}"
        if right.status == "forbidden":
            raise UsageError(
                f"no model may be trained on the answers of {model}, as {said}",
                code="teacher-forbidden",
                hint="name another teacher, or train on labels alone",
            )
        return TeachingTerms(ground=said, duties=duties)
    state = f"{{model: {model}, status: permitted, source: …, stated_on: YYYY-MM-DD}}"
    host = terms.of_host.get("outputs")
    if host is not None:
        raise UsageError(
            f"no model may be trained on the answers of {model}, as far as is known: {host.value} "
            f"({host.source}, read on {host.read_on.isoformat()})",
            code="teacher-forbidden",
            hint=f"if a contract of yours allows it, record that under `team.teachers`: {state}",
        )
    if terms.has_licence and (outputs is not None or _is_permissive(terms)):
        return TeachingTerms(ground=f"licence {terms.licence}", duties=duties)
    raise UsageError(
        f"it is not known whether a model may be trained on the answers of {model}",
        code="teacher-right-unknown",
        hint=f"find out, and record it under `team.teachers`: {state}",
    )


def _is_permissive(terms: Terms) -> bool:
    found = terms.of_model.get("permissive")
    return found is not None and found.value == "yes"
