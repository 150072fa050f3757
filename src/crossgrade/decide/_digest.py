"""The digest of the columns that a verdict was computed from."""

import hashlib
import json
from collections.abc import Iterator

import msgspec
import numpy as np

from crossgrade.decide._evidence import Evidence, ModelColumns


def evidence_digest(evidence: Evidence) -> str:
    """Return `sha256:` and the hex digest of every column and setting that changes a number.

    Texts of inputs, targets and answers are left out: they illustrate and decide nothing. The
    digest depends on values alone, not on how they are laid out in memory, and each part is
    hashed with its name and length, so that no two evidences share their bytes.
    """
    whole = hashlib.sha256(b"crossgrade evidence 1")
    for name, content in _parts(evidence):
        whole.update(f"{len(name)}:{name}{len(content)}:".encode())
        whole.update(content)
    return "sha256:" + whole.hexdigest()


def _parts(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Iterate over the named parts in a fixed order."""
    for name in ("sample_ids", "segment", "group", "cluster"):
        yield name, _texts(getattr(evidence, name))
    yield "weight", _numbers(evidence.weight)
    yield "order", _numbers(evidence.order)
    yield "planned", repr((evidence.planned, sorted(evidence.planned_by_segment.items()))).encode()
    if evidence.unbroken is not None:
        yield "unbroken", repr((evidence.unbroken, sorted(evidence.unbroken_by_segment.items()))).encode()
    yield from _limits(evidence)
    if evidence.design is not None:
        yield "design", msgspec.json.encode(evidence.design, order="deterministic")
        for name in ("position", "cluster_size", "cluster_size_in_segment"):
            yield name, _numbers(getattr(evidence, name))
    yield "heaviest", repr(evidence.heaviest).encode()
    yield "scale", repr((evidence.chance, sorted(evidence.chance_by_segment.items()), evidence.zero)).encode()
    audit = evidence.audit
    yield "audit", repr((audit.unmatched, audit.duplicates, audit.key_conflicts)).encode()
    if audit.unmatched_by_candidate:
        yield "unmatched", repr(sorted(audit.unmatched_by_candidate.items())).encode()
    routing = evidence.routing
    if routing is not None and routing.router is not None:
        yield "router", routing.router.digest.encode()
        yield "score", _numbers(routing.score)
    yield from _labels(evidence)
    yield "judge", repr(evidence.judge).encode()
    for model in (evidence.incumbent, *evidence.candidates):
        for name, content in _model_parts(model):
            yield f"{model.model}\0{name}", content


def _labels(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Iterate over what says how samples were drawn for people, and which of them were skipped."""
    if evidence.label_probability is not None:
        yield "label_probability", _numbers(evidence.label_probability)
    if evidence.label_skipped is not None:
        yield "label_skipped", _numbers(evidence.label_skipped)


def _limits(evidence: Evidence) -> Iterator[tuple[str, bytes]]:
    """Iterate over what says which requests a candidate may answer."""
    if evidence.body_bytes is not None:
        yield "body_bytes", _numbers(evidence.body_bytes)
    if evidence.uncarried is not None:
        yield "uncarried", _texts(evidence.uncarried)


def _model_parts(model: ModelColumns) -> Iterator[tuple[str, bytes]]:
    for name in ("score", "error", "unparsed", "cost_usd", "latency_ms", "ttft_ms", "human"):
        yield name, _numbers(getattr(model, name))
    for name in ("calls", "failed_calls"):
        if getattr(model, name) is not None:
            yield name, _numbers(getattr(model, name))
    if model.truncated is not None and model.truncated.any():
        yield "truncated", _numbers(model.truncated)
    if model.cache_saved_usd is not None and (model.cache_saved_usd > 0).any():
        yield "cache_saved_usd", _numbers(model.cache_saved_usd)
    if model.runs is not None:
        yield "runs", msgspec.json.encode(model.runs, order="deterministic")
    yield "prompt_digests", _texts(model.prompt_digests)
    rest = (
        model.origin.value,
        sorted(model.settings_digests),
        model.stated_mean,
        model.out_of_range,
        model.epochs,
    )
    yield "rest", repr(rest).encode()


def _numbers(column: np.ndarray | None) -> bytes:
    """Return numbers as little-endian float64, every NaN and zero the same."""
    if column is None:
        return b"none"
    values = np.asarray(column, dtype="<f8") + 0.0
    return np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes()


def _texts(column: np.ndarray | None) -> bytes:
    """Return texts as a JSON list; a missing one differs from an empty one."""
    if column is None:
        return b"none"
    texts = column.tolist()
    try:
        return msgspec.json.encode(texts)
    except UnicodeEncodeError:  # a lone surrogate, which has no UTF-8
        return json.dumps(texts).encode()
