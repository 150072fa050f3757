"""LoRA adapters of local models: what is accepted, and that a model with one is another model."""

import asyncio
import importlib.util
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from crossgrade.domain import GenerationSettings, ModelRequest, Offer
from crossgrade.providers.adapters import BASE_SHA256, find_adapter, read_adapter
from crossgrade.providers.local import open_local
from crossgrade.providers.models import ModelShelf, describe_file
from tests.codes import raises_code


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A GGUF file of a tiny random Llama 4."""
    helper = Path(__file__).parents[2] / "llama4" / "tiny_llama4.py"
    spec = importlib.util.spec_from_file_location("tiny_llama4", helper)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("adapters") / "tiny.gguf"
    module.write_gguf(path, module.random_weights(seed=4))
    return path


def write(path, *, base=None, kind="lora", architecture="llama4", width=64, scale=1.0):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", kind)
    writer.add_float32("adapter.lora.alpha", 4.0)
    if base is not None:
        writer.add_string(BASE_SHA256, base)
    rng = np.random.default_rng(1)
    writer.add_tensor("blk.1.attn_output.weight.lora_a", (scale * rng.normal(size=(4, width))).astype("f4"))
    writer.add_tensor("blk.1.attn_output.weight.lora_b", rng.normal(size=(width, 4)).astype("f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def asked(model, adapter):
    async def main():
        offer = Offer(name="new", provider="local", model=str(model), adapter=adapter and str(adapter))
        async with open_local(offer, environ={}) as provider:
            request = ModelRequest(
                model="tiny", text="Where?", settings=GenerationSettings(max_output_tokens=8)
            )
            return provider.identity, provider.account, await provider.ask(request)

    return asyncio.run(main())


@pytest.mark.needs("module:xllamacpp")
def test_a_model_answers_with_its_adapter(tiny, tmp_path):
    base = describe_file(tiny)
    adapter = write(tmp_path / "a.gguf", base=base.sha256)
    nothing = write(tmp_path / "zero.gguf", base=base.sha256, scale=0.0)
    alone, changed, same = asked(tiny, None), asked(tiny, adapter), asked(tiny, nothing)
    assert alone[2].text == same[2].text
    assert alone[2].text != changed[2].text
    digest = read_adapter(adapter).sha256
    assert changed[0].startswith(f"sha256:{base.sha256}+lora:{digest} ")
    assert f"+lora:{digest[:12]} " in changed[2].runtime
    assert len({each[0] for each in (alone, changed, same)}) == 3
    assert len({each[1] for each in (alone, changed, same)}) == 3


@pytest.mark.needs("module:xllamacpp")
def test_the_engine_refuses_an_adapter_of_another_shape(tiny, tmp_path):
    with raises_code("local-model-not-loaded"):
        asked(tiny, write(tmp_path / "a.gguf", width=32))


def test_an_adapter_is_for_the_model_that_it_names(tiny, tmp_path):
    model = describe_file(tiny)
    assert find_adapter(None, model) is None
    write(tmp_path / "own.gguf", base=model.sha256)
    write(tmp_path / "foreign.gguf", base="0" * 64)
    write(tmp_path / "silent.gguf")
    write(tmp_path / "another.gguf", architecture="qwen2")
    assert find_adapter("own.gguf", model, root=tmp_path).base_sha256 == model.sha256
    assert find_adapter("silent.gguf", model, root=tmp_path).base_sha256 is None
    for name in ("foreign.gguf", "another.gguf"):
        with raises_code("adapter-other-base", model.name):
            find_adapter(name, model, root=tmp_path)
    with raises_code("adapter-other-base"):
        find_adapter("own.gguf", replace(model, sha256="1" * 64), root=tmp_path)


def test_only_lora_adapters_are_adapters(tiny, tmp_path):
    with raises_code("adapter-missing"):
        read_adapter(tmp_path / "nothing.gguf")
    with raises_code("adapter-invalid"):
        read_adapter(tiny)
    with raises_code("adapter-invalid"):
        read_adapter(write(tmp_path / "x.gguf", kind="control_vector"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    with raises_code("model-file-invalid"):
        read_adapter(tmp_path / "broken.gguf")


def test_an_adapter_is_no_model(tmp_path):
    path = write(tmp_path / "a.gguf")
    with raises_code("model-file-adapter"):
        ModelShelf(tmp_path).add_file(path)
