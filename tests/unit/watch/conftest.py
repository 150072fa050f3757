"""A project whose route was switched by a verdict, and live pairs for it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from crossgrade.decide import Verdict
from crossgrade.domain import ModelAnswer
from crossgrade.project import Project
from crossgrade.routing import Policy, Route, RouteTable, route_table_digest
from crossgrade.store import Feedback, Pair, PairAnswer
from crossgrade.watch import Look, look
from tests.unit.store.test_verdicts import make_verdict

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NUMBERS = [count()]
GOOD, BAD = '{"city": "Bonn"}', "I think it is Bonn"
SCHEMA = """
      kind: json_schema
      options: {schema: {type: object, required: [city]}}"""
SWITCH = Policy(kind="switch", incumbent="gpt", candidate="llama")


@dataclass
class Site:
    """A project on disk, and what tests do to it."""

    folder: Path
    environ: dict[str, str]

    def write(self, *, scorer: str = SCHEMA, route: str = "", watch: str = "{}", llama: str = "") -> None:
        """Write crossgrade.yaml."""
        (self.folder / "crossgrade.yaml").write_text(f"""
models:
  gpt: {{provider: openai-compatible, model: gpt-x, base_url: "http://127.0.0.1:9/v1"}}
  llama:
    provider: openai-compatible
    model: llama-x
    base_url: "http://127.0.0.1:9/v1"
{llama}
  judge: {{provider: openai-compatible, model: judge-x, base_url: "{self.environ.get("JUDGE", "http://127.0.0.1:9/v1")}"}}
workloads:
  support:
    dataset: support.jsonl
    scorer:{scorer}
    incumbent: gpt
    candidates: [llama]
routes:
  support:
    workload: support
    shadow: {{rate: 0.05}}
{route}
watch: {watch}
""")

    def project(self) -> Project:
        """Open the project."""
        return Project.open(self.folder / "crossgrade.yaml", environ=self.environ)

    def apply(self, policy: Policy = SWITCH, **changes: Any) -> str:
        """Record a verdict with this policy, floor 0.9, and put it in force; returns its id."""
        until = changes.pop("valid_until", NOW + timedelta(days=90))
        share, router = changes.pop("share", 1.0), changes.pop("router", None)
        verdict: Verdict = make_verdict(policy=policy, run_id=None, floor=0.9, valid_until=until, **changes)
        with self.project() as project:
            identifier = project.store.verdicts.append(verdict)
            route = Route(
                name="support", policy=policy, targets={"gpt": "gpt", "llama": "llama"},
                valid_until=until, verdict_id=identifier, share=share, router=router,
            )  # fmt: skip
            current = project.store.routes.current()
            digest = None if current is None else route_table_digest(current)
            project.store.publish_route(RouteTable(version=1, routes=(route,)), digest)
        return identifier

    def see(
        self, verdict_id: str, answers: list[tuple[str | None, str | None]], **changes: Any
    ) -> list[Pair]:
        """Append live pairs with these answers of incumbent and candidate; None is a failed call."""
        pairs = [pair(verdict_id, *each, **changes) for each in answers]
        with self.project() as project:
            project.store.pairs.append(pairs)
        return pairs

    def hear(self, feedback: list[Feedback]) -> None:
        """Append outcomes."""
        with self.project() as project:
            project.store.feedback.append(feedback)

    def look(self, **changes: Any) -> Look:
        """Look once."""
        with self.project() as project:
            return look(project, **{"now": NOW, **changes})

    def route(self) -> Route:
        """Return the route in force."""
        with self.project() as project:
            table = project.store.routes.current()
            assert table is not None
            return table.by_name["support"]


def pair(verdict_id: str, incumbent: str | None, candidate: str | None, **changes: Any) -> Pair:
    """Return a live pair."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which city?"}]
    versions = changes.pop("versions", (None, None))
    fields = {
        "id": f"01a3{next(NUMBERS[0]):09d}",
        "route": "support",
        "request_id": "q",
        "endpoint": "/v1/chat/completions",
        "request": json.dumps({"model": "support", "messages": messages}).encode(),
        "served_by": "candidate",
        "incumbent": _side("gpt", incumbent, versions[0]),
        "candidate": _side("llama", candidate, versions[1]),
        "verdict_id": verdict_id,
        "probability": 0.05,
        "at": NOW,
    }
    return Pair(**{**fields, **changes})


def _side(model: str, text: str | None, version: str | None) -> PairAnswer:
    if text is None:
        return PairAnswer(model=model, answer=None, error="HTTP 500")
    return PairAnswer(model=model, answer=ModelAnswer(text=text, model=version), response_id=f"r-{model}")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    NUMBERS[0] = count()  # which pairs are drawn for people depends on their ids
    made = Site(tmp_path, {})
    (tmp_path / "support.jsonl").write_text('{"input": "Which city?", "target": "Bonn"}\n')
    made.write()
    return made
