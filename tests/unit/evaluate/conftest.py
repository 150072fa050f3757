"""A store for runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossgrade.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "crossgrade.db") as opened:
        yield opened
