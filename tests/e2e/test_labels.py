"""People's labels in the store correct a judge, once all that were drawn are there, as a file's do."""

import csv
import http.cookiejar
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

import crossgrade
from crossgrade.project import LabelDesk, LabelOptions, LabelPlan
from crossgrade.store import Rater, RunStatus, utc_now
from tests.codes import noted, raises_code
from tests.e2e.driving import CommandLine, Project


def enter(desk: LabelDesk, plan: LabelPlan, name: str = "owner", **changes: object) -> Rater:
    ends = utc_now() + timedelta(days=1)
    rater = Rater(subject=plan.draw.subject, name=name, ends_at=ends, **changes)  # type: ignore[arg-type]  # fields that the test names
    return desk.enter(desk.invite(rater))[0]


def label_all(desk: LabelDesk, rater: Rater, *, but: int = 0) -> int:
    """Label as a person would who accepts numbers only; return how many items were labelled."""
    done = 0
    while (item := desk.next_item(rater)) is not None and desk.progress(rater).left > but:
        scores = tuple(float(answer.isdigit()) for answer in item.answers)
        assert desk.record(rater, item.id, action=item.id, scores=scores, skip=None, note="")
        done += 1
    return done


def decided(cli: CommandLine, *arguments: str | Path) -> dict[str, object]:
    return dict(json.loads(cli.succeeds("decide", "echo", "--json", *arguments).out))


def test_labels_count_once_all_drawn_items_have_one_and_as_those_of_a_file(
    cli: CommandLine, opened: crossgrade.Project, judged: Project
) -> None:
    plan = opened.labelling.plan("echo", LabelOptions(labels=120))
    assert (len(plan.draw.items), plan.items, plan.is_new) == (120, 240, True)
    assert set(plan.draw.probabilities.values()) == {0.5}
    desk = opened.labelling.open(plan)
    owner = enter(desk, plan, is_owner=True)
    alone = decided(cli)
    assert label_all(desk, owner, but=1) == 119

    (bound,) = desk.standing().bounds
    assert bound.candidate == "new"
    assert bound.labels == 119
    early = decided(cli)
    assert early["name"] == "undecided"
    assert {each["code"] for each in early["reasons"]} >= {"labels-unfinished"}
    assert {each["code"] for each in early["would_change"]} >= {"labels-finished"}
    assert early["certificates"][0]["retention"]["value"] == alone["certificates"][0]["retention"]["value"]
    (unchecked,) = (each for each in early["guards"] if each["name"] == "judge-unchecked")
    assert "119" in unchecked["seen"]
    ran = cli.succeeds("decide", "echo")
    assert noted(ran.err, "labels-left", 1, 120)
    ran = cli.succeeds("runs", "--export", plan.run.id, "--to", judged.folder / "early.csv")
    assert noted(ran.err, "labels-not-in-table", 1)

    assert label_all(desk, owner) == 1
    assert desk.standing().is_finished
    ran = cli.succeeds("decide", "echo", "--apply", "--json")
    assert noted(ran.err, "labels-used", 120)
    by_page = json.loads(ran.out)
    assert by_page["name"] == "switch"
    assert by_page["certificates"][0]["retention"]["labels"] == 120

    table = judged.folder / "run.csv"
    ran = cli.succeeds("runs", "--export", plan.run.id, "--to", table)
    assert noted(ran.err, "labels-in-table", 120)
    by_table = cli.succeeds("decide", table, "--incumbent", "old", "--judge", "judge", "--json")
    of_table = json.loads(by_table.out)["certificates"][0]["retention"]
    assert of_table == pytest.approx(by_page["certificates"][0]["retention"])

    exported = judged.folder / "labels.csv"
    assert opened.labelling.write(plan, exported) == 120
    by_file = cli.succeeds("decide", "echo", "--label-file", exported, "--json")
    assert noted(by_file.err, "labels-of-file", "labels.csv")
    assert json.loads(by_file.out)["certificates"] == by_page["certificates"]
    verified = cli.succeeds("decide", "--verify", "latest")
    assert noted(verified.err, "verified")


def test_a_second_process_goes_on_with_the_same_draw(opened: crossgrade.Project) -> None:
    labelling = opened.labelling
    plan = labelling.plan("echo", LabelOptions(labels=30, seed=5))
    labelling.open(plan)
    again = labelling.plan("echo")
    assert not again.is_new
    assert again.draw == plan.draw
    desk = labelling.open(again)
    label_all(desk, enter(desk, again, is_owner=True), but=29)
    for options in (LabelOptions(seed=6), LabelOptions(scale="compare"), LabelOptions(overlap=0.5)):
        with raises_code("label-draw-fixed"):
            labelling.plan("echo", options)
    with raises_code("label-count-invalid"):
        labelling.plan("echo", LabelOptions(labels=29))


def test_another_draw_replaces_one_that_nobody_has_begun(opened: crossgrade.Project) -> None:
    labelling = opened.labelling
    plan = labelling.plan("echo", LabelOptions(labels=30, seed=5, overlap=0.25, rounds=2))
    labelling.open(plan)
    more = labelling.plan("echo", LabelOptions(labels=1_000))
    assert (more.is_new, more.draw.items[:30]) == (True, plan.draw.items)
    assert set(more.draw.probabilities.values()) == {1.0}
    assert (more.draw.seed, more.draw.settings["overlap"]) == (5, 0.25)
    assert (more.draw.settings["rounds"], more.draw.settings["first"]) == (2, 240)
    for changed in ({"scale": "compare"}, {"overlap": 0.5}, {"seed": 6}, {"rounds": 3}, {"labels": 29}):
        other = labelling.plan("echo", LabelOptions(**changed))  # type: ignore[arg-type]  # of several types
        assert other.is_new
        draw, settings = other.draw, other.draw.settings
        assert {
            "scale": draw.scale, "seed": draw.seed, "labels": len(draw.items), "rounds": settings["rounds"],
            "overlap": settings["overlap"],
        } == {"scale": plan.draw.scale, "seed": 5, "labels": 30, "rounds": 2, "overlap": 0.25, **changed}  # fmt: skip
    first = labelling.plan("echo", LabelOptions(labels=41, draw="residual", rounds=1))
    assert (first.draw.kind, first.draw.settings["labels"]) == ("residual", 41)
    labelling.open(first)
    again = labelling.plan("echo", LabelOptions(draw="random"))
    assert (again.draw.kind, len(again.draw.items), again.draw.seed) == ("random", 100, 5)
    desk = labelling.open(again)
    owner = enter(desk, again, is_owner=True)
    label_all(desk, owner, but=99)
    desk.undo(owner)  # taken back, and yet somebody has begun
    with raises_code("label-draw-fixed"):
        labelling.plan("echo", LabelOptions(draw="residual"))


def test_the_hours_follow_from_the_length_of_the_texts(opened: crossgrade.Project) -> None:
    plan = opened.labelling.plan("echo", LabelOptions(labels=100))
    assert plan.hours == pytest.approx(1.0)  # short texts take 36 seconds all the same
    long = {item: replace(row, request="word " * 2_000) for item, row in plan.rows.items()}
    assert replace(plan, rows=long).hours == pytest.approx(100 * 10_000 / (238 * 6) / 60, rel=0.01)
    assert replace(plan, rows={}).hours == pytest.approx(1.0)


def test_labels_are_added_only_in_the_rounds_that_were_planned(
    cli: CommandLine, opened: crossgrade.Project
) -> None:
    labelling = opened.labelling
    plan = labelling.plan("echo", LabelOptions(labels=100))
    owner = enter(desk := labelling.open(plan), plan, is_owner=True)
    label_all(desk, owner)
    with raises_code("label-draw-fixed"):
        labelling.plan("echo", LabelOptions(rounds=2))
    with raises_code("label-rounds-used"):
        labelling.plan("echo", LabelOptions(labels=200))
    verdict = decided(cli)
    assert verdict["settings"]["alpha"] == 0.05
    assert {each["code"] for each in verdict["reasons"]} & {"labels-rounds"} == set()


def test_each_planned_round_has_its_part_of_alpha(cli: CommandLine, opened: crossgrade.Project) -> None:
    labelling = opened.labelling
    plan = labelling.plan("echo", LabelOptions(labels=100, rounds=2))
    desk = labelling.open(plan)
    label_all(desk, enter(desk, plan, is_owner=True))
    verdict = decided(cli)
    assert verdict["settings"]["alpha"] == 0.025
    assert {each["code"] for each in verdict["reasons"]} >= {"labels-rounds"}
    with raises_code("label-count-invalid"):
        labelling.plan("echo", LabelOptions(labels=150))
    second = labelling.plan("echo", LabelOptions(labels=200))
    assert (second.is_new, second.draw.items[:100]) == (True, plan.draw.items)
    desk = labelling.open(second)
    assert {each["code"] for each in decided(cli)["reasons"]} >= {"labels-unfinished"}
    label_all(desk, enter(desk, second, "Ada"))
    last = decided(cli)
    assert last["settings"]["alpha"] == 0.025
    assert last["certificates"][0]["retention"]["labels"] == 200
    with raises_code("label-rounds-used"):
        labelling.plan("echo", LabelOptions(labels=240))


def test_what_was_drawn_stays_drawn_when_a_run_has_grown(opened: crossgrade.Project) -> None:
    labelling = opened.labelling
    last = labelling.plan("echo", LabelOptions(labels=240)).draw.items[-20:]
    drawn = replace(labelling.plan("echo", LabelOptions(labels=20, rounds=2)).draw, items=last)
    opened.store.labels.append_draw(drawn)
    desk = labelling.open(plan := labelling.plan("echo"))
    label_all(desk, enter(desk, plan, is_owner=True), but=19)
    more = labelling.plan("echo", LabelOptions(labels=40)).draw
    assert more.items[:20] == last
    assert len(set(more.items)) == 40
    assert set(more.probabilities.values()) == {40 / 240}


def test_nothing_is_drawn_from_a_run_that_goes_on(opened: crossgrade.Project) -> None:
    run = opened.labelling.plan("echo").run
    opened.store.runs.append_event(run.id, RunStatus.RUNNING)
    with opened.store.runs.lock(run.id), raises_code("label-run-unfinished"):
        opened.labelling.plan("echo")
    assert opened.labelling.plan("echo").items == 240


def test_skips_count_against_the_candidate(cli: CommandLine, opened: crossgrade.Project) -> None:
    plan = opened.labelling.plan("echo", LabelOptions(labels=120))
    desk = opened.labelling.open(plan)
    owner = enter(desk, plan, is_owner=True)
    for number in range(20):
        item = desk.next_item(owner)
        assert item is not None
        assert desk.record(owner, item.id, action=f"s{number}", scores=None, skip="cannot-judge", note="")
    label_all(desk, owner)
    verdict = decided(cli)
    assert {each["code"] for each in verdict["reasons"]} >= {"labels-skipped"}
    retention = verdict["certificates"][0]["retention"]
    assert retention["labels"] == 120
    assert retention["candidate_mean"] <= 1 - 20 / 120 + 1e-9
    assert retention["incumbent_mean"] == pytest.approx(1.0)
    assert noted(cli.succeeds("decide", "echo").err, "labels-used", 100, 20)


def test_the_label_of_two_raters_is_the_mean_of_their_scores(
    cli: CommandLine, opened: crossgrade.Project, judged: Project
) -> None:
    plan = opened.labelling.plan("echo", LabelOptions(labels=100, overlap=1.0))
    desk = opened.labelling.open(plan)
    for name, score in (("Ada", 1.0), ("Bo", 0.5)):
        rater = enter(desk, plan, name)
        while (item := desk.next_item(rater)) is not None:
            assert desk.record(rater, item.id, action=item.id, scores=(score, score), skip=None, note="")
    standing = desk.standing()
    assert standing.is_finished
    assert len(standing.disagreements) == 100
    exported = judged.folder / "labels.csv"
    opened.labelling.write(plan, exported)
    with exported.open(encoding="utf-8", newline="") as file:
        assert {row["score_1"] for row in csv.DictReader(file)} == {"0.75"}
    verdict = decided(cli)
    assert verdict["certificates"][0]["retention"]["incumbent_mean"] == pytest.approx(0.75)


def test_raters_who_are_too_fast_are_named_in_the_verdict(
    cli: CommandLine, opened: crossgrade.Project
) -> None:
    plan = opened.labelling.plan("echo", LabelOptions(labels=100))
    desk = opened.labelling.open(plan)
    label_all(desk, enter(desk, plan, "Speedy"))
    reasons = {each["code"]: each["text"] for each in decided(cli)["reasons"]}
    assert "Speedy" in reasons["labels-hasty"]


def test_who_cannot_have_read_long_texts_is_named_by_the_verdict_as_by_the_status(
    cli: CommandLine, opened: crossgrade.Project
) -> None:
    plan = opened.labelling.plan("echo", LabelOptions(labels=100))
    opened.labelling.open(plan)
    time = utc_now()
    desk = LabelDesk(opened.store, plan.draw, plan.rows, title="echo", now=lambda: time)
    rater = enter(desk, plan, "Skimmer")
    while (item := desk.next_item(rater)) is not None:
        time += timedelta(seconds=1 + plan.rows[item.id].chars / 800)  # a second is enough for no text at all
        scores = tuple(float(answer.isdigit()) for answer in item.answers)
        assert desk.record(rater, item.id, action=item.id, scores=scores, skip=None, note="")
    assert desk.standing().raters[0].warning is not None
    reasons = {each["code"]: each["text"] for each in decided(cli)["reasons"]}
    assert "Skimmer" in reasons["labels-hasty"]


def test_a_file_is_read_once_and_only_with_drawn_items(opened: crossgrade.Project, judged: Project) -> None:
    labelling = opened.labelling
    others = labelling.plan("echo", LabelOptions(labels=31)).draw.items[30]
    plan = labelling.plan("echo", LabelOptions(labels=30))
    desk = labelling.open(plan)
    owner = enter(desk, plan, is_owner=True)
    file = judged.folder / "labels.csv"
    with raises_code("file-missing"):
        labelling.read(plan, file, owner)
    labelling.write(plan, file)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(",,\n", ",1,0.5\n"), encoding="utf-8")
    assert labelling.read(plan, file, owner) == 30
    assert labelling.read(plan, file, owner) == 0
    standing = desk.standing()
    assert standing.is_finished
    assert standing.raters[0].warning is None  # when the labels of a file were made is not known
    for pair, code in ((others, "label-not-drawn"), ("nope", "label-of-other-run")):
        file.write_text(f"pair,request,answer_1,answer_2,score_1,score_2\n{pair},r,a,b,1,1\n")
        with raises_code(code):
            labelling.read(plan, file, owner)


def test_the_file_that_was_read_last_counts_even_if_its_scores_were_read_before(
    opened: crossgrade.Project, judged: Project
) -> None:
    labelling = opened.labelling
    plan = labelling.plan("echo", LabelOptions(labels=3))
    desk = labelling.open(plan)
    owner, file = enter(desk, plan, is_owner=True), judged.folder / "labels.csv"
    labelling.write(plan, file)
    empty = file.read_text(encoding="utf-8")
    for scores in ((1.0, 0.5), (0.0, 1.0), (1.0, 0.5)):
        file.write_text(empty.replace(",,\n", f",{scores[0]:g},{scores[1]:g}\n"), encoding="utf-8")
        assert labelling.read(plan, file, owner) == 3
        given = [desk.item(owner, each)[1] for each in plan.draw.items]
        assert [each and each.scores for each in given] == [scores] * 3


def test_labels_that_were_only_exported_are_no_new_labels(
    opened: crossgrade.Project, judged: Project
) -> None:
    labelling = opened.labelling
    plan = labelling.plan("echo", LabelOptions(labels=40, overlap=0.5, scale="right-wrong"))
    desk = labelling.open(plan)
    for name, score in (("Ada", 1.0), ("Bo", 0.0)):
        rater = enter(desk, plan, name)
        while (item := desk.next_item(rater)) is not None:
            if name == "Bo" and desk.progress(rater).left == 1:
                break  # of an item that two shall label, one label is there
            assert desk.record(rater, item.id, action=item.id, scores=(score, 1.0), skip=None, note="")
    file, owner, cy = judged.folder / "labels.csv", enter(desk, plan, is_owner=True), enter(desk, plan, "Cy")
    labelling.write(plan, file)
    with file.open(encoding="utf-8", newline="") as source:
        shown = {row["pair"]: row["score_1"] for row in csv.DictReader(source)}
    assert set(shown.values()) >= {"0.5", ""}
    before = opened.store.labels.count(plan.draw.subject)
    assert [labelling.read(plan, file, each) for each in (owner, cy, rater)] == [0, 0, 0]
    assert opened.store.labels.count(plan.draw.subject) == before

    changed = next(iter(each for each, score in shown.items() if score == "0.5"))
    text = file.read_text(encoding="utf-8")
    (line,) = (each for each in text.splitlines() if each.startswith(changed))
    file.write_text(text.replace(line, line.replace(",0.5,1", ",0,1")), encoding="utf-8")
    assert labelling.read(plan, file, owner) == 1
    file.write_text(text.replace(line, line.replace(",0.5,1", ",0.25,1")), encoding="utf-8")
    with raises_code("label-invalid", file=str(file), line=text.splitlines().index(line) + 1):
        labelling.read(plan, file, owner)


def test_labels_of_a_draw_without_a_judge_are_refused(cli: CommandLine, project: Project) -> None:
    cli.succeeds("evaluate", "echo", "--yes")
    with (
        crossgrade.Project.open(project.folder / "crossgrade.yaml") as opened,
        raises_code("judge-not-named"),
    ):
        opened.labelling.plan("echo")


@pytest.fixture
def page(opened: crossgrade.Project) -> Iterator["Page"]:
    """`crossgrade label` in a process of its own."""
    page = Page(opened.config.root)
    yield page
    page.kill()


class Page:
    """A labelling page, as somebody without a script uses it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.links: dict[str, str] = {}

    def start(self, *arguments: str) -> None:
        """Start the page, and read its links."""
        command = [sys.executable, "-m", "crossgrade", "label", *arguments]
        command += ["--no-browser", "--json", "--port", "0"]
        self._process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=os.environ | {"PYTHONPATH": str(Path(crossgrade.__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        printed = ""
        for line in self._process.stdout:
            printed += line
            if line == "}\n":
                break
        self.links = {each["rater"]: each["link"] for each in json.loads(printed)["links"]}

    def kill(self, number: int = signal.SIGKILL) -> tuple[int, str]:
        """End the page, and return its exit code and what it wrote."""
        if self._process is None:
            return 0, ""
        self._process.send_signal(number)
        _, written = self._process.communicate(timeout=60)
        code, self._process = self._process.returncode, None
        return code, written

    def enter(self, name: str) -> "Visitor":
        """Use a rater's link."""
        parts = urlsplit(self.links[name])
        visitor = Visitor(f"{parts.scheme}://{parts.netloc}")
        visitor.send("/enter", link=parse_qs(parts.query)["link"][0])
        return visitor


class Visitor:
    """A browser: it keeps cookies, and sends the forms that pages have."""

    def __init__(self, base: str) -> None:
        self._base = base
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def get(self, path: str = "/") -> str:
        with self._opener.open(f"{self._base}{path}", timeout=60) as response:
            return str(response.read().decode())

    def send(self, path: str, **fields: str) -> str:
        request = urllib.request.Request(
            f"{self._base}{path}",
            data=urlencode(fields).encode(),
            headers={"origin": self._base, "sec-fetch-site": "same-origin"},
        )
        with self._opener.open(request, timeout=60) as response:
            return str(response.read().decode())


def test_the_command_serves_a_page_that_a_kill_does_not_harm(
    cli: CommandLine, page: Page, opened: crossgrade.Project
) -> None:
    page.start("echo", "--labels", "40", "--rater", "Ada", "--quota", "5")
    assert set(page.links) == {"owner", "Ada"}
    assert "echo" in page.enter("Ada").get()
    with pytest.raises(urllib.error.HTTPError) as refused:
        page.enter("Ada")
    assert refused.value.code in {401, 403}

    plan = opened.labelling.plan("echo")
    assert (len(plan.draw.items), plan.is_new) == (40, False)
    desk = opened.labelling.open(plan)
    ada = next(each for each in desk.raters() if each.name == "Ada")
    assert label_all(desk, ada) == 5
    page.kill()
    status = json.loads(cli.succeeds("label", "echo", "--status", "--json").out)
    assert (status["labelled"], status["left"], status["finished"]) == (5, 35, False)
    assert status["draw"]["settings"]["overlap"] == 0.0
    assert {each["rater"]["name"] for each in status["raters"]} == {"owner", "Ada"}

    page.start("echo")
    assert set(page.links) == {"owner"}
    code, written = page.kill(signal.SIGINT)
    assert code == 0, written
    assert "5 of 40" in written


def test_ctrl_c_stops_the_page_from_its_links_on(page: Page, opened: crossgrade.Project) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts what runs in the background
    try:
        page.start("echo", "--labels", "30")
    finally:
        signal.signal(signal.SIGINT, before)
    code, written = page.kill(signal.SIGINT)
    assert code == 0, written
    assert noted(written, "label-stopped", 0, 30)


def test_a_request_that_never_ends_does_not_keep_the_page_up(page: Page, opened: crossgrade.Project) -> None:
    page.start("echo", "--labels", "30")
    page.enter("owner")
    address = urlsplit(page.links["owner"])
    with socket.create_connection((address.hostname, address.port)) as lost:
        head = f"POST /enter HTTP/1.1\r\nhost: {address.netloc}\r\norigin: http://{address.netloc}\r\n"
        head += "content-type: application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\nlink="
        lost.sendall(head.encode())
        code, written = page.kill(signal.SIGINT)
    assert code == 0, written


def test_looking_draws_nothing(cli: CommandLine, opened: crossgrade.Project) -> None:
    for option in (("--status",), ("--suspend", "Ada"), ("--resume", "Ada")):
        cli.fails("label", "echo", *option, error="labels-not-drawn")
        cli.fails("label", "echo", "--overlap", "0.5", *option, error="options-conflict")
    assert opened.labelling.plan("echo", LabelOptions(scale="compare")).is_new


def test_raters_are_suspended_and_files_exchanged(
    cli: CommandLine, opened: crossgrade.Project, judged: Project
) -> None:
    file = judged.folder / "labels.csv"
    cli.succeeds("label", "echo", "--labels", "30", "--export", file)
    cli.fails("label", "echo", "--suspend", "Ada", error="rater-unknown")
    file.write_text(file.read_text(encoding="utf-8").replace(",,\n", ",1,1\n"), encoding="utf-8")
    ran = cli.succeeds("label", "echo", "--import", file, "--rater", "Ada")
    assert noted(ran.err, "labels-imported", 30, "Ada")
    assert noted(cli.succeeds("label", "echo", "--import", file, "--rater", "Ada").err, "labels-imported", 0)
    cli.succeeds("label", "echo", "--suspend", "Ada")
    printed = cli.succeeds("label", "echo", "--status").out
    assert "suspended" in printed
    cli.succeeds("label", "echo", "--resume", "Ada")
    assert "suspended" not in cli.succeeds("label", "echo", "--status").out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "label-subject"),
        (("echo", "--live", "chat"), "label-subject"),
        (("--live", "chat", "--labels", "5"), "options-conflict"),
        (("echo", "--status", "--export", "x.csv"), "options-conflict"),
        (("--live", "chat", "--status"), "label-route-unknown"),
        (("ecko", "--status"), "workload-unknown"),
        (("echo", "--rater", "Ada\nBo"), "rater-name-invalid"),
        (("echo", *["--rater", "A"] * 51), "label-raters-many"),
    ],
)
def test_what_cannot_be_labelled_is_refused(
    cli: CommandLine, project: Project, arguments: tuple[str, ...], error: str
) -> None:
    cli.fails("label", *arguments, error=error)


def test_a_port_that_is_taken_is_said(cli: CommandLine, opened: crossgrade.Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cli.fails("label", "echo", "--port", port, "--no-browser", error=("port-not-free", port))
