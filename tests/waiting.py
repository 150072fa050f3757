"""How tests wait for what happens in another thread or process."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 30.0
_Seen = TypeVar("_Seen")


def until(look: Callable[[], _Seen]) -> _Seen:
    """Look until there is something; return it."""
    give_up = time.monotonic() + PATIENCE_S
    while not (seen := look()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return seen
