"""`crossgrade keys`: made once, listed without secrets, rotated, revoked."""

import json
import time
from pathlib import Path

import pytest

from crossgrade.cli._frame import run
from crossgrade.identity import is_key, read_keyring
from tests.codes import names, noted, shown_codes

CONFIG = """\
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


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossgrade.yaml").write_text(CONFIG)
    return tmp_path


def is_let_in(text: str) -> bool:
    keyring = read_keyring(Path(".crossgrade/keys.json").read_bytes())
    return keyring.principal(text.encode(), time.time()) is not None


def test_a_key_is_printed_once_and_let_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "create", "ci", "--team", "care", "--budget", "100/day", "--rpm", "60"]) == 0
    captured = capsys.readouterr()
    text = captured.out.strip()
    assert is_key(text)
    assert is_let_in(text)
    assert noted(captured.err, "key-shown-once", "ci")
    assert text not in captured.err

    run(["keys", "list"])
    listed = capsys.readouterr().out
    assert text[17:] not in listed
    head, row = listed.splitlines()
    assert head.split() == [
        "key",
        "name",
        "status",
        "team",
        "tier",
        "scope",
        "routes",
        "limits",
        "created",
        "expires",
    ]
    assert "$100/day, 60 requests/minute" in row


def test_json_has_the_secret_and_what_the_key_may(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--tier",
        "t",
        "--route",
        "support",
        "--expires",
        "never",
        "--tpm",
        "9000",
        "--parallel",
        "4",
    ]
    assert run(["keys", "create", "ci", "--json", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert is_key(shown["secret"])
    assert shown["key"] | {"key": "", "created": ""} == {
        "key": "",
        "name": "ci",
        "status": "live",
        "team": None,
        "tier": "t",
        "scope": "calls",
        "routes": ["support"],
        "limits": ["9000 tokens/minute", "4 parallel"],
        "created": "",
        "expires": "never",
    }
    run(["keys", "list", "--json"])
    assert json.loads(capsys.readouterr().out)["keys"] == [shown["key"]]


@pytest.mark.parametrize("span", ["0", "0s"])
def test_rotate_and_revoke(capsys: pytest.CaptureFixture[str], span: str) -> None:
    run(["keys", "create", "ci"])
    old = capsys.readouterr().out.strip()
    assert run(["keys", "rotate", "ci"]) == 0
    fresh = capsys.readouterr().out.strip()
    assert is_let_in(old)
    assert is_let_in(fresh)
    assert run(["keys", "rotate", "ci", "--overlap", span]) == 0
    newest = capsys.readouterr().out.strip()
    assert not is_let_in(fresh)
    assert run(["keys", "revoke", "ci"]) == 0
    assert capsys.readouterr().out.endswith("(ci)\n")
    assert not is_let_in(newest)
    run(["keys", "list"])
    assert noted(capsys.readouterr().err, "no-live-keys")
    run(["keys", "list", "--all"])
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "value"),
    [
        (["a b"], "usage", "a b"),
        (["ci", "--expires", "2020-01-01"], "usage", "2020-01-01"),
        (["ci", "--expires", "2026-13-01"], "usage", "2026-13-01"),
        (["ci", "--expires", "0d"], "usage", "0d"),
        (["ci", "--expires", "soon"], "usage", "soon"),
        (["ci", "--budget", "100"], "usage", "100"),
        (["ci", "--budget", "0/day"], "usage", "0/day"),
        (["ci", "--budget", "1/year"], "usage", "1/year"),
        (["ci", "--rpm", "0"], "usage", "--rpm"),
        (["ci", "--route", "suport"], "route-unknown", "suport"),
    ],
)
def test_what_is_not_understood(
    arguments: list[str], code: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "create", *arguments]) == 2
    error = capsys.readouterr().err
    assert shown_codes(error) == [code]
    assert names(error, value)
    assert not Path(".crossgrade/keys.json").exists()


def test_the_scope_of_a_key_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    run(["keys", "create", "prometheus", "--scope", "metrics"])
    text = capsys.readouterr().out.strip()
    caller = read_keyring(Path(".crossgrade/keys.json").read_bytes()).principal(text.encode(), time.time())
    assert caller is not None
    assert caller.scope == "metrics"


def test_an_unknown_key_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "revoke", "nobody"]) == 2
    assert shown_codes(capsys.readouterr().err) == ["key-not-found"]
    assert run(["keys", "rotate", "nobody", "--overlap", "1w"]) == 2
    error = capsys.readouterr().err
    assert shown_codes(error) == ["usage"]
    assert names(error, "1w")
