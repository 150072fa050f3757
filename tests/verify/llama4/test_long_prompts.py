"""Where chunks and temperature set in, beyond 8,192 tokens, llama.cpp agrees with the reference."""

import asyncio
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossgrade.reference import next_token_logprobs

pytestmark = [pytest.mark.slow, pytest.mark.needs("module:xllamacpp", "module:gguf")]


def _load_tiny():
    path = Path(__file__).parents[2] / "llama4" / "tiny_llama4.py"
    spec = importlib.util.spec_from_file_location("tiny_llama4", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = _load_tiny()


def test_chunks_and_temperature_agree_beyond_8192_tokens(tmp_path):
    # One local and one global layer would do; the pattern needs four.
    shape = replace(tiny.SHAPE, layers=4)
    weights = tiny.random_weights(seed=6, shape=shape)
    tiny.write_gguf(tmp_path / "tiny.gguf", weights, shape)
    prompt = np.random.default_rng(6).integers(0, len(tiny.SYMBOLS), 8192 + 40).tolist()

    async def ask():
        async with tiny.engine(tmp_path / "tiny.gguf", context_tokens=8192 + 256) as complete:
            return await complete(prompt, 1)

    _, logprobs = asyncio.run(ask())
    tiny.assert_close(logprobs, next_token_logprobs(weights, shape, prompt))
    for wrong in (replace(shape, chunk_tokens=10**6), replace(shape, temperature_scale=0.0)):
        other = next_token_logprobs(weights, wrong, prompt)
        assert max(abs(other[token] - value) for token, value in logprobs.items()) > 0.06
