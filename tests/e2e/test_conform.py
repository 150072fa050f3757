"""`crossgrade conform` over HTTP: what agrees, what differs, at what cost, and what hosts do wrong."""

import json
from dataclasses import replace
from typing import Any

import pytest

from crossgrade.project import _conforming
from crossgrade.testing import FakeModel, Fault, ReceivedRequest, Reply
from tests.codes import noted, shown_codes
from tests.e2e.driving import CommandLine, Project, Script

QUICK = ("--prompts", "8", "--lengths", "256,512", "--yes")


@pytest.fixture
def hosts(project: Project, script: dict[str, Script]) -> dict[str, FakeModel]:
    """Two healthy hosts of one model, which a test may break."""
    project.change("model: new-model", "model: new-model\n    open_weights: true")
    made = {"old-model": FakeModel(), "new-model": FakeModel()}
    script.update(made)
    return made


def checked(cli: CommandLine, *more: str) -> dict[str, Any]:
    ran = cli.succeeds("conform", "new", "--against", "old", *QUICK, "--json", *more)
    found: dict[str, Any] = json.loads(ran.out)
    return found


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in found["check"]["checks"]}


def test_two_hosts_of_one_model_are_not_told_apart(cli: CommandLine, hosts: dict[str, FakeModel]) -> None:
    found = checked(cli)
    assert found["conformity"] == "conforms"
    rows = outcomes(found)
    assert "differs" not in rows.values()
    assert {name for name, outcome in rows.items() if outcome == "agrees"} >= {
        "template",
        "token-counts",
        "context",
        "copy",
        "tools",
        "schema",
        "stop",
        "temperature",
        "answers",
    }
    assert rows["log-probabilities"] == "unchecked"
    counts = next(each for each in found["check"]["checks"] if each["name"] == "template")
    assert counts["seen"].startswith("5, 11, 15, 31, 8 "), "in the order of the questions"
    assert hosts["new-model"].calls == hosts["old-model"].calls == found["check"]["calls"] / 2


@pytest.mark.parametrize(
    ("fault", "row"),
    [
        ({"weights": "2"}, "answers"),
        ({"frame": 7}, "template"),
        ({"cut": 300}, "context"),
        ({"drops_tools": True}, "tools"),
        ({"frozen": True}, "temperature"),
        ({"miscounts": 0.8}, "token-counts"),
    ],
)
def test_each_fault_is_found_in_its_row(
    cli: CommandLine, hosts: dict[str, FakeModel], fault: dict[str, Any], row: str
) -> None:
    for name, value in fault.items():
        setattr(hosts["new-model"], name, value)
    found = checked(cli)
    assert found["conformity"] == "differs"
    assert outcomes(found)[row] == "differs"


def test_one_host_alone_shows_what_it_does(cli: CommandLine, hosts: dict[str, FakeModel]) -> None:
    ran = cli.succeeds("conform", "new", *QUICK, "--json")
    found = json.loads(ran.out)
    assert found["conformity"] == "unchecked"
    assert outcomes(found)["answers"] == "seen"
    assert len(found["check"]["answers"]) == 16
    assert hosts["old-model"].calls == 0
    hosts["new-model"].drops_tools = hosts["new-model"].frozen = True
    found = json.loads(cli.succeeds("conform", "new", *QUICK, "--json").out)
    assert found["conformity"] == "differs"
    assert {outcomes(found)[name] for name in ("tools", "temperature")} == {"differs"}


def test_a_host_that_caches_the_check_is_marked_and_its_answers_are_not_kept(
    cli: CommandLine, hosts: dict[str, FakeModel], script: dict[str, Script]
) -> None:
    replies: dict[bytes, Any] = {}
    healthy = hosts["new-model"]

    def cached(request: ReceivedRequest) -> Any:
        if request.body not in replies:
            replies[request.body] = healthy(request)
        return replies[request.body]

    script["new-model"] = cached
    for against in ((), ("--against", "old")):
        found = json.loads(cli.succeeds("conform", "new", *against, *QUICK, "--json").out)
        assert outcomes(found)["temperature"] == "differs"
        assert found["check"]["answers"] == {}
    healthy.frozen = True
    script["new-model"] = healthy
    found = json.loads(cli.succeeds("conform", "new", *QUICK, "--json").out)
    assert found["check"]["answers"], "a host that ignores the temperature may be watched"


def test_another_version_is_seen(cli: CommandLine, hosts: dict[str, FakeModel]) -> None:
    hosts["new-model"].version = "new-model-0901"
    first = json.loads(cli.succeeds("conform", "new", *QUICK, "--json").out)
    assert first["check"]["fingerprint"]["version"] == "new-model-0901"
    hosts["new-model"].version = "new-model-1101"
    assert outcomes(json.loads(cli.succeeds("conform", "new", *QUICK, "--json").out))["version"] == "differs"


def test_the_cost_comes_first_and_a_limit_holds(cli: CommandLine, hosts: dict[str, FakeModel]) -> None:
    dry = json.loads(cli.succeeds("conform", "new", "--against", "old", *QUICK, "--dry-run", "--json").out)
    assert dry["estimate"]["calls"] > 100
    assert float(dry["estimate"]["most_usd"]) > 0
    assert hosts["new-model"].calls == 0
    cli.fails("conform", "new", *QUICK, "--max-cost", "0.001", code=3, error="budget-exceeded")


def test_a_length_given_twice_is_asked_and_paid_for_once(
    cli: CommandLine, hosts: dict[str, FakeModel]
) -> None:
    plans = [
        json.loads(cli.succeeds("conform", "new", "--lengths", lengths, "--dry-run", "--json").out)[
            "estimate"
        ]
        for lengths in ("256,512", "512,256,512")
    ]
    assert plans[0] == plans[1]


def test_a_check_is_continued_without_paying_twice(cli: CommandLine, hosts: dict[str, FakeModel]) -> None:
    ran = cli("conform", "new", *QUICK, "--max-cost", "0.01")
    assert ran.code == 3
    (resume,) = noted(ran.err, "conform-resume")
    paid = hosts["new-model"].calls
    assert paid > 0
    check_id = resume.split("--resume ")[1].split()[0]
    found = json.loads(cli.succeeds("conform", "new", *QUICK, "--resume", check_id, "--json").out)
    assert found["check"]["calls"] == hosts["new-model"].calls
    assert found["check"]["id"] == check_id
    cli.fails("conform", "new", *QUICK, "--resume", check_id, error="conform-check-ended")
    assert hosts["new-model"].calls == found["check"]["calls"], "nothing is paid for again"
    ran = cli("conform", "new", *QUICK, "--max-cost", "0.01")
    (resume,) = noted(ran.err, "conform-resume")
    check_id = resume.split("--resume ")[1].split()[0]
    cli.fails("conform", "old", *QUICK, "--resume", check_id, error="conform-settings-changed")
    cli.fails("conform", "new", *QUICK, "--resume", "nothing", error="conform-check-unknown")


def test_a_host_that_refuses_leaves_gaps(
    cli: CommandLine, hosts: dict[str, FakeModel], script: dict[str, Script]
) -> None:
    healthy = hosts["new-model"]
    script["new-model"] = lambda request: (
        Fault("unknown_model") if request.json.get("tools") else healthy(request)
    )
    found = checked(cli)
    assert outcomes(found)["tools"] == "unchecked"
    assert outcomes(found)["answers"] == "agrees"


def test_without_any_compared_answer_nothing_is_known(
    cli: CommandLine, hosts: dict[str, FakeModel], script: dict[str, Script]
) -> None:
    healthy = hosts["new-model"]
    script["new-model"] = lambda request: (
        healthy(request) if request.json.get("max_tokens") in {1, 16} else Fault("unknown_model")
    )
    found = checked(cli)
    assert outcomes(found)["template"] == "agrees"
    assert found["conformity"] == "unchecked"
    ran = cli.succeeds("conform", "new", "--against", "old", *QUICK)
    assert "is not known" in ran.out.splitlines()[0]


def test_a_host_that_is_rate_limited_from_the_start_is_no_check(
    cli: CommandLine, hosts: dict[str, FakeModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_conforming, "_PATIENCE", replace(_conforming._PATIENCE, throttled_s=4.0))
    hosts["new-model"].fault = Fault("rate_limit", retry_after="0")
    ran = cli("conform", "new", "--against", "old", *QUICK)
    assert (ran.code, shown_codes(ran.err)) == (3, ["rate-limited"])
    (resume,) = noted(ran.err, "conform-resume")
    hosts["new-model"].fault = None
    check_id = resume.split("--resume ")[1].split()[0]
    assert hosts["old-model"].calls > 0
    found = checked(cli, "--resume", check_id)
    assert found["conformity"] == "conforms"
    assert hosts["old-model"].calls == found["check"]["calls"] / 2, "nothing is paid for twice"


@pytest.mark.parametrize("fault", [Fault("rate_limit", retry_after="3600"), Fault("html")])
def test_a_host_that_stops_in_the_middle_can_be_continued_and_the_other_is_not_asked_on(
    cli: CommandLine, hosts: dict[str, FakeModel], script: dict[str, Script], fault: Fault
) -> None:
    healthy, broken = hosts["new-model"], [20]

    def stops(request: ReceivedRequest) -> Reply | Fault:
        return fault if healthy.calls >= broken[0] else healthy(request)

    script["new-model"] = stops
    ran = cli("conform", "new", "--against", "old", *QUICK)
    assert ran.code == 3
    (resume,) = noted(ran.err, "conform-resume")
    assert hosts["old-model"].calls < 160, "the other side is not asked what cannot be compared"
    broken[0] = 10_000
    check_id = resume.split("--resume ")[1].split()[0]
    found = checked(cli, "--resume", check_id)
    assert found["conformity"] == "conforms"
    assert healthy.calls == hosts["old-model"].calls == found["check"]["calls"] / 2, "nothing is paid twice"


def test_only_errors_of_length_are_refusals_for_length(
    cli: CommandLine, hosts: dict[str, FakeModel], script: dict[str, Script]
) -> None:
    healthy = hosts["new-model"]
    script["new-model"] = lambda request: Fault("unknown_model") if healthy.calls else healthy(request)
    found = checked(cli)
    rows = {each["name"]: each for each in found["check"]["checks"]}
    assert (rows["context"]["outcome"], found["conformity"]) == ("unchecked", "unchecked")
    assert rows["context"]["seen"].startswith("refused: ")
    assert hosts["old-model"].calls < 150


def test_answers_that_cannot_be_read_are_counted_and_their_cause_is_told(
    cli: CommandLine, hosts: dict[str, FakeModel], script: dict[str, Script]
) -> None:
    healthy, bad = hosts["new-model"], []

    def answer(request: ReceivedRequest) -> Reply | Fault:
        if request.json.get("logprobs"):
            bad.append(request)
            return Fault("html")
        return healthy(request)

    script["new-model"] = answer
    found = checked(cli)
    row = next(each for each in found["check"]["checks"] if each["name"] == "log-probabilities")
    assert row["outcome"] == "unchecked"
    assert "text/html" in row["seen"]
    assert found["check"]["unanswered"] == len(bad) <= 24
    assert float(found["check"]["unanswered_usd"]) > 0


def test_a_host_that_answers_nothing_is_an_error(cli: CommandLine, hosts: dict[str, FakeModel]) -> None:
    hosts["new-model"].fault = Fault("bad_key")
    cli.fails("conform", "new", *QUICK, code=3, error="auth")


def test_one_endpoint_is_not_compared_with_itself(cli: CommandLine, hosts: dict[str, FakeModel]) -> None:
    cli.fails("conform", "new", "--against", "new", *QUICK, error="models-not-distinct")
    cli.fails("conform", "new", "--against", "local", *QUICK, error="local-model-ambiguous")
    cli.fails("conform", "new", "--lengths", "10", error="conform-settings-invalid")
    cli.fails("conform", "new", "--alpha", "0.001", error="conform-settings-invalid")
    assert hosts["new-model"].calls == 0
