"""Keepers that end with their test."""

import os
from collections.abc import Callable, Iterator

import pytest

from crossgrade.domain import Limit
from tests.unit.serve.driving import Machine


@pytest.fixture
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Machine]]:
    """Make machines; their keepers end with the test."""
    made: list[Machine] = []

    def make(*limits: Limit, workers: int = 1, database: str | None = None) -> Machine:
        # Short: the path of a Unix socket has 107 characters at most.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CROSSGRADE_")}
        if database is not None:
            environ["CROSSGRADE_DATABASE_URL"] = database
        machine = Machine(tmp_path_factory.mktemp("m"), environ, limits, workers)
        made.append(machine)
        machine.start()
        return machine

    make.made = made  # type: ignore[attr-defined]
    yield make
    for machine in made:
        machine.end()
