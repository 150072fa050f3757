"""OpenAI's eval data and fine-tuning files: samples with their right answers, which are no traffic."""

from collections.abc import Mapping
from typing import Any

from crossgrade.workloads.traffic.chat import plain, role_of, take_request
from crossgrade.workloads.traffic.request import BadValueError, LoggedRequest, text

_ANSWER = "assistant"


def fine_tuning(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a conversation of a fine-tuning file: the last message is the right answer to those before it."""
    messages = asked_messages(row.get("messages"), "messages")
    answer = messages[-1] if role_of(messages[-1]) == _ANSWER else None
    found = _asked("openai-fine-tuning", messages if answer is None else messages[:-1], row, texts=texts)
    if texts and answer is not None:
        _take_target(found, answer)
    return found


def preference(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a line for preference tuning (DPO); the preferred output is the right answer."""
    body = row.get("input")
    if not isinstance(body, Mapping):
        raise BadValueError("`input` is no object with `messages`")
    found = _asked(
        "openai-preference", asked_messages(body.get("messages"), "input.messages"), body, texts=texts
    )
    preferred = asked_messages(row.get("preferred_output"), "preferred_output")
    if texts:
        _take_target(found, preferred[-1])
    return found


def eval_item(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a line of eval data of the API: `item` with its `input`, a text or messages.

    What else an item holds has names of the team's own, which no one but its eval's definition explains.
    """
    item = item_of(row)
    if "input" not in item:
        raise BadValueError(f"the item has no `input`; it has {', '.join(map(str, list(item)[:6]))}")
    return _asked("openai-eval-data", asked_messages(item["input"], "item.input"), {}, texts=texts)


def item_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the item of a line of eval data. Raises `BadValueError` for anything else."""
    item = row.get("item")
    if not isinstance(item, Mapping):
        raise BadValueError("`item` is no object")
    return item


def ideal(row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    """Read a line of data of the open-source openai/evals: `ideal` is one right answer, or several."""
    found = _asked("oaieval-data", asked_messages(row.get("input"), "input"), {}, texts=texts)
    if texts:
        right = row.get("ideal")
        found.target = right[0] if isinstance(right, list) and len(right) == 1 else right
    return found


def asked_messages(value: Any, where: str) -> list[Any]:
    """Return messages, of a text the one that asks it. Raises `BadValueError` for anything else."""
    if isinstance(value, str) and value:
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        raise BadValueError(f"`{where}` is neither a text nor a list of messages")
    if not all(isinstance(each.get("role"), str | None) for each in value):
        raise BadValueError(f"a role in `{where}` is no text")
    return value


def _asked(name: str, messages: list[Any], body: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
    found = LoggedRequest(format=name, call="chat")
    settings = {key: value for key, value in body.items() if key != "messages"}
    take_request(found, settings)
    found.body = None  # a file of samples says nothing of the settings that the traffic has
    if texts:
        found.messages = messages
    return found


def _take_target(found: LoggedRequest, answer: Mapping[str, Any]) -> None:
    """Take the right answer; one that calls tools makes the request one of an agent."""
    calls = answer.get("tool_calls") or answer.get("function_call")
    if calls:
        found.tool_calls = calls if isinstance(calls, list) else [calls]
    found.target = text(plain(answer.get("content")))
