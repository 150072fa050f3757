"""A gated route of a whole gateway that asks for a dossier: it opens, shuts, and says what to do."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.gateway._served import Served, command, running, serving
from crossgrade.project import Project
from crossgrade.testing import FakeProvider
from tests.waiting import until

STATE = Path(".crossgrade")


def config(url: str, **dossier: object) -> dict[str, object]:
    model = {"provider": "openai-compatible", "model": "m", "base_url": url, "api_key_env": "BEHIND"}
    return {
        "models": {"current": model, "cheap": {**model, "model": "n"}},
        "workloads": {
            "triage": {
                "dataset": "t.jsonl",
                "scorer": {"kind": "exact"},
                "incumbent": "current",
                "candidates": ["cheap"],
            }
        },
        "routes": {"cyber": {"workload": "triage", "gated": True, "ledger": "require"}},
        "access": {"rules": [{"name": "audited", "evidence": "dossier"}]},
        "dossier": dossier,
    }


def ask(served: Served) -> tuple[int, str]:
    """Return the status and the code of the refusal, or the answer's text."""
    body = json.dumps({"model": "cyber", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"authorization": f"Bearer {served.key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{served.url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]["code"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "t.jsonl").write_text('{"input": "a", "target": "b"}\n')
    with (
        FakeProvider("hello", api_key="sk-behind") as provider,
        serving(tmp_path, config(provider.base_url), environ={"BEHIND": "sk-behind"}) as served,
    ):
        yield served


def test_the_route_refuses_until_there_is_a_dossier_and_when_it_expires(served: Served) -> None:
    folder = served.folder
    assert ask(served) == (403, "no_dossier")
    made = json.loads(command(folder, "dossier", "triage", "--json"))
    until(lambda: ask(served) == (200, "hello"))
    assert {Path(path).name for path in made["files"]} == {"dossier.html", "dossier.cdx.json", "dossier.json"}
    assert json.loads(command(folder, "dossier", "triage", "--check", "--json"))["holds"]
    with Project.open(folder / "crossgrade.yaml") as project:
        entered = project.ledger.entries("request", most=1)
        assert [each.detail["dossier"] for each in entered] == [made["digest"]]
        past = datetime.now(UTC) - timedelta(days=90) + timedelta(seconds=3)
        project.dossiers.make("triage", now=past)  # as if it had been made 90 days ago
    until(lambda: ask(served) == (403, "dossier_expired"))
    command(folder, "dossier", "triage")
    until(lambda: ask(served) == (200, "hello"))
    with Project.open(folder / "crossgrade.yaml") as project:
        assert project.ledger.verify().findings == ()


def test_a_restart_with_another_model_shuts_the_route_and_names_what_changed(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"input": "a", "target": "b"}\n')
    environ = {"BEHIND": "sk-behind"}
    with FakeProvider("hello", api_key="sk-behind") as provider:
        given = config(provider.base_url)
        with serving(tmp_path, given, environ=environ) as served:
            command(tmp_path, "dossier", "triage", environ=environ)
            until(lambda: ask(served) == (200, "hello"))
        text = (tmp_path / "crossgrade.yaml").read_text()
        (tmp_path / "crossgrade.yaml").write_text(text.replace("model: m", "model: other"))
        (tmp_path / STATE / "dossiers.json").unlink()  # a start writes it again from the database
        port = served.address[1]
        with running(tmp_path, port, served.key, environ=environ) as again:
            assert ask(again) == (403, "dossier_expired")
            command(tmp_path, "dossier", "triage", environ=environ)
            until(lambda: ask(again) == (200, "hello"))
