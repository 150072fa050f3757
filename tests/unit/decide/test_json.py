"""Verdicts as JSON, the gate, the digest, and computing a verdict again."""

import json
import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from crossgrade._version import __version__
from crossgrade.decide import (
    DecisionSettings,
    Remark,
    compare,
    decide_policy,
    evidence_digest,
    gate,
    verdict_from_json,
    verdict_to_json,
    verify,
)
from crossgrade.errors import DataError
from crossgrade.stats import METHOD_VERSION
from tests.codes import raises_code

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def found(make, counts):
    return make(*counts(150, 12, 12, 26), inc={"cost_usd": 0.01}, cand={"cost_usd": 0.001})


@pytest.fixture
def verdict(found, now):
    return decide_policy(found, DecisionSettings(requests_per_month=10), now=now, spent_usd=Decimal("0.10"))


def test_the_round_trip_is_exact_and_plain_json(verdict):
    tree = json.loads(json.dumps(verdict_to_json(verdict), allow_nan=False))
    assert verdict_from_json(tree) == verdict
    assert tree["schema_version"] == 3
    assert set(tree["reasons"][0]) == {"code", "text", "candidate", "segments", "guard", "requirement"}
    assert tree["spent_usd"] == "0.10"
    assert tree["decided_at"] == "2026-11-25T00:00:00Z"
    assert set(tree["retention"]) >= {"value", "low", "high", "n"}
    assert tree["retention"]["n"] == 200


def test_infinities_survive(verdict):
    endless = replace(verdict.certificates[0].retention, high=math.inf)
    odd = replace(verdict, certificates=(replace(verdict.certificates[0], retention=endless),))
    tree = json.loads(json.dumps(verdict_to_json(odd), allow_nan=False))
    assert tree["retention"]["high"] == "Infinity"
    assert verdict_from_json(tree) == odd


def test_a_verdict_of_schema_version_1_stays_readable():
    tree = json.loads((DATA / "verdict_v1.json").read_text(encoding="utf-8"))
    read = verdict_from_json(tree)
    assert (read.name, read.method_version) == ("split", 1)
    whole = read.certificates[0].retention
    assert (whole.low_confidence, whole.high_confidence) == pytest.approx((0.975, 0.975))
    assert (whole.low, whole.high) == (tree["retention"]["low"], tree["retention"]["high"])
    del tree["certificates"][0]["retention"]["level"]
    with raises_code("verdict-invalid"):
        verdict_from_json(tree)


def test_a_verdict_of_schema_version_2_has_sentences_for_remarks(found):
    tree = json.loads((DATA / "verdict_v2.json").read_text(encoding="utf-8"))
    read = verdict_from_json(tree)
    for name in ("reasons", "would_change"):
        assert tree[name]
        assert getattr(read, name) == tuple(Remark(None, text) for text in tree[name])
    assert read.method_version == 2
    assert compare(read, found).differences == ()
    # Method 3 changed nothing where nobody corrects a judge.
    today = replace(read, method_version=METHOD_VERSION)
    assert compare(replace(today, package_version="0.1.0"), found).differences == ()
    forged = replace(today, reasons=read.reasons[:1], package_version=__version__)
    assert "reasons" in {each.partition(":")[0] for each in verify(forged, found)}


def test_a_verdict_of_schema_version_3_from_before_safety_rates_stays_readable(found):
    tree = json.loads((DATA / "verdict_v3.json").read_text(encoding="utf-8"))
    assert all(
        "safety" not in each for each in (*tree["settings"]["facts"], tree["settings"]["requirements"])
    )
    read = verdict_from_json(tree)
    assert [each.safety for each in read.settings.facts] == [(), ()]
    assert read.settings.requirements.safety == ()
    assert read.settings.facts[1].licence == "Apache-2.0"
    assert compare(read, found).differences == ()


def test_records_of_an_older_release_stay_readable(verdict):
    tree = verdict_to_json(verdict)
    for added in ("settings", "spent_usd", "run_id", "price_sources", "schema_version", "retention"):
        del tree[added]
    for certificate in tree["certificates"]:
        del certificate["shown_below"], certificate["adjusted_p_below"]
    assert verdict_from_json(tree).name == verdict.name


@pytest.mark.parametrize(
    "tree", [None, [], {}, {"schema_version": 2}, {"schema_version": "1"}, {"name": "switch"}]
)
def test_what_is_no_verdict_is_refused(tree):
    with pytest.raises(DataError):
        verdict_from_json(tree)


@pytest.mark.parametrize(
    ("name", "code"), [("switch", 0), ("split", 0), ("keep", 1), ("undecided", 1), ("invalid", 3)]
)
def test_gate(verdict, name, code):
    assert gate(replace(verdict, name=name)) == code


def test_the_digest_depends_on_what_decides(found, make, counts):
    digest = evidence_digest(found)
    assert digest.startswith("sha256:")
    scores = found.incumbent.score.copy()
    scores[7] = 1 - scores[7]
    others = [
        replace(found, incumbent=replace(found.incumbent, score=scores)),
        replace(found, segment=np.array(["x"] * 200, dtype=object)),
        replace(found, planned=400),
        replace(found, order=np.arange(200)),
        replace(found, chance=0.25),
        replace(found, sample_ids=found.sample_ids[::-1]),
    ]
    assert len({digest, *(evidence_digest(other) for other in others)}) == 7


def test_the_digest_does_not_depend_on_layout(found):
    strided = np.repeat(found.incumbent.score, 2)[::2]
    same = replace(
        found,
        incumbent=replace(found.incumbent, score=strided, output=np.array(["text"] * 200, dtype=object)),
        source="another place",
    )
    assert evidence_digest(same) == evidence_digest(found)
    lone = np.array(["\ud800"] * 200, dtype=object)
    assert evidence_digest(replace(found, segment=lone)) != evidence_digest(found)


def without(name):
    """Return a change of a verdict's tree that leaves a field out."""
    return lambda tree: tree.pop(name)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (without("method_version"), ("verdict-invalid", "method_version")),
        (
            lambda tree: (tree.pop("method_version"), tree.pop("schema_version")),
            ("verdict-invalid", "method_version"),
        ),
        (lambda tree: tree.update(certificates=[]), ("verdict-invalid",)),
        (lambda tree: tree["certificates"][0].update(segment="x"), ("verdict-invalid",)),
        (lambda tree: tree["retention"].update(value=1.5), ("verdict-invalid", "value", 1.5)),
        (lambda tree: tree["retention"].update(outcome="fail"), ("verdict-invalid", "outcome", "fail")),
        (lambda tree: tree.update(schema_version=True), ("verdict-too-new", True)),
        (lambda tree: tree.update(schema_version=-1), ("verdict-too-new", -1)),
    ],
)
def test_a_record_that_no_release_wrote_is_refused(verdict, change, seen):
    tree = json.loads(json.dumps(verdict_to_json(verdict)))
    assert verdict_from_json(tree) == verdict
    change(tree)
    with raises_code(*seen):
        verdict_from_json(tree)


def test_an_old_level_is_a_share():
    tree = json.loads((DATA / "verdict_v1.json").read_text(encoding="utf-8"))
    tree["certificates"][0]["retention"]["level"] = 5
    with raises_code("verdict-invalid", 5.0):
        verdict_from_json(tree)
