"""Gated routes: which models may answer a caller's request by the access rules, decided when it comes."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from crossgrade.domain import AccessRule, RequiredLogin, RouteSpec, Shadow, TierRule, TokenIssuer
from crossgrade.identity import (
    IssuerKeys,
    KeyRecord,
    KeySecret,
    Suspension,
    jwks_bytes,
    keyring_bytes,
    new_key,
    user_id,
)
from crossgrade.routing import Policy, Route, RouteTable, route_table_bytes
from crossgrade.testing import FakeProvider, Fault, Reply
from tests.waiting import until

A, B = "https://a.example/", "https://b.example/"
SIGNER = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
GATED = RouteSpec(name="cyber", incumbent="big", workload="triage", fallbacks=("small",), gated=True)
PROGRAMME = {"x_crossgrade_programme": "defence"}


def rule(name="r", **fields):
    return AccessRule(name=name, **fields)


def issuer(url):
    tiers = ("cleared", "standard")
    return TokenIssuer(
        issuer=url,
        audience="us",
        rules=tuple(TierRule(claim="tier", operator="equals", value=tier, tier=tier) for tier in tiers),
    )


def token(url=A, **claims):
    now = int(time.time())
    given = {"iss": url, "aud": "us", "sub": "ada", "iat": now, "exp": now + 300, "tier": "cleared", **claims}
    return jwt.encode({"alg": "ES256", "kid": "one", "typ": "at+jwt"}, given, SIGNER)


def write(path, data):
    fresh = path.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.replace(path)


def publish(folder, *, valid_until=None, share=1.0, kind="switch"):
    valid_until = valid_until or datetime.now(UTC) + timedelta(days=1)
    candidate = None if kind == "keep" else "llama"
    route = Route(
        name="cyber",
        policy=Policy(kind=kind, incumbent="gpt", candidate=candidate),
        targets={"gpt": "big", "llama": "small"} if candidate else {"gpt": "big"},
        valid_until=None if kind == "keep" else valid_until,
        share=share,
        verdict_id="v1",
        evidence_digest="sha256:e",
    )
    write(folder / "routes.json", route_table_bytes(RouteTable(version=1, routes=(route,))))


def publish_keys(folder, *suspended, **fields):
    made, now = new_key(), datetime.now(UTC)
    secrets = (KeySecret(digest=made.digest, created_at=now),)
    record = KeyRecord(id=made.id, name="test", secrets=secrets, created_at=now, **fields)
    write(folder / "keys.json", keyring_bytes([record], suspended))
    return made


@pytest.fixture
def gated(run, make, fake, tmp_path):
    """Return a function that serves a gated route between two issuers and two models."""
    public = SIGNER.as_dict(private=False)
    keys = [IssuerKeys(issuer=url, fetched_at=time.time(), keys=(public,)) for url in (A, B)]
    write(tmp_path / "jwks.json", jwks_bytes(keys))

    def start(*rules, routes=(GATED,), targets=None, **more):
        found = targets or both_at(make, fake)
        serving = {"open_on_loopback": False, "issuers": (issuer(A), issuer(B)), **more}
        return run(found, list(routes), access=rules, **serving)

    return start


def both_at(make, provider):
    return [make.target(provider), make.target(provider, "small")]


def ask(world, make, credential, model="cyber", **headers):
    return world.post(make.chat(model), authorization=f"Bearer {credential}", **headers)


def outcome(answer):
    """Return the target that answered, or the code of the refusal."""
    return answer.headers["x-crossgrade-target"] if answer.status == 200 else answer.code


def test_denied_by_default_and_allowed_by_a_rule(gated, make, fake, tmp_path):
    key = publish_keys(tmp_path)
    with gated() as world:
        for credential in (token(), key.text):
            answer = ask(world, make, credential)
            assert (answer.status, answer.code) == (403, "access_denied")
        assert world.settled(2)[0].target == ""
        assert {record.reason for record in world.records} == {"none"}
        assert not fake.requests
    with gated(rule(tiers=("cleared",))) as world:
        assert outcome(ask(world, make, token())) == "big"
        assert outcome(ask(world, make, token(tier="standard"))) == "access_denied"


def test_every_way_to_a_gated_route_is_gated(gated, make, fake):
    spec = RouteSpec(name="cyber", incumbent="big", models=("gpt-x",), gated=True)
    with gated(rule(tiers=("cleared",)), routes=(spec,)) as world:
        ways = [
            (make.chat("cyber"), "/v1/chat/completions"),
            (make.chat("gpt-x"), "/chat/completions"),
            (make.chat("anything"), "/r/cyber/v1/chat/completions"),
            (make.chat("cyber", max_tokens=5), "/v1/messages"),
            (json.dumps({"model": "cyber", "input": "hi"}).encode(), "/v1/responses"),
            (json.dumps({"model": "cyber", "input": "hi"}).encode(), "/v1/embeddings"),
            (json.dumps({"model": "cyber", "prompt": "hi"}).encode(), "/v1/completions"),
        ]
        for body, path in ways:
            answer = world.post(body, path, authorization=f"Bearer {token(tier='standard')}")
            assert answer.status == 403, path
        assert not fake.requests
        for body, path in ways[:3]:
            assert world.post(body, path, authorization=f"Bearer {token()}").status == 200, path


def test_without_keys_the_caller_is_no_issuers(gated, make):
    rules = (rule("keys", issuers=("keys",)), rule("tokens", issuers=(A, B)))
    with gated(*rules, open_on_loopback=True) as world:
        assert outcome(world.post(make.chat("cyber"))) == "access_denied"
        assert outcome(ask(world, make, token())) == "access_denied", "tokens are not read there"
    with gated(rule(), open_on_loopback=True) as world:
        assert outcome(world.post(make.chat("cyber"))) == "big"


def test_an_ungated_route_beside_it_is_as_before(gated, make, tmp_path):
    key = publish_keys(tmp_path)
    spec = RouteSpec(name="plain", incumbent="big")
    with gated(rule(allow=False), routes=(GATED, spec)) as world:
        assert outcome(ask(world, make, key.text, "plain")) == "big"
        assert outcome(ask(world, make, key.text, "plain", x_crossgrade_programme="no such")) == "big"
        assert outcome(ask(world, make, key.text)) == "rule_denied"


def test_equal_tiers_of_two_issuers_do_not_mix(gated, make):
    with gated(rule(issuers=(A,), tiers=("cleared",))) as world:
        assert outcome(ask(world, make, token(A))) == "big"
        assert outcome(ask(world, make, token(B))) == "access_denied"
        assert outcome(ask(world, make, token(A))) == "big", "and neither is taken for the other one"


def test_a_login_that_falls_short_is_challenged(gated, make, tmp_path):
    key = publish_keys(tmp_path)
    login = RequiredLogin(acr=("phr", "phrh"), max_age_s=300)
    now = int(time.time())
    with gated(rule(login=login)) as world:
        for claims in (
            {},
            {"acr": "pwd", "auth_time": now},
            {"acr": "phr"},
            {"acr": "phr", "auth_time": now - 400},
            {"acr": "phr", "auth_time": now + 400},
            {"acr": "phr", "auth_time": True},
            {"acr": "phr", "auth_time": str(now)},
            {"acr": ["phr"], "auth_time": now},
            {"acr": True, "auth_time": now},
        ):
            answer = ask(world, make, token(**claims))
            assert (answer.status, answer.code) == (401, "insufficient_user_authentication"), claims
            challenge = answer.headers["www-authenticate"]
            assert challenge.startswith('Bearer realm="crossgrade", error="insufficient_user_authentication"')
            assert 'acr_values="phr phrh"' in challenge
            assert 'max_age="300"' in challenge
        assert outcome(ask(world, make, token(acr="phrh", auth_time=now))) == "big"
        answer = ask(world, make, key.text)
        assert (answer.status, answer.code) == (403, "token_required")


def test_a_challenge_keeps_the_connection_for_the_better_token(gated, make):
    with gated(rule(login=RequiredLogin(acr=("phr",)))) as world:
        connection, body = world.connect(), make.chat("cyber")
        for credential, status in ((token(), 401), (token(acr="phr"), 200), (token(), 401)):
            head = world.head("/v1/chat/completions", len(body), authorization=f"Bearer {credential}")
            connection.sendall(head + body)
            assert make.read_answer(connection).status == status


def test_the_programme_selects(gated, make):
    rules = (rule("special", programme="defence", tiers=("cleared",)), rule("usual", models=("small",)))
    with gated(*rules) as world:
        assert outcome(ask(world, make, token(), **PROGRAMME)) == "big"
        assert outcome(ask(world, make, token(tier="standard"), **PROGRAMME)) == "access_denied"
        answer = ask(world, make, token())
        assert outcome(answer) == "small"
        assert world.settled(3)[-1].reason == "access"
        assert world.records[-1].side is None
        assert outcome(ask(world, make, token(), x_crossgrade_programme=" ")) == "small", "it selects none"
        for unknown in ("Defence", "offence", "x" * 3_000, "défense", "defence, defence"):
            answer = ask(world, make, token(), x_crossgrade_programme=unknown.encode().decode("latin-1"))
            assert (answer.status, answer.code) == (403, "programme_unknown")
            assert len(answer.body) < 1_000


def test_two_programmes_are_refused(gated, make):
    with gated(rule(programme="defence")) as world:
        body = make.chat("cyber")
        head = world.head("/v1/chat/completions", len(body), authorization=f"Bearer {token()}", **PROGRAMME)
        twice = head[:-2] + b"X-Crossgrade-Programme: offence\r\n\r\n"
        answer = world.raw(twice + body)
        assert (answer.status, answer.code) == (400, "duplicate_header")


CERTIFIED = rule("certified", evidence="verdict")


def test_without_a_certificate_nothing_answers(gated, make, tmp_path, fake):
    with gated(CERTIFIED) as world:
        assert outcome(ask(world, make, token())) == "no_certificate"
        publish(tmp_path, kind="keep")
        world.on_loop(lambda: world.worker._reload(0.0))
        assert outcome(ask(world, make, token())) == "no_certificate"
        publish(tmp_path, valid_until=datetime.now(UTC) - timedelta(seconds=1))
        world.on_loop(lambda: world.worker._reload(0.0))
        assert outcome(ask(world, make, token())) == "certificate_expired"
        publish(tmp_path)
        world.on_loop(lambda: world.worker._reload(0.0))
        assert outcome(ask(world, make, token())) == "small"
        assert len(fake.requests) == 1


def test_a_candidate_that_was_taken_back_is_not_asked_as_a_fallback_either(gated, make, tmp_path):
    with FakeProvider(Fault("server_error")) as broken, FakeProvider("fine") as well:
        publish(tmp_path, share=0.0)
        targets = [make.target(broken), make.target(well, "small")]
        with gated(CERTIFIED, targets=targets) as world:
            assert ask(world, make, token()).status >= 500
            assert not well.requests
        with gated(rule(), targets=targets) as world:
            assert outcome(ask(world, make, token())) == "small"


def test_what_was_decided_holds_though_the_certificate_ends_meanwhile(gated, make, tmp_path):
    publish(tmp_path, valid_until=datetime.now(UTC) + timedelta(seconds=60))
    with (
        FakeProvider(Reply("late", delay_s=0.3)) as slow,
        gated(CERTIFIED, targets=both_at(make, slow)) as world,
    ):
        body = make.chat("cyber")
        connection = world.connect()
        connection.sendall(
            world.head("/v1/chat/completions", len(body), authorization=f"Bearer {token()}") + body
        )
        until(lambda: len(slow.requests) == 1)
        world.worker.context.wall = lambda: time.time() + 90
        assert make.read_answer(connection).status == 200
        assert outcome(ask(world, make, token())) == "certificate_expired"


def test_a_model_by_its_own_name_is_gated_with_the_routes_that_use_it(gated, make, tmp_path):
    key = publish_keys(tmp_path, tier="cleared")
    publish(tmp_path)
    rules = (rule("evidence", models=("small",), evidence="verdict"), rule("rest", tiers=("cleared",)))
    with gated(*rules) as world:
        assert outcome(ask(world, make, key.text)) == "small"
        assert outcome(ask(world, make, key.text, "small")) == "no_certificate", "no certificate is on it"
        assert outcome(ask(world, make, key.text, "big")) == "big"
        assert outcome(ask(world, make, token(tier="standard"), "big")) == "access_denied"


def test_a_model_that_no_route_uses_is_gated_by_its_own_name(gated, make, fake):
    targets = [make.target(fake), make.target(fake, "small"), make.target(fake, "secret")]
    with gated(rule(routes=("cyber",)), targets=targets) as world:
        assert outcome(ask(world, make, token(), "secret")) == "access_denied"
        assert outcome(ask(world, make, token(), "cyber")) == "big"
    with gated(rule(models=("secret",)), targets=targets) as world:
        assert outcome(ask(world, make, token(), "secret")) == "secret"
    spec = RouteSpec(name="plain", incumbent="big")
    with gated(rule(models=("secret",), allow=False), targets=targets, routes=(spec,)) as world:
        assert outcome(ask(world, make, token(), "secret")) == "secret", "nothing is gated"


def test_a_model_of_an_open_route_is_open_by_its_own_name_to_those_who_may_use_that(gated, make, tmp_path):
    key = publish_keys(tmp_path, tier="gold")
    spec = RouteSpec(name="plain", incumbent="big", tiers=("gold",))
    with gated(routes=(GATED, spec)) as world:
        assert outcome(ask(world, make, key.text, "big")) == "big"
        assert outcome(ask(world, make, token(), "big")) == "access_denied"
        assert outcome(ask(world, make, key.text, "small")) == "access_denied"


def test_replicas_are_under_the_rules_of_their_model(gated, make, fake):
    targets = [
        make.target(fake),
        make.target(fake, "big-2", replica_of="big", weight=1_000.0),
        make.target(fake, "small"),
    ]
    with gated(rule("no", models=("big",), allow=False), rule("yes"), targets=targets) as world:
        assert outcome(ask(world, make, token())) == "small"
        for name in ("big", "big-2"):
            assert outcome(ask(world, make, token(), name)) == "rule_denied"
    with gated(rule("yes", models=("big",)), targets=targets) as world:
        assert {outcome(ask(world, make, token())) for _ in range(5)} <= {"big", "big-2"}
        assert outcome(ask(world, make, token(), "big-2")) == "big-2"


def test_fallbacks_that_no_rule_allows_are_never_asked(gated, make):
    with FakeProvider(Fault("server_error")) as broken, FakeProvider("fine") as well:
        targets = [make.target(broken), make.target(well, "small")]
        with gated(rule(models=("big",)), targets=targets) as world:
            assert ask(world, make, token()).status >= 500
            assert not well.requests
            assert world.settled()[0].target == "big"


def test_a_login_that_would_help_is_asked_for_before_a_refusal(gated, make):
    rules = (
        rule("no", models=("big",), allow=False),
        rule("deep", models=("small",), login=RequiredLogin(acr=("phr",))),
    )
    with gated(*rules) as world:
        assert outcome(ask(world, make, token())) == "insufficient_user_authentication"
        assert outcome(ask(world, make, token(acr="phr"))) == "small"


def test_the_refusal_comes_before_limits_and_bodies(gated, make, tmp_path, fake):
    with gated(body_parse_bytes=2_000) as world:
        large = json.dumps({"model": "cyber", "messages": [{"role": "user", "content": "x" * 40_000}]})
        for body in (large, large.replace('{"model": "cyber", ', '{"stream": false, "model": "cyber", ')):
            answer = world.post(body.encode(), authorization=f"Bearer {token()}")
            assert answer.status == 403
        assert not fake.requests


def test_a_shadow_asks_no_model_that_the_rules_do_not_grant(gated, make, tmp_path):
    publish(tmp_path)
    spec = RouteSpec(name="cyber", incumbent="big", workload="triage", gated=True, shadow=Shadow(rate=1.0))
    with FakeProvider("big") as big, FakeProvider("small") as small:
        targets = [make.target(big), make.target(small, "small")]
        with gated(rule(models=("small",)), targets=targets, routes=(spec,)) as world:
            assert outcome(ask(world, make, token())) == "small"
            world.settled()
            assert world.broker.pairs == []
            assert not big.requests
        with gated(rule(), targets=targets, routes=(spec,)) as world:
            assert outcome(ask(world, make, token())) == "small"
            world.settled(2)
            assert len(big.requests) == 1


def test_models_that_a_caller_cannot_use_are_not_listed(gated, tmp_path, make):
    key = publish_keys(tmp_path)
    with gated(rule(programme="defence", issuers=(A,), models=("big",))) as world:

        def listed(credential):
            rows = world.get("/v1/models", authorization=f"Bearer {credential}").json["data"]
            return {row["id"] for row in rows}

        assert listed(token()) == {"cyber", "big"}
        assert listed(token(B)) == set()
        assert listed(key.text) == set()


def test_a_suspension_holds_on_a_connection_that_stays_open(gated, make, tmp_path):
    made = publish_keys(tmp_path)
    at = datetime.now(UTC)
    spec = RouteSpec(name="plain", incumbent="big")
    user = user_id(A, "ada")
    with gated(routes=(spec,)) as world:
        connection, body, credential = world.connect(), make.chat("plain"), token()

        def again():
            head = world.head("/v1/chat/completions", len(body), authorization=f"Bearer {credential}")
            connection.sendall(head + body)
            return make.read_answer(connection)

        def suspend(*principals):
            content = keyring_bytes([], [Suspension(principal=each, at=at) for each in principals])
            write(tmp_path / "keys.json", content)
            world.on_loop(lambda: world.worker._reload(0.0))

        assert [again().status for _ in range(3)] == [200, 200, 200]
        suspend(user[:-1], user + "0", made.id)
        assert again().status == 200
        suspend(user)
        answer = again()
        assert (answer.status, answer.code) == (403, "suspended")
        suspend()
        assert again().status == 200


def test_no_token_is_accepted_before_it_is_known_who_is_suspended(gated, make, tmp_path):
    (tmp_path / "keys.json").write_bytes(b"damaged")
    with gated(routes=(RouteSpec(name="plain", incumbent="big"),)) as world:
        answer = ask(world, make, token(), "plain")
        assert (answer.status, answer.code) == (503, "suspensions_unknown")
        key = publish_keys(tmp_path)
        world.on_loop(lambda: world.worker._reload(0.0))
        assert outcome(ask(world, make, token(), "plain")) == "big"
        assert outcome(ask(world, make, key.text, "plain")) == "big"
        (tmp_path / "keys.json").write_bytes(b"damaged again")
        world.on_loop(lambda: world.worker._reload(0.0))
        assert outcome(ask(world, make, token(), "plain")) == "big", "what was read last holds"


def test_a_stream_that_runs_when_its_caller_is_suspended_comes_to_its_end(gated, make, tmp_path):
    with FakeProvider(Reply("one two three four", token_delay_s=0.1)) as slow:
        spec = RouteSpec(name="plain", incumbent="big")
        with gated(routes=(spec,), targets=[make.target(slow)]) as world:
            body = make.chat("plain", stream=True)
            connection = world.connect()
            connection.sendall(
                world.head("/v1/chat/completions", len(body), authorization=f"Bearer {token()}") + body
            )
            first = connection.recv(1024)
            content = keyring_bytes([], [Suspension(principal=user_id(A, "ada"), at=datetime.now(UTC))])
            write(tmp_path / "keys.json", content)
            world.on_loop(lambda: world.worker._reload(0.0))
            assert b"[DONE]" in make.read_answer(connection, first).body
            assert outcome(ask(world, make, token(), "plain")) == "suspended"
