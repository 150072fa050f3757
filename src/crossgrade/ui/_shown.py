"""What a page shows of an item: its texts, what was said of it, and the choices of its scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossgrade.project import GivenLabel, LabelItem
from crossgrade.store import LabelScale
from crossgrade.ui import _scales
from crossgrade.ui._differences import marked
from crossgrade.ui._markdown import formatted
from crossgrade.ui._texts import Cut, Pieces, cut, markup, visible

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLook:
    """How texts are shown: `raw` without formatting, `plain` without marks of differences."""

    raw: bool = False
    plain: bool = False

    @classmethod
    def of(cls, text: str) -> "TextLook":
        """Read the look from its letters, which is how pages pass it on."""
        return cls(raw="r" in text, plain="p" in text)

    @property
    def letters(self) -> str:
        """Return the look as letters: `r` for raw, `p` for plain."""
        return "r" * self.raw + "p" * self.plain

    def turned(self, what: str) -> "TextLook":
        """Return the look with `raw` or `plain` the other way round."""
        return TextLook(raw=self.raw != (what == "raw"), plain=self.plain != (what == "plain"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownText:
    """A text on the page: `html`, whether it is formatted, and how much of it is shown."""

    html: "Markup"
    formatted: bool
    part: Cut


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownAnswer:
    """An answer with the choices of its scale; `chosen` is the value of the choice that is set."""

    name: str
    field: str
    text: ShownText
    choices: tuple[_scales.ScoreChoice, ...]
    chosen: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownItem:
    """An item as the page shows it; `remark` says why no differences are marked."""

    item: LabelItem
    request: ShownText
    answers: tuple[ShownAnswer, ...]
    together: tuple[_scales.ScoreChoice, ...]
    chosen: str | None
    note: str
    said: str
    remark: str
    look: TextLook
    rubric: "Markup"

    @property
    def is_long(self) -> bool:
        """Return whether a text is folded."""
        return any(each.part.is_long for each in (self.request, *(one.text for one in self.answers)))


def show(
    item: LabelItem,
    given: GivenLabel | None,
    *,
    scale: LabelScale,
    words: tuple[str, str],
    look: TextLook,
    rubric: str,
    typed: Mapping[str, str],
) -> ShownItem:
    """Return what the page shows; `typed` are the fields of a form that was sent and not saved."""
    texts, remark = _answers(item.answers, look)
    scores = given.scores if given else None
    choices = _scales.each_answer(scale, words)
    answers = tuple(
        ShownAnswer(
            name=_scales.name_of(at),
            field=_scales.field_of(at),
            text=text,
            choices=choices,
            chosen=typed.get(_scales.field_of(at))
            or (_chosen(choices, scores[at : at + 1]) if scores else None),
        )
        for at, text in enumerate(texts)
    )
    together = _scales.all_answers(scale, len(answers))
    return ShownItem(
        item=item,
        request=_request(item.request),
        answers=answers,
        together=together,
        chosen=_chosen(together, scores) if scores else None,
        note=typed.get("note", given.note if given else ""),
        said=_scales.in_words(scale, given.scores, given.skipped, words) if given else "",
        remark=remark,
        look=look,
        rubric=format_text(rubric),
    )


def format_text(text: str) -> "Markup":
    """Return a text of the owner with safe formatting."""
    seen = visible(text)
    return markup(formatted(seen) or [seen])


def _answers(texts: Sequence[str], look: TextLook) -> tuple[list[ShownText], str]:
    """Return the answers, with the differences of two marked, or why they are not.

    All are formatted or none is: looks shall not favour one.
    """
    parts = [cut(each) for each in texts]
    seen = [visible(each.text) for each in parts]
    tried = [None if look.raw else formatted(each) for each in seen]
    are_formatted = None not in tried
    shown: list[Pieces] = [
        own if are_formatted and own is not None else [each] for own, each in zip(tried, seen, strict=True)
    ]
    remark = ""
    if len(shown) == 2 and not look.plain:
        if texts[0] == texts[1]:
            remark = "Both answers are the same."
        elif (found := marked(shown[0], shown[1])) is None:
            remark = "The answers differ too much for marks to help."
        else:
            shown = list(found)
    return [
        ShownText(html=markup(each), formatted=are_formatted, part=part)
        for each, part in zip(shown, parts, strict=True)
    ], remark


def _request(text: str) -> ShownText:
    part = cut(text)
    return ShownText(html=markup([visible(part.text)]), formatted=False, part=part)


def _chosen(choices: Sequence[_scales.ScoreChoice], scores: Sequence[float]) -> str | None:
    return next((each.value for each in choices if each.scores == tuple(scores)), None)
