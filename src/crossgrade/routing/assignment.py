"""Sticky assignment: where a unit of traffic stands on a canary's line, and whom it asks."""

import math
from collections.abc import Mapping
from hashlib import blake2b


def position(unit: str, salt: str) -> float:
    """Return the unit's place in [0, 1), uniform over units and the same on every machine.

    A growing share keeps the units it had, and another `salt` (one a certificate) shuffles them, so
    that the same users are not the first every time.
    """
    digest = blake2b(unit.encode(), digest_size=8, key=blake2b(salt.encode(), digest_size=16).digest())
    return (int.from_bytes(digest.digest()) >> 11) / 2**53  # as many bits as a float holds


def by_weight(unit: str, weights: Mapping[str, float]) -> list[str]:
    """Return the names in the order in which a unit of traffic asks them: drawn by weight, one after another.

    The first is one name with the probability of its share of the weights; without it the unit goes on
    to the others by theirs, and nobody else's order changes (Efraimidis and Spirakis 2006). A weight of 0 is
    asked last.
    """

    def drawn(name: str) -> float:
        weight = weights[name]
        return -math.log1p(-position(unit, name)) / weight if weight else math.inf

    return sorted(weights, key=drawn)
