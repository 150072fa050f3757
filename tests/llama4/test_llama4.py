"""llama.cpp, as the local provider runs it, computes Llama 4 like the readable reference."""

import asyncio
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossgrade.domain import GenerationSettings, ModelRequest, Offer
from crossgrade.providers.checkpoints import read_checkpoint
from crossgrade.providers.local import open_local
from crossgrade.reference import greedy_tokens, next_token_logprobs

pytestmark = pytest.mark.needs("module:xllamacpp", "module:gguf")

PROMPT = "Where is my parcel?"


def _load_tiny():
    spec = importlib.util.spec_from_file_location("tiny_llama4", Path(__file__).with_name("tiny_llama4.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = _load_tiny()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Weights of a tiny model, and the same in a GGUF file."""
    weights = tiny.random_weights(seed=4)
    path = tmp_path_factory.mktemp("llama4") / "tiny.gguf"
    tiny.write_gguf(path, weights)
    return weights, path


def test_greedy_text_through_the_provider_is_the_reference_s(model):
    weights, path = model

    async def ask():
        offer = Offer(name="tiny", provider="local", model=str(path))
        async with open_local(offer, environ={}) as provider:
            settings = GenerationSettings(max_output_tokens=24)
            return await provider.ask(ModelRequest(model=offer.model, text=PROMPT, settings=settings))

    answer = asyncio.run(ask())
    tokens = greedy_tokens(weights, tiny.SHAPE, tiny.encode(PROMPT), 24)
    assert answer.text == tiny.decode(tokens)
    assert answer.usage.output_tokens == 24


@pytest.mark.parametrize("experts", [4, 128], ids=["qk-norm", "no-qk-norm"])
def test_tokens_and_log_probabilities_agree(tmp_path, experts):
    # llama.cpp leaves the norm of queries and keys out for exactly 128 experts, as in Maverick.
    shape = replace(tiny.SHAPE, qk_norm=experts != 128)
    weights = tiny.random_weights(seed=5, experts=experts)
    tiny.write_gguf(tmp_path / "tiny.gguf", weights, experts=experts)
    prompt = tiny.encode(PROMPT)

    async def ask():
        async with tiny.engine(tmp_path / "tiny.gguf") as complete:
            return await complete(prompt, 16)

    tokens, logprobs = asyncio.run(ask())
    assert tokens == greedy_tokens(weights, shape, prompt, 16)
    tiny.assert_close(logprobs, next_token_logprobs(weights, shape, prompt))
    other = next_token_logprobs(weights, replace(shape, qk_norm=not shape.qk_norm), prompt)
    assert max(abs(other[token] - value) for token, value in logprobs.items()) > 0.5


def test_a_file_in_which_positions_turn_slower_is_read_and_agrees(tmp_path):
    path = tmp_path / "tiny.gguf"
    factors = np.linspace(1, 8, tiny.SHAPE.head_width // 2).astype(np.float32)
    tiny.write_gguf(path, {**tiny.random_weights(seed=6), "rope_freqs.weight": factors})
    checkpoint = read_checkpoint(path)
    assert checkpoint.shape.rope_factors == tuple(factors.tolist())
    prompt = tiny.encode(PROMPT)

    async def ask():
        async with tiny.engine(path) as complete:
            return await complete(prompt, 16)

    tokens, logprobs = asyncio.run(ask())
    assert tokens == greedy_tokens(checkpoint.weights, checkpoint.shape, prompt, 16)
    tiny.assert_close(logprobs, next_token_logprobs(checkpoint.weights, checkpoint.shape, prompt))
    unscaled = next_token_logprobs(checkpoint.weights, tiny.SHAPE, prompt)
    assert max(abs(unscaled[token] - value) for token, value in logprobs.items()) > 0.06
