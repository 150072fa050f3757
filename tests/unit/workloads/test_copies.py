"""Copies of a request are one sample: what counts as the same, and what they weigh together."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import Offer, PromptTemplate, Sample, ScorerSpec, Variant, Workload
from crossgrade.workloads import read_dataset, without_copies
from crossgrade.workloads._dataset import frozen


def workload(kind: str = "exact", *, user: str = "{ask}", system: str | None = None, **options) -> Workload:
    def variant(name: str) -> Variant:
        return Variant(
            offer=Offer(name=name, provider="openai", model=name),
            prompt=PromptTemplate(user=user, system=system),
        )

    return Workload(
        name="w",
        dataset=Path("d.jsonl"),
        id_field="id",
        scorer=ScorerSpec(kind=kind, options=options),
        incumbent=variant("large"),
        candidates=(variant("small"),),
    )


def kept(rows: list[dict], of: Workload, folder: Path, **roles: str) -> list[tuple[str, float]]:
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = without_copies(read_dataset(path, id_field="id", **roles), of)
    return [(sample.id, sample.weight) for sample in found.samples]


def test_a_request_that_comes_back_is_one_sample_with_its_count(tmp_path: Path) -> None:
    rows = [
        {"id": f"r{n}", "ask": "hi" if n % 5 < 2 else f"order {n}", "at": n, "target": "x"} for n in range(10)
    ]
    found = kept(rows, workload(), tmp_path)
    assert found[0] == ("r0", 4.0)
    assert found[1:] == [(f"r{n}", 1.0) for n in range(10) if n % 5 >= 2]


def test_weights_are_added_and_clusters_may_differ(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "ask": "hi", "w": 2, "doc": "one"},
        {"id": "b", "ask": "hi", "w": 3, "doc": "two"},
        {"id": "c", "ask": "ho", "w": 1, "doc": "two"},
    ]
    assert kept(rows, workload(), tmp_path, weight="w", cluster="doc") == [("a", 5.0), ("c", 1.0)]


def test_what_is_asked_or_how_it_is_scored_tells_samples_apart(tmp_path: Path) -> None:
    base = {"id": "a", "ask": "hi", "role": "desk", "target": "x", "topic": "t", "note": "n"}

    def same(of: Workload, **changes: str) -> bool:
        rows = [base, {**base, "id": "b", **changes}]
        return len(kept(rows, of, tmp_path, segment="topic")) == 1

    assert same(workload(), note="other", role="other")
    assert not same(workload(), ask="ho")
    assert not same(workload(), target="y")
    assert not same(workload(), topic="u")
    assert not same(workload(system="You are {role}."), role="other")
    assert not same(workload("judge", request_field="note"), note="other")
    assert not same(workload("python", function="f"), note="other")
    assert same(workload("python", function="f"))


def test_a_dataset_without_copies_keeps_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"id": "a", "ask": "1"}\n{"id": "b", "ask": "2"}\n')
    dataset = read_dataset(path, id_field="id")
    assert without_copies(dataset, workload()) is dataset


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.1, 9)), min_size=1))
def test_the_traffic_stays_the_same_and_nothing_is_asked_twice(drawn: list[tuple[int, float]]) -> None:
    samples = [
        Sample(id=f"r{n}", fields={"ask": f"q{ask}"}, weight=weight) for n, (ask, weight) in enumerate(drawn)
    ]
    dataset = frozen(samples, path=Path("d"), kind="jsonl")
    found = without_copies(dataset, workload()).samples
    assert len({each.fields["ask"] for each in found}) == len(found)
    for each in found:
        total = sum(other.weight for other in samples if other.fields == each.fields)
        assert abs(each.weight - total) < 1e-9
