"""Rows without traffic, and samples without a cluster."""

from dataclasses import replace

import numpy as np

from crossgrade.decide import DecisionSettings, decide_policy


def test_a_segment_without_traffic_and_samples_without_a_cluster(make, now):
    n = 60
    evidence = make([1.0] * 2 * n, [1.0] * 2 * n, segment=["a"] * n + ["b"] * n)
    weights = np.r_[np.zeros(n), np.ones(n)]
    found = decide_policy(replace(evidence, weight=weights), DecisionSettings(splits_only=True), now=now)
    by_segment = {one.segment: one for one in found.certificates if one.segment}
    assert not by_segment["a"].certified
    assert by_segment["a"].retention.n == 0
    assert by_segment["b"].certified


def test_samples_without_a_cluster_stand_for_themselves(make, now):
    n = 100
    rng = np.random.default_rng(4)
    incumbent = (rng.random(n) < 0.8).astype(float)
    blank = np.array([f"d{at}" if at % 2 else "" for at in range(n)], dtype=object)
    own = np.array([f"d{at}" for at in range(n)], dtype=object)
    found, same = (
        decide_policy(
            replace(make(incumbent, incumbent), cluster=labels), DecisionSettings(), now=now
        ).certificates[0]
        for labels in (blank, own)
    )
    assert found.retention == same.retention
