"""A signing key that is new: its request waits while it is fetched; strangers cannot have it fetched often."""

import time
from datetime import UTC, datetime

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from crossgrade.domain import RouteSpec, TierRule, TokenIssuer
from crossgrade.gateway import _who
from crossgrade.identity import IssuerKeys, jwks_bytes
from tests.waiting import until

ISSUER = "https://login.example.com/"
RULES = (TierRule(claim="scope", operator="equals", value="llm", tier="standard"),)
OLD, NEW = (ECKey.generate_key("P-256", {"kid": kid, "use": "sig"}) for kid in ("old", "new"))


def publish(folder, *keys):
    content = jwks_bytes(
        [
            IssuerKeys(
                issuer=ISSUER, fetched_at=time.time(), keys=tuple(k.as_dict(private=False) for k in keys)
            )
        ]
    )
    fresh = folder / "jwks.new"
    fresh.write_bytes(content)
    fresh.replace(folder / "jwks.json")


def token(key, kid=None):
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": ISSUER, "aud": "us", "sub": "ada", "iat": now, "exp": now + 300, "scope": "llm"}
    return jwt.encode({"alg": "ES256", "kid": kid or key.kid, "typ": "at+jwt"}, claims, key)


@pytest.fixture
def world(run, make, fake, tmp_path):
    publish(tmp_path, OLD)
    issuer = TokenIssuer(issuer=ISSUER, audience="us", rules=RULES)
    routes = [RouteSpec(name="support", incumbent="big")]
    with run([make.target(fake)], routes, open_on_loopback=False, issuers=(issuer,)) as world:
        yield world


def begin(world, make, credential, text="hello"):
    """Send a request and return its connection."""
    body = make.chat(messages=[{"role": "user", "content": text}])
    connection = world.connect()
    connection.sendall(
        world.head("/v1/chat/completions", len(body), authorization=f"Bearer {credential}") + body
    )
    return connection


def ask(world, make, credential, text="hello"):
    return make.read_answer(begin(world, make, credential, text))


def waiting(world):
    return world.worker.gateway.callers.waiting


def test_requests_wait_for_a_new_key_and_are_answered_with_it(world, make, tmp_path):
    held = [begin(world, make, token(NEW)) for _ in range(3)]
    until(lambda: waiting(world) == 3)
    assert world.broker.fetches == [ISSUER], "once for all of them"
    assert ask(world, make, token(OLD)).status == 200, "others go on meanwhile"
    held.pop().close()
    until(lambda: waiting(world) == 2)
    publish(tmp_path, NEW)
    world.on_loop(world.broker.on_fetched)
    assert [make.read_answer(connection).status for connection in held] == [200, 200]
    assert ask(world, make, token(NEW)).status == 200


def test_a_key_that_nobody_has_is_refused_and_not_asked_for_again_at_once(world, make, monkeypatch):
    held = begin(world, make, token(NEW, "nobody's"))
    until(lambda: waiting(world) == 1)
    world.on_loop(world.broker.on_fetched)
    assert make.read_answer(held).code == "token_key"
    for number in range(5):
        assert ask(world, make, token(NEW, f"{number}")).code == "token_key"
    large = "x" * 200_000  # which is refused before it is whole
    assert ask(world, make, token(NEW, "large"), large).code == "token_key"
    assert world.broker.fetches == [ISSUER]
    monkeypatch.setattr(_who, "ASKED_AGAIN_S", 0.0)
    ask(world, make, token(NEW, "later"), large)
    assert world.broker.fetches == [ISSUER] * 2


def test_waiting_is_bounded_in_time_and_number(world, make, monkeypatch):
    monkeypatch.setattr(_who, "WAIT_S", 0.05)
    assert ask(world, make, token(NEW)).code == "token_key", "the broker is slow or away"
    monkeypatch.setattr(_who, "MOST_WAITING", 0)
    monkeypatch.setattr(_who, "WAIT_S", 60.0)
    assert ask(world, make, token(NEW)).code == "token_key"


def test_tokens_that_are_bad_otherwise_have_nothing_fetched(world, make):
    now = int(time.time())
    foreign = jwt.encode(
        {"alg": "ES256", "kid": "x", "typ": "at+jwt"}, {"iss": "https://evil", "exp": now}, NEW
    )
    assert ask(world, make, foreign).code == "token_issuer"
    assert ask(world, make, token(NEW, "old")).code == "token_signature"
    assert world.broker.fetches == []
