"""What a training takes, what would fit, and how much memory is free."""

from dataclasses import replace

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.tuning._base_model import (
    BaseModel,
    TrainingSettings,
    check_memory,
    estimate_training,
    free_memory_bytes,
    read_base,
    what_fits,
)
from tests.codes import raises_code

SMALL = BaseModel(
    path="small.gguf",
    sha256="0" * 64,
    architecture="llama",
    parameters=134_515_008,
    layers=30,
    hidden=576,
    feed_forward=1536,
    heads=9,
    kv_heads=3,
    context_tokens=8192,
)


def test_counts_the_weights_of_an_adapter():
    assert SMALL.trainable(8) == 2_442_240  # as PEFT prints for SmolLM2-135M


@given(st.integers(1, 32), st.sampled_from([64, 128, 256, 512]), st.integers(0, 40))
def test_what_fits_fits_and_shows_every_example_as_often(batch, tokens, gib):
    settings = TrainingSettings(batch=batch, max_tokens=tokens, steps=60)
    memory = gib * 2**28
    found = what_fits(SMALL, settings, memory)
    if found is None:
        smallest = replace(settings, batch=1, max_tokens=min(64, tokens), rank=1)
        assert estimate_training(SMALL, smallest).memory_bytes > memory
        return
    assert estimate_training(SMALL, found).memory_bytes <= memory
    assert found.steps * found.batch >= settings.steps * settings.batch
    assert (found.batch, found.max_tokens) <= (batch, tokens)


def test_says_what_would_fit():
    settings = TrainingSettings(batch=64, max_tokens=512)
    with raises_code("training-out-of-memory") as caught:
        check_memory(SMALL, settings, 4 * 2**30)
    fits = what_fits(SMALL, settings, 4 * 2**30)
    assert f"--batch {fits.batch} " in caught.value.hint
    assert f"--steps {fits.steps} " in caught.value.hint


def test_says_that_only_a_smaller_model_would_fit():
    with raises_code("training-out-of-memory") as caught:
        check_memory(replace(SMALL, parameters=10**11), TrainingSettings(), 4 * 2**30)
    assert "GiB" in caught.value.hint


def test_trains_where_nobody_knows_what_is_free():
    check_memory(replace(SMALL, parameters=10**11), TrainingSettings(), None)


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [("max", "0", 2**30), (str(3 * 2**28), str(2**28), 2**29), ("1024", "4096", 0), (None, None, 2**30)],
)
def test_free_memory_is_the_machines_or_the_control_groups(tmp_path, limit, used, expected):
    (tmp_path / "meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 1048576 kB\nHugePages_Total: 0\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
    assert free_memory_bytes(tmp_path, tmp_path) == expected


def test_does_not_know_what_is_free_elsewhere(tmp_path):
    assert free_memory_bytes(tmp_path, tmp_path) is None


def test_refuses_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + bytes(60))
    with raises_code("model-file-invalid"):
        read_base(path, sha256="0" * 64)
    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with raises_code("base-unreadable"):
        read_base(path, sha256="0" * 64)


@pytest.mark.needs("model:smollm2-135m-instruct")
def test_reads_the_shape_of_a_real_model():
    from pathlib import Path

    from crossgrade.providers import find_model

    model = find_model("smollm2-135m-instruct")
    found = read_base(Path(model.path), sha256=SMALL.sha256)
    assert found == replace(SMALL, path=model.path)
