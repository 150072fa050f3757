"""Requests in the shapes of coding agents, as they send them: a call of a tool is streamed, and the turn after it."""

import copy
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway._served import Served
from tests.e2e.speaking import all_recorded, recorded, spoken_to
from tests.waiting import until

SHAPES = Path(__file__).parents[1] / "data" / "clients"
CITY = {"city": "Bern"}
BACK = ("old", "incumbent", "not_carried")


@pytest.fixture(scope="module", params=["openai-compatible", "anthropic", "openai-responses", "certified"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Gateways whose upstream speaks one API, and one that a verdict switched from Responses to Anthropic's.

    In the last one, the incumbent answers what Anthropic's API cannot carry.
    """
    folder = tmp_path_factory.mktemp("agents")
    if request.param != "certified":
        with spoken_to(folder, request.param) as served:
            yield served
        return
    with spoken_to(folder, "anthropic", incumbent="openai-responses") as served:
        yield served
        assert all_recorded(served) <= {("gpt", "candidate", "policy"), BACK}


def shape(name: str) -> Any:
    return json.loads((SHAPES / f"{name}.json").read_text(encoding="utf-8"))


def events(served: Served, shape: Any) -> list[Any]:
    """Send a request as its client does and return the events of the answer."""
    headers = {
        **shape["headers"],
        "content-type": "application/json",
        "authorization": f"Bearer {served.key}",
    }
    request = urllib.request.Request(
        served.url + shape["path"], data=json.dumps(shape["body"]).encode(), headers=headers
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_claude_code(gateway: Served) -> None:
    first = shape("claude_code")
    seen = events(gateway, first)
    assert [seen[0]["type"], seen[-1]["type"]] == ["message_start", "message_stop"]
    start = next(
        each
        for each in seen
        if each["type"] == "content_block_start" and each["content_block"]["type"] == "tool_use"
    )
    pieces = [each["delta"].get("partial_json", "") for each in seen if each["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == CITY
    call = start["content_block"]
    thinking = {"type": "thinking", "thinking": "It wants the weather.", "signature": "c2ln"}
    result = {
        "type": "tool_result",
        "tool_use_id": call["id"],
        "content": [{"type": "text", "text": "sun"}],
        "is_error": False,
    }
    second = copy.deepcopy(first)
    second["body"]["messages"] += [
        {
            "role": "assistant",
            "content": [thinking, {"type": "tool_use", "id": call["id"], "name": "weather", "input": CITY}],
        },
        {"role": "user", "content": [result | {"cache_control": {"type": "ephemeral"}}]},
    ]
    text = [
        each["delta"].get("text", "")
        for each in events(gateway, second)
        if each["type"] == "content_block_delta"
    ]
    assert "".join(text) == "sun in Bern"


def test_codex(gateway: Served) -> None:
    first = shape("codex")
    seen = events(gateway, first)
    assert [seen[0]["type"], seen[-1]["type"]] == ["response.created", "response.completed"]
    items = [each["item"] for each in seen if each["type"] == "response.output_item.done"]
    call = next(item for item in items if item["type"] == "function_call")
    assert (call["name"], json.loads(call["arguments"])) == ("weather", CITY)
    second = copy.deepcopy(first)
    second["body"]["input"] += [
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "gAAA"},
        {key: call[key] for key in ("type", "name", "arguments", "call_id")},
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"},
    ]
    text = [each["delta"] for each in events(gateway, second) if each["type"] == "response.output_text.delta"]
    assert "".join(text) == "sun in Bern"


OTHER_TOOLS = [
    {
        "type": "custom",
        "name": "apply_patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"},
    },
    {"type": "web_search", "external_web_access": False},
]


@pytest.mark.parametrize("tool", OTHER_TOOLS, ids=lambda tool: tool["type"])
def test_a_tool_of_codex_that_no_other_api_has_is_named(
    gateway: Served, request: pytest.FixtureRequest, tool: Any
) -> None:
    asked = shape("codex")
    asked["body"]["tools"].append(tool)
    upstream = request.node.callspec.params["gateway"]
    if upstream in ("openai-responses", "certified"):
        assert events(gateway, asked)[-1]["type"] == "response.completed"
        if upstream == "certified":
            until(lambda: BACK in recorded(gateway).values())
        return
    with pytest.raises(urllib.error.HTTPError) as refused:
        events(gateway, asked)
    with refused.value as answer:
        assert answer.code == 400
        assert "tools[3].type" in json.load(answer)["error"]["message"]


def test_an_error_is_told_in_the_words_of_the_agents_api(gateway: Served) -> None:
    for name, told in (("claude_code", "not_found_error"), ("codex", "model_not_found")):
        asked = shape(name)
        asked["body"]["model"] = "nobody"
        with pytest.raises(urllib.error.HTTPError) as refused:
            events(gateway, asked)
        with refused.value as answer:
            error = json.load(answer)["error"]
        assert answer.code == 404
        assert told in (error["type"], error.get("code"))
