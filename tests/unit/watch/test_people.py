"""People score what no scorer can, and correct a judge; the file says nothing about who wrote what."""

import csv
from pathlib import Path

import pytest

from crossgrade.watch._claims import drawn
from tests.codes import raises_code
from tests.unit.watch.conftest import BAD, GOOD, Site


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fill(path: Path, score: dict[str, str]) -> int:
    """Score every answer by its text, as a person would."""
    rows = read(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            row["score_1"], row["score_2"] = score[row["answer_1"]], score[row["answer_2"]]
            writer.writerow(row)
    return len(rows)


@pytest.fixture
def unmeasured(site: Site) -> Site:
    """A project whose scorer needs reference answers; everything is put before people."""
    site.write(scorer="\n      kind: exact", watch="{label_share: 1}")
    return site


def test_people_raise_the_alarm(unmeasured: Site, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    verdict = unmeasured.apply()
    unmeasured.see(verdict, [(GOOD, BAD)] * 80)
    first = unmeasured.look(label_file=file)
    assert (first.labels, first.waiting) == (0, 80)
    (standing,) = first.standings
    assert (standing.status, standing.by) == ("unmeasurable", "people")
    assert fill(file, {GOOD: "1", BAD: "0"}) == 80
    second = unmeasured.look(label_file=file)
    assert (second.labels, second.waiting) == (80, 0)
    assert {alarm.detail["by"] for alarm in second.alarms} == {"people"}
    assert unmeasured.route().policy.kind == "keep"
    assert read(file) == []


def test_the_file_is_blind(unmeasured: Site, tmp_path: Path) -> None:
    verdict = unmeasured.apply()
    unmeasured.see(verdict, [(GOOD, BAD)] * 60)
    unmeasured.look(label_file=tmp_path / "labels.csv")
    rows = read(tmp_path / "labels.csv")
    firsts = {row["answer_1"] for row in rows}
    assert firsts == {GOOD, BAD}
    text = (tmp_path / "labels.csv").read_text()
    assert "gpt" not in text
    assert "llama" not in text
    assert rows[0]["request"] == "system: Be brief.\n\nuser: Which city?"


def test_nobody_is_asked_where_a_scorer_needs_nobody(site: Site, tmp_path: Path) -> None:
    site.write(watch="{label_share: 1}")
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 5)
    found = site.look(label_file=tmp_path / "labels.csv")
    assert (found.waiting, read(tmp_path / "labels.csv")) == (0, [])
    assert [each.by for each in found.standings] == ["scorer"]


def test_only_the_drawn_share_is_put_before_people(site: Site, tmp_path: Path) -> None:
    site.write(scorer="\n      kind: exact", watch="{label_share: 0.2}")
    verdict = site.apply()
    pairs = site.see(verdict, [(GOOD, GOOD)] * 300)
    found = site.look(label_file=tmp_path / "labels.csv")
    assert found.waiting == sum(drawn(pair.id, 0.2) for pair in pairs)
    assert 30 < found.waiting < 90


def test_a_filled_file_read_twice_counts_once(unmeasured: Site, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    verdict = unmeasured.apply()
    unmeasured.see(verdict, [(GOOD, GOOD)] * 5)
    unmeasured.look(label_file=file)
    fill(file, {GOOD: "0,5", BAD: "0"})
    filled = file.read_bytes()
    assert unmeasured.look(label_file=file).labels == 5
    file.write_bytes(filled)
    found = unmeasured.look(label_file=file)
    assert (found.labels, found.standings[0].audits) == (0, 5)
    assert found.standings[0].retention == pytest.approx(1.0)


def test_rows_left_blank_stay(unmeasured: Site, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    verdict = unmeasured.apply()
    unmeasured.see(verdict, [(GOOD, BAD)] * 3)
    unmeasured.look(label_file=file)
    found = unmeasured.look(label_file=file)
    assert (found.labels, found.waiting) == (0, 3)


def test_answers_cannot_be_formulas(unmeasured: Site, tmp_path: Path) -> None:
    verdict = unmeasured.apply()
    unmeasured.see(verdict, [('=HYPERLINK("http://x")', "@SUM(A1)\0")])
    unmeasured.look(label_file=tmp_path / "labels.csv")
    (row,) = read(tmp_path / "labels.csv")
    assert {row["answer_1"], row["answer_2"]} == {'\'=HYPERLINK("http://x")', "'@SUM(A1)\ufffd"}


@pytest.mark.parametrize(
    ("content", "seen", "line"),
    [
        ("pair,request\n", ("labels-columns", "answer_1"), 1),
        ("pair,request,answer_1,answer_2,score_1,score_2\np,r,a,b,2,0\n", ("label-invalid", 2), 2),
        ("pair,request,answer_1,answer_2,score_1,score_2\np,r,a,b,nan,0\n", ("label-invalid", "nan"), 2),
        ("pair,request,answer_1,answer_2,score_1,score_2\np,r,a,b,good,0\n", ("label-invalid", "good"), 2),
        ("pair,request,answer_1,answer_2,score_1,score_2\np,r,a,b,1,\n", ("labels-incomplete",), 2),
        ("pair,request,answer_1,answer_2,score_1,score_2\np,r\n", None, None),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(
    unmeasured: Site, tmp_path: Path, content: str, seen: tuple[object, ...] | None, line: int | None
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(content)
    unmeasured.apply()
    if seen is None:
        assert unmeasured.look(label_file=file).labels == 0
        return
    with raises_code(*seen) as caught:
        unmeasured.look(label_file=file)
    assert caught.value.line == line
    assert file.read_text() == content


def test_a_file_that_is_no_text(unmeasured: Site, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with raises_code("not-csv"):
        unmeasured.look(label_file=tmp_path / "labels.csv")


def test_a_folder_that_cannot_be_made(unmeasured: Site, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("a file")
    with raises_code("file-unwritable"):
        unmeasured.look(label_file=tmp_path / "none" / "labels.csv")
