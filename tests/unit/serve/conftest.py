"""Brokers that end with their test."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from crossgrade.domain import Limit
from tests.unit.serve.driving import Machine


@pytest.fixture
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Machine]]:
    """Make machines; their brokers end with the test."""
    made: list[Machine] = []

    def make(
        *limits: Limit, workers: int = 1, environ: Mapping[str, str] | None = None, **serving: Any
    ) -> Machine:
        # Short: the path of a Unix socket has 107 characters at most.
        ours = {name: value for name, value in os.environ.items() if not name.startswith("CROSSGRADE_")}
        machine = Machine(tmp_path_factory.mktemp("m"), {**ours, **(environ or {})}, limits, workers, serving)
        made.append(machine)
        machine.start()
        return machine

    make.made = made  # type: ignore[attr-defined]  # read by tests
    yield make
    for machine in made:
        machine.end()
