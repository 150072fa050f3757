"""The gateway that real clients speak to, and how their scripts are run."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gateway._served import Served, records, serving
from crossgrade.domain import ToolCall
from crossgrade.routing import Policy
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from tests.e2e.certified import ask, certify, project_of
from tests.waiting import until

FOLDER = Path(__file__).parents[1] / "clients"
ENVIRONMENTS = Path(os.environ.get("CROSSGRADE_TEST_CLIENTS", FOLDER.parents[1] / ".venvs"))
WEATHER = ToolCall(id="call_1", name="weather", arguments='{"city":"Bern"}')
INCUMBENT = "incumbent-model"
SWITCH = Policy(kind="switch", incumbent="old", candidate="gpt")
ZUG = ToolCall(id="call_2", name="weather", arguments='{"city":"Zug"}')


def script(request: ReceivedRequest) -> Reply | Fault:
    """Answer as the client's message asks: greet, call the tool, keep to the schema, take long, fail."""
    messages = request.json.get("messages") or request.json["input"]
    text = json.dumps(messages)
    if request.model == INCUMBENT:
        return Reply("from the incumbent")
    if "fail" in text:
        return Fault("server_error")
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
def spoken_to(folder: Path, provider: str, *, incumbent: str | None = None) -> Iterator[Served]:
    """Run a gateway whose upstream speaks the API of `provider`.

    With `incumbent`, the provider of a model `old`, a verdict has switched the route from that model to the
    upstream's, and `old` answers what the upstream cannot.
    """
    with FakeProvider(script, models=("upstream-model", INCUMBENT), api_key="sk-upstream") as fake:
        place = {
            "base_url": fake.base_url, "api_key_env": "UPSTREAM_KEY",
            "prices": [{"input_per_mtok": 1, "output_per_mtok": 2}],
        }  # fmt: skip
        config: dict[str, object] = {
            "models": {"gpt": {"provider": provider, "model": "upstream-model", **place}},
            "routes": {"support": {"incumbent": "gpt"}},
        }
        if incumbent is not None:
            config["models"] = {
                **config["models"],  # type: ignore[dict-item]  # the dict above
                "old": {"provider": incumbent, "model": INCUMBENT, **place},
            }
            work = {"dataset": "none.jsonl", "scorer": {"kind": "exact"}, "incumbent": "old"}
            config["workloads"] = {"support": {**work, "candidates": ["gpt"]}}
            config["routes"] = {"support": {"workload": "support", "attempts": 2}}
        with serving(folder, config, environ={"UPSTREAM_KEY": "sk-upstream"}) as served:
            if incumbent is not None:
                certify(served, {"support": {"policy": SWITCH}})
            yield served
            served_all_or_cancelled(fake)


def recorded(served: Served) -> dict[str, tuple[str, str, str]]:
    """Return what the route's records say by request id: the model that answered, the side, and why.

    All name the verdict in force, and what their answer cost by its usage.
    """
    with project_of(served) as project:
        (verdict,) = project.store.verdicts.recent("support")
    lines = [each for each in records(served) if each.get("route") == "support" and each["status"] == 200]
    for line in lines:
        assert line["verdict_id"] == verdict.id
        assert line["cost_origin"] == "usage" or line["error"] == "client_gone"
    return {line["id"]: (line["target"], line["side"], line["reason"]) for line in lines}


def all_recorded(served: Served) -> set[tuple[str, str, str]]:
    """Return what all records say, after one more request, which is recorded after the others."""
    last = ask(served, "support", max_tokens=9).headers["x-request-id"]
    until(lambda: last in recorded(served))
    return set(recorded(served).values())


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
    assert "support" in saw["models"]  # type: ignore[operator]  # a list of names
    assert saw["error"] == "model_not_found"
