"""Asking a fake provider in one line."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from crossgrade.domain import Message, ModelAnswer, ModelRequest
from crossgrade.providers import open_provider
from crossgrade.testing import FakeProvider

Ask = Callable[..., ModelAnswer]


@pytest.fixture
def question() -> ModelRequest:
    """A short question."""
    return ModelRequest(model="fake-model", messages=(Message(role="user", content="hello there"),))


@pytest.fixture
def ask(question: ModelRequest) -> Ask:
    """Ask a fake provider one question, over a connection of its own."""

    def ask_once(
        fake: FakeProvider,
        *,
        request: ModelRequest = question,
        environ: Mapping[str, str] | None = None,
        measure_ttft: bool = False,
        **offer: Any,
    ) -> ModelAnswer:
        async def main() -> ModelAnswer:
            opened = open_provider(fake.offer(**offer), environ=environ or {}, measure_ttft=measure_ttft)
            async with opened as provider:
                return await provider.ask(request)

        return asyncio.run(main())

    return ask_once
