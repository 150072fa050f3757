"""What every section is: strict, with names, texts and addresses of one form."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
NAME_WANTED = "1 to 64 letters, digits, `-`, `_` or `.`, a letter or digit first"
Name = Annotated[str, StringConstraints(pattern=_NAME)]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
Rate = Annotated[Decimal, Field(ge=0, max_digits=20)]


def is_name(text: str) -> bool:
    """Return whether a text may name a model, a workload or a route: see `NAME_WANTED`."""
    return re.fullmatch(_NAME, text) is not None


class Section(BaseModel):
    """A mapping in which unknown keys and other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, title=None)


def values(section: Section) -> dict[str, Any]:
    """Return a section's fields, lists as tuples, as domain objects hold them."""
    fields = {name: getattr(section, name) for name in type(section).model_fields}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
