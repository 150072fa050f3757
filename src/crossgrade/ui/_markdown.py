"""Markdown as safe formatting: links, images and HTML stay text, so that nothing leads out of the page."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from crossgrade.ui._texts import Pieces, Tag

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

FORMATTED_CHARS = 10_000
"""The most characters that are formatted; a longer text is shown as it is."""

_MOST_TOKENS = 10_000
_DEEPEST = 12
_TAGS = frozenset(
    "blockquote br code del em hr li ol p pre s strong table tbody td th thead tr ul".split()  # noqa: SIM905  # a list of words
)


def formatted(text: str) -> Pieces | None:
    """Return a Markdown text as pieces; None if it is too long or too intricate to be formatted."""
    if len(text) > FORMATTED_CHARS or _cells(text) > _MOST_TOKENS:
        return None
    tokens = _parser().parse(text)
    if sum(1 + len(each.children or ()) for each in tokens) > _MOST_TOKENS:
        return None
    return list(_pieces(tokens))


def _cells(text: str) -> int:
    """Return the most cells that a table in a text can have; short rows are filled up to the longest."""
    lines = text.split("\n")
    return max(line.count("|") for line in lines) * len(lines)


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    options = {"html": False, "linkify": False, "typographer": False, "breaks": True, "maxNesting": _DEEPEST}
    leading_out = ["link", "image", "autolink", "reference", "html_block", "html_inline"]
    return MarkdownIt("commonmark", options).enable(["table", "strikethrough"]).disable(leading_out)


def _pieces(tokens: "list[Token]") -> Iterator[str]:
    for token in tokens:
        if token.type == "inline":
            yield from _pieces(token.children or [])
        elif token.type in {"fence", "code_block"}:
            yield from (Tag("<pre><code>"), token.content, Tag("</code></pre>"))
        elif token.type == "code_inline":
            yield from (Tag("<code>"), token.content, Tag("</code>"))
        elif token.type in {"softbreak", "hardbreak"}:
            yield Tag("<br>")
        elif token.tag and not token.hidden:
            yield Tag(_tag(token))
        elif not token.tag:  # a hidden paragraph of a tight list has a tag, and nothing to say
            yield token.content


def _tag(token: "Token") -> str:
    """Return a tag without attributes; the headings of an answer are no headings of the page."""
    if token.tag[0] == "h" and token.tag[1:].isdigit():
        return f'<p class="heading h{token.tag[1:]}">' if token.nesting == 1 else "</p>"
    if token.tag not in _TAGS:
        return ""
    if token.tag == "ol" and token.nesting == 1:
        return f'<ol start="{int(token.attrs.get("start", 1))}">'
    return f"<{token.tag}>" if token.nesting >= 0 else f"</{token.tag}>"
