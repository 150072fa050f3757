"""Divides a workload's samples into items that a candidate is tuned on and items that test it once.

What is divided are units: samples of one cluster and near-copies stay together, so that no item of the test
has a twin among those that tuned. A unit of which an earlier run asked a sample is *touched*: it certifies
nothing any more, and it is what development uses first, since its answers are paid for. The others are
ordered by a hash of their samples' ids, so that the division depends on no score, and rows that are added
change little.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256

from crossgrade.domain import Sample, Workload
from crossgrade.errors import DataError
from crossgrade.workloads import near_copies, sample_digest, sample_texts

LEAST_DEVELOPMENT = 20
"""With fewer development items the best of several prompts is the luckiest one."""

LEAST_CERTIFICATION = 30
"""With fewer items not even a candidate that is always right is certified at the usual floor and rates."""


_MOST_SHOWN = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningSplit:
    """The ids of a workload's samples by what they may be used for, each in the order of the hash.

    `development` may tune, `certification` is for the next test alone, and `reserved` for the rounds after
    it. `touched` counts the samples in units that earlier runs asked, and `groups` the units of more than one
    sample. `digest` is `sha256:` and the SHA-256 of the development items.
    """

    development: tuple[str, ...]
    certification: tuple[str, ...]
    reserved: tuple[str, ...] = ()
    touched: int = 0
    groups: int = 0
    digest: str = ""


def split_samples(
    samples: Sequence[Sample],
    workload: Workload,
    *,
    touched: Collection[str] = (),
    sealed: Collection[str] | None = None,
    within: Collection[str] | None = None,
    development: int | None = 100,
    rounds_left: int = 1,
) -> TuningSplit:
    """Divide the samples of a workload that are tuned and tested.

    `touched` has the ids of samples that earlier runs asked. Where these are fewer than the wanted number of
    `development` items (None: as many as are touched), units that nothing has touched are added, at most a
    third of them. What is left is shared equally among this round and the ones after it (`rounds_left`, at
    least 1). With a baseline, its samples (`sealed`) are the certification items, and no development item is
    in a unit with one of them. With `within` only these samples are divided. The others still mark what they
    are close to: a twin in another segment may have been tuned on.

    Raises `DataError` for too few development or certification items.
    """
    units = _units(samples, workload)
    marked, closed = frozenset(touched), None if sealed is None else frozenset(sealed)
    if closed is None:
        fresh = _within([unit for unit in units if marked.isdisjoint(unit)], within)
        used = _within([unit for unit in units if not marked.isdisjoint(unit)], within)
    else:
        fresh, used = [], _within([unit for unit in units if closed.isdisjoint(unit)], within)
    tuning = [each for unit in used for each in unit]
    wanted = len(tuning) if development is None else development
    spared = len(fresh) // 3
    while len(tuning) < wanted and spared:
        tuning += fresh.pop(0)
        spared -= 1
    tuning = tuning if development is None else tuning[:wanted]
    here = fresh[: -(-len(fresh) // rounds_left)]
    testing = [each for unit in here for each in unit]
    if closed is not None:
        testing = [sample.id for sample in samples if sample.id in closed]
    _check(workload, tuning, testing)
    by_id = {sample.id: sample for sample in samples}
    rows = "\n".join(sample_digest(by_id[each]) for each in tuning)
    return TuningSplit(
        development=tuple(tuning),
        certification=tuple(testing),
        reserved=tuple(each for unit in fresh[len(here) :] for each in unit),
        touched=0 if closed is not None else sum(map(len, used)),
        groups=sum(len(unit) > 1 for unit in units),
        digest=f"sha256:{sha256(rows.encode()).hexdigest()}",
    )


def divide_development(samples: Sequence[Sample], workload: Workload) -> tuple[list[Sample], list[Sample]]:
    """Divide development items into those that may stand in prompts as examples, and those that are scored.

    A prompt that shows an item knows its answer, and that of its twins: units stay together. A fifth of the
    items, at most 24, may be shown.
    """
    by_id = {sample.id: sample for sample in samples}
    most = min(_MOST_SHOWN, len(samples) // 5)
    shown: list[Sample] = []
    scored: list[Sample] = []
    for unit in _units(samples, workload):
        chosen = shown if len(shown) + len(unit) <= most else scored
        chosen += [by_id[each] for each in unit]
    return shown, scored


def _within(units: Sequence[list[str]], ids: Collection[str] | None) -> list[list[str]]:
    """Return what units have of some samples (None: of all), without those that have nothing of them."""
    if ids is None:
        return list(units)
    return [kept for unit in units if (kept := [each for each in unit if each in ids])]


def _units(samples: Sequence[Sample], workload: Workload) -> list[list[str]]:
    """Return the ids of samples that stay together, the units in the order of a hash of their least id."""
    copies = near_copies(sample_texts(samples, workload))
    parent: dict[object, object] = {}

    def root(name: object) -> object:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    for sample, copy in zip(samples, copies, strict=True):
        parent[root(("sample", sample.id))] = root(("copy", copy))
        if sample.cluster is not None:
            parent[root(("copy", copy))] = root(("cluster", sample.cluster))
    units: dict[object, list[str]] = {}
    for sample in samples:
        units.setdefault(root(("sample", sample.id)), []).append(sample.id)
    return sorted(map(_by_hash, units.values()), key=lambda unit: _hash(min(unit)))


def _by_hash(ids: Sequence[str]) -> list[str]:
    return sorted(ids, key=_hash)


def _hash(sample_id: str) -> bytes:
    return sha256(f"tuning\0{sample_id}".encode()).digest()


def _check(workload: Workload, tuning: Sequence[str], testing: Sequence[str]) -> None:
    name, dataset = workload.name, workload.dataset.name
    if len(tuning) < LEAST_DEVELOPMENT:
        raise DataError(
            f"`{name}` has {len(tuning):,} items that may tune a candidate; at least {LEAST_DEVELOPMENT} are "
            "needed",
            code="development-too-few",
            file=dataset,
            hint="add rows to the dataset",
        )
    if len(testing) < LEAST_CERTIFICATION:
        raise DataError(
            f"`{name}` has {len(testing):,} items that nothing has touched for this test; at least "
            f"{LEAST_CERTIFICATION} are needed",
            code="certification-too-few",
            file=dataset,
            hint="add fresh rows to the dataset: earlier runs asked the others, or tuning used them",
        )
