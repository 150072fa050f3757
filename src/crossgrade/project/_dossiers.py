"""Dossiers of a project's workloads: made, recorded, checked against today, written as files."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.domain import Dossier, DossierFinding, DossierSpec, Workload
from crossgrade.errors import DataError, NotFoundError
from crossgrade.evidence import Approval, DossierInput, basis_changes, build_dossier, crosswalks, dossier_bom
from crossgrade.identity import CLOCK_SKEW
from crossgrade.project._dossier_basis import dossier_basis
from crossgrade.project._dossier_facts import (
    DossierSources,
    access_facts,
    ledger_facts,
    operation_facts,
    registered_models,
    routes_of,
)
from crossgrade.project._dossier_files import ReadFiles, read_files

if TYPE_CHECKING:
    from crossgrade.decide import Verdict
    from crossgrade.store import StoredDossier

_MOST_EARLIER = 1_000
"""So many dossiers are searched for the last one that was approved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierCheck:
    """Whether the newest dossier of a workload still holds.

    `reasons` say what has expired, changed or is missing, and `findings` which files of statements changed.
    `other_verdict_id` is the verdict that a dossier made now would state, None if this one does. It ends
    nothing by itself.
    """

    stored: "StoredDossier"
    reasons: tuple[str, ...]
    findings: tuple[DossierFinding, ...]
    other_verdict_id: str | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.reasons and not self.findings


class ProjectDossiers:
    """The dossiers of a project, made from its `sources`."""

    def __init__(self, sources: DossierSources) -> None:
        self._sources = sources

    def make(
        self, name: str, *, approval: Approval | None = None, now: datetime | None = None
    ) -> "StoredDossier":
        """Make the dossier of a workload, record it, enter it into the ledger, and let gated routes use it.

        Raises NotFoundError for a workload that does not exist, and ConfigError for a control that no
        framework has.
        """
        sources = self._sources
        workload = sources.workload(name)
        now = now or datetime.now(UTC)
        spec = self._spec(workload)
        read = self._read_files(workload, spec)
        verdict_id, verdict = self._verdict(workload)
        given = DossierInput(
            workload=workload,
            models=registered_models(
                sources, workload, dossier_basis(sources.config, workload, sources.environ)
            ),
            spec=spec,
            access=access_facts(sources, name, now),
            ledger=ledger_facts(sources),
            operation=operation_facts(sources, name),
            now=now,
            verdict=verdict,
            verdict_id=verdict_id,
            safety=sources.safety_of(name),
            attachments=read.attachments,
            read_facts=read.facts,
            broken=read.broken,
            findings=tuple(read.findings),
            earlier=next(sources.store.dossiers.newest_first(name), None),
            approved=self._approved(name),
            approval=approval,
        )
        return sources.store.dossiers.append(build_dossier(given))

    def newest(self, name: str) -> "StoredDossier":
        """Return the newest dossier of a workload. Raises NotFoundError without one."""
        self._sources.workload(name)
        found = self._sources.store.dossiers.recent(name, limit=1)
        if not found:
            raise NotFoundError(
                f"there is no dossier of {name!r} yet",
                code="dossier-missing",
                hint=f"make one with `crossgrade dossier {name}`",
            )
        return found[0]

    def check(self, name: str, *, now: datetime | None = None) -> DossierCheck:
        """Compare the newest dossier of a workload with today. Raises NotFoundError without one."""
        stored, now = self.newest(name), now or datetime.now(UTC)
        workload, dossier = self._sources.workload(name), stored.dossier
        reasons = []
        if dossier.valid_until <= now:
            reasons.append(f"it expired on {dossier.valid_until:%Y-%m-%d %H:%M} UTC")
        elif dossier.made_at > now + CLOCK_SKEW:
            reasons.append(f"it was made on {dossier.made_at:%Y-%m-%d %H:%M} UTC, later than it is now")
        today = dossier_basis(self._sources.config, workload, self._sources.environ)
        reasons += basis_changes(dossier.basis, today)
        reasons += [
            f"route {route} follows another verdict than it states"
            for route, followed in self._followed(name).items()
            if stored.mark.is_of_another_policy(followed)
        ]
        reasons += [f"required field {number} is missing" for number in dossier.lacks]
        read = self._read_files(workload, self._spec(workload))
        newest = self._verdict(workload)[0]
        return DossierCheck(
            stored=stored,
            reasons=tuple(reasons),
            findings=tuple(read.findings),
            other_verdict_id=None if newest == dossier.verdict_id else newest,
        )

    def write(self, stored: "StoredDossier", folder: Path) -> tuple[Path, ...]:
        """Write a dossier as a page, as CycloneDX and as JSON, signed if the ledger has a key.

        Raises DataError if the CycloneDX document is not valid, MissingExtraError without `report`, and
        StoreError if a file cannot be written.
        """
        from crossgrade.report import render_dossier, write_json, write_text

        bom = dossier_bom(stored.dossier, dossier_id=stored.id, digest=stored.digest)
        page = render_dossier(stored.dossier, dossier_id=stored.id, digest=stored.digest)
        written = [
            write_text(folder / "dossier.html", page),
            write_json(folder / "dossier.cdx.json", bom),
            write_text(folder / "dossier.json", stored.text),
        ]
        signer = self._sources.store.ledger.secrets.signer()
        if signer is not None:
            # The first line keeps it from being read as a checkpoint, or as a signature of an export.
            note = signer.sign(f"crossgrade-dossier/v1\ndossier {stored.digest}\n")
            written.append(write_text(folder / "signature.note", note))
        return tuple(written)

    def _spec(self, workload: Workload) -> DossierSpec:
        """Return what is stated for a workload. Raises ConfigError for a control that no framework has."""
        config = self._sources.config
        known = {(walk.key, row.id) for walk in crosswalks() for row in walk.controls}
        for at, each in enumerate(config.dossier.not_applicable):
            if (each.framework, each.control) not in known:
                keys = ", ".join(walk.key for walk in crosswalks())
                raise config.error(
                    f"dossier.not_applicable.{at}",
                    f"there is no control `{each.control[:80]}` of `{each.framework}`",
                    f"name one as the page of a dossier lists it; the frameworks are {keys}",
                    code="control-unknown",
                )
        models = {each.name for each in (workload.incumbent, *workload.candidates)}
        mine = [
            each
            for each in config.dossier.statements
            if each.workload in (None, workload.name) and (each.model is None or each.model in models)
        ]
        return replace(config.dossier, statements=tuple(mine))

    def _approved(self, workload: str) -> Dossier | None:
        """Return the newest dossier of a workload that was approved, None without one."""
        earlier = islice(self._sources.store.dossiers.newest_first(workload), _MOST_EARLIER)
        return next((each for each in earlier if each.field(16).status == "stated"), None)

    def _read_files(self, workload: Workload, spec: DossierSpec) -> ReadFiles:
        """Read the files of what is stated, and compare them with those of earlier dossiers."""
        sources = self._sources
        earlier = partial(sources.store.dossiers.naming_file, workload.name)
        return read_files(spec.statements, sources.config.root, earlier)

    def _verdict(self, workload: Workload) -> "tuple[str | None, Verdict | None]":
        """Return the verdict that the workload's routes follow, else its newest one."""
        store = self._sources.store
        for verdict_id in filter(None, self._followed(workload.name).values()):
            try:
                return verdict_id, store.verdicts.get(verdict_id).verdict
            except (NotFoundError, DataError):
                continue
        newest = store.verdicts.recent(workload.name, limit=1)
        return (newest[0].id, newest[0].verdict) if newest else (None, None)

    def _followed(self, workload: str) -> dict[str, str | None]:
        """Return the verdict that each route of a workload follows now, None if it follows none."""
        table = self._sources.store.routes.current()
        names = {each.name for each in routes_of(self._sources, workload)}
        return {each.name: each.verdict_id for each in (table.routes if table else ()) if each.name in names}
