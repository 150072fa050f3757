"""Numbers in place of texts change no verdict, and evidence comes back from JSON to the bit."""

import json
from dataclasses import fields, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgrade.decide import (
    compare,
    decide_policy,
    evidence_digest,
    evidence_from_json,
    evidence_to_json,
    evidence_without_texts,
    verdict_without_texts,
)
from tests.unit.decide.conftest import NOW, evidence

SLOW = settings(max_examples=40, deadline=None)
WORDS = ("", "yes", "no", "y" * 39, "z" * 40, "a" * 5_000, "a" * 5_000 + "b", "document " * 20 + "one")
SAME = "Read this and answer. " * 10


@st.composite
def cases(draw):
    """Evidence with texts that are the same, begin the same, are empty, are missing or are long."""
    n = draw(st.integers(2, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b, c = ((rng.random(n) < 0.8).astype(float) for _ in range(2))
    distinct = draw(st.sampled_from([1, 3, 30, 10**6]))
    before = draw(st.sampled_from(["", "x", SAME, SAME * 20]))
    shape = draw(st.sampled_from(["q{0}", "q{0} of {1}", "q{1}" + "." * 130 + "{0}"]))

    def texts(words=()):
        found = [before + shape.format(rng.integers(distinct), rng.integers(4)) for _ in range(n)]
        some = [*words, None]
        return [some[rng.integers(len(some))] if rng.random() < 0.3 else text for text in found]

    order = rng.permutation(n) if draw(st.booleans()) else None
    answers = [["same" if rng.random() < 0.9 else "other" for _ in range(n)] for _ in range(2)]
    if draw(st.booleans()):
        answers = [texts(WORDS), texts(WORDS)]
    return evidence(
        b, c if draw(st.booleans()) else b, order=order,
        input=texts(WORDS), target=texts(), inc={"cost_usd": 0.01, "output": answers[0]}, cand={"cost_usd": 0.001, "output": answers[1]},
    )  # fmt: skip


@given(case=cases())
@SLOW
def test_a_verdict_without_its_texts_is_the_same(case):
    verdict = verdict_without_texts(decide_policy(case, now=NOW))
    masked = evidence_without_texts(case)
    assert evidence_digest(masked) == evidence_digest(case)
    found = compare(verdict, masked, with_texts=False)
    assert found.differences == ()
    assert found.rounded == 0
    assert found.today == verdict


@given(case=cases())
@SLOW
def test_no_text_is_left_and_the_same_ones_stay_the_same(case):
    masked = evidence_without_texts(case)
    for mine, its in (
        (case.input, masked.input),
        (case.target, masked.target),
        (case.incumbent.output, masked.incumbent.output),
    ):
        pairs = list(zip(mine, its, strict=True))
        assert not [text for text, number in pairs if text and text == number]
        assert all((text is None) == (number is None) for text, number in pairs)
        short = {(text, number) for text, number in pairs if text and len(text) < 4_000}
        assert len(short) == len({text for text, _ in short}) == len({number for _, number in short})


@given(case=cases())
@SLOW
def test_evidence_comes_back_from_json(case):
    found = evidence_from_json(json.loads(json.dumps(evidence_to_json(case), allow_nan=False)))
    for mine, its in ((case, found), *zip(case.candidates, found.candidates, strict=True)):
        for field in fields(mine):
            one, other = getattr(mine, field.name), getattr(its, field.name)
            if isinstance(one, np.ndarray):
                assert one.dtype == other.dtype, field.name
                assert one.tolist() == other.tolist() or np.array_equal(one, other, equal_nan=True)
            elif field.name not in {"incumbent", "candidates"}:
                assert one == other
    assert decide_policy(found, now=NOW) == decide_policy(case, now=NOW)
    odd = replace(case, source="\ud800", weight=np.full(case.n, np.inf))
    tree = json.loads(json.dumps(evidence_to_json(odd), allow_nan=False))
    assert set(tree["weight"]) == {"Infinity"}
    again = evidence_from_json(tree)
    assert again.source == odd.source
    assert np.isinf(again.weight).all()
    earlier = evidence_from_json({**tree, "weight": ["-inf" if row % 2 else "inf" for row in range(case.n)]})
    assert np.array_equal(earlier.weight, np.where(np.arange(case.n) % 2, -np.inf, np.inf))
