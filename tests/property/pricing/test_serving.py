"""Laws of the serving model: under the roofline, monotone, decode bytes never fall with batch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgrade.domain import Architecture
from crossgrade.hosting import (
    Deployment,
    Load,
    known_gpus,
    known_models,
    kv_values,
    memory_fit,
    serve,
    shipped_fit,
)
from crossgrade.hosting._work import step_work

MODELS = st.sampled_from(sorted(known_models().values(), key=lambda model: model.name))
DEPLOYMENTS = st.builds(
    Deployment,
    gpu=st.sampled_from(list(known_gpus().values())),
    precision=st.sampled_from(["bf16", "fp8", "fp4", "mxfp4"]),
    tensor_parallel=st.sampled_from([1, 2, 4, 8]),
    attention_replicas=st.sampled_from([1, 2, 8]),
    expert_parallel=st.sampled_from([1, 2]),
    engine=st.sampled_from(["vllm", "sglang", "trtllm"]),
    kv_bits=st.sampled_from([8, 16]),
    frees_local=st.booleans(),
)
LOADS = st.builds(Load, input_tokens=st.integers(1, 100_000), output_tokens=st.integers(1, 8_000))


@settings(max_examples=150, deadline=None)
@given(MODELS, DEPLOYMENTS, LOADS, st.integers(1, 4096))
def test_throughput_never_exceeds_the_roofline(
    model: Architecture, deployment: Deployment, load: Load, flying: int
) -> None:
    if not memory_fit(model, deployment, load.held_tokens).sequences:
        return
    served = serve(model, deployment, load, shipped_fit().constants, np.array([float(flying)]))
    assert 0 < served.output_tokens_s_gpu[0] <= served.most_tokens_s_gpu[0]


@settings(max_examples=100, deadline=None)
@given(MODELS, DEPLOYMENTS, st.integers(1, 200_000))
def test_decode_bytes_never_fall_with_batch_nor_with_context(
    model: Architecture, deployment: Deployment, context: int
) -> None:
    batch = np.array([1.0, 2.0, 7.0, 64.0, 1000.0])

    def moved(sequences: np.ndarray, at: np.ndarray) -> np.ndarray:
        work = step_work(
            model, deployment, sequences=sequences, context=at, prompt_tokens=0 * at, prompt_length=at
        )
        return work.bytes.sum(axis=0)

    assert (np.diff(moved(batch, np.full(5, float(context)))) >= 0).all()
    if model.local_kind == "sliding":  # a chunk that starts anew reads less than the full one before
        assert (np.diff(moved(np.full(3, 8.0), np.array([1.0, 2.0, 9.0]) * context)) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(MODELS, LOADS, st.integers(1, 7))
def test_more_bandwidth_and_more_rate_are_never_slower(
    model: Architecture, load: Load, log_flying: int
) -> None:
    gpu = replace(known_gpus()["h100"], memory_bytes=4e12)
    faster = replace(
        gpu,
        bandwidth_bytes_s=2 * gpu.bandwidth_bytes_s,
        flops_16bit=2 * gpu.flops_16bit,
        flops_8bit=2 * gpu.flops_8bit,
    )
    flying = np.array([2.0**log_flying])
    constants = shipped_fit().constants
    now, then = (serve(model, Deployment(gpu=each), load, constants, flying) for each in (gpu, faster))
    assert then.output_tokens_s[0] >= now.output_tokens_s[0]


@settings(max_examples=60, deadline=None)
@given(MODELS, st.integers(1, 1_000_000), st.integers(0, 1_000_000), st.booleans())
def test_the_cache_grows_with_context_and_freeing_never_adds(
    model: Architecture, context: int, more: int, frees: bool
) -> None:
    assert kv_values(model, context + more, frees_local=frees) >= kv_values(model, context, frees_local=frees)
    assert kv_values(model, context) <= kv_values(model, context, frees_local=False)


@pytest.mark.parametrize("bits", [(8, 16)])
def test_a_wider_cache_holds_fewer(bits: tuple[int, int]) -> None:
    narrow, wide = (
        memory_fit(
            known_models()["llama-3.3-70b"],
            Deployment(gpu=known_gpus()["h100"], tensor_parallel=4, kv_bits=b),
            8192,
        )
        for b in bits
    )
    assert narrow.sequences >= wide.sequences
