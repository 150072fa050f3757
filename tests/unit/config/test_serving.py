"""The sections `routes`, `serve` and `watch`: defaults of the domain, and the rules across their keys."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crossgrade.config import Config, InvalidConfigError, config_schema, load_config
from crossgrade.domain import (
    Limit,
    RouteSpec,
    Serving,
    Shadow,
    TierRule,
    TokenIssuer,
    Watching,
)

MINIMAL = """\
models:
  old: {provider: openai, model: gpt-4.1, region: eu}
  new: {provider: local, model: smollm2-135m-instruct}
  far: {provider: groq, model: m, region: us}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
    requirements: {regions: [eu]}
"""
EVERYTHING = """\
routes:
  help:
    workload: support
    models: [gpt-4.1, help-large]
    sticky: user
    tiers: [standard]
    teams: [care]
    canary_steps: [0.1, 1]
    max_body_bytes: {new: 8000}
    attempts: 2
    outcome: resolved
  raw:
    incumbent: old
    fallbacks: [far]
serve:
  host: 0.0.0.0
  port: 8080
  workers: 2
  limits:
    - {scope: team, match: care, unit: usd, cap: 100, per: day}
    - {scope: key, unit: requests, cap: 600, per: minute}
    - {scope: route, match: raw, unit: parallel, cap: 8}
  issuers:
    - issuer: https://login.example.com/
      audience: crossgrade
      algorithms: [ES256]
      max_lifetime_s: 3600
      rules:
        - {claim: realm_access.roles, operator: contains, value: llm, tier: standard, team_claim: team}
        - {claim: sub, operator: in, value: [a, b], tier: special}
  log_prompts: true
watch:
  interval_s: 10
  webhook_url: https://hooks.example.com/x
  webhook_secret_env: HOOK_SECRET
  keep_text_days: 7
"""


def load(folder: Path, text: str) -> Config:
    path = folder / "crossgrade.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ={})


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidConfigError) as caught:
        load(folder, text)
    assert all(problem.line is not None for problem in caught.value.problems)
    return [f"{problem.where}: {problem.message}" for problem in caught.value.problems]


def test_without_the_sections_each_workload_is_a_route_and_nothing_is_open(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    assert config.routes == {
        "support": RouteSpec(name="support", workload="support", incumbent="old", regions=("eu",))
    }
    assert config.serving == Serving()
    assert not config.serving.open_on_loopback
    assert config.watching == Watching()


def test_no_routes_are_no_routes(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL + "routes: {}\n").routes == {}


def test_every_key_reaches_the_domain(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL + EVERYTHING)
    assert config.routes == {
        "help": RouteSpec(
            name="help",
            incumbent="old",
            workload="support",
            models=("gpt-4.1", "help-large"),
            sticky="user",
            tiers=("standard",),
            teams=("care",),
            canary_steps=(0.1, 1),
            max_body_bytes={"new": 8000},
            attempts=2,
            outcome="resolved",
            regions=("eu",),
        ),
        "raw": RouteSpec(name="raw", incumbent="old", fallbacks=("far",)),
    }
    assert config.serving.limits == (
        Limit(scope="team", match="care", unit="usd", cap=100, window_s=86_400),
        Limit(scope="key", unit="requests", cap=600, window_s=60),
        Limit(scope="route", match="raw", unit="parallel", cap=8, window_s=0),
    )
    assert config.serving.issuers == (
        TokenIssuer(
            issuer="https://login.example.com/",
            audience="crossgrade",
            algorithms=("ES256",),
            max_lifetime_s=3600,
            rules=(
                TierRule(
                    claim="realm_access.roles",
                    operator="contains",
                    value="llm",
                    tier="standard",
                    team_claim="team",
                ),
                TierRule(claim="sub", operator="in", value=("a", "b"), tier="special"),
            ),
        ),
    )
    assert (config.serving.host, config.serving.port, config.serving.workers) == ("0.0.0.0", 8080, 2)
    assert config.serving.log_prompts
    assert config.watching.webhook_secret_env == "HOOK_SECRET"
    assert (config.watching.interval_s, config.watching.keep_text_days) == (10, 7)


def test_keys_of_the_file_cover_the_fields_of_the_domain() -> None:
    schema = config_schema()["$defs"]
    pairs: list[tuple[str, Any, set[str]]] = [
        ("RouteSection", RouteSpec, {"name", "regions"}),
        ("ShadowSection", Shadow, {"regions"}),
        ("ServeSection", Serving, set()),
        ("IssuerSection", TokenIssuer, set()),
        ("TierRuleSection", TierRule, set()),
        ("WatchSection", Watching, set()),
    ]
    for section, kind, elsewhere in pairs:
        assert set(schema[section]["properties"]) == {field.name for field in fields(kind)} - elsewhere
    renamed = {"window_s": "per"}
    of_limit = {renamed.get(field.name, field.name) for field in fields(Limit)}
    assert set(schema["LimitSection"]["properties"]) == of_limit


def test_the_schema_for_editors_accepts_what_loads(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL + EVERYTHING)
    jsonschema.validate(config.tree.data, config_schema())
    jsonschema.validate(json.loads(config.canonical), config_schema())


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        ("{}", "routes.r: `incumbent` is missing"),
        ("{incumbent: odl}", "routes.r.incumbent: no model `odl` under `models`"),
        ("{workload: suport}", "routes.r.workload: no workload `suport` under `workloads`"),
        ("{workload: support, incumbent: far}", "routes.r.incumbent: `far` is not the incumbent of workload"),
        ("{incumbent: old, fallbacks: [odd]}", "routes.r.fallbacks.0: no model `odd` under `models`"),
        ("{incumbent: old, fallbacks: [old]}", "routes.r.fallbacks.0: `old` is the incumbent"),
        ("{incumbent: old, fallbacks: [far, far]}", "routes.r.fallbacks.1: `far` is there already"),
        (
            "{workload: support, fallbacks: [far]}",
            "routes.r.fallbacks.0: `far` is in region us, workload support allows eu",
        ),
        ("{workload: support, shadow: {rate: 0.1}}", "routes.r.shadow: `new` has no `region`, workload sup"),
        ("{incumbent: old, shadow: {rate: 0.1}}", "routes.r.shadow: `shadow` without a workload"),
        ("{incumbent: old, shadow: {rate: 0}}", "routes.r.shadow.rate: `rate` must be greater than 0"),
        (
            "{incumbent: old, canary_steps: [0.5, 0.5, 1]}",
            "routes.r.canary_steps: `canary_steps` do not rise",
        ),
        ("{incumbent: old, canary_steps: [0.5]}", "routes.r.canary_steps: `canary_steps` end below 1"),
        ("{incumbent: old, canary_steps: []}", "routes.r.canary_steps: `canary_steps` must not be empty"),
        ("{incumbent: old, max_body_bytes: {far: 9}}", "routes.r.max_body_bytes.far: `far` is never asked"),
        ("{incumbent: old, models: [a, a]}", "routes.r.models.1: `a` is already a model of routes.r"),
        ("{incumbent: old, models: [r]}", "routes.r.models.0: `r` is already the name of a route"),
        ("{incumbent: old, models: ['a b']}", "routes.r.models.0: `models[0]` must be"),
        ("{incumbent: old, weight: 3}", "routes.r.weight: unknown key `weight`"),
        ("{incumbent: old, sticky: yes}", "routes.r.sticky: `sticky` must be `none`, `user`"),
    ],
)
def test_rules_of_a_route(tmp_path: Path, route: str, problem: str) -> None:
    (seen,) = problems(tmp_path, MINIMAL + f"routes:\n  r: {route}\n")
    assert seen.startswith(problem)


def test_only_tiers_that_may_use_a_route_can_be_shadowed(tmp_path: Path) -> None:
    anywhere = MINIMAL.replace("    requirements: {regions: [eu]}\n", "")
    route = "{workload: support, tiers: [gold], shadow: {rate: 0.1, tiers: [lead]}}"
    (seen,) = problems(tmp_path, f"{anywhere}routes:\n  r: {route}\n")
    assert seen.startswith("routes.r.shadow.tiers.0: tier `lead` may not use the route")


def test_a_client_model_leads_to_one_route(tmp_path: Path) -> None:
    text = "routes:\n  a: {incumbent: old, models: [gpt]}\n  b: {incumbent: old, models: [gpt]}\n"
    (seen,) = problems(tmp_path, MINIMAL + text)
    assert seen.startswith("routes.b.models.0: `gpt` is already a model of routes.a")


@pytest.mark.parametrize(
    ("serve", "problem"),
    [
        (
            "{open_on_loopback: true, host: 0.0.0.0}",
            "serve.open_on_loopback: `open_on_loopback` serves without",
        ),
        ("{port: 4001}", "serve.admin_port: 4001 is the gateway's port"),
        ("{port: 0}", "serve.port: `port` must be at least 1"),
        ("{workers: many}", "serve.workers: `workers` must be a whole number"),
        ("{body_max_bytes: 2048}", "serve.body_parse_bytes: `body_parse_bytes` is above `body_max_bytes`"),
        ("{limits: [{scope: key, unit: usd, cap: 1}]}", "serve.limits.0: `per` is missing"),
        (
            "{limits: [{scope: key, unit: parallel, cap: 1, per: day}]}",
            "serve.limits.0.per: requests in flight have no window",
        ),
        (
            "{limits: [{scope: route, match: suport, unit: parallel, cap: 1}]}",
            "serve.limits.0.match: no route `suport` under `routes`",
        ),
        (
            "{limits: [{scope: org, unit: usd, cap: 1, per: day}]}",
            "serve.limits.0.scope: `scope` must be `key`",
        ),
        (
            "{limits: [{scope: key, unit: usd, cap: 0, per: day}]}",
            "serve.limits.0.cap: `cap` must be greater",
        ),
        (
            "{limits: [{scope: key, unit: parallel, cap: 1}, {scope: key, unit: parallel, cap: 2}]}",
            "serve.limits.1: the same limit stands there already",
        ),
    ],
)
def test_rules_of_serving(tmp_path: Path, serve: str, problem: str) -> None:
    (seen,) = problems(tmp_path, MINIMAL + f"serve: {serve}\n")
    assert seen.startswith(problem)


@pytest.mark.parametrize(
    ("issuer", "problem"),
    [
        ("issuer: http://login.example.com", "issuer: `issuer` must use https"),
        ("issuer: 'https://login.example.com?x=1'", "issuer: `issuer` has a query or fragment"),
        ("issuer: login", "issuer: `issuer` must be an address"),
        ("issuer: https://a.b, algorithms: [none]", "algorithms.0: `algorithms[0]` must be `ES256`"),
        ("issuer: https://a.b, algorithms: [HS256]", "algorithms.0: `algorithms[0]` must be `ES256`"),
        (
            "issuer: https://a.b, rules: [{claim: x, operator: in, value: y, tier: t}]",
            "rules.0.value: `in` compares with a list",
        ),
        (
            "issuer: https://a.b, rules: [{claim: x, operator: equals, value: [y], tier: t}]",
            "rules.0.value: `equals` compares with one text",
        ),
        ("issuer: https://a.b, rules: []", "rules: `rules` must not be empty"),
    ],
)
def test_rules_of_an_issuer(tmp_path: Path, issuer: str, problem: str) -> None:
    rules = "" if "rules" in issuer else ", rules: [{claim: x, operator: equals, value: y, tier: t}]"
    (seen,) = problems(tmp_path, MINIMAL + f"serve: {{issuers: [{{audience: a, {issuer}{rules}}}]}}\n")
    assert seen.startswith(f"serve.issuers.0.{problem}")


def test_an_issuer_on_this_machine_may_use_http(tmp_path: Path) -> None:
    rules = "rules: [{claim: x, operator: equals, value: y, tier: t}]"
    text = f"serve: {{issuers: [{{issuer: 'http://127.0.0.1:9/', audience: a, {rules}}}]}}\n"
    assert load(tmp_path, MINIMAL + text).serving.issuers[0].issuer == "http://127.0.0.1:9/"


@pytest.mark.parametrize(
    ("watch", "problem"),
    [
        ("{webhook_url: 'https://a.b/c'}", "watch.webhook_url: `webhook_secret_env` is missing"),
        (
            "{webhook_url: 'http://a.b/c', webhook_secret_env: S}",
            "watch.webhook_url: `webhook_url` must use https",
        ),
        (
            "{webhook_secret_env: 'my secret'}",
            "watch.webhook_secret_env: `webhook_secret_env` must be the name",
        ),
        ("{interval_s: 0}", "watch.interval_s: `interval_s` must be at least 1"),
        ("{label_share: 2}", "watch.label_share: `label_share` must be at most 1"),
    ],
)
def test_rules_of_watching(tmp_path: Path, watch: str, problem: str) -> None:
    (seen,) = problems(tmp_path, MINIMAL + f"watch: {watch}\n")
    assert seen.startswith(problem)


def test_what_stands_where_a_variable_belongs_is_not_repeated(tmp_path: Path) -> None:
    (seen,) = problems(tmp_path, MINIMAL + "watch: {webhook_secret_env: hunter2!}\n")
    assert "hunter2" not in seen


def test_other_problems_are_told_beside(tmp_path: Path) -> None:
    text = MINIMAL.replace("incumbent: old", "incumbent: oldie") + "routes: {r: {workload: support}}\n"
    assert problems(tmp_path, text) == ["workloads.support.incumbent.model: no model `oldie` under `models`"]
