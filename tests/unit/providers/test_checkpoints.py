"""Small Llama 4 checkpoints from files: the same weights from both forms, and an error for everything else."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgrade.errors import CrossgradeError
from crossgrade.providers.checkpoints import read_checkpoint
from crossgrade.providers.models import read_gguf_header
from tests.codes import raises_code
from tests.llama4 import tiny_llama4 as tiny

DATA = Path(__file__).parents[2] / "data" / "llama4" / "like-scout"
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint that tests may damage."""
    return Path(shutil.copytree(DATA, tmp_path / "checkpoint"))


def _read_table(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _write_table(path: Path, table: object, numbers: bytes) -> None:
    head = json.dumps(table).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + numbers)


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    table, numbers = _read_table(folder / "model.safetensors")
    table.pop("__metadata__", None)
    return {
        name: np.frombuffer(numbers[slice(*row["data_offsets"])], "<u2").reshape(row["shape"])
        for name, row in table.items()
    }


def _write(path: Path, tensors: dict[str, np.ndarray], kind: str = "BF16") -> None:
    table, numbers = {}, b""
    for name, array in tensors.items():
        data = array.astype(_TYPES[kind]).tobytes()
        offsets = [len(numbers), len(numbers) + len(data)]
        table[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        numbers += data
    _write_table(path, table, numbers)


def _as_float(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _set_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("kind", ["F32", "F64", "F16"])
def test_each_width_of_plain_numbers_is_read(folder: Path, kind: str) -> None:
    wanted = read_checkpoint(folder)
    found = {name: _as_float(bits) for name, bits in _tensors(folder).items()}
    _write(folder / "model.safetensors", found, kind)
    for name, weight in read_checkpoint(folder).weights.items():
        np.testing.assert_allclose(weight, wanted.weights[name], rtol=0 if kind != "F16" else 1e-3, atol=1e-6)


def test_a_checkpoint_in_several_files_of_a_multimodal_model(folder: Path) -> None:
    wanted = read_checkpoint(folder)
    tensors = {f"language_model.{name}": bits for name, bits in _tensors(folder).items()}
    tensors["vision_model.class_embedding"] = np.zeros(4)
    names = sorted(tensors)
    (folder / "model.safetensors").unlink()
    places = {}
    for at, half in enumerate((names[::2], names[1::2])):
        file = f"model-{at + 1:05}-of-00002.safetensors"
        _write(folder / file, {name: tensors[name] for name in half})
        places |= dict.fromkeys(half, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "llama4", "text_config": config}))
    found = read_checkpoint(folder)
    assert found.shape == wanted.shape
    assert all((found.weights[name] == weight).all() for name, weight in wanted.weights.items())
    (folder / file).unlink()
    with raises_code("checkpoint-incomplete", file):
        read_checkpoint(folder)
    for outside in ("../model.safetensors", "/etc/passwd", "model.bin"):
        index.write_text(json.dumps({"weight_map": {"a": outside}}))
        with raises_code("model-file-invalid"):
            read_checkpoint(folder)


@pytest.mark.needs("module:gguf")
@pytest.mark.parametrize("experts", [4, 128], ids=["qk-norm", "no-qk-norm"])
def test_a_gguf_file_gives_the_weights_that_were_written(tmp_path: Path, experts: int) -> None:
    path = tmp_path / "tiny.gguf"
    weights = tiny.random_weights(seed=7, experts=experts)
    tiny.write_gguf(path, weights, experts=experts)
    found = read_checkpoint(path)
    assert found.shape.qk_norm == (experts == 4)
    assert found.weights.keys() == weights.keys()
    assert all((found.weights[name] == weight).all() for name, weight in weights.items())
    assert read_gguf_header(path).architecture == "llama4"
    with raises_code("checkpoint-too-large"):
        read_checkpoint(path, most_bytes=100_000)


@pytest.mark.needs("module:gguf")
def test_quantised_weights_of_a_gguf_file(tmp_path: Path) -> None:
    import gguf

    weights = tiny.random_weights(seed=8)
    packed = {}
    for name, weight in weights.items():
        fits = weight.ndim > 1 and weight.shape[-1] % 32 == 0
        packed[name] = gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0) if fits else weight
    kinds = {
        name: gguf.GGMLQuantizationType.Q8_0 for name, array in packed.items() if array.dtype == np.uint8
    }
    assert len(kinds) > 20
    tiny.write_gguf(tmp_path / "q8.gguf", packed, kinds=kinds)
    found = read_checkpoint(tmp_path / "q8.gguf")
    for name, weight in weights.items():
        np.testing.assert_allclose(found.weights[name], weight, atol=0.05)


@pytest.mark.needs("module:gguf")
@pytest.mark.parametrize("kept", [10, 3000, -2000], ids=["magic", "table", "numbers"])
def test_a_gguf_file_that_was_cut_off(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "tiny.gguf"
    tiny.write_gguf(path, tiny.random_weights(seed=9))
    path.write_bytes(path.read_bytes()[:kept])
    with raises_code("model-file-invalid"):
        read_checkpoint(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_is_read_or_an_error_of_its_own(whole_files: list[tuple[Path, int]], data) -> None:
    path, head = data.draw(st.sampled_from(whole_files))
    whole = path.read_bytes()
    broken = bytearray(whole)
    for at, byte in data.draw(st.dictionaries(st.integers(0, head), st.integers(0, 255), max_size=4)).items():
        broken[at] = byte
    try:
        path.write_bytes(broken[: data.draw(st.none() | st.integers(0, len(whole)))])
        with suppress(CrossgradeError):
            found = read_checkpoint(path if path.suffix == ".gguf" else path.parent)
            assert all(np.isfinite(weight).all() for weight in found.weights.values())
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, int]]:
    """Files of whole checkpoints, and up to where each says what it holds."""
    folder = Path(shutil.copytree(DATA, tmp_path_factory.mktemp("damage") / "checkpoint"))
    found = [(folder / "model.safetensors", 4000), (folder / "config.json", 1000)]
    if importlib.util.find_spec("gguf"):
        tiny.write_gguf(folder / "tiny.gguf", tiny.random_weights(seed=9))
        found.append((folder / "tiny.gguf", 9000))
    return found


def _without_a_tensor(folder: Path) -> None:
    tensors = _tensors(folder)
    del tensors["model.layers.2.self_attn.k_proj.weight"]
    _write(folder / "model.safetensors", tensors)


def _with_nan(folder: Path) -> None:
    tensors = _tensors(folder)
    bits = tensors["model.layers.1.feed_forward.experts.down_proj"].copy()
    bits[0, 0, :3] = 0x7FC0
    _write(folder / "model.safetensors", {**tensors, "model.layers.1.feed_forward.experts.down_proj": bits})


def _of_eight_bits(folder: Path) -> None:
    table, numbers = _read_table(folder / "model.safetensors")
    table["lm_head.weight"]["dtype"] = "F8_E4M3"
    _write_table(folder / "model.safetensors", table, numbers)


def _cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _of_other_bytes(folder: Path) -> None:
    table, numbers = _read_table(folder / "model.safetensors")
    table["lm_head.weight"]["data_offsets"][1] += 2
    _write_table(folder / "model.safetensors", table, numbers + b"\0\0")


def _row(value: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        table, numbers = _read_table(folder / "model.safetensors")
        _write_table(folder / "model.safetensors", {**table, "lm_head.weight": value}, numbers)

    return damage


def _bytes(data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors").write_bytes(data)


def _config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: _set_config(folder, **changes)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_without_a_tensor, ("checkpoint-incomplete", "model.layers.2.self_attn.k_proj.weight")),
        (lambda folder: (folder / "model.safetensors").unlink(), ("checkpoint-incomplete",)),
        (lambda folder: (folder / "config.json").unlink(), ("file-missing",)),
        (_with_nan, ("weights-not-finite", "3", "model.layers.1.feed_forward.experts.down_proj")),
        (_of_eight_bits, ("weights-not-read", "F8_E4M3")),
        (_cut_off, ("model-file-invalid",)),
        (_of_other_bytes, ("model-file-invalid", "lm_head.weight")),
        (_row({"dtype": "F32", "shape": [40, -16], "data_offsets": [0, 4]}), ("model-file-invalid",)),
        (_row({"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}), ("model-file-invalid",)),
        (_row({"dtype": "F32", "shape": 3, "data_offsets": [0, 4]}), ("model-file-invalid",)),
        (_row({"dtype": 1, "shape": [1], "data_offsets": [0, 4]}), ("model-file-invalid",)),
        (_row({"dtype": "F32", "shape": [1], "data_offsets": [4]}), ("model-file-invalid",)),
        (_row([]), ("model-file-invalid",)),
        (_row({"dtype": "F32", "shape": [10**9], "data_offsets": [0, 10**10]}), ("weights-misshapen",)),
        (_bytes(b""), ("model-file-invalid",)),
        (_bytes(b"\xff" * 8), ("model-file-invalid",)),
        (_bytes(b"\x10" + b"\0" * 7 + b"{}"), ("model-file-invalid",)),
        (_bytes(b"\x04" + b"\0" * 7 + b"nope"), ("model-file-invalid",)),
        (_bytes(b"\x02" + b"\0" * 7 + b"[]"), ("model-file-invalid",)),
        (_bytes((100_000).to_bytes(8, "little") + b"[" * 100_000), ("model-file-invalid",)),
        (_config(intermediate_size=16), ("weights-misshapen",)),
        (_config(num_hidden_layers=5, no_rope_layers=None, moe_layers=None, layer_types=None), ("checkpoint-incomplete",)),
        (_config(num_hidden_layers=99_999_999, no_rope_layers=None, layer_types=None), ("model-not-computed",)),
        (_config(hidden_size=5120, vocab_size=202_048, intermediate_size=8192), ("checkpoint-too-large",)),
        (_config(model_type="llama"), ("architecture-unknown", "llama")),
        (_config(model_type="mamba2"), ("architecture-unknown", "mamba2")),
        (_config(attention_bias=True), ("model-not-computed", "attention_bias")),
        (_config(hidden_act="gelu"), ("model-not-computed", "hidden_act")),
        (_config(quantization_config={"quant_method": "fp8"}), ("model-not-computed", "quantization_config")),
        (_config(head_dim=7), ("config-json-invalid", "head_dim")),
    ],
)  # fmt: skip
def test_what_is_no_whole_checkpoint_is_refused(folder: Path, damage: Callable, named: tuple) -> None:
    damage(folder)
    with raises_code(*named):
        read_checkpoint(folder)


def test_a_file_that_is_no_model_is_refused(folder: Path) -> None:
    with raises_code("checkpoint-incomplete"):
        read_checkpoint(folder / "config.json")
