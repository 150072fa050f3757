"""Rules for every test: offline, no plugins, no user state, and a cause for every skip."""

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("offline", deadline=None, max_examples=60)
settings.load_profile("offline")

CLIENTS = Path(os.environ.get("CROSSGRADE_TEST_CLIENTS", Path(__file__).parents[1] / ".venvs"))
VERIFY = Path(__file__).parent / "verify"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


def pytest_configure(config: pytest.Config) -> None:
    """Fail any test that reaches beyond loopback; let tests interrupt the processes they start."""
    config.option.allow_hosts = "127.0.0.1,::1,localhost"
    config.option.allow_unix_socket = True
    # A shell without job control starts background jobs with SIGINT ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Processes that tests start in other folders must run this checkout too, not the one that is installed.
    if path := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave tests/verify, which takes hours, to whoever names it: `make verify`."""
    if collection_path == VERIFY and not any("verify" in str(given) for given in config.args):
        return True
    return None


def _model_present(name: str) -> bool:
    from crossgrade.providers import find_model  # only where a test asks

    return find_model(name) is not None


def missing(what: str) -> str | None:
    """Say why a test that needs `what` cannot run here, or None when it can."""
    kind, _, name = what.partition(":")
    if kind == "bwrap":
        return None if shutil.which("bwrap") else "bubblewrap (`bwrap`) is not installed"
    if kind == "chromium":
        return None if any(map(shutil.which, CHROMIUM_NAMES)) else "no Chromium is installed"
    if kind == "node":
        return None if shutil.which("node") else "Node.js is not installed"
    if kind == "postgresql":
        known = os.environ.get("CROSSGRADE_TEST_POSTGRES_URL")
        return None if known else "CROSSGRADE_TEST_POSTGRES_URL names no PostgreSQL server"
    if kind == "client":
        return (
            None
            if (CLIENTS / f"client-{name}" / ".installed").exists()
            else f"`make clients` was not run: {name}"
        )
    if kind == "command":
        return None if shutil.which(name) else f"`{name}` is not installed"
    if kind == "module":
        return None if importlib.util.find_spec(name) else f"the Python package {name} is not installed"
    if kind == "model":
        return None if _model_present(name) else f"`crossgrade models add {name}` was not run"
    return f"nobody knows how to find {what!r}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Turn `needs` markers into skips with their cause; in CI a missing thing is a failure."""
    forbid = bool(os.environ.get("CROSSGRADE_FORBID_SKIPS"))
    for item in items:
        for marker in item.iter_markers("needs"):
            causes = [cause for cause in map(missing, marker.args) if cause]
            if causes and not forbid:
                item.add_marker(pytest.mark.skip(reason="; ".join(causes)))


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Fail the test that leaves SIGINT handled otherwise: processes that later tests start inherit it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    after = signal.signal(signal.SIGINT, before)
    assert after is before, f"SIGINT was left with {after}"


@pytest.fixture(autouse=True)
def _no_user_state(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Give each test its own home for settings, and none of the developer's keys."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_API_TOKEN")) or name in {
            "CROSSGRADE_CONFIG",
            "CROSSGRADE_DATABASE_URL",
        }:
            monkeypatch.delenv(name)
    uses_model = any(
        str(arg).startswith("model:") for marker in request.node.iter_markers("needs") for arg in marker.args
    )
    if not uses_model:
        monkeypatch.setenv("CROSSGRADE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("CROSSGRADE_NO_PROGRESS", "1")


@pytest.fixture
def data_dir() -> Path:
    """Folder of the fixtures under tests/data."""
    return Path(__file__).parent / "data"
