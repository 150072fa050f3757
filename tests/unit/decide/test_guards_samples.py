"""Guards on how samples were drawn, paired, ordered and priced."""

from dataclasses import replace

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, PairingAudit, decide_policy
from crossgrade.decide._guards import run_guards
from crossgrade.decide._view import make_view
from crossgrade.domain import Origin
from tests.codes import names


def _found(evidence, now, name, **settings):
    verdict = decide_policy(evidence, DecisionSettings(**settings), now=now)
    return [guard for guard in verdict.guards if guard.name == name], verdict


def _statuses(evidence, now, name, **settings):
    return {guard.status for guard in _found(evidence, now, name, **settings)[0]}


@pytest.fixture
def pairs(counts):
    return counts(150, 20, 15, 15)


def test_few_clusters_are_too_few_data_and_no_fault(make, pairs, now):
    few = make(*pairs, cluster=[f"doc{i % 19}" for i in range(200)])
    enough = make(*pairs, cluster=[f"doc{i % 40}" for i in range(200)])
    found, verdict = _found(few, now, "clusters")
    assert [guard.status for guard in found] == ["warn"]
    assert names(found[0].seen, 19)
    assert verdict.name == "undecided"
    assert verdict.certificates[0].retention.reason_code == "too-few-observations"
    assert verdict.certificates[0].adjusted_p == 1.0
    assert _statuses(enough, now, "clusters") == {"pass"}
    assert decide_policy(enough, now=now).certificates[0].retention.clusters == 40


def test_a_segment_of_few_clusters_takes_no_certificate_from_the_whole(make, pairs, now):
    cluster = [f"doc{i % 50}" for i in range(200)]
    segment = ["small" if i % 50 < 19 else "large" for i in range(200)]
    evidence = make(
        *pairs, cluster=cluster, segment=segment, inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001}
    )
    found, verdict = _found(evidence, now, "clusters")
    assert {guard.segment: guard.status for guard in found} == {None: "pass", "small": "warn"}
    assert verdict.name == "switch"
    small = next(one for one in verdict.certificates if one.segment == "small")
    assert not small.certified
    assert small.excluded is None
    assert small.retention.reason_code == "too-few-observations"


def test_repeats_of_a_sample_are_one_cluster(make, pairs, now):
    evidence = make(*pairs, sample_ids=[f"s{i // 2}" for i in range(200)])
    found, verdict = _found(evidence, now, "clusters")
    assert found[0].status == "warn"
    assert names(found[0].seen, 100)
    assert verdict.certificates[0].retention.clusters == 100


def test_repeats_counted_as_clusters_fail(make, pairs, now):
    ids = [f"s{i // 2}" for i in range(200)]
    evidence = make(*pairs, sample_ids=ids, cluster=[f"c{i % 50}" for i in range(200)])
    assert "fail" in _statuses(evidence, now, "clusters")


def test_clusters_in_the_ids_that_nobody_declared(make, pairs, now):
    turns = make(*pairs, sample_ids=[f"talk{i // 2}-turn{i % 2}" for i in range(200)])
    assert _statuses(turns, now, "clusters") == {"warn"}
    numbered = make(*pairs, sample_ids=[f"gsm8k-{i}" for i in range(200)])
    assert _statuses(numbered, now, "clusters") == {"pass"}


@pytest.mark.parametrize("seen", ["ids", "inputs"])
def test_documents_that_nobody_declared_fail_where_they_matter(make, now, seen):
    rng = np.random.default_rng(7)
    document = rng.permutation(np.repeat(np.arange(40), 10))
    good = np.arange(40) >= 4
    b = (rng.random(400) < 0.8).astype(float)
    telling = {
        "ids": {"sample_ids": [f"doc{name}-{at}" for at, name in enumerate(document)]},
        "inputs": {
            "input": [
                f"Read this. {f'Document {name}. ' * 20} Question {at}?" for at, name in enumerate(document)
            ]
        },
    }[seen]
    c = np.where(good[document], b, 0.0)
    alike = make(b, c, **telling)
    found, verdict = _found(alike, now, "clusters")
    assert found[0].status == "fail"
    assert names(found[0].seen, 40)
    assert verdict.name == "invalid"
    unlike = make(b, np.where(rng.random(400) < 0.9, b, 0.0), **telling)
    assert _statuses(unlike, now, "clusters") == {"warn"}
    lost = make(b, np.where((good & (np.arange(40) > 20))[document], b, 0.0), **telling)
    assert _statuses(lost, now, "clusters") == {"warn"}, "no pass rests on it"
    declared = make(b, c, cluster=document.tolist(), **telling)
    assert _statuses(declared, now, "clusters") == {"pass"}


def test_neighbours_that_are_alike_warn(make, now):
    rng = np.random.default_rng(8)
    document = np.repeat(np.arange(80), 5)
    b = (rng.random(400) < 0.8).astype(float)
    c = np.where((rng.random(80) < 0.8)[document], b, 0.0)
    found, _ = _found(make(b, c), now, "order-dependence")
    assert found[0].status == "warn"
    assert names(found[0].seen, 80)
    assert _statuses(make(b, rng.permutation(c)), now, "order-dependence") == {"pass"}


def test_file_order_is_no_random_order(make, counts, now):
    blocks = [counts(n11, 100 - n11, 0, 0) for n11 in (99, 97, 95, 60, 55, 50)]
    b, c = (np.concatenate(column) for column in zip(*blocks, strict=True))
    fixed = make(b, c)
    assert _statuses(fixed, now, "order-dependence") == {"warn"}
    asked_in_order = make(b, c, order=np.arange(600), planned=600)
    found, verdict = _found(asked_in_order, now, "order-dependence", mode="sequential")
    assert found[0].status == "fail"
    assert names(found[0].seen, 600)
    assert verdict.name == "invalid"
    shuffled = make(b, c, order=np.random.default_rng(1).permutation(600), planned=600)
    assert _statuses(shuffled, now, "order-dependence", mode="sequential") == {"pass"}


def test_a_file_sorted_by_segment_is_no_surprise(make, counts, now):
    blocks = [counts(n11, 200 - n11, 0, 0, seed=n11) for n11 in (190, 160, 120)]
    b, c = (np.concatenate(column) for column in zip(*blocks, strict=True))
    labels = np.repeat(["x", "y", "z"], 200).tolist()
    assert _statuses(make(b, c), now, "order-dependence") == {"warn"}
    assert _statuses(make(b, c, segment=labels), now, "order-dependence") == {"pass"}


def test_a_fixed_test_is_not_read_before_the_end(make, pairs, now):
    early = make(*pairs, planned=400)
    assert _statuses(early, now, "peeking") == {"fail"}
    assert _statuses(make(*pairs, planned=200), now, "peeking") == {"pass"}


@pytest.mark.parametrize(
    ("name", "audit", "status"),
    [
        ("key-conflicts", PairingAudit(key_conflicts=3, examples=("q7",)), "warn"),
        ("key-conflicts", PairingAudit(key_conflicts=33), "fail"),
        ("mismatched-items", PairingAudit(unmatched=5), "warn"),
        ("mismatched-items", PairingAudit(unmatched=12), "fail"),
        ("duplicates", PairingAudit(duplicates=2), "warn"),
        ("duplicates", PairingAudit(duplicates=50), "fail"),
    ],
)
def test_what_pairing_left_out(make, pairs, now, name, audit, status):
    assert _statuses(make(*pairs, audit=audit), now, name) == {status}
    assert _statuses(make(*pairs), now, name) == {"pass"}


def test_one_question_under_two_ids(make, pairs, now):
    questions = [f"question {at}?" for at in range(200)]
    few, many = ([*questions[:n], *questions[: 200 - n]] for n in (195, 180))
    assert _statuses(make(*pairs, input=few), now, "duplicates") == {"warn"}
    assert _statuses(make(*pairs, input=many), now, "duplicates") == {"warn"}
    asked = make(*pairs, input=many, order=np.arange(200))
    assert _statuses(asked, now, "duplicates", mode="sequential") == {"fail"}, "bets count each for itself"
    growing = DecisionSettings(grow=True)
    (guard,) = [
        each for each in run_guards(make_view(make(*pairs, input=many), growing)) if each.name == "duplicates"
    ]
    assert guard.status == "warn", "a certificate that grows counts them once"
    assert _statuses(make(*pairs, input=many, cluster=many), now, "duplicates") == {"pass"}
    keys = [str(at) for at in range(200)]
    assert _statuses(make(*pairs, input=many, target=keys), now, "duplicates") == {"pass"}, (
        "other right answers"
    )
    cut = ["x" * 4_000] * 200
    assert _statuses(make(*pairs, input=cut), now, "duplicates") == {"pass"}, "they may differ after it"


def test_samples_that_ask_the_same_are_one_with_their_number_as_weight(make, counts, now):
    """As a cluster of them is, and as a run asks them: once, with their number as weight."""
    b, c = counts(45, 3, 3, 9)
    copies = np.random.default_rng(1).integers(1, 10, 60)
    rows = np.repeat(np.arange(60), copies)
    rng = np.random.default_rng(2)
    again = rng.random(len(rows)) < 0.05  # a model may answer one question differently when asked again
    repeated = make(
        b[rows],
        np.where(again, 1 - c[rows], c[rows]),
        input=[f"question {at}?" for at in rows],
        target=[f"key {at % 7}" for at in rows],
    )
    declared = replace(repeated, input=None, cluster=np.array([f"q{at}" for at in rows], dtype=object))
    one, other = (decide_policy(each, now=now).certificates[0].retention for each in (repeated, declared))
    assert (one.n, one.clusters) == (len(rows), 60)
    assert one == other
    merged = np.zeros((2, 60))
    for row, at in enumerate(rows):
        merged[:, at] += np.array([repeated.incumbent.score[row], repeated.candidates[0].score[row]])
    weighted = make(*(merged / copies), weight=copies.astype(float))
    alone = decide_policy(weighted, now=now).certificates[0].retention
    assert one.p_value == pytest.approx(alone.p_value)
    assert one.value == pytest.approx(alone.value)
    shuffle = rng.permutation(len(rows))
    shuffled = replace(
        repeated,
        sample_ids=repeated.sample_ids[shuffle],
        input=repeated.input[shuffle],
        target=repeated.target[shuffle],
    )
    assert shuffled.units == np.array(repeated.units)[shuffle].tolist(), "each row has its question's unit"


def test_items_that_one_candidate_lacks_put_out_that_one_alone(make, counts, now):
    b, c = counts(150, 20, 15, 15)
    audit = PairingAudit(unmatched=30, unmatched_by_candidate={"b": 30, "c": 2})
    found, _ = _found(make(b, c, c[::-1], audit=audit), now, "mismatched-items")
    assert [(guard.status, guard.candidate) for guard in found] == [("fail", "b"), ("warn", "c")]
    assert names(found[0].seen, "13 %")


def test_different_prompts_fail_unless_they_are_meant(make, pairs, now):
    evidence = make(*pairs, inc={"prompt_digests": ["p"] * 200}, cand={"prompt_digests": ["p"] * 199 + ["q"]})
    assert _statuses(evidence, now, "prompt-parity") == {"fail"}
    assert _statuses(evidence, now, "prompt-parity", parity_declared=True) == {"warn"}


def test_different_settings_warn_and_mixed_ones_fail(make, pairs, now):
    differ = make(*pairs, inc={"settings_digests": ("x",)}, cand={"settings_digests": ("y",)})
    mixed = make(*pairs, inc={"settings_digests": ("x", "y")}, cand={"settings_digests": ("x", "y")})
    assert _statuses(differ, now, "decoding-parity") == {"warn"}
    assert _statuses(differ, now, "decoding-parity", parity_declared=True) == {"pass"}
    assert "fail" in _statuses(mixed, now, "decoding-parity")


def test_a_vendor_figure_certifies_nothing(make, pairs, now):
    evidence = make(*pairs, cand={"origin": Origin.VENDOR})
    assert (
        decide_policy(evidence, DecisionSettings(stated_cost_usd={"a": 1, "b": 0.1}), now=now).name
        == "invalid"
    )
    assert _statuses(make(*pairs, cand={"origin": Origin.INDEPENDENT}), now, "origin") == {"pass"}


def test_one_vendor_candidate_leaves_the_others(make, pairs, now):
    from dataclasses import replace

    both = make(pairs[0], pairs[1], pairs[1], inc={"cost_usd": 1.0}, cand={"cost_usd": 0.1})
    vendor = replace(both.candidates[0], origin=Origin.VENDOR)
    verdict = decide_policy(replace(both, candidates=(vendor, both.candidates[1])), now=now)
    assert verdict.name == "switch"
    assert verdict.policy.candidate == "c"
    assert verdict.certificates[0].excluded == "origin"


def test_selection_is_told_and_paid_for(make, counts, now):
    b, c = counts(150, 12, 8, 10)
    alone = decide_policy(make(b, c), now=now)
    assert alone.certificates[0].certified
    found, many = _found(make(b, c, c, c, c, c, c), now, "selection")
    assert names(found[0].seen, 6)
    assert many.certificates[0].adjusted_p == pytest.approx(6 * alone.certificates[0].adjusted_p)


def test_unknown_prices_warn_and_stated_ones_do(make, pairs, now):
    assert _statuses(make(*pairs), now, "price-known") == {"warn"}
    assert _statuses(make(*pairs), now, "price-known", stated_cost_usd={"a": 0.1, "b": 0.01}) == {"pass"}


def test_traffic_weights(make, pairs, now):
    heavy = np.ones(200)
    heavy[0] = 500.0
    assert _statuses(make(*pairs, weight=heavy), now, "traffic-weights") == {"warn"}
    assert _statuses(make(*pairs, weight=np.full(200, np.nan)), now, "traffic-weights") == {"fail"}
    assert _statuses(make(*pairs, weight=np.linspace(1, 2, 200)), now, "traffic-weights") == {"pass"}


def test_a_broken_segment_does_not_make_the_rest_unfit(make, pairs, now):
    lost = np.arange(200) < 60
    evidence = make(*pairs, inc={"unparsed": lost}, segment=["x"] * 60 + ["y"] * 140)
    verdict = decide_policy(evidence, now=now)
    statuses = {(guard.segment, guard.status) for guard in verdict.guards if guard.name == "unparsed-rate"}
    assert statuses == {(None, "pass"), ("x", "fail")}
    assert verdict.name != "invalid"
    everywhere = make(*pairs, inc={"unparsed": True}, segment=["x"] * 60 + ["y"] * 140)
    assert decide_policy(everywhere, now=now).name == "invalid"
