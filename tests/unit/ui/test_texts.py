"""Texts of strangers: what is hidden is shown, Markdown stays harmless, differences are found in little time."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.ui._differences import MOST_WORDS, marked
from crossgrade.ui._markdown import FORMATTED_CHARS, formatted
from crossgrade.ui._scales import all_answers
from crossgrade.ui._texts import Tag, cut, markup, visible

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "\n", ".", "日本", "é", "<b>"]), max_size=60).map(
    " ".join
)


def plain(pieces: object) -> str:
    return "".join(each for each in pieces if not isinstance(each, Tag))  # type: ignore[attr-defined]  # pieces of any kind


@given(st.text(st.characters(exclude_categories=())))
def test_a_visible_text_has_no_character_that_hides_or_reorders(text: str) -> None:
    seen = visible(text)
    seen.encode()
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]", seen
    )


def test_characters_that_hide_are_named_and_joiners_stay() -> None:
    assert visible("a\u202eb\x07\r\n\ud800\U000e0041") == "a⟨U+202E⟩b⟨U+0007⟩\n⟨U+D800⟩⟨U+E0041⟩"
    assert visible("👩\u200d🔬 می\u200cخواهم") == "👩\u200d🔬 می\u200cخواهم"


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "![x](http://attacker.example/x.png)",
        "[x](javascript:alert(1)) <http://attacker.example> http://attacker.example",
        "[x][y]\n\n[y]: http://attacker.example 'z'",
        "<img src=x onerror=alert(1)>",
        "|a|b|\n|-|:-:|\n|<b>|<style>*{display:none}</style>|",
        "```<script>\n</code></pre><script>alert(1)</script>\n```",
        "# <svg onload=alert(1)>",
        "&lt;script&gt; &#60;b&#62;",
        "a\n=\n\n1) x\n9999999999) y",
    ],
)
def test_markdown_yields_only_tags_of_ours_without_attributes(text: str) -> None:
    pieces = formatted(text)
    assert pieces is not None
    page = str(markup(pieces))
    tags = set(re.findall(r"<[^>]*>", page))
    ours = r"</?(blockquote|br|code|em|hr|li|ol|p|pre|s|strong|table|tbody|td|th|thead|tr|ul)>"
    for tag in tags:
        assert re.fullmatch(ours + r'|<ol start="\d+">|<p class="heading h[1-6]">', tag), tag


@given(st.text(st.sampled_from("*_`[]()!<>#-+1.|~\\ \n&a\t"), max_size=80))
def test_any_markdown_is_balanced(text: str) -> None:
    open_tags: list[str] = []
    for piece in formatted(text) or ():
        if isinstance(piece, Tag):
            for slash, name in re.findall(r"<(/?)([a-z]+)", piece):
                if slash:
                    assert open_tags.pop() == name
                elif name not in {"br", "hr"}:
                    open_tags.append(name)
    assert open_tags == []


@pytest.mark.parametrize(
    "text",
    [
        "x" * (FORMATTED_CHARS + 1),
        "|a|b|\n|-|-|\n" + "|\n" * 4_900,
        "|a" * 600 + "\n" + "|-" * 600 + "\n" + "a\n" * 3_700,  # each row is filled up to 600 cells
    ],
)
def test_what_is_too_long_or_intricate_is_not_formatted(text: str) -> None:
    assert formatted(text) is None


@given(WORDS, WORDS)
def test_marks_change_no_text_and_keep_what_both_have_in_order(one: str, other: str) -> None:
    found = marked([one], [other])
    if found is None:
        return
    kept = []
    for pieces, text in zip(found, (one, other), strict=True):
        assert plain(pieces) == text
        page = str(markup(pieces))
        assert page.count("<mark>") == page.count("</mark>")
        unmarked = html.unescape(re.sub(r"<mark>.*?</mark>", " ", page, flags=re.DOTALL))
        kept.append(re.findall(r"[぀-ヿ一-鿿]|\w+|[^\w\s]", unmarked))
    assert kept[0] == kept[1]


def test_the_differing_words_are_marked_within_formatting() -> None:
    one, other = formatted("The **cat** sat on a mat."), formatted("The **dog** sat on a *big* mat.")
    found = marked(one or (), other or ())
    assert found is not None
    assert str(markup(found[0])) == "<p>The <strong><mark>cat</mark></strong> sat on a mat.</p>"
    assert str(markup(found[1])) == (
        "<p>The <strong><mark>dog</mark></strong> sat on a <em><mark>big</mark></em> mat.</p>"
    )


def test_texts_with_little_in_common_are_not_marked() -> None:
    assert marked(["one two three four five"], ["six seven eight nine ten"]) is None


def test_long_texts_are_compared_by_lines_and_longer_ones_not_at_all() -> None:
    lines = [f"line {number} of the text" for number in range(2_000)]
    changed = [*lines[:500], "another line", *lines[501:]]
    assert len(lines) * 5 > MOST_WORDS
    found = marked(["\n".join(lines)], ["\n".join(changed)])
    assert found is not None
    assert str(markup(found[1])).count("<mark>") == 1
    assert "<mark>another line</mark>" in str(markup(found[1]))
    many = "\n".join("a b c" for _ in range(4_000))
    assert marked([many], [many]) is None


def test_a_cut_says_what_it_leaves_out() -> None:
    part = cut("abcdef", start=2, most=3)
    assert (part.text, part.end, part.is_whole) == ("cde", 5, False)
    assert cut("abc").is_whole
    assert cut("a\n" * 30).is_long


@pytest.mark.parametrize("answers", range(2, 27))
def test_every_choice_has_a_key_of_its_own(answers: int) -> None:
    others = {"d", "f", "m", "n", "s", "u", "?"} - ({"d"} if answers != 2 else set())  # the page's own
    keys = [each.key for each in all_answers("compare", answers) if each.key]
    assert len(keys) == len(set(keys)) == min(answers, 9) + 2
    assert not others & set(keys)
