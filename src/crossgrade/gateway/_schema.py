"""The closed edge: which fields a request may not carry, because they could redirect it or leak a key.

What is refused is a *key* of that name anywhere in the body, however it is spelled, but for the
places where keys are the caller's own words: the JSON schemas of tools and of answers, and the
arguments of tool calls in the conversation. Text (prompts, answers, arguments as strings) is
never looked into.

Keys in the bytes of JSON are always between two plain quotes, and inside a string a quote has a
backslash before it; so `"api_base"` in the bytes is a key or a whole string, never a part of a
text. Most bodies hold nothing like it, which one search shows. Only the others are walked.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from crossgrade.gateway._answers import Problem, bad_request

MAX_DEPTH = 128
_MOST_BRACKETS = MAX_DEPTH
"""A body with fewer opening brackets cannot be deeper."""

_NAMES = (
    "api_base", "api_base_url", "api_key", "api_type", "api_version", "apikey", "api-key", "api-base",
    "azure_ad_token", "azure_ad_token_provider", "azure_deployment", "azure_endpoint", "azure_password",
    "base_url", "base-url", "client_id", "client_secret", "content_policy_fallbacks",
    "context_window_fallbacks",
    "custom_llm_provider", "default_headers", "default_query", "deployment_id", "endpoint_url",
    "extra_body", "extra_headers", "extra_query", "fallbacks", "headers", "kwargs", "litellm_credential_name",
    "litellm_metadata", "litellm_params", "litellm_settings", "model_list", "mock_response",
    "mock_tool_calls", "optional_params", "organization", "proxies", "proxy", "region_name",
    "router_settings", "tenant_id", "user_config",
)  # fmt: skip
_LABELS = frozenset(("client_id", "headers", "organization", "proxy", "region_name", "tenant_id"))
"""Of these, the words that people also use for labels: under `metadata` they are let through."""

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
"""Plain spellings, searched for in lower case; it begins with one letter, so that searching is quick."""

BACKSLASH: Final = ord("\\")
"""As a number: so it is found in a third of the time that it takes as bytes."""

_ESCAPED: Final = re.compile(rb"\\u00(?:[4-7]|2d)")
"""Letters written as escapes, which no encoder does."""

_AS_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))

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
"""Where keys are the caller's own words, as paths of keys from the top."""


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is seen."""


def check_fields(body: bytes, lower: bytes) -> Problem | None:
    """Return why a body is refused: a forbidden key, a key twice, too deep, a number out of range.

    The body was parsed before, so it is JSON; `lower` is the same in lower case.
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
    """Tell whether JSON is nested too deep; long conversations have many brackets, and a walk is slow.

    What stands outside of strings is reduced to brackets, of which the innermost pairs are taken out
    until none is left.
    """
    if BACKSLASH in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(body.split(b'"')[::2]).translate(_AS_SQUARE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _walk(body: bytes) -> Problem | None:
    try:
        tree = json.loads(body, object_pairs_hook=_Object, parse_constant=_no_constant)
    except RecursionError:
        return _TOO_DEEP
    except ValueError as error:
        return bad_request(f"The body is not acceptable JSON: {str(error)[:200]}", "invalid_json")
    open_nodes: list[tuple[Any, tuple[str, ...], int, bool]] = [(tree, (), 1, False)]
    while open_nodes:
        node, path, depth, own = open_nodes.pop()
        if depth > MAX_DEPTH:
            return _TOO_DEEP
        own = own or path in _OWN_WORDS
        if isinstance(node, _Object):
            problem = None if own else _keys_problem(node, path)
            if problem is not None:
                return problem
            open_nodes += [
                (value, path if own else (*path, key), depth + 1, own)
                for key, value in node
                if isinstance(value, list)
            ]
        else:
            open_nodes += [(value, path, depth + 1, own) for value in node if isinstance(value, list)]
    return None


_TOO_DEEP = bad_request(f"The body is nested more than {MAX_DEPTH} levels deep.", "too_deep")


def _keys_problem(pairs: Sequence[tuple[str, Any]], path: tuple[str, ...]) -> Problem | None:
    seen: set[str] = set()
    for key, _ in pairs:
        where = ".".join((*path, key))[:200]
        if _NAME.fullmatch(key) and not (path[:1] == ("metadata",) and key in _LABELS):
            return forbidden(where)
        if key in seen:
            return bad_request(f"The key `{where}` is there twice.", "duplicate_key")
        seen.add(key)
    return None


def forbidden(where: str) -> Problem:
    """Return the refusal of a field that could redirect a request or leak a key."""
    return bad_request(
        f"The field `{where}` is not accepted: where a request goes, and with which key, is configured.",
        "forbidden_field",
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
