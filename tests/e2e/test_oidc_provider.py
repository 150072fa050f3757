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

from crossgrade.domain import TierRule, TokenIssuer
from crossgrade.errors import AccessError
from crossgrade.identity import TokenVerifier, fetch_jwks
from tests.e2e.serving import free_port

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
