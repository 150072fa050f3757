"""The rule that stops a run, and the verdict that sees exactly what the run saw."""

from dataclasses import replace

import numpy as np
import pytest

from crossgrade.decide import (
    DecisionSettings,
    RunDesign,
    Stopping,
    decide_policy,
    make_design,
    settled_by,
    verify,
)
from crossgrade.domain import Requirements, Sample
from crossgrade.stats import SequentialRetention
from tests.codes import names, said

SEQUENTIAL = DecisionSettings(mode="sequential")


def _plan(n, segments=None):
    """Planned samples in the order asked; `segments` gives each one's."""
    return [
        Sample(id=str(at), fields={}, segment=None if segments is None else segments[at]) for at in range(n)
    ]


def _rule(evidence, **options):
    """The rule for a run that asks the evidence's samples in the recorded order."""
    plan = [
        Sample(
            id=str(evidence.sample_ids[row]),
            fields={},
            segment=None if evidence.segment is None else evidence.segment[row],
            weight=1.0 if evidence.weight is None else float(evidence.weight[row]),
        )
        for row in evidence.order
    ]
    return Stopping(candidates=["b"], plan=plan, **options), plan


def _run(evidence, rule, plan, candidate="b"):
    """Ask in the recorded order while the rule wants it; return the evidence of what was asked."""
    asked = []
    for position, row in enumerate(evidence.order):
        if not rule.wants(candidate, plan[position].segment):
            continue
        asked.append(row)
        scores = {candidate: evidence.candidates[0].score[row]}
        rule.update(plan[position], position, evidence.incumbent.score[row], scores)
    seen = np.isin(np.arange(evidence.n), asked)

    def cut(model):
        return replace(model, score=np.where(seen, model.score, np.nan))

    return replace(evidence, incumbent=cut(evidence.incumbent), candidates=(cut(evidence.candidates[0]),))


def _feed(rule, plan, scores, positions=None):
    """Feed pairs that the incumbent always gets right."""
    for position in range(len(plan)) if positions is None else positions:
        sample = plan[position]
        if rule.wants("b", sample.segment):
            rule.update(sample, position, 1.0, {"b": scores[sample.segment]})


@pytest.fixture
def clear(make, counts):
    """400 planned samples, the candidate clearly below the floor."""
    order = np.random.default_rng(5).permutation(400)
    return make(*counts(160, 160, 10, 70), order=order, planned=400)


def test_a_clear_case_stops_early_and_the_verdict_agrees(clear, now):
    rule, plan = _rule(clear)
    seen = _run(clear, rule, plan)
    assert not rule.wants("b", None)
    verdict = decide_policy(seen, SEQUENTIAL, now=now)
    whole = verdict.certificates[0].retention
    assert verdict.name == "keep"
    assert verdict.mode == "sequential"
    assert whole == replace(rule.live()["b"], outcome="fail")
    assert (verdict.asked, verdict.planned) == (whole.n, 400)
    assert verdict.asked < 200
    assert verdict.calls_saved == 2 * (400 - verdict.asked)
    assert verdict.path[-1].n == whole.n
    assert verdict.path[-1].e_fail >= 40
    assert verify(verdict, seen) == ()


def test_answers_on_their_way_when_the_run_stopped_change_nothing(clear, now):
    seen = decide_policy(_run(clear, *_rule(clear)), SEQUENTIAL, now=now)
    everything = decide_policy(clear, SEQUENTIAL, now=now)
    assert everything.certificates == seen.certificates


def test_answers_after_an_undecided_end_are_called_later(make, counts, now):
    order = np.random.default_rng(5).permutation(140)
    evidence = make(*counts(85, 22, 11, 22), order=order, planned=100)
    verdict = decide_policy(evidence, SEQUENTIAL, now=now)
    whole = verdict.certificates[0]
    assert not any((whole.certified, whole.shown_below, whole.unfinished))
    assert whole.retention.n == 100
    assert said(verdict.reasons, "later-samples", 40, candidate="b", segments=())
    assert not said(verdict.reasons, "uncounted-samples"), "there is no cluster that they could complete"


def test_the_whole_sees_every_sample_until_it_is_decided(make, counts, now):
    rng = np.random.default_rng(2)
    b, c = counts(260, 20, 20, 100)
    b[:100], c[:100] = 1.0, (rng.random(100) < 0.3)
    evidence = make(b, c, segment=["x"] * 100 + ["y"] * 300, order=rng.permutation(400), planned=400)
    rule, plan = _rule(evidence)
    seen = _run(evidence, rule, plan)
    part = next(one for one in decide_policy(seen, SEQUENTIAL, now=now).certificates if one.segment == "x")
    assert part.shown_below
    assert part.retention.n < 100
    whole = rule.live()["b"].n
    first = evidence.order[:whole]
    assert np.isfinite(seen.incumbent.score[first]).all(), "segment x went on while the whole was open"


def test_decided_segments_are_not_asked_once_the_whole_is_decided(make, counts):
    plan = _plan(600, ["x", "y"] * 300)
    rule = Stopping(candidates=["b"], plan=plan)
    _feed(rule, plan, {"x": 0.0}, range(0, 300, 2))
    assert not rule.wants("b", "x")
    assert rule.wants("b", "y")


def test_thresholds_follow_the_shares_of_alpha():
    # alpha 0.05, one candidate: the whole at 2 / (0.05 / 2) = 80, a segment of two at 2 / (0.05 / 4) = 160.
    plan = _plan(10_000, ["x", "y"] * 5_000)
    rule = Stopping(candidates=["b"], plan=plan)
    segment, asked = SequentialRetention(floor=0.85, alpha=0.05 / 4, planned=5_000), 0
    while rule.wants("b", "x"):
        rule.update(plan[2 * asked], 2 * asked, 1.0, {"b": 0.0})
        segment.update(1.0, 0.0)
        asked += 1
    assert asked == segment.n
    assert 160 <= segment.e_fail < 160 * 2
    assert 80 <= rule.live()["b"].e_fail < 80 * 2


def test_fixed_designs_never_stop():
    plan = _plan(60)
    rule = Stopping(candidates=["b"], plan=plan, mode="fixed")
    _feed(rule, plan, {None: 0.0})
    assert rule.wants("b", None)


def test_unscored_samples_do_not_keep_the_end_from_being_tested(make, counts, now):
    b, c = counts(120, 14, 9, 17)
    c[:5] = np.nan
    evidence = make(
        b, c, order=np.random.default_rng(0).permutation(160), planned=160,
        inc={"cost_usd": 0.01, "latency_ms": 1.0}, cand={"cost_usd": 0.001, "latency_ms": 1.0},
    )  # fmt: skip
    verdict = decide_policy(evidence, SEQUENTIAL, now=now)
    assert verdict.certificates[0].retention.n == 155
    assert "then score test" in verdict.certificates[0].retention.method
    assert verdict.certificates[0].retention.p_value < 1 / verdict.certificates[0].retention.e_pass


def test_weights_and_scores_are_replayed_as_the_run_took_them(make, counts, now):
    b, c = counts(160, 160, 10, 70)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 400)
    order = np.random.default_rng(5).permutation(400)
    evidence = make(b, c, weight=weight, order=order, planned=400)
    rule, plan = _rule(evidence)
    for position, row in enumerate(order):
        rule.update(plan[position], position, b[row], {"b": c[row]})
    verdict = decide_policy(evidence, SEQUENTIAL, now=now)
    assert verdict.certificates[0].retention.e_fail == pytest.approx(rule.live()["b"].e_fail)
    assert verdict.certificates[0].retention.n == rule.live()["b"].n


def test_clusters_that_were_not_asked_as_a_whole_are_tested_once_at_the_end(make, counts, now):
    b, c = counts(160, 160, 10, 70)
    order = np.random.default_rng(5).permutation(400)
    evidence = make(b, c, order=order, planned=400, cluster=[f"c{i % 50}" for i in range(400)])
    verdict = decide_policy(evidence, SEQUENTIAL, now=now)
    assert verdict.mode == "fixed"
    assert verdict.certificates[0].retention.clusters == 50


@pytest.fixture
def clustered(make):
    """60 clusters of 1 to 9 samples, asked whole, the candidate clearly below the floor."""
    rng = np.random.default_rng(7)
    sizes = rng.integers(1, 10, 60)
    cluster = np.repeat([f"c{at}" for at in range(60)], sizes)
    n = len(cluster)
    b, c = (rng.random(n) < 0.9).astype(float), (rng.random(n) < 0.4).astype(float)
    plan = [Sample(id=f"s-{at}", fields={}, cluster=cluster[at]) for at in range(n)]
    size = np.repeat(sizes, sizes)
    return make(
        b, c, cluster=cluster.tolist(), order=np.arange(n), planned=n, position=np.arange(n), cluster_size=size,
        design=make_design(plan, RunDesign(samples=n, first_samples=n)),
    ), plan  # fmt: skip


def test_a_cluster_is_one_observation_and_clustered_runs_stop_early(clustered, now):
    evidence, plan = clustered
    rule = Stopping(candidates=["b"], plan=plan)
    seen = _run(evidence, rule, plan)
    asked = np.isfinite(seen.incumbent.score)
    last = int(np.flatnonzero(asked)[-1])
    assert last < evidence.n - 1
    assert evidence.cluster[last] != evidence.cluster[last + 1], "the run stopped within a cluster"
    verdict = decide_policy(seen, SEQUENTIAL, now=now)
    assert verdict.mode == "sequential"
    whole = verdict.certificates[0]
    assert whole.shown_below
    assert whole.retention.n == asked.sum()
    assert whole.retention.clusters == len(set(evidence.cluster[asked]))
    assert whole.retention.e_fail == pytest.approx(rule.live()["b"].e_fail)


def test_a_cluster_that_is_not_complete_does_not_count(clustered, now):
    evidence, _ = clustered
    starts = np.flatnonzero(evidence.cluster[1:] != evidence.cluster[:-1]) + 1
    cut = next(at for at in starts if at > 20 and evidence.cluster[at] == evidence.cluster[at + 2]) + 1
    rows = np.arange(evidence.n) < cut
    score = [np.where(rows, model.score, np.nan) for model in (evidence.incumbent, *evidence.candidates)]
    seen = replace(
        evidence,
        incumbent=replace(evidence.incumbent, score=score[0]),
        candidates=(replace(evidence.candidates[0], score=score[1]),),
    )
    whole = decide_policy(seen, SEQUENTIAL, now=now).certificates[0].retention
    assert whole.n == cut - 1
    assert whole.clusters == len(set(evidence.cluster[: cut - 1]))


def test_anytime_needs_no_plan_and_shuffles_imported_rows(make, counts, now):
    evidence = make(*counts(160, 160, 10, 70))
    verdict = decide_policy(evidence, DecisionSettings(mode="anytime", seed=4), now=now)
    assert verdict.mode == "anytime"
    assert verdict.name == "keep"
    assert verdict.certificates[0].retention.e_fail >= 20


def test_anytime_says_that_a_table_is_no_run_that_goes_on(make, counts, now):
    anytime = DecisionSettings(mode="anytime")
    for table, name in ((counts(160, 160, 10, 70), "keep"), (counts(70, 8, 2, 20), "undecided")):
        verdict = decide_policy(make(*table), anytime, now=now)
        assert (verdict.mode, verdict.name) == ("anytime", name)
        assert said(verdict.reasons, "shuffled-once")
        assert not said(verdict.reasons, "tested-once")
    assert said(verdict.would_change, "testing-again")
    run = make(*counts(70, 8, 2, 20), order=np.random.default_rng(2).permutation(100), planned=100)
    going = decide_policy(run, anytime, now=now)
    assert going.mode == "anytime"
    assert not said(going.reasons, "shuffled-once")
    assert not said(going.would_change, "testing-again")


def test_anytime_says_where_one_test_was_made_in_its_place(make, counts, now):
    b, c = counts(150, 12, 12, 26)
    copied = make(b, c, input=[f"question {at // 2}" for at in range(200)])
    clusters = make(b, c, cluster=[f"talk {at // 2}" for at in range(200)])
    judged = make(b, c, judge="judge-1", inc={"human": b}, cand={"human": c})
    for evidence, why in ((copied, "ask the same"), (clusters, "cluster"), (judged, "judge")):
        verdict = decide_policy(evidence, DecisionSettings(mode="anytime"), now=now)
        assert verdict.mode == "fixed"
        assert said(verdict.reasons, "tested-once", why)
        assert not said(verdict.reasons, "shuffled-once")
        usual = decide_policy(evidence, SEQUENTIAL, now=now)
        assert not said(usual.reasons, "tested-once"), "nobody asked for more than one look"


def test_sequential_without_a_recorded_order_is_fixed(make, counts, now):
    assert decide_policy(make(*counts(160, 160, 10, 70)), SEQUENTIAL, now=now).mode == "fixed"


def test_splits_only_follows_segments_alone_and_stops_each_for_itself() -> None:
    plan = _plan(400, ["x", "y"] * 200)
    rule = Stopping(candidates=["b"], plan=plan, splits_only=True)
    _feed(rule, plan, {"x": 1.0, "y": 0.0})
    assert not rule.wants("b", "x")
    assert not rule.wants("b", "y")
    live = rule.live()
    assert set(live) == {"b on x", "b on y"}
    assert live["b on x"].e_pass > 80
    assert live["b on y"].e_fail > 80


def _stopped_whole(make, order):
    """Rows whose whole was decided early: from then on only segment y, which is better, was asked."""
    n = len(order)
    segment = np.array(["x", "y"] * (n // 2), dtype=object)
    b = np.ones(n)
    c = np.where(segment == "y", 1.0, np.random.default_rng(3).random(n) < 0.6)
    asked = np.ones(n, dtype=bool)
    later = order[100:]
    asked[later[segment[later] == "x"]] = False
    cost = {"inc": {"cost_usd": 0.01}, "cand": {"cost_usd": 0.001}}
    return segment, np.where(asked, b, np.nan), np.where(asked, c, np.nan), asked, cost


def test_what_was_asked_after_the_whole_stopped_is_no_evidence_on_the_whole(make, now):
    # As when a run is decided on under another floor: what follows is all of the better segment.
    order = np.random.default_rng(5).permutation(1000)
    segment, b, c, asked, cost = _stopped_whole(make, order)
    every = make(b, c, segment=list(segment), order=order, planned=1000, **cost)
    whole = decide_policy(every, SEQUENTIAL, now=now).certificates[0]
    gap = next(at for at, row in enumerate(order) if not asked[row])
    assert whole.retention.n == gap
    assert not whole.certified
    # The same where samples that nobody was asked about have no row at all.
    kept = np.flatnonzero(asked)
    place = {row: at for at, row in enumerate(kept)}
    some = make(
        b[kept], c[kept], segment=list(segment[kept]), planned=1000,
        order=np.array([place[row] for row in order if asked[row]]),
        planned_by_segment={"x": 500, "y": 500}, unbroken=gap, unbroken_by_segment={"x": gap}, **cost,
    )  # fmt: skip
    again = decide_policy(some, SEQUENTIAL, now=now).certificates
    assert again[0].retention == whole.retention
    assert {one.segment: one.certified for one in again} == {None: False, "x": False, "y": True}


def test_a_planned_end_of_few_pairs_leaves_the_bets_alone(make, now):
    rng = np.random.default_rng(1)
    b = rng.uniform(0.8, 1.0, 12)
    evidence = make(b, b * rng.uniform(0.97, 1.0, 12), order=rng.permutation(12), planned=12)
    lax = DecisionSettings(mode="sequential", floor=0.7)
    one = decide_policy(evidence, lax, now=now).certificates[0]
    assert names(one.retention.reason, 20)
    assert one.adjusted_p == pytest.approx(2 / one.retention.e_pass)


def test_a_run_that_was_cut_short_saved_no_calls(make, counts, now):
    b, c = counts(150, 30, 10, 60)
    order = np.random.default_rng(5).permutation(250)
    b[order[60:]] = c[order[60:]] = np.nan
    verdict = decide_policy(make(b, c, order=order, planned=250), SEQUENTIAL, now=now)
    assert verdict.name == "undecided"
    assert (verdict.asked, verdict.planned, verdict.calls_saved) == (60, 250, 0)


def test_a_candidate_that_stopped_early_is_not_read_by_a_fixed_test(make, counts, now):
    b, c = counts(160, 20, 20, 50)
    d = c.copy()
    order = np.random.default_rng(5).permutation(250)
    d[order[60:]] = np.nan
    seen = decide_policy(make(b, c, d, order=order, planned=250), DecisionSettings(), now=now)
    assert {guard.name for guard in seen.guards if guard.status == "fail"} == {"peeking"}
    assert seen.name == "invalid"


def test_settings_other_than_the_runs_and_several_draws_are_said(make, counts, now):
    order = np.random.default_rng(5).permutation(250)
    evidence = make(*counts(160, 20, 20, 50), order=order, planned=250)
    changed = replace(SEQUENTIAL, changed_since_run=("floor 0.9",), draws=3)
    guards = {guard.name: guard for guard in decide_policy(evidence, changed, now=now).guards}
    assert (guards["peeking"].status, guards["selection"].status) == ("warn", "warn")
    assert names(guards["peeking"].seen, "floor 0.9")
    assert names(guards["selection"].seen, 3)


def _two_candidates(rule, plan, until):
    """Feed answers that are all right; return how many samples were asked before `until` says enough."""
    for position, sample in enumerate(plan):
        wanted = [each for each in "bc" if rule.wants(each, sample.segment)]
        if until(wanted):
            return position
        rule.update(sample, position, 1.0, dict.fromkeys(wanted, 1.0))
    return len(plan)


def test_a_switch_makes_its_segments_and_dearer_candidates_needless():
    plan = _plan(900, ["x", "y", "z"] * 300)
    asked = []

    def settles(candidate):
        asked.append(candidate)
        return {"c"} if candidate == "b" else None

    everything = Stopping(candidates=["b", "c"], plan=plan)
    rule = Stopping(candidates=["b", "c"], plan=plan, settles=settles)
    late = _two_candidates(everything, plan, lambda wanted: not wanted)
    early = _two_candidates(rule, plan, lambda wanted: not wanted)
    assert early < late
    assert asked == ["b"]


def test_a_dearer_switch_leaves_the_cheaper_candidate_open():
    plan = _plan(900)
    rule = Stopping(candidates=["b", "c"], plan=plan, settles=lambda _: set())
    for position, sample in enumerate(plan[:200]):
        rule.update(sample, position, 1.0, {"b": 1.0, "c": float(position % 7 != 0)})
    assert not rule.wants("b", None)
    assert rule.wants("c", None)


def test_guards_that_do_not_carry_a_switch_look_again_later():
    plan = _plan(900, ["x", "y", "z"] * 300)
    looks = []

    def settles(_):
        looks.append(len(looks))
        return set() if len(looks) == 3 else None

    rule = Stopping(candidates=["b"], plan=plan, settles=settles, futility=None)
    closed = None
    for position, sample in enumerate(plan):
        rule.update(sample, position, 1.0, {"b": float(sample.segment != "z" or position % 20 > 2)})
        if closed is None and not rule.wants("b", "z"):
            closed = position
    assert len(looks) == 3
    assert closed is not None


@pytest.fixture
def switched(make):
    """A candidate that is right wherever the incumbent is, and a dearer one; three segments."""
    n = 900
    segment = ["x", "y", "z"] * (n // 3)
    rng = np.random.default_rng(3)
    b = (rng.random(n) < 0.8).astype(float)
    c, d = (np.where(rng.random(n) < 0.1, 1 - b, b) for _ in range(2))
    evidence = make(
        b, c, d, segment=segment, order=rng.permutation(n), planned=n, inc={"cost_usd": 0.01},
        planned_by_segment=dict.fromkeys("xyz", n // 3),
    )  # fmt: skip
    costs = [np.full(n, 0.001), np.full(n, 0.004)]
    models = [replace(m, cost_usd=cost) for m, cost in zip(evidence.candidates, costs, strict=True)]
    return replace(evidence, candidates=tuple(models))


def _cut(evidence, asked):
    """Keep each model's columns where it was asked."""

    def cut(model, rows):
        seen = np.isin(np.arange(evidence.n), rows)
        columns = {name: np.where(seen, getattr(model, name), np.nan) for name in ("score", "cost_usd")}
        return replace(model, **columns)

    everybody = sorted({row for rows in asked.values() for row in rows})
    return replace(
        evidence,
        incumbent=cut(evidence.incumbent, everybody),
        candidates=tuple(cut(each, asked[each.model]) for each in evidence.candidates),
    )


def test_a_verdict_that_is_certain_names_what_was_not_needed(switched, now):
    plan = [Sample(id=f"s-{row}", fields={}, segment=switched.segment[row]) for row in switched.order]
    asked = {"b": [], "c": []}

    def settles(candidate):
        return settled_by(_cut(switched, asked), SEQUENTIAL, candidate, now=now)

    rule = Stopping(candidates=["b", "c"], plan=plan, settles=settles)
    for position, row in enumerate(switched.order):
        wanted = [each for each in "bc" if rule.wants(each, switched.segment[row])]
        for each in wanted:
            asked[each].append(row)
        scores = {each: switched.candidates["bc".index(each)].score[row] for each in wanted}
        if wanted:
            rule.update(plan[position], position, switched.incumbent.score[row], scores)
    seen = _cut(switched, asked)
    verdict = decide_policy(seen, SEQUENTIAL, now=now)
    assert (verdict.name, verdict.policy.candidate) == ("switch", "b")
    needless = {(one.candidate, one.segment) for one in verdict.certificates if one.not_needed}
    assert ("c", None) in needless
    assert {("b", part) for part in "xyz"} <= needless | {
        (one.candidate, one.segment) for one in verdict.certificates if one.certified
    }
    planned, everybody = 3 * switched.n, {*asked["b"], *asked["c"]}
    assert verdict.calls_saved == planned - len(asked["b"]) - len(asked["c"]) - len(everybody)
    assert verdict.calls_saved > planned / 2
    assert said(verdict.reasons, "not-needed", candidate="c", segments=())
    mine = {part for candidate, part in needless if candidate == "b"}
    assert {frozenset(each.segments) for each in said(verdict.reasons, "not-needed", candidate="b")} == (
        {frozenset(mine)} if mine else set()
    )
    assert verify(verdict, seen) == ()


def test_evidence_that_carries_no_switch_settles_nothing(switched, now):
    dear = replace(switched.candidates[0], cost_usd=np.full(switched.n, 0.02))
    assert settled_by(replace(switched, candidates=(dear,)), SEQUENTIAL, "b", now=now) is None
    assert settled_by(switched, SEQUENTIAL, "b", now=now) == {"c"}
    assert settled_by(switched, SEQUENTIAL, "c", now=now) == frozenset()
    facts = replace(SEQUENTIAL, requirements=Requirements(latency_p95_ms=10.0))
    assert settled_by(switched, facts, "b", now=now) is None
    wrong = replace(switched.candidates[0], unparsed=np.ones(switched.n, dtype=bool))
    unread = replace(switched.incumbent, unparsed=np.arange(switched.n) % 5 == 0)
    broken = replace(switched, incumbent=unread, candidates=(wrong, switched.candidates[1]))
    assert settled_by(broken, SEQUENTIAL, "b", now=now) is None


def test_a_run_gives_up_what_would_hardly_pass_and_may_go_on(make, now):
    rng = np.random.default_rng(4)
    b = (rng.random(400) < 0.8).astype(float)
    c = np.where(rng.random(400) < 0.2, 0.0, b)
    evidence = make(b, c, order=rng.permutation(400), planned=400)
    rule, plan = _rule(evidence)
    seen = _run(evidence, rule, plan)
    assert rule.gave_up
    assert not rule.wants("b", None)
    verdict = decide_policy(seen, SEQUENTIAL, now=now)
    whole = verdict.certificates[0]
    assert (verdict.name, whole.given_up) == ("undecided", True)
    assert said(verdict.reasons, "given-up", candidate="b", segments=())
    assert verdict.calls_saved == 2 * (400 - verdict.asked) > 0
    on = decide_policy(evidence, SEQUENTIAL, now=now).certificates[0]
    assert on.retention.n > whole.retention.n
    assert not on.given_up
