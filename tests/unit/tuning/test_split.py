"""Items that tune and items that test: never the same, nor near-copies, nor of one cluster."""

from hashlib import sha256
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from crossgrade.domain import Offer, PromptTemplate, Sample, ScorerSpec, Variant, Workload
from crossgrade.tuning import divide_development, split_samples
from tests.codes import raises_code

VARIANT = Variant(offer=Offer(name="m", provider="local", model="m"), prompt=PromptTemplate(user="{input}"))
WORKLOAD = Workload(
    name="w",
    dataset=Path("w.jsonl"),
    incumbent=VARIANT,
    candidates=(VARIANT,),
    scorer=ScorerSpec(kind="exact"),
)


def items(n: int, *, cluster: int | None = None, copies: int = 1) -> list[Sample]:
    """n samples whose texts share nothing; `copies` in a row differ in a letter, `cluster` share a document."""
    return [
        Sample(
            id=f"s{at}",
            fields={"input": sha256(str(at // copies).encode()).hexdigest() + "." * (at % copies)},
            target="x",
            cluster=None if cluster is None else f"c{at // cluster}",
        )
        for at in range(n)
    ]


@settings(max_examples=40, deadline=None)
@given(
    touched=st.sets(st.integers(0, 299), max_size=150),
    rounds=st.integers(1, 3),
    cluster=st.sampled_from([None, 3]),
)
def test_what_tuned_or_was_touched_never_tests(touched: set[int], rounds: int, cluster: int | None) -> None:
    samples = items(300, cluster=cluster)
    marked = {f"s{at}" for at in touched}
    split = split_samples(samples, WORKLOAD, touched=marked, rounds_left=rounds)
    testing = {*split.certification, *split.reserved}
    assert testing.isdisjoint({*marked, *split.development})
    assert set(split.certification).isdisjoint(split.reserved)
    by_id = {sample.id: sample for sample in samples}
    if cluster:
        documents = [
            {by_id[each].cluster for each in ids} for ids in (testing, {*marked, *split.development})
        ]
        assert documents[0].isdisjoint(documents[1])
    assert len(split.development) <= 100
    assert split == split_samples(samples, WORKLOAD, touched=marked, rounds_left=rounds)
    if rounds == 1:
        assert split.reserved == ()


def test_rows_that_are_added_leave_the_others_where_they_were() -> None:
    touched = {f"s{at}" for at in range(100)}
    before = split_samples(items(300), WORKLOAD, touched=touched)
    after = split_samples(items(360), WORKLOAD, touched=touched)
    assert set(before.certification) <= set(after.certification)


def test_near_copies_stay_together() -> None:
    samples = items(300, copies=3)
    split = split_samples(samples, WORKLOAD, touched={f"s{at}" for at in range(0, 150, 3)})
    assert split.groups == 100
    assert {each for each in split.certification if int(each[1:]) < 150} == set()


def test_a_twin_in_another_segment_that_tuned_keeps_an_item_out_of_the_test() -> None:
    samples = items(300, copies=2)
    within = {sample.id for sample in samples[::2]}  # the twins are in the other segment
    split = split_samples(samples, WORKLOAD, touched={f"s{at}" for at in range(1, 100, 2)}, within=within)
    testing = {*split.certification, *split.reserved}
    assert {*testing, *split.development} <= within
    assert testing.isdisjoint(f"s{at}" for at in range(0, 100, 2))
    assert len(split.certification) == 100 - max(0, len(split.development) - 50)


def test_an_example_in_a_prompt_is_not_scored() -> None:
    shown, scored = divide_development(items(100, copies=2), WORKLOAD)
    ids = [{int(each.id[1:]) // 2 for each in some} for some in (shown, scored)]
    assert ids[0].isdisjoint(ids[1])
    assert 0 < len(shown) <= 20
    assert len(shown) + len(scored) == 100


def test_with_a_baseline_its_samples_test_and_nothing_near_them_tunes() -> None:
    samples = items(200, copies=2)
    sealed = {f"s{at}" for at in range(0, 120, 2)}
    split = split_samples(samples, WORKLOAD, sealed=sealed)
    assert set(split.certification) == sealed
    assert all(int(each[1:]) >= 120 for each in split.development)


def test_too_few_items_are_refused() -> None:
    with raises_code("development-too-few", "w", 13):
        split_samples(items(40), WORKLOAD)
    with raises_code("certification-too-few", "w", 20):
        split_samples(items(120), WORKLOAD, touched={f"s{at}" for at in range(100)})
