"""The page of a dossier: what is known, by whom, until when, and what is missing."""

from collections.abc import Iterator
from dataclasses import dataclass

from crossgrade.domain import ControlEvidence, Dossier, DossierField, EvidenceStatus
from crossgrade.report._format import readable, sentence
from crossgrade.report._html import render
from crossgrade.report._view import Table

_STATUSES: tuple[EvidenceStatus, ...] = ("met", "partly", "not", "not applicable")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldView:
    """A field as the page shows it: its title and status, a line on its evidence, facts and gaps.

    `groups` are the facts of the workload (with an empty name) and of each model.
    """

    title: str
    anchor: str
    status: str
    evidence: str
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameworkView:
    """A law or standard as the page shows it: where its list comes from, dates, and its controls."""

    title: str
    counts: str
    lines: tuple[str, ...]
    table: Table


def render_dossier(dossier: Dossier, *, dossier_id: str, digest: str) -> str:
    """Return a recorded dossier as one HTML page; raises MissingExtraError without `report`."""
    dossier = readable(dossier)
    counts = {status: len(dossier.with_status(status)) for status in ("measured", "stated", "missing")}
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    return render(
        "dossier.html.j2",
        title=f"Dossier of {dossier.workload}",
        headline=f"{len(dossier.fields)} fields: {words}",
        lead="Measured was found out here, stated is what a named person says, missing is not shown at all. "
        "The page lists evidence and its gaps. It claims no conformity with any law or standard, and no "
        "software takes over liability.",
        facts=_facts(dossier),
        names=f"Dossier {dossier_id}, digest {digest}.",
        findings=[f"Field {each.field}: {each.text}." for each in dossier.findings],
        overview=_overview(dossier),
        fields=[_field(each, dossier) for each in dossier.fields],
        frameworks=list(_frameworks(dossier)),
    )


def _facts(dossier: Dossier) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = [(each.part, each.name) for each in dossier.models]
    found += [
        ("made", f"{dossier.made_at:%Y-%m-%d %H:%M} UTC"),
        ("holds until", f"{dossier.valid_until:%Y-%m-%d %H:%M} UTC, or a change"),
    ]
    if dossier.lacks:
        missing = ", ".join(str(each) for each in dossier.lacks)
        found.append(("opens no gated route", f"required fields are missing: {missing}"))
    return found


def _overview(dossier: Dossier) -> tuple[tuple[str, ...], ...]:
    """Return a row for each field: its anchor, title, status, end and how many gaps it has."""
    return tuple(
        (
            _anchor(each),
            f"{each.number} {each.name}",
            each.status,
            "" if each.status == "missing" else f"{each.expires or dossier.valid_until:%Y-%m-%d}",
            str(len(each.gaps) or ""),
        )
        for each in dossier.fields
    )


def _anchor(field: DossierField) -> str:
    return f"field-{field.number}"


def _field(field: DossierField, dossier: Dossier) -> FieldView:
    groups: dict[str, list[tuple[str, str]]] = {}
    for fact in field.facts:
        groups.setdefault(fact.model or "", []).append((fact.label, fact.text))
    for each in field.attachments:
        line = f"{each.path}, {each.size_bytes:,} bytes, sha256 {each.sha256}"
        groups.setdefault("", []).append(("attached", line))
    return FieldView(
        title=f"{field.number} {field.name}",
        anchor=_anchor(field),
        status=field.status,
        evidence=_evidence(field, dossier),
        groups=tuple((name, tuple(facts)) for name, facts in groups.items()),
        gaps=tuple(sentence(each) for each in field.gaps),
    )


def _evidence(field: DossierField, dossier: Dossier) -> str:
    """Return in a line who found or stated a field, when, on what evidence, and until when that holds."""
    if field.status == "missing":
        return "Known so far:" if field.facts else ""
    verb = "Measured" if field.status == "measured" else "Stated"
    parts = [f"{verb} by {field.author or 'an unnamed person'}"]
    if field.at is not None:
        parts[0] += f" on {field.at:%Y-%m-%d}"
    if field.evidence_id is not None:
        parts.append(f"evidence {field.evidence_id}")
    if field.digest is not None:
        parts.append(f"digest {field.digest}")
    parts.append(f"expires on {field.expires or dossier.valid_until:%Y-%m-%d}")
    return f"{', '.join(parts)}."


def _frameworks(dossier: Dossier) -> Iterator[FrameworkView]:
    for each in dossier.frameworks:
        controls = [control for control in dossier.controls if control.framework == each.key]
        statuses = [control.status for control in controls]
        counts = ", ".join(f"{statuses.count(status)} {status}" for status in _STATUSES if status in statuses)
        source = (
            f"Published {each.published}: {each.source}. {each.checked} The list is as of {each.read_on}."
        )
        yield FrameworkView(
            title=f"{each.name}, {each.version}",
            counts=counts,
            lines=(source, *(f"{line}." for line in each.dates)),
            table=Table(
                title=f"{each.name}: controls",
                head=("control", "evidence", "why"),
                rows=tuple(_control(control) for control in controls),
            ),
        )


def _control(control: ControlEvidence) -> tuple[str, ...]:
    return (f"{control.control} {control.name}", control.status, control.reason)
