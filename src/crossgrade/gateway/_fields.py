"""The keys of a body that are refused, wherever it is checked: in a parsed tree, or in bytes as they pass."""

import re
from typing import Annotated, Final, TypeAlias

import msgspec

from crossgrade.gateway._problems import Problem, bad_request

BACKSLASH: Final = ord("\\")
"""As a number, it is found in a third of the time that it takes as bytes."""

MAX_DEPTH: Final = 128
MOST_CHOICES: Final = 128
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
"""A number of tokens that a client may ask for."""

Choices: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)]
"""How many answers a client may ask for."""

MOST_FIELDS: Final = 1_000
"""The top-level fields of a body that are looked at one by one."""

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

ALIKE: Final = str.maketrans({"\u0130": "i", "\u0131": "i", "\u017f": "s", "\u212a": "k"})
"""Letters that a parser which ignores case may take for others."""

SUSPECT_NAME: Final = (
    rb"a(?:pi[_-]?(?:base|key|type|version)|ws_|zure_)|base[_-]url|c(?:lient_(?:id|secret)|ontent_policy_f"
    rb"|ontext_window_f|ustom_llm_)|de(?:fault_(?:headers|query)|ployment_id)|e(?:ndpoint_url|xtra_(?:body|headers"
    rb"|query))|fallbacks|headers|kwargs|litellm_|mo(?:ck_|del_list)|o(?:ptional_params|rganization)|prox(?:y|ies)"
    rb"|r(?:egion_name|outer_settings)|tenant_id|user_config|vertex_"
)
"""How forbidden keys begin. It begins with one letter for each, which is fast."""

ONCE: Final = frozenset((
    "background", "best_of", "conversation", "input", "instructions", "max_completion_tokens",
    "max_output_tokens", "max_tokens", "messages", "metadata", "model", "n", "previous_response_id", "prompt",
    "prompt_cache_key", "seed", "service_tier", "store", "stream", "stream_options", "system", "temperature",
    "tool_choice", "tools", "top_p", "user",
))  # fmt: skip
"""The top-level fields that the gateway acts on, or that change what an answer costs.

Each may be there once, in lower case. Of two, a provider could take the one that was not counted. One that
ignores case could take `N` for `n`.
"""

OWN_WORDS: Final = frozenset(
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
        ("tools", "headers"),
        ("tools", "input_examples"),
        ("prompt", "variables"),
    )
)
"""The places where keys are the caller's own words, as paths of keys from the top."""

TOOLS: Final = frozenset((("tools",), ("input", "tools")))
"""The places of tools. In the input of the Responses API, an item may add some."""

_VERSION = re.compile(r":.*|_[0-9]{8}\Z", re.DOTALL)
"""What follows the plain name of a tool's type: which of a host's tools it is, or the date of its version."""

Path: TypeAlias = tuple[str, ...] | None
"""The keys that lead to an object; None for a place that leads to none of `OWN_WORDS` or `metadata`."""

TOO_DEEP = bad_request(f"The body is nested more than {MAX_DEPTH} levels deep.", "too_deep")
TOO_MANY_FIELDS = bad_request("The body has too many fields to be checked.", "too_many_fields")
IN_BACKGROUND = bad_request(
    "`background` is not served: its answer could be neither billed nor fetched here.", "forbidden_field"
)


def folded(key: str) -> str:
    """Return a key as a parser that ignores case may read it."""
    return (key if key.isascii() else key.translate(ALIKE)).lower()


def tool_name(type_: str) -> str:
    """Return the name under which tools of a type are refused or allowed: `tools.advisor`."""
    return f"tools.{_VERSION.sub('', type_[:200])}"


def key_problem(key: str, path: Path) -> Problem | None:
    """Return why a key of the object at a path is refused, None if it is accepted."""
    plain = folded(key)
    if plain not in _NAMES and not plain.startswith(_PREFIXES):
        return None
    if path is None:
        return forbidden(key[:200])
    where = (*path, key)
    if where in OWN_WORDS or (path[:1] == ("metadata",) and key in _LABELS):
        return None
    return forbidden(".".join(where)[:200])


def twice(name: str) -> Problem:
    """Return the refusal of a key that is there twice, or in a spelling that some parser takes for it."""
    where, lower = name[:100], folded(name[:100])
    if where != lower and lower in ONCE:
        return bad_request(f"The key `{where}` may be taken for `{lower}`: write it so.", "duplicate_key")
    return bad_request(f"The key `{where}` is there twice.", "duplicate_key")


def forbidden(where: str) -> Problem:
    """Return the refusal of a field that could redirect a request or leak a key."""
    return bad_request(
        f"The field `{where}` is not accepted: where a request goes, and with which key, is configured.",
        "forbidden_field",
    )


def choosing(name: str, target: str) -> Problem:
    """Return the refusal of a field or tool (`tools.TYPE`) with which a caller chooses at a provider."""
    return bad_request(
        f"`{name}` is not accepted: what answers a request is configured. The `caller_fields` of the model "
        f"`{target}` can allow it.",
        "forbidden_field",
    )
