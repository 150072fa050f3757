"""A workload's dossier: what is known of its models for those who audit them, field by field."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal

DOSSIER_FIELDS: Mapping[int, str] = {
    1: "Identity",
    2: "Licence",
    3: "Provenance",
    4: "Provider documents",
    5: "Intended use",
    6: "Capability on this workload",
    7: "Safety",
    8: "Red team",
    9: "Bias and group checks",
    10: "Security",
    11: "Privacy",
    12: "Access policy",
    13: "Logging",
    14: "Operation",
    15: "Changes",
    16: "Approvals",
    17: "Control mapping",
}
"""The fields of every dossier, by number."""

FieldStatus = Literal["stated", "measured", "missing"]
"""Where a field comes from: a person stated it, it was measured here, or it is not there."""

EvidenceStatus = Literal["met", "partly", "not", "not applicable"]
"""How far a dossier has what a control asks to see. It says nothing of conformity."""

BasisPart = Literal["model", "weights", "engine", "template", "settings", "access", "policy"]
"""What a dossier holds for: when one of these changes, it has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that a statement refers to: its path in the project's folder, SHA-256 and size in bytes."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a person states about a field, as the configuration has it.

    `model` names the model that it is about, None for the workload; `workload` is None for all. `file` is
    attached. `sha256` is the digest that the file had when it was stated; None accepts what is there when a
    dossier is first made. `url` is where a document was published.
    """

    field: int
    text: str
    author: str
    date: date
    workload: str | None = None
    model: str | None = None
    file: Path | None = None
    sha256: str | None = None
    url: str | None = None

    @property
    def clause(self) -> str:
        """The text without a full stop at its end, since its author follows."""
        return self.text.rstrip().removesuffix(".") or self.text

    @property
    def source(self) -> str:
        """Who stated it and when, as it follows the text."""
        return f"{self.author}, {self.date.isoformat()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotApplicable:
    """A control that does not apply to the team, and why: `eu-ai-act`, `Art. 53`."""

    framework: str
    control: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierSpec:
    """The section `dossier`: statements, controls that do not apply, and when a dossier counts.

    A dossier expires after `valid_days`, or with its earliest evidence. `required` are the fields without
    which it opens no gated route.
    """

    statements: tuple[Statement, ...] = ()
    not_applicable: tuple[NotApplicable, ...] = ()
    valid_days: int = 90
    required: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierFact:
    """One line of a field: what it is about, what is known, and of which model (None: of the workload).

    A measured number is in `value` too, with its interval from `low` to `high`.
    """

    label: str
    text: str
    model: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierField:
    """One field of a dossier. A missing field says in `gaps` what is missing, and may know some facts.

    `evidence_id` and `digest` name the evidence behind it, such as a verdict. `at` is when it was measured or
    stated, `author` who did. `expires` is when the evidence does, None if only the dossier does. `name` is
    what the field is called, so that it stands beside the number wherever a dossier is written.
    """

    number: int
    name: str = field(default="", init=False)
    status: FieldStatus
    facts: tuple[DossierFact, ...] = ()
    gaps: tuple[str, ...] = ()
    evidence_id: str | None = None
    digest: str | None = None
    at: datetime | None = None
    author: str | None = None
    expires: datetime | None = None
    attachments: tuple[Attachment, ...] = ()

    def __post_init__(self) -> None:
        """Take the name from the number, also in a dossier that was recorded with another one or none."""
        object.__setattr__(self, "name", DOSSIER_FIELDS.get(self.number, "unknown"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEvidence:
    """A control of a framework, how far the dossier has what it asks to see, and why.

    `fields` are the numbers of the dossier's fields that the control asks for.
    """

    framework: str
    control: str
    name: str
    status: EvidenceStatus
    reason: str
    fields: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """A law or standard that dossiers are compared with. `read_on` is the day of its list.

    `source` is where it is published, `checked` says how the list of its controls was compared with it.
    """

    key: str
    name: str
    version: str
    published: str
    source: str
    read_on: date
    checked: str
    dates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierFinding:
    """Something wrong that was found while a dossier was made, under a stable `code`."""

    code: str
    field: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierModel:
    """A model of a workload as its dossier names it, and its part in the workload.

    `basis` has a digest by `BasisPart` of what the dossier holds for.
    """

    name: str
    part: Literal["incumbent", "candidate"]
    provider: str
    model: str
    licence: str | None = None
    weights_sha256: str | None = None
    basis: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """A dossier as it was made. It holds until `valid_until`, and as long as its models are what they were.

    `verdict_id` is the verdict in field 6, None if there is none: a route that follows another one has
    another policy. `lacks` are required fields that are missing.
    """

    workload: str
    models: tuple[DossierModel, ...]
    fields: tuple[DossierField, ...]
    controls: tuple[ControlEvidence, ...]
    frameworks: tuple[Framework, ...]
    made_at: datetime
    valid_until: datetime
    verdict_id: str | None = None
    lacks: tuple[int, ...] = ()
    findings: tuple[DossierFinding, ...] = ()
    package_version: str = ""

    @property
    def basis(self) -> Mapping[str, Mapping[str, str]]:
        """By model, the digest of each part that the dossier holds for."""
        return {each.name: each.basis for each in self.models}

    def field(self, number: int) -> DossierField:
        """Return a field by its number."""
        return self.fields[number - 1]

    def with_status(self, status: FieldStatus) -> tuple[DossierField, ...]:
        """Return the fields that have a status."""
        return tuple(each for each in self.fields if each.status == status)
