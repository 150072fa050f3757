"""What the verdict is called, what it says, and until when it holds."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, ModelFacts, decide_policy, evidence_digest, verify
from crossgrade.domain import Requirements
from tests.codes import names, raises_code, said

DEAR, CHEAP = {"cost_usd": 0.01}, {"cost_usd": 0.001}


@pytest.fixture
def good(make, counts):
    return make(*counts(150, 12, 12, 26), inc=DEAR, cand=CHEAP)


@pytest.fixture
def bad(make, counts):
    return make(*counts(100, 62, 2, 36), inc=DEAR, cand=CHEAP)


def _split(make, counts, *tables, **changed):
    pairs = [counts(*one, seed=at) for at, one in enumerate(tables)]
    b, c = (np.concatenate(column) for column in zip(*pairs, strict=True))
    labels = [name for name, (x, _) in zip("xyz", pairs, strict=False) for _ in x]
    return make(b, c, segment=labels, **{"inc": DEAR, "cand": CHEAP, **changed})


def test_switch(good, now):
    verdict = decide_policy(good, DecisionSettings(requests_per_month=1_000_000), now=now)
    assert verdict.name == "switch"
    assert verdict.policy.candidate == "b"
    assert verdict.saving_per_month_usd.value == pytest.approx(9000)
    assert all(names(verdict.sentence, each) for each in ("support", "a", "b", "1.000"))
    assert verdict.certificates[0].certified
    assert verdict.certificates[0].retention.low > 0.9
    assert said(verdict.reasons, "certified", "1.000", candidate="b", segments=())
    assert verdict.valid_until == now + timedelta(days=90)
    assert said(verdict.would_change, "price-above", "b", candidate="b")


def test_keep_what_is_shown_to_be_below(bad, now):
    verdict = decide_policy(bad, now=now)
    assert verdict.name == "keep"
    assert verdict.certificates[0].shown_below
    assert verdict.needed is None
    assert len(verdict.losses) == 20
    assert all(loss.incumbent_score > loss.candidate_score for loss in verdict.losses)


def test_undecided_says_about_how_many_more(make, counts, now):
    verdict = decide_policy(make(*counts(70, 8, 2, 20), inc=DEAR, cand=CHEAP), now=now)
    assert verdict.name == "undecided"
    assert verdict.needed is not None
    assert names(verdict.sentence, f"{verdict.needed:,}")
    assert said(verdict.would_change, "more-samples", f"{verdict.needed:,}", candidate="b", segments=())


def test_split_moves_the_certified_segments_only(make, counts, now):
    verdict = decide_policy(_split(make, counts, (150, 10, 15, 25), (60, 90, 5, 45)), now=now)
    assert verdict.name == "split"
    assert verdict.policy.segments == ("x",)
    split = next(cost for cost in verdict.costs if cost.policy == verdict.policy)
    assert split.per_request_usd.value == pytest.approx((0.001 + 0.01) / 2)
    assert names(verdict.sentence, "50 %")


def test_a_whole_that_passes_over_a_segment_below_is_told_loudly(make, counts, now):
    tables = ((900, 10, 25, 65), (40, 90, 10, 60))
    verdict = decide_policy(_split(make, counts, *tables), now=now)
    assert verdict.name == "switch"
    assert said(
        verdict.reasons[:1], "segment-below-the-floor", "WARNING", "16.7 %", candidate="b", segments=("y",)
    )


def test_certified_without_a_price_is_never_a_switch(make, counts, now):
    verdict = decide_policy(make(*counts(150, 12, 12, 26)), now=now)
    assert verdict.certificates[0].certified
    assert verdict.name == "undecided"
    assert verdict.policy.kind == "keep"
    assert said(verdict.reasons, "price-unknown", candidate="b", segments=())
    assert said(verdict.would_change, "price-known", "a", "b", candidate="b", segments=())
    stated = DecisionSettings(stated_cost_usd={"a": 0.01, "b": 0.001})
    priced = decide_policy(make(*counts(150, 12, 12, 26)), stated, now=now)
    assert priced.name == "switch"
    assert priced.costs[1].per_request_usd.method == "stated"
    assert priced.costs[1].per_request_usd.low is None


def test_certified_and_dearer_is_kept(make, counts, now):
    verdict = decide_policy(make(*counts(150, 12, 12, 26), inc=CHEAP, cand=DEAR), now=now)
    assert verdict.certificates[0].certified
    assert verdict.name == "keep"
    assert said(verdict.reasons, "costs-more", candidate="b", segments=())


def test_cheaper_by_chance_is_not_cheaper(make, counts, now):
    noise = np.random.default_rng(0).normal(0.01, 0.004, 200)
    evidence = make(*counts(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": noise})
    verdict = decide_policy(evidence, now=now)
    assert verdict.name == "undecided"
    assert said(verdict.reasons, "not-shown-cheaper", candidate="b", segments=())


def test_the_cheapest_of_several_certified(make, counts, now):
    b, c = counts(150, 12, 12, 26)
    evidence = make(b, c, c, inc=DEAR, cand=CHEAP)
    cheaper = replace(evidence.candidates[1], cost_usd=np.full(200, 0.0002))
    verdict = decide_policy(replace(evidence, candidates=(evidence.candidates[0], cheaper)), now=now)
    assert verdict.policy.candidate == "c"


def test_a_closed_model_that_beats_every_open_one_is_reported(make, counts, now):
    b, c = counts(150, 12, 12, 26)
    evidence = make(b, c, c, inc=DEAR, cand=CHEAP)
    cheaper = replace(evidence.candidates[1], cost_usd=np.full(200, 0.0002))
    facts = (ModelFacts(model="b", open_weights=True), ModelFacts(model="c", open_weights=False))
    settings = DecisionSettings(facts=facts)
    verdict = decide_policy(
        replace(evidence, candidates=(evidence.candidates[0], cheaper)), settings, now=now
    )
    assert said(verdict.reasons, "closed-beats-open", "b", candidate="c")


@pytest.mark.parametrize("evidence", ["agentic", "regulated", "gated"])
def test_classes_that_stay_whatever_is_named_as_their_evidence(good, now, evidence):
    wanted = Requirements(evidence=evidence, documents=("DPIA",))
    verdict = decide_policy(good, DecisionSettings(requirements=wanted), now=now)
    assert verdict.name == "keep"
    missing = {"agentic": "agent trials", "regulated": "DPIA", "gated": "verified-identity routes"}[evidence]
    assert names(verdict.sentence, missing)
    assert said(verdict.reasons[:1], "evidence-missing", evidence, missing)
    assert said(verdict.would_change, "evidence-imported", f"{missing[0].upper()}{missing[1:]}")
    named = DecisionSettings(requirements=replace(wanted, documents=(missing,)), provided=(missing,))
    assert decide_policy(good, named, now=now).name == "keep"


def test_requirements_block_a_switch_when_missed_or_unknown(good, now):
    wanted = Requirements(context_tokens=32_000)

    def name(tokens):
        facts = (ModelFacts(model="b", context_tokens=tokens),)
        return decide_policy(good, DecisionSettings(requirements=wanted, facts=facts), now=now).name

    assert (name(128_000), name(None), name(8_000)) == ("switch", "undecided", "keep")


def test_latency_is_measured_with_its_interval(make, counts, now):
    latency = np.random.default_rng(1).gamma(4, 100, 200)
    evidence = make(*counts(150, 12, 12, 26), inc=DEAR, cand={**CHEAP, "latency_ms": latency})

    def check(limit):
        settings = DecisionSettings(requirements=Requirements(latency_p95_ms=limit, error_rate=0.05))
        return decide_policy(evidence, settings, now=now).requirements

    assert [check(limit)[0].met for limit in (2_000, 780, 100)] == [True, None, False]
    assert names(check(2_000)[0].seen, 200)
    assert check(2_000)[1].met is True


def test_the_error_rate_is_of_calls_however_many_epochs_a_sample_has(make, counts, now):
    once = make(*counts(150, 12, 12, 26), inc=DEAR, cand=CHEAP)
    failed = np.repeat([1.0, 0.0], [100, 100])
    cand = {**CHEAP, "calls": np.full(200, 3.0), "failed_calls": failed}
    epochs = make(*counts(150, 12, 12, 26), inc=DEAR, cand=cand)
    settings = DecisionSettings(requirements=Requirements(error_rate=0.05))
    (check,) = decide_policy(epochs, settings, now=now).requirements
    assert check.met is False
    assert names(check.seen, 600)
    assert evidence_digest(epochs) != evidence_digest(once)


def test_a_verdict_ends_when_a_model_it_names_is_retired(good, now):
    facts = (
        ModelFacts(model="b", retires_on=date(2026, 12, 31)),
        ModelFacts(model="z", retires_on=date(2026, 12, 1)),
    )
    verdict = decide_policy(good, DecisionSettings(facts=facts), now=now)
    assert verdict.valid_until == datetime(2026, 12, 31, tzinfo=UTC)
    gone = (ModelFacts(model="b", retires_on=date(2026, 1, 1)),)
    assert decide_policy(good, DecisionSettings(facts=gone), now=now).name == "keep"


def test_too_few_pairs_certify_nothing_in_a_fixed_test(make, now):
    verdict = decide_policy(make([1.0] * 18, [1.0] * 18, inc=DEAR, cand=CHEAP), now=now)
    assert verdict.name == "undecided"
    assert all(names(verdict.sentence, each) for each in (18, 20))
    assert said(verdict.would_change, "more-evidence", 18, 20, candidate="b")


def test_evidence_that_does_not_fit_is_refused(make, counts, now, good):
    with raises_code("pairs-missing"):
        decide_policy(make([], []), now=now)
    with raises_code("column-length", "segment", 3, 65):
        decide_policy(make(*counts(50, 5, 5, 5), segment=["x"] * 3), now=now)
    with raises_code("models-repeated"):
        decide_policy(replace(good, candidates=(good.incumbent,)), now=now)
    with raises_code("time-zone-missing"):
        decide_policy(good, now=datetime(2026, 1, 1))


def test_a_column_of_ids_is_no_segment(make, now):
    labels = [f"s{i}" for i in range(1_001)]
    with raises_code("too-many-parts", "1,001"):
        decide_policy(make([1.0] * 1_001, [1.0] * 1_001, segment=labels), now=now)


def test_a_segment_whose_plan_is_unknown_never_reaches_its_end(make, counts, now):
    b, c = counts(90, 8, 8, 14)
    order = np.random.default_rng(0).permutation(120)
    evidence = make(b, c, order=order, planned=400, segment=["x"] * 60 + ["y"] * 60, inc=DEAR, cand=CHEAP)
    settings = DecisionSettings(mode="sequential")
    assert {one.retention.method for one in decide_policy(evidence, settings, now=now).certificates} == {
        "bets"
    }
    planned = replace(evidence, planned_by_segment={"x": 60, "y": 340})
    methods = {
        one.segment: one.retention.method for one in decide_policy(planned, settings, now=now).certificates
    }
    assert methods == {None: "bets", "x": "bets, then score test", "y": "bets"}


def test_a_planned_segment_that_was_never_asked_keeps_its_share(make, counts, now):
    b, c = counts(90, 8, 8, 14)
    order = np.random.default_rng(0).permutation(120)
    evidence = make(b, c, order=order, planned=400, segment=["x"] * 120, inc=DEAR, cand=CHEAP)
    evidence = replace(evidence, planned_by_segment={"x": 120, "y": 280})
    verdict = decide_policy(evidence, DecisionSettings(mode="sequential"), now=now)
    by_segment = {one.segment: one for one in verdict.certificates}
    assert by_segment["y"].retention.n == 0
    assert by_segment["y"].share == pytest.approx(0.7)
    assert not by_segment["y"].certified


def test_long_texts_of_losses_are_cut(make, counts, now):
    b, c = counts(100, 62, 2, 36)
    verdict = decide_policy(make(b, c, input=["x" * 9_000] * 200), now=now)
    assert len(verdict.losses[0].input) == 4_001


def test_samples_without_a_segment_stay_with_the_incumbent(make, counts, now):
    b, c = counts(150, 10, 15, 25)
    labels = ["x"] * 150 + [None] * 50
    verdict = decide_policy(make(b, c, segment=labels, inc=DEAR, cand=CHEAP), now=now)
    share = next(one.share for one in verdict.certificates if one.segment == "x")
    assert share == pytest.approx(0.75)


def test_a_dearer_candidate_is_not_what_leaves_it_open(make, counts, now):
    b, c = counts(150, 12, 12, 26)
    d = np.where(np.random.default_rng(3).random(200) < 0.16, 0.0, b)  # neither shown above nor below
    evidence = make(b, c, d, inc=CHEAP, cand=DEAR)
    verdict = decide_policy(evidence, now=now)
    assert [one.certified for one in verdict.certificates] == [True, False]
    assert verdict.name == "undecided"
    assert said(verdict.reasons, "undecided", candidate="c", segments=())


def test_the_smallest_saving_is_not_shown_as_zero(make, counts, now):
    tiny = DecisionSettings(stated_cost_usd={"a": 4e-7, "b": 1e-7})
    verdict = decide_policy(make(*counts(150, 12, 12, 26)), tiny, now=now)
    assert names(verdict.sentence, "0.000000300")


def test_a_price_that_would_change_it_reads_as_money(make, counts, now):
    stated = DecisionSettings(stated_cost_usd={"a": 5e-5, "b": 5e-6})
    verdict = decide_policy(make(*counts(150, 12, 12, 26)), stated, now=now)
    assert said(verdict.would_change, "price-above", "0.00000500", "0.0000500", candidate="b")


def test_losses_are_drawn_at_random_from_what_moves(make, counts, now):
    good, bad = counts(270, 24, 3, 3), counts(90, 186, 6, 18)
    b, c = (np.concatenate([one, other]) for one, other in zip(good, bad, strict=True))
    evidence = make(b, c, segment=["x"] * 300 + ["y"] * 300, inc=DEAR, cand=CHEAP)
    verdict = decide_policy(evidence, now=now)
    assert verdict.policy.segments == ("x",)
    assert verdict.losses_drawn_from == 24
    assert {loss.segment for loss in verdict.losses} == {"x"}
    kept = decide_policy(replace(evidence, segment=None), now=now)
    ids = [loss.sample_id for loss in kept.losses]
    assert (kept.name, kept.losses_drawn_from, len(ids)) == ("keep", 210, 20)
    assert ids != sorted(ids)
    other = decide_policy(replace(evidence, segment=None), DecisionSettings(seed=1), now=now)
    assert ids != [loss.sample_id for loss in other.losses]


def test_groups_are_read_and_never_certified(make, counts, now):
    b, c = counts(90, 8, 1, 1)
    evidence = make(b, c, group=["x"] * 60 + ["y"] * 40, inc=DEAR, cand=CHEAP)
    verdict = decide_policy(evidence, now=now)
    assert [(one.segment, one.retention.n) for one in verdict.groups] == [("x", 60), ("y", 40)]
    assert not any(one.tested or one.certified for one in verdict.groups)
    assert [one.share for one in verdict.groups] == pytest.approx([0.6, 0.4])
    assert verdict.groups[0].retention.value == pytest.approx(c[:60].sum() / b[:60].sum())


def test_a_verdict_from_before_losses_were_drawn_still_verifies(make, counts, now):
    evidence = make(*counts(90, 8, 1, 1), group=["x"] * 100, inc=DEAR, cand=CHEAP)
    verdict = decide_policy(evidence, now=now)
    assert verify(verdict, evidence) == ()
    old = replace(verdict, losses=verdict.losses[:1], losses_drawn_from=None, groups=(), package_version=None)
    assert verify(old, evidence) == ()
