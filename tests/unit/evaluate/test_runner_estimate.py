"""What a run is said to cost before it starts."""

from decimal import Decimal

from crossgrade.domain import GenerationSettings, PromptTemplate, ScorerSpec, Variant
from crossgrade.evaluate import estimate_run, request_bytes
from crossgrade.store import Store
from tests.codes import raises_code
from tests.unit.evaluate.running import PRICE, Scripted, dataset, run, variant, workload

PRICES = {"gpt": PRICE, "llama": PRICE}


def test_the_band_holds_what_the_run_then_costs(store: Store) -> None:
    estimate = estimate_run(workload(mode="fixed"), dataset(50), prices=PRICES)
    assert estimate.samples == 50
    assert estimate.calls == (100, 100)
    result = run(store, Scripted("gpt"), Scripted("llama"), data=dataset(50), prices=PRICES)
    low, high = estimate.cost_usd
    assert low < result.progress.spent_usd < high
    gpt, _ = estimate.models
    assert gpt.input_tokens[0] < 50 * 8 < gpt.input_tokens[1]
    assert gpt.output_tokens == (50, 200)


def test_a_sequential_run_may_need_a_fifth_of_the_calls() -> None:
    estimate = estimate_run(workload(), dataset(50), prices=PRICES)
    assert estimate.calls == (20, 100)
    fixed = estimate_run(workload(mode="fixed"), dataset(50), prices=PRICES)
    assert estimate.cost_usd == (fixed.cost_usd[0] / 5, fixed.cost_usd[1])


def test_a_scorer_that_asks_a_model_is_named_and_left_out() -> None:
    judged = workload(scorer=ScorerSpec(kind="judge", options={"model": "big", "criteria": "Correct."}))
    assert estimate_run(judged, dataset(5), prices=PRICES).scorer_model == "big"
    assert estimate_run(workload(), dataset(5), prices=PRICES).scorer_model is None


def test_a_candidate_is_not_asked_what_is_beyond_its_limit(store: Store) -> None:
    samples = dataset(12)
    short = request_bytes(workload(), samples.samples[0])
    limit = {"llama": short}
    within = sum(request_bytes(workload(), each) <= short for each in samples.samples)
    assert 0 < within < 12
    estimate = estimate_run(workload(), samples, prices=PRICES, max_bytes=limit)
    assert [(model.calls, model.reused) for model in estimate.models] == [(12, 0), (within, 0)]
    run(store, Scripted("gpt"), Scripted("llama"), data=samples, max_bytes=limit)
    again = estimate_run(workload(), samples, prices=PRICES, max_bytes=limit, store=store)
    assert [(model.calls, model.reused) for model in again.models] == [(0, 12), (0, within)]
    paired = workload(scorer=ScorerSpec(kind="pairwise", options={"model": "big"}))
    assert [each.calls for each in estimate_run(paired, samples, prices=PRICES, max_bytes=limit).models] == [
        12,
        12,
    ]


def test_an_unknown_price_makes_the_total_unknown_not_zero() -> None:
    estimate = estimate_run(workload(), dataset(5), prices={"gpt": PRICE})
    assert estimate.cost_usd is None
    assert [model.cost_usd is None for model in estimate.models] == [False, True]


def test_what_was_paid_for_costs_nothing(store: Store) -> None:
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(10))
    estimate = estimate_run(workload(epochs=2), dataset(12), prices=PRICES, store=store)
    assert [(model.calls, model.reused) for model in estimate.models] == [(14, 10), (14, 10)]


def test_answers_without_a_bound_are_taken_to_be_long() -> None:
    endless = Variant(
        offer=variant("gpt").offer,
        prompt=PromptTemplate(user="{thing}"),
        settings=GenerationSettings(max_output_tokens=None),
    )
    (gpt, _) = estimate_run(workload(incumbent=endless), dataset(1), prices=PRICES).models
    assert gpt.output_tokens == (1, 4096)
    assert gpt.cost_usd[1] > Decimal(4)


def test_a_prompt_that_does_not_fit_the_dataset_is_found_here_too() -> None:
    wrong = Variant(offer=variant("gpt").offer, prompt=PromptTemplate(user="{question}"))
    with raises_code("prompt-field-missing", "{question}"):
        estimate_run(workload(incumbent=wrong), dataset(1), prices=PRICES)
