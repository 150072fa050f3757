"""Samples and evidence for tests."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crossgrade.domain import Sample

if TYPE_CHECKING:
    from crossgrade.decide import Evidence, ModelColumns


def samples(n: int, *, segments: Sequence[str] = (), cluster_size: int = 1) -> tuple[Sample, ...]:
    """Return `n` additions to answer, ids `s0000` on, with segments in turn and clusters of neighbours."""
    return tuple(
        Sample(
            id=f"s{at:04d}",
            fields={"input": f"What is {at} + {at}?", "target": str(2 * at)},
            target=str(2 * at),
            segment=segments[at % len(segments)] if segments else None,
            cluster=f"c{at // cluster_size:04d}" if cluster_size > 1 else None,
        )
        for at in range(n)
    )


def evidence(
    incumbent: Sequence[float],
    candidate: Sequence[float] | None = None,
    *,
    candidates: Mapping[str, Sequence[float]] | None = None,
    segment: Sequence[str] | None = None,
    cluster: Sequence[str] | None = None,
    incumbent_cost_usd: float = 0.01,
    candidate_cost_usd: float = 0.001,
    **fields: Any,
) -> "Evidence":
    """Return evidence with these scores (NaN: unscored), a cost for every call and no faults.

    One candidate is named `candidate`; give `candidates` by name for several. `fields` replace
    any other field of `Evidence`.
    """
    import numpy as np

    from crossgrade.decide import Evidence

    named = dict(candidates or {})
    if candidate is not None:
        named["candidate"] = candidate

    def labels(values: Sequence[str] | None) -> Any:
        return None if values is None else np.array(values, dtype=object)

    given: dict[str, Any] = {
        "workload": "test",
        "sample_ids": labels([f"s{at:04d}" for at in range(len(incumbent))]),
        "incumbent": _columns("incumbent", incumbent, incumbent_cost_usd),
        "candidates": tuple(_columns(name, scores, candidate_cost_usd) for name, scores in named.items()),
        "segment": labels(segment),
        "cluster": labels(cluster),
        "source": "built for a test",
    }
    return Evidence(**{**given, **fields})


def _columns(model: str, scores: Sequence[float], cost_usd: float) -> "ModelColumns":
    import numpy as np

    from crossgrade.decide import ModelColumns

    n = len(scores)
    return ModelColumns(
        model=model,
        score=np.asarray(scores, dtype=np.float64),
        error=np.zeros(n, dtype=np.bool_),
        unparsed=np.zeros(n, dtype=np.bool_),
        cost_usd=np.full(n, cost_usd),
        latency_ms=np.full(n, 100.0),
        ttft_ms=np.full(n, np.nan),
    )
