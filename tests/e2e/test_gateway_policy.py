"""The gateway carries out what the route table says, over two workers and with a real client."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest

from benchmarks.gateway._served import Served, contents, records, serving
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from tests.waiting import until

SWITCH = Policy(kind="switch", incumbent="old", candidate="new")
SPLIT = Policy(kind="split", incumbent="old", candidate="new", segments=("easy",))
OFFERS = {"old": "old", "new": "new"}
NOW = datetime.now(UTC)
SECRET = "ada.lovelace@example.org"


def script(request: ReceivedRequest) -> Reply | Fault:
    text = json.dumps(request.json["messages"])
    if request.model == "new" and "fail" in text:
        return Fault("server_error")
    return Reply(f"{request.model} says hi to {SECRET}" if "secret" in text else f"{request.model} says hi")


def route(name: str, policy: Policy = SWITCH, **changes: Any) -> Route:
    until = changes.pop("valid_until", NOW + timedelta(days=30))
    return Route(
        name=name, policy=policy, targets=OFFERS, valid_until=until, verdict_id=f"v-{name}", **changes
    )


TABLE = RouteTable(
    version=1,
    routes=(
        route("switched"),
        route("shadowed"),
        route("expired", valid_until=NOW - timedelta(seconds=1)),
        route("canaried", share=0.5),
        route("by-user", share=0.5),
        route("split", SPLIT),
    ),
)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(script, models=("old", "new")) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = {
        "provider": "openai-compatible", "base_url": fake.base_url,
        "prices": [{"input_per_mtok": 1, "output_per_mtok": 2}],
    }  # fmt: skip
    work = {"dataset": "none.jsonl", "scorer": {"kind": "exact"}, "incumbent": "old", "candidates": ["new"]}
    config = {
        "models": {name: {**model, "model": name} for name in OFFERS},
        "workloads": {"work": work},
        "routes": {
            **{each.name: {"workload": "work", "attempts": 2} for each in TABLE.routes},
            "by-user": {"workload": "work", "sticky": "user"},
            "shadowed": {"workload": "work", "shadow": {"rate": 1.0}, "outcome": "solved"},
        },
        "serve": {"workers": 2},
    }
    folder = tmp_path_factory.mktemp("policy")
    with serving(folder, config) as served:
        with project_of(served) as project:
            project.store.publish_route(TABLE, None)
        until(lambda: all("x-crossgrade-policy" in ask(served, "switched").headers for _ in range(8)))
        yield served


def project_of(served: Served) -> Any:
    return Project.open(served.folder / "crossgrade.yaml")


def ask(served: Served, route: str, text: str = "hello", *, stream: bool = False, **more: Any) -> Any:
    """Ask over a connection of its own, which any worker may get; returns the SDK's raw answer."""
    headers = {"connection": "close", **more.pop("headers", {})}
    messages = more.pop("messages", None) or [{"role": "user", "content": text}]
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=route, messages=messages, stream=stream, extra_headers=headers, **more
        )
        if stream:
            assert list(raw.parse())
        return raw


def target(raw: Any) -> str:
    return str(raw.headers["x-crossgrade-target"])


def record_of(served: Served, raw: Any) -> dict[str, Any]:
    """Return the line of the request log about an answer."""

    wanted = raw.headers["x-request-id"]
    return until(lambda: next((each for each in records(served) if each["id"] == wanted), None))  # type: ignore[return-value]  # not None


def test_a_certified_switch_is_served_and_said(gateway: Served) -> None:
    raw = ask(gateway, "switched")
    assert target(raw) == "new"
    assert raw.parse().choices[0].message.content == "new says hi"
    assert raw.headers["x-crossgrade-policy"].startswith("1-")
    record = record_of(gateway, raw)
    assert (record["reason"], record["verdict_id"], record["side"]) == ("policy", "v-switched", "candidate")
    assert raw.headers["x-crossgrade-cost-usd"] == f"{record['cost_usd']:.8f}"


def test_an_expired_certificate_widens_nothing(gateway: Served) -> None:
    raw = ask(gateway, "expired")
    assert (target(raw), record_of(gateway, raw)["reason"]) == ("old", "expired")


@pytest.mark.parametrize(("headers", "wanted"), [({}, "old"), ({"x-crossgrade-segment": "easy"}, "new")])
def test_a_split_moves_its_segment_and_nothing_unknown(
    gateway: Served, headers: dict[str, str], wanted: str
) -> None:
    assert target(ask(gateway, "split", headers=headers)) == wanted


@pytest.mark.parametrize("stream", [False, True])
def test_before_the_first_byte_the_incumbent_takes_over(gateway: Served, stream: bool) -> None:
    raw = ask(gateway, "switched", "fail", stream=stream)
    assert target(raw) == "old"
    record = record_of(gateway, raw)
    assert (record["reason"], record["attempts"]) == ("fallback", 2)


def test_a_conversation_never_changes_model_as_it_grows(gateway: Served) -> None:
    picked = []
    for number in range(12):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Case {number}"}]
        seen = set()
        for turn in range(3):
            seen.add(target(ask(gateway, "canaried", messages=messages)))
            messages += [
                {"role": "assistant", "content": "Yes."},
                {"role": "user", "content": f"And {turn}?"},
            ]
        assert len(seen) == 1
        picked += seen
    assert set(picked) == {"old", "new"}


def test_a_user_keeps_one_model(gateway: Served) -> None:
    picked = {}
    for number in range(12):
        seen = {target(ask(gateway, "by-user", f"{n} {number}", user=f"user {number}")) for n in range(2)}
        named = {"x-crossgrade-user": f"user {number}"}
        assert seen == {target(ask(gateway, "by-user", headers=named))}
        picked[number] = seen.pop()
    assert set(picked.values()) == {"old", "new"}


def test_a_broken_table_is_refused_and_the_old_one_holds(gateway: Served) -> None:
    path = gateway.folder / ".crossgrade" / "routes.json"
    good = path.read_bytes()
    log = gateway.folder / "serve.log"
    try:
        path.write_bytes(good.replace(b'"switch"', b'"surprise"', 1))
        until(lambda: log.read_text().count("reload_refused") >= 2)
        assert [target(ask(gateway, "switched")) for _ in range(4)] == ["new"] * 4
    finally:
        path.write_bytes(good)
    until(lambda: log.read_text().count('"event":"reloaded"') >= 4)
    assert target(ask(gateway, "switched")) == "new"


def pairs(served: Served, count: int, text: bytes) -> list[Any]:
    """Wait for so many pairs in the store whose requests have a text."""

    def look() -> list[Any] | None:
        with project_of(served) as project:
            found = [each for each in project.store.pairs.recent("shadowed") if text in each.request]
        return found if len(found) >= count else None

    return until(look)


def test_only_what_may_be_shadowed_is_and_what_is_stored_is_redacted(
    gateway: Served, fake: FakeProvider
) -> None:
    def asked(text: str) -> list[str]:
        return [each.model for each in fake.requests if text in each.body.decode()]

    ask(gateway, "switched", "by default")
    ask(gateway, "shadowed", "not me", headers={"x-crossgrade-no-shadow": "1"})
    for stream in (False, True):
        ask(gateway, "shadowed", f"secret: write to {SECRET}, please", stream=stream)
    whole, streamed = pairs(gateway, 2, b"please")
    assert asked("by default") == asked("not me") == ["new"]
    assert sorted(asked("please")) == ["new", "new", "old", "old"]
    for each in (whole, streamed):
        assert b"write to [email], please" in each.request
        assert (each.served_by, each.verdict_id) == ("candidate", "v-shadowed")
        assert each.candidate.answer.text == "new says hi to [email]"
        assert each.incumbent.answer.text == "old says hi to [email]"
    for path, content in contents(gateway.folder / ".crossgrade").items():
        assert SECRET.encode() not in content, path


def test_feedback_is_tied_to_its_response(gateway: Served) -> None:
    raw = ask(gateway, "shadowed")
    record_of(gateway, raw)  # what is asked about must be known
    body = json.dumps({"response_id": raw.headers["x-request-id"], "name": "solved", "value": 1}).encode()
    request = urllib.request.Request(
        f"{gateway.url}/v1/feedback", body, {"authorization": f"Bearer {gateway.key}"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202
    with project_of(gateway) as project:
        (found,) = project.store.feedback.unaudited("shadowed", "solved", "", verdict_id="v-shadowed")
    assert (found.value, found.side, found.probability) == (1.0, "candidate", 1.0)
