"""What a gateway sees of a sample: the length of its request, with certified limits, and its text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from crossgrade.domain import Sample, Variant, Workload
from crossgrade.errors import DataError, UsageError

if TYPE_CHECKING:
    from crossgrade.decide import Evidence, ProbeResult
    from crossgrade.workloads import Dataset

_VALID_DAYS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthLimit:
    """The longest request, in bytes, that a candidate may answer; `words` say how it is known."""

    candidate: str
    max_bytes: int
    words: str


def length_limits(root: Path, workload: Workload, *, now: datetime) -> tuple[LengthLimit, ...]:
    """Return the limits that a workload's probes set, each for the candidate whose offer was probed.

    Raises UsageError for a probe that does not exist, asked no candidate, certified nothing at the
    workload's floor, or is older than 90 days. A limit is never wider than what was shown.
    """
    limits = {}
    for probe_id in workload.probes:
        result = _read(root, probe_id)
        candidate = _candidate(workload, result)
        if candidate.name in limits:
            raise UsageError(
                f"two probes of workload {workload.name!r} are of `{candidate.name}`",
                code="probes-of-one-model",
                hint="name one probe a candidate under `probes`",
            )
        limits[candidate.name] = _limit(workload, candidate.name, result, now)
    return tuple(limits.values())


def with_limits(evidence: "Evidence", workload: Workload, samples: Sequence[Sample]) -> "Evidence":
    """Return the evidence with what says which requests a candidate may answer, as far as that is limited.

    These are the bytes of each sample's request, and what keeps it from other APIs (None: nothing).
    """
    import numpy as np  # here: a gateway's supervisor opens projects too, and needs none

    from crossgrade.evaluate import request_bytes, uncarried

    by_id = {sample.id: sample for sample in samples}
    asked = [by_id[name] for name in evidence.sample_ids.tolist()]
    if workload.probes:
        sizes = np.array([request_bytes(workload, each) for each in asked], dtype=np.float64)
        evidence = replace(evidence, body_bytes=sizes)
    if workload.across:
        fields = np.array([uncarried(workload, each) for each in asked], dtype=np.object_)
        evidence = replace(evidence, uncarried=fields)
    return evidence


def with_openings(evidence: "Evidence", workload: Workload, dataset: "Dataset") -> "Evidence":
    """Return the evidence with the text for each input that a router reads in the gateway."""
    import numpy as np

    from crossgrade.evaluate import opening_of

    by_id = {sample.id: sample for sample in dataset.samples}
    texts = [opening_of(workload, by_id[name]) for name in evidence.sample_ids.tolist()]
    return replace(evidence, input=np.array(texts, dtype=np.object_))


def workload_tokens(
    workload: Workload, samples: Sequence[Sample], count: Callable[[str], int], *, quantile: float = 0.95
) -> tuple[int, int]:
    """Return a quantile and the maximum of the lengths of a workload's requests, in tokens of `count`."""
    import numpy as np

    from crossgrade.evaluate import request_text

    sizes = np.array([count(request_text(workload, sample)) for sample in samples], dtype=np.float64)
    return math.ceil(np.quantile(sizes, quantile)), int(sizes.max())


def _read(root: Path, probe_id: str) -> "ProbeResult":
    from crossgrade.decide import ProbeResult

    path = root / ".crossgrade" / "probes" / f"{probe_id}.json"
    if not path.is_file() or path.parent != root / ".crossgrade" / "probes":
        raise UsageError(
            f"there is no finished probe {probe_id!r} in this project",
            code="probe-unknown",
            hint="`crossgrade probe run` prints the id of each; leave it out of `probes` if it is gone",
        )
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProbeResult)
    except (msgspec.DecodeError, OSError) as error:
        raise DataError(
            f"this is no result of a probe: {error}", code="probe-result-invalid", file=path
        ) from error


def _candidate(workload: Workload, result: "ProbeResult") -> Variant:
    for variant in workload.candidates:
        offer = variant.offer
        if (offer.provider, offer.model, offer.base_url) == result.identity:
            return variant
    raise UsageError(
        f"probe {result.probe_id} asked {result.offer}, which is no candidate of {workload.name!r}",
        code="probe-of-other-model",
        hint="probe a candidate of the workload, or leave the id out of `probes`",
    )


def _limit(workload: Workload, candidate: str, result: "ProbeResult", now: datetime) -> LengthLimit:
    certificate = result.certified
    why = None
    if certificate is None:
        why = "certified no length"
    elif result.floor < workload.floor:
        why = f"certified at floor {result.floor:g}, under the {workload.floor:g} of {workload.name!r}"
    elif now - result.measured_at > timedelta(days=_VALID_DAYS):
        why = f"is of {result.measured_at:%Y-%m-%d}, more than {_VALID_DAYS} days old"
    if certificate is None or why is not None:
        raise UsageError(
            f"probe {result.probe_id} {why}",
            code="probe-unusable",
            hint="probe again, with `--gate` at a length that you need, or leave the id out of `probes`",
        )
    kept = certificate.retention
    beside = "" if result.against is None else f" and as much of {result.against}'s score"
    return LengthLimit(
        candidate=candidate,
        max_bytes=certificate.body_bytes,
        words=(
            f"probe {result.probe_id} of {result.measured_at:%Y-%m-%d}: {candidate} keeps {kept.value:.2f} "
            f"of its own short-context score{beside} at {certificate.tokens:,} tokens on {kept.n} haystacks "
            f"of {result.documents:,} documents, floor {result.floor:g}, error rate {kept.alpha:g}"
        ),
    )
