"""Text in columns and paragraphs that fit a terminal; nothing is ever cut, what is too wide wraps."""

import textwrap
import unicodedata
from collections.abc import Callable, Collection, Sequence

_GAP = "  "
_LEAST = 8
"""No column of text becomes narrower than this; a table that would need it is printed row by row."""

Paint = Callable[[int, int, str], str]
"""Colours a cell: takes the row (0 is the head), the column and the padded text."""


def display_width(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def paragraph(text: str, width: int | None, *, first: str = "", then: str | None = None) -> list[str]:
    """Return a text as lines of at most `width` cells (None: one line), after `first`, then after `then`.

    `then` is as much space as `first` takes, where it is not given. Words are not broken, so that a
    path or a command can be copied.
    """
    then = " " * display_width(first) if then is None else then
    if width is None:
        return [f"{first}{text}".rstrip()]
    lines = textwrap.wrap(
        text,
        max(width, 20),
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]


def columns(
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    width: int | None = None,
    indent: str = "",
    paint: Paint | None = None,
) -> list[str]:
    """Return rows as lines of aligned columns, the first row being the head.

    Columns in `right` are aligned right and never wrap; the others wrap where the table is wider than
    `width` cells (None: it may be as wide as it is). Where there is no room even then, each row becomes
    lines of `head: cell`.
    """
    paint = paint or (lambda _row, _column, text: text)
    natural = [max(display_width(row[at]) for row in rows) for at in range(len(rows[0]))]
    least = [
        size if at in right else max(min(size, _LEAST), _longest_word(rows[0][at]))
        for at, size in enumerate(natural)
    ]
    room = None if width is None else width - len(indent) - len(_GAP) * (len(natural) - 1)
    if room is not None and sum(least) > room:
        return _stacked(rows, width, indent, paint)
    sizes = natural if room is None else _shrunk(natural, least, room)
    wrapped = [[_wrapped(cell, size) for cell, size in zip(row, sizes, strict=True)] for row in rows]
    sizes = [max(display_width(part) for row in wrapped for part in row[at]) for at in range(len(sizes))]
    lines = []
    for number, (row, cells) in enumerate(zip(rows, wrapped, strict=True)):
        for line in range(max(map(len, cells))):
            parts = [
                _padded(cell[line] if line < len(cell) else "", size, right=at in right)
                for at, (cell, size) in enumerate(zip(cells, sizes, strict=True))
            ]
            parts[-1] = parts[-1].rstrip() if len(row) - 1 not in right else parts[-1]
            painted = [paint(number, at, part) if part.strip() else part for at, part in enumerate(parts)]
            lines.append((indent + _GAP.join(painted)).rstrip())
    return lines


def _shrunk(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return the widths with the widest columns made narrower until they fit."""
    sizes = list(natural)
    while sum(sizes) > room:
        widest = max((at for at in range(len(sizes)) if sizes[at] > least[at]), key=lambda at: sizes[at])
        sizes[widest] -= 1
    return sizes


def _stacked(rows: Sequence[Sequence[str]], width: int | None, indent: str, paint: Paint) -> list[str]:
    head, *body = rows
    size = max(map(display_width, head))
    lines: list[str] = []
    for number, row in enumerate(body, start=1):
        lines += [""] if lines else []
        for at, (name, cell) in enumerate(zip(head, row, strict=True)):
            label = indent + _padded(name, size, right=False) + _GAP
            room = None if width is None else max(width - display_width(label), _LEAST)
            for part in _wrapped(cell, room or display_width(cell)):
                lines.append((label + (paint(number, at, part) if part else "")).rstrip())
                label = " " * display_width(label)
    return lines


def _longest_word(text: str) -> int:
    return max(map(display_width, text.split()), default=0)


def _wrapped(cell: str, size: int) -> list[str]:
    if display_width(cell) <= size:
        return [cell]
    lines = textwrap.wrap(cell, size, break_on_hyphens=True)
    if all(display_width(line) <= size for line in lines):
        return lines
    wide: list[str] = [""]  # of characters that take two cells
    for character in cell:
        if display_width(wide[-1] + character) > size:
            wide.append("")
        wide[-1] += character
    return [line.strip() for line in wide]


def _padded(text: str, size: int, *, right: bool) -> str:
    space = " " * (size - display_width(text))
    return space + text if right else text + space
