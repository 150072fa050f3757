"""Sticky assignment: where a unit of traffic stands on the line that a canary's share cuts."""

from hashlib import blake2b


def position(unit: str, salt: str) -> float:
    """Return the unit's place in [0, 1), uniform over units and the same on every machine.

    A growing share keeps the units it had, and another `salt` (one a certificate) shuffles them, so
    that the same users are not the first every time.
    """
    digest = blake2b(unit.encode(), digest_size=8, key=blake2b(salt.encode(), digest_size=16).digest())
    return (int.from_bytes(digest.digest()) >> 11) / 2**53  # as many bits as a float holds
