"""Whether a team may use a model: refused before anything is spent or served."""

from collections.abc import Iterable

from crossgrade.domain import Clause
from crossgrade.errors import UsageError


def refuse_forbidden(clauses: Iterable[Clause]) -> None:
    """Raise UsageError for the first clause that forbids a model."""
    for clause in clauses:
        if clause.severity == "forbidden":
            permission = f"{{model: {clause.model}, clause: {clause.code}, because: …}}"
            raise UsageError(
                f"you may not use {clause.model}: {clause.words}",
                code="use-forbidden",
                hint=f"leave {clause.model} out, or say why you may under `team.permitted`: {permission}",
            )
