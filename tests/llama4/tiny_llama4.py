"""A tiny random Llama 4, as weights and as a GGUF file, with one token a printable ASCII character."""

import asyncio
import json
import urllib.request
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from crossgrade.providers.local_process import LocalSettings, start_process
from crossgrade.providers.models import describe_file
from crossgrade.reference import Llama4Shape

WIDTH, EXPERT_WIDTH, DENSE_WIDTH, EXPERTS, CONTEXT = 64, 48, 96, 4, 16384
SYMBOLS = [*map(chr, range(33, 127)), "Ġ", "Ċ"]  # the last two are GPT-2's space and line feed
VOCABULARY, BOS, EOS = len(SYMBOLS) + 2, len(SYMBOLS), len(SYMBOLS) + 1
SHAPE = Llama4Shape(layers=8, heads=4, kv_heads=2, head_width=16, experts_every=2)


def random_weights(seed: int, shape: Llama4Shape = SHAPE, experts: int = EXPERTS) -> dict[str, np.ndarray]:
    """Weights large enough for the layers to matter and the next token to be clear."""
    rng = np.random.default_rng(seed)

    def matrix(*size: int) -> np.ndarray:
        return (rng.standard_normal(size) / np.sqrt(size[-1])).astype(np.float32)

    def near_one(size: int) -> np.ndarray:
        return (1 + 0.1 * rng.standard_normal(size)).astype(np.float32)

    weights = {
        "token_embd.weight": matrix(VOCABULARY, WIDTH) * 4,
        "output_norm.weight": near_one(WIDTH),
        "output.weight": matrix(VOCABULARY, WIDTH) * 3,
    }
    for layer in range(shape.layers):
        own = {
            "attn_norm": near_one(WIDTH),
            "ffn_norm": near_one(WIDTH),
            "attn_q": matrix(shape.heads * shape.head_width, WIDTH) * 2,
            "attn_k": matrix(shape.kv_heads * shape.head_width, WIDTH) * 2,
            "attn_v": matrix(shape.kv_heads * shape.head_width, WIDTH),
            "attn_output": matrix(WIDTH, shape.heads * shape.head_width),
        }
        if (layer + 1) % shape.experts_every == 0:
            own |= {
                "ffn_gate_inp": matrix(experts, WIDTH) * 2,
                "ffn_gate_exps": matrix(experts, EXPERT_WIDTH, WIDTH),
                "ffn_up_exps": matrix(experts, EXPERT_WIDTH, WIDTH),
                "ffn_down_exps": matrix(experts, WIDTH, EXPERT_WIDTH),
                "ffn_gate_shexp": matrix(EXPERT_WIDTH, WIDTH),
                "ffn_up_shexp": matrix(EXPERT_WIDTH, WIDTH),
                "ffn_down_shexp": matrix(WIDTH, EXPERT_WIDTH),
            }
        else:
            own |= {
                "ffn_gate": matrix(DENSE_WIDTH, WIDTH),
                "ffn_up": matrix(DENSE_WIDTH, WIDTH),
                "ffn_down": matrix(WIDTH, DENSE_WIDTH),
            }
        weights |= {f"blk.{layer}.{name}.weight": weight for name, weight in own.items()}
    return weights


def write_gguf(
    path: Path,
    weights: dict[str, np.ndarray],
    shape: Llama4Shape = SHAPE,
    experts: int = EXPERTS,
    kinds: Mapping[str, int] | None = None,
) -> None:
    """Write the model as llama.cpp reads the architecture `llama4`; `kinds` are ggml's types of packed weights."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama4")
    writer.add_name("tiny random Llama 4")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(DENSE_WIDTH)
    writer.add_expert_feed_forward_length(EXPERT_WIDTH)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(1)
    writer.add_interleave_moe_layer_step(shape.experts_every)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama4")
    writer.add_token_list([*SYMBOLS, "<bos>", "<eos>"])
    writer.add_token_types([gguf.TokenType.NORMAL] * len(SYMBOLS) + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(True)
    for name, weight in weights.items():
        writer.add_tensor(name, weight, raw_dtype=(kinds or {}).get(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def encode(text: str) -> list[int]:
    """Token ids of a text of printable ASCII, begun as the engine begins it."""
    return [BOS, *(SYMBOLS.index("Ġ" if character == " " else character) for character in text)]


def decode(tokens: list[int]) -> str:
    """The text of token ids."""
    return "".join(SYMBOLS[token] for token in tokens).replace("Ġ", " ").replace("Ċ", "\n")


@asynccontextmanager
async def engine(path, context_tokens=256):
    """A function that asks llama.cpp for the next tokens after token ids, with log probabilities."""
    settings = LocalSettings(context_tokens=context_tokens)
    process = await start_process(describe_file(path), settings, alias="tiny")

    def complete(tokens, count):
        body = {"prompt": tokens, "n_predict": count, "temperature": 0, "n_probs": 5, "return_tokens": True}
        request = urllib.request.Request(
            process.base_url.removesuffix("/v1") + "/completion",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {process.api_key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            answer = json.loads(response.read())
        first = answer["completion_probabilities"][0]["top_logprobs"]
        return answer["tokens"], {entry["id"]: entry["logprob"] for entry in first}

    try:
        yield lambda tokens, count: asyncio.to_thread(complete, tokens, count)
    finally:
        await process.stop()


def assert_close(logprobs, reference):
    """Compare the engine's five best with the reference; it keeps keys and values in half precision."""
    assert len(logprobs) == 5
    for token, value in logprobs.items():
        assert value == pytest.approx(reference[token], abs=0.03)
