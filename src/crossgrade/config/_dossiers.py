"""From the section `dossier` to what dossiers state: names are resolved, files are inside the project."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from crossgrade.config._dossier_schema import DossierSection, StatementSection
from crossgrade.config._problems import shown
from crossgrade.config._resolve import Resolver
from crossgrade.config._section import values
from crossgrade.domain import DossierSpec, NotApplicable, Offer, Statement, Workload
from crossgrade.errors import hint_among


@dataclass(slots=True)
class DossierResolver:
    """Resolves statements against models and workloads, adding to the problems of `resolver`."""

    resolver: Resolver
    offers: Mapping[str, Offer]
    workloads: Mapping[str, Workload]

    def spec(self, section: DossierSection) -> DossierSpec:
        """Return what the section states."""
        return DossierSpec(
            statements=tuple(self._statement(at, each) for at, each in enumerate(section.statements)),
            not_applicable=tuple(NotApplicable(**values(each)) for each in section.not_applicable),
            valid_days=section.valid_days,
            required=tuple(dict.fromkeys(section.required)),
        )

    def _statement(self, at: int, section: StatementSection) -> Statement:
        where = f"dossier.statements.{at}"
        fields = values(section)
        known = {"model": self.offers, "workload": self.workloads}
        for kind, names in known.items():
            name = fields[kind]
            if name is not None and name not in names:
                message = f"no {kind} {shown(name)} under `{kind}s`"
                self._refuse(f"{where}.{kind}", message, hint_among(name, names), code=f"{kind}-undefined")
        if section.date > datetime.now(UTC).date():
            message = f"{section.date} is in the future"
            self._refuse(f"{where}.date", message, "give the day on which it was stated", code="date-future")
        if section.sha256 is not None and section.file is None:
            message = "`sha256` is the digest of a file, and there is none"
            self._refuse(f"{where}.sha256", message, "name the `file`, or remove it", code="digest-alone")
        file: Path | None = None
        if section.file is not None:
            file = self.resolver.path(f"{where}.file", section.file)
        return Statement(**{**fields, "file": file})

    def _refuse(self, where: str, message: str, hint: str | None, *, code: str) -> None:
        self.resolver.problems.append(self.resolver.tree.error(where, message, hint, code=code))
