"""Tests of trials are asynchronous, on asyncio."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that trials run on."""
    return "asyncio"
