"""Providers that go wrong in every way: bounded, said clearly, nothing lost, nothing leaked."""

import json
from collections import Counter

import pytest

from crossgrade.testing import Fault, ReceivedRequest, Reply
from tests.codes import names, noted, said
from tests.e2e.driving import KEY, CommandLine, Project, Script, honest, number

FOR_EVER = {
    "html": (("answer-not-expected-type", "10", "new", "text/html"), "base_url"),
    "half_json": (("answer-not-json", "10", "new"), "run again"),
    "empty_choices": (("answer-without-content", "10", "new"), "run again"),
    "drop": (("connection-broke-off", "10", "new"), "run again"),
    "hang": (("answer-timeout", "10", "new", "0.1"), "timeout_s"),
    "drip": (("answer-timeout", "10", "new", "0.1"), "timeout_s"),
    "redirect": (("upstream", "10", "new", "307"), "redirects are never followed"),
    "server_error": (("upstream", "10", "new", "500"), "run again"),
}


def runs(cli: CommandLine) -> list[dict[str, object]]:
    return json.loads(cli.succeeds("runs", "--json").out)["runs"]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", FOR_EVER)
def test_a_model_that_never_answers_well(
    cli: CommandLine, project: Project, script: dict[str, Script], kind: str
) -> None:
    error, hint = FOR_EVER[kind]
    if kind in {"hang", "drip"}:
        project.change("    model: new-model\n", "    model: new-model\n    timeout_s: 0.1\n")
    script["new-model"] = lambda _: Fault(kind)
    message = cli.fails("evaluate", "echo", "--yes", code=3, error=error)
    assert hint in message
    (run,) = runs(cli)
    assert run["status"] == "failed"
    paid = project.asked("old-model")
    assert run["answers"] == len(paid) + run["errors"]
    assert len(project.fake.requests) < 120

    # The provider is well again: what was paid for is kept, and only the rest is asked.
    script["new-model"] = honest
    cli.succeeds("evaluate", "echo", "--yes", "--resume", str(run["run"]))
    assert max(Counter(project.asked("old-model")).values()) == 1


def test_429_for_ever_is_given_up_after_the_offers_patience(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    project.change("    api_key_env: FAKE_API_KEY\n", "    api_key_env: FAKE_API_KEY\n    patience_s: 0.05\n")
    script["new-model"] = lambda _: Fault("rate_limit")
    cli.fails("evaluate", "echo", "--yes", code=3, error="rate-limited")
    assert runs(cli)[0]["status"] == "failed"


def test_a_wait_of_a_year_is_not_waited_for(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["new-model"] = lambda _: Fault("rate_limit", retry_after="31536000")
    cli.fails("evaluate", "echo", "--yes", code=3, error=("rate-limited", "31536000"))


def test_a_refused_key(cli: CommandLine, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_API_KEY", "sk-wrong-0123456789abcdefghij")
    message = cli.fails("evaluate", "echo", "--yes", code=3, error=("auth", "401"))
    assert "sk-wrong" not in message


@pytest.mark.usefixtures("hasty")
def test_nobody_there(cli: CommandLine, project: Project) -> None:
    project.change(project.fake.base_url, "http://127.0.0.1:9/v1")
    cli.fails("evaluate", "echo", "--yes", code=3, error=("connect-failed", "127.0.0.1:9"))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", ["filtered", "context_too_long"])
def test_what_is_refused_for_its_content_is_an_outcome_and_never_a_switch(
    cli: CommandLine, project: Project, script: dict[str, Script], kind: str
) -> None:
    script["new-model"] = lambda _: Fault(kind)
    found = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert found["name"] in {"invalid", "keep"}
    (run,) = runs(cli)
    assert run["errors"] == len(project.asked("new-model")) > 0


def test_nonsense_usage_makes_the_cost_unknown_and_never_zero(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    def absurd(request: ReceivedRequest) -> Reply:
        counts = {"prompt_tokens": -5, "completion_tokens": "many", "total_tokens": 10**30}
        return Reply(str(number(request)), usage=counts)

    script["new-model"] = absurd
    found = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert found["name"] == "undecided"
    assert said(found["reasons"], "price-unknown", candidate="new")
    (switch,) = (cost for cost in found["costs"] if cost["policy"]["kind"] == "switch")
    assert switch["per_request_usd"]["value"] is switch["saving_per_month_usd"]["value"] is None
    (run,) = runs(cli)
    assert run["spent_usd"] is None


def test_an_echoed_key_is_neither_kept_nor_shown(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["new-model"] = lambda _: Fault("echo_key")
    cli.succeeds("evaluate", "echo", "--yes")
    cli.succeeds("report")
    assert "your key is ***" in (project.folder / "crossgrade-report.html").read_text()
    assert project.secrets() == []
    cli("decide", "echo", "--json", "--markdown", "x.md", "--junit", "x.xml")
    assert KEY not in (project.folder / "x.md").read_text()


@pytest.mark.usefixtures("hasty")
def test_faults_that_pass_cost_nothing_but_a_second_call(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    kinds = ("html", "half_json", "empty_choices", "drop", "server_error", "rate_limit")
    times: Counter[int] = Counter()

    def flaky(request: ReceivedRequest) -> Reply | Fault:
        n = number(request)
        times[n] += 1
        return Fault(kinds[n % len(kinds)], retry_after="0") if times[n] == 1 else honest(request)

    script["new-model"] = flaky
    cli.succeeds("evaluate", "echo", "--yes")
    (run,) = runs(cli)
    assert (run["status"], run["errors"]) == ("finished", 0)
    assert set(times.values()) == {2}


@pytest.mark.usefixtures("hasty")
def test_a_model_that_is_down_for_a_small_dataset_is_no_verdict(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    project.dataset(8)
    script["new-model"] = lambda _: Fault("server_error")
    cli.fails("evaluate", "echo", "--yes", code=3, error=("upstream", "new"))
    assert runs(cli)[0]["status"] == "failed"
    cli.fails("report", error="verdict-missing")


def test_control_characters_of_an_answer_reach_no_terminal(
    cli: CommandLine, project: Project, script: dict[str, Script]
) -> None:
    script["new-model"] = lambda _: Reply("\x1b]0;owned\x07\x1b[2J\u202e<script>alert(1)</script>")
    cli.succeeds("evaluate", "echo", "--yes")
    cli.succeeds("report")
    cli.succeeds("report", "--to", "r.md")
    page = (project.folder / "crossgrade-report.html").read_text()
    assert "<script>" not in page
    assert "\x1b" not in page + (project.folder / "r.md").read_text()


@pytest.fixture
def judged(project: Project, script: dict[str, Script]) -> Project:
    """A project whose answers a third model judges."""
    judge = f"  judge: {{provider: openai-compatible, model: judge-model, base_url: '{project.fake.base_url}', api_key_env: FAKE_API_KEY}}"
    project.change("workloads:\n", f"{judge}\nworkloads:\n")
    project.change("{kind: exact}", "{kind: judge, options: {model: judge, criteria: It is the number.}}")
    script["judge-model"] = lambda _: Reply('{"reason": "it is", "grade": 5}')
    return project


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("html", ("answer-not-expected-type", "10", "judge")),
        ("rate_limit", ("rate-limited",)),
        ("bad_key", ("auth", "401")),
    ],
)
def test_a_judge_that_never_answers(
    cli: CommandLine, judged: Project, script: dict[str, Script], kind: str, seen: str
) -> None:
    well = script["judge-model"]
    script["judge-model"] = lambda _: Fault(kind)
    cli.fails("evaluate", "echo", "--yes", code=3, error=seen)
    assert runs(cli)[0]["status"] == "failed"
    script["judge-model"] = well
    cli.succeeds("evaluate", "echo", "--yes")
    assert max(Counter(judged.asked("old-model")).values()) == 1


def test_what_a_judge_failed_to_score_is_judged_again_on_resuming(
    cli: CommandLine, judged: Project, script: dict[str, Script]
) -> None:
    judged.change("    scorer:", "    mode: fixed\n    scorer:")
    well = script["judge-model"]
    script["judge-model"] = lambda request: Fault("filtered") if "7" in request.prompt else well(request)
    ran = cli.succeeds("evaluate", "echo", "--yes")
    assert noted(ran.err, "pairs-unscored")
    (run,) = runs(cli)
    asked = len(judged.fake.requests)
    script["judge-model"] = well
    ran = cli.succeeds("evaluate", "echo", "--yes", "--resume", str(run["run"]))
    assert not noted(ran.err, "pairs-unscored")
    again = list(judged.fake.requests)[asked:]
    assert {request.model for request in again} == {"judge-model"}
    assert all("7" in request.prompt for request in again)


def test_a_judge_that_talks_nonsense_decides_nothing(
    cli: CommandLine, judged: Project, script: dict[str, Script]
) -> None:
    script["judge-model"] = lambda _: Reply("I like turtles", usage={"prompt_tokens": "x"})
    found = json.loads(cli.succeeds("evaluate", "echo", "--yes", "--json").out)
    assert found["name"] == "invalid"
    assert names(found["sentence"], "unscored")
    assert said(found["reasons"], "guard-failed", guard="unscored")
