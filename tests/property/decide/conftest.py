"""The constructed evidence of the unit tests."""

from tests.unit.decide.conftest import counts, make, now

__all__ = ["counts", "make", "now"]
