"""The sections `routes`, `serve` and `watch`: defaults of the domain, and the rules across their keys."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crossgrade.config import Config, InvalidConfigError, config_schema, load_config
from crossgrade.domain import (
    ConformWatching,
    LedgerSpec,
    LedgerWitness,
    Limit,
    RouteSpec,
    SealedWatching,
    Serving,
    Shadow,
    StoredResponses,
    TierRule,
    TokenIssuer,
    Watching,
)
from crossgrade.errors import ConfigError
from crossgrade.ledger import COSIGNATURE_KEY, NoteVerifier
from crossgrade.project import read_config
from tests.codes import check_error, raises_code

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
    successor: new
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
  stored_responses: {max_count: 50, max_age_s: 60}
  log_prompts: true
watch:
  interval_s: 10
  webhook_url: https://hooks.example.com/x
  webhook_secret_env: HOOK_SECRET
  keep_text_days: 7
  sealed: {items: 5, max_usd_per_day: 2}
"""


def load(folder: Path, text: str) -> Config:
    path = folder / "crossgrade.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ={})


def problems(folder: Path, text: str) -> tuple[ConfigError, ...]:
    with pytest.raises(InvalidConfigError) as caught:
        load(folder, text)
    assert all(problem.line is not None for problem in caught.value.problems)
    return caught.value.problems


def test_without_the_sections_each_workload_is_a_route_and_nothing_is_open(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    assert config.routes == {
        "support": RouteSpec(name="support", workload="support", incumbent="old", regions=("eu",))
    }
    assert config.serving == Serving()
    assert not config.serving.open_on_loopback
    assert config.watching == Watching()
    assert config.ledger == LedgerSpec()


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
        "raw": RouteSpec(name="raw", incumbent="old", fallbacks=("far",), successor="new"),
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
    assert config.serving.stored_responses == StoredResponses(max_count=50, max_age_s=60.0)
    assert config.watching.webhook_secret_env == "HOOK_SECRET"
    assert (config.watching.interval_s, config.watching.keep_text_days) == (10, 7)
    assert config.watching.sealed == SealedWatching(items=5, every_hours=24, max_usd_per_day=2)


def test_keys_of_the_file_cover_the_fields_of_the_domain() -> None:
    schema = config_schema()["$defs"]
    pairs: list[tuple[str, Any, set[str]]] = [
        ("RouteSection", RouteSpec, {"name", "regions"}),
        ("ShadowSection", Shadow, {"regions"}),
        ("ServeSection", Serving, set()),
        ("StoredResponsesSection", StoredResponses, set()),
        ("IssuerSection", TokenIssuer, set()),
        ("TierRuleSection", TierRule, set()),
        ("WatchSection", Watching, set()),
        ("ConformWatchSection", ConformWatching, set()),
        ("SealedWatchSection", SealedWatching, set()),
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
        ("{}", ("incumbent-missing", "routes.r", "incumbent")),
        ("{incumbent: odl}", ("model-undefined", "routes.r.incumbent", "odl", "models")),
        ("{workload: suport}", ("workload-undefined", "routes.r.workload", "suport", "workloads")),
        (
            "{workload: support, incumbent: far}",
            ("incumbent-differs", "routes.r.incumbent", "far", "support", "old"),
        ),
        ("{incumbent: old, fallbacks: [odd]}", ("model-undefined", "routes.r.fallbacks.0", "odd", "models")),
        ("{incumbent: old, fallbacks: [old]}", ("fallback-needless", "routes.r.fallbacks.0", "old")),
        ("{incumbent: old, fallbacks: [far, far]}", ("fallback-needless", "routes.r.fallbacks.1", "far")),
        ("{incumbent: old, successor: odd}", ("model-undefined", "routes.r.successor", "odd", "models")),
        ("{incumbent: old, successor: old}", ("successor-is-incumbent", "routes.r.successor", "old")),
        (
            "{workload: support, successor: far}",
            ("region-forbidden", "routes.r.successor", "far", "us", "support", "eu"),
        ),
        (
            "{workload: support, fallbacks: [far]}",
            ("region-forbidden", "routes.r.fallbacks.0", "far", "us", "support", "eu"),
        ),
        (
            "{workload: support, shadow: {rate: 0.1}}",
            ("region-forbidden", "routes.r.shadow", "new", "support"),
        ),
        ("{incumbent: old, shadow: {rate: 0.1}}", ("shadow-without-workload", "routes.r.shadow", "shadow")),
        ("{incumbent: old, shadow: {rate: 0}}", ("value-out-of-range", "routes.r.shadow.rate", "rate", "0")),
        (
            "{incumbent: old, canary_steps: [0.5, 0.5, 1]}",
            ("canary-steps", "routes.r.canary_steps", "canary_steps"),
        ),
        (
            "{incumbent: old, canary_steps: [0.5]}",
            ("canary-steps", "routes.r.canary_steps", "canary_steps", "1"),
        ),
        ("{incumbent: old, canary_steps: []}", ("value-invalid", "routes.r.canary_steps", "canary_steps")),
        (
            "{incumbent: old, max_body_bytes: {far: 9}}",
            ("model-never-asked", "routes.r.max_body_bytes.far", "far"),
        ),
        ("{incumbent: old, models: [a, a]}", ("model-ambiguous", "routes.r.models.1", "a")),
        ("{incumbent: old, models: [r]}", ("model-ambiguous", "routes.r.models.0", "r")),
        ("{incumbent: old, models: ['a b']}", ("value-invalid", "routes.r.models.0", "models[0]")),
        ("{incumbent: old, weight: 3}", ("key-not-allowed", "routes.r.weight", "weight")),
        ("{incumbent: old, sticky: yes}", ("value-unknown", "routes.r.sticky", "sticky", "none", "user")),
    ],
)
def test_rules_of_a_route(tmp_path: Path, route: str, problem: tuple[str, ...]) -> None:
    (seen,) = problems(tmp_path, MINIMAL + f"routes:\n  r: {route}\n")
    check_error(seen, *problem)


def test_only_tiers_that_may_use_a_route_can_be_shadowed(tmp_path: Path) -> None:
    anywhere = MINIMAL.replace("    requirements: {regions: [eu]}\n", "")
    route = "{workload: support, tiers: [gold], shadow: {rate: 0.1, tiers: [lead]}}"
    (seen,) = problems(tmp_path, f"{anywhere}routes:\n  r: {route}\n")
    check_error(seen, "shadow-tier", "routes.r.shadow.tiers.0", "lead")


@pytest.mark.parametrize(
    "shadow", ["", ", shadow: {rate: 0.1, tiers: [lead]}", ", shadow: {rate: 0.1, store_text: false}"]
)
def test_a_route_grows_by_audits_of_all_requests_only(tmp_path: Path, shadow: str) -> None:
    anywhere = MINIMAL.replace("requirements: {regions: [eu]}", "router: true\n    mode: fixed")
    (seen,) = problems(tmp_path, f"{anywhere}routes:\n  r: {{workload: support, grow: true{shadow}}}\n")
    check_error(seen, "growth-unaudited", "routes.r.grow", "shadow")


def test_a_route_without_a_router_has_no_threshold_that_could_fall(tmp_path: Path) -> None:
    anywhere = MINIMAL.replace("    requirements: {regions: [eu]}\n", "")
    route = "{workload: support, grow: true, shadow: {rate: 0.1}}"
    (seen,) = problems(tmp_path, f"{anywhere}routes:\n  r: {route}\n")
    check_error(seen, "growth-without-router", "routes.r.grow", "support")


def test_a_client_model_leads_to_one_route(tmp_path: Path) -> None:
    text = "routes:\n  a: {incumbent: old, models: [gpt]}\n  b: {incumbent: old, models: [gpt]}\n"
    (seen,) = problems(tmp_path, MINIMAL + text)
    check_error(seen, "model-ambiguous", "routes.b.models.0", "gpt", "routes.a")


@pytest.mark.parametrize(
    ("serve", "problem"),
    [
        (
            "{open_on_loopback: true, host: 0.0.0.0}",
            ("open-beyond-loopback", "serve.open_on_loopback", "open_on_loopback"),
        ),
        ("{port: 4001}", ("port-taken", "serve.admin_port", "4001")),
        ("{port: 0}", ("value-out-of-range", "serve.port", "port", "1")),
        ("{workers: many}", ("value-invalid", "serve.workers", "workers")),
        (
            "{body_max_bytes: 2048}",
            ("body-limits-conflict", "serve.body_parse_bytes", "body_parse_bytes", "body_max_bytes"),
        ),
        ("{limits: [{scope: key, unit: usd, cap: 1}]}", ("limit-window", "serve.limits.0", "per")),
        (
            "{limits: [{scope: key, unit: parallel, cap: 1, per: day}]}",
            ("limit-window", "serve.limits.0.per"),
        ),
        (
            "{limits: [{scope: route, match: suport, unit: parallel, cap: 1}]}",
            ("route-undefined", "serve.limits.0.match", "suport", "routes"),
        ),
        (
            "{limits: [{scope: org, unit: usd, cap: 1, per: day}]}",
            ("value-unknown", "serve.limits.0.scope", "scope", "key"),
        ),
        (
            "{limits: [{scope: key, unit: usd, cap: 0, per: day}]}",
            ("value-out-of-range", "serve.limits.0.cap", "cap"),
        ),
        (
            "{limits: [{scope: key, unit: parallel, cap: 1}, {scope: key, unit: parallel, cap: 2}]}",
            ("limit-repeated", "serve.limits.1"),
        ),
    ],
)
def test_rules_of_serving(tmp_path: Path, serve: str, problem: tuple[str, ...]) -> None:
    (seen,) = problems(tmp_path, MINIMAL + f"serve: {serve}\n")
    check_error(seen, *problem)


@pytest.mark.parametrize(
    ("issuer", "problem"),
    [
        ("issuer: http://login.example.com", ("issuer-not-https", "issuer", "issuer")),
        ("issuer: 'https://login.example.com?x=1'", ("issuer-invalid", "issuer", "issuer")),
        ("issuer: login", ("value-invalid", "issuer", "issuer")),
        (
            "issuer: https://a.b, algorithms: [none]",
            ("value-unknown", "algorithms.0", "algorithms[0]", "ES256"),
        ),
        (
            "issuer: https://a.b, algorithms: [HS256]",
            ("value-unknown", "algorithms.0", "algorithms[0]", "ES256"),
        ),
        (
            "issuer: https://a.b, rules: [{claim: x, operator: in, value: y, tier: t}]",
            ("rule-value", "rules.0.value", "in"),
        ),
        (
            "issuer: https://a.b, rules: [{claim: x, operator: equals, value: [y], tier: t}]",
            ("rule-value", "rules.0.value", "equals"),
        ),
        ("issuer: https://a.b, rules: []", ("value-invalid", "rules", "rules")),
    ],
)
def test_rules_of_an_issuer(tmp_path: Path, issuer: str, problem: tuple[str, ...]) -> None:
    rules = "" if "rules" in issuer else ", rules: [{claim: x, operator: equals, value: y, tier: t}]"
    (seen,) = problems(tmp_path, MINIMAL + f"serve: {{issuers: [{{audience: a, {issuer}{rules}}}]}}\n")
    code, where, *values = problem
    check_error(seen, code, *values, where=f"serve.issuers.0.{where}")


def test_an_issuer_on_this_machine_may_use_http(tmp_path: Path) -> None:
    rules = "rules: [{claim: x, operator: equals, value: y, tier: t}]"
    text = f"serve: {{issuers: [{{issuer: 'http://127.0.0.1:9/', audience: a, {rules}}}]}}\n"
    assert load(tmp_path, MINIMAL + text).serving.issuers[0].issuer == "http://127.0.0.1:9/"


VKEY = "w.example/one+360169f9+BGtleWtleWtleWtleWtleWtleWtleWtleWtleWtleWtl"
LOG_VKEY = "w.example/one+935aba18+AWtleWtleWtleWtleWtleWtleWtleWtleWtleWtleWtl"


def test_who_cosigns_the_ledger(tmp_path: Path) -> None:
    witness = f"{{url: 'https://w.example', key: '{VKEY}'}}"
    text = f"ledger: {{witnesses: [{witness}], cosign_every_s: 5, keep_texts: true}}\n"
    text += "routes: {r: {incumbent: old, ledger: require}}\n"
    config = load(tmp_path, MINIMAL + text)
    assert config.ledger == LedgerSpec(
        witnesses=(LedgerWitness(url="https://w.example", key=VKEY),), cosign_every_s=5, keep_texts=True
    )
    assert config.routes["r"].ledger == "require"


@pytest.mark.parametrize(
    ("witnesses", "problem"),
    [
        ([("http://w.example", VKEY)], ("witness-not-https", "ledger.witnesses.0.url", "https://")),
        ([("https://a", VKEY), ("https://b", VKEY)], ("witness-repeated", "ledger.witnesses.1.key")),
        ([("https://w.example", "no key")], ("value-invalid", "ledger.witnesses.0.key", "key")),
    ],
)
def test_rules_of_witnesses(
    tmp_path: Path, witnesses: list[tuple[str, str]], problem: tuple[str, ...]
) -> None:
    rows = ", ".join(f"{{url: '{url}', key: '{key}'}}" for url, key in witnesses)
    (seen,) = problems(tmp_path, MINIMAL + f"ledger: {{witnesses: [{rows}]}}\n")
    code, where, *values = problem
    check_error(seen, code, *values, where=where)


@pytest.mark.parametrize(
    "key",
    [
        LOG_VKEY,
        VKEY.replace("BGt", "BGs"),
        VKEY.replace("w.example/one", "w.example/\x01one"),
        NoteVerifier("w.example/one", b"\x01" + bytes(31), COSIGNATURE_KEY).text,  # anybody can sign under it
    ],
    ids=["of a ledger", "another id", "a control character", "weak"],
)
def test_keys_that_verify_no_cosignature_are_refused(tmp_path: Path, key: str) -> None:
    rows = "".join(f"    - {json.dumps({'url': 'https://w.example', 'key': each})}\n" for each in (VKEY, key))
    path = tmp_path / "crossgrade.yaml"
    path.write_text(f"{MINIMAL}ledger:\n  witnesses:\n{rows}")
    with raises_code("witness-key-invalid", where="ledger.witnesses.1.key"):
        read_config(path, environ={})


def test_a_route_enters_its_requests_never_or_in_one_of_two_ways(tmp_path: Path) -> None:
    (seen,) = problems(tmp_path, MINIMAL + "routes: {r: {incumbent: old, ledger: always}}\n")
    check_error(seen, "value-unknown", "require", where="routes.r.ledger")


@pytest.mark.parametrize(
    ("watch", "problem"),
    [
        ("{webhook_url: 'https://a.b/c'}", ("webhook-unsigned", "watch.webhook_url", "webhook_secret_env")),
        (
            "{webhook_url: 'http://a.b/c', webhook_secret_env: S}",
            ("webhook-not-https", "watch.webhook_url", "webhook_url"),
        ),
        (
            "{webhook_secret_env: 'my secret'}",
            ("value-invalid", "watch.webhook_secret_env", "webhook_secret_env"),
        ),
        ("{interval_s: 0}", ("value-out-of-range", "watch.interval_s", "interval_s", "1")),
        ("{sealed: {items: 0}}", ("value-out-of-range", "watch.sealed.items", "items", "1")),
        (
            "{sealed: {every_hours: 0.1}}",
            ("value-out-of-range", "watch.sealed.every_hours", "every_hours", "1"),
        ),
        ("{label_share: 2}", ("value-out-of-range", "watch.label_share", "label_share", "1")),
    ],
)
def test_rules_of_watching(tmp_path: Path, watch: str, problem: tuple[str, ...]) -> None:
    (seen,) = problems(tmp_path, MINIMAL + f"watch: {watch}\n")
    check_error(seen, *problem)


def test_what_stands_where_a_variable_belongs_is_not_repeated(tmp_path: Path) -> None:
    (seen,) = problems(tmp_path, MINIMAL + "watch: {webhook_secret_env: hunter2!}\n")
    assert "hunter2" not in f"{seen.message} {seen.hint}"


def test_other_problems_are_told_beside(tmp_path: Path) -> None:
    text = MINIMAL.replace("incumbent: old", "incumbent: oldie") + "routes: {r: {workload: support}}\n"
    (seen,) = problems(tmp_path, text)
    check_error(seen, "model-undefined", "workloads.support.incumbent.model", "oldie", "models")
