"""Keys and access tokens at the gateway, from an issuer that is a real HTTP server on loopback."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from benchmarks.gateway._served import Served, command, contents, serving
from crossgrade.testing import FakeProvider
from tests.waiting import until

KEY = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
PROVIDER_KEY = "sk-identity-0123456789abcdef"


class Issuer(BaseHTTPRequestHandler):
    """Discovery and keys of an OpenID provider."""

    keys = (KEY,)

    def do_GET(self) -> None:
        url = f"http://{self.headers['host']}"
        keys = {"keys": [key.as_dict(private=False) for key in Issuer.keys]}
        found = {"issuer": url, "jwks_uri": f"{url}/keys"} if "well-known" in self.path else keys
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def served(issuer: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with FakeProvider("hello", api_key=PROVIDER_KEY) as fake:
        model = {
            "provider": "openai-compatible",
            "model": "m",
            "base_url": fake.base_url,
            "api_key_env": "IDENTITY_KEY",
        }
        rules = [
            {
                "claim": "groups",
                "operator": "contains",
                "value": "lab",
                "tier": "special",
                "team_claim": "team",
            },
            {"claim": "scope", "operator": "contains", "value": "llm", "tier": "standard"},
        ]
        config = {
            "models": {"current": model},
            "routes": {
                "open": {"incumbent": "current"},
                "lab": {"incumbent": "current", "tiers": ["special"], "teams": ["physics"]},
            },
            "serve": {"issuers": [{"issuer": issuer, "audience": "crossgrade", "rules": rules}]},
        }
        folder = tmp_path_factory.mktemp("identity")
        options = ("--route", "open", "--team", "care")
        with serving(folder, config, environ={"IDENTITY_KEY": PROVIDER_KEY}, key_options=options) as served:
            until((folder / ".crossgrade" / "jwks.json").exists)
            until(lambda: ask(served, token(issuer))[0] == 200)
            yield served


def token(issuer: str, key: ECKey = KEY, **claims: Any) -> str:
    now = int(time.time())
    good = {"iss": issuer, "aud": "crossgrade", "sub": "ada", "iat": now, "exp": now + 60, "scope": "llm"}
    header = {"alg": "ES256", "kid": key.kid, "typ": claims.pop("typ", "at+jwt")}
    return jwt.encode(header, {**good, **claims}, key)


def ask(served: Served, credential: str | None, route: str = "open") -> tuple[int, dict[str, Any]]:
    """Ask a route; returns the status and the body."""
    body = json.dumps({"model": route, "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"content-type": "application/json"}
    if credential is not None:
        headers["authorization"] = f"Bearer {credential}"
    request = urllib.request.Request(f"{served.url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]


def test_a_token_lets_in_by_its_tier(served: Served, issuer: str) -> None:
    assert ask(served, token(issuer))[0] == 200
    status, error = ask(served, token(issuer), "lab")
    assert (status, error["code"]) == (403, "route_denied")
    assert "it is for tier special, and the caller has standard" in error["message"]
    lab = token(issuer, groups=["staff", "lab"], team="physics")
    assert ask(served, lab, "lab")[0] == 200
    status, error = ask(served, token(issuer, groups=["lab"], team="chemistry"), "lab")
    assert (status, error["code"]) == (403, "route_denied")
    assert "it is for team physics" in error["message"]


def test_a_signing_key_that_was_not_announced_is_taken_up(
    served: Served, issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = ECKey.generate_key("P-256", {"kid": "two", "use": "sig"})
    monkeypatch.setattr(Issuer, "keys", (KEY, fresh))
    # The first request waits two seconds for the key, which a busy machine may need more of.
    until(lambda: ask(served, token(issuer, fresh))[0] == 200)
    assert ask(served, token(issuer))[0] == 200
    unknown = ECKey.generate_key("P-256", {"kid": "three", "use": "sig"})
    assert ask(served, token(issuer, unknown))[1]["code"] == "token_key"


@pytest.mark.parametrize(
    ("claims", "status", "code"),
    [
        ({"exp": 1}, 401, "token_expired"),
        ({"aud": "billing"}, 401, "token_audience"),
        ({"iss": "https://evil.example"}, 401, "token_issuer"),
        ({"typ": "JWT"}, 401, "token_kind"),
        ({"scope": "read"}, 403, "no_tier"),
        ({"exp": 10**11}, 401, "token_lifetime"),
    ],
)
def test_a_bad_token_is_refused_with_its_code(
    served: Served, issuer: str, claims: dict[str, Any], status: int, code: str
) -> None:
    bad = token(issuer, **claims)
    seen, error = ask(served, bad)
    assert (seen, error["code"]) == (status, code)
    assert bad not in json.dumps(error)


def test_no_key_no_service(served: Served) -> None:
    assert ask(served, None)[1]["code"] == "no_key"
    assert ask(served, "sk-cg-nobody")[1]["code"] == "key_unknown"
    assert ask(served, served.key[:-1] + "!")[1]["code"] == "key_unknown"


def test_a_key_is_held_to_its_routes(served: Served) -> None:
    assert ask(served, served.key)[0] == 200
    status, error = ask(served, served.key, "lab")
    assert (status, error["code"]) == (403, "route_denied")


def test_a_rotated_and_a_revoked_key_count_at_once(served: Served) -> None:
    made = json.loads(command(served.folder, "keys", "create", "second", "--json"))["secret"]
    until(lambda: ask(served, made)[0] == 200)
    fresh = json.loads(command(served.folder, "keys", "rotate", "second", "--overlap", "0", "--json"))[
        "secret"
    ]
    until(lambda: ask(served, fresh)[0] == 200)
    assert ask(served, made)[1]["code"] == "key_replaced"
    command(served.folder, "keys", "revoke", "second")
    until(lambda: ask(served, fresh)[1].get("code") == "key_revoked")


def test_no_secret_is_written_anywhere(served: Served) -> None:
    secret = served.key.rpartition("-")[2].encode()
    for path, content in contents(served.folder).items():
        assert secret not in content, path
        assert PROVIDER_KEY.encode() not in content, path
