"""LoRA adapters as GGUF files: names, order of rows, faults, and that llama.cpp would add the same product."""

import json
from contextlib import suppress

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import DataError
from crossgrade.providers.adapters import read_adapter
from crossgrade.tuning._lora_file import LoraLayout, gguf_tensors, read_safetensors, write_adapter
from tests.codes import raises_code

LAYOUT = LoraLayout(architecture="llama", heads=4, kv_heads=2)
PREFIX = "base_model.model.model.layers."


def safetensors(path, tensors, *, dtype="F32"):
    entries, data = {}, b""
    for name, values in tensors.items():
        raw = values.astype("<f4").tobytes()
        if dtype == "BF16":
            raw = (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        entries[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def adapter(rng, *, layers=2, rank=4, hidden=32, projections=("self_attn.q_proj", "mlp.down_proj")):
    found = {}
    for layer in range(layers):
        for projection in projections:
            found[f"{PREFIX}{layer}.{projection}.lora_A.weight"] = rng.normal(size=(rank, hidden)).astype(
                "f4"
            )
            found[f"{PREFIX}{layer}.{projection}.lora_B.weight"] = rng.normal(size=(hidden, rank)).astype(
                "f4"
            )
    return found


def rotated(weights, heads):
    """The order of rows that llama.cpp's converter writes, said with loops."""
    size = weights.shape[0] // heads
    rows = [
        head * size + half * (size // 2) + place
        for head in range(heads)
        for place in range(size // 2)
        for half in range(2)
    ]
    return weights[rows]


class TestSafetensors:
    @pytest.mark.parametrize("dtype", ["F32", "BF16"])
    def test_reads_what_was_written(self, tmp_path, dtype):
        values = np.array([[1.0, -2.5], [0.0, 0.25]], dtype="f4")  # exact in both forms
        found = read_safetensors(safetensors(tmp_path / "a.safetensors", {"w": values}, dtype=dtype))
        assert np.array_equal(found["w"], values)
        assert found["w"].dtype == np.float32

    def test_refuses_a_file_that_was_cut_off(self, tmp_path):
        path = safetensors(tmp_path / "a.safetensors", {"w": np.ones((4, 4), "f4")})
        path.write_bytes(path.read_bytes()[:-1])
        with raises_code("adapter-file-invalid"):
            read_safetensors(path)

    @given(st.binary(max_size=200))
    def test_refuses_anything_else_with_one_error(self, tmp_path_factory, content):
        path = tmp_path_factory.mktemp("bytes") / "a.safetensors"
        path.write_bytes(content)
        with suppress(DataError):
            assert isinstance(read_safetensors(path), dict)  # an empty header is one

    def test_says_that_a_file_is_missing(self, tmp_path):
        with raises_code("file-missing"):
            read_safetensors(tmp_path / "nothing")


class TestTensors:
    def test_has_llama_cpps_names_in_the_order_of_layers(self):
        names = [name for name, _ in gguf_tensors(adapter(np.random.default_rng(1)), LAYOUT)]
        assert names == [
            f"blk.{layer}.{part}.weight.lora_{side}"
            for layer in range(2)
            for part in ("attn_q", "ffn_down")
            for side in "ab"
        ]

    @pytest.mark.parametrize(("projection", "heads"), [("q", 4), ("k", 2)])
    def test_turns_the_rows_of_q_and_k_as_the_models_own_were_turned(self, projection, heads):
        given_ = adapter(np.random.default_rng(2), layers=1, projections=(f"self_attn.{projection}_proj",))
        found = dict(gguf_tensors(given_, LAYOUT))
        up, down = (given_[f"{PREFIX}0.self_attn.{projection}_proj.lora_{side}.weight"] for side in "BA")
        product = (
            found[f"blk.0.attn_{projection}.weight.lora_b"] @ found[f"blk.0.attn_{projection}.weight.lora_a"]
        )
        assert np.allclose(product, rotated(up @ down, heads), atol=1e-5)

    def test_leaves_other_architectures_rows_as_they_are(self):
        given_ = adapter(np.random.default_rng(3), layers=1, projections=("self_attn.q_proj",))
        found = dict(gguf_tensors(given_, LoraLayout(architecture="qwen2", heads=4, kv_heads=2)))
        assert np.array_equal(
            found["blk.0.attn_q.weight.lora_b"], given_[f"{PREFIX}0.self_attn.q_proj.lora_B.weight"]
        )

    def test_refuses_an_architecture_that_it_does_not_know(self):
        with raises_code("base-unsupported", "mamba", "llama"):
            list(gguf_tensors({}, LoraLayout(architecture="mamba", heads=1, kv_heads=1)))

    def test_refuses_tensors_that_cannot_be_added(self):
        rng = np.random.default_rng(4)
        whole = adapter(rng, layers=1)
        lone = {name: values for name, values in whole.items() if "lora_A" in name}
        strange = {**whole, "base_model.model.lm_head.lora_A.weight": np.ones((4, 4), "f4")}
        name = f"{PREFIX}0.mlp.down_proj.lora_A.weight"
        infinite = {**whole, name: np.full_like(whole[name], np.inf)}
        narrow = {**whole, name: whole[name][:2]}
        for tensors in (lone, strange, infinite, narrow):
            with raises_code("adapter-file-invalid"):
                list(gguf_tensors(tensors, LAYOUT))


class TestFile:
    def test_is_a_lora_adapter_that_names_its_base(self, tmp_path):
        path = tmp_path / "adapter.gguf"
        tensors = adapter(np.random.default_rng(5))
        write_adapter(path, tensors, LAYOUT, alpha=16.0, texts={"crossgrade.base.sha256": "a" * 64})
        found = read_adapter(path)
        assert (found.architecture, found.base_sha256) == ("llama", "a" * 64)
        reader = GGUFReader(path)
        assert reader.fields["adapter.lora.alpha"].contents() == 16.0
        assert [each.name for each in reader.tensors] == [name for name, _ in gguf_tensors(tensors, LAYOUT)]
        shape = reader.tensors[0].shape.tolist()
        assert shape == [32, 4]  # GGUF counts from the innermost
        assert list(tmp_path.iterdir()) == [path]

    def test_refuses_to_write_an_adapter_of_nothing(self, tmp_path):
        with raises_code("adapter-file-invalid"):
            write_adapter(tmp_path / "adapter.gguf", {}, LAYOUT, alpha=1.0)
        assert not (tmp_path / "adapter.gguf").exists()
