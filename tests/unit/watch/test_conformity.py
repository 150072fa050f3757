"""The daily look at the models behind certificates: what it asks, and what it steps back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta

import pytest

from crossgrade.domain import ConformRecord
from crossgrade.evidence import ConformSettings
from crossgrade.testing import FakeModel, FakeProvider, Fault
from crossgrade.watch import Look
from tests.codes import raises_code
from tests.unit.watch.conftest import Site

SMALL = ConformSettings(prompts=25, lengths=(256,), stages=(2, 2, 2))
DAY = timedelta(days=1)


class Watched:
    """A site whose two models are hosts on loopback, each with a conformity check."""

    def __init__(self, site: Site, hosts: dict[str, FakeModel]) -> None:
        self.site = site
        self.hosts = hosts
        self.records: dict[str, ConformRecord] = {}

    def check(self, *models: str) -> datetime:
        """Check models; return when the last check ended."""
        with self.site.project() as project:
            for name in models:
                plan = project.conformity.plan(name, None, SMALL)
                self.records[name] = project.conformity.run(plan)
        return max(each.at for each in self.records.values())

    def look(self, start: datetime, days: float) -> Look:
        return self.site.look(now=start + days * DAY)

    @property
    def calls(self) -> int:
        return sum(each.calls for each in self.hosts.values())


@pytest.fixture
def watched(site: Site) -> Iterator[Watched]:
    hosts = {"gpt-x": FakeModel("1"), "llama-x": FakeModel("2")}
    with FakeProvider(lambda request: hosts[request.model](request)) as fake:
        site.write(watch="{conform: {every_hours: 24}}")
        path = site.folder / "crossgrade.yaml"
        path.write_text(path.read_text().replace("http://127.0.0.1:9/v1", fake.base_url))
        yield Watched(site, hosts)


def test_a_healthy_model_is_asked_once_a_day_and_keeps_its_route(watched: Watched) -> None:
    start = watched.check("gpt", "llama")
    watched.site.apply()
    asked = watched.calls
    assert watched.look(start, 0.5).alarms == []
    assert watched.calls == asked, "no look is due yet"
    for day in range(1, 6):
        found = watched.look(start, day + 0.01)
        assert found.alarms == []
        assert [each.days for each in found.conform] == [day, day]
        assert {each.status for each in found.conform} == {"conforms"}
    assert watched.calls == asked + 5 * 2 * 50
    assert watched.site.route().policy.kind == "switch"


@pytest.mark.parametrize("model", ["gpt-x", "llama-x"])
def test_another_model_behind_the_name_steps_the_route_back(watched: Watched, model: str) -> None:
    start = watched.check("gpt", "llama")
    watched.site.apply()
    assert watched.look(start, 1.1).alarms == []
    watched.hosts[model].weights = "5"
    alarms = [alarm for day in (2.2, 3.3) for alarm in watched.look(start, day).alarms]
    assert [alarm.kind for alarm in alarms] == ["fingerprint"]
    assert alarms[0].detail["model"] == model.removesuffix("-x")
    assert watched.site.route().policy.kind == "keep"
    asked = watched.calls
    assert watched.look(start, 9).conform == [], "no route in force asks it any more"
    assert watched.calls == asked


def test_another_version_is_an_alarm_by_itself(watched: Watched) -> None:
    watched.hosts["llama-x"].version = "llama-x-1"
    start = watched.check("gpt", "llama")
    watched.site.apply()
    watched.hosts["llama-x"].version = "llama-x-2"
    (alarm,) = watched.look(start, 1.1).alarms
    assert alarm.kind == "version"
    assert (alarm.detail["measured"], alarm.detail["served"]) == (["llama-x-1"], "llama-x-2")
    assert watched.site.route().policy.kind == "keep"


def test_a_day_without_answers_is_a_gap_and_no_alarm(watched: Watched) -> None:
    start = watched.check("llama")
    watched.site.apply()
    watched.hosts["llama-x"].fault = Fault("bad_key")
    found = watched.look(start, 1.1)
    assert found.alarms == []
    by_model = {each.model: each for each in found.conform}
    assert by_model["gpt"].check_id is None
    assert {each.status for each in found.conform} == {"unchecked"}
    asked = watched.calls
    assert watched.look(start, 1.5).alarms == []
    assert watched.calls == asked, "it is not tried again before the next look is due"
    watched.hosts["llama-x"].fault = None
    found = watched.look(start, 2.2)
    assert {each.model: each.days for each in found.conform}["llama"] == 1


def test_the_cost_of_looks_is_capped(watched: Watched) -> None:
    start = watched.check("llama")
    watched.site.apply()
    path = watched.site.folder / "crossgrade.yaml"
    text = path.read_text().replace("every_hours: 24", "every_hours: 24, max_usd_per_day: 0.000001")
    path.write_text(
        text.replace(
            "model: llama-x", "model: llama-x\n    prices: [{input_per_mtok: 1, output_per_mtok: 3}]"
        )
    )
    asked = watched.calls
    found = watched.look(start, 1.1)
    assert watched.calls == asked
    assert {each.model: each.status for each in found.conform}["llama"] == "unchecked"


def test_nothing_is_asked_where_it_is_off(watched: Watched) -> None:
    start = watched.check("llama")
    path = watched.site.folder / "crossgrade.yaml"
    path.write_text(path.read_text().replace("{conform: {every_hours: 24}}", "{}"))
    watched.site.apply()
    asked = watched.calls
    assert watched.look(start, 5).conform == []
    assert watched.calls == asked


def test_answers_of_past_days_are_read_only_where_a_look_is_due(watched: Watched) -> None:
    start = watched.check("gpt", "llama")
    watched.site.apply()
    watched.look(start, 1.1)
    with (
        closing(sqlite3.connect(watched.site.folder / ".crossgrade" / "crossgrade.db")) as database,
        database,
    ):
        spoilt = '"answers":{"00/t0":5,'
        database.execute("UPDATE conform_days SET record = replace(record, '\"answers\":{', ?)", [spoilt])
    for days, problems in ((1.5, 0), (2.2, 2)):
        found = watched.look(start, days)
        assert {(each.status, each.days) for each in found.conform} == {("conforms", 1)}
        assert len(found.problems) == problems


def test_two_processes_do_not_both_pay_for_a_look(watched: Watched) -> None:
    start = watched.check("gpt", "llama")
    watched.site.apply()
    asked = watched.calls
    record = watched.records["llama"]
    with watched.site.project() as project, project.store.runs.lock(f"{record.id}-daily"):
        with watched.site.project() as other, raises_code("run-locked"):
            other.conformity.look(
                other.offer("llama"), record, now=start + 2 * DAY, every=DAY, limit_usd=None
            )
        assert project.store.conformity.days(record.id) == []
    assert watched.calls == asked


def test_the_looks_of_a_day_are_found_by_their_time(watched: Watched) -> None:
    start = watched.check("gpt", "llama")
    watched.site.apply()
    for day in (1.1, 2.2):
        watched.look(start, day)
    with watched.site.project() as project:
        since = [project.store.conformity.looks_since(start + at * DAY) for at in (1.0, 1.1, 1.2, 2.2)]
    assert [len(each) for each in since] == [4, 2, 2, 0]
