"""Real trainings of SmolLM2-135M with PyTorch: they learn, survive kills, and are served as trained.

Needs the extra `distil`. A training takes some minutes on two cores.
"""

import asyncio
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from benchmarks._gap_distil import interruption_rows
from crossgrade.domain import GenerationSettings, ModelRequest, Offer, Sample
from crossgrade.providers import find_model
from crossgrade.providers.local import open_local
from crossgrade.tuning import Training, TrainingSettings, read_base, training_set
from tests.codes import raises_code

pytestmark = pytest.mark.needs(
    "module:torch", "module:peft", "module:xllamacpp", "model:smollm2-135m-instruct"
)

SETTINGS = TrainingSettings(steps=24, batch=4, max_tokens=160, threads=2)


@pytest.fixture(scope="module")
def samples():
    lines = (files("crossgrade") / "data/demo/support.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["segment"] == "routing"]
    return [Sample(id=row["id"], fields=row, target=row["target"]) for row in rows]


def asked(sample):
    text = f"{sample.fields['examples']}{sample.fields['ticket']} =>"
    settings = GenerationSettings(max_output_tokens=8, stop=("\n",))
    return ModelRequest(model="smollm2", text=text, settings=settings)


def training(samples, home, settings=SETTINGS):
    model = find_model("smollm2-135m-instruct")
    examples = training_set(
        samples, asked, {each.id: each.target for each in samples}, origin="label", near=lambda _: ()
    )
    base = read_base(Path(model.path), sha256=model.sha256)
    return Training(base, examples, settings, home=home, stops=("\n",))


def right(samples, adapter):
    async def main():
        offer = Offer(name="x", provider="local", model="smollm2-135m-instruct", adapter=adapter)
        async with open_local(offer, environ={}) as provider:
            answers = [await provider.ask(asked(sample)) for sample in samples]
        return sum(
            answer.text.strip() == sample.target for answer, sample in zip(answers, samples, strict=True)
        )

    return asyncio.run(main())


def test_what_was_learned_is_what_llama_cpp_answers(samples, tmp_path):
    taught, others = samples[:60], samples[60:]
    base = find_model("smollm2-135m-instruct").sha256
    found = training(taught, tmp_path).run(texts={"crossgrade.base.sha256": base})
    losses = [found.losses[step] for step in range(1, 25)]
    assert sum(losses[-6:]) < 0.5 * sum(losses[:6])
    assert right(others, str(found.path)) >= right(others, None) + 8


def test_a_rate_that_diverges_is_named(samples, tmp_path):
    wild = replace(SETTINGS, learning_rate=1e12, steps=10, batch=1)
    with raises_code("training-diverged"):
        training(samples, tmp_path, wild).run()


def test_examples_that_are_all_too_long_are_named(samples, tmp_path):
    with raises_code("training-examples-long"):
        training(samples, tmp_path, replace(SETTINGS, max_tokens=16)).run()


def test_kills_lose_no_step_beyond_the_last_checkpoint():
    (row,) = interruption_rows()
    assert row["holds"], row
