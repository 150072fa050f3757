"""Fixtures of the end-to-end tests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import crossgrade
from benchmarks.gateway._served import Served
from crossgrade.calls import CallLimiters, Patience
from crossgrade.testing import FakeProvider, Reply
from tests.e2e.driving import CONFIG, KEY, CommandLine, Project, Script, honest

if TYPE_CHECKING:  # most tests need neither
    import anthropic
    import openai


@pytest.fixture(autouse=True)
def codes_of_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let notes show their codes, which tests read in place of their words."""
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")


@pytest.fixture(scope="module")
def client(gateway: Served) -> Iterator["openai.OpenAI"]:
    """OpenAI's client at the gateway of a module of tests."""
    import openai

    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def claude(gateway: Served) -> Iterator["anthropic.Anthropic"]:
    """Anthropic's client at the same gateway."""
    import anthropic

    with anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, in this process."""
    return CommandLine(capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def script() -> dict[str, Script]:
    """How each model answers, by its id at the provider; a test may replace it at any time."""
    return {"old-model": honest, "new-model": honest}


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch, script: dict[str, Script]) -> Iterator[Project]:
    """A project of 120 samples that runs against a fake provider."""
    monkeypatch.setenv("FAKE_API_KEY", KEY)
    with FakeProvider(lambda request: script[request.model](request), api_key=KEY) as fake:
        (folder / "crossgrade.yaml").write_text(CONFIG.replace("URL", fake.base_url))
        made = Project(folder, fake)
        made.dataset(120)
        yield made
        assert made.secrets() == []


@pytest.fixture
def judged(project: Project, script: dict[str, Script]) -> Project:
    """A project whose answers a third model judges: it accepts nearly all of them."""
    judge = f"  judge: {{provider: openai-compatible, model: judge-model, base_url: '{project.fake.base_url}', api_key_env: FAKE_API_KEY}}"
    project.change("workloads:\n", f"{judge}\nworkloads:\n")
    project.change("{kind: exact}", "{kind: judge, options: {model: judge, criteria: It is the number.}}")
    project.change("    scorer:", "    mode: fixed\n    scorer:")
    script["judge-model"] = lambda request: Reply(
        json.dumps({"reason": "seen", "grade": 1 if "nothing" in request.prompt else 5})
    )
    return project


@pytest.fixture
def opened(cli: CommandLine, judged: Project) -> Iterator[crossgrade.Project]:
    """The project, judged on 240 samples."""
    judged.dataset(240)
    cli.succeeds("evaluate", "echo", "--yes", "--no-decide")
    with crossgrade.Project.open(judged.folder / "crossgrade.yaml") as project:
        yield project


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs in this process lose patience at once."""
    patience = Patience(attempts=3, first_pause_s=0.001, longest_pause_s=0.002, throttled_s=0.2)
    monkeypatch.setattr("crossgrade.calls.CallLimiters", lambda given=None: CallLimiters(given or patience))
