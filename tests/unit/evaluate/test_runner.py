"""What a run asks, in which order, when it stops, and what it keeps."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import anyio
import pytest

from crossgrade.calls import CallLimiters
from crossgrade.decide import Stopping
from crossgrade.domain import ModelAnswer, SafetySuite, Sample, Score, ScorerSpec
from crossgrade.errors import DataError
from crossgrade.evaluate import Progress, planned_samples
from crossgrade.evaluate.scorers import PythonOptions, PythonScorer
from crossgrade.store import RunStatus, Store
from crossgrade.workloads import Dataset
from tests.codes import raises_code
from tests.unit.evaluate.running import (
    HASTY,
    Equals,
    Rule,
    Scripted,
    dataset,
    evidence,
    run,
    variant,
    workload,
)


def mixed() -> Dataset:
    """Two samples, the second of more than 300 bytes."""
    short = dataset(2)
    long = replace(short.samples[1], fields={"thing": "x" * 300})
    return replace(short, samples=(short.samples[0], long))


def test_both_models_answer_every_sample_in_the_shuffled_order(store: Store) -> None:
    gpt, llama = Scripted("gpt"), Scripted("llama", lambda request, _: "no")
    result = run(store, gpt, llama)
    order = [sample.id for sample in planned_samples(workload(), dataset(20))]
    assert order != sorted(order, key=int)
    assert evidence(store) == [
        row for name in order for row in ((name, "gpt", 1.0, None), (name, "llama", 0.0, None))
    ]
    assert sorted(gpt.asked) == sorted(llama.asked)
    assert result.ending == "planned"
    assert (result.progress.done, result.progress.calls, result.progress.calls_saved) == (20, 40, 0)
    assert store.runs.status(result.run_id) is RunStatus.FINISHED


def test_the_order_follows_the_seed_and_planned_cuts_it() -> None:
    whole = planned_samples(workload(seed=5), dataset(50))
    assert planned_samples(workload(seed=5, planned=10), dataset(50)) == whole[:10]
    assert planned_samples(workload(seed=6), dataset(50)) != whole


def test_the_samples_of_a_cluster_are_asked_together_and_planned_cuts_between_clusters() -> None:
    plain = dataset(60)
    data = replace(
        plain,
        samples=tuple(
            replace(each, cluster=f"c{int(each.id) % 15}" if int(each.id) % 5 else None)
            for each in plain.samples
        ),
    )
    whole = planned_samples(workload(), data)
    labels = [each.cluster or each.id for each in whole]
    assert sum(one != other for one, other in pairwise(labels)) + 1 == len(set(labels))
    assert sorted(each.id for each in whole) == sorted(each.id for each in data.samples)
    for planned in range(1, 60):
        cut = planned_samples(workload(planned=planned), data)
        assert cut == whole[: len(cut)]
        assert labels[len(cut)] != labels[len(cut) - 1]
        assert planned - 4 < len(cut) <= max(planned, 4)


def test_pairs_count_in_the_shuffled_order_however_late_answers_come(store: Store) -> None:
    things = [sample.fields["thing"] for sample in planned_samples(workload(), dataset(20))]

    async def late(request: Any) -> str:
        place = things.index(request.messages[0].content.removeprefix("Is ").removesuffix(" so?"))
        for _ in range(20 - place):
            await anyio.lowlevel.checkpoint()
        return "yes" if place % 3 else "no"

    rule = Rule(after=1000)
    run(store, Scripted("gpt"), Scripted("llama", lambda request, _: late(request)), stopping=rule)
    assert [score for *_, score in rule.fed] == [float(place % 3 != 0) for place in range(20)]


def test_a_run_stops_when_no_answer_is_needed_any_more(store: Store) -> None:
    gpt, llama = Scripted("gpt"), Scripted("llama")
    result = run(store, gpt, llama, data=dataset(1000), stopping=Rule(after=30))
    assert result.ending == "certain"
    assert 30 <= len(gpt.asked) < 200
    assert result.progress.done == 1000
    assert result.progress.calls_saved == 2000 - len(gpt.asked) - len(llama.asked)


def test_segments_and_candidates_stop_separately(store: Store) -> None:
    class OnlyQwen(Rule):
        def wants(self, candidate: str, segment: str | None) -> bool:
            return candidate == "qwen" or (segment == "s1" and super().wants(candidate, segment))

    gpt, llama, qwen = Scripted("gpt"), Scripted("llama"), Scripted("qwen")
    load = workload(candidates=(variant("llama"), variant("qwen")))
    result = run(
        store, gpt, llama, qwen, load=load, data=dataset(100, segments=2), stopping=OnlyQwen(after=10**6)
    )
    assert (len(gpt.asked), len(llama.asked), len(qwen.asked)) == (100, 50, 100)
    assert result.progress.calls_saved == 50


def test_epochs_are_separate_answers_and_count_by_their_mean(store: Store) -> None:
    gpt = Scripted("gpt")
    llama = Scripted("llama", lambda request, times: "yes" if times == 1 else "no")
    rule = Rule(after=100)
    run(store, gpt, llama, load=workload(epochs=2), data=dataset(5), stopping=rule)
    assert len(gpt.asked) == 10
    assert {score for *_, score in rule.fed} == {0.5}


def test_an_unscored_answer_is_left_out_and_counted(store: Store) -> None:
    rule = Rule(after=100)
    result = run(store, Scripted("gpt"), Scripted("llama", lambda *_: "?"), stopping=rule, data=dataset(5))
    assert rule.fed == []
    assert result.progress.unscored == 5
    assert {score for _, model, score, _ in evidence(store) if model == "llama"} == {None}


def test_a_pair_scorer_scores_both_answers_together(store: Store) -> None:
    class Longer:
        kind = digest = "equals"

        async def score_pair(self, sample: Any, incumbent: Any, candidate: Any) -> tuple[Score, Score]:
            longer = float(len(candidate.text) > len(incumbent.text))
            return Score(value=1 - longer), Score(value=longer)

    run(store, Scripted("gpt"), Scripted("llama", lambda *_: "yes!"), scorer=Longer(), data=dataset(3))
    assert {(model, score) for _, model, score, _ in evidence(store)} == {("gpt", 0.0), ("llama", 1.0)}

    load = workload(candidates=(variant("llama"), variant("qwen")))
    with raises_code("too-many-candidates"):
        run(store, Scripted("gpt"), Scripted("llama"), Scripted("qwen"), scorer=Longer(), load=load)

    # One answer alone has no score: both models are asked what is beyond the candidate's limit, too.
    llama = Scripted("llama", lambda *_: "yes!")
    run(store, Scripted("gpt"), llama, scorer=Longer(), data=mixed(), max_bytes={"llama": 300}, reuse=False)
    assert len(llama.asked) == 2


def test_a_candidate_is_not_asked_what_is_beyond_its_limit(store: Store) -> None:
    gpt, llama = Scripted("gpt"), Scripted("llama")
    rule = Rule(after=100)
    result = run(store, gpt, llama, data=mixed(), max_bytes={"llama": 300}, stopping=rule)
    assert (len(gpt.asked), llama.asked) == (2, ["Is thing 0 so?"])
    assert (len(rule.fed), result.ending, result.progress.calls_saved) == (1, "planned", 0)
    with raises_code("samples-too-long", "2", "support"):
        run(store, gpt, llama, data=mixed(), max_bytes={"llama": 5})


def test_a_sample_that_cannot_be_asked_or_scored_is_found_before_money_is_spent(store: Store) -> None:
    class Picky(Equals):
        async def score(self, sample: Any, answer: Any) -> Score:
            if sample.id == "7":
                raise DataError("sample 7 has no target")
            return await super().score(sample, answer)

    gpt = Scripted("gpt")
    with raises_code("data", "7"):
        run(store, gpt, Scripted("llama"), scorer=Picky())
    assert gpt.asked == []
    assert store.runs.recent() == []


def test_a_users_function_sees_real_answers_only(store: Store) -> None:
    seen: list[str] = []

    def function(_: Sample, answer: ModelAnswer) -> float:
        seen.append(answer.text)
        return 1.0

    scorer = PythonScorer(
        kind="python", digest="equals", options=PythonOptions(function="x:y"), function=function
    )
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(5), scorer=scorer)
    assert seen == ["yes"] * 10


def test_an_error_in_a_scorer_ends_the_run_and_keeps_the_answers(store: Store) -> None:
    class Broken(Equals):
        async def score(self, sample: Any, answer: Any) -> Score:
            if answer.text:
                raise ZeroDivisionError("scorer")
            return Score(value=0.0)

    gpt = Scripted("gpt")
    with pytest.raises(ZeroDivisionError):
        run(store, gpt, Scripted("llama"), scorer=Broken())
    run_id = store.runs.recent()[0].id
    assert store.runs.status(run_id) is RunStatus.FAILED

    asked = len(gpt.asked)
    run(store, gpt, Scripted("llama"), resume=run_id)
    assert len(gpt.asked) == 20 >= asked
    assert len(evidence(store, run_id)) == 40


def test_progress_is_shown(store: Store) -> None:
    seen: list[Progress] = []
    result = run(store, Scripted("gpt"), Scripted("llama"), on_progress=seen.append)
    assert seen[0].run_id == result.run_id
    assert seen[-1].planned == 20


def test_calls_at_once_stay_below_the_offers_bound(store: Store) -> None:
    gpt, llama = Scripted("gpt"), Scripted("llama")
    load = workload(incumbent=variant("gpt", max_concurrency=3))
    run(store, gpt, llama, load=load, data=dataset(60), limiters=CallLimiters(HASTY))
    assert gpt.most_in_flight <= 3


@pytest.mark.parametrize("says", ["yes", "no"])
def test_the_rule_of_decide_stops_a_run_whose_verdict_is_certain(store: Store, says: str) -> None:
    llama = Scripted("llama", lambda *_: says)
    stopping = Stopping(candidates=["llama"], plan=planned_samples(workload(), dataset(400)))
    result = run(store, Scripted("gpt"), llama, data=dataset(400), stopping=stopping)
    assert result.ending == "certain"
    assert len(llama.asked) < 300
    retention = result.progress.live["llama"]
    assert retention.value == float(says == "yes")


def test_the_run_of_a_suite_records_what_it_measures_and_which_weights_answered(store: Store) -> None:
    grader = ScorerSpec(kind="equals")
    suite = SafetySuite(name="harm", measures="harmful_compliance", grader=grader, licence="own")
    local = Scripted("llama", identity="sha256:w LocalSettings(slots=1)")
    result = run(store, Scripted("gpt"), local, load=workload(suite=suite), data=dataset(2))
    settings = store.runs.get(result.run_id).settings
    assert settings["measures"] == "harmful_compliance"
    assert settings["weights"] == {"llama": "sha256:w"}
    with raises_code("run-settings-changed"):
        other = Scripted("llama", identity="sha256:other LocalSettings(slots=1)")
        run(store, Scripted("gpt"), other, load=workload(suite=suite), data=dataset(2), resume=result.run_id)
