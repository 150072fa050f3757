"""Click's base of parameter types, named with what it converts to on every click that is supported."""

from typing import TYPE_CHECKING, Self

import click

__all__ = ["ParamType"]

if TYPE_CHECKING:
    from click import ParamType
else:

    class ParamType(click.ParamType):
        """A parameter type; click's own takes a subscript since 8.4 only."""

        def __class_getitem__(cls, _converted: object) -> type[Self]:
            return cls
