"""Constructed evidence: columns from plain lists, everything else neutral."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from crossgrade.decide import Evidence, ModelColumns

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def columns(model: str, score: Sequence[float], **changed: Any) -> ModelColumns:
    """One model's columns; a scalar is repeated over all rows."""
    n = len(score)
    values: dict[str, Any] = {
        "error": False, "unparsed": False, "cost_usd": np.nan, "latency_ms": np.nan, "ttft_ms": np.nan,
    }  # fmt: skip
    arrays = {}
    for name, value in {**values, **changed}.items():
        if name in values or name in {"human", "truncated"}:
            dtype = np.bool_ if name in {"error", "unparsed", "truncated"} else np.float64
            arrays[name] = np.broadcast_to(np.asarray(value, dtype=dtype), (n,)).copy()
        elif name in {"output", "prompt_digests"}:
            arrays[name] = np.array(value, dtype=object)
        else:
            arrays[name] = value
    return ModelColumns(model=model, score=np.asarray(score, dtype=np.float64), **arrays)


def evidence(
    incumbent: Sequence[float],
    *candidates: Sequence[float],
    inc: dict[str, Any] | None = None,
    cand: dict[str, Any] | None = None,
    **changed: Any,
) -> Evidence:
    """Evidence of an incumbent `a` and candidates `b`, `c`, …; labels and texts from lists."""
    for name in ("segment", "group", "cluster", "input", "target", "sample_ids"):
        if name in changed:
            changed[name] = np.array(changed[name], dtype=object)
    changed.setdefault("sample_ids", np.array([f"s-{i}" for i in range(len(incumbent))], dtype=object))
    return Evidence(
        workload="support",
        incumbent=columns("a", incumbent, **(inc or {})),
        candidates=tuple(
            columns(name, score, **(cand or {})) for name, score in zip("bcdefgh", candidates, strict=False)
        ),
        **changed,
    )


def table(n11: int, n10: int, n01: int, n00: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of right and wrong with these counts, shuffled."""
    b = np.repeat([1.0, 1.0, 0.0, 0.0], [n11, n10, n01, n00])
    c = np.repeat([1.0, 0.0, 1.0, 0.0], [n11, n10, n01, n00])
    order = np.random.default_rng(seed).permutation(len(b))
    return b[order], c[order]


@pytest.fixture(scope="session")
def make() -> Callable[..., Evidence]:
    return evidence


@pytest.fixture(scope="session")
def counts() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return table


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW
