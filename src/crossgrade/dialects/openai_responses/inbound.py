"""Requests of OpenAI's responses API, as far as they stand for themselves.

Dropped, because the answer's meaning does not depend on them: `store` (nothing is stored, and
`previous_response_id` is refused), `service_tier`, `prompt_cache_*`, `client_metadata`, how reasoning
is summarised or encrypted, earlier reasoning items, ids and states of earlier items.
"""

from dataclasses import replace
from typing import NoReturn

from crossgrade.dialects._inbound import (
    Fields,
    InboundRequest,
    check_last_turn,
    conversation,
    read_body,
    read_content,
    read_image_url,
    read_labels,
    read_tool_choice,
)
from crossgrade.dialects.hosts import ANY_OBJECT
from crossgrade.domain import JSON, GenerationSettings, Message, ModelRequest, Part, Tool, ToolCall
from crossgrade.errors import BadRequestError

_WITHOUT_MEANING = (
    "client_metadata",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "store",
)
PARAMETERS = ("include", "max_tool_calls", "top_logprobs", "truncation")
"""Parameters of this API that a route may drop where they cannot be carried."""

_TEXTS = {"input_text": "text", "output_text": "text", "refusal": "refusal", "text": "text"}


def read_response(body: bytes, *, drop: bool = False) -> InboundRequest:
    """Read a response's request. `drop` leaves out its `PARAMETERS`.

    Raises `BadRequestError` naming a field that is wrong or cannot be carried to another API.
    """
    fields = read_body(body)
    metadata = read_labels(fields)
    tools = tuple(_tool(tool) for tool in fields.objects("tools"))
    request = ModelRequest(
        model=fields.need("model", fields.text("model")),
        messages=_messages(fields),
        settings=GenerationSettings(
            temperature=fields.number("temperature"),
            top_p=fields.number("top_p"),
            max_output_tokens=fields.integer("max_output_tokens"),
            reasoning_effort=_effort(fields),
        ),
        tools=tools,
        tool_choice=read_tool_choice(fields, tools, lambda choice: choice.text("name")),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        response_schema=_response_schema(fields),
    )
    inbound = InboundRequest(
        request=request,
        stream=fields.flag("stream") or False,
        include_usage=True,
        user=fields.text("user") or fields.text("safety_identifier"),
        conversation=conversation(metadata, fields.text("prompt_cache_key")),
        metadata=metadata,
    )
    fields.drop_if(drop, PARAMETERS)
    _leave_out(fields)
    check_last_turn("input", request.messages)
    return inbound


def _leave_out(fields: Fields) -> None:
    """Drop what says nothing, and refuse the rest."""
    fields.drop(*_WITHOUT_MEANING, "safety_identifier")
    fields.neutral("background", False)
    fields.neutral("truncation", "disabled")
    fields.neutral("top_logprobs", 0)
    fields.neutral("include", [])
    fields.neutral("include", ["reasoning.encrypted_content"])
    options = fields.object("stream_options")
    if options is not None:
        options.drop("include_obfuscation")
        options.end()
    if fields.text("previous_response_id"):
        _not_stored(fields, "previous_response_id")
    fields.end()


def _not_stored(fields: Fields, name: str) -> NoReturn:
    fields.refuse(
        name,
        "refers to an earlier answer that is not stored here: send the whole conversation, or have the "
        "gateway store answers (`serve.stored_responses`). Set `store` to false in the client if it adds the "
        "id itself",
        code="item-not-stored",
    )


def _effort(fields: Fields) -> str | None:
    reasoning = fields.object("reasoning")
    if reasoning is None:
        return None
    effort = reasoning.text("effort")
    reasoning.drop("summary", "generate_summary")
    reasoning.end()
    return effort


def _messages(fields: Fields) -> tuple[Message, ...]:
    """Read instructions and input; calls that follow one another are one message's."""
    messages: list[Message] = []
    instructions = fields.text("instructions")
    if instructions:
        messages.append(Message(role="system", content=instructions))
    given = fields.any("input")
    if isinstance(given, str):
        return (*messages, Message(role="user", content=given))
    if not isinstance(given, list) or not given:
        raise BadRequestError(
            "`input` must be a string or a list of items", code="field-invalid", hint="add `input`"
        )
    calls: dict[int, list[ToolCall]] = {}
    for at, raw in enumerate(given):
        _item(Fields(raw, fields, "input", at), messages, calls)
    for place, made in calls.items():
        messages[place] = replace(messages[place], tool_calls=tuple(made))
    return tuple(messages)


def _item(fields: Fields, messages: list[Message], calls: dict[int, list[ToolCall]]) -> None:
    """Read one item; `calls` are those of the message at each place."""
    kind = fields.text("type") or "message"
    fields.drop("id", "status")
    match kind:
        case "message":
            messages.append(_message(fields))
        case "function_call":
            if not messages or messages[-1].role != "assistant":
                messages.append(Message(role="assistant", content=None))
            calls.setdefault(len(messages) - 1, []).append(_call(fields))
        case "function_call_output":
            call = fields.need("call_id", fields.text("call_id"))
            content, parts = read_content(fields, "output", _part)
            content = fields.need("output", content)
            messages.append(Message(role="tool", content=content, parts=parts, tool_call_id=call))
        case "reasoning":
            return
        case "item_reference":
            _not_stored(fields, "id")
        case _:
            fields.refuse("type", f"`{kind}` cannot be carried to a model of another API")
    fields.end()


def _message(fields: Fields) -> Message:
    role = fields.need("role", fields.text("role"))
    fields.drop("phase")
    if role not in {"system", "developer", "user", "assistant"}:
        fields.refuse("role", "must be system, developer, user or assistant", code="field-invalid")
    content, parts = read_content(fields, "content", _part, joint="" if role == "assistant" else "\n\n")
    content = fields.need("content", content)
    if role == "user":
        return Message(role="user", content=content, parts=parts)
    if parts:
        fields.refuse("content", "may hold images only in a user's message", code="field-invalid")
    return Message(role="assistant" if role == "assistant" else "system", content=content)


def _part(fields: Fields) -> Part:
    kind = fields.text("type") or ""
    part: Part
    if kind == "input_image":
        part = read_image_url(fields, "image_url", detail=fields.text("detail"))
    elif kind in _TEXTS:
        part = fields.need(_TEXTS[kind], fields.text(_TEXTS[kind]))
        fields.drop("annotations", "logprobs")
    else:
        fields.refuse("type", f"`{kind}` cannot be carried to a model of another API")
    fields.drop("prompt_cache_breakpoint")
    fields.end()
    return part


def _call(fields: Fields) -> ToolCall:
    return ToolCall(
        id=fields.need("call_id", fields.text("call_id")),
        name=fields.need("name", fields.text("name")),
        arguments=fields.weigh(fields.need("arguments", fields.text("arguments"))),
    )


def _tool(fields: Fields) -> Tool:
    kind = fields.text("type")
    if kind != "function":
        fields.refuse("type", f"`{kind}` cannot be carried to a model of another API")
    tool = Tool(
        name=fields.need("name", fields.text("name")),
        description=fields.text("description") or "",
        parameters=fields.tree("parameters"),
        strict=fields.flag("strict") or False,
    )
    fields.neutral("defer_loading", False)
    fields.end()
    return tool


def _response_schema(fields: Fields) -> JSON:
    text = fields.object("text")
    if text is None:
        return None
    text.neutral("verbosity", "medium")
    form = text.object("format")
    text.end()
    if form is None:
        return None
    schema: JSON = None
    match form.text("type"):
        case "json_object":
            schema = ANY_OBJECT
        case "json_schema":
            schema = form.need("schema", form.tree("schema"))
            form.drop("name", "description", "strict")
        case "text":
            pass
        case _:
            form.refuse("type", "must be text, json_object or json_schema", code="field-invalid")
    form.end()
    return schema
