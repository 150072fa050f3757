"""When two actions are the same, and what a replay costs at most."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.calls import prompt_bytes
from crossgrade.domain import Message, ModelAnswer, ModelRequest, Price, Tool, ToolCall
from crossgrade.evidence import replay
from crossgrade.evidence.replay import difference, estimate_replay
from crossgrade.workloads.recorded_runs import RecordedRun, RecordedStep

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["bash", "edit"]), st.dictionaries(st.text(max_size=3), VALUES, max_size=3)),
    max_size=4,
)


def calls(actions: list[tuple[str, Any]], indent: int | None = None) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(id=str(at), name=name, arguments=json.dumps(arguments, indent=indent))
        for at, (name, arguments) in enumerate(actions)
    )


def answer(*made: ToolCall, text: str = "") -> ModelAnswer:
    return ModelAnswer(text=text, tool_calls=made)


@given(ACTIONS, st.integers())
def test_order_and_spelling_do_not_matter(actions: list[tuple[str, Any]], seed: int) -> None:
    shuffled = list(actions)
    random.Random(seed).shuffle(shuffled)
    assert difference(calls(actions), answer(*calls(shuffled, indent=2), text="words")) is None


@given(ACTIONS, ACTIONS)
def test_same_by_tool_is_weaker(ours: list[tuple[str, Any]], theirs: list[tuple[str, Any]]) -> None:
    strict = difference(calls(ours), answer(*calls(theirs)))
    loose = difference(calls(ours), answer(*calls(theirs)), "tool")
    assert loose == (None if strict == "arguments" else strict)


@pytest.mark.parametrize(
    ("recorded", "made", "kind"),
    [
        ([("bash", {"c": "ls"})], [("edit", {"c": "ls"})], "tool"),
        ([("bash", {"c": "ls"})], [("bash", {"c": "ls"})] * 2, "tool"),
        ([("bash", {"c": "ls"})], [("bash", {"c": "pwd"})], "arguments"),
        ([("bash", {"c": "ls"})], [("bash", {"c": " ls\n"})], None),
        ([("bash", {"c": "ls"})], [], "answered"),
        ([], [("bash", {})], "went on"),
        ([], [], None),
    ],
)
def test_kinds_of_difference(
    recorded: list[tuple[str, Any]], made: list[tuple[str, Any]], kind: str | None
) -> None:
    assert difference(calls(recorded), answer(*calls(made))) == kind
    assert difference(calls(recorded), None) == "no answer"


def test_arguments_that_are_no_json_are_compared_as_text() -> None:
    broken = ToolCall(id="1", name="bash", arguments='{"c": ')
    assert difference((broken,), answer(broken)) is None
    assert difference((broken,), answer(*calls([("bash", {})]))) == "arguments"


def test_what_requests_share_is_measured_once_and_counted_each_time() -> None:
    first, second, other = (Message(role="user", content=text) for text in ("hi", "ho ho", "summed up"))
    tool = Tool(name="bash", description="x")
    asked = [
        ModelRequest(model="m", messages=messages, tools=(tool,))
        for messages in ((first,), (first, second), (other,), (other, second, first))
    ]
    asked += [ModelRequest(model="m", messages=(), text=text) for text in ("one", "three")]
    run = RecordedRun(id="r", model=None, steps=tuple(RecordedStep(request=each, calls=()) for each in asked))
    assert replay._prompt_sizes(run) == [prompt_bytes(each) for each in asked]


def test_definitions_of_tools_are_counted() -> None:
    def run(*tools: Tool) -> RecordedRun:
        request = ModelRequest(model="m", messages=(Message(role="user", content="hi"),), tools=tools)
        step = RecordedStep(request=request, calls=())
        return RecordedRun(id="r", model=None, steps=(step, step))

    price = Price(input_per_mtok=1, output_per_mtok=2)  # type: ignore[arg-type]  # whole dollars
    tool = Tool(name="bash", description="x" * 6000)
    small, large = (estimate_replay([run(*tools)], price) for tools in ((), (tool,)))
    assert (small.calls, large.calls) == ((1, 2), (1, 2))
    assert large.input_tokens[0] > small.input_tokens[0] + 900
    assert estimate_replay([run()], None).cost_usd is None
