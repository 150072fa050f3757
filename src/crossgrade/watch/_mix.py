"""The mix of segments that was certified, and the one that live traffic has."""

from collections.abc import Mapping

from crossgrade.stats import Stratum

MOVED = 0.2
"""How much of the traffic may be in another segment than when it was certified before that is said."""

_ENOUGH = 100
"""Audits before which a live mix says nothing."""


def names_segments(shares: Mapping[str | None, float], live: Mapping[str | None, int]) -> bool:
    """Return whether most live audits are of segments that the certificate has; true before the first."""
    return 2 * sum(live.get(label, 0) for label in shares) >= sum(live.values())


def note_of_mix(shares: Mapping[str | None, float], live: Mapping[str | None, int]) -> str | None:
    """Say what the live mix means for the claim on the certified one; None where it is that one."""
    total = sum(live.values())
    if not shares or total < _ENOUGH:
        return None
    if not names_segments(shares, live):
        return (
            "most live requests name none of the certificate's segments, so that a burst from one of them "
            "cannot be told from a fall: send x-crossgrade-segment"
        )
    known = sum(live.get(label, 0) for label in shares)
    parts = {label: live.get(label, 0) / known for label in shares}
    label = max(parts, key=lambda each: parts[each] - shares[each])
    if sum(abs(parts[each] - shares[each]) for each in shares) / 2 > MOVED:
        return (
            f"the mix moved: {parts[label]:.0%} of the traffic is {name_of(label)}, {shares[label]:.0%} when "
            "certified. The claim is watched at the certified mix: decide again on fresh traffic"
        )
    if total - known > MOVED * total:
        return f"{1 - known / total:.0%} of the traffic is of segments that nothing is certified of"
    return None


def name_of(label: str | None) -> str:
    """Return how a segment is called in a sentence."""
    return "of no segment" if label is None else f"`{label}`"


def names_of(stratum: Stratum) -> str:
    """Return how the segments of a stratum are called in a sentence."""
    return " or ".join(name_of(label) for label in stratum.labels)
