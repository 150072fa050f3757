"""What differs between two dossiers of a workload, in sentences."""

from collections.abc import Iterator

from crossgrade.domain import DOSSIER_FIELDS, Dossier

_COMPARED = range(1, 15)
"""The fields whose content is compared: those after them are about the dossier itself."""

_LIVE = frozenset({12, 13, 14})
"""Fields that count what happens every day. Only their status is compared; the basis has the access rules."""


def basis_changes(before: Dossier, after: Dossier) -> Iterator[str]:
    """Yield which parts of which models, or which verdict, are others than in an earlier dossier."""
    then = {each.name: each for each in before.models}
    now = {each.name: each for each in after.models}
    for name in then.keys() - now.keys():
        yield f"{name} is no model of the workload any more"
    for name, model in now.items():
        if name not in then:
            yield f"{name} is a new model of the workload"
            continue
        known = then[name].basis
        for part in dict.fromkeys((*known, *model.basis)):
            if known.get(part) != model.basis.get(part):
                yield f"{part} of {name} changed"
    if before.verdict_id != after.verdict_id:
        yield f"the verdict is {after.verdict_id or 'gone'}, and was {before.verdict_id or 'none'}"


def field_changes(before: Dossier, after: Dossier) -> Iterator[str]:
    """Yield which fields say something else than in an earlier dossier."""
    for number in _COMPARED:
        then, now = before.field(number), after.field(number)
        name = f"field {number} ({DOSSIER_FIELDS[number]})"
        if then.status != now.status:
            yield f"{name} was {then.status} and is {now.status}"
        elif number not in _LIVE and (then.facts, then.gaps) != (now.facts, now.gaps):
            yield f"{name} says something else"
