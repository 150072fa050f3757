"""The verdicts on published outcomes of GPT-4 and Mixtral, with the fault that guards must find."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

import crossgrade
from crossgrade.decide import DecisionSettings, decide_policy, verify
from tests.codes import names, said

DATA = Path(crossgrade.__file__).parent / "data" / "demo"
PRICES = DecisionSettings(stated_cost_usd={"a": 0.01, "b": 0.0005}, requests_per_month=1_000_000)


@pytest.fixture(scope="module")
def mmlu():
    with gzip.open(DATA / "mmlu.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0])[2:]
    scores = [np.array([float(row[name]) for row in rows]) for name in names]
    return *scores, [row["subject"] for row in rows]


def _failed(verdict):
    return {(guard.name, guard.segment) for guard in verdict.guards if guard.status == "fail"}


def test_mmlu_raw_is_undecided_and_the_guard_names_the_broken_subject(make, mmlu, now):
    incumbent, candidate, subject = mmlu
    verdict = decide_policy(make(incumbent, candidate, group=subject, chance=0.25), PRICES, now=now)
    assert verdict.name == "undecided"
    assert verdict.policy.kind == "keep"
    whole = verdict.certificates[0].retention
    assert (round(whole.value, 3), round(whole.low, 3), round(whole.high, 3)) == (0.845, 0.837, 0.853)
    below = {segment for name, segment in _failed(verdict) if name == "incumbent-below-chance"}
    assert below == {"high_school_mathematics"}
    assert said(verdict.reasons, "without-failed-groups", "0.838", "0.846", "13,772", candidate="b")
    first = verdict.would_change[0]
    assert (first.code, first.segments) == ("guard-repaired", ("high_school_mathematics",))


def test_mmlu_without_subjects_is_undecided_and_tells_of_file_order_and_chance(make, mmlu, now):
    incumbent, candidate, _ = mmlu
    verdict = decide_policy(make(incumbent, candidate, chance=0.25), PRICES, now=now)
    assert verdict.name == "undecided"
    assert not _failed(verdict)
    warned = {guard.name: guard.seen for guard in verdict.guards if guard.status == "warn"}
    assert set(warned) == {"order-dependence", "scale-zero"}
    assert names(warned["scale-zero"], "0.775")


def test_mmlu_with_subjects_as_segments_leaves_the_broken_one_with_the_incumbent(make, mmlu, now):
    incumbent, candidate, subject = mmlu
    verdict = decide_policy(make(incumbent, candidate, segment=subject, chance=0.25), PRICES, now=now)
    assert verdict.name == "split"
    assert "high_school_mathematics" not in verdict.policy.segments
    by_segment = {one.segment: one for one in verdict.certificates}
    assert by_segment["high_school_mathematics"].excluded == "incumbent-below-chance"
    assert by_segment[None].retention.n == 13_772
    assert not by_segment[None].certified


def test_mmlu_cleaned_splits_by_subject(make, mmlu, now):
    incumbent, candidate, subject = mmlu
    keep = np.array([name != "high_school_mathematics" for name in subject])
    labels = [name for name in subject if name != "high_school_mathematics"]
    cleaned = make(incumbent[keep], candidate[keep], segment=labels, chance=0.25)
    verdict = decide_policy(cleaned, PRICES, now=now)
    assert verdict.name == "split"
    assert verdict.policy.segments == (
        "high_school_government_and_politics", "high_school_psychology", "marketing", "miscellaneous",
        "sociology", "world_religions",
    )  # fmt: skip
    assert verdict.certificates[0].shown_below
    assert round(verdict.certificates[0].retention.value, 3) == 0.838
    assert not _failed(verdict)
    assert verify(verdict, cleaned) == ()


def test_gsm8k_keeps_as_published_and_regraded(make, now):
    with (DATA / "gsm8k_regraded.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    regraded, published = list(rows[0])[1:3], list(rows[0])[3:5]
    for models, value in ((published, 0.745), (regraded, 0.719)):
        scores = [np.array([float(row[name]) for row in rows]) for name in models]
        verdict = decide_policy(make(*scores), PRICES, now=now)
        assert verdict.name == "keep"
        assert round(verdict.certificates[0].retention.value, 3) == value
        assert said(verdict.reasons, "below-the-floor", f"{value:.3f}", candidate="b", segments=())
