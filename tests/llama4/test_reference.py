"""The readable Llama 4: equal to Transformers, however the tokens are split; what it counts is the cost model's."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks._conform_reference import counts
from crossgrade.hosting import attention_temperature, parameters
from crossgrade.providers.checkpoints import read_checkpoint
from crossgrade.reference import Llama4Reader, Llama4Shape, _sharpness, greedy_tokens, next_token_logprobs
from tests.codes import raises_code

DATA = Path(__file__).parents[1] / "data" / "llama4"
NAMES = ("like-scout", "like-maverick")
SCOUT = read_checkpoint(DATA / "like-scout", dtype=np.float64)


def _ids(name: str) -> list[int]:
    return np.load(DATA / name / "ids.npy").tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "most"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_logits_are_those_of_transformers(name: str, dtype: type, most: float) -> None:
    checkpoint, ids = read_checkpoint(DATA / name, dtype=dtype), _ids(name)
    wanted = np.load(DATA / name / "logits64.npy")
    found = Llama4Reader(checkpoint.weights, checkpoint.shape).read(ids, last=len(ids))
    assert found.dtype == dtype
    assert np.abs(found - wanted).max() <= most * np.abs(wanted).max()


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 60), max_size=12))
def test_tokens_read_in_pieces_give_the_logits_of_all_at_once(cuts: set[int]) -> None:
    ids = _ids("like-scout")[:61]
    whole = Llama4Reader(SCOUT.weights, SCOUT.shape).read(ids, last=len(ids))
    reader = Llama4Reader(SCOUT.weights, SCOUT.shape)
    edges = [0, *sorted(cuts), len(ids)]
    pieces = [reader.read(ids[a:b], last=b - a) for a, b in pairwise(edges)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-10, atol=1e-12)
    assert reader.work.tokens == len(ids)


def test_greedy_tokens_are_those_of_reading_everything_again() -> None:
    prompt = _ids("like-scout")[:20]
    found = greedy_tokens(SCOUT.weights, SCOUT.shape, prompt, 20)
    assert len(found) == 20
    for count, token in enumerate(found):
        logprobs = next_token_logprobs(SCOUT.weights, SCOUT.shape, prompt + found[:count])
        assert int(np.argmax(logprobs)) == token
    assert np.exp(logprobs).sum() == pytest.approx(1)


def test_layers_of_chunks_keep_nothing_of_earlier_chunks() -> None:
    shape, ids = SCOUT.shape, _ids("like-scout")
    each = 2 * shape.kv_heads * shape.head_width * 8
    reader = Llama4Reader(SCOUT.weights, shape)
    kept = []
    for token in ids[:40]:
        reader.read([token])
        kept.append(reader.cache_bytes // each)
    # One layer sees everything, three their chunk of 16, of which nothing is needed once it is full.
    assert kept == [n + 3 * (n % 16) for n in range(1, 41)]
    assert reader.reserved_bytes == each * (40 + 3 * 16)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_counted_is_what_the_cost_model_says(name: str) -> None:
    checkpoint = read_checkpoint(DATA / name)
    found = list(counts(checkpoint.architecture, checkpoint.weights, checkpoint.shape, _ids(name)))
    assert len(found) == 8
    for what, counted, modelled in found:
        assert counted == modelled, what


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_read_are_all_that_the_sizes_count(name: str) -> None:
    checkpoint = read_checkpoint(DATA / name)
    arrays = {id(weight): weight.size for weight in checkpoint.weights.values()}
    assert sum(arrays.values()) == parameters(checkpoint.architecture).total


def test_the_temperature_is_the_cost_model_s_and_scalable_softmax_its_rival() -> None:
    shape, positions = SCOUT.shape, np.arange(200)
    wanted = [attention_temperature(SCOUT.architecture, int(at)) for at in positions]
    assert _sharpness(shape, positions) == pytest.approx(wanted, rel=1e-14)
    scalable = replace(shape, scalable_softmax=0.4)
    assert _sharpness(scalable, positions) == pytest.approx(0.4 * np.log(positions + 1))
    assert _sharpness(replace(shape, temperature_floor=0), positions) == pytest.approx(np.ones(200))


def test_scalable_softmax_changes_what_global_layers_see_and_nothing_else() -> None:
    ids = _ids("like-scout")[:30]
    off = replace(SCOUT.shape, temperature_floor=0)
    plain, scaled = (
        Llama4Reader(SCOUT.weights, shape).read(ids, last=30)
        for shape in (off, replace(off, scalable_softmax=1 / np.log(2)))
    )
    # With s = 1 / ln 2 the second token has the factor 1; the first sees itself alone.
    np.testing.assert_allclose(scaled[:2], plain[:2], rtol=1e-9)
    assert np.abs(scaled[2:] - plain[2:]).max() > 1e-3
    nowhere = replace(SCOUT.shape, global_every=SCOUT.shape.layers + 1)
    local, same = (
        Llama4Reader(SCOUT.weights, shape).read(ids)
        for shape in (nowhere, replace(nowhere, scalable_softmax=2.0))
    )
    np.testing.assert_array_equal(local, same)


@pytest.mark.parametrize("tokens", [[], [-1], [40], [0, 10**9]])
def test_tokens_outside_of_the_vocabulary_are_refused(tokens: list[int]) -> None:
    with raises_code("token-out-of-range"):
        Llama4Reader(SCOUT.weights, SCOUT.shape).read(tokens)


def test_large_weights_do_not_overflow_the_gates() -> None:
    weights = {name: weight * (1e4 if "ffn_gate" in name else 1) for name, weight in SCOUT.weights.items()}
    assert np.isfinite(Llama4Reader(weights, SCOUT.shape).read([1, 2, 3])).all()


def test_the_constants_are_those_of_the_released_models() -> None:
    shape = Llama4Shape(layers=48, heads=40, kv_heads=8, head_width=128)
    assert [layer for layer in range(8) if shape.is_global(layer)] == [3, 7]
    assert (shape.chunk_tokens, shape.temperature_floor, shape.temperature_scale) == (8192, 8192, 0.1)
