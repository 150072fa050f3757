"""What can go wrong with a provider, the budget, the store or the user, and what is kept of the run."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from crossgrade.calls import CallLimiters, Patience
from crossgrade.domain import ModelAnswer, Sample, Score
from crossgrade.errors import (
    AuthError,
    BadRequestError,
    BudgetExceededError,
    ContentFilteredError,
    ProviderTimeoutError,
    RateLimitedError,
    StoreError,
    TrialError,
    UpstreamError,
)
from crossgrade.evaluate import run_workload
from crossgrade.store import RunStatus, Store
from tests.codes import raises_code
from tests.unit.evaluate.running import (
    HASTY,
    PRICE,
    Equals,
    Rule,
    Scripted,
    dataset,
    evidence,
    run,
    variant,
    workload,
)

PRICES = {"gpt": PRICE, "llama": PRICE}


@pytest.mark.parametrize(
    "error", [UpstreamError("502"), ProviderTimeoutError("slow"), RateLimitedError("429")]
)
def test_what_may_pass_is_tried_again(store: Store, error: Exception) -> None:
    llama = Scripted("llama", lambda request, times: error if times < 3 else "yes")
    result = run(store, Scripted("gpt"), llama, data=dataset(5))
    assert result.progress.errors == 0
    assert {score for _, _, score, _ in evidence(store)} == {1.0}
    assert set(Counter(llama.asked).values()) == {3}


def test_what_does_not_pass_is_an_outcome_that_counts_as_zero(store: Store) -> None:
    llama = Scripted(
        "llama",
        lambda request, _: ContentFilteredError("refused") if " 3 " in request.messages[0].content else "yes",
    )

    rule = Rule(after=100)
    result = run(store, Scripted("gpt"), llama, data=dataset(6), stopping=rule)
    assert result.progress.errors == 1
    assert sorted((b, c) for *_, b, c in rule.fed) == [(1.0, 0.0), *[(1.0, 1.0)] * 5]
    assert llama.asked.count("Is thing 3 so?") == 1
    assert ("3", "llama", None, "refused") in evidence(store)

    rule.fed.clear()
    load = workload(errors_count_as_zero=False)
    run(store, Scripted("gpt"), llama, data=dataset(6), stopping=rule, load=load)
    assert [(b, c) for *_, b, c in rule.fed] == [(1.0, 1.0)] * 5


def test_a_resumed_run_asks_again_what_may_pass_by_then(store: Store) -> None:
    errors: dict[str, Exception] = {
        "Is thing 3 so?": UpstreamError("502"),
        "Is thing 4 so?": ContentFilteredError("refused"),
    }
    llama = Scripted("llama", lambda request, _: errors.get(request.messages[0].content, "yes"))
    first = run(store, Scripted("gpt"), llama, data=dataset(6))
    assert first.progress.errors == 2

    gpt, llama = Scripted("gpt"), Scripted("llama")
    second = run(store, gpt, llama, data=dataset(6), resume=first.run_id)
    assert gpt.asked == []
    assert llama.asked == ["Is thing 3 so?"]
    assert second.progress.errors == 1
    assert ("3", "llama", 1.0, None) in evidence(store)
    assert ("4", "llama", None, "refused") in evidence(store)


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (UpstreamError("connection refused"), ("upstream", "10", "llama", "connection refused")),
        (BadRequestError("no such model"), ("bad-request", "10", "llama", "no such model")),
        (AuthError("the key was refused"), ("auth", "the key was refused")),
    ],
)
def test_a_model_that_is_not_there_ends_the_run(store: Store, error: Exception, seen: str) -> None:
    gpt = Scripted("gpt")
    with raises_code(*seen):
        run(store, gpt, Scripted("llama", lambda *_: error), data=dataset(200))
    run_id = store.runs.recent()[0].id
    assert store.runs.status(run_id) is RunStatus.FAILED
    assert len(gpt.asked) < 100

    again = Scripted("gpt")
    result = run(store, again, Scripted("llama"), data=dataset(200), resume=run_id)
    assert not set(again.asked) & set(gpt.asked)
    assert result.progress.errors == 0


def test_a_model_that_never_answered_was_not_measured(store: Store) -> None:
    with raises_code("upstream", "llama"):
        run(store, Scripted("gpt"), Scripted("llama", lambda *_: UpstreamError("no")), data=dataset(3))
    run_id = store.runs.recent()[0].id
    assert store.runs.status(run_id) is RunStatus.FAILED
    result = run(store, Scripted("gpt"), Scripted("llama"), data=dataset(3), resume=run_id)
    assert result.progress.errors == 0


@pytest.mark.parametrize("error", [BadRequestError("no such model"), UpstreamError("502")])
def test_what_is_not_about_the_content_is_asked_again_when_the_run_resumes(
    store: Store, error: Exception
) -> None:
    llama = Scripted("llama", lambda request, _: error if " 3 " in request.messages[0].content else "yes")
    first = run(store, Scripted("gpt"), llama, data=dataset(6))
    assert first.progress.errors == 1
    llama = Scripted("llama")
    second = run(store, Scripted("gpt"), llama, data=dataset(6), resume=first.run_id)
    assert llama.asked == ["Is thing 3 so?"]
    assert second.progress.errors == 0


class Judged(Equals):
    """Scores by pairs or singly, unless the judge is away."""

    def __init__(self, *, away: bool) -> None:
        self.away = away
        self.scored = 0

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        if answer.text:
            self.scored += 1
        return Score(value=None if self.away else 1.0, cost_usd=None if self.away else Decimal(0))


class JudgedPairs(Judged):
    """The same judge of pairs."""

    async def score_pair(
        self, sample: Sample, incumbent: ModelAnswer, candidate: ModelAnswer
    ) -> tuple[Score, Score]:
        return await self.score(sample, incumbent), await self.score(sample, candidate)


@pytest.mark.parametrize("kind", [Judged, JudgedPairs])
def test_answers_that_a_judge_failed_to_score_are_judged_again_when_the_run_resumes(
    store: Store, kind: type[Judged]
) -> None:
    first = run(store, Scripted("gpt"), Scripted("llama"), data=dataset(6), scorer=kind(away=True))
    assert first.progress.unscored == 6
    assert {score for _, _, score, _ in evidence(store)} == {None}

    gpt, llama = Scripted("gpt"), Scripted("llama")
    for times in (12, 0):
        judge = kind(away=False)
        result = run(store, gpt, llama, data=dataset(6), resume=first.run_id, scorer=judge)
        assert gpt.asked == llama.asked == []
        assert judge.scored == times
        assert (result.progress.unscored, result.progress.calls) == (0, 12)
        assert [score for _, _, score, _ in evidence(store)] == [1.0] * 12
    assert store.runs.totals(first.run_id).answers == 12


def test_a_pair_is_judged_again_when_its_failed_half_is_answered(store: Store) -> None:
    llama = Scripted(
        "llama", lambda request, _: UpstreamError("502") if " 3 " in request.messages[0].content else "yes"
    )
    first = run(store, Scripted("gpt"), llama, data=dataset(6), scorer=JudgedPairs(away=False))
    judge = JudgedPairs(away=False)
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(6), resume=first.run_id, scorer=judge)
    assert judge.scored == 2
    assert [score for _, _, score, _ in evidence(store)] == [1.0] * 12


def test_429_for_ever_ends_in_a_clear_error_not_in_a_hang(store: Store) -> None:
    llama = Scripted("llama", lambda *_: RateLimitedError("429"))
    with raises_code("rate-limited", "llama"):
        run(store, Scripted("gpt"), llama)
    assert store.runs.status(store.runs.recent()[0].id) is RunStatus.FAILED


def test_a_wait_beyond_patience_is_not_waited_for(store: Store) -> None:
    llama = Scripted("llama", lambda *_: RateLimitedError("429", retry_after_s=3600))
    with raises_code("rate-limited", "3600"):
        run(store, Scripted("gpt"), llama)


def test_the_limit_of_an_account_shrinks_on_a_429(store: Store) -> None:
    times: list[int] = []

    def script(request: Any, _: int) -> Any:
        times.append(1)
        return RateLimitedError("429", retry_after_s=0.001) if len(times) == 5 else "yes"

    limiters = CallLimiters(Patience(throttled_s=5))
    result = run(store, Scripted("gpt"), Scripted("llama", script), limiters=limiters, data=dataset(8))
    assert result.progress.limits["llama"] < 10 <= result.progress.limits["gpt"]
    assert result.progress.errors == 0


def test_the_budget_ends_the_run_before_it_is_exceeded(store: Store) -> None:
    load = workload(max_cost_usd=Decimal("1.00"))
    gpt, llama = Scripted("gpt"), Scripted("llama")
    with raises_code("budget-exceeded", "$1.00"):
        run(store, gpt, llama, load=load, data=dataset(500), prices=PRICES)
    run_id = store.runs.recent()[0].id
    totals = store.runs.totals(run_id)
    assert Decimal("0.5") < totals.spent_usd <= Decimal(1)
    assert store.runs.status(run_id) is RunStatus.BUDGET
    assert len(evidence(store)) == len(gpt.asked) + len(llama.asked) == totals.answers

    more = workload(max_cost_usd=Decimal("2.00"))
    with pytest.raises(BudgetExceededError):
        run(store, gpt, llama, load=more, data=dataset(500), prices=PRICES, resume=run_id)
    assert Decimal("1.5") < store.runs.totals(run_id).spent_usd <= Decimal(2)
    assert max(Counter(gpt.asked).values()) == 1


def test_what_a_trial_without_a_verdict_cost_counts_after_a_resume(store: Store) -> None:
    def script(request: Any, times: int) -> Any:
        lost = times == 1 and " 3 " in request.messages[0].content
        return TrialError("environment:lost", cost_usd=Decimal("0.60")) if lost else "yes"

    load, gpt, llama = workload(max_cost_usd=Decimal(1)), Scripted("gpt"), Scripted("llama", script)
    with pytest.raises(BudgetExceededError):
        run(store, gpt, llama, load=load, data=dataset(50), prices=PRICES)
    run_id = store.runs.recent()[0].id
    assert store.runs.lost_usd(run_id) == Decimal("0.60")
    asked = len(gpt.asked)
    with pytest.raises(BudgetExceededError):
        run(store, gpt, llama, load=load, data=dataset(50), prices=PRICES, resume=run_id)
    assert len(gpt.asked) == asked


def test_a_budget_cannot_be_kept_without_a_price(store: Store) -> None:
    load = workload(max_cost_usd=Decimal(1))
    with raises_code("price-unknown-under-limit", "llama"):
        run(store, Scripted("gpt"), Scripted("llama"), load=load, prices={"gpt": PRICE, "llama": None})


def test_a_budget_cannot_be_kept_without_a_judges_price(store: Store) -> None:
    load = workload(max_cost_usd=Decimal(1))
    with raises_code("price-unknown-under-limit", "judge"):
        run(store, Scripted("gpt"), Scripted("llama"), load=load, prices={**PRICES, "judge": None})


def test_an_unknown_price_is_not_zero(store: Store) -> None:
    result = run(store, Scripted("gpt"), Scripted("llama"), data=dataset(3), prices={"gpt": PRICE})
    assert result.progress.unknown_costs == 3
    assert result.progress.spent_usd == Decimal("0.03")
    assert store.runs.totals(result.run_id).spent_usd is None


def test_the_same_request_is_paid_for_once_across_runs(store: Store) -> None:
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(10), prices=PRICES)
    gpt, llama = Scripted("gpt"), Scripted("llama")
    result = run(store, gpt, llama, data=dataset(12), load=workload(seed=9), prices=PRICES)
    assert len(gpt.asked) == len(llama.asked) == 2
    assert result.progress.reused == 20
    assert result.progress.spent_usd == Decimal("0.04")
    assert store.runs.totals(result.run_id).spent_usd == Decimal("0.04")
    assert len(evidence(store)) == 24


def test_equal_samples_of_one_run_are_asked_once(store: Store) -> None:
    gpt = Scripted("gpt")
    run(store, gpt, Scripted("llama"), data=dataset(30, things=3))
    assert sorted(gpt.asked) == ["Is thing 0 so?", "Is thing 1 so?", "Is thing 2 so?"]
    assert len(evidence(store)) == 60


def test_answers_are_asked_anew_on_request(store: Store) -> None:
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(5))
    gpt = Scripted("gpt")
    run(store, gpt, Scripted("llama"), data=dataset(5), reuse=False)
    assert len(gpt.asked) == 5


def test_a_changed_prompt_is_another_request(store: Store) -> None:
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(5))
    gpt, llama = Scripted("gpt"), Scripted("llama")
    load = workload(candidates=(variant("llama", region="eu"),), incumbent=variant("gpt"))
    run(store, gpt, llama, load=load, data=dataset(5))
    assert gpt.asked == llama.asked == []


def test_a_run_is_not_resumed_under_other_settings(store: Store) -> None:
    first = run(store, Scripted("gpt"), Scripted("llama"))
    with raises_code("run-settings-changed", "floor", "seed"):
        run(store, Scripted("gpt"), Scripted("llama"), load=workload(floor=0.9, seed=2), resume=first.run_id)


def test_two_processes_do_not_work_on_one_run(store: Store) -> None:
    first = run(store, Scripted("gpt"), Scripted("llama"))
    with store.runs.lock(first.run_id), raises_code("run-locked"):
        run(store, Scripted("gpt"), Scripted("llama"), resume=first.run_id)


def test_what_is_in_flight_is_kept_when_the_run_is_cancelled(store: Store) -> None:
    async def main() -> None:
        arrived = anyio.Event()
        let_go = anyio.Event()

        async def hold() -> str:
            if len(llama.asked) >= 10:
                arrived.set()
            await let_go.wait()
            return "yes"

        gpt, llama = Scripted("gpt"), Scripted("llama", lambda *_: hold())

        async def work() -> None:
            await run_workload(
                workload(),
                dataset(100),
                providers={"gpt": gpt, "llama": llama},
                scorer=Equals(),
                store=store,
                limiters=CallLimiters(HASTY),
            )

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await arrived.wait()
            group.cancel_scope.cancel()
            let_go.set()
        run_id = store.runs.recent()[0].id
        assert store.runs.status(run_id) is RunStatus.INTERRUPTED
        kept = store.answers.of_run(run_id, "equals")
        assert len(kept) == len(gpt.asked) + len(llama.asked)
        assert all(answer.response is not None for answer in kept.values())

    anyio.run(main)
    run_id = store.runs.recent()[0].id
    gpt, llama = Scripted("gpt"), Scripted("llama")
    result = run(store, gpt, llama, data=dataset(100), resume=run_id)
    assert result.progress.calls == 200
    assert len(gpt.asked) == len(llama.asked) < 100
    assert len(evidence(store)) == 200


def test_a_call_that_hangs_does_not_hold_up_a_cancelled_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.evaluate._flow.GRACE_S", 0.01)

    def hang(*_: Any) -> Awaitable[None]:
        return anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        run(store, Scripted("gpt"), Scripted("llama", hang), timeout_s=0.2)
    run_id = store.runs.recent()[0].id
    assert store.runs.status(run_id) is RunStatus.INTERRUPTED
    assert len(store.answers.of_run(run_id, "equals")) == 10


def test_ctrl_c_leaves_a_call_that_hangs_only_its_grace(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C cancels the task of the run itself, not a scope around it."""
    monkeypatch.setattr("crossgrade.evaluate._flow.GRACE_S", 0.01)
    gpt = Scripted("gpt")

    async def hang() -> str:
        press_ctrl_c()
        await asyncio.sleep(20)
        return "yes"

    def press_ctrl_c() -> None:
        if len(gpt.asked) == 10:
            task.cancel()

    async def main() -> None:
        nonlocal task
        task = asyncio.current_task()
        await run_workload(
            workload(),
            dataset(100),
            providers={"gpt": gpt, "llama": Scripted("llama", lambda *_: hang())},
            scorer=Equals(),
            store=store,
            limiters=CallLimiters(HASTY),
        )

    task: Any = None
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    run_id = store.runs.recent()[0].id
    assert store.runs.status(run_id) is RunStatus.INTERRUPTED
    assert {model for _, model, _ in store.answers.of_run(run_id, "equals")} == {"gpt"}


def test_a_full_disk_ends_the_run_and_keeps_what_was_committed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, sizes = store.answers.append, []

    def fill(records: Sequence[Any]) -> None:
        sizes.append(len(records))
        if len(sizes) > 2:
            raise StoreError("the database has no room left")
        append(records)

    monkeypatch.setattr(store.answers, "append", fill)
    with raises_code("store"):
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(300))
    monkeypatch.undo()
    run_id = store.runs.recent()[0].id
    kept = store.answers.of_run(run_id, "equals")
    assert 0 < len(kept) < 300
    gpt, llama = Scripted("gpt"), Scripted("llama")
    run(store, gpt, llama, data=dataset(300), resume=run_id)
    assert len(gpt.asked) + len(llama.asked) == 600 - len(kept)


def test_a_killed_run_is_seen_as_killed(tmp_path: Path, store: Store) -> None:
    result = run(store, Scripted("gpt"), Scripted("llama"))
    store.runs.append_event(result.run_id, RunStatus.RUNNING)
    assert store.runs.status(result.run_id) is RunStatus.KILLED
