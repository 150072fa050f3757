"""Computing a recorded verdict again: every difference is named."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from crossgrade.decide import DecisionSettings, Remark, compare, decide_policy, recompute, sentences, verify
from crossgrade.routing import Policy
from crossgrade.stats import METHOD_VERSION
from tests.codes import raises_code

COSTS = {"inc": {"cost_usd": 0.01}, "cand": {"cost_usd": 0.001}}


@pytest.fixture
def found(make, counts):
    return make(*counts(150, 12, 12, 26), **COSTS)


@pytest.fixture
def verdict(found, now):
    return decide_policy(found, DecisionSettings(requests_per_month=10), now=now, spent_usd=Decimal("0.10"))


@pytest.fixture
def close(make, counts):
    """Evidence that leaves it undecided."""
    return make(*counts(222, 50, 10, 18), **COSTS)


def forged(verdict, **changed):
    """A verdict that was changed into a switch, and nothing else."""
    policy = Policy(kind="switch", incumbent="a", candidate="b")
    return replace(verdict, name="switch", policy=policy, **changed)


def certified(one, **changed):
    """The certificate of an older method that passed it."""
    retention = replace(one.retention, outcome="pass")
    return replace(one, certified=True, adjusted_p=0.01, retention=retention, **changed)


def test_a_verdict_is_computed_again_from_its_evidence(verdict, found):
    assert recompute(verdict, found) == verdict
    assert verify(verdict, found) == ()


def test_what_was_changed_is_named(verdict, found):
    forged = replace(verdict, name="keep", policy=replace(verdict.policy, kind="keep", candidate=None))
    differences = verify(forged, found)
    assert "name: recorded 'keep', computed 'switch'" in differences
    scores = found.candidates[0].score.copy()
    scores[:30] = 0
    tampered = replace(found, candidates=(replace(found.candidates[0], score=scores),))
    assert any(each.startswith("evidence_digest") for each in verify(verdict, tampered))
    assert any(each.startswith("certificates[0].retention.value") for each in verify(verdict, tampered))


def test_reasons_recorded_without_codes_are_compared_without_them(make, now):
    found = make([1, 0, 1], [1, 1, 1], **COSTS)
    verdict = decide_policy(found, DecisionSettings(requests_per_month=10), now=now)
    one = verdict.certificates[0]
    assert one.retention.reason_code == "too-few-observations"

    def recorded(code):
        retention = replace(one.retention, reason_code=code)
        return replace(verdict, certificates=(replace(one, retention=retention), *verdict.certificates[1:]))

    assert verify(recorded(None), found) == ()
    (difference,) = verify(recorded("no-pairs"), found)
    assert difference.startswith("certificates[0].retention.reason_code: ")


def words(verdict):
    """Changed words, by the place where they are."""
    guard, certificate, first = verdict.guards[0], verdict.certificates[0], verdict.reasons[0]
    reason = replace(certificate.retention, reason="none")
    return {
        "sentence": replace(verdict, sentence="Switch support from a to b: it keeps 1.02"),
        "reasons[0].text": replace(
            verdict, reasons=(replace(first, text="b keeps 1.02"), *verdict.reasons[1:])
        ),
        "reasons[0].code": replace(verdict, reasons=(replace(first, code="saves"), *verdict.reasons[1:])),
        "reasons": replace(verdict, reasons=()),
        "would_change": replace(verdict, would_change=(first, *verdict.would_change)),
        "guards[0].seen": replace(verdict, guards=(replace(guard, seen="all is well"), *verdict.guards[1:])),
        "guards[0].advice": replace(verdict, guards=(replace(guard, advice="none"), *verdict.guards[1:])),
        "certificates[0].retention.reason": replace(
            verdict, certificates=(replace(certificate, retention=reason), *verdict.certificates[1:])
        ),
    }


@pytest.mark.parametrize("place", ["sentence", "reasons[0].text", "reasons[0].code", "reasons", "would_change",
                                   "guards[0].seen", "guards[0].advice",
                                   "certificates[0].retention.reason"])  # fmt: skip
def test_changed_words_are_differences_unless_another_release_wrote_them(verdict, found, place):
    changed = words(verdict)[place]
    (difference,) = verify(changed, found)
    assert difference.startswith(f"{place}: recorded")
    for other in ("0.0.1", None):
        compared = compare(replace(changed, package_version=other), found)
        assert compared.differences == ()
        assert compared.today.sentence == verdict.sentence


def test_remarks_recorded_without_codes_are_compared_by_their_words(verdict, found):
    def plain(remarks):
        return tuple(Remark(None, text) for text in sentences(remarks))

    old = replace(verdict, reasons=plain(verdict.reasons), would_change=plain(verdict.would_change))
    assert verify(old, found) == ()
    changed = replace(old, reasons=(Remark(None, "b keeps 1.02"), *old.reasons[1:]))
    (difference,) = verify(changed, found)
    assert difference.startswith("reasons[0]: recorded 'b keeps 1.02'")


def test_figures_of_another_release_are_compared_all_the_same(verdict, found):
    guard = replace(verdict.guards[0], status="warn")
    changed = replace(verdict, guards=(guard, *verdict.guards[1:]), package_version=None)
    assert verify(changed, found) == ("guards[0].status: recorded 'warn', computed 'pass'",)


def test_losses_of_erased_samples_are_no_difference(make, counts, now):
    texts = np.array([f"answer {i}" for i in range(200)], dtype=object)
    full = make(
        *counts(150, 12, 12, 26), input=texts, inc={"output": texts, "cost_usd": 0.01}, cand={"output": texts}
    )
    verdict = decide_policy(full, now=now)
    gone = verdict.losses[3].sample_id

    def erased(column):
        return np.array([None if f"s-{i}" == gone else text for i, text in enumerate(column)], dtype=object)

    left = replace(
        full,
        input=erased(texts),
        incumbent=replace(full.incumbent, output=erased(texts)),
        candidates=(replace(full.candidates[0], output=erased(texts)),),
    )
    fewer = replace(verdict, losses=tuple(each for each in verdict.losses if each.sample_id != gone))
    assert verify(fewer, left) == ()
    assert verify(fewer, full) != ()
    assert verify(replace(fewer, losses=fewer.losses[1:]), left) != ()


@pytest.mark.parametrize("version", [0, -1, METHOD_VERSION + 1, 99])
def test_a_method_that_this_release_does_not_know_is_refused(verdict, found, version):
    with raises_code("verdict-too-new", version):
        verify(replace(verdict, method_version=version), found)


def test_this_release_decides_by_no_older_method(verdict, found):
    (difference,) = verify(replace(verdict, method_version=1), found)
    assert difference.startswith("method_version: recorded 1")
    for earlier in ("0.1.0", None):
        assert verify(replace(verdict, method_version=1, package_version=earlier), found) == ()


def test_the_part_of_a_long_sentence_that_differs_is_shown(verdict, found):
    changed = verdict.sentence.replace("saves $", "saves $9")
    assert changed != verdict.sentence
    (difference,) = verify(replace(verdict, sentence=changed), found)
    was, _, now = difference.partition(", computed ")
    assert "saves $9" in was
    assert "saves $9" not in now
    assert len(difference) < 250
    (longer,) = verify(replace(verdict, sentence=verdict.sentence + " It keeps 1.2."), found)
    assert "It keeps 1.2." in longer


def test_an_older_verdict_must_be_of_its_evidence_and_settings(verdict, found):
    old = replace(verdict, method_version=1, package_version="0.1.0")
    assert verify(old, found) == ()
    assert verify(replace(old, evidence_digest="x"), found)[0].startswith("evidence_digest: recorded 'x'")
    (late,) = verify(replace(old, valid_until=verdict.valid_until.replace(year=2099)), found)
    assert late.startswith("valid_until: recorded 2099")
    for field, wrong in {
        "floor": 0.5,
        "alpha": 0.5,
        "incumbent": "x",
        "asked": 5,
        "candidates": ("x",),
    }.items():
        assert any(each.startswith(field) for each in verify(replace(old, **{field: wrong}), found))
    (whole,) = verdict.certificates
    for field, wrong in {"value": 1.5, "n": 7}.items():
        changed = replace(whole, retention=replace(whole.retention, **{field: wrong}))
        (difference,) = verify(replace(old, certificates=(changed,)), found)
        assert difference.startswith(f"certificate of b on the whole workload: {field}: recorded {wrong}")


def test_an_older_switch_needs_a_certificate_under_any_method(close, now):
    honest = decide_policy(close, now=now)
    assert honest.name == "undecided"
    old = forged(honest, method_version=1, package_version="0.1.0")
    assert verify(old, close) == ("policy: no certificate for b on the whole workload, which it moves",)
    (whole,) = honest.certificates
    assert verify(replace(old, certificates=(certified(whole),)), close) == ()
    for wrong in (
        {"excluded": "parity"},
        {"shown_below": True},
        {"tested": False},
        {"adjusted_p": 0.2},
        {"retention": whole.retention},
    ):
        (seen,) = verify(replace(old, certificates=(replace(certified(whole), **wrong),)), close)
        assert seen == "certificate of b on the whole workload: certified, and its own test says no"


def test_an_older_policy_must_be_one(close, now):
    old = replace(decide_policy(close, now=now), method_version=1, package_version="0.1.0")
    (whole,) = old.certificates
    switch = forged(old, certificates=(certified(whole),))
    assert "policy: 'switch' beside the verdict 'keep'" in verify(replace(switch, name="keep"), close)
    for policy, seen in (
        ({"incumbent": "x"}, "policy: its incumbent is 'x', the verdict's is 'a'"),
        ({"candidate": "x"}, "policy: no certificate for x on the whole workload, which it moves"),
        ({"max_bytes": 9}, "policy: a limit of 9 bytes, which is not the one in the settings"),
    ):
        assert seen in verify(replace(switch, policy=replace(switch.policy, **policy)), close)
    split = replace(switch, name="split", policy=replace(switch.policy, kind="split", segments=("x",)))
    assert verify(split, close) == ("policy: no certificate for b on x, which it moves",)
