"""The gateway that real clients speak to, and how their scripts are run."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gateway._served import Served, serving
from crossgrade.domain import ToolCall
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply

FOLDER = Path(__file__).parents[1] / "clients"
ENVIRONMENTS = Path(os.environ.get("CROSSGRADE_TEST_CLIENTS", FOLDER.parents[1] / ".venvs"))
WEATHER = ToolCall(id="call_1", name="weather", arguments='{"city":"Bern"}')
ZUG = ToolCall(id="call_2", name="weather", arguments='{"city":"Zug"}')


def script(request: ReceivedRequest) -> Reply:
    """Answer as the client's message asks: greet, call the tool, keep to the schema, take long."""
    messages = request.json.get("messages") or request.json["input"]
    text = json.dumps(messages)
    if "must be Zug" in text:
        return Reply("", tool_calls=(ZUG,), finish_reason="tool_calls")
    last = json.dumps(messages[-1])
    if any(result in last for result in ('"role": "tool"', '"tool_result"', '"function_call_output"')):
        return Reply("sun in Bern")
    if "weather" in text:
        return Reply("", tool_calls=(WEATHER,), finish_reason="tool_calls")
    if "structured" in text:
        return Reply('{"label":"refund"}')
    if "slow" in text:
        return Reply("word " * 3_000, token_delay_s=0.02)
    return Reply("Hello there")


@contextlib.contextmanager
def spoken_to(folder: Path, provider: str) -> Iterator[Served]:
    """Run a gateway whose upstream speaks the API of `provider`."""
    with FakeProvider(script, models=("upstream-model",), api_key="sk-upstream") as fake:
        config = {
            "models": {
                "gpt": {
                    "provider": provider, "model": "upstream-model", "base_url": fake.base_url,
                    "api_key_env": "UPSTREAM_KEY",
                }
            },
            "routes": {"support": {"incumbent": "gpt"}},
        }  # fmt: skip
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


def check_openai(saw: dict[str, object]) -> None:
    """Check what with_openai.py saw."""
    assert saw["chat"] == saw["stream"] == saw["responses"] == "Hello there"
    assert saw["usage"]
    assert saw["stream_usage"]
    assert not saw["bare_usage"]
    assert saw["tool"] == saw["streamed_tool"] == {"city": "Bern"}
    assert saw["after_tool"] == "sun in Bern"
    assert saw["structured"] == "refund"
    assert "support" in saw["models"]  # type: ignore[operator]
    assert saw["error"] == "model_not_found"
