"""A training as its parent sees it, with a child of the tests' own: resumes, refuses, cleans up."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossgrade.domain import ModelRequest, Sample
from crossgrade.providers.adapters import read_adapter
from crossgrade.tuning import _training
from crossgrade.tuning._base_model import TrainingSettings
from crossgrade.tuning._checkpoints import Checkpoints
from crossgrade.tuning._training import Training
from crossgrade.tuning._training_set import training_set
from crossgrade.tuning.training_child import batch_places, learning_rate
from tests.codes import raises_code
from tests.unit.tuning.test_base_model import SMALL
from tests.unit.tuning.test_lora_file import adapter, safetensors

SETTINGS = TrainingSettings(steps=12, save_every=5, batch=2)
BASE = replace(SMALL, heads=4, kv_heads=2)

CHILD = """
import json, os, sys
from pathlib import Path
from crossgrade.tuning._checkpoints import Checkpoints
order = json.loads(sys.stdin.readline())
folder, plan = Path(order["folder"]), json.loads(os.environ["PLAN"])
def tell(**event): print(json.dumps(event), flush=True)
checkpoints = Checkpoints(folder)
done = checkpoints.newest()
tell(event="loaded", step=done, examples=20, too_long=1, device="cpu")
for step in range(done + 1, order["settings"]["steps"] + 1):
    if step == plan.get("at"):
        if plan["how"] == "kill": os.kill(os.getpid(), 9)
        if plan["how"] == "raise": sys.exit("it went wrong")
        tell(event="failed", kind=plan["how"], message="the loss of step 3 is nan"); sys.exit()
    tell(event="step", step=step, loss=1.0 / step)
    if step % order["settings"]["save_every"] == 0:
        checkpoints.keep(step, lambda path: path.write_text("weights"))
        tell(event="saved", step=step)
(folder / "base").mkdir(exist_ok=True)
(folder / "base" / "weights").write_text("large")
(folder / "adapter.safetensors").write_bytes(Path(os.environ["ADAPTER"]).read_bytes())
tell(event="done", step=order["settings"]["steps"], memory_bytes=1000)
"""


@pytest.fixture
def examples():
    samples = [Sample(id=f"s{n}", fields={"text": f"ticket {n}"}, target="a") for n in range(20)]
    return training_set(
        samples,
        lambda each: ModelRequest(model="m", text=each.fields["text"]),
        {each.id: "a" for each in samples},
        origin="label",
        near=lambda _: (),
    )


@pytest.fixture
def child(monkeypatch, tmp_path):
    """Let trainings run the child above, which fails `at` a step in some way (`how`)."""
    monkeypatch.setattr(_training, "NEEDED", ())
    monkeypatch.setattr(_training, "CHILD", (sys.executable, "-c", CHILD))
    path = safetensors(tmp_path / "ready.safetensors", adapter(np.random.default_rng(1)))
    monkeypatch.setenv("ADAPTER", str(path))

    def fails(at=None, how=""):
        monkeypatch.setenv("PLAN", json.dumps({"at": at, "how": how}))

    fails()
    return fails


def made(home, examples, settings=SETTINGS):
    return Training(BASE, examples, settings, home=home)


def test_trains_and_writes_the_adapter(tmp_path, examples, child):
    training = made(tmp_path / "home", examples)
    assert training.step == 0
    seen = []
    found = training.run(texts={"crossgrade.base.sha256": BASE.sha256}, on_progress=seen.append)
    assert [each.step for each in seen] == list(range(1, 13))
    assert (found.steps, found.examples, found.too_long, found.parts, found.memory_bytes) == (
        12,
        20,
        1,
        1,
        1000,
    )
    assert found.sha256 == read_adapter(found.path).sha256
    assert read_adapter(found.path).base_sha256 == BASE.sha256
    assert training.step == 12
    assert not (training.folder / "base").exists()
    assert Checkpoints(training.folder).newest() == 0
    assert not list(training.folder.glob(".draft-*"))


def test_a_finished_training_is_not_repeated(tmp_path, examples, child):
    first = made(tmp_path / "home", examples).run()
    child(at=1, how="raise")
    assert made(tmp_path / "home", examples).run() == first


def test_goes_on_from_the_newest_checkpoint_after_a_kill(tmp_path, examples, child):
    child(at=9, how="kill")
    with raises_code("training-out-of-memory"):
        made(tmp_path / "home", examples).run()
    child()
    seen = []
    found = made(tmp_path / "home", examples).run(on_progress=seen.append)
    assert [each.step for each in seen] == list(range(6, 13))
    assert {each.resumed_from for each in seen} == {5}
    assert found.parts == 2
    assert sorted(found.losses) == list(range(1, 13))


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("not-finite", "training-diverged"),
        ("out-of-memory", "training-out-of-memory"),
        ("examples-too-long", "training-examples-long"),
        ("raise", "training-ended"),
    ],
)
def test_says_why_it_cannot_go_on_and_keeps_what_it_has(tmp_path, examples, child, how, code):
    child(at=7, how=how)
    training = made(tmp_path / "home", examples)
    with raises_code(code):
        training.run()
    assert training.step == 5
    child()
    assert training.run().parts == 2


def test_weights_that_an_adapters_file_cannot_hold_have_diverged(tmp_path, examples, child, monkeypatch):
    wild = {name: 1e9 * values for name, values in adapter(np.random.default_rng(1)).items()}
    monkeypatch.setenv("ADAPTER", str(safetensors(tmp_path / "wild.safetensors", wild)))
    with raises_code("training-diverged"):
        made(tmp_path, examples).run()
    assert not list(tmp_path.rglob("adapter.gguf"))


def test_an_interrupted_parent_ends_its_child(tmp_path, examples, child):
    training = made(tmp_path / "home", examples)

    def interrupt(progress):
        if progress.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(on_progress=interrupt)
    assert made(tmp_path / "home", examples).run().steps == 12


def test_what_cannot_fit_is_refused_before_it_begins(tmp_path, examples, child):
    with raises_code("training-out-of-memory"):
        made(tmp_path / "home", examples).run(memory_bytes=2**20)


def test_another_process_in_the_same_folder_is_refused(tmp_path, examples, child, monkeypatch):
    monkeypatch.setattr(_training, "PATIENCE_S", 0.0)
    training = made(tmp_path / "home", examples)

    def another(_):
        made(tmp_path / "home", examples).run()

    with raises_code("training-running", training.id):
        training.run(on_progress=another)


def test_a_record_that_cannot_be_read_is_named(tmp_path, examples, child):
    training = made(tmp_path / "home", examples)
    training.folder.mkdir(parents=True)
    (training.folder / "training.json").write_text("{")
    with raises_code("training-record-invalid"):
        training.run()


def test_names_the_extra_without_which_nothing_is_trained(tmp_path, examples, monkeypatch):
    monkeypatch.setattr(_training, "NEEDED", ("no_such_package",))
    with raises_code("missing-extra", "distil"):
        made(tmp_path / "home", examples).run()
    assert not (tmp_path / "home").exists()


def test_its_id_depends_on_what_is_trained_and_not_on_the_threads(tmp_path, examples):
    ids = {
        made(tmp_path, examples, each).id
        for each in (
            SETTINGS,
            replace(SETTINGS, threads=2),
            replace(SETTINGS, rank=4),
            replace(SETTINGS, seed=2),
        )
    }
    assert len(ids) == 3


def test_every_example_is_seen_once_before_any_comes_again():
    settings = TrainingSettings(batch=4, steps=10, seed=3)
    places = [place for step in range(10) for place in batch_places(8, settings, step)]
    assert all(sorted(places[start : start + 8]) == list(range(8)) for start in range(0, 40, 8))
    assert places[:8] != places[8:16]


def test_the_learning_rate_rises_and_then_falls_to_nothing():
    settings = TrainingSettings(steps=100, learning_rate=1.0)
    rates = [learning_rate(settings, step) for step in range(100)]
    assert rates[9] == max(rates) == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_the_real_child_is_a_module():
    assert Path(_training.__file__).with_name(f"{_training.CHILD[-1].rpartition('.')[2]}.py").is_file()
