"""An OpenID provider on loopback that signs anything: discovery and keys over HTTP, tokens right and wrong."""

import contextlib
import hmac
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

AUDIENCE = "https://gateway.test/v1"


def encoded(data: object) -> str:
    """Return bytes, or anything else as JSON, in base64url without padding."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


class SigningIssuer:
    """The keys of an issuer, and the tokens that it signs. `url` is its address, exactly as in `iss`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig"})
        self.rsa = RSAKey.generate_key(2048, {"kid": "r1", "use": "sig"})
        self.evil = ECKey.generate_key("P-256", {"kid": "k1"})

    @property
    def public_keys(self) -> list[dict[str, Any]]:
        """What its key set has."""
        return [dict(key.as_dict(private=False)) for key in (self.key, self.rsa)]

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return good claims with changes; `...` leaves a claim out."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + 300,
            "client_id": "svc",
            "tier": "cleared",
        }
        return {name: value for name, value in (good | changes).items() if value is not ...}

    def header(self, **changes: Any) -> dict[str, Any]:
        """Return a good header with changes."""
        return {"alg": "ES256", "kid": "k1", "typ": "at+jwt", **changes}

    def token(self, **changes: Any) -> str:
        """Return a well-signed token with these claims changed."""
        return self.sign(self.header(), self.claims(**changes))

    def sign(self, header: object, claims: object, key: ECKey | None = None) -> str:
        """Sign whatever is given; bytes stand as they are."""
        signing = f"{encoded(header)}.{encoded(claims)}"
        signature = jws.JWSRegistry.algorithms["ES256"].sign(signing.encode(), key or self.key)
        return f"{signing}.{encoded(signature)}"

    def bad_tokens(self) -> dict[str, str]:
        """Return 28 tokens that a verifier must refuse, by what is wrong with them."""
        sign, header, claims, now = self.sign, self.header, self.claims, int(time.time())
        good = self.token()
        start, _, signature = good.split(".")
        hmac_head = f"{encoded(header(alg='HS256'))}.{encoded(claims())}"
        public = self.key.as_pem(private=False)
        twice = json.dumps(claims(tier="standard"))[:-1] + ', "tier": "cleared"}'
        embedded = header(kid="e", jwk=self.evil.as_dict(private=False))
        return {
            "alg none": f"{encoded({'alg': 'none'})}.{encoded(claims())}.",
            "HS256 keyed with the public key": f"{hmac_head}."
            + encoded(hmac.digest(public, hmac_head.encode(), "sha256")),
            "another key, same kid": sign(header(), claims(), self.evil),
            "embedded jwk": sign(embedded, claims(), self.evil),
            "jku": sign(header(kid="e", jku="http://127.0.0.1:9/"), claims(), self.evil),
            "payload edited": f"{start}.{encoded(claims(tier='root'))}.{signature}",
            "expired": self.token(exp=now - 3600),
            "not yet valid": self.token(nbf=now + 3600),
            "issued in the future": self.token(iat=now + 3600),
            "wrong audience": self.token(aud="https://other"),
            "wrong issuer": self.token(iss="http://evil"),
            "no exp": self.token(exp=...),
            "no sub": self.token(sub=...),
            "unknown crit": sign(header(crit=["x"], x=1), claims()),
            "alg is a list": sign(header(alg=["ES256"]), claims()),
            "kid is a number": sign(header(kid=1), claims()),
            "exp NaN": self.token(exp=float("nan")),
            "exp true": self.token(exp=True),
            "sub is a list": self.token(sub=["a"]),
            "newline at the end": f"{good}\n",
            "padding at the end": f"{good}==",
            "1 MiB": "a" * (1 << 20),
            "the shape of a JWE": "a.b.c.d.e",
            "empty": "",
            "lifetime of 100 years": self.token(exp=now + 3_153_600_000),
            "typ JWT (an ID token)": sign(header(typ="JWT"), claims()),
            "audience list with others": self.token(aud=["https://other", AUDIENCE], client_id=...),
            "duplicate claim": sign(header(), twice.encode()),
        }


@contextlib.contextmanager
def issuing() -> Iterator[SigningIssuer]:
    """Serve discovery and keys of an issuer on loopback until the end."""

    class Discovery(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
            found = document if "well-known" in self.path else {"keys": issuer.public_keys}
            content = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Discovery)
    issuer = SigningIssuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
