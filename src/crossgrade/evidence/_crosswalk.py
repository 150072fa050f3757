"""How far a dossier has what the controls of laws and standards ask to see, derived from its fields.

It never says that a control is conformed to: that is for an assessment to find.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from importlib.resources import files

import msgspec

from crossgrade.domain import ControlEvidence, DossierField, EvidenceStatus, Framework, NotApplicable

FRAMEWORKS = ("eu-ai-act", "nist-ai-rmf", "nist-ai-600-1", "iso-42001", "owasp-llm-2026")


class ControlRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A control, the fields that it asks for, and why a dossier cannot have all of it (empty: it can)."""

    id: str
    name: str
    fields: tuple[int, ...] = ()
    at_most_partly: str = ""


class DatedDuty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A day from which duties apply, and where that was read."""

    date: date
    what: str
    source: str


class Crosswalk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of `data/crosswalk`; its README describes the keys."""

    key: str
    name: str
    version: str
    published: str
    source: str
    read_on: date
    checked: str
    dates: tuple[DatedDuty, ...]
    controls: tuple[ControlRow, ...]

    @property
    def framework(self) -> Framework:
        """The law or standard as dossiers name it."""
        return Framework(
            key=self.key,
            name=self.name,
            version=self.version,
            published=self.published,
            source=self.source,
            read_on=self.read_on,
            checked=self.checked,
            dates=tuple(f"{each.date}: {each.what} ({each.source})" for each in self.dates),
        )


@cache
def crosswalks() -> tuple[Crosswalk, ...]:
    """Return the packaged crosswalks."""
    folder = files("crossgrade") / "data" / "crosswalk"
    return tuple(
        msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=Crosswalk) for name in FRAMEWORKS
    )


def controls_of(
    fields: Sequence[DossierField], excluded: Iterable[NotApplicable] = ()
) -> tuple[ControlEvidence, ...]:
    """Return every control with the status of its evidence. `fields` are 1 to 16 in their order."""
    because = {(each.framework, each.control): each.because for each in excluded}
    return tuple(
        _control(walk.key, row, fields, because.get((walk.key, row.id)))
        for walk in crosswalks()
        for row in walk.controls
    )


def _control(
    key: str, row: ControlRow, fields: Sequence[DossierField], excluded: str | None
) -> ControlEvidence:
    status, reason = _found(row, fields)
    if excluded is not None:
        status, reason = "not applicable", excluded
    return ControlEvidence(
        framework=key, control=row.id, name=row.name, status=status, reason=reason, fields=row.fields
    )


def _found(row: ControlRow, fields: Sequence[DossierField]) -> tuple[EvidenceStatus, str]:
    """Return how far the fields of a control are there, and why not further."""
    wanted = [fields[number - 1] for number in row.fields if number <= len(fields)]
    if not wanted:
        return ("partly", "see the other fields") if row.fields else ("not", row.at_most_partly)
    missing = [each for each in wanted if each.status == "missing"]
    if len(missing) == len(wanted):
        return "not", f"missing: {_names(missing)}"
    if missing:
        return "partly", f"missing: {_names(missing)}"
    if row.at_most_partly:
        return "partly", row.at_most_partly
    gaps = [each for each in wanted if each.gaps]
    if gaps:
        return "partly", f"with gaps: {_names(gaps)}"
    return "met", f"the evidence is in {_names(wanted)}"


def _names(fields: Iterable[DossierField]) -> str:
    return ", ".join(f"{each.number} {each.name}" for each in fields)
