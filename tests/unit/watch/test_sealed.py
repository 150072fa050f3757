"""Which sealed samples are drawn, what their answers prove, and what they are kept out of."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from crossgrade.decide import RunDesign
from crossgrade.domain import Sample, Workload
from crossgrade.evaluate import SealedChoice, SealedRound, draw_round, sealed_choices
from crossgrade.routing import Growth
from crossgrade.store import Audit, Baseline, SealedAnswer, SealedSample
from crossgrade.watch._claims import LiveClaim
from crossgrade.watch._sealed import SealedMonitor
from crossgrade.watch._stepping import stepped_back
from crossgrade.workloads import Dataset
from tests.unit.watch.conftest import GOOD, NOW, Site
from tests.unit.watch.test_router import POLICY, ROUTER, certificates

CLAIM = LiveClaim(route="r", verdict_id="v", segment=None, floor=0.9, alpha=0.05)


def choices(n: int, *, epochs: tuple[int, ...] = (1,), heavy: int = 0) -> list[SealedChoice]:
    return [
        SealedChoice(Sample(id=str(i), fields={}, weight=4.0 if i < heavy else 1.0), epochs) for i in range(n)
    ]


def drawn(found: Sequence[SealedChoice], items: int, seed: int) -> SealedRound:
    return draw_round(found, items, number=1, at=NOW, round_id=f"round-{seed}")


def test_each_sample_is_drawn_as_often_and_none_twice_in_a_round() -> None:
    found = choices(40, epochs=(1, 2))
    rounds = [drawn(found, 10, seed) for seed in range(2000)]
    assert {len({item.sample_id for item in each.items}) for each in rounds} == {10}
    times = Counter(item.sample_id for each in rounds for item in each.items)
    assert len(times) == 40
    assert max(abs(count - 500) for count in times.values()) < 5 * (2000 * 0.25 * 0.75) ** 0.5
    epochs = Counter(item.epoch for each in rounds for item in each.items)
    assert abs(epochs[1] - 10_000) < 5 * (20_000 / 4) ** 0.5
    pairs = sum({"0", "1"} <= {item.sample_id for item in each.items} for each in rounds)
    assert abs(pairs / 2000 - 10 * 9 / (40 * 39)) < 0.03, "pairs too: a set is as likely as any other"


def test_a_round_is_drawn_again_from_its_record() -> None:
    found = choices(30, heavy=3)
    once = draw_round(found, 10, number=4, at=NOW)
    assert draw_round(found, 10, number=4, at=NOW, round_id=once.id) == once
    assert SealedRound.read(once.tree()) == once
    assert {item.weight for item in drawn(found, 30, 1).items} == {1.0, 0.25}
    assert draw_round(found, 10, number=4, at=NOW).items != once.items
    assert set(once.requests.values()).isdisjoint(drawn(found, 30, 1).requests.values())


def test_fewer_samples_than_wanted_are_all_drawn() -> None:
    assert len(drawn(choices(3), 20, 1).items) == 3


def workload(**changes: Any) -> Workload:
    from crossgrade.project import Project

    with Project.open(changes.pop("folder") / "crossgrade.yaml", environ={}) as project:
        return replace(project.config.workloads["support"], **changes)


def test_the_claims_samples_are_those_that_move_and_were_answered(site: Site) -> None:
    samples = tuple(
        Sample(id=name, fields={"input": "x" * size}, segment=segment)
        for name, size, segment in [
            ("kept", 5, "a"), ("refused", 5, "a"), ("forgotten", 5, "a"), ("unanswered", 5, "a"),
            ("long", 5000, "a"), ("other", 5, "b"),
        ]
    )  # fmt: skip
    answers = [
        SealedAnswer(sample_id=name, epoch=1, response_id=None if name == "refused" else name)
        for name in ("kept", "refused", "forgotten", "long", "other")
    ]
    baseline = Baseline(
        id="b", workload="support", run_id="r", sealed_at=NOW, dataset_digest="d",
        design=RunDesign(samples=6, first_samples=6), seed=1, epochs=1, incumbent={}, scorer={},
        scorer_digest="s", floor=0.9, alpha=0.05, planned_candidates=5, expected_retention=0.95, power=0.8,
        samples=tuple(SealedSample(each.id, "d") for each in samples), answers=tuple(answers),
    )  # fmt: skip

    def found(**changes: Any) -> list[str]:
        dataset = Dataset(samples=samples, digest="d", path=site.folder, format="jsonl")
        return [
            each.sample.id
            for each in sealed_choices(
                workload(folder=site.folder, **changes), dataset, baseline, {"forgotten"},
                candidate="llama", max_bytes=1000, moves=lambda sample: sample.segment == "a",
            )
        ]  # fmt: skip

    assert found() == ["kept", "refused"]
    assert found(errors_count_as_zero=False) == ["kept"]


def audit(incumbent: float | None, candidate: float | None, weight: float = 1.0) -> Audit:
    return Audit(
        route="r", source="sealed", source_id="s", scorer_digest="d", incumbent=incumbent,
        candidate=candidate, weight=weight,
    )  # fmt: skip


def rounds_of(good: int, bad: int, rounds: int, seed: int) -> SealedMonitor:
    """Return a monitor after rounds of 20 of the samples, of which the candidate fails some, always."""
    monitor, found = SealedMonitor(CLAIM, count=1), choices(good + bad)
    for number in range(rounds):
        items = drawn(found, 20, seed * 1000 + number).items
        monitor.count([audit(1.0, float(int(item.sample_id) >= bad)) for item in items], Decimal(0))
        if monitor.alarm is not None:
            break
    return monitor


def test_false_alarms_are_as_rare_as_stated_with_retention_exactly_at_the_floor() -> None:
    runs = [rounds_of(90, 10, 60, seed) for seed in range(300)]
    tests = Counter(run.alarm[0] for run in runs if run.alarm is not None)
    assert tests["claim"] <= 0.05 * 300 + 3 * (300 * 0.05 * 0.95) ** 0.5
    answers = sum(run.asked for run in runs)
    assert answers > 300 * 1000
    assert tests["change"] <= 1.5 * answers / 5000


def test_a_fall_is_noticed() -> None:
    runs = [rounds_of(80, 20, 60, seed) for seed in range(50)]
    assert all(run.alarm is not None for run in runs)
    assert np.median([run.rounds for run in runs]) < 12


def test_a_round_is_read_as_a_whole() -> None:
    """Inside a round the bets are not fair one by one, so no state between its samples raises an alarm."""
    monitor = SealedMonitor(CLAIM, count=1)
    monitor.count([audit(1.0, 0.0)] * 20 + [audit(0.0, 1.0)] * 60, Decimal(0))
    assert monitor.alarm is None
    assert (monitor.rounds, monitor.asked) == (1, 80)


def test_states_weights_and_unscored_answers() -> None:
    monitor = SealedMonitor(CLAIM, count=2)
    assert monitor.process.threshold == pytest.approx(40)
    monitor.count([audit(1.0, 0.5), audit(0.5, 1.0, 0.25), audit(None, None)], Decimal("0.5"))
    assert (monitor.rounds, monitor.asked, monitor.cost_usd) == (1, 2, Decimal("0.5"))
    assert monitor.retention == pytest.approx((0.5 + 0.25) / (1.0 + 0.125))
    monitor.count([audit(None, None)], None)
    assert (monitor.rounds, monitor.cost_usd) == (1, None), "a round without any score is none"
    again = SealedMonitor(CLAIM, count=2)
    again.restore(monitor.state())
    assert again.state() == monitor.state()
    monitor.count([audit(1.0, 0.0)] * 30, Decimal(0))
    assert monitor.alarm is not None
    again = SealedMonitor(CLAIM, count=2)
    again.restore(monitor.state())
    assert again.alarm is not None
    assert again.alarm[0] == "claim"


def test_sealed_audits_stay_out_of_the_live_claim(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 30)
    (before,) = site.look().standings
    with site.project() as project:
        (live, *_) = project.store.pairs.audits("support")
        sealed = [
            replace(
                live, source="sealed", source_id=f"round:{n}", incumbent=1.0, candidate=0.0,
                scorer_digest=f"sealed:{live.scorer_digest}", conversation="round",
            )
            for n in range(500)
        ]  # fmt: skip
        project.store.pairs.append_audits(sealed)
    found = site.look()
    (after,) = found.standings
    assert (after.audits, after.e_claim, after.e_change) == (before.audits, before.e_claim, before.e_change)
    assert not found.alarms


def test_a_route_that_grows_takes_no_sealed_evidence(site: Site) -> None:
    from crossgrade.watch._sealed_claims import look_at_sealed

    site.write(watch="{sealed: {}}")
    verdict_id = site.apply(POLICY, router=ROUTER, certificates=certificates())
    grows = replace(site.route(), growth=Growth(start=1, since=datetime(2026, 11, 1, tzinfo=UTC), rate=0.1))
    with site.project() as project:
        verdict = project.store.verdicts.get(verdict_id).verdict
        (finding,) = look_at_sealed(
            project, grows, verdict, [CLAIM], project.config.workloads["support"], now=NOW
        )
        assert not project.store.alarms.states_under("sealed:")
    assert finding.standing.reason_code == "sealed-grows"
    assert finding.problem is None


def test_the_claim_on_the_whole_of_a_split_is_not_asked(site: Site) -> None:
    from crossgrade.watch._sealed_claims import look_at_sealed

    site.write(watch="{sealed: {}}")
    verdict_id = site.apply()
    with site.project() as project:
        verdict = project.store.verdicts.get(verdict_id).verdict
        claims = [CLAIM, replace(CLAIM, moved="score >= 0.5")]
        found = look_at_sealed(
            project, site.route(), verdict, claims, project.config.workloads["support"], now=NOW
        )
    assert [each.standing.reason_code for each in found] == ["baseline-missing"]


def test_a_segments_alarm_takes_the_segment_only(site: Site) -> None:
    from crossgrade.routing import Policy
    from crossgrade.store import Alarm

    site.apply(Policy(kind="split", incumbent="gpt", candidate="llama", segments=("a", "b")))
    back = stepped_back(site.route(), Alarm(route="support", kind="sealed", detail={}, segment="a"))
    assert back is not None
    assert back.policy.segments == ("b",)
