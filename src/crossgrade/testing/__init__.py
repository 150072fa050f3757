"""Tools for testing what is built on Crossgrade: a fake provider, a clock, builders of records.

Public: plug-ins and projects test with them too. Nothing here needs a key or a network.
"""

from typing import TYPE_CHECKING, Any

from crossgrade.testing._builders import evidence, samples
from crossgrade.testing._clock import FakeClock
from crossgrade.testing._script import Fault, ReceivedRequest, Reply, Script

if TYPE_CHECKING:
    from crossgrade.testing.fake import FakeProvider

__all__ = [
    "FakeClock",
    "FakeProvider",
    "Fault",
    "ReceivedRequest",
    "Reply",
    "Script",
    "evidence",
    "samples",
]


def __getattr__(name: str) -> Any:
    """Import the server only when it is used, so that `python -m crossgrade.testing.fake` runs it once."""
    if name == "FakeProvider":
        from crossgrade.testing.fake import FakeProvider

        return FakeProvider
    raise AttributeError(name)
