"""Merges copies: rows of a dataset with the same request become one sample with the sum of their weights.

A request that is repeated forty times is one observation of the models, not forty. Its weight is that of
all forty.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from crossgrade.domain import JSON, PLACEHOLDER, Sample, Workload
from crossgrade.workloads._dataset import Dataset, frozen
from crossgrade.workloads.files import canonical

_READ_ANY_FIELD = {"code", "python"}
"""Kinds of scorer that may read any field of a sample."""


def without_copies(dataset: Dataset, workload: Workload) -> Dataset:
    """Return the dataset in which samples with the same request, reference and segment are one.

    The first of them stays, in its place, with the sum of their weights. Requests are the same where
    every field that a prompt of the workload uses is, and what the scorer reads must be the same too.
    Clusters may differ: the same request in two conversations is the same observation. Without copies
    the dataset is returned as it is.
    """
    first: dict[bytes, Sample] = {}
    weights: dict[str, float] = {}
    names = frozenset(_fields_used(workload))
    for sample in dataset.samples:
        kept = first.setdefault(_what_is_asked(sample, workload, names), sample)
        weights[kept.id] = weights.get(kept.id, 0.0) + sample.weight
    if len(first) == len(dataset.samples):
        return dataset
    samples = (replace(sample, weight=weights[sample.id]) for sample in first.values())
    return frozen(samples, path=dataset.path, kind=dataset.format)


def _what_is_asked(sample: Sample, workload: Workload, names: frozenset[str]) -> bytes:
    fields: Mapping[str, JSON] = sample.fields
    if workload.scorer.kind in _READ_ANY_FIELD:
        roles = {workload.id_field, workload.weight, workload.cluster}
        read = {name: value for name, value in fields.items() if name not in roles}
    else:
        read = {name: value for name, value in fields.items() if name in names}
    return canonical([sample.target, sample.segment, read])


def _fields_used(workload: Workload) -> Iterator[str]:
    """Yield the fields in the prompts, and every text in the scorer's options, which may name one."""
    for variant in (workload.incumbent, *workload.candidates):
        for text in (variant.prompt.system, variant.prompt.user):
            yield from PLACEHOLDER.findall(text or "")
        if variant.prompt.history is not None:
            yield variant.prompt.history
    yield from _texts(workload.scorer.options)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
