"""The table of hosts: where each provider listens, which key it takes, how it differs.

There is one row for each host. A host that speaks OpenAI's protocol needs only a row.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from crossgrade.domain import JSON, DialectName, Offer
from crossgrade.errors import AuthError, ConfigError, UsageError, closest

SchemaSupport = Literal["strict", "plain", "object"]
GrammarSupport = Literal["grammar", "response_format", "structured_outputs"]
BatchKind = Literal["anthropic", "azure", "gemini", "mistral", "openai", "openrouter", "together", "xai"]

ANY_OBJECT: JSON = {"type": "object"}
"""The schema of any JSON object, for which OpenAI's API has a mode of its own."""

_PLACEHOLDER = re.compile(r"\{([A-Z_|]+)\}")
_OWN_DOMAIN = re.compile(r"https?://([^/:{}]+)(?=[:/]|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A row of the table.

    `base_url` may name environment variables in braces, alternatives apart by `|`; None: the
    offer must say. `domains` are those under which it listens, beside the one in `base_url`.
    `key_env` are the variables that may hold the key, first set one wins; `key_prefix` goes before
    the key in `key_header`. `price_id` is the host's name in genai-prices (None: no list price).

    Quirks: `max_tokens_field`; `schema` (`strict` JSON schemas, `plain` ones without the flag, or only
    `object`: any JSON object); `grammar` (the field that holds a grammar in GBNF, None: takes none);
    `stream_usage` (usage in a stream must be asked for); `seed_field` (None:
    takes no seed); `choosing_fields` (top-level fields with which a request chooses another model, adapter,
    host or region there, or an answer to be fetched later, which the gateway refuses from callers, and as
    `tools.TYPE` the tools behind which another model answers; a date or `:…` at the end of a type is left
    out); `batch` (which batch API it has); `headers` of every call.

    Other tools' names: `litellm` are LiteLLM's prefixes of its models, the one that exports write first
    (empty: LiteLLM reaches it as an OpenAI-compatible address); `litellm_prices` are further names in
    LiteLLM's price file; `litellm_models` are what ids begin with that LiteLLM sends there without a
    prefix. `openrouter` is the prefix of its ids at OpenRouter (None: OpenRouter does not use them).
    """

    name: str
    dialect: DialectName = "openai"
    base_url: str | None = None
    domains: tuple[str, ...] = ()
    key_env: tuple[str, ...] = ()
    key_optional: bool = False
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    headers: tuple[tuple[str, str], ...] = ()
    max_tokens_field: str = "max_tokens"
    schema: SchemaSupport = "strict"
    grammar: GrammarSupport | None = None
    stream_usage: bool = True
    seed_field: str | None = "seed"
    choosing_fields: tuple[str, ...] = ()
    batch: BatchKind | None = None
    price_id: str | None = None
    litellm: tuple[str, ...] = ()
    litellm_prices: tuple[str, ...] = ()
    litellm_models: tuple[str, ...] = ()
    openrouter: str | None = None

    @property
    def is_placed_by_environment(self) -> bool:
        """Return whether the address depends on environment variables."""
        return self.base_url is not None and _PLACEHOLDER.search(self.base_url) is not None

    def takes(self, schema: JSON) -> bool:
        """Return whether answers can be bound to a JSON schema; to that of any object they always can."""
        return self.schema != "object" or schema == ANY_OBJECT

    def url(self, environ: Mapping[str, str]) -> str:
        """Return the base URL with its variables filled in. Raises `UsageError` if one is not set."""
        if self.base_url is None:
            raise UsageError(
                f"provider `{self.name}` has no address of its own",
                code="host-without-address",
                hint="set `base_url` on the offer, for example http://localhost:8000/v1",
            )

        def fill(match: re.Match[str]) -> str:
            names = match[1].split("|")
            for name in names:
                if environ.get(name):
                    return environ[name].rstrip("/")
            raise UsageError(
                f"provider `{self.name}` needs {' or '.join(names)}, which is not set",
                code="host-variable-not-set",
                hint=f"export {names[0]}=… or set `base_url` on the offer",
            )

        return _PLACEHOLDER.sub(fill, self.base_url)


_COMPLETION = "max_completion_tokens"

_ROWS = (
    Host(name="anthropic", dialect="anthropic", base_url="https://api.anthropic.com/v1",
         key_env=("ANTHROPIC_API_KEY",), key_header="x-api-key", key_prefix="",
         headers=(("anthropic-version", "2023-06-01"),), seed_field=None, batch="anthropic",
         choosing_fields=("inference_geo", "tools.advisor"),
         price_id="anthropic", litellm=("anthropic",), litellm_models=("claude",), openrouter="anthropic/"),
    Host(name="azure", base_url="{AZURE_OPENAI_ENDPOINT}/openai/v1", key_env=("AZURE_OPENAI_API_KEY",),
         key_header="api-key", key_prefix="", max_tokens_field=_COMPLETION, batch="azure", price_id="azure",
         choosing_fields=("data_sources", "tools.image_generation"),
         domains=("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"),
         litellm=("azure",), litellm_prices=("azure_ai",)),
    Host(name="bedrock", base_url="https://bedrock-runtime.{AWS_REGION|AWS_DEFAULT_REGION}.amazonaws.com/openai/v1",
         key_env=("AWS_BEARER_TOKEN_BEDROCK",), schema="plain", price_id="aws",
         litellm=("bedrock",), litellm_prices=("bedrock_converse",)),
    Host(name="cerebras", base_url="https://api.cerebras.ai/v1", key_env=("CEREBRAS_API_KEY",),
         max_tokens_field=_COMPLETION, price_id="cerebras", litellm=("cerebras",)),
    Host(name="cloudflare", base_url="https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1",
         key_env=("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY"), schema="plain", price_id="cloudflare",
         litellm=("cloudflare",)),
    Host(name="deepinfra", base_url="https://api.deepinfra.com/v1/openai",
         key_env=("DEEPINFRA_API_KEY", "DEEPINFRA_TOKEN"), schema="plain", batch="openai",
         litellm=("deepinfra",)),
    Host(name="deepseek", base_url="https://api.deepseek.com", key_env=("DEEPSEEK_API_KEY",), schema="object",
         seed_field=None, price_id="deepseek", litellm=("deepseek",), litellm_models=("deepseek-",)),
    Host(name="fireworks", base_url="https://api.fireworks.ai/inference/v1", key_env=("FIREWORKS_API_KEY",),
         schema="plain", grammar="response_format", price_id="fireworks", litellm=("fireworks_ai",)),
    Host(name="gemini", dialect="gemini", base_url="https://generativelanguage.googleapis.com/v1beta",
         key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"), key_header="x-goog-api-key", key_prefix="",
         batch="gemini", price_id="google", litellm=("gemini",), litellm_models=("gemini-",)),
    Host(name="groq", base_url="https://api.groq.com/openai/v1", key_env=("GROQ_API_KEY",),
         max_tokens_field=_COMPLETION, batch="openai", price_id="groq", litellm=("groq",),
         choosing_fields=("compound_custom",)),
    Host(name="huggingface", base_url="https://router.huggingface.co/v1", key_env=("HF_TOKEN",),
         schema="plain", litellm=("huggingface",)),
    Host(name="llamacpp", base_url="http://localhost:8080/v1", key_env=("LLAMA_API_KEY",), key_optional=True,
         grammar="grammar", choosing_fields=("lora",)),
    Host(name="local", key_optional=True, grammar="grammar", choosing_fields=("lora",)),
    Host(name="mistral", base_url="https://api.mistral.ai/v1", key_env=("MISTRAL_API_KEY",),
         stream_usage=False, seed_field="random_seed", batch="mistral", price_id="mistral",
         litellm=("mistral",), litellm_models=("mistral", "codestral")),
    Host(name="ollama", base_url="http://localhost:11434/v1", key_env=("OLLAMA_API_KEY",), key_optional=True,
         litellm=("ollama_chat", "ollama")),
    Host(name="openai", base_url="https://api.openai.com/v1", key_env=("OPENAI_API_KEY",),
         max_tokens_field=_COMPLETION, batch="openai", price_id="openai",
         choosing_fields=("tools.image_generation",), litellm=("openai", "text-completion-openai"),
         litellm_models=("gpt-", "o1", "o3", "o4", "chatgpt-", "text-embedding-", "davinci", "babbage"),
         openrouter="openai/"),
    Host(name="openai-compatible", key_optional=True, schema="plain"),
    Host(name="openai-responses", dialect="openai-responses", base_url="https://api.openai.com/v1",
         key_env=("OPENAI_API_KEY",), max_tokens_field="max_output_tokens", seed_field=None,
         batch="openai", price_id="openai", openrouter="openai/",
         choosing_fields=("tools.image_generation",)),
    Host(name="openrouter", base_url="https://openrouter.ai/api/v1", key_env=("OPENROUTER_API_KEY",),
         batch="openrouter", price_id="openrouter", litellm=("openrouter",), openrouter="",
         choosing_fields=("models", "plugins", "preset", "provider", "route", "transforms",
                          "tools.advisor", "tools.image_generation", "tools.openrouter")),
    Host(name="sambanova", base_url="https://api.sambanova.ai/v1", key_env=("SAMBANOVA_API_KEY",),
         schema="plain", seed_field=None, litellm=("sambanova",)),
    Host(name="sglang", base_url="http://localhost:30000/v1", key_env=("SGLANG_API_KEY",), key_optional=True,
         schema="plain", choosing_fields=("bootstrap_host", "bootstrap_port", "bootstrap_room", "lora_path")),
    Host(name="together", base_url="https://api.together.xyz/v1", key_env=("TOGETHER_API_KEY",),
         schema="plain", batch="together", price_id="together", litellm=("together_ai",)),
    Host(name="vllm", base_url="http://localhost:8000/v1", key_env=("VLLM_API_KEY",), key_optional=True,
         schema="plain", grammar="structured_outputs", litellm=("hosted_vllm", "vllm"),
         choosing_fields=("kv_transfer_params",)),
    Host(name="xai", base_url="https://api.x.ai/v1", key_env=("XAI_API_KEY",), batch="xai", price_id="x-ai",
         litellm=("xai",), choosing_fields=("deferred",)),
)  # fmt: skip

BUILT_IN_HOSTS: Mapping[str, Host] = {row.name: row for row in _ROWS}
"""The built-in hosts by name."""

_KNOWN = dict(BUILT_IN_HOSTS)
HOSTS: Mapping[str, Host] = _KNOWN
"""Every host by name: the built-in rows, and those that `register_hosts` added."""


def register_hosts(rows: Iterable[Host]) -> None:
    """Add rows to the table, for this process; the same row again changes nothing.

    `project` does it with the rows of plugins, and a gateway worker with those of its settings. Raises
    `ConfigError` for a name that another row has.
    """
    for row in rows:
        if HOSTS.get(row.name, row) != row:
            raise ConfigError(
                f"there is a provider `{row.name}` already, and it is another one",
                code="plugin-name-taken",
                hint="restart this process after an upgrade, or give the host another name",
            )
        _KNOWN[row.name] = row
        _index.cache_clear()


def host_known_as(name: str) -> Host | None:
    """Return the host that genai-prices or LiteLLM calls `name`, or None if there is no such row."""
    return _index().get(name)


@cache
def _index() -> dict[str, Host]:
    """Return the rows by their names in price catalogues."""
    found: dict[str, Host] = {}
    for row in HOSTS.values():
        for name in (row.price_id, *row.litellm, *row.litellm_prices):
            if name is not None:
                found.setdefault(name, row)
    return found


def hosts_at(name: str) -> tuple[Host, ...]:
    """Return the hosts that listen under a name of the network, or under one that it is below."""
    plain = name.lower().rstrip(".")
    return tuple(
        row
        for row in HOSTS.values()
        if any(plain == domain or plain.endswith(f".{domain}") for domain in _domains(row))
    )


def _domains(row: Host) -> tuple[str, ...]:
    own = _OWN_DOMAIN.match(row.base_url or "")
    return row.domains if own is None else (own[1].lower(), *row.domains)


def key_variables(offer: Offer) -> tuple[str, ...]:
    """Return the variables that may hold an offer's key. The first that is set is used."""
    return host_named(offer.provider).key_env if offer.api_key_env is None else (offer.api_key_env,)


def key_variable(offer: Offer, environ: Mapping[str, str]) -> str | None:
    """Return the variable that holds an offer's key, or None if its host needs none and none is set.

    Raises `AuthError` if a key is needed and no variable holds one.
    """
    variables = key_variables(offer)
    found = next((name for name in variables if environ.get(name, "").strip()), None)
    host = host_named(offer.provider)
    if found is None and (offer.api_key_env is not None or not host.key_optional):
        raise AuthError(
            f"offer `{offer.name}` needs a key in {' or '.join(variables)}, which is not set",
            code="key-not-set",
            provider=host.name,
            hint=f"export {variables[0]}=… or set `api_key_env` on the offer",
        )
    return found


def speaks_another_api(offer: Offer, client_api: str | None, hosts: Mapping[str, Host] | None = None) -> bool:
    """Return whether an offer's host speaks another API than a workload's clients (None: not known)."""
    host = (HOSTS if hosts is None else hosts).get(offer.provider)
    return client_api is not None and host is not None and host.dialect != client_api


def host_named(name: str) -> Host:
    """Return a row of the table. Raises `UsageError` naming the nearest when there is none."""
    host = HOSTS.get(name)
    if host is not None:
        return host
    raise UsageError(
        f"unknown provider `{name[:80]}`{closest(name, HOSTS)}",
        code="provider-unknown",
        hint="use `openai-compatible` with `base_url` for a host that is not built in",
    )
