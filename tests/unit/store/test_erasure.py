"""Erasure: what was asked and answered about some samples goes, and nothing of anybody else's."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from crossgrade.decide import Evidence, Loss, ModelColumns, evidence_digest
from crossgrade.store import Store, Tuning, TuningStep
from crossgrade.store._verdicts import encode_verdict
from tests.unit.store.conftest import answered, make_run, scored
from tests.unit.store.test_verdicts import make_verdict


def columns(model: str, texts: list[str | None]) -> ModelColumns:
    n = len(texts)
    return ModelColumns(
        model=model,
        score=np.ones(n),
        error=np.zeros(n, bool),
        unparsed=np.zeros(n, bool),
        cost_usd=np.full(n, np.nan),
        latency_ms=np.full(n, np.nan),
        ttft_ms=np.full(n, np.nan),
        output=np.array(texts, object),
    )


def evidence() -> Evidence:
    return Evidence(
        workload="support",
        sample_ids=np.array(["1", "2"], object),
        incumbent=columns("gpt", ["one", "two"]),
        candidates=(columns("llama", ["uno", "dos"]),),
        input=np.array(["Jane asks", "Bob asks"], object),
        target=np.array(["a", "b"], object),
    )


def filled(store: Store) -> str:
    run = make_run()
    store.runs.append(run)
    for at, sample in enumerate(("1", "2")):
        store.answers.append(
            answered(run, sample, position=at, text=f"text of {sample}", digest=f"d{sample}")
        )
        store.answers.append([scored(run, sample)])
    verdict = make_verdict(
        losses=(
            Loss(
                sample_id="1",
                candidate="llama",
                segment=None,
                incumbent_score=1,
                candidate_score=0,
                input="Jane asks",
            ),
            Loss(
                sample_id="2",
                candidate="llama",
                segment=None,
                incumbent_score=1,
                candidate_score=0,
                input="Bob asks",
            ),
        )
    )
    return store.verdicts.append(verdict, evidence())


def test_samples_answers_and_texts_go_and_numbers_stay(any_store: Store) -> None:
    identifier = filled(any_store)
    (run,) = any_store.runs.recent()
    erased = any_store.forget("support", {"1"}, ["d1"])
    assert erased.answers == 1
    assert dict(erased.verdicts) == {identifier: (1, 2)}
    assert any_store.answers.samples_of_run(run.id) == {"2"}
    assert [key[0] for key in any_store.answers.of_run(run.id, "scorer")] == ["2"]
    assert set(any_store.answers.paid(["d1", "d2"])) == {"d2"}
    verdict = any_store.verdicts.get(identifier).verdict
    assert [loss.sample_id for loss in verdict.losses] == ["2"]
    assert encode_verdict(replace(verdict, losses=())) == encode_verdict(replace(make_verdict(), losses=()))
    found = any_store.verdicts.evidence(identifier)
    assert found.input is not None
    assert found.input.tolist() == [None, "Bob asks"]
    assert found.candidates[0].output is not None
    assert found.candidates[0].output.tolist() == [None, "dos"]
    assert evidence_digest(found) == evidence_digest(evidence())


def test_again_there_is_nothing_left_to_erase(any_store: Store) -> None:
    filled(any_store)
    any_store.forget("support", {"1"})
    assert any_store.forget("other", {"2"}).answers == 0
    erased = any_store.forget("support", {"1"}, ["d1"])
    assert erased.answers == 0


def test_what_is_erased_is_not_left_in_the_file(path: Path) -> None:
    with Store.open(path) as store:
        filled(store)
        store.forget("support", {"1"}, ["d1"])
    for each in path.parent.rglob("crossgrade.db*"):
        assert b"text of 1" not in each.read_bytes()
        assert b"Jane" not in each.read_bytes()


def test_prompts_that_show_a_sample_go_and_others_stay(any_store: Store) -> None:
    tuning = Tuning(workload="support", candidate="llama", kind="port", settings={}, settings_digest="d")
    any_store.tunings.append(tuning)
    for number, examples in enumerate((["1", "2"], ["2"], []), 1):
        prompt = {"user": f"Jane asks {number}", "system": "Be brief."}
        detail = {"examples": examples, "candidate": {"prompt": prompt, "settings": {}}, "score": 0.5}
        step = TuningStep(tuning_id=tuning.id, kind="trial", number=number, detail=detail)
        any_store.tunings.append_step(step)
    any_store.forget("another", ["1"])
    any_store.forget("support", ["1"])
    details = [step.detail for step in any_store.tunings.steps(tuning.id)]
    assert [each["candidate"]["prompt"]["user"] for each in details] == ["", "Jane asks 2", "Jane asks 3"]
    assert [each["score"] for each in details] == [0.5] * 3
