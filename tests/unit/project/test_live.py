"""Live checks say what an offer does when it is asked, and keep it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest

from crossgrade.domain import ToolCall
from crossgrade.errors import NotFoundError
from crossgrade.project import LiveResult, Project
from crossgrade.store import CompatibilityRecord
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply

Script = Callable[[ReceivedRequest], Reply | Fault]

HOSTS = ("openai", "openai-responses", "anthropic", "gemini")
PRICES = "[{input_per_mtok: 1, output_per_mtok: 2}]"
CITY = '{"city": "Lisbon", "inhabitants": 567131, "coastal": true}'
LAST = "Passengers walk along the southern quay to the station, which takes about ten minutes."


def sound(request: ReceivedRequest) -> Reply:
    """Answer each question of the checks as a good model does."""
    body = request.body.decode()
    if "QX-5809" in body:
        return Reply("The tracking code is QX-5809.", input_tokens=120)
    if "find_order" in body:
        call = ToolCall(id="call_1", name="find_order", arguments='{"number":"A-7413"}')
        return Reply("", tool_calls=(call,), input_tokens=100, output_tokens=12)
    return Reply(CITY if "Describe the city" in body else LAST)


def check(
    tmp_path: Path,
    script: Script,
    *,
    host: str = "openai",
    prices: str = PRICES,
    peak: int | None = None,
    max_cost_usd: Decimal | None = Decimal(1),
) -> LiveResult:
    """Check one offer at a fake host, in a project whose workload asks it."""
    with FakeProvider(script) as fake:
        (tmp_path / "crossgrade.yaml").write_text(configuration(fake, host, prices=prices, peak=peak))
        with opened(tmp_path) as project:
            return project.live.run(project.live.plan(["one"]), max_cost_usd=max_cost_usd)


def configuration(fake: FakeProvider, host: str, *, prices: str = PRICES, peak: int | None = None) -> str:
    traffic = "" if peak is None else f"logged_traffic: {{peak_tokens_per_minute: {peak}}}"
    model = f"provider: {host}, model: fake-model, base_url: '{fake.base_url}', api_key_env: MY_KEY"
    return f"""\
models:
  one: {{{model}, prices: {prices}}}
  other: {{provider: local, model: smollm2-135m-instruct}}
workloads:
  support:
    dataset: support.jsonl
    scorer: {{kind: exact}}
    incumbent: one
    candidates: [other]
    {traffic}
"""


def opened(folder: Path, environ: Mapping[str, str] | None = None) -> Project:
    key = {"MY_KEY": "sk-live-0123456789abcdef"}
    return Project.open(folder / "crossgrade.yaml", environ=key if environ is None else environ)


def statuses(record: CompatibilityRecord) -> dict[str, str]:
    return {each.name: each.status for each in record.checks}


def seen(record: CompatibilityRecord, name: str) -> str:
    return next(each.seen for each in record.checks if each.name == name)


ALL_WORK = dict.fromkeys(("answer", "usage", "streaming", "stream-usage", "tools", "schema"), "works")


@pytest.mark.parametrize("host", HOSTS)
def test_a_sound_offer_works_in_every_dialect(tmp_path: Path, host: str) -> None:
    (record,) = check(tmp_path, sound, host=host).records
    assert statuses(record) == {**ALL_WORK, "batch": "works", "limits": "unknown"}
    assert (record.calls, record.model, record.served_model) == (5, "fake-model", "fake-model")
    assert record.cost_usd is not None
    assert 0 < record.cost_usd < Decimal("0.01")


@pytest.mark.parametrize("host", HOSTS)
def test_missing_usage_fails_whole_and_streamed(tmp_path: Path, host: str) -> None:
    (record,) = check(tmp_path, lambda request: replace(sound(request), usage={}), host=host).records
    assert statuses(record) == {
        **ALL_WORK,
        "usage": "fails",
        "stream-usage": "fails",
        "batch": "works",
        "limits": "unknown",
    }
    assert record.cost_usd is None


@pytest.mark.parametrize("host", HOSTS)
def test_a_stream_without_its_end_fails(tmp_path: Path, host: str) -> None:
    def script(request: ReceivedRequest) -> Reply | Fault:
        return Fault("no_end") if request.stream else sound(request)

    (record,) = check(tmp_path, script, host=host).records
    assert statuses(record)["streaming"] == "fails"
    assert statuses(record)["stream-usage"] == "unknown"
    assert statuses(record)["tools"] == "works"


@pytest.mark.parametrize("host", HOSTS)
def test_a_model_that_calls_no_tool_and_obeys_no_schema_fails_both(tmp_path: Path, host: str) -> None:
    (record,) = check(tmp_path, lambda _: Reply('"A pretty city"'), host=host).records
    assert (statuses(record)["tools"], statuses(record)["schema"]) == ("fails", "fails")
    assert "A pretty city" in seen(record, "tools")
    assert record.calls == 4


def test_a_tool_result_that_is_not_used_fails(tmp_path: Path) -> None:
    def script(request: ReceivedRequest) -> Reply:
        return Reply("No idea.") if b"QX-5809" in request.body else sound(request)

    (record,) = check(tmp_path, script).records
    assert statuses(record)["tools"] == "fails"
    assert "No idea." in seen(record, "tools")


@pytest.mark.parametrize(("cost", "status"), [(0.000134, "works"), (0.0002, "fails")])
def test_a_cost_that_the_provider_states_is_compared_with_its_price(
    tmp_path: Path, cost: float, status: str
) -> None:
    usage = {"prompt_tokens": 106, "completion_tokens": 14, "cost": cost}
    (record,) = check(tmp_path, lambda request: replace(sound(request), usage=usage)).records
    assert statuses(record)["usage"] == status
    assert f"${cost:.6f}" in seen(record, "usage")
    assert "$0.000134" in seen(record, "usage")


def test_counts_that_cannot_be_right_fail(tmp_path: Path) -> None:
    script = lambda request: replace(sound(request), input_tokens=3)  # noqa: E731 - as short as a name
    (record,) = check(tmp_path, script).records
    assert statuses(record)["usage"] == "fails"


def test_other_counts_in_a_stream_fail(tmp_path: Path) -> None:
    def script(request: ReceivedRequest) -> Reply:
        return replace(sound(request), input_tokens=150) if request.stream else sound(request)

    (record,) = check(tmp_path, script).records
    assert statuses(record)["stream-usage"] == "fails"
    assert statuses(record)["usage"] == "works"


@pytest.mark.parametrize(("peak", "status"), [(None, "works"), (20_000, "works"), (90_000, "fails")])
def test_stated_limits_stand_beside_the_busiest_minute(tmp_path: Path, peak: int | None, status: str) -> None:
    headers = {"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "30000"}
    (record,) = check(tmp_path, lambda request: replace(sound(request), headers=headers), peak=peak).records
    assert statuses(record)["limits"] == status
    assert "500 requests a minute, 30,000 tokens a minute" in seen(record, "limits")
    assert ("in the busiest minute of support" in seen(record, "limits")) is (peak is not None)


def test_throttling_is_no_evidence_against_an_offer(tmp_path: Path) -> None:
    (record,) = check(tmp_path, lambda _: Fault("rate_limit", retry_after="60")).records
    assert statuses(record)["answer"] == "unknown"
    assert statuses(record)["tools"] == "unknown"


def test_a_refused_key_is_never_shown(tmp_path: Path) -> None:
    (record,) = check(tmp_path, lambda _: Fault("bad_key")).records
    assert statuses(record)["answer"] == "fails"
    assert record.calls == 1
    (echoed,) = check(tmp_path, lambda _: Fault("echo_key")).records
    assert "sk-live" not in repr((record, echoed))


def test_without_a_key_nothing_is_asked_or_kept(tmp_path: Path) -> None:
    with FakeProvider(sound) as fake:
        (tmp_path / "crossgrade.yaml").write_text(configuration(fake, "openai"))
        with opened(tmp_path, {}) as project:
            result = project.live.run(project.live.plan(["one"]))
            assert project.live.newest(project.config.offers.values()) == {}
        assert list(fake.requests) == []
    assert list(result.skipped) == ["one"]


def test_a_call_that_could_exceed_the_limit_is_not_made(tmp_path: Path) -> None:
    (record,) = check(tmp_path, sound, max_cost_usd=Decimal("0.0025")).records
    assert statuses(record)["answer"] == "works"
    assert statuses(record)["tools"] == "unknown"
    assert record.cost_usd is not None
    assert record.cost_usd <= Decimal("0.0025")


def test_a_model_that_got_no_call_keeps_its_earlier_record(tmp_path: Path) -> None:
    with FakeProvider(sound) as fake:
        (tmp_path / "crossgrade.yaml").write_text(configuration(fake, "openai"))
        with opened(tmp_path) as project:
            plan = project.live.plan(["one"])
            (first,) = project.live.run(plan).records
            (second,) = project.live.run(plan, max_cost_usd=Decimal(0)).records
            assert second.calls == 0
            assert set(statuses(second).values()) <= {"unknown", "works"}  # a list of batches costs nothing
            (kept,) = project.live.newest(plan.offers).values()
    assert kept.checks == first.checks


def test_a_call_that_is_cut_counts_as_much_as_it_could_cost(tmp_path: Path) -> None:
    def script(request: ReceivedRequest) -> Reply | Fault:
        return Fault("no_end") if request.stream else sound(request)

    (record,) = check(tmp_path, script, max_cost_usd=Decimal("0.0025")).records
    assert statuses(record)["streaming"] == "fails"
    assert statuses(record)["tools"] == "unknown"
    assert "no room" in seen(record, "tools")


@pytest.mark.parametrize("fault", ["no_end", "server_error"])
def test_a_call_that_may_be_billed_is_made_once(
    tmp_path: Path, fault: Literal["no_end", "server_error"]
) -> None:
    """A second attempt could cost as much again, beyond what was reserved and what the plan says."""
    asked: list[ReceivedRequest] = []

    def script(request: ReceivedRequest) -> Reply | Fault:
        asked.append(request)
        return Fault(fault) if request.stream and len(asked) == 2 else sound(request)

    (record,) = check(tmp_path, script).records
    assert statuses(record)["streaming"] in {"fails", "unknown"}
    assert statuses(record)["tools"] == "works"
    assert record.calls == len(asked)


def test_the_plan_names_the_cost_and_unknown_prices(tmp_path: Path) -> None:
    with FakeProvider() as fake:
        text = configuration(fake, "openai").replace(
            "workloads:",
            f"  two: {{provider: groq, model: unheard-of, base_url: '{fake.base_url}'}}\nworkloads:",
        )
        (tmp_path / "crossgrade.yaml").write_text(text)
        with opened(tmp_path) as project:
            plan = project.live.plan()
            assert plan.most_usd == Decimal("0.01274")
            assert plan.unpriced == ("two",)
            assert project.live.plan(["one"]).unpriced == ()
            with pytest.raises(NotFoundError):
                project.live.plan(["three"])


def test_records_are_kept_and_speak_of_the_same_offer_only(tmp_path: Path) -> None:
    with FakeProvider(sound) as fake:
        (tmp_path / "crossgrade.yaml").write_text(configuration(fake, "openai"))
        with opened(tmp_path) as project:
            first, second = (project.live.run(project.live.plan(["one"])).records[0] for _ in range(2))
            assert project.live.newest(project.config.offers.values()) == {"one": second}
            assert first.at < second.at
            moved = replace(project.config.offers["one"], model="another")
            assert project.live.newest([moved]) == {}


def test_an_interrupt_keeps_what_was_seen_and_paid_for(tmp_path: Path) -> None:
    def interrupt(_name: str, check: object) -> None:
        if check is not None:
            raise KeyboardInterrupt

    with FakeProvider(sound) as fake:
        (tmp_path / "crossgrade.yaml").write_text(configuration(fake, "openai"))
        with opened(tmp_path) as project:
            with pytest.raises(KeyboardInterrupt):
                project.live.run(project.live.plan(["one"]), on_check=interrupt)
            kept = project.live.newest(project.config.offers.values())["one"]
    assert statuses(kept)["answer"] == "works"
    assert set(statuses(kept).values()) == {"works", "unknown"}


@pytest.mark.needs("module:xllamacpp", "model:smollm2-135m-instruct")
def test_a_real_local_model_is_checked(tmp_path: Path) -> None:
    (tmp_path / "crossgrade.yaml").write_text(
        "models: {one: {provider: local, model: smollm2-135m-instruct}}\n"
    )
    with opened(tmp_path) as project:
        (record,) = project.live.run(project.live.plan(["one"])).records
    expected = {
        "answer": "works",
        "streaming": "works",
        "stream-usage": "works",
        "schema": "works",
        "batch": "none",
    }
    assert {name: statuses(record)[name] for name in expected} == expected


def test_what_records_say_against_the_models_of_routes(tmp_path: Path) -> None:
    with FakeProvider(lambda _: Reply(LAST)) as fake:
        (tmp_path / "crossgrade.yaml").write_text(configuration(fake, "openai"))
        with opened(tmp_path) as project:
            (never,) = project.live.route_lines()
            assert "`crossgrade doctor --live one`" in never
            project.live.run(project.live.plan(["one"]))
            tools, schema = project.live.route_lines()
    assert tools.startswith("one (route support): tools failed")
    assert schema.startswith("one (route support): schema failed")
