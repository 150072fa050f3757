"""Requests of OpenAI's chat completions and of its older text completions.

Dropped, because the answer's meaning does not depend on them: `store`, `service_tier`,
`prompt_cache_*`, `safety_identifier` (kept as the user where no `user` is given),
`stream_options.include_obfuscation`, a message's earlier reasoning, annotations and cache marks.
"""

from crossgrade.dialects._dialect import compact_json
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
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "store",
)
PARAMETERS = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "min_p",
    "n",
    "prediction",
    "presence_penalty",
    "repetition_penalty",
    "top_k",
    "top_logprobs",
    "verbosity",
)
"""Parameters of this API, and of hosts that speak it, that a route may drop where they cannot be carried."""

_EARLIER_ANSWER = ("annotations", "audio", "reasoning", "reasoning_content", "reasoning_details")
_MARKS = ("cache_control", "prompt_cache_breakpoint")


def read_chat(body: bytes, *, drop: bool = False) -> InboundRequest:
    """Read a chat completion's request. `drop` leaves out its `PARAMETERS`.

    Raises `BadRequestError` naming a field that is wrong or cannot be carried to another API.
    """
    fields = read_body(body)
    metadata = read_labels(fields)
    stream, include_usage = _streaming(fields)
    tools = tuple(_tool(tool) for tool in fields.objects("tools"))
    request = ModelRequest(
        model=fields.need("model", fields.text("model")),
        messages=tuple(_message(message) for message in fields.objects("messages")),
        settings=_settings(fields),
        tools=tools,
        tool_choice=read_tool_choice(fields, tools, _chosen),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        response_schema=_response_schema(fields),
    )
    identifier = fields.text("safety_identifier")
    user = fields.text("user")
    cache_key = fields.text("prompt_cache_key")
    fields.drop(*_WITHOUT_MEANING)
    _penalties(fields)
    fields.neutral("modalities", ["text"])
    fields.neutral("verbosity", "medium")
    fields.drop_if(drop, PARAMETERS)
    fields.end()
    if not request.messages:
        raise BadRequestError(
            "`messages` is missing or empty", code="field-missing", hint="add at least one message"
        )
    check_last_turn("messages", request.messages)
    return InboundRequest(
        request=request,
        stream=stream,
        include_usage=include_usage,
        user=user or identifier,
        conversation=conversation(metadata, cache_key),
        metadata=metadata,
    )


def read_text(body: bytes, *, drop: bool = False) -> InboundRequest:
    """Read a text completion's request, of one prompt. `drop` and what is raised are as for `read_chat`."""
    fields = read_body(body)
    stream, include_usage = _streaming(fields)
    prompt = fields.any("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        fields.refuse("prompt", "must be one string", code="field-invalid")
    request = ModelRequest(
        model=fields.need("model", fields.text("model")), text=prompt, settings=_settings(fields)
    )
    user = fields.text("user")
    _penalties(fields)
    fields.neutral("best_of", 1)
    fields.neutral("echo", False)
    fields.neutral("suffix", "")
    fields.drop_if(drop, PARAMETERS)
    fields.end()
    return InboundRequest(request=request, stream=stream, include_usage=include_usage, user=user)


def _streaming(fields: Fields) -> tuple[bool, bool]:
    stream = fields.flag("stream") or False
    options = fields.object("stream_options")
    if options is None:
        return stream, False
    include_usage = options.flag("include_usage") or False
    options.drop("include_obfuscation")
    options.end()
    return stream, include_usage


def _settings(fields: Fields) -> GenerationSettings:
    stop = fields.any("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        fields.refuse("stop", "must be a string or a list of strings", code="field-invalid")
    newer, older = fields.integer("max_completion_tokens"), fields.integer("max_tokens")
    return GenerationSettings(
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        max_output_tokens=older if newer is None else newer,
        stop=tuple(stops),
        seed=fields.integer("seed"),
        reasoning_effort=fields.text("reasoning_effort"),
    )


def _penalties(fields: Fields) -> None:
    """Leave out what asks for nothing: one choice, no log probabilities, no penalties."""
    fields.neutral("n", 1)
    fields.neutral("logprobs", False)
    fields.neutral("top_logprobs", 0)
    fields.neutral("frequency_penalty", 0)
    fields.neutral("presence_penalty", 0)
    fields.neutral("logit_bias", {})


def _message(fields: Fields) -> Message:
    role = fields.need("role", fields.text("role"))
    match role:
        case "system" | "developer" | "user":
            content, parts = read_content(fields, "content", _image_or_text if role == "user" else _text)
            message = Message(role="user" if role == "user" else "system", content=content, parts=parts)
        case "assistant":
            message = _assistant(fields)
        case "tool":
            content, _ = read_content(fields, "content", _text)
            fields.drop("name")
            call = fields.need("tool_call_id", fields.text("tool_call_id"))
            message = Message(role="tool", content=content, tool_call_id=call)
        case _:
            fields.refuse("role", "must be system, developer, user, assistant or tool", code="field-invalid")
    if message.content is None and not message.tool_calls:
        fields.need("content", message.content)
    fields.drop(*_MARKS)
    fields.end()
    return message


def _assistant(fields: Fields) -> Message:
    content, _ = read_content(fields, "content", _text, joint="")
    refusal = fields.text("refusal")
    calls = tuple(_tool_call(call) for call in fields.objects("tool_calls"))
    fields.drop(*_EARLIER_ANSWER)
    if content is None and not calls:
        content = refusal or ""
    return Message(role="assistant", content=content, tool_calls=calls)


def _text(fields: Fields) -> Part | None:
    kind = fields.text("type")
    if kind == "refusal":
        part = fields.need("refusal", fields.text("refusal"))
    elif kind == "text":
        part = fields.need("text", fields.text("text"))
    else:
        fields.refuse("type", f"`{kind}` cannot be carried to a model of another API in this place")
    fields.drop(*_MARKS)
    fields.end()
    return part


def _image_or_text(fields: Fields) -> Part | None:
    if not (image := fields.object("image_url")):
        return _text(fields)
    fields.neutral("type", "image_url")
    fields.drop(*_MARKS)
    fields.end()
    part = read_image_url(image, "url", detail=image.text("detail"))
    image.end()
    return part


def _tool_call(fields: Fields) -> ToolCall:
    fields.neutral("type", "function")
    fields.drop("index")
    function = fields.need("function", fields.object("function"))
    arguments = function.any("arguments")
    call = ToolCall(
        id=fields.need("id", fields.text("id")),
        name=function.need("name", function.text("name")),
        arguments=function.weigh(arguments) if isinstance(arguments, str) else compact_json(arguments or {}),
        signature=_signature(fields.any("extra_content")),
    )
    function.end()
    fields.end()
    return call


def _signature(extra: JSON) -> str | None:
    """Return the signature of a call, as Google's own endpoint for this API has it; None if it has none."""
    for name in ("google", "thought_signature"):
        extra = extra.get(name) if isinstance(extra, dict) else None
    return extra if isinstance(extra, str) else None


def _tool(fields: Fields) -> Tool:
    fields.neutral("type", "function")
    fields.drop(*_MARKS)
    function = fields.need("function", fields.object("function"))
    fields.end()
    tool = Tool(
        name=function.need("name", function.text("name")),
        description=function.text("description") or "",
        parameters=function.tree("parameters"),
        strict=function.flag("strict") or False,
    )
    function.end()
    return tool


def _chosen(choice: Fields) -> str | None:
    function = choice.need("function", choice.object("function"))
    name = function.text("name")
    function.end()
    return name


def _response_schema(fields: Fields) -> JSON:
    form = fields.object("response_format")
    if form is None:
        return None
    schema: JSON = None
    match form.text("type"):
        case "json_object":
            schema = ANY_OBJECT
        case "json_schema":
            wanted = form.need("json_schema", form.object("json_schema"))
            schema = wanted.need("schema", wanted.tree("schema"))
            wanted.drop("name", "description", "strict")
            wanted.end()
        case "text":
            pass
        case _:
            form.refuse("type", "must be text, json_object or json_schema", code="field-invalid")
    form.end()
    return schema
