"""What every section is: strict, with names, texts and addresses of one form."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
Rate = Annotated[Decimal, Field(ge=0, max_digits=20)]


class Section(BaseModel):
    """A mapping in which unknown keys and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, title=None)


def values(section: Section) -> dict[str, Any]:
    """Return a section's fields, lists as tuples, as domain objects hold them."""
    fields = {name: getattr(section, name) for name in type(section).model_fields}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
