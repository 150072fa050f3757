"""Read how a Llama 4 text model computes from a Hugging Face `config.json`: what its sizes leave open.

Names and defaults are those of `Llama4TextConfig` in Transformers. Whatever `crossgrade.reference` does not
compute is an error: an oracle that leaves something out would find every engine wrong.
"""

import math
from collections.abc import Sequence

from crossgrade.domain import JSON
from crossgrade.errors import DataError
from crossgrade.hosting._config_json import ConfigReader, read_architecture
from crossgrade.reference import Llama4Shape

_MOST_BASE = 1e12
_MOST_LAYERS = 1000


def read_llama4_shape(config: JSON, *, name: str, file: str | None = None) -> Llama4Shape:
    """Return how the text model of a `config.json` computes, multimodal ones included.

    Raises `DataError` for another architecture (`architecture-unknown`), for a Llama 4 with something that
    the reference does not compute (`model-not-computed`), and as `read_architecture` does.
    """
    reader = ConfigReader(config, name=name, file=file)
    if reader.kind() != "llama4":
        raise DataError(
            f"{name}: the reference computes Llama 4, not {reader.kind()!r}",
            code="architecture-unknown",
            file=file,
            where="model_type",
            hint="compare with another offer or a local server instead",
        )
    sizes = read_architecture(config, name=name, file=file)
    _refuse_other_parts(reader)
    if sizes.layers > _MOST_LAYERS:
        raise _not_computed(reader, "num_hidden_layers", f"more than {_MOST_LAYERS:,} layers")
    if sizes.head_width % 2:
        raise reader.wrong("head_dim", sizes.head_width, "an even number: RoPE turns pairs")
    return Llama4Shape(
        layers=sizes.layers,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_width=sizes.head_width,
        experts_every=_experts_every(reader, sizes.layers),
        experts_used=sizes.top_k,
        global_every=_global_every(reader, sizes.layers),
        chunk_tokens=sizes.window,
        rope_base=_rope_base(reader),
        rope_factors=_rope_factors(reader, sizes.head_width),
        qk_norm=reader.flag("use_qk_norm", default=True),
        norm_epsilon=reader.number("rms_norm_eps", default=1e-5),
        temperature_floor=sizes.temperature_floor,
        temperature_scale=sizes.temperature_scale,
    )


def _refuse_other_parts(reader: ConfigReader) -> None:
    if reader.flag("attention_bias"):
        raise _not_computed(reader, "attention_bias", "biases of queries, keys and values")
    activation = reader.text("hidden_act", default="silu")
    if activation != "silu":
        raise _not_computed(reader, "hidden_act", f"the activation {activation[:40]!r}")
    if reader.holds("quantization_config"):
        raise _not_computed(reader, "quantization_config", "quantised weights in this format")


def _experts_every(reader: ConfigReader, layers: int) -> int:
    """Return after how many layers one has experts, by the list of those that do or by the step."""
    if not reader.items("moe_layers"):
        return reader.size("interleave_moe_layer_step", default=1)
    listed = reader.entries("moe_layers")
    step = listed[0] + 1 if isinstance(listed[0], int) else 0
    if step < 1 or list(listed) != list(range(step - 1, layers, step)):
        raise _not_computed(reader, "moe_layers", "experts on layers at unequal distances")
    return step


def _global_every(reader: ConfigReader, layers: int) -> int:
    """Return after how many layers one sees everything and has no RoPE; more than there are for none."""
    every = reader.size("no_rope_layer_interval", default=4)
    rotated: Sequence[JSON] = reader.entries("no_rope_layers")
    if rotated:
        every = next((at + 1 for at, each in enumerate(rotated) if each == 0), layers + 1)
    wanted = [int((layer + 1) % every != 0) for layer in range(layers)]
    if rotated and list(rotated[:layers]) != wanted:
        raise _not_computed(reader, "no_rope_layers", "layers without RoPE at unequal distances")
    kinds = ["chunked_attention" if each else "full_attention" for each in wanted]
    if reader.items("layer_types") and list(reader.entries("layer_types")) != kinds:
        raise _not_computed(reader, "layer_types", "layers with RoPE that see everything, or the reverse")
    return every


def _rope_base(reader: ConfigReader) -> float:
    given = reader.number("rope_theta", default=500_000.0, most=_MOST_BASE)
    base = reader.inside("rope_parameters").number("rope_theta", default=given, most=_MOST_BASE)
    if base <= 1:
        raise reader.wrong("rope_theta", base, "a number above 1")
    return base


def _rope_factors(reader: ConfigReader, width: int) -> tuple[float, ...]:
    """Return by how much slower each pair of a head turns: Llama 3.1's rule for longer contexts.

    Pairs whose wave is longer than the first context over `low_freq_factor` turn slower by `factor`, those
    with one shorter than it over `high_freq_factor` as before, and those between are interpolated.
    """
    scaling = reader.inside("rope_parameters", "rope_scaling")
    kind = scaling.text("rope_type", "type", default="default")
    if kind == "default":
        return ()
    if kind != "llama3":
        raise _not_computed(reader, "rope_scaling", f"positions scaled by {kind[:40]!r}")
    factor = scaling.number("factor", default=None)
    if not factor:
        raise scaling.wrong("factor", factor, "a number above 0")
    low = scaling.number("low_freq_factor", default=1.0)
    high = scaling.number("high_freq_factor", default=4.0)
    waves = scaling.size("original_max_position_embeddings") / (2 * math.pi)
    base = _rope_base(reader)

    def slower(pair: int) -> float:
        turns = waves / math.pow(base, 2 * pair / width)
        if turns > high:
            return 1.0
        if turns < low or high == low:
            return factor
        share = (turns - low) / (high - low)
        return 1 / ((1 - share) / factor + share)

    return tuple(slower(pair) for pair in range(width // 2))


def _not_computed(reader: ConfigReader, key: str, what: str) -> DataError:
    return DataError(
        f"{reader.name}: the reference does not compute {what}",
        code="model-not-computed",
        file=reader.file,
        where=key,
        hint="compare with another offer or a local server instead",
    )
