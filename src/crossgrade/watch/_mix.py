"""The certified mix of segments, compared with that of live traffic."""

from collections.abc import Mapping

from crossgrade.domain import Reason
from crossgrade.stats import Stratum

MOVED = 0.2
"""The share of traffic that may change its segment before that is reported."""

_ENOUGH = 100
"""Audits that a live mix must have before it is compared."""


def names_segments(shares: Mapping[str | None, float], live: Mapping[str | None, int]) -> bool:
    """Return whether at least half of the live audits are in certified segments; true without audits."""
    return 2 * sum(live.get(label, 0) for label in shares) >= sum(live.values())


def note_of_mix(shares: Mapping[str | None, float], live: Mapping[str | None, int]) -> Reason | None:
    """Return how the live mix differs from the certified one, in words; None where it does not."""
    total = sum(live.values())
    if not shares or total < _ENOUGH:
        return None
    if not names_segments(shares, live):
        return Reason(
            "segments-not-sent",
            "most live requests carry no segment of the certificate, so a burst from one segment looks like "
            "a fall: send x-crossgrade-segment",
        )
    known = sum(live.get(label, 0) for label in shares)
    parts = {label: live.get(label, 0) / known for label in shares}
    label = max(parts, key=lambda each: parts[each] - shares[each])
    if sum(abs(parts[each] - shares[each]) for each in shares) / 2 > MOVED:
        return Reason(
            "mix-moved",
            f"the mix moved: {parts[label]:.0%} of the traffic is {name_of(label)}, {shares[label]:.0%} when "
            "certified. The claim is about the certified mix: decide again on fresh traffic",
        )
    if total - known > MOVED * total:
        return Reason(
            "segments-not-covered",
            f"{1 - known / total:.0%} of the traffic is in segments that the certificate does not cover",
        )
    return None


def name_of(label: str | None) -> str:
    """Return how a segment is called in a sentence."""
    return "of no segment" if label is None else f"`{label}`"


def names_of(stratum: Stratum) -> str:
    """Return how the segments of a stratum are called in a sentence."""
    return " or ".join(name_of(label) for label in stratum.labels)
