"""What is said of a growing route beside its evidence: requests that come late, and what audits cost."""

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from crossgrade.cli._frame import run
from crossgrade.domain import ModelAnswer
from crossgrade.store import PairAnswer
from crossgrade.watch._claims import drawn
from tests.codes import noted
from tests.unit.watch.conftest import GOOD, NOW, SCHEMA, Site
from tests.unit.watch.growing import DAY, apply, config, growth, seen, verdict_of


def test_what_arrives_after_its_day_was_counted_does_not_count_and_is_shown(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(site.folder)
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)
    seen(site, verdict_id, router, 30, day=0)
    seen(site, verdict_id, router, 2, day=0, probability=0.01)  # do not count, and are not late
    seen(site, verdict_id, router, 3, day=0, score=None)
    counted = growth(site, day=1)
    assert (counted.audits, counted.late) == (30, 0)
    missed = {"missed": "parallel", "request": None, "incumbent": PairAnswer(model="gpt", answer=None), "candidate": PairAnswer(model="llama", answer=None, error="parallel")}  # fmt: skip
    seen(site, verdict_id, router, 4, day=0)
    seen(site, verdict_id, router, 3, day=0, **missed)
    seen(site, verdict_id, router, 1, day=0, at=site.route().growth.since - timedelta(minutes=1))  # type: ignore[union-attr]  # it grows
    seen(site, verdict_id, router, 10, day=1)
    late = growth(site, day=1)
    assert (late.audits, late.late, late.later) == (30, 7, 10)
    assert [step.e_value for step in late.steps] == [step.e_value for step in counted.steps]
    after = growth(site, day=2)
    assert (after.audits, after.late, after.later) == (40, 7, 0)
    monkeypatch.setenv("CROSSGRADE_LOG", "codes")
    assert run(["watch", "--once", "--json"]) == 0
    out = capsys.readouterr()
    (row,) = json.loads(out.out)["look"]["growth"]
    assert (row["audits"], row["late"]) == (40, 7)
    assert noted(out.err, "growth", "support", 7)


def test_what_audits_cost_is_the_sum_of_the_days_counted_and_of_what_came_since(site: Site) -> None:
    config(site)
    verdict_id = verdict_of(site, 1600)
    router = apply(site, verdict_id)

    def audited(n: int, cost: str | None, *, day: int) -> None:
        usd = None if cost is None else Decimal(cost)
        asked = PairAnswer(model="gpt", answer=ModelAnswer(text=GOOD), cost_usd=usd)
        seen(site, verdict_id, router, n, day=day, incumbent=asked)

    audited(3, "0.1", day=0)
    assert growth(site, day=0).cost_usd == Decimal("0.3")
    assert growth(site, day=1).cost_usd == Decimal("0.3")
    audited(2, "0.01", day=1)
    assert growth(site, day=1).cost_usd == Decimal("0.32")
    audited(1, "0.001", day=0)  # late, and paid for all the same
    assert growth(site, day=2).cost_usd == Decimal("0.321")
    audited(1, None, day=2)
    assert growth(site, day=2).cost_usd is None
    assert growth(site, day=3).cost_usd is None


def test_audits_of_people_that_come_late_are_those_drawn_for_them(site: Site, tmp_path: Path) -> None:
    config(site)
    path = site.folder / "crossgrade.yaml"
    exact = path.read_text().replace(SCHEMA, " {kind: exact}")
    path.write_text(exact.replace("watch: {}", "watch: {label_share: 0.5}"))
    verdict_id = verdict_of(site, 800)
    router = apply(site, verdict_id)

    def drawn_of(n: int) -> int:
        return sum(drawn(each.id, 0.5) for each in seen(site, verdict_id, router, n, day=0, segment=None))

    first = drawn_of(40)
    (standing,) = site.look(now=NOW + 60 * DAY).growth  # whose texts are gone: unlabelled
    assert (standing.audits, standing.late) == (first, 0)
    more = drawn_of(40)
    assert 0 < more < 40
    (standing,) = site.look(now=NOW + 60 * DAY).growth
    assert (standing.audits, standing.late) == (first, more)
