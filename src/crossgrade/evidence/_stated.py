"""Fields from statements, alone or beside what was measured."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, time

from crossgrade.domain import DossierFact, DossierField, Statement
from crossgrade.evidence._input import DossierInput


def field_of(
    number: int,
    given: DossierInput,
    *,
    measured: Iterable[DossierFact] = (),
    known: Iterable[DossierFact] = (),
    gaps: Iterable[str] = (),
    unstated: Iterable[str] = (),
) -> DossierField:
    """Return a field: measured if there is something measured, else stated if there is a statement.

    `known` facts do not make a field more than missing. `gaps` stay open whatever is stated, and `unstated`
    are closed by a statement.
    """
    measured, known = tuple(measured), tuple(known)
    statements = given.statements(number)
    broken = [why for at, why in given.broken.items() if given.spec.statements[at].field == number]
    facts = [*measured, *known]
    for at, each in statements:
        facts += [_fact(each), *given.read_facts.get(at, ())]
    found = DossierField(
        number=number,
        status="measured" if measured else "stated" if statements else "missing",
        facts=tuple(facts),
        gaps=(*broken, *gaps, *(() if statements else unstated)),
        at=given.now if measured else None,
        author="Crossgrade" if measured else None,
        attachments=tuple(given.attachments[at] for at, _ in statements if at in given.attachments),
    )
    if measured or not statements:
        return found
    newest = max((each for _, each in statements), key=lambda each: each.date)
    authors = ", ".join(dict.fromkeys(each.author for _, each in statements))
    return replace(found, author=authors, at=datetime.combine(newest.date, time(), UTC))


def _fact(statement: Statement) -> DossierFact:
    where = "" if statement.url is None else f" ({statement.url})"
    text = f"{statement.text}{where}: {statement.author}, {statement.date.isoformat()}"
    return DossierFact(label="stated", text=text, model=statement.model)
