"""Columns and paragraphs: whatever the width, no word is lost and no line is too wide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from crossgrade._columns import columns, display_width, paragraph

ROWS = [
    ("workload", "n", "what it says", "result"),
    ("support tickets of the shop", "1,234", "retention 0.845 (0.836 to 0.854)", "below the floor"),
    ("mood", "98", "-", "certified"),
]
WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=1, max_size=8).map(" ".join)


def test_a_table_that_has_room_is_aligned() -> None:
    assert columns(ROWS, right={1}) == columns(ROWS, right={1}, width=200)
    assert "\n".join(columns(ROWS, right={1})) == snapshot("""\
workload                         n  what it says                      result
support tickets of the shop  1,234  retention 0.845 (0.836 to 0.854)  below the floor
mood                            98  -                                 certified\
""")


def test_a_narrow_one_wraps_and_cuts_nothing() -> None:
    assert "\n".join(columns(ROWS, right={1}, width=60)) == snapshot("""\
workload             n  what it says      result
support tickets  1,234  retention 0.845   below the floor
of the shop             (0.836 to 0.854)
mood                98  -                 certified\
""")


def test_where_nothing_fits_each_row_becomes_lines() -> None:
    assert "\n".join(columns(ROWS, right={1}, width=30)) == snapshot("""\
workload      support tickets
              of the shop
n             1,234
what it says  retention 0.845
              (0.836 to 0.854)
result        below the floor

workload      mood
n             98
what it says  -
result        certified\
""")


@given(rows=st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=2, max_size=5), width=st.integers(12, 120))
def test_no_letter_is_lost_and_no_line_is_too_wide(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = columns(rows, width=width)
    head = max(len(name) for name in rows[0])
    assert all(display_width(line) <= max(width, head + 2 + 8) for line in lines)
    for row in rows[1:]:
        for word in " ".join(row).split():
            assert set(word) <= set("".join(lines))
    letters = sorted("".join("".join(row).replace(" ", "") for row in rows[1:]))
    seen = sorted("".join(lines).replace(" ", ""))
    for letter in letters:
        seen.remove(letter)  # raises where one was cut


@pytest.mark.parametrize("width", [20, 31, 60])
def test_wide_characters_count_twice(width: int) -> None:
    lines = columns([("名", "n"), ("日本語の分類" * 6, "1")], right={1}, width=width)
    assert all(display_width(line) <= width for line in lines)
    assert "".join(line.split()[0] for line in lines[1:]).count("日") == 6


def test_colour_is_around_the_padded_text() -> None:
    painted = columns(
        ROWS, right={1}, paint=lambda row, at, text: f"<{text}>" if (row, at) == (2, 3) else text
    )
    assert painted[2].endswith("<certified>")
    assert painted[1] == columns(ROWS, right={1})[1]


def test_a_paragraph_hangs_and_breaks_no_path() -> None:
    path = "/a/very/long/path/that-no-terminal/of-this-width/holds.yaml"
    lines = paragraph(f"the file {path} is not there", 30, first="  - ")
    assert lines == ["  - the file", f"    {path}", "    is not there"]
    assert paragraph("a b", None, first="x: ") == ["x: a b"]
    assert paragraph("", 30, first="x: ") == ["x:"]
