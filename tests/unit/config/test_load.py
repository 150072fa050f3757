"""From crossgrade.yaml to domain objects, and every rule that a file can break."""

import json
from dataclasses import fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crossgrade.config import Config, InvalidConfigError, config_schema, load_config
from crossgrade.domain import (
    Contract,
    GenerationSettings,
    Offer,
    Permission,
    PromptTemplate,
    Requirements,
    ScorerSpec,
    TeachingRight,
    Team,
    Workload,
)
from crossgrade.errors import ConfigError
from tests.codes import check_error

MINIMAL = """\
models:
  old: {provider: openai, model: gpt-4.1}
  new: {provider: local, model: smollm2-135m-instruct}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
"""


def load(folder: Path, text: str, **environ: str) -> Config:
    path = folder / "crossgrade.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ=environ)


def problems(folder: Path, text: str) -> tuple[ConfigError, ...]:
    with pytest.raises(InvalidConfigError) as caught:
        load(folder, text)
    assert caught.value.location == caught.value.problems[0].location
    for problem in caught.value.problems:
        assert problem.line is not None
    return caught.value.problems


def with_lines(*lines: str) -> str:
    return MINIMAL + "".join(f"    {line}\n" for line in lines)


def test_the_smallest_file_has_the_defaults_of_the_domain(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    workload = config.workloads["support"]
    assert workload.dataset == tmp_path.resolve() / "support.jsonl"
    given = {"name", "dataset", "incumbent", "candidates", "scorer"}
    small = Workload(
        name="support",
        dataset=workload.dataset,
        incumbent=workload.incumbent,
        candidates=workload.candidates,
        scorer=ScorerSpec(kind="exact"),
    )
    assert workload == small
    assert {field.name for field in fields(Workload)} > given
    assert config.offers["old"] == Offer(name="old", provider="openai", model="gpt-4.1")
    assert workload.incumbent.prompt == PromptTemplate()
    assert workload.incumbent.settings == GenerationSettings()
    assert workload.requirements == Requirements()
    assert config.valid_days is None
    assert config.store == str(tmp_path.resolve() / ".crossgrade" / "crossgrade.db")


def test_every_key_reaches_the_domain(tmp_path: Path) -> None:
    text = """\
models:
  old:
    provider: groq
    model: m
    base_url: https://example.com/v1
    api_key_env: MY_KEY
    prices:
      - {input_per_mtok: 0.15, output_per_mtok: "0.60", source: https://example.com/prices}
      - {input_per_mtok: 1, output_per_mtok: null, valid_from: 2026-05-01, batch_discount: 0.5}
    region: eu
    licence: MIT
    open_weights: true
    context_tokens: 8000
    retires_on: 2027-01-01
    max_concurrency: 2
    timeout_s: 5
    batch: true
  new: {provider: local, model: x}
workloads:
  w:
    dataset: data/w.csv
    id_field: id
    target_field: answer
    segment_field: kind
    cluster_field: doc
    weight_field: share
    prompt: {user: "{q}", system: short, response_schema: {type: object}}
    settings: {temperature: null, top_p: 0.9, max_output_tokens: 5, stop: [x], seed: 3, reasoning_effort: low}
    scorer: {kind: judge, options: {a: [1]}, chance: 0.1, zero: useless}
    incumbent: old
    candidates:
      - model: new
        prompt: {text: true, system: null}
        settings: {max_output_tokens: 9}
    floor: 0.9
    alpha: 0.01
    mode: fixed
    planned: 100
    epochs: 2
    seed: 7
    requests_per_month: 1000
    max_cost_usd: 2.50
    errors_count_as_zero: false
    splits_only: true
    requirements:
      evidence: regulated
      context_tokens: 4000
      regions: [eu]
      licences: [MIT]
      latency_p95_ms: 900
      ttft_p95_ms: 300.5
      error_rate: 0.01
      documents: [docs/a.pdf]
store: state/x.db
valid_days: 30
"""
    config = load(tmp_path, text)
    offer, workload = config.offers["old"], config.workloads["w"]
    assert [price.input_per_mtok for price in offer.prices] == [Decimal("0.15"), Decimal(1)]
    assert [price.output_per_mtok for price in offer.prices] == [Decimal("0.60"), None]
    assert offer.prices[1].valid_from == date(2026, 5, 1)
    assert offer.retires_on == date(2027, 1, 1)
    assert offer.timeout_s == 5.0
    assert workload.incumbent.prompt.system == "short"
    candidate = workload.candidates[0]
    assert candidate.prompt == PromptTemplate(user="{q}", text=True, response_schema={"type": "object"})
    assert candidate.settings == GenerationSettings(
        temperature=None, top_p=0.9, max_output_tokens=9, stop=("x",), seed=3, reasoning_effort="low"
    )
    assert workload.scorer == ScorerSpec(kind="judge", options={"a": [1]}, chance=0.1, zero="useless")
    assert (workload.segment, workload.cluster, workload.weight) == ("kind", "doc", "share")
    assert workload.splits_only
    assert workload.max_cost_usd == Decimal("2.5")
    assert workload.requirements.documents == ("docs/a.pdf",)
    assert config.store.endswith("/state/x.db")
    assert config.locate("workloads.w.scorer.options.a") == (29, 37)
    assert config.error("workloads.w.scorer.options.b", "unknown", code="key-not-allowed").line == 29


def test_keys_of_the_file_cover_the_fields_of_the_domain() -> None:
    schema = config_schema()["$defs"]
    pairs: list[tuple[str, Any, set[str]]] = [
        ("ModelSection", Offer, {"name"}),
        ("SettingsSection", GenerationSettings, set()),
        ("PromptSection", PromptTemplate, set()),
        ("ScorerSection", ScorerSpec, set()),
        ("RequirementsSection", Requirements, set()),
    ]
    for section, kind, elsewhere in pairs:
        assert set(schema[section]["properties"]) == {field.name for field in fields(kind)} - elsewhere
    renamed = {"segment": "segment_field", "cluster": "cluster_field", "weight": "weight_field"}
    of_workload = {renamed.get(field.name, field.name) for field in fields(Workload)} - {
        "name",
        "family_alpha",
        "across",
        "dropped",
        "baseline",
        "suite",
        "tuning",
    }
    assert set(schema["WorkloadSection"]["properties"]) == of_workload | {"prompt", "settings", "kind"}


def test_the_digest_names_the_content_not_the_writing(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    again = load(tmp_path, "# a comment\n" + with_lines("floor: 0.85", "prompt: {user: '{input}'}"))
    other = load(tmp_path, with_lines("floor: 0.86"))
    assert config.digest == again.digest
    assert config.canonical == again.canonical
    assert config.digest != other.digest
    recorded = json.loads(config.canonical)
    assert recorded["workloads"]["support"]["dataset"] == "support.jsonl"
    assert recorded["workloads"]["support"]["candidates"][0]["prompt"]["user"] == "{input}"


def test_the_environment_overrides_the_store(tmp_path: Path) -> None:
    url = "postgresql://u:p@localhost/x"
    assert load(tmp_path, MINIMAL, CROSSGRADE_DATABASE_URL=url).store == url
    assert load(tmp_path, MINIMAL + "store: postgresql://u@localhost/x\n").store.startswith("postgresql:")


@pytest.mark.parametrize("value", ["../support.jsonl", "/etc/passwd", "a/../../b", "link/x.jsonl"])
def test_paths_outside_the_project_are_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "link").symlink_to(tmp_path)
    (seen,) = problems(tmp_path / "project", MINIMAL.replace("support.jsonl", value))
    check_error(seen, "path-outside", "6:5", value)


def test_a_store_outside_the_project_is_refused(tmp_path: Path) -> None:
    (seen,) = problems(tmp_path, MINIMAL + "store: ../x.db\n")
    check_error(seen, "path-outside", "10:1", "../x.db")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("planned: 0", ("value-out-of-range", "planned", "1", "0")),
        ("planned: 1.5", ("value-invalid", "planned", "1.5")),
        ("planned: true", ("value-invalid", "planned", "true")),
        ("alpha: 0.5", ("value-out-of-range", "alpha", "0.5")),
        ("epochs: two", ("value-invalid", "epochs", "two")),
        ("errors_count_as_zero: no", ("value-invalid", "errors_count_as_zero", "no")),
        ("max_cost_usd: -1", ("value-out-of-range", "max_cost_usd", "0", "-1")),
        ("mode: slow", ("value-unknown", "mode", "sequential", "fixed", "anytime", "slow")),
        ("prompt: hello {x}", ("value-invalid", "prompt", "hello {x}")),
        ("prompt: {user: hello}", ("prompt-without-field", "user", "{field}")),
        ("prompt: {text: true, system: x}", ("text-with-system", "text")),
        ("prompt: {text: true, history: x}", ("text-with-history", "text")),
        ("prompt: {grammar: x, response_schema: {type: object}}", ("grammar-with-schema", "grammar")),
        ("logged_traffic: {represented_share: 0}", ("value-out-of-range", "represented_share", "0")),
        ("settings: {stop: x}", ("value-invalid", "stop", "x")),
        ("settings: {stop: [1]}", ("value-invalid", "stop[0]", "1")),
        (
            "requirements: {evidence: none}",
            ("value-unknown", "evidence", "plain", "agentic", "regulated", "gated"),
        ),
        ("requirements: {documents: [../x]}", ("path-outside", "../x")),
    ],
)
def test_rules_of_a_workload(tmp_path: Path, line: str, message: tuple[str, ...]) -> None:
    (seen,) = problems(tmp_path, with_lines(line))
    check_error(seen, *message, line=10)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("{provider: opnai, model: x}", ("provider-undefined", "opnai")),
        ("{provider: openai-compatible, model: x}", ("base-url-missing", "base_url")),
        ("{provider: local, model: x, batch: true}", ("batch-unsupported", "local")),
        ("{provider: openai, model: x, adapter: x.gguf}", ("adapter-not-local", "openai", "adapter")),
        ("{provider: openai, model: x, base_url: ftp://x}", ("value-invalid", "base_url")),
        ("{provider: openai, model: x, api_key_env: not a name}", ("value-invalid", "api_key_env")),
        ("{provider: openai, model: x, retires_on: soon}", ("value-invalid", "retires_on")),
        (
            "{provider: openai, model: x, prices: [{input_per_mtok: free}]}",
            ("value-invalid", "input_per_mtok"),
        ),
        ("{provider: openai, model: x, prices: [{}, {}]}", ("price-day-missing", "valid_from")),
        (
            "{provider: openai, model: x, prices: [{valid_from: 2026-02-01}, {valid_from: 2026-01-01}]}",
            ("price-days", "valid_from", "2026-01-01", "2026-02-01"),
        ),
    ],
)
def test_rules_of_a_model(tmp_path: Path, model: str, message: tuple[str, ...]) -> None:
    (seen,) = problems(tmp_path, MINIMAL.replace("{provider: openai, model: gpt-4.1}", model))
    check_error(seen, *message, line=2)


def test_variants_must_exist_and_differ(tmp_path: Path) -> None:
    missing, repeated = problems(tmp_path, MINIMAL.replace("[new]", "[newe, old]"))
    check_error(missing, "model-undefined", "9:18", "newe", "models")
    check_error(repeated, "model-repeated", "9:24", "old")


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop1234",
        "sk-ant-api03-abcdefghijklmnop",
        "gsk_abcdefghijklmnopqrstuv",
        "AIzaSyA1234567890abcdefghijklmnopqrstu",
        "AKIAABCDEFGHIJKLMNOP",
        "hf_abcdefghijklmnopqrstuv",
        "https://user:hunter22@example.com/v1",
        "Bearer abcdefghijklmnopqrstuvwx",
    ],
)
@pytest.mark.parametrize("place", ["model", "base_url", "api_key_env", "api_key", "option", "store", "name"])
def test_no_literal_that_looks_like_a_key_is_accepted_or_repeated(
    tmp_path: Path, secret: str, place: str
) -> None:
    text = {
        "model": MINIMAL.replace("gpt-4.1", f'"{secret}"'),
        "option": MINIMAL.replace("{kind: exact}", f'{{kind: exact, options: {{x: ["{secret}"]}}}}'),
        "store": MINIMAL + f'store: "{secret}"\n',
        "name": MINIMAL.replace("  new:", f'  "{secret}":'),
    }.get(place, MINIMAL.replace("gpt-4.1", f'x, {place}: "{secret}"'))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    found = getattr(caught.value, "problems", [caught.value])
    assert any(problem.code == "secret-in-file" for problem in found)
    everything = " ".join(f"{problem} {problem.hint}" for problem in found)
    assert secret not in everything
    assert "hunter22" not in everything


def test_the_schema_for_editors_accepts_what_loads(tmp_path: Path) -> None:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    config = load(tmp_path, MINIMAL)
    jsonschema.validate(config.tree.data, schema)
    jsonschema.validate(json.loads(config.canonical), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"models": {}, "extra": 1}, schema)


def test_a_shared_error_rate_is_divided_over_the_workloads(tmp_path: Path) -> None:
    second = MINIMAL[MINIMAL.index("  support:") :].replace("support:", "triage:")
    config = load(tmp_path, f"family_alpha: 0.04\n{MINIMAL}{second}")
    assert {(each.alpha, each.family_alpha) for each in config.workloads.values()} == {(0.02, 0.04)}
    (problem,) = problems(tmp_path, f"family_alpha: 0.04\n{with_lines('alpha: 0.05')}")
    check_error(problem, "alpha-with-family", "11:5", "family_alpha")


def test_a_workload_of_before_shares_were_recorded_is_read_as_unknown(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "data" / "workload_v1.yaml").read_text(encoding="utf-8")
    (tmp_path / "crossgrade.yaml").write_text(text, encoding="utf-8")
    workload = load_config(tmp_path / "crossgrade.yaml").workloads["support"]
    assert (workload.logged_traffic, workload.requests_per_month) == (None, 1365)
    assert workload.incumbent.prompt.history is None


TEAM = """\
models:
  old: {provider: openai, model: a}
  new: {provider: groq, model: b}
team:
  country: "NO"
  monthly_active_users: 2000000
  monthly_revenue_usd: 5e6
  regions: [eu]
  max_retention_days: 0
  training_on_inputs: never
  permitted: [{model: new, clause: retention-above, because: our agreement of 3 May}]
  contracts:
    - {provider: openai, discount: 0.15, minimum_usd_per_month: 5000, spend_usd_per_month: 7000, until: 2027-03-31}
  teachers: [{model: old, status: permitted, source: "contract 7, clause 3", stated_on: 2026-11-02}]
"""


def test_the_team_reaches_the_domain(tmp_path: Path) -> None:
    assert load(tmp_path, TEAM).team == Team(
        country="NO",
        monthly_active_users=2_000_000,
        monthly_revenue_usd=Decimal(5_000_000),
        regions=("eu",),
        max_retention_days=0,
        training_on_inputs="never",
        permitted=(Permission(model="new", clause="retention-above", because="our agreement of 3 May"),),
        contracts=(
            Contract(
                provider="openai",
                discount=Decimal("0.15"),
                minimum_usd_per_month=Decimal(5000),
                spend_usd_per_month=Decimal(7000),
                until=date(2027, 3, 31),
            ),
        ),
        teachers=(
            TeachingRight(
                model="old", status="permitted", source="contract 7, clause 3", stated_on=date(2026, 11, 2)
            ),
        ),
    )
    assert not load(tmp_path, "models: {old: {provider: openai, model: a}}\n").team.is_stated


@pytest.mark.parametrize(
    ("old", "new", "code", "where"),
    [
        ('country: "NO"', "country: Norway", "value-invalid", "country"),
        ('country: "NO"', "country: EL", "value-invalid", "country"),
        ('country: "NO"', "country: UK", "value-invalid", "country"),
        ("model: new, clause", "model: nwe, clause", "model-undefined", "new"),
        ("clause: retention-above", "clause: retention", "value-unknown", "clause"),
        ("because: our agreement of 3 May", 'because: ""', "value-invalid", "because"),
        ("- {provider: openai,", "- {provider: opnai,", "provider-undefined", "openai"),
        ("  contracts:\n", "  contracts:\n    - {provider: openai}\n", "contract-repeated", "openai"),
        ("discount: 0.15", "discount: 15", "value-out-of-range", "discount"),
        ("teachers: [{model: old,", "teachers: [{model: odl,", "model-undefined", "old"),
        ("status: permitted", "status: perhaps", "value-unknown", "status"),
        ("  regions: [eu]", "  region: eu", "key-not-allowed", "region"),
    ],
)
def test_a_team_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, code: str, where: str) -> None:
    assert old in TEAM
    seen = problems(tmp_path, TEAM.replace(old, new))[0]
    check_error(seen, code, where)
