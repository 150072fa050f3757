"""Access tokens: the good ones, and every bad one that a library or we must refuse."""

import hmac
import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from crossgrade.domain import TierRule, TokenIssuer
from crossgrade.errors import AccessError
from crossgrade.identity import Keyring, TokenVerifier, authenticate
from crossgrade.identity._claims import claim_at
from tests.codes import raises_code

ISSUER = "https://login.example.com/"  # as conftest.py has them
NOW = 1_800_000_000.0
Signer = Any
Make = Callable[[Signer], bytes]


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_good_token_has_a_tier_a_team_and_a_pseudonym(verifier: TokenVerifier, signer: Signer) -> None:
    principal = verifier.principal(signer.token(), NOW)
    assert (principal.tier, principal.team) == ("standard", "care")
    assert principal.id.startswith("user-")
    assert "ada" not in principal.id
    again = verifier.principal(signer.token(signer.claims(iat=NOW - 5)), NOW)
    assert again.id == principal.id
    assert authenticate(signer.token(), keys=Keyring(), tokens=verifier, now=NOW) == principal


@pytest.mark.parametrize("name", ["ec", "rsa", "ed"])
def test_every_accepted_algorithm_verifies(verifier: TokenVerifier, signer: Signer, name: str) -> None:
    alg = {"ec": "ES256", "rsa": "RS256", "ed": "EdDSA"}[name]
    token = signer.token(header=signer.header(alg=alg, kid=name), key=getattr(signer, name))
    assert verifier.principal(token, NOW).tier == "standard"


def test_without_a_key_id_the_only_fitting_key_is_taken(verifier: TokenVerifier, signer: Signer) -> None:
    assert verifier.principal(signer.token(header=signer.header(kid=...)), NOW).tier == "standard"


def respelt(token: bytes) -> bytes:
    """Change the bits of the last character that stand for nothing."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + bytes([alphabet[alphabet.index(token[-1:]) ^ 1]])


def unsigned(signer: Signer, header: dict[str, Any]) -> bytes:
    return (
        f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(signer.claims()).encode())}.AA".encode()
    )


def hmac_with_public_key(signer: Signer) -> bytes:
    header = encoded(json.dumps(signer.header(alg="HS256", kid="rsa")).encode())
    signing = f"{header}.{encoded(json.dumps(signer.claims()).encode())}".encode()
    signature = hmac.digest(signer.rsa.as_pem(private=False), signing, "sha256")
    return signing + b"." + encoded(signature).encode()


def edited(signer: Signer) -> bytes:
    header, _, signature = signer.token().split(b".")
    claims = encoded(json.dumps(signer.claims(groups=["admin"])).encode()).encode()
    return b".".join([header, claims, signature])


def embedded(signer: Signer) -> bytes:
    evil = ECKey.generate_key("P-256")
    return signer.token(header=signer.header(jwk=evil.as_dict(private=False)), key=evil)


def s_claims(signer: Signer, more: str) -> bytes:
    left_out = {"exp": ...} if "exp" in more else {}
    return (json.dumps(signer.claims(**left_out))[:-1] + f", {more}}}").encode()


BAD: dict[str, tuple[Make, str]] = {
    "empty": (lambda s: b".", "token_malformed"),
    "one part": (lambda s: b"hello", "token_malformed"),
    "1 MiB": (lambda s: b"a" * (1 << 20), "token_malformed"),
    "a newline at the end": (lambda s: s.token() + b"\n", "token_malformed"),
    "padding at the end": (lambda s: s.token() + b"==", "token_malformed"),
    "another spelling of the signature": (lambda s: respelt(s.token()), "token_malformed"),
    "the shape of a JWE": (lambda s: s.token() + b".e30.e30", "token_malformed"),
    "header is a list": (lambda s: s.token(header=b"[]"), "token_malformed"),
    "claims are no JSON": (lambda s: s.token(claims=b"{"), "token_malformed"),
    "nested without end": (lambda s: s.token(claims=b"[" * 9000), "token_malformed"),
    "alg none": (lambda s: unsigned(s, s.header(alg="none")), "token_algorithm"),
    "alg None": (lambda s: unsigned(s, s.header(alg=None)), "token_algorithm"),
    "alg is a list": (lambda s: s.token(header=s.header(alg=["ES256"])), "token_algorithm"),
    "HS256 with the public key": (hmac_with_public_key, "token_algorithm"),
    "an algorithm that is not accepted": (lambda s: s.token(header=s.header(alg="ES384")), "token_algorithm"),
    "RS256 named, ES256 key": (lambda s: s.token(header=s.header(alg="RS256")), "token_key"),
    "another key, same id": (lambda s: s.token(key=s.other), "token_signature"),
    "edited claims": (edited, "token_signature"),
    "no signature": (lambda s: unsigned(s, s.header()), "token_signature"),
    "unknown key id": (lambda s: s.token(header=s.header(kid="x")), "token_key"),
    "numeric key id": (lambda s: s.token(header=s.header(kid=7)), "token_header"),
    "embedded key": (embedded, "token_header"),
    "key address": (lambda s: s.token(header=s.header(jku="https://evil.example/keys")), "token_header"),
    "x5u": (lambda s: s.token(header=s.header(x5u="https://evil.example/cert")), "token_header"),
    "crit": (lambda s: s.token(header=s.header(crit=["exp"])), "token_header"),
    "b64 false": (lambda s: s.token(header=s.header(b64=False)), "token_header"),
    "duplicate header": (lambda s: s.token(header=b'{"alg":"none","alg":"ES256"}'), "token_malformed"),
    "an ID token": (lambda s: s.token(header=s.header(typ="JWT")), "token_kind"),
    "no type": (lambda s: s.token(header=s.header(typ=...)), "token_kind"),
    "marks of an ID token": (lambda s: s.token(s.claims(nonce="x")), "token_kind"),
    "Keycloak's ID token": (lambda s: s.token(s.claims(typ="ID")), "token_kind"),
    "another issuer": (lambda s: s.token(s.claims(iss="https://evil.example/")), "token_issuer"),
    "issuer without its slash": (lambda s: s.token(s.claims(iss=ISSUER.rstrip("/"))), "token_issuer"),
    "no issuer": (lambda s: s.token(s.claims(iss=...)), "token_issuer"),
    "issuer is a list": (lambda s: s.token(s.claims(iss=[ISSUER])), "token_issuer"),
    "expired": (lambda s: s.token(s.claims(exp=NOW - 11)), "token_expired"),
    "no exp": (lambda s: s.token(s.claims(exp=...)), "token_claim"),
    "exp is true": (lambda s: s.token(s.claims(exp=True)), "token_claim"),
    "exp is a text": (lambda s: s.token(s.claims(exp=str(NOW + 60))), "token_claim"),
    "exp is NaN": (lambda s: s.token(json.dumps(s.claims(exp=float("nan"))).encode()), "token_malformed"),
    "exp has 400 digits": (lambda s: s.token(claims=s_claims(s, f'"exp": 1{"0" * 400}')), "token_claim"),
    "exp is infinite": (lambda s: s.token(claims=s_claims(s, '"exp": 1e999')), "token_claim"),
    "no iat": (lambda s: s.token(s.claims(iat=...)), "token_claim"),
    "issued in the future": (lambda s: s.token(s.claims(iat=NOW + 60)), "token_not_yet"),
    "not valid yet": (lambda s: s.token(s.claims(nbf=NOW + 60)), "token_not_yet"),
    "lives a hundred years": (lambda s: s.token(s.claims(exp=NOW + 3e9)), "token_lifetime"),
    "another audience": (lambda s: s.token(s.claims(aud="billing")), "token_audience"),
    "no audience": (lambda s: s.token(s.claims(aud=...)), "token_claim"),
    "audience is a number": (lambda s: s.token(s.claims(aud=[1])), "token_claim"),
    "two audiences, asked by nobody": (
        lambda s: s.token(s.claims(aud=["crossgrade", "b"])),
        "token_audience",
    ),
    "duplicate claim": (lambda s: s.token(claims=s_claims(s, '"sub": "eve"')), "token_malformed"),
    "no subject": (lambda s: s.token(s.claims(sub=...)), "token_claim"),
    "subject is a list": (lambda s: s.token(s.claims(sub=["ada"])), "token_claim"),
    "empty subject": (lambda s: s.token(s.claims(sub="")), "token_claim"),
    "endless subject": (lambda s: s.token(s.claims(sub="a" * 300)), "token_claim"),
    "no rule matches": (lambda s: s.token(s.claims(groups=["staff"])), "no_tier"),
    "groups is no list": (lambda s: s.token(s.claims(groups={"llm": 1})), "no_tier"),
    "no team": (lambda s: s.token(s.claims(team=...)), "no_team"),
    "team is a list": (lambda s: s.token(s.claims(team=["care"])), "no_team"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tokens_are_refused(verifier: TokenVerifier, signer: Signer, case: str) -> None:
    make, reason = BAD[case]
    token = make(signer)
    with pytest.raises(AccessError) as caught:
        verifier.principal(token, NOW)
    assert caught.value.reason == reason
    assert caught.value.status == (403 if reason.startswith("no_") else 401)
    assert token.decode(errors="replace")[:200] not in f"{caught.value} {caught.value.hint}" or len(token) < 9


def test_the_refusal_names_the_claim_that_a_rule_wants(verifier: TokenVerifier, signer: Signer) -> None:
    with raises_code("no-tier", "groups", "admin", "llm"):
        verifier.principal(signer.token(signer.claims(groups=[])), NOW)


def test_the_first_rule_that_matches_holds(verifier: TokenVerifier, signer: Signer) -> None:
    principal = verifier.principal(signer.token(signer.claims(groups=["llm", "admin"])), NOW)
    assert (principal.tier, principal.team) == ("special", "")


def test_an_issuer_that_calls_its_access_tokens_jwt(signer: Signer, issuer: TokenIssuer) -> None:
    verifier = TokenVerifier([replace(issuer, types=("JWT",))], {ISSUER: signer.keys})
    assert verifier.principal(signer.token(header=signer.header(typ="JWT")), NOW).tier == "standard"
    with raises_code("token-kind"):
        verifier.principal(signer.token(signer.claims(at_hash="x"), signer.header(typ="JWT")), NOW)


def test_several_audiences_need_who_asked(verifier: TokenVerifier, signer: Signer) -> None:
    claims = signer.claims(aud=["crossgrade", "b"], azp="the-app")
    assert verifier.principal(signer.token(claims), NOW).tier == "standard"


def test_a_verified_token_is_remembered_for_a_minute(signer: Signer, issuer: TokenIssuer) -> None:
    keys = {ISSUER: signer.keys}
    verifier = TokenVerifier([issuer], keys)
    token = signer.token()
    principal = verifier.principal(token, NOW)
    del keys[ISSUER]  # what the issuer does now is seen after the minute
    assert verifier.principal(token, NOW + 59) is principal
    with pytest.raises(AccessError) as caught:
        verifier.principal(token, NOW + 60)
    assert caught.value.status == 503


def test_and_never_longer_than_it_lives(verifier: TokenVerifier, signer: Signer) -> None:
    token = signer.token(signer.claims(exp=NOW + 5))
    verifier.principal(token, NOW)
    with pytest.raises(AccessError) as caught:
        verifier.principal(token, NOW + 16)
    assert caught.value.reason == "token_expired"


def test_what_is_remembered_is_bounded(
    verifier: TokenVerifier, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.identity.access.CACHE_TOKENS", 3)
    for number in range(5):
        verifier.principal(signer.token(signer.claims(jti=str(number))), NOW)
    assert len(verifier._verified) == 3


def test_keys_too_old_let_nobody_in(signer: Signer, issuer: TokenIssuer) -> None:
    verifier = TokenVerifier([issuer], {ISSUER: signer.keys})
    later = NOW + 86_401
    token = signer.token(signer.claims(iat=later, exp=later + 60))
    with raises_code("issuer-keys") as caught:
        verifier.principal(token, later)
    assert (caught.value.status, caught.value.reason) == (503, "issuer_keys")


def test_an_issuer_vouches_only_for_its_own_rules(signer: Signer, issuer: TokenIssuer) -> None:
    other = replace(issuer, issuer="https://other.example/", rules=issuer.rules[:1])
    keys = {ISSUER: signer.keys, other.issuer: replace_issuer(signer, other.issuer)}
    verifier = TokenVerifier([other, issuer], keys)
    with pytest.raises(AccessError) as caught:
        verifier.principal(signer.token(signer.claims(iss=other.issuer)), NOW)
    assert caught.value.reason == "no_tier"


def replace_issuer(signer: Signer, name: str) -> Any:
    return type(signer.keys)(issuer=name, fetched_at=NOW, keys=signer.keys.keys)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("sub", "ada"),
        ("realm.roles", ["a"]),
        ("https://example.com/team", "x"),
        ("deep.a.b", 1),
        ("realm", {"roles": ["a"]}),
        ("realm.roles.a", None),
        ("nothing.at.all", None),
        ("", None),
    ],
)
def test_claims_are_found_by_their_path(path: str, value: Any) -> None:
    claims = {
        "sub": "ada",
        "realm": {"roles": ["a"]},
        "https://example.com/team": "x",
        "deep": {"a.b": 1},
    }
    assert claim_at(claims, path) == value


@pytest.mark.parametrize(
    ("rule", "claims", "matches"),
    [
        (TierRule(claim="scope", operator="contains", value="llm", tier="t"), {"scope": "read llm"}, True),
        (TierRule(claim="scope", operator="contains", value="llm", tier="t"), {"scope": "read llmx"}, False),
        (TierRule(claim="org", operator="in", value=("a", "b"), tier="t"), {"org": "b"}, True),
        (TierRule(claim="org", operator="in", value=("a", "b"), tier="t"), {"org": "c"}, False),
        (TierRule(claim="ok", operator="equals", value="true", tier="t"), {"ok": True}, True),
        (TierRule(claim="ok", operator="equals", value="None", tier="t"), {}, False),
        (TierRule(claim="n", operator="equals", value="7", tier="t"), {"n": 7}, True),
    ],
)
def test_rules(
    signer: Signer, issuer: TokenIssuer, rule: TierRule, claims: dict[str, Any], matches: bool
) -> None:
    verifier = TokenVerifier([replace(issuer, rules=(rule,))], {ISSUER: signer.keys})
    token = signer.token(signer.claims(**claims))
    if matches:
        assert verifier.principal(token, NOW).tier == "t"
    else:
        with raises_code("no-tier"):
            verifier.principal(token, NOW)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_verifier(data: bytes) -> None:
    issuer = TokenIssuer(issuer=ISSUER, audience="a", rules=())
    with pytest.raises(AccessError):
        TokenVerifier([issuer], {}).principal(data, NOW)


def test_the_library_is_imported_with_the_first_token() -> None:
    code = "import crossgrade.identity, sys; print(sorted({'joserfc', 'urllib.request'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
