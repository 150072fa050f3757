"""Requests of Anthropic's messages API.

Dropped, because the answer's meaning does not depend on them: `thinking` (how much another model
thinks is that model's setting; `output_config.effort` is carried), earlier thinking blocks and
the edits that clear them, `cache_control`, `service_tier`, `speed`, `diagnostics`, `safeguards` (what
Anthropic's own classifier looks for beside the answer).
"""

from collections.abc import Sequence
from typing import Any

from crossgrade.dialects._client import unsigned_id
from crossgrade.dialects._dialect import compact_json
from crossgrade.dialects._inbound import (
    Fields,
    InboundRequest,
    check_last_turn,
    check_tool,
    conversation,
    inline_image,
    read_body,
    read_content,
    read_image_url,
    read_labels,
)
from crossgrade.domain import JSON, GenerationSettings, Message, ModelRequest, Part, Tool, ToolCall
from crossgrade.errors import BadRequestError

_WITHOUT_MEANING = ("cache_control", "diagnostics", "safeguards", "service_tier", "speed", "thinking")
PARAMETERS = ("betas", "top_k")
"""Parameters of this API that a route may drop where they cannot be carried."""

_MODES = {"any": "required", "auto": "auto", "none": "none"}


def read_message(body: bytes, *, drop: bool = False) -> InboundRequest:
    """Read a message's request. `drop` leaves out its `PARAMETERS`.

    Raises `BadRequestError` naming a field that is wrong or cannot be carried to another API.
    """
    fields = read_body(body)
    metadata = read_labels(fields)
    tools = tuple(_tool(tool) for tool in fields.objects("tools"))
    effort, schema = _output(fields)
    choice, parallel = _tool_choice(fields, tools)
    system, _ = read_content(fields, "system", _text)
    messages = [Message(role="system", content=system)] if system else []
    for turn in fields.objects("messages"):
        messages += _turn(turn)
    request = ModelRequest(
        model=fields.need("model", fields.text("model")),
        messages=tuple(messages),
        settings=GenerationSettings(
            temperature=fields.number("temperature"),
            top_p=fields.number("top_p"),
            max_output_tokens=fields.need("max_tokens", fields.integer("max_tokens")),
            stop=_stops(fields),
            reasoning_effort=effort,
        ),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_schema=schema,
    )
    stream = fields.flag("stream") or False
    fields.drop_if(drop, PARAMETERS)
    _leave_out(fields)
    _check_turns(messages)
    return InboundRequest(
        request=request,
        stream=stream,
        include_usage=True,
        user=metadata.get("user_id"),
        conversation=conversation(metadata, None),
        metadata=metadata,
    )


def _leave_out(fields: Fields) -> None:
    """Drop what says nothing, and refuse the rest."""
    fields.drop(*_WITHOUT_MEANING)
    fields.neutral("mcp_servers", [])
    fields.neutral("betas", [])
    edits = fields.object("context_management")
    if edits is not None:
        for edit in edits.objects("edits"):
            kind = edit.text("type") or ""
            if not kind.startswith("clear_thinking_"):
                edit.refuse("type", f"`{kind}` cannot be carried to a model of another API")
        edits.end()
    fields.end()


def _check_turns(messages: list[Message]) -> None:
    if not any(message.role != "system" for message in messages):
        raise BadRequestError(
            "`messages` is missing or empty", code="field-missing", hint="add at least one message"
        )
    check_last_turn("messages", messages)


def _stops(fields: Fields) -> tuple[str, ...]:
    stops = fields.any("stop_sequences") or []
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        fields.refuse("stop_sequences", "must be a list of strings", code="field-invalid")
    return tuple(stops)


def _output(fields: Fields) -> tuple[str | None, JSON]:
    """Take the effort and the schema of the output, from the field's older place too."""
    config = fields.object("output_config")
    form = fields.object("output_format")
    effort = None
    if config is not None:
        effort = config.text("effort")
        form = config.object("format") or form
        config.end()
    if form is None:
        return effort, None
    if form.text("type") != "json_schema":
        form.refuse("type", "must be json_schema", code="field-invalid")
    schema = form.need("schema", form.tree("schema"))
    form.end()
    return effort, schema


def _turn(fields: Fields) -> list[Message]:
    """Read one turn: tools' results are messages of their own, before what else the user says."""
    role = fields.need("role", fields.text("role"))
    results: list[Message] = []
    calls: list[ToolCall] = []

    def block(block: Fields) -> Part | None:
        kind = block.text("type")
        part: Part | None = None
        match role, kind:
            case "user", "image":
                part = _image(block)
            case "user", "tool_result":
                results.append(_result(block))
            case "assistant", "tool_use":
                calls.append(_call(block))
            case "assistant", "thinking" | "redacted_thinking":
                return None
            case _, "text":
                part = block.need("text", block.text("text"))
                block.drop("citations")
            case _:
                block.refuse("type", f"`{kind}` cannot be carried to a model of another API in this place")
        block.drop("cache_control")
        block.end()
        return part

    content, parts = read_content(fields, "content", block, joint="" if role == "assistant" else "\n\n")
    content = fields.need("content", content)
    fields.end()
    if role == "assistant":
        return [
            Message(role="assistant", content=content or None if calls else content, tool_calls=tuple(calls))
        ]
    if role not in {"user", "system"}:
        fields.refuse("role", "must be user, assistant or system", code="field-invalid")
    if results and not content and not parts:
        return results
    return [*results, Message(role="system" if role == "system" else "user", content=content, parts=parts)]


def _text(fields: Fields) -> Part:
    text = _part(fields)
    if not isinstance(text, str):
        raise BadRequestError(
            f"`{fields.at}.type` must be text", code="field-invalid", hint="move the image to a user's turn"
        )
    return text


def _part(fields: Fields) -> Part:
    kind = fields.text("type")
    if kind == "image":
        part = _image(fields)
    elif kind == "text":
        part = fields.need("text", fields.text("text"))
    else:
        fields.refuse("type", f"`{kind}` cannot be carried to a model of another API in this place")
    fields.drop("cache_control", "citations")
    fields.end()
    return part


def _image(fields: Fields) -> Part:
    source = fields.need("source", fields.object("source"))
    fields.neutral("transformations", {})
    match source.text("type"):
        case "url":
            image = read_image_url(source, "url")
        case "base64":
            kind = source.need("media_type", source.text("media_type"))
            image = inline_image(source, "data", kind, source.need("data", source.text("data")))
        case kind:
            source.refuse("type", f"`{kind}` cannot be carried to a model of another API")
    source.end()
    return image


def _result(fields: Fields) -> Message:
    """Read a tool's result; that it failed is said in its text, since other APIs have no field for it."""
    call, _ = unsigned_id(fields.need("tool_use_id", fields.text("tool_use_id")))
    failed = fields.flag("is_error") or False

    content, parts = read_content(fields, "content", _part)
    content = content or ""
    if failed and not content.lower().startswith("error"):
        content, parts = f"Error: {content}", ("Error:", *parts) if parts else ()
    return Message(role="tool", content=content, parts=parts, tool_call_id=call)


def _call(fields: Fields) -> ToolCall:
    name, signature = unsigned_id(fields.need("id", fields.text("id")))
    call = ToolCall(
        id=name,
        name=fields.need("name", fields.text("name")),
        arguments=compact_json(fields.need("input", fields.tree("input"))),
        signature=signature,
    )
    fields.neutral("caller", {"type": "direct"})
    return call


def _tool(fields: Fields) -> Tool:
    fields.neutral("type", "custom")
    tool = Tool(
        name=fields.need("name", fields.text("name")),
        description=fields.text("description") or "",
        parameters=fields.tree("input_schema"),
        strict=fields.flag("strict") or False,
    )
    fields.drop("cache_control", "eager_input_streaming")
    fields.neutral("defer_loading", False)
    fields.neutral("allowed_callers", ["direct"])
    fields.end()
    return tool


def _tool_choice(fields: Fields, tools: Sequence[Tool]) -> tuple[str | None, bool | None]:
    choice = fields.object("tool_choice")
    if choice is None:
        return None, None
    single = choice.flag("disable_parallel_tool_use")
    kind: Any = choice.text("type")
    if kind == "tool":
        chosen = check_tool(fields, choice.need("name", choice.text("name")), tools)
    elif kind in _MODES and (tools or kind != "any"):
        chosen = _MODES[kind]
    else:
        choice.refuse("type", "must be auto, none, or, with tools, any or tool", code="field-invalid")
    choice.end()
    return chosen, False if single else None
