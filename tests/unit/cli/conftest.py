"""Fixtures of the tests of commands."""

import pytest


@pytest.fixture(autouse=True)
def codes_of_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let notes show their codes, which tests read in place of their words."""
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")
