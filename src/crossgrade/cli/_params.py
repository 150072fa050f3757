"""Types of parameters, and how the options of a command fill a dataclass."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

__all__ = ["Day", "ParamType", "filled"]

_Options = TypeVar("_Options")


def filled(kind: type[_Options], given: Mapping[str, Any], **more: Any) -> _Options:
    """Return the dataclass whose fields a command's parameters of the same names fill, and `more`."""
    from dataclasses import fields

    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # TypeVar of dataclasses
    return kind(**{**{name: value for name, value in given.items() if name in names}, **more})


class Day(click.DateTime):
    """A day, YYYY-MM-DD."""

    def __init__(self) -> None:
        """Take that form only."""
        super().__init__(["%Y-%m-%d"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return midnight of the day; refuse what is none."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a day of the form YYYY-MM-DD.", param, ctx)


if TYPE_CHECKING:
    from click import ParamType
else:

    class ParamType(click.ParamType):
        """A parameter type; click's own takes a subscript since 8.4 only."""

        def __class_getitem__(cls, _converted: object) -> type[Self]:
            return cls
