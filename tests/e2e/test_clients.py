"""Real clients speak to the gateway as to the API that they know."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossgrade.domain import ToolCall
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply
from tests.e2e.serving import Served, serving

FOLDER = Path(__file__).parents[1] / "clients"
ENVIRONMENTS = Path(os.environ.get("CROSSGRADE_TEST_CLIENTS", FOLDER.parents[1] / ".venvs"))
WEATHER = ToolCall(id="call_1", name="weather", arguments='{"city":"Bern"}')


def script(request: ReceivedRequest) -> Reply:
    """Answer as the client's message asks: greet, call the tool, keep to the schema, take long."""
    messages = request.json["messages"]
    text = json.dumps(messages)
    if messages[-1]["role"] == "tool" or "tool_result" in json.dumps(messages[-1]):
        return Reply("sun in Bern")
    if "weather" in text:
        return Reply("", tool_calls=(WEATHER,), finish_reason="tool_calls")
    if "structured" in text:
        return Reply('{"label":"refund"}')
    if "slow" in text:
        return Reply("word " * 3_000, token_delay_s=0.02)
    return Reply("Hello there")


@pytest.fixture(scope="module", params=["openai-compatible", "anthropic"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway whose upstream speaks OpenAI's API, and one whose upstream speaks Anthropic's."""
    with FakeProvider(script, models=("upstream-model",), api_key="sk-upstream") as fake:
        config = {
            "models": {
                "gpt": {
                    "provider": request.param, "model": "upstream-model", "base_url": fake.base_url,
                    "api_key_env": "UPSTREAM_KEY",
                }
            },
            "routes": {"support": {"incumbent": "gpt"}},
        }  # fmt: skip
        folder = tmp_path_factory.mktemp("clients")
        with serving(folder, config, environ={"UPSTREAM_KEY": "sk-upstream"}) as served:
            yield served
            served_all_or_cancelled(fake)


def served_all_or_cancelled(fake: FakeProvider) -> None:
    """A client that hung up on a slow stream has it cancelled upstream."""
    assert fake.connections <= 8, "streams that nobody reads go on upstream"


def speak(
    served: Served, *call: str, environ: dict[str, str] | None = None, path: str = "/v1"
) -> dict[str, object]:
    """Run a client's script against the gateway and return what it saw."""
    done = subprocess.run(
        [*call, served.url + path, served.key],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "NO_PROXY": "*", **(environ or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4_000:]
    saw: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return saw


def client_python(name: str) -> str:
    return str(ENVIRONMENTS / f"client-{name}" / "bin" / "python")


def test_openai(gateway: Served) -> None:
    saw = speak(gateway, sys.executable, str(FOLDER / "with_openai.py"))
    assert saw["chat"] == saw["stream"] == saw["responses"] == "Hello there"
    assert saw["usage"]
    assert saw["stream_usage"]
    assert not saw["bare_usage"]
    assert saw["tool"] == saw["streamed_tool"] == {"city": "Bern"}
    assert saw["structured"] == "refund"
    assert "support" in saw["models"]  # type: ignore[operator]
    assert saw["error"] == "model_not_found"


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
