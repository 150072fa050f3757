"""Access rules: which one decides, what it asks for, and what a refusal says."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import KEYS, AccessRule, RequiredLogin, RouteSpec, TierRule, TokenIssuer
from crossgrade.identity import (
    AccessDecision,
    AccessRequest,
    AccessRules,
    ModelEvidence,
    Principal,
    TokenVerifier,
    evidence_of,
    needless_rules,
)
from crossgrade.routing import Policy, Route

A, B = "https://a.example/", "https://b.example/"
ISSUER = "https://login.example.com/"  # as conftest.py has it
NOW = 1_800_000_000.0
EVIDENCE = ModelEvidence(verdict_id="v1", digest="sha256:e", valid_until=NOW + 60)
CLEARED = Principal(id="user-1", tier="cleared", team="lab", issuer=A, acr="phr", auth_time=NOW - 30)
KEY = Principal(id="k", tier="cleared", team="lab", issuer=KEYS)


def rule(name: str = "r", **fields: Any) -> AccessRule:
    return AccessRule(name=name, **fields)


def asked(who: Principal = CLEARED, **fields: Any) -> AccessRequest:
    given_fields = {"route": "cyber", "workload": "triage", "programme": None, "model": "big", **fields}
    return AccessRequest(principal=who, **given_fields)


def decide(*rules: AccessRule, who: Principal = CLEARED, now: float = NOW, **fields: Any) -> AccessDecision:
    return AccessRules(rules).decide(asked(who, **fields), now)


def told(*rules: AccessRule, who: Principal = CLEARED, **fields: Any) -> Any:
    issuer = TokenIssuer(
        issuer=A,
        audience="us",
        rules=(TierRule(claim="groups", operator="contains", value="sec", tier="cleared"),),
    )
    found = AccessRules(rules, [issuer])
    request = asked(who, **fields)
    decision = found.decide(request, NOW)
    assert decision.outcome != "allow"
    return found.error(request, decision)


def test_without_a_rule_the_answer_is_no() -> None:
    assert (decide().outcome, decide().code) == ("deny", "access_denied")
    assert decide(rule(routes=("other",))).outcome == "deny"
    assert decide(rule()).outcome == "allow"


@pytest.mark.parametrize(
    "selector",
    [
        {"issuers": (B,)},
        {"issuers": (KEYS,)},
        {"tiers": ("standard",)},
        {"tiers": ("clear", "cleared2")},
        {"teams": ("ops",)},
        {"routes": ("cyber2",)},
        {"workloads": ("triage2",)},
        {"models": ("bigger",)},
        {"programme": "defence"},
    ],
)
def test_every_selector_selects(selector: dict[str, Any]) -> None:
    assert decide(rule(**selector)).rule is None


def test_the_first_rule_that_matches_decides() -> None:
    denies, allows = rule("no", teams=("lab",), allow=False), rule("yes")
    assert decide(denies, allows).code == "rule_denied"
    assert decide(allows, denies).outcome == "allow"
    # What a rule asks for is no selector: a later rule does not stand in.
    assert decide(rule("strict", evidence="verdict"), allows).code == "no_certificate"


def test_tiers_of_the_same_name_from_two_issuers_do_not_mix() -> None:
    bound = rule(issuers=(A,), tiers=("cleared",))
    assert decide(bound).outcome == "allow"
    assert decide(bound, who=replace(CLEARED, issuer=B)).code == "access_denied"
    assert decide(bound, who=KEY).code == "access_denied"
    assert decide(bound, who=replace(CLEARED, issuer="")).code == "access_denied"
    assert decide(bound, who=replace(CLEARED, issuer=A.rstrip("/"))).code == "access_denied"


def test_a_programme_selects_and_never_grants() -> None:
    special = rule("special", programme="defence", tiers=("cleared",))
    usual = rule("usual", models=("small",))
    assert decide(special, usual, programme="defence").outcome == "allow"
    assert decide(special, usual, programme="defence", who=replace(CLEARED, tier="x")).outcome == "deny"
    assert decide(special, usual, model="small").rule == usual
    assert decide(special, usual, model="small", programme="defence").rule == special
    assert decide(special, usual).outcome == "deny", "the default stays without the programme"
    for unknown in ("Defence", "defence ", "", "x" * 5_000):
        assert decide(special, usual, programme=unknown).code == "programme_unknown"


def test_a_programme_of_another_route_is_known_and_grants_nothing_here() -> None:
    rules = AccessRules([rule(programme="defence", routes=("other",)), rule("usual")]).on("cyber", "triage")
    assert rules.decide(asked(programme="defence"), NOW).code == "access_denied"
    assert rules.decide(asked(), NOW).outcome == "allow"


@pytest.mark.parametrize(
    ("evidence", "now", "code"),
    [
        (None, NOW, "no_certificate"),
        (EVIDENCE, NOW, "allowed"),
        (EVIDENCE, NOW + 60, "certificate_expired"),
        (replace(EVIDENCE, valid_until=float("nan")), NOW, "certificate_expired"),
    ],
)
def test_a_rule_may_ask_for_a_certificate(evidence: Any, now: float, code: str) -> None:
    found = decide(rule(evidence="verdict"), evidence=evidence, now=now)
    assert found.code == code
    assert found.evidence == (EVIDENCE if code == "allowed" else None)
    assert decide(rule(), evidence=evidence, now=now).evidence is None, "it did not count"


LOGIN = RequiredLogin(acr=("phr", "phrh"), max_age_s=60)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, None),
        ({"acr": None}, "acr"),
        ({"acr": "pwd"}, "acr"),
        ({"acr": "phr phrh"}, "acr"),
        ({"acr": "PHR"}, "acr"),
        ({"auth_time": None}, "auth_time"),
        ({"auth_time": NOW + 11}, "auth_time"),
        ({"auth_time": float("nan")}, "auth_time"),
        ({"auth_time": float("inf")}, "auth_time"),
        ({"auth_time": NOW + 9}, None),
        ({"auth_time": NOW - 60}, None),
        ({"auth_time": NOW - 60.5}, "age"),
        ({"auth_time": -1e300}, "age"),
        ({"auth_time": float("-inf")}, "age"),
    ],
)
def test_a_login_that_falls_short_is_asked_for(changes: dict[str, Any], what: str | None) -> None:
    found = decide(rule(login=LOGIN), who=replace(CLEARED, **changes))
    assert found.outcome == ("allow" if what is None else "login")
    assert (found.lack.what if found.lack else None) == what


def test_a_key_has_no_login_and_is_told_to_come_with_a_token() -> None:
    error = told(rule("deep", login=LOGIN), who=KEY)
    assert (error.status, error.reason, error.challenge) == (403, "token_required", "")
    assert "deep" in error.message
    assert A in error.hint


def test_the_challenge_is_that_of_rfc_9470() -> None:
    error = told(rule("deep", login=LOGIN), who=replace(CLEARED, acr=None))
    assert (error.status, error.reason) == (401, "insufficient_user_authentication")
    assert 'error="insufficient_user_authentication"' in error.challenge
    assert 'acr_values="phr phrh"' in error.challenge
    assert 'max_age="60"' in error.challenge
    alone = told(rule(login=RequiredLogin(max_age_s=5)), who=replace(CLEARED, auth_time=None)).challenge
    assert "acr_values" not in alone


def test_a_missing_certificate_is_told_before_a_login_that_would_not_help() -> None:
    assert decide(rule(evidence="verdict", login=LOGIN), who=replace(CLEARED, acr=None)).outcome == "deny"


@pytest.mark.parametrize(
    ("found", "who", "programme", "named"),
    [
        (rule("r1", tiers=("cleared",)), replace(CLEARED, tier="standard"), None, ["r1", "groups", "sec", A]),
        (rule("r2", teams=("ops",)), CLEARED, None, ["r2", "ops", "lab"]),
        (rule("r3", issuers=(A,)), KEY, None, ["r3", A]),
        (rule("r4", issuers=(KEYS,)), CLEARED, None, ["r4", "key"]),
        (rule("r5", programme="defence"), CLEARED, None, ["r5", "x-crossgrade-programme: defence"]),
        (rule("r6", evidence="verdict"), CLEARED, None, ["r6", "crossgrade route apply"]),
        (rule("r7", allow=False, because="an audit runs"), CLEARED, None, ["r7", "an audit runs"]),
        (rule("r8", routes=("other",)), CLEARED, None, ["no access rule"]),
        (rule("r9", programme="defence"), CLEARED, "de\nfence", ["de?fence"]),
        (rule("r0"), CLEARED, "x" * 500, ["x" * 64]),
    ],
)
def test_a_refusal_names_the_rule_what_is_missing_and_how_to_get_it(
    found: AccessRule, who: Principal, programme: str | None, named: list[str]
) -> None:
    error = told(found, who=who, programme=programme)
    text = f"{error.message}; {error.hint}"
    assert all(each in text for each in [*named, "cyber", "big"]), text
    assert len(text) < 600
    assert text.isprintable()


@given(
    st.lists(
        st.builds(
            AccessRule,
            name=st.sampled_from("abc"),
            programme=st.sampled_from([None, "p"]),
            issuers=st.sampled_from([(), (A,), (B, KEYS)]),
            tiers=st.sampled_from([(), ("cleared",), ("x",)]),
            models=st.sampled_from([(), ("big",), ("small",)]),
            evidence=st.sampled_from(["none", "verdict"]),
            login=st.sampled_from([None, LOGIN]),
            allow=st.booleans(),
        ),
        max_size=6,
    ),
    st.sampled_from([CLEARED, KEY, replace(CLEARED, issuer=B), replace(CLEARED, acr=None)]),
    st.sampled_from([None, "p", "q"]),
    st.sampled_from([None, EVIDENCE]),
)
def test_only_a_rule_that_is_met_in_full_allows(
    rules: list[AccessRule], who: Principal, programme: str | None, evidence: ModelEvidence | None
) -> None:
    found = decide(*rules, who=who, programme=programme, evidence=evidence)
    matching = [
        each
        for each in rules
        if each.programme == programme
        and (not each.issuers or who.issuer in each.issuers)
        and (not each.tiers or who.tier in each.tiers)
        and (not each.models or "big" in each.models)
    ]
    assert found.rule == (matching[0] if matching else None)
    if found.outcome == "allow":
        assert found.rule is not None
        assert found.rule.allow
        assert found.rule.evidence == "none" or evidence is EVIDENCE
        assert found.rule.login is None or (who.has_token and who.acr == "phr")
    for needless, earlier in needless_rules(rules, [RouteSpec(name="cyber", incumbent="big", gated=True)]):
        assert found.rule is not needless or needless == earlier


def test_a_rule_behind_a_wider_one_never_matches() -> None:
    specs = [
        RouteSpec(name="one", incumbent="big", workload="w", gated=True),
        RouteSpec(name="two", incumbent="big", gated=True),
    ]
    wide, narrow = rule("wide", tiers=("a", "b")), rule("narrow", tiers=("a",), models=("big",))
    assert list(needless_rules([wide, narrow], specs)) == [(narrow, wide)]
    assert list(needless_rules([narrow, wide], specs)) == []
    by_workload, by_route = rule("w", workloads=("w",)), rule("r", routes=("one",))
    assert list(needless_rules([by_workload, by_route], specs)) == [(by_route, by_workload)]
    assert list(needless_rules([by_route, rule("all")], specs)) == []
    assert list(needless_rules([rule("p", programme="p"), rule("none")], specs)) == []
    everyone = rule("both", routes=("one", "two"))
    assert list(needless_rules([everyone, rule("rest")], specs)) == [], "`rest` is for models by name too"


UNTIL = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=60)


def switched(**changes: Any) -> Route:
    policy = Policy(kind="switch", incumbent="gpt", candidate="llama")
    given_fields: dict[str, Any] = {"valid_until": UNTIL, "verdict_id": "v1", "evidence_digest": "sha256:e"}
    targets = {"gpt": "big", "llama": "small"}
    return Route(name="cyber", policy=policy, targets=targets, **(given_fields | changes))


def test_a_certificate_covers_both_models_and_no_candidate_that_was_taken_back() -> None:
    assert evidence_of(switched(), ()) == {"big": EVIDENCE, "small": EVIDENCE}
    assert evidence_of(switched(share=0.1), ()).keys() == {"big", "small"}
    assert evidence_of(switched(share=0.0), ()).keys() == {"big"}
    assert evidence_of(switched(), (None, "small")).keys() == {"big"}
    kept = Route(name="cyber", policy=Policy(kind="keep", incumbent="gpt"), targets={"gpt": "big"})
    assert evidence_of(kept, ()) == {}
    assert evidence_of(None, ()) == {}


@pytest.mark.parametrize("acr", [True, 3, ["phr"], {"x": 1}, "", "a\nb", "p" * 201, None])
def test_an_acr_of_the_wrong_type_is_none(verifier: TokenVerifier, signer: Any, acr: Any) -> None:
    assert verifier.principal(signer.token(signer.claims(acr=acr)), NOW).acr is None


@pytest.mark.parametrize("text", ["true", '"1800000000"', "1e999", "[1]", "null", "1" + "0" * 400])
def test_an_auth_time_of_the_wrong_type_is_none(verifier: TokenVerifier, signer: Any, text: str) -> None:
    claims = (json.dumps(signer.claims())[:-1] + f', "auth_time": {text}}}').encode()
    assert verifier.principal(signer.token(claims), NOW).auth_time is None


def test_a_verified_token_says_who_vouched_and_how_its_bearer_logged_in(
    verifier: TokenVerifier, signer: Any
) -> None:
    who = verifier.principal(signer.token(signer.claims(acr="phr", auth_time=int(NOW) - 5)), NOW)
    assert (who.issuer, who.acr, who.auth_time) == (ISSUER, "phr", NOW - 5)
