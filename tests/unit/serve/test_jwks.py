"""The broker's issuers: keys are fetched by age, at once when asked for, and then not again for a while."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from crossgrade.domain import Serving, TierRule, TokenIssuer
from crossgrade.errors import AccessError
from crossgrade.gateway import GatewaySettings
from crossgrade.identity import IssuerKeys, jwks_bytes, read_jwks
from crossgrade.serve import _state_files
from crossgrade.serve._state_files import KeySetFetcher

RULES = (TierRule(claim="sub", operator="equals", value="x", tier="t"),)


def keys(issuer: str, fetched_at: float, *kids: str) -> IssuerKeys:
    return IssuerKeys(issuer=issuer, fetched_at=fetched_at, keys=tuple({"kid": kid} for kid in kids))


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """Return a broker of issuers `a` and `b`, what it fetched and said, and what it will find."""
    issuers = tuple(TokenIssuer(issuer=name, audience="us", rules=RULES) for name in ("a", "b"))
    settings = GatewaySettings(
        serving=Serving(issuers=issuers), routes=(), targets=(), state=str(tmp_path), broker=""
    )
    now = time.time()
    (tmp_path / "jwks.json").write_bytes(jwks_bytes([keys("a", now, "old"), keys("gone", now, "x")]))
    fetched: list[str] = []
    said: list[Exception] = []
    found = {"a": "new", "b": "other"}

    def refresh(issuers: Any, known: Any, now: float) -> Any:
        fresh, failed = {}, []
        for name in (each.issuer for each in issuers):
            if name in known:
                fresh[name] = known[name]
                continue
            fetched.append(name)
            if name in found:
                fresh[name] = keys(name, now, found[name])
            else:
                failed.append(AccessError("down", reason="issuer_unreachable"))
        return fresh, failed

    return KeySetFetcher(settings, said.append, refresh), fetched, said, found


def written(folder: Path) -> dict[str, list[str]]:
    return {
        name: [key["kid"] for key in each.keys]
        for name, each in read_jwks((folder / "jwks.json").read_bytes()).items()
    }


def test_asked_for_at_once_and_not_again(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker, fetched, said, found = made

    async def run() -> None:
        await asyncio.gather(*(broker.fetch_now("a") for _ in range(5)))
        assert fetched == ["a"], "all wait for one"
        assert written(tmp_path) == {"a": ["new"]}
        await broker.fetch_now("a")
        await broker.fetch_now("nobody's")
        assert fetched == ["a"]
        monkeypatch.setattr(_state_files, "ASKED_AGAIN_S", 0.0)
        del found["a"]
        await broker.fetch_now("a")
        assert fetched == ["a", "a"]
        assert written(tmp_path) == {"a": ["new"]}, "while the issuer fails, what was there stays"
        assert [str(each) for each in said] == ["down"]

    asyncio.run(run())


def test_what_is_missing_is_fetched_from_the_start(made: Any, tmp_path: Path) -> None:
    broker, fetched, _, _ = made

    async def run() -> None:
        task = asyncio.create_task(broker.keep())
        while written(tmp_path).get("b") is None:  # noqa: ASYNC110 -- a file sets no event
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(run())
    assert fetched == ["b"]
    assert written(tmp_path) == {"a": ["old"], "b": ["other"]}
