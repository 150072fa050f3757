"""Real clients speak to the gateway as to the API that they know."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.gateway._served import Served
from tests.e2e.speaking import (
    ENVIRONMENTS,
    FOLDER,
    all_recorded,
    check_openai,
    client_python,
    speak,
    spoken_to,
)


@pytest.fixture(scope="module", params=["openai-compatible", "anthropic", "certified"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway whose upstream speaks OpenAI's API, one with Anthropic's, and one that a verdict switched there.

    In the last one, no request may come back to the incumbent.
    """
    folder = tmp_path_factory.mktemp("clients")
    if request.param != "certified":
        with spoken_to(folder, request.param) as served:
            yield served
        return
    with spoken_to(folder, "anthropic", incumbent="openai-compatible") as served:
        yield served
        assert all_recorded(served) == {("gpt", "candidate", "policy")}


def test_openai(gateway: Served) -> None:
    check_openai(speak(gateway, sys.executable, str(FOLDER / "with_openai.py")))


def test_anthropic(gateway: Served) -> None:
    saw = speak(gateway, sys.executable, str(FOLDER / "with_anthropic.py"), path="")
    assert saw["chat"] == saw["stream"] == "Hello there"
    assert saw["usage"]
    assert saw["stream_usage"]
    assert saw["tool"] == saw["streamed_tool"] == {"city": "Bern"}
    assert saw["after_tool"] == "sun in Bern"
    assert saw["structured"] == "refund"
    assert saw["error"] == "not_found_error"


FRAMEWORKS = ("langchain", "litellm", "llamaindex", "openai-agents", "pydantic-ai")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.needs(f"client:{name}")) for name in FRAMEWORKS]
)
def test_a_python_framework(gateway: Served, name: str) -> None:
    saw = speak(gateway, client_python(name), str(FOLDER / f"with_{name.replace('-', '_')}.py"))
    for each in (saw, *saw.get("others", ())):  # type: ignore[misc]  # the other APIs that it speaks
        assert each["chat"] == each["stream"] == "Hello there"
        assert each["tool"] in ({"city": "Bern"}, "Bern")
        assert each["after_tool"] == "sun in Bern"
        assert each["structured"] == "refund"
    errors = saw.get("errors", [saw["error"]])
    assert set(errors) <= {"model_not_found", 404}  # type: ignore[call-overload]  # a list of codes


@pytest.mark.needs("client:instructor")
def test_instructor(gateway: Served) -> None:
    saw = speak(gateway, client_python("instructor"), str(FOLDER / "with_instructor.py"))
    assert saw["tool"] == {"city": "Bern"}
    assert saw["after_tool"] == "Zug"
    assert saw["structured"] == "refund"
    assert saw["error"] == "model_not_found"


@pytest.mark.parametrize(
    ("name", "script"),
    [
        pytest.param("node", "with_openai.mjs", marks=pytest.mark.needs("client:node")),
        pytest.param("node-ai-sdk", "with_ai_sdk.mjs", marks=pytest.mark.needs("client:node-ai-sdk")),
    ],
)
def test_a_client_for_node(gateway: Served, name: str, script: str) -> None:
    node = shutil.which("node")
    assert node is not None
    root = {"CLIENT_ROOT": str(ENVIRONMENTS / f"client-{name}")}
    saw = speak(gateway, node, str(FOLDER / script), environ=root)
    assert saw["chat"] == saw["stream"] == "Hello there"
    assert saw["usage"]
    assert saw["tool"] == saw.get("streamed_tool", saw["tool"]) == {"city": "Bern"}
    assert saw["after_tool"] == "sun in Bern"
    assert saw["structured"] == "refund"
    assert saw["error"] == "model_not_found"
    assert "`store` to false" in saw.get("stored", "`store` to false")  # type: ignore[operator]  # the AI SDK's hint


@pytest.mark.needs("command:curl")
def test_curl(gateway: Served) -> None:
    curl = shutil.which("curl")
    assert curl is not None
    body = json.dumps(
        {"model": "support", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    )
    done = subprocess.run(
        [curl, "-sS", "-N", "-i", f"{gateway.url}/v1/chat/completions", "-H", f"Authorization: Bearer {gateway.key}",
         "-H", "Content-Type: application/json", "-d", body],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    head, _, events = done.stdout.partition("\n\n")
    assert "200" in head.splitlines()[0]
    assert "x-crossgrade-route: support" in head.lower()
    assert "x-crossgrade-target: gpt" in head.lower()
    assert events.rstrip().endswith("data: [DONE]")
