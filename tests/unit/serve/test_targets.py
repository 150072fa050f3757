"""From crossgrade.yaml to targets: addresses, keys, prices; what is left out is said; start-up stays light."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from crossgrade.dialects import Host
from crossgrade.gateway import Target
from crossgrade.project import Project
from crossgrade.project._plugins import Plugins
from crossgrade.serve import Compiled, compile_settings
from crossgrade.serve._local import LOCAL_KEY_ENV
from tests.codes import raises_code

CONFIG = """\
models:
  gpt:
    provider: openai
    model: gpt-5.5
    timeout_s: 33
    prices:
      - {input_per_mtok: 2, output_per_mtok: 8}
      - {input_per_mtok: 9, output_per_mtok: 9, valid_from: 2199-01-01}
  claude: {provider: anthropic, model: claude-5}
  hosted: {provider: openai-compatible, model: llama, base_url: "http://10.0.0.1:8000/v1", region: eu}
  mine: {provider: local, model: tiny}
  judge: {provider: groq, model: judge}
routes:
  support: {incumbent: gpt, fallbacks: [hosted, claude, mine]}
"""


def _compiled(
    folder: Path, environ: dict[str, str], text: str = CONFIG, urls: dict[str, str] | None = None
) -> Compiled:
    path = folder / "crossgrade.yaml"
    path.write_text(text, encoding="utf-8")
    with Project.open(path, environ=environ) as project:
        return compile_settings(project, environ, urls)


def _targets(compiled: Compiled) -> dict[str, Target]:
    return {target.name: target for target in compiled.settings.targets}


def test_targets_have_address_key_and_todays_price(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-secret", "ANTHROPIC_API_KEY": "sk-ant-secret"}
    compiled = _compiled(tmp_path, environ)
    targets = _targets(compiled)
    gpt, claude, hosted = targets["gpt"], targets["claude"], targets["hosted"]
    assert (gpt.base_url, gpt.key_env, gpt.key_header) == (
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        "authorization",
    )
    assert (gpt.price.input_per_mtok, gpt.price.output_per_mtok, gpt.timeout_s) == (
        Decimal(2),
        Decimal(8),
        33.0,
    )
    assert (claude.dialect, claude.key_header, claude.key_prefix) == ("anthropic", "x-api-key", "")
    assert (hosted.base_url, hosted.key_env, hosted.region) == ("http://10.0.0.1:8000/v1", None, "eu")
    assert hosted.price is None
    assert "secret" not in str(compiled.settings)
    assert [offer.name for offer in compiled.local] == ["mine"]
    assert "mine" not in targets


def test_local_servers_are_targets_once_they_have_an_address(tmp_path: Path) -> None:
    urls = {"mine": "http://127.0.0.1:5000/v1"}
    targets = _targets(_compiled(tmp_path, {"OPENAI_API_KEY": "k"}, urls=urls))
    assert (targets["mine"].base_url, targets["mine"].key_env) == (urls["mine"], LOCAL_KEY_ENV)


def test_a_model_without_its_key_is_left_out_where_the_route_has_others(tmp_path: Path) -> None:
    compiled = _compiled(tmp_path, {"OPENAI_API_KEY": "k"})
    assert "claude" not in _targets(compiled)
    assert [warning for warning in compiled.warnings if "ANTHROPIC_API_KEY" in warning]
    assert not [warning for warning in compiled.warnings if "GROQ" in warning]  # no route asks it


def test_an_incumbent_without_its_key_is_an_error_where_it_stands(tmp_path: Path) -> None:
    with raises_code("incumbent-without-key", "OPENAI_API_KEY") as caught:
        _compiled(tmp_path, {})
    assert caught.value.line == 2


def test_a_budget_that_cannot_count_a_model_is_said(tmp_path: Path) -> None:
    text = CONFIG + "serve:\n  limits: [{scope: team, unit: usd, cap: 5, per: day}]\n"
    warnings = _compiled(tmp_path, {"OPENAI_API_KEY": "k"}, text).warnings
    assert any(warning.startswith("the price of hosted") for warning in warnings)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("crossgrade.serve.broker", {"numpy", "pydantic", "crossgrade.config", "alembic", "aiohttp"}),
        ("crossgrade.serve._supervisor", {"numpy", "sqlalchemy", "aiohttp", "starlette"}),
    ],
)
def test_a_process_loads_only_what_it_needs(module: str, absent: set[str]) -> None:
    script = f"import sys, crossgrade.catalog, {module}\nprint(*sys.modules)"
    if module.endswith("broker"):
        script = script.replace("crossgrade.catalog, ", "")
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not absent & set(loaded.stdout.split())


SCOUT = """\
team: {country: COUNTRY, monthly_active_users: 5}
models:
  gpt: {provider: openai-compatible, model: gpt-5, base_url: "http://10.0.0.1/v1"}
  scout: {provider: openai-compatible, model: meta-llama/Llama-4-Scout-17B-16E-Instruct, base_url: "http://10.0.0.1/v1"}
routes:
  support: {incumbent: gpt}
"""


@pytest.mark.parametrize(("country", "is_forbidden"), [("DE", True), ("US", False), ("null", False)])
def test_a_forbidden_model_is_marked_though_no_route_uses_it(
    tmp_path: Path, country: str, is_forbidden: bool
) -> None:
    compiled = _compiled(tmp_path, {}, SCOUT.replace("COUNTRY", country))
    assert {target.name for target in compiled.settings.targets if target.is_forbidden} == (
        {"scout"} if is_forbidden else set()
    )
    assert not [warning for warning in compiled.warnings if "scout" in warning]


def test_workers_know_a_plugins_host_by_its_address_though_no_model_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        "relay": Host(name="relay", base_url="https://relay.example/v1", choosing_fields=("upstream",)),
        "plain": Host(name="plain", base_url="https://plain.example/v1"),
    }
    monkeypatch.setattr(Plugins, "hosts", rows)
    compiled = _compiled(tmp_path, {"OPENAI_API_KEY": "k"})
    assert [row.name for row in compiled.settings.hosts] == ["relay"]
