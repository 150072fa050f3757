"""A judge scores live pairs; people correct it; what it costs is bounded."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crossgrade.domain import Price
from crossgrade.evaluate import Judges
from crossgrade.project import Project
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest
from crossgrade.watch import _scoring
from crossgrade.watch._claims import drawn
from tests.codes import check_reason
from tests.unit.watch.conftest import BAD, GOOD, Site
from tests.unit.watch.test_people import fill

JUDGE = """
      kind: judge
      options: {model: judge, criteria: "Is it right?", scale: pass_fail, request_field: ticket}"""


def strict(request: ReceivedRequest) -> str:
    """Pass what names the city as JSON."""
    return json.dumps({"reason": "r", "grade": "pass" if '"city"' in _text(request) else "fail"})


def lenient(_request: ReceivedRequest) -> str:
    return json.dumps({"reason": "r", "grade": "pass"})


def _text(request: ReceivedRequest) -> str:
    return str(request.json["messages"][-1]["content"])


def test_a_judge_raises_the_alarm(site: Site) -> None:
    with FakeProvider(strict, models=["judge-x"]) as fake:
        site.environ["JUDGE"] = fake.base_url
        site.write(scorer=JUDGE, watch="{label_share: 0}")
        verdict = site.apply()
        site.see(verdict, [(GOOD, BAD)] * 60)
        found = site.look()
    assert found.problems == []
    assert [each.by for each in found.standings] == ["judge"]
    assert {alarm.detail["by"] for alarm in found.alarms} == {"judge"}
    assert "Which city?" in _text(fake.requests[0])


def test_people_see_through_a_lenient_judge(site: Site, tmp_path: Path) -> None:
    with FakeProvider(lenient, models=["judge-x"]) as fake:
        site.environ["JUDGE"] = fake.base_url
        site.write(scorer=JUDGE, watch="{label_share: 0.5}")
        verdict = site.apply()
        pairs = site.see(verdict, [(GOOD, BAD)] * 200)
        first = site.look(label_file=tmp_path / "labels.csv")
        assert [(each.by, each.status) for each in first.standings] == [
            ("judge", "watching"), ("people", "unmeasurable"),
        ]  # fmt: skip
        assert first.standings[1].waiting == sum(drawn(pair.id, 0.5) for pair in pairs) == first.waiting
        assert first.standings[0].retention == 1.0
        fill(tmp_path / "labels.csv", {GOOD: "1", BAD: "0"})
        second = site.look(label_file=tmp_path / "labels.csv")
    judge, people = second.standings
    assert (judge.status, people.status) == ("watching", "alarm")
    assert (people.audits, people.waiting, people.retention) == (200, 0, 0.0)
    assert {alarm.detail["by"] for alarm in second.alarms} == {"people"}


def test_a_judge_that_is_not_there_is_a_problem_and_no_alarm(site: Site) -> None:
    with FakeProvider(lambda _: Fault("bad_key"), models=["judge-x"]) as fake:
        site.environ["JUDGE"] = fake.base_url
        site.write(scorer=JUDGE)
        verdict = site.apply()
        site.see(verdict, [(GOOD, BAD)] * 3)
        found = site.look()
    assert found.alarms == []
    (problem,) = found.problems
    check_reason(problem, "auth", "support")
    assert {each.status for each in found.standings} == {"unmeasurable"}


def test_what_judges_may_cost_is_bounded(site: Site) -> None:
    with FakeProvider(strict, models=["judge-x"]) as fake:
        site.environ["JUDGE"] = fake.base_url
        site.write(scorer=JUDGE, watch="{max_usd_per_day: 1}")
        verdict = site.apply()
        site.see(verdict, [(GOOD, BAD)])
        assert site.look().problems == []
        site.see(verdict, [(BAD, GOOD)])
        found = site.look()
    assert len(fake.requests) == 2
    (problem,) = found.problems
    check_reason(problem, "judge-cost-unknown", "support", "watch.max_usd_per_day")


def test_a_judge_costs_what_the_projects_price_files_say(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write(scorer=JUDGE)
    config = site.folder / "crossgrade.yaml"
    offer = 'judge: {provider: openai-compatible, model: judge-x, base_url: "http://127.0.0.1:9/v1"}'
    text = config.read_text()
    assert offer in text
    config.write_text(
        text.replace(offer, "judge: {provider: openai, model: judge-x}") + "price_files: [own.csv]\n"
    )
    (site.folder / "own.csv").write_text(
        "seen_on,provider,model,input,output\n2026-11-01,openai,judge-x,1,2\n"
    )
    site.environ["OPENAI_API_KEY"] = "sk-x"
    given: list[Mapping[str, Price | None]] = []

    class Recorded(Judges):
        """Judges that tell at which prices they were opened."""

        def __init__(self, *args: Any, prices: Mapping[str, Price | None], **more: Any) -> None:
            given.append(prices)
            super().__init__(*args, prices=prices, **more)

    monkeypatch.setattr("crossgrade.evaluate.Judges", Recorded)

    async def opened(project: Project) -> None:
        async with _scoring.open_scorer(project, project.workload("support")):
            pass

    with site.project() as project:
        asyncio.run(opened(project))
    price = given[0]["judge"]
    assert price is not None
    assert (price.input_per_mtok, price.output_per_mtok) == (1, 2)


@pytest.mark.parametrize("field", ["show_target: true"])
def test_a_judge_that_wants_the_target_cannot_judge_live_pairs(site: Site, field: str) -> None:
    site.write(scorer=JUDGE.replace("scale", f"{field}, scale"))
    verdict = site.apply()
    site.see(verdict, [(GOOD, BAD)])
    (standing,) = site.look().standings
    assert (standing.by, standing.status) == ("people", "unmeasurable")
    check_reason(standing, "needs-reference")
