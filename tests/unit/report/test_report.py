"""Reports: safe, small, self-contained, identical between runs, and the same numbers everywhere."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from crossgrade.decide import EvidencePoint, Remark, RouterReport, Verdict
from crossgrade.report import render_html, render_junit, render_markdown, render_text, write_report
from crossgrade.report._headline import headline
from crossgrade.report._rows import forest, group_forest
from tests.codes import raises_code


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]


def test_page_is_one_safe_self_contained_file(verdict: Verdict) -> None:
    page = render_html([verdict])
    seen = _Tags()
    seen.feed(page)
    assert not {"script", "link", "iframe", "object"} & set(seen.tags)
    assert seen.tags.count("svg") == 6  # two paths of evidence, two charts in two sizes
    assert "<b>extraction" not in page
    assert "(5,000 characters in all)" in page
    assert len(page.encode()) < 500_000
    assert len(seen.ids) == len(set(seen.ids))
    assert not re.search(r'(?:src|href)="(?!#)', page.replace("xlink:href", "href"))


def test_three_hundred_segments_fit_a_page(verdict: Verdict) -> None:
    whole, part = verdict.certificates[0], verdict.certificates[2]
    labels = [f"department {n} of the company" for n in range(300)]
    certificates = (whole, *(replace(part, segment=label, share=1 / 300) for label in labels))
    path = tuple(
        EvidencePoint(candidate="scout", segment=label, n=n, e_pass=0.97**n, e_fail=1.03**n)
        for label in (None, *labels)
        for n in range(1, 121)
    )
    page = render_html([replace(verdict, certificates=certificates, path=path)])
    assert len(page.encode()) < 500_000
    assert page.count("0.610, ≤ 0.730") >= 600  # in the figure and in the table
    assert "Drawn are 12 of 301: the whole, and those that took longest." in page


def test_a_figure_keeps_its_labels_as_they_are(verdict: Verdict) -> None:
    odd = replace(verdict.certificates[1], segment="a: 1.2345; b")
    assert ">a: 1.2345; b</span>" in render_html([replace(verdict, certificates=(odd,))])


def test_backticks_are_code_and_markup_in_them_is_text(verdict: Verdict) -> None:
    page = render_html([replace(verdict, reasons=(Remark("saves", "set `prices`, not `<b>`; 5 % off"),))])
    assert "<li>set <code>prices</code>, not <code>&lt;b&gt;</code>; 5\u00a0% off</li>" in page


def test_page_is_identical_between_renders(verdict: Verdict) -> None:
    assert render_html([verdict, verdict]) == render_html([verdict, verdict])


@pytest.mark.parametrize("render", [render_html, render_markdown, lambda v: render_text(v[0])])
def test_every_form_shows_the_same_numbers(verdict: Verdict, render: object) -> None:
    text = render([verdict]).replace("\u00a0", " ")
    for number in ("0.881 (0.834 to 0.931)", "0.980, ≥ 0.930", "Move sentiment to scout", "3.0 %"):
        assert number in text, number


def test_unknown_cost_is_said_and_never_zero(verdict: Verdict) -> None:
    text = render_markdown([verdict])
    assert "Unknown here: no price for scout" in text
    assert "$0 " not in text


def test_markdown_keeps_hostile_cells_in_their_table(verdict: Verdict) -> None:
    hostile = replace(verdict, sentence="a | b\n<img src=x onerror=y>")
    text = render_markdown([hostile])
    assert "<img" not in text
    assert "a \\| b &lt;img" in text


def test_junit_fails_exactly_when_the_gate_does(verdict: Verdict) -> None:
    def failed(name: str) -> bool:
        root = ET.fromstring(render_junit([replace(verdict, name=name)]))
        return root.find(".//testcase[@name='verdict']/failure") is not None

    assert [failed(name) for name in ("switch", "split", "keep", "undecided", "invalid")] == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_junit_survives_control_characters(verdict: Verdict) -> None:
    ET.fromstring(render_junit([replace(verdict, name="keep", sentence="bell \x07 and \x00")]))


HOSTILE = "\x1b]0;x\x07 $\\foo$ \u202e\ufffe\ud800\x00 中文\nswitch " + "W" * 300


@pytest.mark.parametrize(
    "render", [render_html, render_markdown, render_junit, lambda verdicts: render_text(verdicts[0])]
)
def test_hostile_names_drive_no_terminal_and_break_no_form(verdict: Verdict, render: object) -> None:
    certificates = tuple(replace(each, candidate=HOSTILE, segment=HOSTILE) for each in verdict.certificates)
    path = tuple(replace(each, candidate=HOSTILE, segment=HOSTILE) for each in verdict.path)
    losses = tuple(
        replace(each, sample_id=HOSTILE, candidate_output="two\nlines\x1b[2J") for each in verdict.losses
    )
    hostile = replace(
        verdict,
        workload=HOSTILE,
        sentence=HOSTILE,
        reasons=(Remark(None, HOSTILE, candidate=HOSTILE, segments=(HOSTILE,)),),
        certificates=certificates,
        path=path,
        losses=losses,
    )
    text = render([hostile])
    text.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ufffe]", text)
    if render is render_html:
        assert "two\nlines\ufffd[2J" in text
    else:
        assert not re.search("^ *switch W", text, re.MULTILINE)
    if render is render_junit:
        ET.fromstring(text)


def test_report_is_written_whole_or_not_at_all(verdict: Verdict, tmp_path: Path) -> None:
    path = write_report([verdict], tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_the_suffix_of_a_report_picks_its_form(
    verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    begins = {
        "a.HTM": "<!doctype html>",
        "a": "<!doctype html>",
        "a.md": "## ",
        "a.XML": "<?xml",
        "summary": "## ",
    }
    for name, text in begins.items():
        assert write_report([verdict], tmp_path / name).read_text(encoding="utf-8").startswith(text), name
    for name in ("a.pdf", "a.json"):
        with raises_code("report-form-unknown", name, ".html", ".md", ".xml"):
            write_report([verdict], tmp_path / name)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("alpha", "words"), [(0.05, "5 %"), (0.025, "2.5 %"), (0.001, "0.1 %")])
def test_the_error_rate_is_not_rounded(verdict: Verdict, alpha: float, words: str) -> None:
    assert f"at an error rate of {words}\n" in render_text(replace(verdict, alpha=alpha))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_text_fits_the_terminal_and_cuts_no_result(verdict: Verdict, width: int) -> None:
    long = replace(
        verdict.certificates[2], segment="requests of the customers in the northern districts, by letter"
    )
    text = render_text(replace(verdict, certificates=(*verdict.certificates, long)), width=width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    assert flat.count("below the floor") == 2
    assert "certified" in flat
    assert "districts" in flat
    assert re.search("left out: +incumbent-below-chance".replace(" +", r"\s.*?"), text, re.DOTALL)


def test_text_without_a_width_wraps_nothing(verdict: Verdict) -> None:
    segment = "requests of the customers in the northern districts that came by letter" * 3
    text = render_text(replace(verdict, certificates=(replace(verdict.certificates[2], segment=segment),)))
    assert any(segment in line and line.endswith("below the floor") for line in text.splitlines())
    assert f"  {verdict.sentence}" in text.splitlines()


def test_a_sentence_that_two_candidates_share_is_printed_once(verdict: Verdict) -> None:
    both = tuple(Remark("guard-failed", "Both failed.", candidate=each, guard="outage") for each in "bc")
    shared = replace(verdict, name="keep", reasons=both)
    for text in (
        render_text(shared),
        render_markdown([shared]),
        render_junit([shared]),
        render_html([shared]),
    ):
        assert text.count("Both failed.") == 1


def test_green_is_certified_and_nothing_else(verdict: Verdict) -> None:
    text = render_text(verdict, colour=lambda part, tone: f"<{tone}>{part}</>")
    assert "support: <good>SPLIT</>" in text
    assert "<good>certified</>" in text
    assert "<bad>below the floor</>" in text
    assert "<bad>fail</>" in text
    assert text.count("<good>") == 2
    kept = render_text(replace(verdict, name="keep"), colour=lambda part, tone: f"<{tone}>{part}</>")
    assert "support: KEEP\n" in kept


@pytest.mark.parametrize("name", ["switch", "split", "keep", "undecided", "invalid"])
@pytest.mark.parametrize("needed", [None, 1200])
def test_the_headline_has_ten_words_and_one_number_at_most(
    verdict: Verdict, name: str, needed: int | None
) -> None:
    words = headline(replace(verdict, name=name, needed=needed, certificates=verdict.certificates[:1]))
    assert len(words.split()) <= 10, words
    assert len(re.findall(r"\d[\d,.]*", words)) <= 1, words


def test_the_headline_says_what_moves_and_what_it_saves(verdict: Verdict) -> None:
    assert headline(verdict) == "Move 40 % of requests to scout"
    switch = replace(verdict, name="switch", policy=replace(verdict.policy, kind="switch", segments=()))
    assert headline(switch) == "Switch to scout: saves $1,100 a month"
    long = replace(switch, policy=replace(switch.policy, candidate="m" * 200))
    assert len(headline(long)) < 80


def test_the_bar_of_what_is_certified_never_crosses_the_floor(verdict: Verdict) -> None:
    whole = verdict.certificates[0]
    loose = replace(whole, certified=True, retention=replace(whole.retention, outcome="pass"))
    drawn = forest([loose], 0.85)
    assert drawn is not None
    assert (drawn.rows[0].kind, drawn.rows[0].start) == ("certified", drawn.line)
    failed = replace(whole, shown_below=True, retention=replace(whole.retention, outcome="fail"))
    drawn = forest([failed], 0.85)
    assert drawn is not None
    assert drawn.line is not None
    assert drawn.rows[0].start + drawn.rows[0].width <= drawn.line


def test_groups_are_drawn_the_broken_first_and_never_green(verdict: Verdict) -> None:
    rows = [
        replace(verdict.certificates[1], tested=False, certified=False, segment=f"subject {at}")
        for at in range(56)
    ]
    broken = replace(verdict.certificates[3], tested=False)
    page = render_html([replace(verdict, groups=(*rows, broken))])
    drawn = group_forest((*rows, broken), 0.85)
    assert drawn is not None
    assert [row.kind for row in drawn.rows] == ["out", *["reading"] * 56]
    assert drawn.rows[0].over
    assert "<h3>By group</h3>" in page


def test_the_table_names_the_correction_that_was_made(verdict: Verdict) -> None:
    def page(kind: str) -> str:
        return render_html([replace(verdict, routing=RouterReport(kind=kind, trained_on=100, gains=()))])

    assert "(weighted Holm)" in render_html([verdict])
    assert "(weighted Holm)" in page("none")
    assert "(fixed sequence)" in page("topics")


def test_the_steps_of_a_router_stand_in_the_order_of_its_thresholds(verdict: Verdict) -> None:
    """The strictest first, whatever was kept; segments have no order of their own."""
    steps = [replace(verdict.certificates[at], segment=f"step {n}") for n, at in enumerate((2, 1, 2))]
    routing = RouterReport(kind="topics", trained_on=100, gains=())

    def rows(shown: Verdict) -> list[str]:
        return re.findall(r"step \d", render_html([shown]).split("<table")[0])

    routed = replace(verdict, certificates=tuple(steps), routing=routing)
    assert rows(routed)[:3] == ["step 0", "step 1", "step 2"]
    assert rows(replace(routed, routing=None))[0] == "step 1"


def test_losses_say_how_they_were_chosen(verdict: Verdict) -> None:
    assert "the largest difference first" in render_html([verdict])
    assert "These are all 1 sample" in render_html([replace(verdict, losses_drawn_from=1)])
    page = render_html([replace(verdict, losses_drawn_from=90)])
    assert "The incumbent won 90 samples among the requests that would move." in page
    assert "drawn at random (seed 7)" in page


def test_the_note_on_costs_says_how_they_are_known(verdict: Verdict) -> None:
    def priced(**changed) -> str:
        costs = tuple(
            replace(
                each,
                per_request_usd=replace(each.per_request_usd, **changed),
                saving_per_request_usd=replace(each.saving_per_request_usd, **changed),
            )
            for each in verdict.costs
        )
        return render_markdown([replace(verdict, costs=costs)])

    assert "97.5 % intervals" in priced(level=0.975, low=0.1, high=0.3)
    assert "95 % intervals" in priced(level=0.95, low=0.1, high=0.3)
    stated = priced(method="stated", low=None, high=None)
    assert "% intervals" not in stated
    assert "stated" in stated


def test_a_candidate_that_costs_the_same_does_not_cost_more(verdict: Verdict) -> None:
    cost = next(each for each in verdict.costs if each.policy.kind == "split")
    free = replace(cost.saving_per_request_usd, value=0.0)
    same = replace(cost, saving_per_request_usd=free, saving_share=replace(cost.saving_share, value=0.0))
    kept = replace(verdict, name="keep", costs=(same,), requirements=())
    assert headline(kept) == "Keep gpt: scout costs the same"
