"""`crossgrade access`: a team's own cases, suspensions and their end."""

import json
from pathlib import Path

import pytest

from crossgrade.cli._frame import run
from crossgrade.identity import read_keyring, user_id
from tests.codes import noted, shown_codes

A = "https://a.example/"
CONFIG = """\
models:
  big: {provider: openai, model: gpt-4.1}
  small: {provider: groq, model: m}
workloads:
  triage:
    dataset: t.jsonl
    scorer: {kind: exact}
    incumbent: big
    candidates: [small]
routes:
  cyber: {workload: triage, gated: true}
  lab: {incumbent: big, tiers: [cleared]}
serve:
  issuers:
    - issuer: https://a.example/
      audience: us
      rules:
        - {claim: groups, operator: contains, value: sec, tier: cleared}
        - {claim: scope, operator: contains, value: llm, tier: standard}
access:
  rules:
    - {name: guests, tiers: [guest], allow: false}
    - name: defence
      programme: defence
      tiers: [cleared]
      evidence: verdict
      login: {acr: [phr], max_age_s: 600}
    - {name: usual, models: [big]}
"""
CASES = """\
cases:
  - name: cleared staff after a strong login
    principal: {issuer: https://a.example/, tier: cleared, acr: phr, login_age_s: 60}
    route: cyber
    programme: defence
    model: small
    now: 2026-11-29T07:00:00Z
    valid_until: 2026-12-01T00:00:00Z
    expect: allow
    rule: defence
  - name: by the claims of a token
    principal: {claims: {iss: https://a.example/, groups: [sec], auth_time: 1796000000, acr: pwd}}
    route: cyber
    programme: defence
    model: small
    valid_until: 2126-12-01T00:00:00Z
    expect: login
  - name: expired
    principal: {issuer: https://a.example/, tier: cleared, acr: phr, login_age_s: 60}
    route: cyber
    programme: defence
    model: small
    now: 2026-12-01T00:00:00Z
    valid_until: 2026-12-01T00:00:00Z
    expect: deny
    code: certificate_expired
  - {principal: {issuer: keys}, route: cyber, expect: allow, rule: usual}
  - {principal: {issuer: keys}, route: cyber, model: small, expect: deny, rule: null, code: access_denied}
  - {principal: {issuer: keys, tier: guest}, route: cyber, expect: deny, rule: guests}
  - {principal: {issuer: keys}, route: lab, expect: deny, code: route_denied}
  - {principal: {issuer: keys, tier: cleared}, route: lab, expect: allow, code: not_gated}
  - {principal: {claims: {iss: https://a.example/, scope: read}}, route: cyber, expect: deny, code: no_tier}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    (tmp_path / "cases.yaml").write_text(CASES)
    return tmp_path


def test_cases_are_decided_as_the_gateway_decides(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["access", "test", "cases.yaml"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("as expected") == 9
    assert captured.err == ""
    assert not Path(".crossgrade").exists(), "no case needed the store"


def test_a_difference_exits_with_1_and_says_what_the_caller_would_be_told(
    capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    (project / "cases.yaml").write_text(
        CASES.replace("expect: login", "expect: allow").replace("rule: guests", "rule: usual")
    )
    assert run(["access", "test", "cases.yaml"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("DIFFERS") == 2
    assert noted(captured.err, "access-case-differs", "phr", "pwd")
    assert run(["access", "test", "cases.yaml", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["schema_version"], found["differing"], found["untested_rules"]) == (1, 2, [])
    second = found["cases"][1]
    assert (second["outcome"], second["rule"], second["is_expected"]) == ("login", "defence", False)


def test_without_a_moment_the_active_route_table_says(capsys: pytest.CaptureFixture[str]) -> None:
    Path("cases.yaml").write_text(
        "cases: [{principal: {issuer: https://a.example/, tier: cleared, acr: phr, login_age_s: 0}, "
        "route: cyber, programme: defence, expect: deny, code: no_certificate}]"
    )
    assert run(["access", "test", "cases.yaml"]) == 0
    assert noted(capsys.readouterr().err, "access-rules-untested", "guests", "usual")


def test_a_rule_that_never_matches_is_named(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    wide = CONFIG.replace("  rules:\n    - {name: guests", "  rules:\n    - {name: all}\n    - {name: guests")
    (project / "crossgrade.yaml").write_text(wide)
    run(["access", "test", "cases.yaml"])
    assert noted(capsys.readouterr().err, "access-rule-needless", "guests", "all")


def test_cases_state_a_dossier_or_take_the_newest(capsys: pytest.CaptureFixture[str]) -> None:
    config = (
        Path("crossgrade.yaml").read_text().replace("models: [big]}", "models: [big], evidence: dossier}")
    )
    Path("crossgrade.yaml").write_text(config)
    case = "principal: {issuer: keys}, route: cyber, now: 2026-11-29T07:00:00Z"
    cases = {
        "dossier_until: 2026-12-01T00:00:00Z": ("allow", "allowed"),
        "dossier_until: 2026-11-01T00:00:00Z": ("deny", "dossier_expired"),
        "dossier_until: null": ("deny", "no_dossier"),
        "name: newest": ("deny", "no_dossier"),
    }
    lines = [f"- {{{case}, {more}, expect: {out}, code: {code}}}" for more, (out, code) in cases.items()]
    Path("cases.yaml").write_text("cases:\n" + "\n".join(lines))
    assert run(["access", "test", "cases.yaml"]) == 0
    assert run(["dossier", "triage"]) == 0
    capsys.readouterr()
    today = case.partition(", now")[0]
    before = f"{case}, expect: deny, code: dossier_expired"  # it was made later
    Path("cases.yaml").write_text(f"cases: [{{{today}, expect: allow}}, {{{before}}}]")
    assert run(["access", "test", "cases.yaml"]) == 0


@pytest.mark.parametrize(
    ("cases", "code"),
    [
        ("cases: []", "access-case-invalid"),
        ("cases: [{route: cyber}]", "access-case-invalid"),
        ("cases: [{principal: {issuer: keys}, route: cyber, expect: maybe}]", "access-case-invalid"),
        ("cases: [{principal: {issuer: keys}, route: cyber, expect: deny, as: x}]", "access-case-invalid"),
        ("cases: [{principal: {issuer: keys, tier: [a]}, route: cyber, expect: deny}]", "access-case-invalid"),
        (
            "cases: [{principal: {issuer: keys}, route: cyber, expect: deny, now: 2026-11-29T07:00:00}]",
            "access-case-invalid",
        ),
        ("cases: [{principal: {claims: {iss: https://a.example/, sub: 3}}, route: cyber, expect: deny}]",
         "access-case-invalid"),
        ("cases: [{principal: {issuer: keys}, route: cyver, expect: deny}]", "route-undefined"),
        ("cases: [{principal: {issuer: keys}, route: cyber, model: x, expect: deny}]", "model-undefined"),
        ("cases: [{principal: {issuer: https://c.example}, route: cyber, expect: deny}]", "issuer-undefined"),
        ("cases: [{principal: {tier: cleared}, route: cyber, expect: deny}]", "issuer-undefined"),
        ("cases: [{principal: {claims: {}}, route: cyber, expect: deny}]", "issuer-undefined"),
    ],
)  # fmt: skip
def test_a_wrong_case_is_refused_with_its_line(
    capsys: pytest.CaptureFixture[str], cases: str, code: str
) -> None:
    Path("cases.yaml").write_text(cases)
    assert run(["access", "test", "cases.yaml"]) == 2
    error = capsys.readouterr().err
    assert shown_codes(error) == [code]
    assert "cases.yaml:1" in error


@pytest.mark.parametrize(
    ("case", "known", "meant"),
    [
        ("{principal: {issuer: keys}, route: cyber, expect: deny, programm: x}", "valid_until", "programme"),
        ("{principal: {issuer: keys, teir: a}, route: cyber, expect: deny}", "login_age_s", "tier"),
    ],
)
def test_an_unknown_field_is_answered_with_the_known_ones(
    capsys: pytest.CaptureFixture[str], case: str, known: str, meant: str
) -> None:
    Path("cases.yaml").write_text(f"cases: [{case}]")
    assert run(["access", "test", "cases.yaml"]) == 2
    error = capsys.readouterr().err
    assert shown_codes(error) == ["access-case-invalid"]
    assert f"`{known}`" in error
    assert f'did you mean "{meant}"?' in error
    assert "cases.yaml:1" in error


def test_what_a_caller_would_be_told_names_the_case(capsys: pytest.CaptureFixture[str]) -> None:
    Path("cases.yaml").write_text(
        "cases: [{name: ops, principal: {issuer: keys, tier: guest}, route: cyber, expect: allow},"
        "{principal: {claims: {iss: https://a.example/, scope: llm}}, route: cyber, model: small, "
        "expect: allow}]"
    )
    assert run(["access", "test", "cases.yaml", "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)["cases"]
    assert first["message"].startswith("the caller of `ops` may not use big")
    assert second["message"].startswith("the caller of `case 2` may not use small")


@pytest.mark.parametrize("login", ["", ", login: {acr: [phr]}"])
def test_a_tier_that_no_issuer_gives_is_probably_misspelt(
    capsys: pytest.CaptureFixture[str], project: Path, login: str
) -> None:
    rule = f"  rules:\n    - {{name: odd, tiers: [clearde]{login}}}\n"
    (project / "crossgrade.yaml").write_text(
        CONFIG.replace("  rules:\n    - {name: guests", rule + "    - {name: guests")
    )
    code = run(["access", "test", "cases.yaml"])
    error = capsys.readouterr().err
    if login:
        assert (code, shown_codes(error)) == (2, ["rule-never-matches"])
        assert "did you mean tier `cleared`?" in error
    else:
        assert noted(error, "access-tier-not-given", "odd", "clearde", "cleared")


def suspended() -> frozenset[str]:
    return read_keyring(Path(".crossgrade/keys.json").read_bytes()).suspended


def test_a_caller_is_suspended_and_restored(capsys: pytest.CaptureFixture[str]) -> None:
    run(["keys", "create", "ci", "--json"])
    key = json.loads(capsys.readouterr().out)["key"]["key"]
    user = user_id(A, "ada")
    assert run(["access", "suspend", "--issuer", A, "--subject", "ada", "--because", "odd prompts"]) == 0
    assert user in capsys.readouterr().out
    assert run(["access", "suspend", "ci", "--because", "leaked", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["principal"] == key
    assert suspended() == {user, key}
    run(["access", "list", "--json"])
    listed = json.loads(capsys.readouterr().out)["suspensions"]
    assert [(each["principal"], each["because"]) for each in listed] == [
        (user, "odd prompts"),
        (key, "leaked"),
    ]
    assert run(["access", "restore", user, "--because", "cleared up"]) == 0
    assert run(["access", "restore", user, "--because", "twice"]) == 0
    assert noted(capsys.readouterr().err, "suspension-unchanged")
    assert suspended() == {key}
    run(["access", "list", "--all", "--json"])
    assert len(json.loads(capsys.readouterr().out)["suspensions"]) == 3
    run(["access", "restore", key, "--because", "rotated"])
    capsys.readouterr()
    run(["access", "list"])
    assert noted(capsys.readouterr().err, "none-suspended")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], "principal-unnamed"),
        (["--issuer", A], "principal-unnamed"),
        (["ci", "--issuer", A, "--subject", "ada"], "principal-unnamed"),
        (["--issuer", "https://a.example", "--subject", "ada"], "issuer-not-found"),
        (["c"], "key-not-found"),
        (["user-0123"], "key-not-found"),
        (["user-0123456789ABCDEF"], "key-not-found"),
    ],
)
def test_a_caller_that_is_not_named_exactly_is_not_suspended(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: str
) -> None:
    run(["keys", "create", "ci"])
    capsys.readouterr()
    assert run(["access", "suspend", *arguments, "--because", "x"]) == 2
    assert shown_codes(capsys.readouterr().err) == [code]
    assert suspended() == frozenset()
