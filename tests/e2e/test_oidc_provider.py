"""Access tokens of a certified OpenID provider, by its own discovery, key set and token endpoint."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey, RSAKey

from benchmarks.gateway._served import Served, records, serving
from benchmarks.gateway._tools import free_port
from crossgrade.domain import TierRule, TokenIssuer
from crossgrade.errors import AccessError
from crossgrade.identity import TokenVerifier, fetch_jwks
from crossgrade.testing import FakeProvider
from tests.e2e.certified import ask
from tests.waiting import until

CLIENTS = Path(__file__).parents[1] / "clients"
ENVIRONMENTS = Path(os.environ.get("CROSSGRADE_TEST_CLIENTS", CLIENTS.parents[1] / ".venvs"))
AUDIENCE = "https://gateway.test/v1"
SECRET = "a secret of this test"

pytestmark = pytest.mark.needs("client:node-oidc")


@contextlib.contextmanager
def provider(port: int, *keys: ECKey | RSAKey) -> Iterator[str]:
    """Run the provider with these keys; the first one signs."""
    node = shutil.which("node")
    assert node is not None
    environ = {
        **os.environ,
        "CLIENT_ROOT": str(ENVIRONMENTS / "client-node-oidc"),
        "AUDIENCE": AUDIENCE,
        "SECRET": SECRET,
        "KEYS": json.dumps([key.as_dict(private=True) for key in keys]),
    }
    command = [node, str(CLIENTS / "oidc_provider.mjs"), str(port)]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert any("ready" in line for line in process.stdout)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def access_token(issuer: str, scope: str) -> bytes:
    body = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": scope}).encode()
    basic = base64.b64encode(f"batch:{urllib.parse.quote(SECRET)}".encode()).decode()
    request = urllib.request.Request(f"{issuer}/token", body, {"authorization": f"Basic {basic}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.loads(answer.read())["access_token"]).encode()


def new_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig"})


def verifier(issuer: str) -> TokenVerifier:
    rules = (
        TierRule(claim="scope", operator="contains", value="llm:special", tier="special"),
        TierRule(
            claim="scope", operator="contains", value="llm", tier="standard", team_claim="department.team"
        ),
    )
    keys = fetch_jwks(issuer, time.time())
    return TokenVerifier([TokenIssuer(issuer=issuer, audience=AUDIENCE, rules=rules)], {issuer: keys})


def test_its_tokens_give_tiers_and_its_new_keys_count_when_fetched() -> None:
    port, first, second = free_port(), new_key("first"), new_key("second")
    rsa = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
    with provider(port, first, rsa) as issuer:
        old = verifier(issuer)
        standard = old.principal(access_token(issuer, "llm"), time.time())
        assert (standard.tier, standard.team) == ("standard", "care")
        assert old.principal(access_token(issuer, "llm llm:special"), time.time()).tier == "special"
    with provider(port, second, rsa) as issuer:
        token = access_token(issuer, "llm")
        with pytest.raises(AccessError) as caught:
            old.principal(token, time.time())
        assert caught.value.reason == "token_key"
        assert verifier(issuer).principal(token, time.time()).tier == "standard"


@contextlib.contextmanager
def gateway(folder: Path, issuer: str) -> Iterator[Served]:
    """Serve two routes, one of them for a tier, to whom the provider vouches for."""
    standard = {"claim": "scope", "operator": "contains", "value": "llm", "tier": "standard"}
    special = {"claim": "scope", "operator": "contains", "value": "llm:special", "tier": "special"}
    rules = [{**rule, "team_claim": "department.team"} for rule in (special, standard)]
    with FakeProvider("hello", api_key="sk-behind") as fake:
        model = {
            "provider": "openai-compatible", "model": "m", "base_url": fake.base_url, "api_key_env": "BEHIND",
        }  # fmt: skip
        config = {
            "models": {"current": model},
            "routes": {
                "open": {"incumbent": "current"},
                "special": {"incumbent": "current", "tiers": ["special"], "teams": ["care"]},
            },
            "serve": {"issuers": [{"issuer": issuer, "audience": AUDIENCE, "rules": rules}]},
        }
        with serving(folder, config, environ={"BEHIND": "sk-behind"}) as served:
            yield served
            tokens = [request.headers["authorization"] for request in fake.requests]
            assert set(tokens) == {"Bearer sk-behind"}, "no token goes further than the gateway"


def status(served: Served, token: bytes, route: str = "open") -> tuple[int, str]:
    answer = ask(served, route, key=token.decode())
    return answer.status, answer.json["error"]["code"] if answer.status != 200 else answer.target


def test_a_gateway_lets_in_by_its_tokens_and_follows_its_keys(tmp_path: Path) -> None:
    port, first, second = free_port(), new_key("first"), new_key("second")
    rsa = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
    with contextlib.ExitStack() as stack:
        with provider(port, first, rsa) as issuer:
            served = stack.enter_context(gateway(tmp_path, issuer))
            token, special = access_token(issuer, "llm"), access_token(issuer, "llm llm:special")
            until(lambda: status(served, token) == (200, "current"))
            assert status(served, token, "special") == (403, "route_denied")
            assert status(served, special, "special") == (200, "current")
            assert status(served, token[:-4] + b"AAAA")[0] == 401
            given = until(lambda: [each for each in records(served) if each["status"] == 200])
            (bearer,) = {record["key"] for record in given}
            assert bearer.startswith("user-")
            assert "batch" not in bearer
            assert {record["team"] for record in records(served) if record["status"] == 200} == {"care"}
        assert status(served, token) == (200, "current"), "its keys are kept while it is away"
        with provider(port, second, rsa):
            fresh = access_token(issuer, "llm")
            # The first request waits two seconds for the key, which a busy machine may need more of.
            until(lambda: status(served, fresh) == (200, "current"))
            assert status(served, token) == (401, "token_key"), "a key that was taken back vouches for nobody"
        for path in tmp_path.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert not any(secret in content for secret in (token, special, fresh, b"sk-behind")), path
