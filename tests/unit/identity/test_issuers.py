"""Keys of issuers: fetched from a loopback issuer, right and wrong, kept while it does not answer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from crossgrade.domain import TierRule, TokenIssuer
from crossgrade.errors import AccessError, ConfigError
from crossgrade.identity import IssuerKeys, fetch_jwks, jwks_bytes, read_jwks, refresh_jwks
from tests.codes import raises_code

NOW = 1_800_000_000.0
Signer = Any

RULES = (TierRule(claim="sub", operator="equals", value="x", tier="t"),)


class FakeIssuer:
    """Answers each path with what the test says."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.asked: list[str] = []

    def say(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = (status, data, headers)

    def be_good(self, signer: Signer) -> None:
        self.say("/.well-known/openid-configuration", {"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
        self.say("/keys", {"keys": list(signer.keys.keys)})


@pytest.fixture
def provider(signer: Signer) -> Iterator[FakeIssuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.asked.append(self.path)
            status, body, headers = fake.answers.get(self.path, (404, b"", {}))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake = FakeIssuer(server)
    fake.be_good(signer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


def refusal(issuer: str) -> str:
    with pytest.raises(AccessError) as caught:
        fetch_jwks(issuer, NOW, timeout_s=2)
    assert (caught.value.status, caught.value.reason) == (503, "issuer_unreachable")
    return caught.value.message


def test_keys_are_found_by_discovery(provider: FakeIssuer, signer: Signer) -> None:
    keys = fetch_jwks(provider.url, NOW)
    assert keys == IssuerKeys(issuer=provider.url, fetched_at=NOW, keys=signer.keys.keys)
    assert read_jwks(jwks_bytes([keys])) == {provider.url: keys}


def test_secret_keys_and_keys_for_encryption_are_left_out(provider: FakeIssuer, signer: Signer) -> None:
    more = [{"kty": "oct", "k": "AAAA"}, {"kty": "RSA", "use": "enc"}, "x", *signer.keys.keys]
    provider.say("/keys", {"keys": more})
    assert fetch_jwks(provider.url, NOW).keys == signer.keys.keys
    provider.say("/keys", {"keys": more[:3]})
    assert "no public key" in refusal(provider.url)


def test_redirects_are_not_followed(provider: FakeIssuer) -> None:
    provider.say("/keys", b"", 302, location="http://169.254.169.254/latest/meta-data")
    assert "answered 302" in refusal(provider.url)
    provider.say("/.well-known/openid-configuration", b"", 301, location=f"{provider.url}/elsewhere")
    assert "answered 301" in refusal(provider.url)
    assert "/elsewhere" not in provider.asked


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"issuer": "https://other.example"}, "its discovery names the issuer 'https://other.example'"),
        ({"jwks_uri": "http://keys.example/keys"}, "http://keys.example/keys is not https"),
        ({"jwks_uri": "file:///etc/passwd"}, "file:///etc/passwd is not https"),
        ({"jwks_uri": None}, "names no `jwks_uri`"),
    ],
)
def test_a_wrong_discovery_document(provider: FakeIssuer, document: dict[str, Any], problem: str) -> None:
    good = {"issuer": provider.url, "jwks_uri": f"{provider.url}/keys"}
    provider.say("/.well-known/openid-configuration", good | document)
    assert problem in refusal(provider.url)


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        (b"<html>", 200, "is not a JSON object"),
        (b"[]", 200, "is not a JSON object"),
        (b"[" * 100_000, 200, "is not a JSON object"),
        (b"{}", 200, "has no list `keys`"),
        (b"{}", 500, "answered 500"),
        (b"a" * ((1 << 20) + 1), 200, "answered more than 1048576 bytes"),
    ],
)
def test_a_wrong_key_set(provider: FakeIssuer, body: bytes, status: int, problem: str) -> None:
    provider.say("/keys", body, status)
    assert problem in refusal(provider.url)


def test_nothing_listens() -> None:
    assert "cannot be reached" in refusal("http://127.0.0.1:1")


def test_only_https_beyond_this_machine() -> None:
    assert "is not https" in refusal("http://login.example.com")


def test_an_issuer_elsewhere_cannot_send_us_to_this_machine(provider: FakeIssuer) -> None:
    from crossgrade.identity.issuers import _get

    with raises_code("issuer-unreachable", f"{provider.url}/keys"):
        _get(f"{provider.url}/keys", "https://login.example.com", 1)
    assert provider.asked == []


def test_old_keys_are_kept_while_the_issuer_fails() -> None:
    issuers = [TokenIssuer(issuer=name, audience="a", rules=RULES) for name in ("a", "b", "c")]
    old = IssuerKeys(issuer="a", fetched_at=NOW - 61, keys=())
    young = IssuerKeys(issuer="b", fetched_at=NOW - 59, keys=())
    asked = []

    def fetch(issuer: str, now: float) -> IssuerKeys:
        asked.append(issuer)
        if issuer == "a":
            raise AccessError("down", reason="issuer_unreachable")
        return IssuerKeys(issuer=issuer, fetched_at=now, keys=())

    fresh, failed = refresh_jwks(issuers, {"a": old, "b": young}, NOW, fetch)
    assert asked == ["a", "c"]
    assert fresh == {"a": old, "b": young, "c": IssuerKeys(issuer="c", fetched_at=NOW, keys=())}
    assert [str(error) for error in failed] == ["down"]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"schema_version": 1, "issuers": [], "x": 1}', b"[" * 99_999])
def test_a_damaged_file_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        read_jwks(data, file="jwks.json")
    assert caught.value.file == "jwks.json"
