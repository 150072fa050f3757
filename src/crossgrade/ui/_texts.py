"""Texts of strangers made fit to read: what cannot be seen is shown, and what is too long is cut.

A text goes through here as *pieces*: words to escape (`str`) between tags of our own (`Tag`).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from markupsafe import Markup

SHOWN_CHARS = 20_000
"""The most characters of one text that a page holds."""

PART_CHARS = 50_000
"""The most characters of one text on a page of its own."""

FOLDED_CHARS = 1_500
FOLDED_LINES = 24
"""A text longer than either is folded until the rater asks for all of it."""

# Controls but tab and line feed, marks that reorder or hide text, tags, and halves of surrogate pairs. The
# joiners U+200C and U+200D stay: Persian, Indic scripts and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


class Tag(str):
    """A tag of our own, which is not escaped."""

    __slots__ = ()


Pieces: TypeAlias = Sequence[str]
"""A text in order: each a `Tag`, or words to escape."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The part of a text that is shown: `text`, from character `start` of `total`."""

    text: str
    start: int
    total: int

    @property
    def end(self) -> int:
        """Return the first character that is not shown any more."""
        return self.start + len(self.text)

    @property
    def is_whole(self) -> bool:
        """Return whether nothing is left out."""
        return len(self.text) == self.total

    @property
    def is_long(self) -> bool:
        """Return whether the text is long enough to be folded."""
        return len(self.text) > FOLDED_CHARS or self.text.count("\n") > FOLDED_LINES


def cut(text: str, *, start: int = 0, most: int = SHOWN_CHARS) -> Cut:
    """Return at most `most` characters of a text from `start` on."""
    return Cut(text[start : start + most], start, len(text))


def visible(text: str) -> str:
    """Return the text with ⟨U+202E⟩ in place of each character that cannot be seen; line ends become LF."""
    return _UNSEEN.sub(_named, text.replace("\r\n", "\n"))


def _named(found: re.Match[str]) -> str:
    return f"⟨U+{ord(found[0]):04X}⟩"


def markup(pieces: Iterable[str]) -> "Markup":
    """Return the pieces as HTML, every word escaped."""
    from markupsafe import Markup, escape

    return Markup("").join(Markup(each) if isinstance(each, Tag) else escape(each) for each in pieces)  # noqa: S704  # tags are ours
