"""The section `dossier` of crossgrade.yaml: what is stated for dossiers, and when they count."""

import datetime as dt
from typing import Annotated

from pydantic import Field, StringConstraints

from crossgrade.config._section import Name, Section, Text, Url

Number = Annotated[int, Field(ge=1, le=17)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=5_000)]


class StatementSection(Section):
    """What a person states about a field of dossiers. It is shown as stated, never as measured."""

    field: Annotated[int, Field(ge=1, le=16)] = Field(
        description="Number of the field: 4 for provider documents, 5 for the intended use, and so on."
    )
    text: Words = Field(description="The statement, in a few sentences.")
    author: Text = Field(description="Who states it.")
    date: dt.date = Field(description="When it was stated, YYYY-MM-DD.")
    workload: Name | None = Field(
        default=None, description="The workload that it is about. Null: all workloads."
    )
    model: Name | None = Field(
        default=None, description="The model that it is about, by name from `models`. Null: the workload."
    )
    file: Text | None = Field(
        default=None,
        description="File that it refers to, relative to this file and inside its folder. Its digest is "
        "in the dossier.",
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the file as it was stated. A file with another digest does not count. By "
        "default it is the digest that the file has in the first dossier with this statement.",
    )
    url: Url | None = Field(default=None, description="Address at which the document is published.")


class NotApplicableSection(Section):
    """A control that does not apply to you, and why."""

    framework: Name = Field(description="Key of the law or standard, such as `eu-ai-act`.")
    control: Text = Field(description="Number of the control, such as `Art. 53`.")
    because: Words = Field(description="Why it does not apply.")


class DossierSection(Section):
    """What cannot be measured here, and what dossiers must have."""

    statements: Annotated[list[StatementSection], Field(max_length=500)] = Field(
        default=[], description="Statements on fields of dossiers."
    )
    not_applicable: Annotated[list[NotApplicableSection], Field(max_length=200)] = Field(
        default=[], description="Controls that do not apply, with the reason."
    )
    valid_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        default=90, description="Days until a dossier expires, unless its evidence expires earlier."
    )
    required: Annotated[list[Number], Field(max_length=17)] = Field(
        default=[],
        description="Fields without which a dossier opens no gated route: 16 requires an approval.",
    )
