"""What licences and hosts say to the team, told before anything is spent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossgrade.cli._output import note, warn

if TYPE_CHECKING:
    from crossgrade.domain import Clause
    from crossgrade.project import Project


def tell_clauses(project: "Project", clauses: "Sequence[Clause]") -> None:
    """Say on stderr what is forbidden, not known, permitted or to be met.

    Where the team has stated nothing, only models that a licence withholds in some territory are named.
    """
    for clause in clauses:
        if clause.severity == "forbidden":
            warn(f"you may not use {clause.model}: {clause.words} [{clause.code}]", code="use-forbidden")
        elif clause.code == "territory-unknown" or (
            clause.severity == "unknown" and project.config.team.is_stated
        ):
            warn(
                f"it is open whether you may use {clause.model}: {clause.words} [{clause.code}]",
                code="use-unknown",
            )
        elif clause.severity == "permitted":
            note(
                f"{clause.model} is used by your own permission ({clause.because}): {clause.words}",
                code="use-permitted",
            )
        elif clause.severity == "condition" and project.config.team.is_stated:
            note(f"condition of using {clause.model}: {clause.words}", code="use-conditional")
