"""Providers behind TLS: their certificate is checked, and against the name that was asked for."""

import datetime as dt
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crossgrade.domain import RouteSpec
from crossgrade.gateway.settings import Target

ANSWER = b'{"choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return a file with a key and a certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def provider(certificate):
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def _ask(run, make, port, host="127.0.0.1"):
    target = Target(
        name="big",
        provider="x",
        dialect="openai",
        base_url=f"https://{host}:{port}/v1",
        model="m",
        timeout_s=5.0,
    )
    with run([target], [RouteSpec(name="support", incumbent="big", attempts=1)]) as world:
        first = world.post(make.chat())
        return first, world.post(make.chat())


def test_a_trusted_provider_answers_over_one_kept_connection(run, make, provider, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert [answer.status for answer in _ask(run, make, provider)] == [200, 200]


def test_an_unknown_certificate_is_not_trusted(run, make, provider):
    answer, _ = _ask(run, make, provider)
    assert (answer.status, answer.code) == (502, "upstream_error")
    assert "TLS" in answer.json["error"]["message"]


def test_a_certificate_of_another_name_is_not_trusted(run, make, provider, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    answer, _ = _ask(run, make, provider, "localhost")
    assert (answer.status, answer.code) == (502, "upstream_error")
