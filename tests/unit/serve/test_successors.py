"""What serve says and refuses when the incumbent of a route ends, and who is ready to take its place."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from crossgrade.errors import ConfigError
from crossgrade.project import Project, ends_at
from crossgrade.serve import Compiled, compile_settings
from crossgrade.serve._supervisor import Serve
from tests.codes import check_error, names, raises_code

CONFIG = """\
models:
  old: {provider: openai-compatible, model: old, base_url: "http://127.0.0.1:1/v1", OLD}
  next: {provider: openai-compatible, model: next, base_url: "http://127.0.0.1:1/v1", NEXT}
routes:
  support: {incumbent: old, ROUTE}
TEAM
"""
TODAY = datetime.now(UTC).date()
KEY = "api_key_env: A_KEY"


def ending(days: int) -> str:
    return f"retires_on: {TODAY + timedelta(days=days)}"


def compiled(
    folder: Path, old: str = "", successor: str | None = None, heir: str = "", team: str = ""
) -> Compiled:
    text = CONFIG.replace("OLD", old).replace("NEXT", heir).replace("TEAM", team)
    text = text.replace("ROUTE", f"successor: {successor}" if successor else "")
    path = folder / "crossgrade.yaml"
    path.write_text(text.replace(", }", "}"))
    with Project.open(path, environ={}) as project:
        return compile_settings(project, {})


@pytest.mark.parametrize("days", [-400, 0, 7])
def test_a_route_that_nobody_answers_soon_is_refused(tmp_path: Path, days: int) -> None:
    with raises_code("successor-missing", "support", "old", TODAY + timedelta(days=days)) as caught:
        compiled(tmp_path, ending(days))
    assert isinstance(caught.value, ConfigError)
    check_error(caught.value, "successor-missing", "routes.support.successor")
    assert caught.value.where == "routes.support"


@pytest.mark.parametrize(("days", "warned"), [(8, True), (90, True), (91, False)])
def test_before_that_it_is_a_warning(tmp_path: Path, days: int, *, warned: bool) -> None:
    warnings = compiled(tmp_path, ending(days)).warnings
    assert len(warnings) == warned
    assert all(names(each, part) for each in warnings for part in ("support", "old", "successor"))


@pytest.mark.parametrize("days", [-400, 0, 3, 30])
def test_with_a_successor_nothing_is_amiss_and_workers_know_the_moment(tmp_path: Path, days: int) -> None:
    found = compiled(tmp_path, ending(days), "next")
    assert not found.warnings
    day = TODAY + timedelta(days=days)
    assert found.settings.ends_at == {"old": ends_at(day)}
    assert datetime.fromtimestamp(found.settings.ends_at["old"], UTC) == datetime(
        day.year, day.month, day.day, tzinfo=UTC
    )
    (route,) = found.settings.routes
    assert route.successor == "next"


@pytest.mark.parametrize(("days", "refused"), [(-1, True), (7, True), (8, False)])
def test_a_successor_that_ends_too_takes_nobodys_place(tmp_path: Path, days: int, *, refused: bool) -> None:
    if refused:
        with raises_code("successor-ends", "old", "next"):
            compiled(tmp_path, ending(-1), "next", ending(days))
    else:
        (warning,) = compiled(tmp_path, ending(-1), "next", ending(days)).warnings
        assert names(warning, "next")


def test_a_successor_that_the_team_may_not_use_takes_nobodys_place(tmp_path: Path) -> None:
    team = "team: {max_retention_days: 0}"
    with raises_code("successor-not-allowed", "next"):
        compiled(tmp_path, ending(3), "next", team=team)
    (warning,) = (each for each in compiled(tmp_path, "", "next", team=team).warnings)
    assert names(warning, "support")
    assert names(warning, "next")
    found = compiled(tmp_path, ending(30), "next", team=team)
    assert any(names(each, "next") for each in found.warnings)
    assert [route.successor for route in found.settings.routes] == [None]


def test_an_incumbent_that_has_ended_needs_no_key_and_its_successor_does(tmp_path: Path) -> None:
    with raises_code("incumbent-without-key", "A_KEY"):
        compiled(tmp_path, f"{KEY}, {ending(3)}", "next")
    found = compiled(tmp_path, f"{KEY}, {ending(0)}", "next")
    assert [target.name for target in found.settings.targets] == ["next"]
    with raises_code("successor-without-key", "A_KEY"):
        compiled(tmp_path, "", "next", KEY)


def test_a_day_on_which_the_settings_are_refused_leaves_the_gateway_running(tmp_path: Path) -> None:
    compiled(tmp_path)
    events: list[str] = []
    serve = Serve(tmp_path / "crossgrade.yaml", environ={}, on_event=events.append)
    serve._project = Project.open(tmp_path / "crossgrade.yaml", environ={})
    serve._project.ends_on = lambda offer, today: date(2026, 1, 1)  # type: ignore[method-assign]  # a day has begun
    asyncio.run(serve._begin_day())
    (event,) = events
    assert event.startswith("not reloaded: ")
    assert names(event, "support")
    assert names(event, "old")
