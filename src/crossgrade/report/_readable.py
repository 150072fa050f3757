"""A verdict's texts made fit to show: names come from files, answers from models."""

import re
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast

from crossgrade.decide import Loss, Verdict

T = TypeVar("T")

# What drives a terminal, reorders a line, or is no character of XML 1.0; tabs and line ends aside.
_UNREADABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def readable(verdict: Verdict) -> Verdict:
    """Return the verdict with every text safe to print, each on one line but the answers of losses."""
    return _cleaned(verdict, keep_lines=False)


def _cleaned(value: T, *, keep_lines: bool) -> T:
    if isinstance(value, str):
        text = value if keep_lines else " ".join(value.split())
        return cast("T", _UNREADABLE.sub("\ufffd", text))
    if isinstance(value, tuple):
        return cast("T", tuple(_cleaned(each, keep_lines=keep_lines) for each in value))
    if is_dataclass(value) and not isinstance(value, type):
        lines = keep_lines or isinstance(value, Loss)
        cleaned = {each.name: _cleaned(getattr(value, each.name), keep_lines=lines) for each in fields(value)}
        return cast("T", replace(value, **cleaned))
    return value
