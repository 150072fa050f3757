"""The section `access`: rules as domain objects, and every rule that mixes up issuers or never matches."""

from pathlib import Path

import pytest

from crossgrade.config import Config, InvalidConfigError, load_config
from crossgrade.domain import KEYS, AccessRule, RequiredLogin
from tests.codes import check_error

A, B = "https://a.example/", "https://b.example/"
BASE = """\
models:
  big: {provider: openai, model: gpt-4.1, replicas: [big-2]}
  big-2: {provider: openai, model: gpt-4.1}
  small: {provider: groq, model: m}
workloads:
  triage:
    dataset: t.jsonl
    scorer: {kind: exact}
    incumbent: big
    candidates: [small]
routes:
  cyber: {workload: triage, gated: true}
  ops: {incumbent: big, gated: true}
  plain: {incumbent: big}
serve:
  issuers:
    - issuer: https://a.example/
      audience: us
      rules:
        - {claim: groups, operator: contains, value: sec, tier: cleared, team_claim: team}
        - {claim: scope, operator: contains, value: llm, tier: standard}
    - issuer: https://b.example/
      audience: us
      rules: [{claim: groups, operator: contains, value: sec, tier: cleared}]
"""


def load(folder: Path, *rules: str, base: str = BASE) -> Config:
    path = folder / "crossgrade.yaml"
    listed = "".join(f"    - {each}\n" for each in rules)
    path.write_text(f"{base}access:\n  rules:\n{listed}" if rules else base)
    return load_config(path, environ={})


def problems(folder: Path, *rules: str, base: str = BASE) -> list[tuple[str, str | None]]:
    with pytest.raises(InvalidConfigError) as caught:
        load(folder, *rules, base=base)
    for each in caught.value.problems:
        check_error(each, each.code)
        assert each.line is not None
    return [(each.code, each.where) for each in caught.value.problems]


def test_rules_become_domain_objects_in_their_order(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "{name: no, teams: [guests], allow: false, because: not yet}",
        "{name: deep, programme: defence, issuers: [https://a.example/, keys], tiers: [cleared], "
        "routes: [cyber], workloads: [triage], models: [big], evidence: verdict, "
        "login: {acr: [phr, 'urn:x:y'], max_age_s: 60}}",
    )
    assert config.access == (
        AccessRule(name="no", teams=("guests",), allow=False, because="not yet"),
        AccessRule(
            name="deep",
            programme="defence",
            issuers=(A, KEYS),
            tiers=("cleared",),
            routes=("cyber",),
            workloads=("triage",),
            models=("big",),
            evidence="verdict",
            login=RequiredLogin(acr=("phr", "urn:x:y"), max_age_s=60),
        ),
    )
    assert [route.name for route in config.routes.values() if route.gated] == ["cyber", "ops"]
    assert load(tmp_path).access == ()


def test_a_tier_is_bound_to_the_issuer_that_gives_it(tmp_path: Path) -> None:
    standard, team, all_ = load(
        tmp_path, "{name: s, tiers: [standard]}", "{name: t, teams: [lab]}", "{name: all}"
    ).access
    assert standard.issuers == (A, KEYS)
    assert team.issuers == (A, KEYS), "only one issuer names teams"
    assert all_.issuers == ()
    keys_only = load(tmp_path, "{name: k, tiers: [bronze]}").access[0]
    assert keys_only.issuers == (KEYS,)


def test_a_tier_of_two_issuers_has_to_say_whose(tmp_path: Path) -> None:
    assert problems(tmp_path, "{name: c, tiers: [cleared]}") == [
        ("rule-issuer-missing", "access.rules.0.tiers")
    ]
    assert load(tmp_path, "{name: c, tiers: [cleared], allow: false}").access[0].issuers == ()
    bound = load(tmp_path, "{name: c, tiers: [cleared], issuers: [https://b.example/]}").access[0]
    assert bound.issuers == (B,)


@pytest.mark.parametrize(
    ("rule", "code", "key"),
    [
        ("{name: r, routes: [cyver]}", "route-undefined", "routes.0"),
        ("{name: r, workloads: [x]}", "workload-undefined", "workloads.0"),
        ("{name: r, models: [bigger]}", "model-undefined", "models.0"),
        ("{name: r, models: [big-2]}", "replica-named", "models.0"),
        ("{name: r, issuers: [https://a.example]}", "issuer-undefined", "issuers.0"),
        ("{name: r, login: {}}", "login-empty", "login"),
        ("{name: r, allow: false, evidence: verdict}", "rule-condition-unused", "allow"),
        ("{name: r, routes: [plain]}", "rule-never-matches", "routes"),
        ("{name: r, routes: [ops], workloads: [triage]}", "rule-never-matches", "routes"),
        ("{name: r, routes: [ops], evidence: verdict}", "rule-never-matches", "evidence"),
        ("{name: r, issuers: [keys], login: {max_age_s: 5}}", "rule-never-matches", "login"),
        ("{name: r, issuers: [https://b.example/], tiers: [standard]}", "rule-never-matches", "tiers"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_at_its_place(
    tmp_path: Path, rule: str, code: str, key: str
) -> None:
    assert problems(tmp_path, rule) == [(code, f"access.rules.0.{key}")]


@pytest.mark.parametrize(
    "rule",
    [
        "{}",
        "{name: a b}",
        "{name: r, programme: ''}",
        "{name: r, programme: " + "x" * 65 + "}",
        "{name: r, allow: 1}",
        "{name: r, evidence: report}",
        "{name: r, login: {acr: ['a b']}}",
        "{name: r, login: {acr: ['a\"b']}}",
        "{name: r, login: {max_age_s: 0}}",
        "{name: r, login: {max_age_s: true}}",
        "{name: r, tiers: cleared}",
        "{name: r, issuers: [nobody]}",
        "{name: r, if: always}",
        "{name: r, because: " + "x" * 501 + "}",
    ],
)
def test_a_rule_of_the_wrong_form_is_refused(tmp_path: Path, rule: str) -> None:
    assert str(problems(tmp_path, rule)[0][1]).startswith("access.rules.0")


def test_names_are_given_once(tmp_path: Path) -> None:
    found = problems(tmp_path, "{name: r}", "{name: r, allow: false}")
    assert found == [("rule-repeated", "access.rules.1.name")]


def test_too_many_rules_and_too_large_a_file_are_refused(tmp_path: Path) -> None:
    rules = [f"{{name: r{number}}}" for number in range(501)]
    assert len(load(tmp_path, *rules[:500]).access) == 500
    assert problems(tmp_path, *rules)[0][1] == "access.rules"


def test_rules_without_any_gated_route_are_refused(tmp_path: Path) -> None:
    base = BASE.replace(", gated: true", "")
    assert problems(tmp_path, "{name: r}", base=base) == [("rule-never-matches", "access.rules.0.name")]
