"""An issuer in this process that signs anything, right or wrong."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from crossgrade.domain import TierRule, TokenIssuer
from crossgrade.identity import IssuerKeys, TokenVerifier

ISSUER = "https://login.example.com/"
NOW = 1_800_000_000.0


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """An OpenID provider's keys and what it says in a good token."""

    def __init__(self) -> None:
        self.ec = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
        self.rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
        self.ed = OKPKey.generate_key("Ed25519", {"kid": "ed"})
        self.other = ECKey.generate_key("P-256", {"kid": "ec"})
        keys = tuple(key.as_dict(private=False) for key in (self.ec, self.rsa, self.ed))
        self.keys = IssuerKeys(issuer=ISSUER, fetched_at=NOW, keys=keys)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": ISSUER,
            "aud": "crossgrade",
            "sub": "ada",
            "iat": NOW - 10,
            "exp": NOW + 300,
            "groups": ["staff", "llm"],
            "team": "care",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not ...}

    def header(self, **changes: Any) -> dict[str, Any]:
        header = {"alg": "ES256", "kid": "ec", "typ": "at+jwt", **changes}
        return {name: value for name, value in header.items() if value is not ...}

    def token(
        self,
        claims: dict[str, Any] | bytes | None = None,
        header: dict[str, Any] | bytes | None = None,
        key: Any = None,
    ) -> bytes:
        """Sign whatever is given; raw bytes stand as they are."""
        raw_header = header if isinstance(header, bytes) else json.dumps(header or self.header()).encode()
        raw_claims = claims if isinstance(claims, bytes) else json.dumps(claims or self.claims()).encode()
        signing = f"{encoded(raw_header)}.{encoded(raw_claims)}".encode()
        key = key or self.ec
        alg = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}[key.key_type]
        signature = jws.JWSRegistry.algorithms[alg].sign(signing, key)
        return signing + b"." + encoded(signature).encode()


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def issuer() -> TokenIssuer:
    rules = (
        TierRule(claim="groups", operator="contains", value="admin", tier="special"),
        TierRule(claim="groups", operator="contains", value="llm", tier="standard", team_claim="team"),
    )
    return TokenIssuer(issuer=ISSUER, audience="crossgrade", rules=rules, max_lifetime_s=3600)


@pytest.fixture
def verifier(signer: Signer, issuer: TokenIssuer) -> TokenVerifier:
    return TokenVerifier([issuer], {ISSUER: signer.keys})
