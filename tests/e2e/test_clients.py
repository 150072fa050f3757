"""Real clients speak to the gateway as to the API that they know."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.serving import Served
from tests.e2e.speaking import ENVIRONMENTS, FOLDER, check_openai, client_python, speak, spoken_to


@pytest.fixture(scope="module", params=["openai-compatible", "anthropic"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway whose upstream speaks OpenAI's API, and one whose upstream speaks Anthropic's."""
    with spoken_to(tmp_path_factory.mktemp("clients"), request.param) as served:
        yield served


def test_openai(gateway: Served) -> None:
    check_openai(speak(gateway, sys.executable, str(FOLDER / "with_openai.py")))


def test_anthropic(gateway: Served) -> None:
    saw = speak(gateway, sys.executable, str(FOLDER / "with_anthropic.py"), path="")
    assert saw["chat"] == saw["stream"] == "Hello there"
    assert saw["usage"]
    assert saw["stream_usage"]
    assert saw["tool"] == saw["streamed_tool"] == {"city": "Bern"}
    assert saw["error"] == "not_found_error"


@pytest.mark.parametrize(
    ("name", "structured"),
    [
        pytest.param(name, structured, marks=pytest.mark.needs(f"client:{name}"))
        for name, structured in [
            ("langchain", True),
            ("llamaindex", False),
            ("pydantic-ai", True),
            ("litellm", False),
        ]
    ],
)
def test_a_python_framework(gateway: Served, name: str, structured: bool) -> None:
    saw = speak(gateway, client_python(name), str(FOLDER / f"with_{name.replace('-', '_')}.py"))
    assert saw["chat"] == saw["stream"] == "Hello there"
    assert saw["tool"] in ({"city": "Bern"}, "Bern")
    assert not structured or saw["structured"] == "refund"
    assert saw["error"] in ("model_not_found", 404)


@pytest.mark.needs("client:node")
def test_openai_for_node(gateway: Served) -> None:
    node = shutil.which("node")
    assert node is not None
    root = {"CLIENT_ROOT": str(ENVIRONMENTS / "client-node")}
    saw = speak(gateway, node, str(FOLDER / "with_openai.mjs"), environ=root)
    assert saw["chat"] == saw["stream"] == "Hello there"
    assert saw["usage"]
    assert saw["tool"] == {"city": "Bern"}
    assert saw["structured"] == "refund"
    assert saw["error"] == "model_not_found"


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
