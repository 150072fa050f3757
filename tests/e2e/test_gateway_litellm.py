"""LiteLLM's config.yaml served as it is, and certified routes served by LiteLLM's own proxy."""

import contextlib
import json
import os
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
from ruamel.yaml import YAML

from benchmarks.gateway._served import command, records, running
from benchmarks.gateway._tools import free_port
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from tests.e2e.speaking import ENVIRONMENTS

KEY = "sk-litellm-0123456789abcdef"
MASTER_KEY = "sk-" + "0123456789abcdef" * 4
PATIENCE_S = 180.0

THEIRS = """\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/big, api_base: "URL", api_key: os.environ/BIG_KEY, rpm: 1000}
    model_info: {input_cost_per_token: 0.0000025, output_cost_per_token: 0.00001}
  - model_name: claude
    litellm_params: {model: anthropic/claude-x, api_base: "URL", api_key: os.environ/BIG_KEY}
  - model_name: down
    litellm_params: {model: openai/broken, api_base: "URL", api_key: os.environ/BIG_KEY, timeout: 20}
router_settings:
  num_retries: 1
  routing_strategy: usage-based-routing-v2
  model_group_alias: {gpt-4: gpt-4o}
  fallbacks: [{down: [gpt-4o]}]
litellm_settings: {drop_params: true}
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY}
"""


def script(request: ReceivedRequest) -> Reply | Fault:
    if request.model == "broken" or (
        "fail" in json.dumps(request.json["messages"]) and request.model == "new"
    ):
        return Fault("server_error")
    return Reply(f"I am {request.model}", input_tokens=10, output_tokens=5)


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(script, models=("big", "broken", "claude-x", "old", "new"), api_key=KEY) as fake:
        yield fake


def said(client: openai.OpenAI, model: str, text: str = "hello", **more: Any) -> str:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)
    return str(answer.choices[0].message.content)


def test_a_litellm_file_is_served_as_it_is(tmp_path: Path, fake: FakeProvider) -> None:
    """The same file, names, alias, fallback and costs; what is ignored is said with its line."""
    (tmp_path / "config.yaml").write_text(THEIRS.replace("URL", fake.base_url))
    given = ("--config", "config.yaml")
    key = json.loads(command(tmp_path, "keys", "create", "test", "--json", *given))["secret"]
    port = free_port()
    environ = {"BIG_KEY": KEY}
    with running(tmp_path, port, key, *given, "--port", str(port), environ=environ) as served:
        with openai.OpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0) as client:
            assert {model.id for model in client.models.list()} >= {"gpt-4o", "gpt-4", "claude", "down"}
            for name in ("gpt-4o", "gpt-4", "down"):
                assert said(client, name) == "I am big"
            assert said(client, "claude") == "I am claude-x"
            assert said(client, "gpt-4o", max_tokens=5)
        give_up = time.monotonic() + 20
        while len(records(served)) < 5:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        first, _, fallen, *_ = (each for each in records(served) if each.get("target"))
        assert first["cost_usd"] == pytest.approx(10 * 2.5e-6 + 5 * 1e-5)
        assert (fallen["route"], fallen["reason"]) == ("down", "fallback")
    log = (tmp_path / "serve.log").read_text()
    for place in (
        "router_settings.routing_strategy",
        "litellm_settings.drop_params",
        "general_settings.master_key",
    ):
        (line,) = (line for line in log.splitlines() if place in line)
        assert "config.yaml:" in line
    assert KEY not in log


TWICE = """\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/big, api_base: "ONE", api_key: os.environ/BIG_KEY, weight: 3}
  - model_name: gpt-4o
    litellm_params: {model: openai/big, api_base: "TWO", api_key: os.environ/BIG_KEY, weight: 1}
  - model_name: gpt-4o
    litellm_params: {model: openai/spare, api_base: "TWO", api_key: os.environ/BIG_KEY, order: 2}
"""


def test_deployments_of_one_name_are_picked_by_weight_and_stand_in_for_each_other(tmp_path: Path) -> None:
    """Weights as LiteLLM means them; when one address dies, no request of four clients at once is lost."""
    first = contextlib.ExitStack()
    with FakeProvider("two", api_key=KEY) as two, first:
        one = first.enter_context(FakeProvider("one", api_key=KEY))
        text = TWICE.replace("ONE", one.base_url).replace("TWO", two.base_url)
        (tmp_path / "config.yaml").write_text(text)
        given = ("--config", "config.yaml")
        key = json.loads(command(tmp_path, "keys", "create", "test", "--json", *given))["secret"]
        port = free_port()
        with (
            running(tmp_path, port, key, *given, "--port", str(port), environ={"BIG_KEY": KEY}) as served,
            openai.OpenAI(base_url=f"{served.url}/v1", api_key=key, max_retries=0) as client,
            ThreadPoolExecutor(4) as clients,
        ):

            def ask(number: int) -> str:
                return said(client, "gpt-4o", f"question {number}")

            answers = list(clients.map(ask, range(200)))
            drawn = Counter(answers)
            assert set(drawn) == {"one", "two"}
            assert 119 <= drawn["one"] <= 181, "150 expected; outside less than once in a million runs"
            assert [ask(number) for number in range(20)] == answers[:20], "a conversation stays"
            first.close()
            assert set(clients.map(ask, range(200))) == {"two"}
            assert {request.model for request in two.requests} == {"big"}, "not the deployment of order 2"
            assert "ignored" not in (tmp_path / "serve.log").read_text()


@contextlib.contextmanager
def proxy(config: Path, port: int) -> Iterator[openai.OpenAI]:
    """Run LiteLLM's proxy on a file."""
    environ = {
        **os.environ, "BEHIND_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*", "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": MASTER_KEY,
    }  # fmt: skip
    program = ENVIRONMENTS / "client-litellm-proxy" / "bin" / "litellm"
    listen = ["--host", "127.0.0.1", "--port", str(port)]
    with (config.parent / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config", config, *listen], cwd=config.parent, env=environ, stdout=log, stderr=log
        )
    try:
        give_up = time.monotonic() + PATIENCE_S
        while not _is_alive(port):
            assert process.poll() is None, (config.parent / "litellm.log").read_text()[-2_000:]
            assert time.monotonic() < give_up
            time.sleep(0.2)
        with openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key=MASTER_KEY, max_retries=0
        ) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _is_alive(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
            return True
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.needs("client:litellm-proxy")
def test_the_litellm_proxy_serves_what_was_exported(tmp_path: Path, fake: FakeProvider) -> None:
    model = {"provider": "openai-compatible", "base_url": fake.base_url, "api_key_env": "BEHIND_KEY"}
    work = {"dataset": "none.jsonl", "scorer": {"kind": "exact"}, "incumbent": "old", "candidates": ["new"]}
    names = ("switched", "canaried", "split", "kept")
    config = {
        "models": {name: {**model, "model": name} for name in ("old", "new")},
        "workloads": {"work": work},
        "routes": {name: {"workload": "work"} for name in names},
    }
    with (tmp_path / "crossgrade.yaml").open("w") as file:
        YAML(typ="safe").dump(config, file)
    switch = Policy(kind="switch", incumbent="old", candidate="new")
    split = Policy(kind="split", incumbent="old", candidate="new", segments=("easy",))
    common: dict[str, Any] = {
        "targets": {"old": "old", "new": "new"},
        "valid_until": datetime.now(UTC) + timedelta(days=9),
        "verdict_id": "v",
    }
    routes = (
        Route(name="switched", policy=switch, **common),
        Route(name="canaried", policy=switch, share=0.25, **common),
        Route(name="split", policy=split, **common),
    )
    with Project.open(tmp_path / "crossgrade.yaml") as project:
        project.store.publish_route(RouteTable(version=1, routes=routes), None)
    command(tmp_path, "route", "export", "--to", "litellm", "--output", "litellm.yaml")
    assert KEY not in (tmp_path / "litellm.yaml").read_text()
    with proxy(tmp_path / "litellm.yaml", free_port()) as client:
        assert said(client, "switched") == "I am new"
        assert said(client, "kept") == "I am old"
        easy = {"x-litellm-tags": "segment:easy"}
        assert said(client, "split", extra_headers=easy) == "I am new"
        assert said(client, "split") == "I am old"
        assert said(client, "switched", "fail, please") == "I am old", "the incumbent stands in"
        drawn = Counter(said(client, "canaried", str(number)) for number in range(120))
        assert 8 <= drawn["I am new"] <= 60  # 30 expected; outside less than once in a million runs
        assert set(drawn) == {"I am old", "I am new"}
        stream = client.chat.completions.create(
            model="switched", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        assert (
            "".join(event.choices[0].delta.content or "" for event in stream if event.choices) == "I am new"
        )
