"""The page of a dossier: what is known, by whom, until when, and what is missing."""

from collections.abc import Iterator
from dataclasses import dataclass

from crossgrade.domain import ControlEvidence, Dossier, DossierField, EvidenceStatus
from crossgrade.report._html import render
from crossgrade.report._view import Table

_STATUSES: tuple[EvidenceStatus, ...] = ("met", "partly", "not", "not applicable")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldView:
    """A field as the page shows it: its title and status, a line on its evidence, facts and gaps."""

    title: str
    anchor: str
    status: str
    evidence: str
    table: Table | None
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
    counts = {status: len(dossier.with_status(status)) for status in ("measured", "stated", "missing")}
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    return render(
        "dossier.html.j2",
        title=f"Dossier of {dossier.workload}",
        headline=f"{len(dossier.fields)} fields: {words}",
        lead="Measured was found out here, stated is what somebody says, missing is what nobody shows. "
        "The page lists evidence and its gaps. It claims no conformity with any law or standard, and no "
        "software takes over liability.",
        facts=_facts(dossier, dossier_id, digest),
        findings=[f"Field {each.field}: {each.text}." for each in dossier.findings],
        overview=_overview(dossier),
        fields=[_field(each, dossier) for each in dossier.fields],
        frameworks=list(_frameworks(dossier)),
    )


def _facts(dossier: Dossier, dossier_id: str, digest: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = [(each.part, each.name) for each in dossier.models]
    found += [
        ("made", f"{dossier.made_at:%Y-%m-%d %H:%M} UTC"),
        ("holds until", f"{dossier.valid_until:%Y-%m-%d %H:%M} UTC, or a change"),
        ("id", dossier_id),
        ("digest", digest),
    ]
    if dossier.lacks:
        missing = ", ".join(str(each) for each in dossier.lacks)
        found.append(("opens no gated route", f"required fields are missing: {missing}"))
    return found


def _overview(dossier: Dossier) -> Table:
    rows = tuple(
        (
            f"{each.number} {each.name}",
            each.status,
            each.author or "",
            "" if each.at is None else f"{each.at:%Y-%m-%d}",
            f"{each.expires or dossier.valid_until:%Y-%m-%d}",
            str(len(each.gaps)) if each.gaps else "",
        )
        for each in dossier.fields
    )
    return Table(
        title="The fields of the dossier",
        head=("field", "status", "by", "on", "expires", "gaps"),
        rows=rows,
        numeric=frozenset({5}),
    )


def _field(field: DossierField, dossier: Dossier) -> FieldView:
    several = any(each.model is not None for each in field.facts)
    rows = tuple(
        ((each.model or "workload",) if several else ()) + (each.label, each.text) for each in field.facts
    ) + tuple(
        ((("workload",) if several else ()) + ("attached", f"{each.path}, sha256 {each.sha256}"))
        for each in field.attachments
    )
    head = (*(("of",) if several else ()), "what", "found")
    title = f"{field.number} {field.name}"
    return FieldView(
        title=title,
        anchor=f"field-{field.number}",
        status=field.status,
        evidence=_evidence(field, dossier),
        table=Table(title=title, head=head, rows=rows) if rows else None,
        gaps=tuple(f"{each[0].upper()}{each[1:]}." for each in field.gaps),
    )


def _evidence(field: DossierField, dossier: Dossier) -> str:
    """Return in a line who found or stated a field, when, on what evidence, and until when that holds."""
    if field.status == "missing":
        return "Nobody shows this." if not field.facts else "Nobody shows this; what is known beside it:"
    verb = "Measured" if field.status == "measured" else "Stated"
    parts = [f"{verb} by {field.author or 'nobody'}"]
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
        source = f"Published {each.published}: {each.source}. {each.checked} Last compared on {each.read_on}."
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
