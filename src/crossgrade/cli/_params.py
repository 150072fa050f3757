"""Click's base of parameter types, named with what it converts to on every click that is supported."""

from typing import TYPE_CHECKING, Any, Self

import click

__all__ = ["Day", "ParamType"]


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
