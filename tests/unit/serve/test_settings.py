"""What serve compiles: what is ignored is said, and nothing starts that could not let anybody in."""

from pathlib import Path

import pytest

from crossgrade.project import Project
from crossgrade.serve import _settings
from crossgrade.serve._settings import compile_settings
from tests.codes import raises_code

LITELLM = """\
model_list:
  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-5.5, api_key: os.environ/MY_KEY, seed: 1}}
"""
ISSUERS = """\
models: {m: {provider: openai-compatible, base_url: "http://127.0.0.1:1/v1", model: m}}
routes: {r: {incumbent: m}}
serve:
  issuers:
    - {issuer: https://a.example, audience: a, rules: [{claim: sub, operator: equals, value: x, tier: t}]}
"""


def test_what_a_litellm_file_has_beyond_ours_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(LITELLM)
    with Project.open(path) as project:
        compiled = compile_settings(project, {"MY_KEY": "k"})
    (warning,) = compiled.warnings
    assert warning.endswith("model_list.0.litellm_params.seed: has no counterpart here")
    assert [target.model for target in compiled.settings.targets] == ["gpt-5.5"]


def test_tokens_need_what_verifies_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "crossgrade.yaml"
    path.write_text(ISSUERS)
    with Project.open(path) as project:
        assert len(compile_settings(project, {}).settings.serving.issuers) == 1
        monkeypatch.setattr(_settings, "find_spec", lambda name: None)
        with raises_code("missing-extra", "serve"):
            compile_settings(project, {})


LEDGER = """\
models: {m: {provider: openai-compatible, base_url: "http://127.0.0.1:1/v1", model: m}}
routes: {r: {incumbent: m, ledger: require}, open: {incumbent: m}}
ledger: {keep_texts: TEXTS}
"""


def test_a_ledger_without_keys_is_said_and_keeps_no_texts(tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.yaml"
    path.write_text(LEDGER.replace("TEXTS", "false"))
    with Project.open(path) as project:
        (warning,) = compile_settings(project, {}).warnings
        assert "requests of r are" in warning
    path.write_text(LEDGER.replace("TEXTS", "true"))
    with Project.open(path) as project:
        with raises_code("ledger-without-key"):
            compile_settings(project, {})
        project.store.ledger.secrets.make("example.com/log")
        compiled = compile_settings(project, {})
    assert not compiled.warnings
    assert compiled.settings.ledger.keep_texts


GATED = """\
models: {m: {provider: openai-compatible, base_url: "http://127.0.0.1:1/v1", model: m}}
routes: {r: {incumbent: m, gated: true}, closed: {incumbent: m, gated: true}, open: {incumbent: m}}
access: {rules: [{name: wide, routes: [r]}, {name: narrow, routes: [r], models: [m]}]}
"""


def test_a_rule_that_never_matches_and_a_route_that_no_rule_opens_are_said(tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.yaml"
    path.write_text(GATED)
    with Project.open(path) as project:
        compiled = compile_settings(project, {})
    needless, closed = compiled.warnings
    assert "rule narrow" in needless
    assert "route closed" in closed
    assert [rule.name for rule in compiled.settings.access] == ["wide", "narrow"]


UNGIVEN = """\
models: {m: {provider: openai-compatible, base_url: "http://127.0.0.1:1/v1", model: m}}
routes: {r: {incumbent: m, gated: true}}
access: {rules: [{name: special, tiers: [defendr]}]}
"""


def test_a_tier_that_nobody_gives_is_said_until_a_key_has_it(tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.yaml"
    path.write_text(UNGIVEN)
    with Project.open(path) as project:
        (warning,) = compile_settings(project, {}).warnings
        assert "special" in warning
        assert "`--tier defendr`" in warning
        project.store.keys.create("one", tier="defender")
        (warning,) = compile_settings(project, {}).warnings
        assert "did you mean defender?" in warning
        project.store.keys.create("two", tier="defendr")
        assert not compile_settings(project, {}).warnings


DOSSIER = """\
models: {m: {provider: openai-compatible, base_url: "http://127.0.0.1:1/v1", model: m}, n: {provider: openai-compatible, base_url: "http://127.0.0.1:1/v1", model: n}}
workloads: {w: {dataset: w.jsonl, scorer: {kind: exact}, incumbent: m, candidates: [n]}}
routes: {r: {workload: w, gated: true}}
access: {rules: [{name: a, evidence: EVIDENCE}]}
"""


def test_a_route_without_the_dossier_that_its_rule_asks_for_is_said(tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.yaml"
    path.write_text(DOSSIER.replace("EVIDENCE", "verdict"))
    with Project.open(path) as project:
        compiled = compile_settings(project, {})
        assert (compiled.warnings, compiled.settings.dossier_basis) == ((), {})
    path.write_text(DOSSIER.replace("EVIDENCE", "dossier"))
    with Project.open(path) as project:
        (warning,) = compile_settings(project, {}).warnings
        assert "route r" in warning
        assert "crossgrade dossier w" in warning
        project.dossiers.make("w")
        compiled = compile_settings(project, {})
        assert compiled.warnings == ()
        assert set(compiled.settings.dossier_basis["w"]) == {"m", "n"}
    path.write_text(DOSSIER.replace("EVIDENCE", "dossier, teams: [x]"))
    with Project.open(path) as project:
        (warning,) = compile_settings(project, {}).warnings
        assert "the access policy changed" in warning
    other = "{workload: w, gated: true}, of_none: {incumbent: m, gated: true}"
    path.write_text(DOSSIER.replace("EVIDENCE", "dossier").replace("{workload: w, gated: true}", other))
    with Project.open(path) as project:
        (warning,) = [each for each in compile_settings(project, {}).warnings if "route of_none" in each]
        assert "add its `workload`" in warning
