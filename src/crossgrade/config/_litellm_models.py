"""How LiteLLM names a model and its provider, and which of them we speak to."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from crossgrade.dialects import Host

CARRIED_PARAMETERS = frozenset(
    {
        "model",
        "api_base",
        "base_url",
        "api_key",
        "custom_llm_provider",
        "timeout",
        "order",
        "weight",
        "rpm",
        "tpm",
        "max_parallel_requests",
        "input_cost_per_token",
        "output_cost_per_token",
        "cache_read_input_token_cost",
        "cache_creation_input_token_cost",
    }
)
SERVED_MODES = ("chat", "completion", "embedding", "responses")


class UnservedError(Exception):
    """A deployment that cannot be served, and why."""


def provider_of(parameters: Mapping[str, Any], hosts: Mapping[str, Host]) -> tuple[str, str]:
    """Return our provider and its id of the model; raises UnservedError for one we do not speak to."""
    model = parameters.get("model")
    if not isinstance(model, str) or not model:
        raise UnservedError("`litellm_params.model` is missing")
    if "*" in model:
        raise UnservedError("a wildcard names no model; list each one")
    prefix, slash, rest = model.partition("/")
    named = parameters.get("custom_llm_provider")
    if isinstance(named, str):
        prefix, slash, rest = named, "/", model.removeprefix(f"{named}/")
    base = parameters.get("api_base", parameters.get("base_url"))
    has_base = isinstance(base, str)
    is_elsewhere = has_base and "//api.openai.com" not in str(base)
    provider = next((row.name for row in hosts.values() if prefix in row.litellm), "")
    if slash and provider:
        is_other = is_elsewhere and provider in ("openai", "vllm")
        return ("openai-compatible" if is_other else provider), rest
    if slash and has_base:
        return "openai-compatible", rest
    provider = next((row.name for row in hosts.values() if model.startswith(row.litellm_models)), "")
    if slash or not provider:
        raise UnservedError(f"provider {prefix!r} is not known; name an `api_base` that speaks OpenAI's API")
    return ("openai-compatible" if is_elsewhere and provider == "openai" else provider), model


def base_url_of(provider: str, base: str | None) -> str | None:
    """Return the address of the API as we write it: LiteLLM adds some paths by itself."""
    if base is None:
        return None
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnservedError("its `api_base` is not an address")
    if parts.username or parts.password:
        raise UnservedError("its `api_base` holds a password")
    base = base.rstrip("/")
    if provider == "azure":
        return base if parts.path.rstrip("/").endswith("/v1") else f"{base}/openai/v1"
    if provider in ("ollama", "anthropic", "openai") and parts.path in ("", "/"):
        return f"{base}/v1"
    return base
