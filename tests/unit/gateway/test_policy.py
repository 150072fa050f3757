"""Which target answers: the route table, the caller, limits, and what changes while it runs."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from crossgrade.domain import Limit, RouteSpec
from crossgrade.gateway._messages import Grant
from crossgrade.gateway._payload import opening
from crossgrade.identity import KeyLimit, KeyRecord, KeySecret, keyring_bytes, new_key
from crossgrade.routing import Policy, Route, RouteTable, route_table_bytes
from crossgrade.testing import FakeProvider

NOW = datetime.now(UTC)
SYSTEM = {"role": "system", "content": "be kind"}
USER = {"role": "user", "content": "hello"}
MORE = [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "and?"}]
LATER = NOW + timedelta(days=1)
OFFERS = {"gpt": "big", "llama": "small"}


def table(kind="switch", version=1, until=LATER, share=1.0, **policy):
    candidate = None if kind == "keep" else "llama"
    route = Route(
        name="support",
        policy=Policy(kind=kind, incumbent="gpt", candidate=candidate, **policy),
        targets=OFFERS if candidate else {"gpt": "big"},
        valid_until=None if kind == "keep" else until,
        share=share,
        verdict_id="v1",
    )
    return RouteTable(version=version, routes=(route,))


def publish(path, table):
    _write(path / "routes.json", route_table_bytes(table))


def _write(path, data):
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)


@pytest.fixture
def both(run, make, fake):
    def start(spec=None, **serving):
        targets = [make.target(fake), make.target(fake, "small")]
        return run(
            targets, [spec or RouteSpec(name="support", incumbent="big", models=("gpt-4o",))], **serving
        )

    return start


def test_without_a_table_the_configured_incumbent_answers(both, make):
    with both() as world:
        for model, route in (("support", "support"), ("gpt-4o", "support"), ("small", "small")):
            answer = world.post(make.chat(model))
            assert answer.headers["x-crossgrade-route"] == route
        reasons = [record.reason for record in world.settled(3)]
        assert reasons == ["keep", "keep", "direct"]
        assert "x-crossgrade-policy" not in answer.headers


@pytest.mark.parametrize(
    ("table", "headers", "target", "reason"),
    [
        (table(), {}, "small", "policy"),
        (table("keep"), {}, "big", "keep"),
        (table(until=NOW - timedelta(seconds=1)), {}, "big", "expired"),
        (table(share=0.0), {}, "big", "canary"),
        (table("split", segments=("de",)), {"x_crossgrade_segment": "de"}, "small", "policy"),
        (table("split", segments=("de",)), {"x_crossgrade_segment": "fr"}, "big", "policy"),
        (table("split", segments=("de",)), {}, "big", "unknown_fact"),
        (table("split", segments=("text",), fact="modality"), {}, "small", "policy"),
        (table(max_bytes=100_000), {}, "small", "policy"),
        (table(max_bytes=20), {}, "big", "too_long"),
    ],
)
def test_the_policy_picks(both, make, tmp_path, table, headers, target, reason):
    publish(tmp_path, table)
    with both() as world:
        answer = world.post(make.chat(), **headers)
        assert answer.headers["x-crossgrade-target"] == target
        assert answer.headers["x-crossgrade-policy"].startswith("1-")
        record = world.settled()[0]
        assert (record.target, record.reason, record.policy_version) == (target, reason, 1)
        assert record.side == ("candidate" if target == "small" else "incumbent")


@pytest.mark.parametrize(
    ("fields", "unsupported", "target"),
    [
        ({}, "refuse", "small"),
        ({"logit_bias": {"1": 1}}, "refuse", "big"),
        ({"messages": [USER, MORE[0]]}, "refuse", "big"),
        ({"web_search_options": {}}, "drop", "big"),
        ({"logit_bias": {"1": 1}, "n": 2}, "drop", "small"),
    ],
)
def test_what_the_candidates_api_cannot_express_stays_with_the_incumbent(
    run, make, fake, tmp_path, fields, unsupported, target
):
    publish(tmp_path, table())
    targets = [make.target(fake), make.target(fake, "small", dialect="anthropic")]
    route = RouteSpec(name="support", incumbent="big", unsupported=unsupported)
    with run(targets, [route]) as world:
        answer = world.post(make.chat(**fields))
        assert (answer.status, answer.headers["x-crossgrade-target"]) == (200, target)
        record = world.settled()[0]
        assert record.reason == ("policy" if target == "small" else "not_carried")
        assert record.side == ("candidate" if target == "small" else "incumbent")


TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
CALLED = {"role": "tool", "tool_call_id": "c", "content": "12:40"}


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({}, "small"),
        ({"messages": [USER, *MORE]}, "small"),
        ({"messages": [{"role": "user", "content": 'say "tool_calls" and "file"'}]}, "small"),
        ({"tools": [TOOL]}, "big"),
        ({"messages": [USER, CALLED]}, "big"),
        ({"messages": [{"role": "user", "content": IMAGE}]}, "big"),
    ],
)
def test_a_policy_for_plain_requests_leaves_agents_and_images_to_the_incumbent(
    both, make, tmp_path, fields, target
):
    publish(tmp_path, table(plain_only=True))
    with both() as world:
        answer = world.post(make.chat(**fields))
        assert answer.headers["x-crossgrade-target"] == target
        assert world.settled()[0].reason == ("policy" if target == "small" else "not_plain")


@pytest.mark.parametrize(
    ("region", "regions", "target"),
    [("eu", ("eu",), "small"), ("us", ("eu",), "big"), (None, ("eu",), "big"), (None, (), "small")],
)
def test_a_candidate_outside_the_workloads_regions_is_not_asked(
    run, make, fake, tmp_path, capfd, region, regions, target
):
    publish(tmp_path, table())
    targets = [make.target(fake), make.target(fake, "small", region=region)]
    spec = RouteSpec(name="support", incumbent="big", workload="work", regions=regions)
    with run(targets, [spec]) as world:
        assert world.post(make.chat()).headers["x-crossgrade-target"] == target
        record = world.settled()[0]
        assert record.reason == ("policy" if target == "small" else "region")
        assert record.side == ("candidate" if target == "small" else "incumbent")
    assert ('"event":"outside_regions"' in capfd.readouterr().err) is (target == "big")


def test_a_canary_keeps_a_conversation_on_one_model_and_takes_its_share(both, make, tmp_path):
    publish(tmp_path, table(share=0.5))
    with both() as world:
        seen = set()
        for number in range(40):
            first = {"role": "user", "content": f"question {number}"}
            then = [{"role": "assistant", "content": "…"}, {"role": "user", "content": "and?"}]
            targets = {
                world.post(make.chat(messages=messages)).headers["x-crossgrade-target"]
                for messages in ([{"role": "system", "content": "be kind"}, first],) * 2
            }
            longer = [{"role": "system", "content": "be kind"}, first, *then]
            targets.add(world.post(make.chat(messages=longer)).headers["x-crossgrade-target"])
            assert len(targets) == 1
            seen |= targets
        assert seen == {"big", "small"}
        assert {record.probability for record in world.settled(120)} == {0.5}


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"messages": [USER]}, {"messages": [USER, *MORE]}),
        ({"system": "be kind", "messages": [USER]}, {"system": "be kind", "messages": [USER, *MORE]}),
        ({"messages": [SYSTEM, SYSTEM, USER]}, {"messages": [SYSTEM, SYSTEM, USER, *MORE]}),
        ({"input": [SYSTEM, USER]}, {"input": [SYSTEM, USER, *MORE]}),
    ],
)
def test_a_conversation_is_known_by_what_comes_before_its_first_answer(first, later):
    assert opening(json.dumps(first).encode()) == opening(json.dumps(later).encode())
    other = json.loads(json.dumps(later).replace("hello", "goodbye"))
    assert opening(json.dumps(other).encode()) != opening(json.dumps(first).encode())


def test_texts_to_embed_are_known_by_themselves():
    seen = {opening(json.dumps({"input": each}).encode()) for each in ("a", "b", ["a"], ["b", "a"], [1, 2])}
    assert len(seen - {b""}) == 5


def test_a_new_table_is_taken_up_and_a_broken_one_is_not(both, make, tmp_path):
    with both() as world:
        look = lambda: world.on_loop(lambda: world.worker._reload(0.0))  # noqa: E731 - as short as a name
        assert world.post(make.chat()).headers["x-crossgrade-target"] == "big"
        publish(tmp_path, table(version=3))
        look()
        assert world.post(make.chat()).headers["x-crossgrade-target"] == "small"
        _write(tmp_path / "routes.json", b'{"not": "a table"}')
        look()
        elsewhere = Route(
            name="support", policy=Policy(kind="keep", incumbent="gpt"), targets={"gpt": "nowhere"}
        )
        publish(tmp_path, RouteTable(version=4, routes=(elsewhere,)))
        look()
        (tmp_path / "routes.json").unlink()
        look()
        answer = world.post(make.chat())
        assert answer.headers["x-crossgrade-target"] == "small"
        assert answer.headers["x-crossgrade-policy"].startswith("3-")


def _key(tmp_path, **fields):
    made = new_key()
    record = KeyRecord(
        id=made.id,
        name="test",
        secrets=(KeySecret(digest=made.digest, created_at=NOW),),
        created_at=NOW,
        **fields,
    )
    _write(tmp_path / "keys.json", keyring_bytes([record]))
    return made.text


def test_a_key_binds_its_segment_and_is_let_in_by_every_header(both, make, tmp_path):
    key = _key(tmp_path, segment="de", team="core")
    publish(tmp_path, table("split", segments=("de",)))
    with both(open_on_loopback=False) as world:
        for headers in (
            {"authorization": f"Bearer {key}"},
            {"authorization": f"bearer {key}"},
            {"x_api_key": key},
            {"api_key": key},
        ):
            answer = world.post(make.chat(), x_crossgrade_segment="fr", **headers)
            assert answer.headers["x-crossgrade-target"] == "small"
        assert world.settled(4)[0].team == "core"
        assert world.post(make.chat(), authorization=f"Bearer {key}x").status == 401


def test_a_revoked_key_is_out_at_once(both, make, tmp_path):
    key = _key(tmp_path)
    with both(open_on_loopback=False) as world:
        assert world.post(make.chat(), x_api_key=key).status == 200
        _write(tmp_path / "keys.json", keyring_bytes([]))
        world.on_loop(lambda: world.worker._reload(0.0))
        assert world.post(make.chat(), x_api_key=key).code == "key_unknown"


def test_a_route_for_others_is_closed_also_by_its_targets_name(both, make, tmp_path):
    key = _key(tmp_path, tier="bronze")
    spec = RouteSpec(name="support", incumbent="big", tiers=("gold",))
    with both(spec, open_on_loopback=False) as world:
        for model in ("support", "big"):
            answer = world.post(make.chat(model), x_api_key=key)
            assert (answer.status, answer.code) == (403, "route_denied")
        assert world.post(make.chat("small"), x_api_key=key).status == 200
        names = [row["id"] for row in world.get("/v1/models", x_api_key=key).json["data"]]
        assert names == ["small"]


def test_a_model_that_is_forbidden_is_not_asked_by_its_own_name(run, make, fake, tmp_path):
    specs = [RouteSpec(name="support", incumbent="big"), RouteSpec(name="old", incumbent="scout")]
    scout = make.target(fake, "scout", blocked="territory-withheld", is_forbidden=True)
    unsure = make.target(fake, "unsure", blocked="retention-unknown")
    with run([make.target(fake), scout, unsure], specs, body_parse_bytes=2_000) as world:
        for size in (0, 3_000):
            for _ in range(2):
                answer = world.post(make.chat("scout", padding="a" * size))
                assert (answer.status, answer.code) == (403, "model_forbidden")
                assert "territory-withheld" in answer.json["error"]["message"]
        assert not fake.requests
        assert world.settled(4)[0].error == "model_forbidden"
        assert [row["id"] for row in world.get("/v1/models").json["data"]] == [
            "big",
            "old",
            "support",
            "unsure",
        ]
        for model in (
            "big",
            "old",
            "unsure",
        ):  # what is in use stays, and what is unknown is the caller's choice
            assert world.post(make.chat(model)).status == 200


def test_limits_refuse_settle_and_tell_budgets_from_rates(both, make, tmp_path):
    key = _key(tmp_path, limits=(KeyLimit(unit="tokens", cap=2000, window_s=60),))
    with both(open_on_loopback=False) as world:
        limits = world.worker.limits
        asks = []
        limits.send = lambda ask: asks.append(ask) or True
        connection = world.connect()
        body = make.chat(max_tokens=100)
        connection.sendall(world.head("/v1/chat/completions", len(body), x_api_key=key) + body)
        for _ in range(500):
            if asks:
                break
            world.on_loop(lambda: None)
        world.on_loop(lambda: limits.granted(Grant(asks[0].lease, 200)))
        assert make.read_answer(connection).status == 200
        spent = world.on_loop(limits.take_spends)[-1]
        assert spent.reserved == 0
        assert spent.spent == 5  # 1 + 4 tokens, by the provider's count
        answer = world.post(make.chat(max_tokens=5000), x_api_key=key)
        assert (answer.status, answer.code) == (429, "rate_limit_exceeded")
        assert int(answer.headers["retry-after"]) >= 1


def test_a_caller_that_leaves_while_the_limits_are_asked_holds_nothing(both, make, tmp_path):
    limits = (Limit(scope="route", unit="usd", cap=1.0, window_s=60),)
    with both(limits=limits, unpriced="allow") as world:
        limits = world.worker.limits
        asks = []
        limits.send = lambda ask: asks.append(ask) or True
        with FakeProvider() as _:
            connection = world.connect()
            body = make.chat()
            connection.sendall(world.head("/v1/chat/completions", len(body)) + body)
            for _ in range(500):
                if asks or world.records:
                    break
                world.on_loop(lambda: None)
        # No price is known, so no money is reserved and nobody had to be asked.
        assert make.read_answer(connection).status == 200


def test_prompts_are_recorded_only_where_that_is_asked_for(both, make):
    with both() as world:
        world.post(make.chat())
        assert world.settled()[0].prompt is None
    with both(log_prompts=True) as world:
        world.post(make.chat())
        assert "hello" in world.settled()[0].prompt
