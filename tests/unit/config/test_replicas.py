"""Replicas: one model at several addresses; a LiteLLM file's deployments become such."""

from pathlib import Path

import pytest

from crossgrade.config import Config, InvalidConfigError, load_config
from crossgrade.config._problems import is_same_model
from crossgrade.project import Project
from crossgrade.serve import compile_settings
from tests.codes import check_error

OURS = """\
models:
  big: {{provider: azure, model: gpt-eu, base_url: "https://eu.example/openai/v1", region: eu, {big}}}
  far: {{provider: azure, model: gpt-us, base_url: "https://us.example/openai/v1", region: us, weight: 3}}
  third: {{provider: openai, model: gpt-4o, region: eu, {third}}}
  small: {{provider: groq, model: llama, region: eu, {small}}}
workloads:
  work: {{dataset: d.jsonl, scorer: {{kind: exact}}, incumbent: big, candidates: [small]{work}}}
routes:
  work: {{workload: work{route}}}
"""
THEIRS = """\
model_list:
  - {model_name: m, litellm_params: {model: openai/gpt-4o, api_key: os.environ/A, weight: 3}}
  - {model_name: m, litellm_params: {model: groq/llama, api_key: os.environ/A, weight: 1}}
  - {model_name: m, litellm_params: {model: azure/mine, api_base: "https://a.example", api_key: os.environ/B, weight: 1}}
  - {model_name: m, litellm_params: {model: openai/gpt-4o, api_key: os.environ/C}}
  - {model_name: m, litellm_params: {model: openai/gpt-4o, api_key: os.environ/D, order: 2}}
  - {model_name: even, litellm_params: {model: groq/llama, api_key: os.environ/A}}
  - {model_name: even, litellm_params: {model: groq/llama, api_key: os.environ/B}}
router_settings: {routing_strategy: simple-shuffle}
"""


def load(folder: Path, text: str) -> Config:
    (folder / "crossgrade.yaml").write_text(text)
    return load_config(folder / "crossgrade.yaml", environ={})


def ours(**more: str) -> str:
    given = {"big": "replicas: [far, third]", "third": "weight: 0.5", "small": "", "work": "", "route": ""}
    return OURS.format(**given | more)


def test_replicas_reach_the_workers_with_their_weights(tmp_path: Path) -> None:
    load(tmp_path, ours())
    environ = {"AZURE_OPENAI_API_KEY": "k", "AZURE_API_KEY": "k", "GROQ_API_KEY": "k"}
    with Project.open(tmp_path / "crossgrade.yaml", environ=environ) as project:
        compiled = compile_settings(project, environ)
    found = {target.name: (target.replica_of, target.weight) for target in compiled.settings.targets}
    assert found == {"big": (None, 1), "far": ("big", 3), "small": (None, 1)}
    keyless, *equal = compiled.warnings
    assert "third" in keyless, "a replica without its key is left out"
    assert [("far" in each, "third" in each) for each in equal] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"big": "replicas: [fra]"}, ("replica-invalid", "models.big.replicas.0", "fra", "models")),
        ({"big": "replicas: [big]"}, ("replica-invalid", "models.big.replicas.0", "big")),
        ({"big": "replicas: [far, far]"}, ("replica-invalid", "models.big.replicas.1", "far", "big")),
        (
            {"big": "replicas: [third]", "third": "replicas: [far]"},
            ("replica-invalid", "models.big.replicas.0", "third"),
        ),
        (
            {"small": "replicas: [third]", "big": ""},
            (
                "replica-invalid",
                "models.small.replicas.0",
                "third",
                "gpt-4o at openai",
                "small",
                "llama at groq",
            ),
        ),
        ({"route": ", fallbacks: [far]"}, ("replica-named", "routes.work.fallbacks.0", "far", "big")),
        (
            {"big": "", "third": "replicas: [big]"},
            ("replica-named", "workloads.work.incumbent.model", "big", "third"),
        ),
        (
            {"work": ", requirements: {regions: [eu]}"},
            ("region-forbidden", "models.big.replicas.0", "far", "us", "work", "eu"),
        ),
    ],
)
def test_what_is_no_replica_is_refused_where_it_stands(
    tmp_path: Path, more: dict[str, str], problem: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        load(tmp_path, ours(**more))
    (seen,) = caught.value.problems
    check_error(seen, *problem)
    assert seen.line is not None


def test_one_model_is_one_id_at_one_provider() -> None:
    assert is_same_model("groq", "llama", "groq", "llama")
    assert is_same_model("azure", "a name of mine", "openai", "gpt-4o")
    assert is_same_model("azure", "one", "azure", "two")
    assert not is_same_model("groq", "llama", "together", "llama"), "hosts differ in precision"
    assert not is_same_model("openai", "gpt-4o", "openai", "gpt-4o-mini")
    assert not is_same_model("azure", "mine", "openai-compatible", "gpt-4o")


def test_deployments_of_one_model_and_order_share_their_requests(tmp_path: Path) -> None:
    config = load(tmp_path, THEIRS)
    offers = config.offers
    assert {name: (offers[name].replicas, offers[name].weight) for name in offers} == {
        "m": (("m-3", "m-4"), 3),
        "m-2": ((), 1),
        "m-3": ((), 1),
        "m-4": ((), 0),  # as LiteLLM counts a weight that is missing where others have one
        "m-5": ((), 1),
        "even": (("even-2",), 1),
        "even-2": ((), 1),
    }
    routes = {name: (route.incumbent, route.fallbacks) for name, route in config.routes.items()}
    assert routes == {"m": ("m", ("m-2", "m-5")), "even": ("even", ())}
    (ignored,) = config.ignored
    assert ignored.endswith(
        ":2:5  model_list.0: m: m, m-2 are not one model at one provider: they are tried in order, not balanced"
    )
