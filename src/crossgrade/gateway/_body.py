"""Bodies small enough to be parsed: the few fields that the gateway acts on, and fields that are refused.

Refused fields could redirect a request or leak a key. What is refused is a *key* of that name anywhere in the
body, in any spelling. Exceptions are the places where keys are the caller's own words: the JSON schemas of
tools and answers, and the arguments of tool calls in the conversation. Text (prompts, answers, arguments as
strings) is never searched.

Keys in JSON are always between two plain quotes, and a quote inside a string follows a backslash. So
`"api_base"` in the bytes is a key or a whole string, never a part of a text. One search shows that most
bodies contain nothing like it. Only the others are walked.
"""

import json
import re
from collections.abc import Sequence
from itertools import accumulate, chain
from operator import itemgetter
from typing import Annotated, Any, Final, NoReturn, TypeAlias

import msgspec

from crossgrade.dialects import excerpt, json_marks
from crossgrade.gateway._problems import Problem, bad_request

BYTES_PER_TOKEN = 4
"""The bytes per token of English text in JSON. Used only for estimates, which are marked as such."""

DEFAULT_OUTPUT_TOKENS = 1024
"""The output tokens reserved for a request that does not bound its answer."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
_MOST_CHOICES = 128
_MOST_FIELDS = 1000

_KEY = re.compile(rb'[{,]\s*"((?:[^"\\]|\\.)*)"\s*:\s*')


_SPACE = re.compile(rb"[ \t\r\n]*")
_PLAIN_VALUE = re.compile(rb'\s*:\s*("[^"\\]*")')
_LETTERS = re.compile(rb"\\u00[46]")
"""Letters of `model` written as escapes."""


_NOTHING = msgspec.Raw(b"")


class _Metadata(msgspec.Struct):
    user_id: Any = None


class BodyFields(msgspec.Struct):
    """The fields of a body that the gateway acts on. All others are between the client and the model."""

    model: str | None = None
    stream: bool | None = None
    stream_options: msgspec.Raw = _NOTHING
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    max_output_tokens: _Count | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=_MOST_CHOICES)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    tools: msgspec.Raw = _NOTHING
    user: str | None = None
    metadata: _Metadata | None = None
    conversation: Any = None
    prompt_cache_key: str | None = None
    previous_response_id: str | None = None
    background: Any = None

    @property
    def most_output_tokens(self) -> int | None:
        """The most tokens that the answer may have, over all choices; None if the request sets no bound."""
        most = self.max_completion_tokens or self.max_output_tokens or self.max_tokens
        return None if most is None else most * (self.n or 1)

    @property
    def has_tools(self) -> bool:
        """Whether the request offers tools."""
        return bytes(self.tools).strip(b"[] \n\r\t") not in (b"", b"null")

    @property
    def user_name(self) -> str | None:
        """The end user that the client names, None if it names none."""
        if self.user is not None:
            return self.user
        name = None if self.metadata is None else self.metadata.user_id
        return name if isinstance(name, str) else None

    @property
    def conversation_name(self) -> str | None:
        """A name that the request shares with others of its conversation, None if it has none."""
        for name in (self.named_conversation, self.prompt_cache_key, self.previous_response_id):
            if isinstance(name, str) and name:
                return name
        return None

    @property
    def named_conversation(self) -> str | None:
        """The conversation's own name, None if it has none. A prompt cache's key is not one."""
        named = self.conversation
        if isinstance(named, dict):
            named = named.get("id")
        return named if isinstance(named, str) and named else None


_BODY_FIELDS = msgspec.json.Decoder(BodyFields)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_body(body: bytes, lower: bytes) -> BodyFields | Problem:
    """Parse a body, or return why it is refused; `lower` is the same body in lower case."""
    try:
        fields = _BODY_FIELDS.decode(body)
    except msgspec.ValidationError as error:
        return bad_request(f"The body has a field of the wrong type: {excerpt(str(error))}", "invalid_type")
    except UnicodeDecodeError:
        return bad_request("The body is not UTF-8.", "invalid_json")
    except msgspec.DecodeError as error:
        what = excerpt(str(error)) if body.strip() else "it is empty"
        return bad_request(f"The body is not JSON: {what}", "invalid_json")
    except RecursionError:
        return bad_request("The body is nested too deep.", "too_deep")
    problem = check_fields(body, lower)
    if problem is None and not body.isascii():
        problem = _utf8_problem(body)
    return fields if problem is None else problem


def _utf8_problem(body: bytes) -> Problem | None:
    try:
        body.decode()
    except UnicodeDecodeError:
        return bad_request("The body is not UTF-8.", "invalid_json")
    return None


def model_span(body: bytes, lower: bytes, fields: BodyFields) -> tuple[int, int] | Problem | None:
    """Return where the value of the top-level `model` is in a parsed body; None if there is no such key.

    `lower` is the body in lower case. A repeated key, in any spelling that some parser accepts, is refused:
    the client and the provider could each mean a different one.
    """
    if lower.count(b'"model"') == 1 and (BACKSLASH not in body or _LETTERS.search(body) is None):
        at = body.find(b'"model"')
        match = _PLAIN_VALUE.match(body, at + 7) if at >= 0 else None
        if match is not None and fields.model is not None:
            return match.span(1)
    return _searched_span(body)


def _searched_span(body: bytes) -> tuple[int, int] | Problem | None:
    """Find the span by walking from key to key; the parser gives the length of each value."""
    fields = _FIELDS.decode(body)
    if len(fields) > _MOST_FIELDS:
        return bad_request(f"The body has more than {_MOST_FIELDS} fields.", "too_many_fields")
    at = body.index(b"{")
    found: tuple[int, int] | None = None
    for _ in range(len(fields) + 1):
        key = _KEY.match(body, at)
        if key is None:
            return found
        name = msgspec.json.decode(b'"%b"' % key[1], type=str)
        value = bytes(fields[name])
        if body[key.end() : key.end() + len(value)] != value:
            return _twice(name)
        if name.lower() == "model":
            if found is not None or name != "model":
                return _twice(name)
            found = (key.end(), key.end() + len(value))
        at = key.end() + len(value)
        at = _SPACE.match(body, at).end()  # type: ignore[union-attr]  # it matches nothing as well
    return _twice("model")


def _twice(name: str) -> Problem:
    where = name[:100]
    return bad_request(f"The key `{where}` is there twice.", "duplicate_key")


def estimated_tokens(size: int) -> int:
    """Return about how many tokens `size` bytes contain, at least 1."""
    return size // BYTES_PER_TOKEN or 1


MAX_DEPTH = 128
_MOST_BRACKETS = MAX_DEPTH
"""A body with no more opening brackets than this cannot be nested deeper than `MAX_DEPTH`."""

_NAMES = frozenset((
    "api_base", "api_base_url", "api_key", "api_type", "api_version", "apikey", "api-key", "api-base",
    "azure_ad_token", "azure_ad_token_provider", "azure_deployment", "azure_endpoint", "azure_password",
    "base_url", "base-url", "client_id", "client_secret", "content_policy_fallbacks",
    "context_window_fallbacks",
    "custom_llm_provider", "default_headers", "default_query", "deployment_id", "endpoint_url",
    "extra_body", "extra_headers", "extra_query", "fallbacks", "headers", "kwargs", "litellm_credential_name",
    "litellm_metadata", "litellm_params", "litellm_settings", "model_list", "mock_response",
    "mock_tool_calls", "optional_params", "organization", "proxies", "proxy", "region_name",
    "router_settings", "tenant_id", "user_config",
))  # fmt: skip
_LABELS = frozenset(("client_id", "headers", "organization", "proxy", "region_name", "tenant_id"))
"""Names that people also use for labels. They are accepted under `metadata`."""

_PREFIXES = ("aws_", "azure_", "litellm_", "mock_", "vertex_")

_NAME: Final = re.compile(
    "|".join((*map(re.escape, _NAMES), *(f"{prefix}.*" for prefix in _PREFIXES))), re.IGNORECASE
)
_SUSPECT: Final = re.compile(
    rb'"(?:a(?:pi[_-]?(?:base|key|type|version)|ws_|zure_)|base[_-]url|c(?:lient_(?:id|secret)|ontent_policy_f'
    rb"|ontext_window_f|ustom_llm_)|de(?:fault_(?:headers|query)|ployment_id)|e(?:ndpoint_url|xtra_(?:body|headers"
    rb"|query))|fallbacks|headers|kwargs|litellm_|mo(?:ck_|del_list)|o(?:ptional_params|rganization)|prox(?:y|ies)"
    rb'|r(?:egion_name|outer_settings)|tenant_id|user_config|vertex_)[^"]*"'
)
"""Plain spellings, searched for in the lower-case body. The expression begins with one letter, which is fast.
"""

BACKSLASH: Final = ord("\\")
"""As a number, it is found in a third of the time that it takes as bytes."""

_ESCAPED: Final = re.compile(rb"\\u00(?:[4-7]|2d)")
"""Letters written as escapes, which no encoder does."""

_AS_STEPS: Final = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_MOST_MARKS: Final = 50_000
"""Brackets and colons of a body whose keys are looked at one by one, so that none takes long."""

_OWN_WORDS: Final = frozenset(
    (
        ("tools", "function", "parameters"),
        ("tools", "parameters"),
        ("tools", "input_schema"),
        ("functions", "parameters"),
        ("response_format", "json_schema", "schema"),
        ("response_format", "schema"),
        ("text", "format", "schema"),
        ("output_config", "format", "schema"),
        ("output_format", "schema"),
        ("messages", "content", "input"),
        ("guided_json",),
        ("structured_outputs", "json"),
    )
)
"""The places where keys are the caller's own words, as paths of keys from the top."""

_CONTAINERS: Final = (tuple, list)
"""An object as its pairs, which shows a key that is there twice, and a list."""

_LABELLED: Final = ("metadata",)
_ON_THE_WAY: Final = frozenset(
    (_LABELLED, *(path[:length] for path in _OWN_WORDS for length in range(1, len(path))))
)


def check_fields(body: bytes, lower: bytes) -> Problem | None:
    """Return why a body is refused: a forbidden or repeated key, too deep, or a number out of range.

    The body was parsed before, so it is JSON. `lower` is the same body in lower case. None means that it is
    accepted.
    """
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > _MOST_BRACKETS and _is_deep(body):
        return _TOO_DEEP
    if _SUSPECT.search(lower) is not None:
        return _walk(body)
    if BACKSLASH in body and body.find(b"\\u00") >= 0 and _ESCAPED.search(body) is not None:
        return _walk(body)
    return None


def _is_deep(body: bytes) -> bool:
    """Return whether JSON is nested too deep. Long conversations have many brackets, and a walk is slow."""
    steps = json_marks(body).translate(_AS_STEPS, b":")
    return max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH


_Path: TypeAlias = tuple[str, ...] | None
"""Where keys stand, as far as that matters: in a place on the way to the caller's own words, or elsewhere."""


def _walk(body: bytes) -> Problem | None:
    """Look at all keys: level by level, those of one kind of place together."""
    if len(json_marks(body)) > _MOST_MARKS:
        return bad_request("The body has too many fields to be checked.", "too_many_fields")
    try:
        tree = json.loads(body, object_pairs_hook=tuple, parse_constant=_no_constant)
    except RecursionError:
        return _TOO_DEEP
    except ValueError as error:
        return bad_request(f"The body is not acceptable JSON: {str(error)[:200]}", "invalid_json")
    level: dict[_Path, list[Any]] = {(): [tree]}
    while level:
        below: dict[_Path, list[Any]] = {}
        for path, nodes in level.items():
            objects = [node for node in nodes if type(node) is tuple]
            problem = _keys_problem(objects, path)
            if problem is not None:
                return problem
            lists = [node for node in nodes if type(node) is list]
            inner = below.setdefault(path, [])
            inner += [value for value in chain.from_iterable(lists) if value and type(value) in _CONTAINERS]
            pairs = [
                pair for pair in chain.from_iterable(objects) if pair[1] and type(pair[1]) in _CONTAINERS
            ]
            if path is None or path == _LABELLED:
                inner += map(itemgetter(1), pairs)
                continue
            for key, value in pairs:
                place = (*path, key)
                if place not in _OWN_WORDS:
                    below.setdefault(place if place in _ON_THE_WAY else None, []).append(value)
        level = {path: nodes for path, nodes in below.items() if nodes}
    return None


_TOO_DEEP = bad_request(f"The body is nested more than {MAX_DEPTH} levels deep.", "too_deep")


def _keys_problem(objects: Sequence[tuple[tuple[str, Any], ...]], path: _Path) -> Problem | None:
    """Return why the keys of objects in a place are refused: one is forbidden, or twice in one object."""
    for key in set(map(itemgetter(0), chain.from_iterable(objects))):
        plain = key.lower()
        is_name = plain in _NAMES or plain.startswith(_PREFIXES)
        if not is_name and not plain.isascii():
            is_name = _NAME.fullmatch(key) is not None  # letters that a parser may take for others
        if is_name and not (path == _LABELLED and key in _LABELS):
            return forbidden(_shown(path, key))
    for pairs in objects:
        if len(pairs) > 1 and len(dict(pairs)) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            return bad_request(f"The key `{_shown(path, twice)}` is there twice.", "duplicate_key")
    return None


def _shown(path: _Path, key: str) -> str:
    return ".".join((*(path or ()), key))[:200]


def forbidden(where: str) -> Problem:
    """Return the refusal of a field that could redirect a request or leak a key."""
    return bad_request(
        f"The field `{where}` is not accepted: where a request goes, and with which key, is configured.",
        "forbidden_field",
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
