"""Whether a team may train on the answers of a model: its licence, its host, and what the team states."""

from collections.abc import Sequence
from dataclasses import dataclass

from crossgrade.catalog._terms import Terms
from crossgrade.domain import TeachingRight
from crossgrade.errors import UsageError


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
