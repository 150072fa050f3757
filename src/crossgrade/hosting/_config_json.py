"""Read the sizes of a model from a Hugging Face `config.json`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from crossgrade.domain import JSON, Architecture, LatentAttention, LinearAttention
from crossgrade.errors import DataError

MAX_SIZE = 100_000_000
"""No size in a real configuration is larger; one that is would only make absurd figures."""

_Config = Mapping[str, JSON]


def read_architecture(config: JSON, *, name: str, file: str | None = None) -> Architecture:
    """Return the sizes of a model from its `config.json` as parsed, multimodal ones included.

    Raises `DataError` if the architecture is not one of those understood, or a key that it needs
    is missing, no integer, or absurd: a figure computed from a guess would look like any other.
    """
    reader = ConfigReader(config, name=name, file=file)
    kind = reader.kind()
    read = _READERS.get(kind)
    if read is None:
        raise DataError(
            f"{name}: architecture {kind!r} is not understood; these are: {', '.join(sorted(_READERS))}",
            code="architecture-unknown",
            file=file,
            where="model_type",
            hint="give the config.json of a model with one of these architectures",
        )
    found = read(reader)
    _check(found, file)
    return found


def _check(model: Architecture, file: str | None) -> None:
    """Refuse sizes that contradict one another: figures of them would be absurd, or none at all."""
    linear = model.linear.layers if model.linear else 0
    if max(model.dense_layers, model.local_layers + linear) > model.layers:
        seen, wanted = f"more layers of a kind than all {model.layers}", "no more than there are"
    elif model.experts and model.top_k > model.experts:
        seen, wanted = f"a token uses {model.top_k} of {model.experts} experts", "no more than there are"
    elif not model.latent and model.head_width < 1:
        seen, wanted = f"{model.heads} heads in a width of {model.hidden}", "at least one number to each"
    elif not model.latent and (model.heads < model.kv_heads or model.heads % model.kv_heads):
        seen, wanted = f"{model.heads} heads over {model.kv_heads} of keys", "as many over each"
    else:
        return
    raise DataError(
        f"{model.name}: {seen}; wanted {wanted}",
        code="architecture-invalid",
        file=file,
        hint="give the model's config.json as published",
    )


class ConfigReader:
    """A configuration, with `text_config` of a multimodal model laid over the whole."""

    def __init__(self, config: JSON, *, name: str, file: str | None) -> None:
        if not isinstance(config, Mapping):
            raise DataError(
                f"{name}: a config.json holds an object, not {type(config).__name__}",
                code="config-json-invalid",
                file=file,
            )
        inner = config.get("text_config")
        self.name, self.file = name, file
        self._whole: _Config = config
        self._config: _Config = {**config, **inner} if isinstance(inner, Mapping) else config

    def kind(self) -> str:
        """The `model_type` that decides how to read on."""
        found = self._config.get("model_type")
        if not isinstance(found, str):
            raise self.wrong("model_type", found, "a text such as 'llama'")
        return found.removesuffix("_text")

    def size(self, *keys: str, default: int | None = None, least: int = 1) -> int:
        """Return the first of `keys` that is there."""
        for key in keys:
            value = self._config.get(key)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_SIZE:
                raise self.wrong(key, value, f"an integer from {least} to {MAX_SIZE:,}")
            return value
        if default is None:
            raise self.wrong(keys[0], None, "an integer")
        return default

    def number(self, key: str, *, default: float | None, most: float = 1000) -> float:
        """Return a number from 0 to `most`; without a default it must be there."""
        value = self._config.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int | float) or not 0 <= value <= most:
            raise self.wrong(key, value, f"a number from 0 to {most:,}")
        return float(value)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a truth value."""
        value = self._config.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def count(self, key: str, wanted: object) -> int | None:
        """Return how often a list names `wanted`, None without the list or where it is empty."""
        value = self._config.get(key)
        if value is None or value == []:
            return None  # an empty list is written where the format's own rule decides, as in Llama 4's files
        layers = self.size("num_hidden_layers")
        if not isinstance(value, list | tuple) or len(value) != layers:
            raise self.wrong(key, type(value).__name__, f"a list of {layers} entries, one a layer")
        return sum(1 for each in value if each == wanted)

    def items(self, key: str) -> int:
        """Return the length of a list, 0 without it."""
        return len(self.entries(key))

    def entries(self, key: str) -> Sequence[JSON]:
        """Return a list, empty without it."""
        value = self._config.get(key)
        return value if isinstance(value, list | tuple) else ()

    def inside(self, *keys: str) -> "ConfigReader":
        """Return a reader of the first of `keys` that holds an object, or of nothing."""
        found = (value for key in keys if isinstance(value := self._config.get(key), Mapping))
        return ConfigReader(next(found, {}), name=self.name, file=self.file)

    def text(self, *keys: str, default: str) -> str:
        """Return the first of `keys` that is a text."""
        return next((value for key in keys if isinstance(value := self._config.get(key), str)), default)

    def holds(self, key: str) -> bool:
        """Return whether a key has a value."""
        return self._config.get(key) is not None

    def precision(self) -> str:
        """Return the width in which the weights are published."""
        found = self._config.get("quantization_config") or self._whole.get("quantization_config")
        if not isinstance(found, Mapping):
            return "bf16"
        method = str(found.get("quant_method"))
        if method == "compressed-tensors":
            return _compressed(found)
        if method in {"awq", "gptq"}:
            return "int4" if found.get("bits") == 4 else "int8"
        return method if method in {"fp8", "mxfp4"} else "bf16"

    def over(self, defaults: Mapping[str, JSON]) -> "ConfigReader":
        """Return a reader in which `defaults` stand for what the configuration leaves out."""
        return ConfigReader({**defaults, **self._config}, name=self.name, file=self.file)

    def wrong(self, key: str, seen: object, wanted: str) -> DataError:
        """Return the error that a key is not what it should be."""
        shown = "nothing" if seen is None else repr(seen)[:80]
        return DataError(
            f"{self.name}: `{key}` is {shown}; wanted {wanted}",
            code="config-json-invalid",
            file=self.file,
            where=key,
            hint="give the model's config.json as published",
        )


def _compressed(found: _Config) -> str:
    """Return the width of weights in the format compressed-tensors, by the first group that has one."""
    groups = found.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            kind = "fp" if weights.get("type") == "float" else "int"
            bits = weights.get("num_bits")
            return f"{kind}{bits}" if bits in {4, 8} else "bf16"
    return "bf16"


def _plain(reader: ConfigReader) -> Architecture:
    """Read what nearly all have in common: a dense model with grouped-query attention."""
    hidden, heads = reader.size("hidden_size"), reader.size("num_attention_heads")
    layers = reader.size("num_hidden_layers")
    return Architecture(
        name=reader.name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=reader.size("num_key_value_heads", default=heads),
        head_width=reader.size("head_dim", default=hidden // heads),
        vocabulary=reader.size("vocab_size"),
        context_tokens=reader.size("max_position_embeddings", default=MAX_SIZE),
        tied_embeddings=reader.flag("tie_word_embeddings"),
        dense_layers=layers,
        dense_width=reader.size("intermediate_size", default=0, least=0),
        native_precision=reader.precision(),
    )


def _dense(reader: ConfigReader) -> Architecture:
    plain = _plain(reader)
    biased = reader.flag("attention_bias", default=reader.kind() == "qwen2")
    # Qwen2 has biases on queries, keys and values; Qwen3 norms of queries and keys instead.
    extras = (plain.heads + 2 * plain.kv_heads) * plain.head_width if biased else 0
    if reader.kind().startswith("qwen3"):
        extras += 2 * plain.head_width
    plain = replace(plain, dense_width=reader.size("intermediate_size"), attention_extras=extras)
    return _with_sliding(reader, plain)


def _with_sliding(reader: ConfigReader, plain: Architecture) -> Architecture:
    """Add local layers where the configuration lists them, or says that all slide (Mistral, Phi-3)."""
    listed = reader.count("layer_types", "sliding_attention")
    if listed is not None:
        window = reader.size("sliding_window") if listed else 0
        return replace(plain, local_layers=listed, window=window)
    if reader.kind() in {"mistral", "mixtral", "phi3"} and reader.size("sliding_window", default=0, least=0):
        return replace(plain, local_layers=plain.layers, window=reader.size("sliding_window"))
    return plain


_GEMMA: _Config = {
    "vocab_size": 256_000, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "max_position_embeddings": 8192, "sliding_window": 4096, "tie_word_embeddings": True,
}  # fmt: skip
"""What published files of Gemma leave out, as the format's own defaults have it."""


def _gemma2(reader: ConfigReader) -> Architecture:
    return _gemma(reader.over(_GEMMA), every=2)


def _gemma3(reader: ConfigReader) -> Architecture:
    newer: _Config = {"vocab_size": 262_208, "max_position_embeddings": 131_072}
    reader = reader.over({**_GEMMA, **newer})
    found = _gemma(reader, every=reader.size("sliding_window_pattern", default=6))
    return replace(found, attention_extras=found.attention_extras + 2 * found.head_width)


def _gemma(reader: ConfigReader, *, every: int) -> Architecture:
    """Read Gemma 2 and 3: all layers slide but one in `every`, and each has four norms."""
    plain = _plain(reader)
    listed = reader.count("layer_types", "sliding_attention")
    local = plain.layers - plain.layers // every if listed is None else listed
    return replace(
        plain,
        dense_width=reader.size("intermediate_size"),
        local_layers=local,
        window=reader.size("sliding_window"),
        attention_extras=2 * plain.hidden,
    )


def _olmo2(reader: ConfigReader) -> Architecture:
    plain = _dense(reader)
    # The norms of queries and keys are as wide as all heads.
    return replace(plain, attention_extras=(plain.heads + plain.kv_heads) * plain.head_width)


def _mixtral(reader: ConfigReader) -> Architecture:
    plain = _with_sliding(reader, _plain(reader))
    return replace(
        plain,
        dense_layers=0,
        dense_width=0,
        experts=reader.size("num_local_experts"),
        top_k=reader.size("num_experts_per_tok"),
        expert_width=reader.size("intermediate_size"),
    )


def _minimax_m2(reader: ConfigReader) -> Architecture:
    plain = _mixtral(reader)
    # The norms of queries and keys are as wide as all heads; the router has a bias of its own.
    extras = (plain.heads + plain.kv_heads) * plain.head_width if reader.flag("use_qk_norm") else 0
    return replace(plain, attention_extras=extras, expert_extras=plain.experts)


def _minimax(reader: ConfigReader) -> Architecture:
    """Read MiniMax-Text-01 and M1: seven layers of lightning attention to one of softmax."""
    plain = _mixtral(reader)
    softmax = reader.count("attn_type_list", 1)
    if softmax is None:
        softmax = reader.count("layer_types", "full_attention")
    if softmax is None:
        raise reader.wrong("attn_type_list", None, "a list of 0 and 1, one a layer")
    wide = plain.heads * plain.head_width
    linear = LinearAttention(
        layers=plain.layers - softmax,
        parameters=5 * plain.hidden * wide + wide,  # queries, keys, values, output gate, output, norm
        state_values=plain.heads * plain.head_width**2,
    )
    return replace(plain, linear=linear)


def _gpt_oss(reader: ConfigReader) -> Architecture:
    plain = _mixtral(reader)
    wide = plain.heads * plain.head_width
    biases = wide + 2 * plain.kv_heads * plain.head_width + plain.hidden
    experts = plain.experts * (2 * plain.expert_width + plain.hidden) + plain.experts
    return replace(
        plain,
        attention_extras=biases + plain.heads,  # one sink a head
        expert_extras=experts,
    )


def _qwen_experts(reader: ConfigReader) -> Architecture:
    plain = _plain(reader)
    step = reader.size("decoder_sparse_step", default=1)
    sparse = plain.layers // step - reader.items("mlp_only_layers")
    shared = reader.size("shared_expert_intermediate_size", default=0, least=0)
    return replace(
        plain,
        dense_layers=plain.layers - sparse,
        dense_width=plain.dense_width if sparse < plain.layers else 0,
        experts=reader.size("num_experts"),
        top_k=reader.size("num_experts_per_tok"),
        expert_width=reader.size("moe_intermediate_size"),
        shared_width=shared,
        expert_extras=plain.hidden if shared else 0,
        attention_extras=2 * plain.head_width,
    )


def _qwen_hybrid(reader: ConfigReader) -> Architecture:
    """Read Qwen3-Next and Qwen3.5: three gated delta networks to one layer of gated softmax attention."""
    plain = _qwen_experts(reader) if reader.size("num_experts", default=0, least=0) else _dense(reader)
    every = reader.size("full_attention_interval", default=4)
    listed = reader.count("layer_types", "linear_attention")
    layers = plain.layers - plain.layers // every if listed is None else listed
    key_heads, value_heads = reader.size("linear_num_key_heads"), reader.size("linear_num_value_heads")
    key_width, value_width = reader.size("linear_key_head_dim"), reader.size("linear_value_head_dim")
    keys, values = key_heads * key_width, value_heads * value_width
    kernel = reader.size("linear_conv_kernel_dim", default=4)
    projections = plain.hidden * (2 * keys + 3 * values + 2 * value_heads)
    small = (2 * keys + values) * kernel + 2 * value_heads + value_width
    linear = LinearAttention(
        layers=layers,
        parameters=projections + small,
        state_values=value_heads * key_width * value_width + (2 * keys + values) * kernel,
    )
    return replace(plain, linear=linear, output_gate=reader.flag("attn_output_gate", default=True))


def _llama4(reader: ConfigReader) -> Architecture:
    plain = _plain(reader)
    step = reader.size("interleave_moe_layer_step")
    sparse = reader.items("moe_layers") or plain.layers // step
    width = reader.size("intermediate_size")
    interval = reader.size("no_rope_layer_interval", default=4)
    chunked = reader.count("no_rope_layers", 1)
    chunked = plain.layers - plain.layers // interval if chunked is None else chunked
    # Published files say true, false, 4 or nothing, which is 4 by the format's own default.
    tuned = bool(reader.number("attn_temperature_tuning", default=1.0))
    return replace(
        plain,
        dense_layers=plain.layers - sparse,
        dense_width=reader.size("intermediate_size_mlp") if sparse < plain.layers else 0,
        experts=reader.size("num_local_experts"),
        top_k=reader.size("num_experts_per_tok"),
        expert_width=width,
        shared_width=width,
        local_layers=chunked,
        window=reader.size("attention_chunk_size"),
        local_kind="chunked",
        temperature_scale=reader.number("attn_scale", default=0.1) if tuned else 0.0,
        temperature_floor=reader.size("floor_scale", default=8192) if tuned else 0,
    )


def _deepseek_experts(reader: ConfigReader) -> Architecture:
    """Read the experts as DeepSeek V3, Kimi K2 and GLM name them, over grouped-query attention."""
    plain = _plain(reader)
    experts, width = reader.size("n_routed_experts"), reader.size("moe_intermediate_size")
    return replace(
        plain,
        dense_layers=reader.size("first_k_dense_replace", default=0, least=0),
        experts=experts,
        top_k=reader.size("num_experts_per_tok"),
        expert_width=width,
        shared_width=width * reader.size("n_shared_experts", default=0, least=0),
        expert_extras=experts,  # the correction of the router's scores
    )


def _glm4_moe(reader: ConfigReader) -> Architecture:
    plain = _deepseek_experts(reader)
    biases = (plain.heads + 2 * plain.kv_heads) * plain.head_width if reader.flag("attention_bias") else 0
    norms = 2 * plain.head_width if reader.flag("use_qk_norm") else 0
    return replace(plain, attention_extras=biases + norms)


def _latent(reader: ConfigReader) -> Architecture:
    latent = LatentAttention(
        query_rank=reader.size("q_lora_rank", default=0, least=0),
        kv_rank=reader.size("kv_lora_rank"),
        rope_width=reader.size("qk_rope_head_dim"),
        nope_width=reader.size("qk_nope_head_dim"),
        value_width=reader.size("v_head_dim"),
        sparse_top=reader.size("index_topk", default=0, least=0),
        index_heads=reader.size("index_n_heads", default=0, least=0),
        index_width=reader.size("index_head_dim", default=0, least=0),
    )
    plain = _deepseek_experts(reader)
    return replace(plain, latent=latent, head_width=latent.nope_width + latent.rope_width)


_READERS: Mapping[str, Callable[[ConfigReader], Architecture]] = {
    "deepseek_v3": _latent,
    "deepseek_v32": _latent,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "glm4_moe": _glm4_moe,
    "glm_moe_dsa": _latent,
    "gpt_oss": _gpt_oss,
    "kimi_k2": _latent,
    "kimi_k25": _latent,
    "llama": _dense,
    "llama4": _llama4,
    "minimax": _minimax,
    "minimax_m2": _minimax_m2,
    "mistral": _dense,
    "mixtral": _mixtral,
    "olmo2": _olmo2,
    "phi3": _dense,
    "qwen2": _dense,
    "qwen3": _dense,
    "qwen3_5": _qwen_hybrid,
    "qwen3_5_moe": _qwen_hybrid,
    "qwen3_moe": _qwen_experts,
    "qwen3_next": _qwen_hybrid,
}
