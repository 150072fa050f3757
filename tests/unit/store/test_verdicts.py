"""Verdicts and their evidence come back exactly, infinities and NaN included."""

import math
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from sqlalchemy import update

from crossgrade.decide import Certificate, Evidence, ModelColumns, PairingAudit, Remark, Verdict
from crossgrade.domain import Origin
from crossgrade.routing import Policy
from crossgrade.stats import Retention
from crossgrade.store import Store
from crossgrade.store._tables import verdicts as table
from tests.codes import raises_code


def make_verdict(**changes: object) -> Verdict:
    retention = Retention(
        value=0.91,
        low=0.87,
        high=math.inf,
        low_confidence=0.975,
        high_confidence=0.975,
        n=400,
        floor=0.85,
        alpha=0.05,
        outcome="pass",
        p_value=0.001,
        p_value_below=math.nan,
        method="score",
    )
    certificate = Certificate(
        candidate="llama", segment=None, retention=retention, adjusted_p=0.002, certified=True
    )
    verdict = Verdict(
        workload="support",
        name="switch",
        policy=Policy(kind="switch", incumbent="gpt", candidate="llama"),
        incumbent="gpt",
        candidates=("llama",),
        floor=0.85,
        alpha=0.05,
        mode="sequential",
        sentence="Switch.",
        reasons=(Remark("certified", "because", candidate="llama"),),
        would_change=(),
        certificates=(certificate,),
        guards=(),
        requirements=(),
        costs=(),
        losses=(),
        path=(),
        asked=400,
        planned=500,
        calls_saved=200,
        needed=None,
        decided_at=datetime(2026, 11, 25, tzinfo=UTC),
        valid_until=datetime(2027, 2, 23, tzinfo=UTC),
        evidence_digest="e",
        seed=1,
        spent_usd=Decimal("1.50"),
    )
    return replace(verdict, **changes)


def make_evidence(n: int = 3) -> Evidence:
    def columns(model: str) -> ModelColumns:
        return ModelColumns(
            model=model,
            score=np.array([1.0, math.nan, 1 / 3][:n]),
            error=np.array([False, True, False][:n]),
            unparsed=np.zeros(n, dtype=bool),
            cost_usd=np.array([0.1, math.nan, 1e-7][:n]),
            latency_ms=np.full(n, math.nan),
            ttft_ms=np.full(n, math.nan),
            output=np.array(["a", None, "ü"][:n], dtype=object),
            origin=Origin.INDEPENDENT,
            settings_digests=("x", "y"),
        )

    return Evidence(
        workload="support",
        sample_ids=np.array(["1", "2", "3"][:n], dtype=object),
        incumbent=columns("gpt"),
        candidates=(columns("llama"), columns("qwen")),
        segment=np.array(["de", None, "en"][:n], dtype=object),
        audit=PairingAudit(unmatched=2, examples=("9",)),
        planned=10,
        order=np.arange(n)[::-1].copy(),
        chance_by_segment={"de": 0.25},
    )


def same(left: object, right: object) -> bool:
    """Equality of evidence: NaN equals NaN, arrays by dtype and content."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        if left.dtype != right.dtype:
            return False
        return left.tolist() == right.tolist() if left.dtype == object else left.tobytes() == right.tobytes()
    if isinstance(left, Evidence | ModelColumns):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in fields(left))
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def test_a_verdict_comes_back_as_it_was(any_store: Store) -> None:
    verdict = make_verdict()
    identifier = any_store.verdicts.append(verdict)
    back = any_store.verdicts.get(identifier).verdict
    retention = back.certificates[0].retention
    assert math.isnan(retention.p_value_below)
    assert retention.high == math.inf
    assert repr(back) == repr(verdict)


def test_evidence_comes_back_to_the_bit(any_store: Store) -> None:
    evidence = make_evidence()
    identifier = any_store.verdicts.append(make_verdict(), evidence)
    assert same(any_store.verdicts.evidence(identifier), evidence)


def test_verdicts_are_listed_newest_first(any_store: Store) -> None:
    old = any_store.verdicts.append(make_verdict(decided_at=datetime(2026, 1, 1, tzinfo=UTC)))
    new = any_store.verdicts.append(make_verdict())
    any_store.verdicts.append(make_verdict(workload="other"))
    assert [stored.id for stored in any_store.verdicts.recent("support")] == [new, old]
    assert len(any_store.verdicts.recent(limit=2)) == 2


def test_a_verdict_or_its_evidence_that_is_not_there(any_store: Store) -> None:
    with raises_code("verdict-unknown", "x"):
        any_store.verdicts.get("x")
    identifier = any_store.verdicts.append(make_verdict())
    with raises_code("evidence-missing"):
        any_store.verdicts.evidence(identifier)


@pytest.mark.parametrize("packed", [b"", b"rubbish", b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 12])
def test_evidence_that_was_damaged(store: Store, packed: bytes) -> None:
    identifier = store.verdicts.append(make_verdict(), make_evidence())
    with store.verdicts._database.writing() as connection:
        connection.execute(update(table).values(evidence=packed))
    with raises_code("evidence-damaged"):
        store.verdicts.evidence(identifier)


def test_a_verdict_that_was_damaged(store: Store) -> None:
    identifier = store.verdicts.append(make_verdict())
    with store.verdicts._database.writing() as connection:
        connection.execute(update(table).values(verdict="{}"))
    with raises_code("verdict-unreadable"):
        store.verdicts.get(identifier)


def test_the_same_verdict_at_another_hour_is_known(any_store: Store) -> None:
    verdict = make_verdict()
    assert any_store.verdicts.same_as(verdict) is None
    identifier = any_store.verdicts.append(verdict)
    later = replace(verdict, decided_at=verdict.decided_at + timedelta(seconds=9))
    known = any_store.verdicts.same_as(later)
    assert known is not None
    assert (known.id, known.is_known, known.verdict.decided_at) == (identifier, True, verdict.decided_at)
    assert (
        any_store.verdicts.same_as(replace(later, valid_until=later.valid_until + timedelta(days=1))) is None
    )
    assert any_store.verdicts.same_as(replace(later, evidence_digest="sha256:" + "1" * 64)) is None
    other = any_store.verdicts.append(replace(verdict, name="keep", decided_at=later.decided_at))
    assert any_store.verdicts.same_as(later) is None, f"{other} is the newest, and says something else"
