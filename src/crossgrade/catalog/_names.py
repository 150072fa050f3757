"""One name for a model however its hosts spell it, and one for a host however catalogues do."""

import re

from crossgrade.dialects import host_known_as

_NO_HOSTS = {
    "lambda_ai": "lambda",
    "vertex_ai-llama_models": "vertex",
    "vertex_ai-language-models": "vertex",
    "vertex_ai": "vertex",
}
"""LiteLLM's names of providers that have prices, and no row in the table of hosts."""

_VENDOR = re.compile(
    r"^((us|eu|apac|global)\.)?(meta|openai|anthropic|deepseek|qwen|mistral|moonshot)\.|^databricks-"
)
_CLOSED = re.compile(r"gpt-[345]|o[134](-|$)|gemini|mistral-(small|medium|large)|grok")
_CLAUDE = re.compile(r"claude-(\d)-(\d)-(\w+)|claude-(\w+)-(\d)-(\d)")
_SAYS_NOTHING = frozenset(
    {"instruct", "chat", "it", "hf", "preview", "latest"}  # what it was tuned for, or that it is the newest
    | {"fp8", "bf16", "versatile", "basic", "maas", "17b", "16e", "128e", "v1:0", "v2:0"}
)


def provider_name(name: str) -> str:
    """Return Crossgrade's name of a provider of genai-prices or LiteLLM; others keep their own."""
    name = name.lower()
    if name == "openai-responses":
        return "openai"
    host = host_known_as(name)
    return _NO_HOSTS.get(name, name) if host is None else host.name


def model_name(identifier: str) -> str:
    """Return the name under which hosts of the same weights meet: vendor, date and build dropped.

    `meta-llama/Llama-4-Scout-17B-16E-Instruct`, `meta.llama4-scout-17b-instruct-v1:0` and
    `llama4-scout-instruct-basic` are all `llama-4-scout`. What a word may stand for another
    product (`turbo`, `lite`, a dated GPT) is kept, so that two prices are never mixed up.
    """
    name = _VENDOR.sub("", identifier.lower().rsplit("/", 1)[-1])
    if _CLOSED.match(name):
        return name.removesuffix("-preview") if name.startswith("gemini") else name
    name = re.sub(r"-\d{8}(-v\d:\d)?$", "", name)
    if name.startswith("claude"):
        return _CLAUDE.sub(_claude, name).removesuffix("-latest")
    name = re.sub(r"^llama-?v?(\d)[p._-](\d)(?=-)", r"llama-\1.\2", name)
    name = re.sub(r"^llama-?v?(\d)(?=-)", r"llama-\1", name)
    name = re.sub(r"(?<=[vk]\d)p(?=\d)", ".", name)
    return "-".join(part for part in name.split("-") if part not in _SAYS_NOTHING)


def _claude(found: re.Match[str]) -> str:
    if found[1]:
        return f"claude-{found[1]}.{found[2]}-{found[3]}"
    return f"claude-{found[4]}-{found[5]}.{found[6]}"
