"""A LiteLLM config.yaml loads as it is, and what is not made use of is named with its place."""

import contextlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot

from crossgrade.cli._frame import run
from crossgrade.config import Config, InvalidConfigError, load_config
from crossgrade.config._litellm import import_litellm
from crossgrade.config._yaml import YamlTree
from crossgrade.domain import Limit
from crossgrade.errors import ConfigError
from tests.codes import noted, raises_code, shown_codes

TYPICAL = """\
model_list:
  - model_name: gpt-4o # what clients send
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://my-endpoint-europe.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY_EU
      api_version: "2024-02-01"
      rpm: 6
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      rpm: 1440
      input_cost_per_token: 0.0000025
      output_cost_per_token: 1e-05
  - model_name: claude
    litellm_params:
      model: claude-sonnet-4-5
      api_key: "os.environ/ANTHROPIC_API_KEY"
      timeout: 300
    model_info:
      mode: chat
      cache_read_input_token_cost: 3e-07
  - model_name: meta/llama-4 scout
    litellm_params: {model: groq/llama-4-scout}
  - model_name: meta/llama-4-scout
    litellm_params:
      model: hosted_vllm/meta-llama/Llama-4-Scout
      api_base: http://gpu.internal:8000/v1
      tpm: 100000
      max_parallel_requests: 8
  - model_name: local-llama
    litellm_params: {model: ollama_chat/llama3.3, api_base: "http://localhost:11434", api_key: none}
  - model_name: dall-e-3
    litellm_params: {model: openai/dall-e-3, api_key: os.environ/OPENAI_API_KEY}
    model_info: {mode: image_generation}
  - model_name: "*"
    litellm_params: {model: "*"}
  - model_name: gemini
    litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_project: mine}

litellm_settings:
  drop_params: True
  num_retries: 3
  fallbacks: [{"gpt-4o": ["claude", "nothing"]}]
  default_fallbacks: ["claude"]
  cache: true

router_settings:
  routing_strategy: usage-based-routing
  model_group_alias: {"gpt-4": "gpt-4o", "hidden": {"model": "claude", "hidden": true}, "x": "nobody"}
  redis_host: os.environ/REDIS_HOST

general_settings:
  master_key: sk-1234567890abcdefghijklmnop
  database_url: postgresql://user:hunter2@host/db

environment_variables:
  REDIS_HOST: redis.internal
"""


def load(folder: Path, text: str, **environ: str) -> Config:
    path = folder / "litellm.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ=environ)


def test_a_typical_file_loads_as_it_is(tmp_path: Path) -> None:
    config = load(tmp_path, TYPICAL)
    assert config.is_litellm
    offers = {name: (offer.provider, offer.model, offer.base_url) for name, offer in config.offers.items()}
    assert offers == snapshot(
        {
            "gpt-4o": ("azure", "gpt-4o-eu", "https://my-endpoint-europe.openai.azure.com/openai/v1"),
            "gpt-4o-2": ("openai", "gpt-4o", None),
            "claude": ("anthropic", "claude-sonnet-4-5", None),
            "meta-llama-4-scout": (
                "openai-compatible",
                "meta-llama/Llama-4-Scout",
                "http://gpu.internal:8000/v1",
            ),
            "local-llama": ("ollama", "llama3.3", "http://localhost:11434/v1"),
        }
    )
    routes = {
        name: (route.incumbent, route.models, route.fallbacks, route.attempts)
        for name, route in config.routes.items()
    }
    assert routes == snapshot(
        {
            "gpt-4o": ("gpt-4o", ("gpt-4",), ("claude",), 4),
            "claude": ("claude", ("hidden",), (), 4),
            "meta-llama-4-scout": ("meta-llama-4-scout", ("meta/llama-4-scout",), ("claude",), 4),
            "local-llama": ("local-llama", (), ("claude",), 4),
        }
    )
    assert config.offers["gpt-4o"].replicas == ("gpt-4o-2",), "Azure sells what OpenAI does"
    assert (config.offers["gpt-4o"].weight, config.offers["gpt-4o-2"].weight) == (6, 1440), "by their `rpm`"
    (price,) = config.offers["gpt-4o-2"].prices
    assert (price.input_per_mtok, price.output_per_mtok) == (Decimal("2.5"), Decimal(10))
    assert config.offers["claude"].prices[0].cache_read_per_mtok == Decimal("0.3")
    assert config.offers["claude"].timeout_s == 300
    assert config.offers["gpt-4o"].api_key_env == "AZURE_API_KEY_EU"
    assert config.serving.limits == (
        Limit(scope="route", unit="requests", cap=1446, window_s=60, match="gpt-4o"),
        Limit(scope="route", unit="tokens", cap=100_000, window_s=60, match="meta-llama-4-scout"),
        Limit(scope="route", unit="parallel", cap=8, window_s=0, match="meta-llama-4-scout"),
    )


def test_everything_else_is_named_with_its_place(tmp_path: Path) -> None:
    ignored = [each.removeprefix(f"{tmp_path}/") for each in load(tmp_path, TYPICAL).ignored]
    assert ignored == snapshot(
        [
            "litellm.yaml:7:7  model_list.0.litellm_params.api_version: has no counterpart here",
            "litellm.yaml:24:5  model_list.3: left out: `model_name` must be a text without spaces",
            "litellm.yaml:33:87  model_list.5.litellm_params.api_key: a literal key is not taken over; write `os.environ/NAME`",
            "litellm.yaml:34:5  model_list.6: left out: requests of mode 'image_generation' are not served",
            "litellm.yaml:37:5  model_list.7: left out: a wildcard names no model; list each one",
            "litellm.yaml:39:5  model_list.8: left out: provider 'vertex_ai' is not known; name an `api_base` that speaks OpenAI's API",
            "litellm.yaml:43:3  litellm_settings.drop_params: has no counterpart here",
            "litellm.yaml:45:3  litellm_settings.fallbacks: there is no deployment named 'nothing'",
            "litellm.yaml:47:3  litellm_settings.cache: has no counterpart here",
            "litellm.yaml:50:3  router_settings.routing_strategy: the deployments of a name are picked by weight",
            "litellm.yaml:51:89  router_settings.model_group_alias.x: it names no deployment, or one there is already",
            "litellm.yaml:52:3  router_settings.redis_host: has no counterpart here",
            "litellm.yaml:55:3  general_settings.master_key: keys are made with `crossgrade keys create`",
            "litellm.yaml:56:3  general_settings.database_url: records are kept in the project's own store",
            "litellm.yaml:58:1  environment_variables: set them in the environment of `crossgrade serve`",
        ]
    )
    assert "hunter2" not in "".join(ignored)
    assert "sk-1234" not in "".join(ignored)


def test_our_own_sections_may_stand_beside(tmp_path: Path) -> None:
    text = """\
model_list:
  - model_name: old
    litellm_params: {model: openai/gpt-4.1, rpm: 10}
  - model_name: new
    litellm_params: {model: groq/llama}
workloads:
  support:
    dataset: support.jsonl
    scorer: {kind: exact}
    incumbent: old
    candidates: [new]
routes:
  old: {workload: support, canary_steps: [0.5, 1]}
serve: {workers: 3, limits: [{scope: team, unit: usd, cap: 5, per: day}]}
valid_days: 30
"""
    config = load(tmp_path, text)
    assert config.routes["old"].workload == "support"
    assert config.routes["old"].canary_steps == (0.5, 1)
    assert config.serving.workers == 3
    assert [limit.scope for limit in config.serving.limits] == ["route", "team"]
    assert config.valid_days == 30
    with pytest.raises(InvalidConfigError) as caught:
        load(tmp_path, text.replace("incumbent: old\n    candidates", "incumbent: odl\n    candidates"))
    assert "litellm.yaml:10:5" in str(caught.value.location)


def test_an_address_may_be_in_the_environment(tmp_path: Path) -> None:
    text = "model_list: [{model_name: m, litellm_params: {model: openai/x, api_base: os.environ/BASE}}]\n"
    assert (
        load(tmp_path, text, BASE="https://llm.internal/v1").offers["m"].base_url == "https://llm.internal/v1"
    )
    with raises_code("litellm-nothing-served", "BASE"):
        load(tmp_path, text)


def test_a_literal_key_is_never_taken_over(tmp_path: Path) -> None:
    key = "sk-proj-abcdefghijklmnop1234"
    text = f"model_list: [{{model_name: m, litellm_params: {{model: openai/x, api_key: {key}}}}}]\n"
    with raises_code("secret-in-file") as caught:
        load(tmp_path, text)
    assert caught.value.where == "model_list.0.litellm_params.api_key"
    assert key not in f"{caught.value} {caught.value.hint}"
    config = load(tmp_path, text.replace(key, "fake-key"))
    assert config.offers["m"].api_key_env is None
    assert "a literal key is not taken over" in config.ignored[0]


@pytest.mark.parametrize(
    ("parameters", "provider", "model", "base"),
    [
        ("model: gpt-4o", "openai", "gpt-4o", None),
        ("model: o3-mini", "openai", "o3-mini", None),
        (
            "model: openai/gpt-4o, api_base: 'https://api.openai.com'",
            "openai",
            "gpt-4o",
            "https://api.openai.com/v1",
        ),
        ("model: claude-haiku-4-5", "anthropic", "claude-haiku-4-5", None),
        (
            "model: anthropic/x, api_base: 'https://proxy.example'",
            "anthropic",
            "x",
            "https://proxy.example/v1",
        ),
        ("model: together_ai/meta-llama/x", "together", "meta-llama/x", None),
        ("model: fireworks_ai/accounts/f/models/x", "fireworks", "accounts/f/models/x", None),
        ("model: openrouter/meta-llama/x", "openrouter", "meta-llama/x", None),
        (
            "model: azure/d, api_base: 'https://a.openai.azure.com'",
            "azure",
            "d",
            "https://a.openai.azure.com/openai/v1",
        ),
        ("model: x, custom_llm_provider: groq", "groq", "x", None),
        ("model: my/own, api_base: 'http://h:1/v1'", "openai-compatible", "own", "http://h:1/v1"),
    ],
)
def test_models_are_named_as_litellm_names_them(
    tmp_path: Path, parameters: str, provider: str, model: str, base: str | None
) -> None:
    config = load(tmp_path, f"model_list: [{{model_name: m, litellm_params: {{{parameters}}}}}]\n")
    offer = config.offers["m"]
    assert (offer.provider, offer.model, offer.base_url) == (provider, model, base)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{model_name: m}", "`litellm_params.model` is missing"),
        (
            "{model_name: 'a b', litellm_params: {model: gpt-4o}}",
            "`model_name` must be a text without spaces",
        ),
        ("{model_name: m, litellm_params: {model: voyage/x}}", "provider 'voyage' is not known"),
        ("{model_name: m, litellm_params: {model: 'openai/*'}}", "a wildcard names no model"),
        ("{model_name: m, litellm_params: {model: openai/x, api_base: 'ftp://x'}}", "is not an address"),
        (
            "{model_name: m, litellm_params: {model: openai/x}, model_info: {mode: rerank}}",
            "of mode 'rerank'",
        ),
        ("not a mapping", "`model_name` must be a text"),
    ],
)
def test_what_cannot_be_served_is_left_out_and_said(tmp_path: Path, entry: str, why: str) -> None:
    good = "{model_name: good, litellm_params: {model: gpt-4o}}"
    config = load(tmp_path, f"model_list:\n  - {good}\n  - {entry}\n")
    assert list(config.routes) == ["good"]
    (ignored,) = config.ignored
    assert ":3:5  model_list.1: left out: " in ignored
    assert why in ignored


@pytest.mark.parametrize("text", ["model_list: 5", "model_list: {}", "model_list:", "model_list: []"])
def test_a_file_without_deployments_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, text)


def test_tags_are_refused_here_too(tmp_path: Path) -> None:
    with raises_code("yaml-tag"):
        load(tmp_path, "model_list: !!python/object/apply:os.system ['true']\n")


def test_the_command_prints_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")
    (tmp_path / "litellm.yaml").write_text(TYPICAL)
    assert run(["config", "import-litellm", str(tmp_path / "litellm.yaml")]) == 0
    captured = capsys.readouterr()
    assert noted(captured.err, "ignored", "general_settings.master_key")
    (tmp_path / "crossgrade.yaml").write_text(captured.out)
    ours, theirs = load_config(tmp_path / "crossgrade.yaml"), load_config(tmp_path / "litellm.yaml")
    assert (ours.offers, ours.routes, ours.serving) == (theirs.offers, theirs.routes, theirs.serving)
    assert not ours.is_litellm

    assert run(["config", "import-litellm", str(tmp_path / "crossgrade.yaml")]) == 2
    assert shown_codes(capsys.readouterr().err) == ["not-litellm"]
    assert run(["config", "validate", "--config", str(tmp_path / "litellm.yaml")]) == 0
    assert noted(capsys.readouterr().err, "ignored")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["model_name", "litellm_params", "model", "api_base", "fallbacks", "model_group_alias", "rpm"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(model_list=values, router=values, settings=values)
def test_no_shape_breaks_it(model_list: object, router: object, settings: object) -> None:
    data = {"model_list": model_list, "router_settings": router, "litellm_settings": settings}
    tree = YamlTree(file=Path("x.yaml"), data=data, positions={})  # type: ignore[dict-item]  # any shape
    with contextlib.suppress(ConfigError):
        import_litellm(tree, {})
