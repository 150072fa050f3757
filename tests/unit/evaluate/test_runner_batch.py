"""Runs whose answers come in batches: paid once, collected after a crash, never in the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import anyio
import pytest

from crossgrade.calls import CallLimiters, _batches
from crossgrade.decide import PILOT, Stopping
from crossgrade.dialects import HOSTS
from crossgrade.dialects.batches import BatchResult, BatchStatus
from crossgrade.domain import ModelAnswer, ModelRequest, Usage
from crossgrade.errors import (
    BadRequestError,
    BudgetExceededError,
    ContentFilteredError,
    ProviderError,
    StoreError,
    UpstreamError,
)
from crossgrade.evaluate import Progress, new_design, planned_samples, run_workload
from crossgrade.providers import open_batches
from crossgrade.store import Batch, Store
from crossgrade.testing import FakeProvider
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
    workload,
)

HALF = {"gpt": replace(PRICE, batch_discount=Decimal("0.5")), "llama": PRICE}


@dataclass
class FakeBatches:
    """A batch API whose batches end at their second poll."""

    refuses: str = "no prompt"
    sizes: list[int] = field(default_factory=list)
    polls: list[BatchStatus | Exception] = field(default_factory=list)
    crash: Exception | None = None
    batches: dict[str, Mapping[str, ModelRequest]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    largest: int = 1000
    lose_reply: bool = False

    def parts(self, requests: Mapping[str, ModelRequest]) -> list[Mapping[str, ModelRequest]]:
        names = list(requests)
        starts = range(0, len(names), self.largest)
        return [{name: requests[name] for name in names[at : at + self.largest]} for at in starts]

    async def submit(self, requests: Mapping[str, ModelRequest], *, label: str) -> str:
        self.sizes.append(len(requests))
        name = f"batch_{len(self.sizes)}"
        self.batches[name] = requests
        self.labels[name] = label
        if self.lose_reply:
            raise UpstreamError("the connection was closed without an answer")
        return name

    async def find(self, label: str, *, size: int, since: datetime) -> list[str]:
        assert datetime.now(UTC) - since < timedelta(minutes=1)
        return [
            name for name in self.batches if self.labels[name] == label and size == len(self.batches[name])
        ]

    async def poll(self, batch: str) -> BatchStatus:
        seen = self.polls.pop(0) if self.polls else BatchStatus("done")
        if isinstance(seen, Exception):
            raise seen
        return seen

    async def results(
        self, batch: str, requests: Mapping[str, ModelRequest], *, names: Sequence[str] = ()
    ) -> dict[str, BatchResult]:
        if self.crash is not None:
            raise self.crash
        assert list(names) == list(self.batches[batch])
        assert requests.keys() <= self.batches[batch].keys()
        return {
            name: ContentFilteredError("refused")
            if self.refuses in (request.messages[0].content or "")
            else ModelAnswer(text="yes", usage=Usage(input_tokens=8, output_tokens=2))
            for name, request in requests.items()
        }


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_batches, "_LONGEST_POLL_S", 0.0)
    monkeypatch.setattr(_batches, "FIRST_POLL_S", 0.0)
    monkeypatch.setattr("crossgrade.providers.batch.FILE_POLL_S", 0.0)


def test_a_batch_answers_for_half_the_price(store: Store) -> None:
    gpt, llama, batches = Scripted("gpt"), Scripted("llama"), FakeBatches()
    result = run(store, gpt, llama, data=dataset(100), prices=HALF, batches={"gpt": batches})
    assert gpt.asked == []
    assert batches.sizes == [64, 36]
    assert len(evidence(store)) == 200
    assert (result.progress.calls, result.progress.reused) == (200, 0)
    assert result.progress.spent_usd == Decimal("1.50")
    assert store.runs.totals(result.run_id).spent_usd == Decimal("1.50")

    again = FakeBatches()
    result = run(store, gpt, llama, data=dataset(100), prices=HALF, batches={"gpt": again})
    assert again.sizes == []
    assert result.progress.spent_usd == 0


def test_what_a_batch_does_not_answer_is_asked(store: Store) -> None:
    gpt = Scripted("gpt")
    run(store, gpt, Scripted("llama"), data=dataset(60), batches={"gpt": FakeBatches(refuses="thing 7 ")})
    assert gpt.asked == ["Is thing 7 so?"]
    assert len(evidence(store)) == 120


def test_few_requests_are_not_worth_a_batch(store: Store) -> None:
    gpt, batches = Scripted("gpt"), FakeBatches()
    run(store, gpt, Scripted("llama"), data=dataset(10), batches={"gpt": batches})
    assert batches.sizes == []
    assert len(gpt.asked) == 10


def test_a_resumed_run_collects_the_batch_it_submitted(store: Store) -> None:
    batches = FakeBatches(crash=UpstreamError("the connection was closed"))
    with pytest.raises(UpstreamError):
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(60), batches={"gpt": batches})
    batches.crash = None
    run_id = store.runs.recent()[0].id
    gpt = Scripted("gpt")
    for reuse in (False, True):
        result = run(
            store,
            gpt,
            Scripted("llama"),
            data=dataset(60),
            prices=HALF,
            batches={"gpt": batches},
            resume=run_id,
            reuse=reuse,
        )
        assert batches.sizes == [60]
        assert gpt.asked == []
        assert result.progress.spent_usd == Decimal("0.90")


def test_a_batch_that_the_provider_has_forgotten_is_submitted_again(store: Store) -> None:
    batches = FakeBatches(crash=UpstreamError("the connection was closed"))
    with pytest.raises(UpstreamError):
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(60), batches={"gpt": batches})
    batches.crash, batches.polls = None, [BadRequestError("no such batch")]
    run_id = store.runs.recent()[0].id
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(60), batches={"gpt": batches}, resume=run_id)
    assert batches.sizes == [60, 60]


def test_a_batch_whose_id_never_came_is_found_when_the_run_resumes(store: Store) -> None:
    batches = FakeBatches(lose_reply=True)
    with pytest.raises(UpstreamError):
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(60), batches={"gpt": batches})
    run_id = store.runs.recent()[0].id
    assert [batch.batch for batch in store.runs.batches(run_id)] == [""]
    assert batches.labels["batch_1"].startswith(f"crossgrade-{run_id}-")
    assert len(batches.labels["batch_1"]) <= 64

    batches.lose_reply = False
    gpt = Scripted("gpt")
    for _ in range(2):
        result = run(
            store,
            gpt,
            Scripted("llama"),
            data=dataset(60),
            prices=HALF,
            batches={"gpt": batches},
            resume=run_id,
        )
    assert batches.sizes == [60]
    assert gpt.asked == []
    assert result.progress.spent_usd == Decimal("0.90")
    assert [batch.batch for batch in store.runs.batches(run_id)] == ["", "batch_1"]


def test_a_batch_that_was_never_submitted_is_submitted_when_the_run_resumes(store: Store) -> None:
    batches = FakeBatches(lose_reply=True)
    with pytest.raises(UpstreamError):
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(60), batches={"gpt": batches})
    run_id, fresh = store.runs.recent()[0].id, FakeBatches()
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(60), batches={"gpt": fresh}, resume=run_id)
    assert fresh.sizes == [60]


def test_a_stranger_with_the_same_label_answers_nothing(store: Store) -> None:
    batches = FakeBatches(lose_reply=True)
    with pytest.raises(UpstreamError):
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(60), batches={"gpt": batches})
    run_id, gpt = store.runs.recent()[0].id, Scripted("gpt")

    class Strange(FakeBatches):
        async def find(self, label: str, *, size: int, since: datetime) -> list[str]:
            return ["batch_of_another"]

        async def results(
            self, batch: str, requests: Mapping[str, ModelRequest], *, names: Sequence[str] = ()
        ) -> dict[str, BatchResult]:
            if batch == "batch_of_another":
                return dict.fromkeys(requests, UpstreamError("the batch ended without a result"))
            return await super().results(batch, requests, names=names)

    strange = Strange()
    run(store, gpt, Scripted("llama"), data=dataset(60), batches={"gpt": strange}, resume=run_id)
    assert strange.sizes == [60]
    assert gpt.asked == []


def test_what_is_too_much_for_one_batch_goes_into_several(store: Store) -> None:
    batches = FakeBatches(largest=25)
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(60), batches={"gpt": batches})
    assert batches.sizes == [25, 25, 10]
    assert len(evidence(store)) == 120


@pytest.mark.parametrize(
    "provider", ["anthropic", "gemini", "mistral", "openai", "openrouter", "together", "xai"]
)
def test_a_kill_between_the_providers_yes_and_our_record_of_it_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    append, appended = store.runs.append_batch, []

    def die(batch: Batch) -> None:
        appended.append(batch)
        if len(appended) == 2:
            raise StoreError("killed")
        append(batch)

    async def resume(run_id: str | None) -> None:
        keys = dict.fromkeys(HOSTS[provider].key_env, "sk-1")
        async with open_batches(fake.offer(provider=provider, model="gpt"), environ=keys) as batches:
            await run_workload(
                workload(), dataset(30), providers={each.name: each for each in (gpt, llama)}, scorer=Equals(),
                store=store, limiters=CallLimiters(HASTY), batches={"gpt": batches}, resume=run_id,
            )  # fmt: skip

    asked: list[str] = []
    gpt, llama = Scripted("gpt"), Scripted("llama")
    with FakeProvider(lambda request: (asked.append(request.prompt), "yes")[1], batch_polls=2) as fake:
        with monkeypatch.context() as killing:
            killing.setattr(store.runs, "append_batch", die)
            with raises_code("store"):
                anyio.run(resume, None)
        assert len(asked) == 30
        anyio.run(resume, store.runs.recent()[0].id)
    assert len(asked) == 30
    assert gpt.asked == []
    assert {score for _, model, score, _ in evidence(store) if model == "gpt"} == {1.0}


def test_polls_may_fail_and_progress_goes_on(store: Store) -> None:
    seen: list[Progress] = []
    batches = FakeBatches(polls=[BatchStatus("running"), UpstreamError("502"), BatchStatus("running")])
    run(
        store,
        Scripted("gpt"),
        Scripted("llama"),
        data=dataset(30),
        batches={"gpt": batches},
        on_progress=seen.append,
    )
    assert [progress.in_batches for progress in seen[:2]] == [0, 30]
    assert seen[-1].in_batches == 0


def test_a_batch_that_fails_as_a_whole_ends_the_run(store: Store) -> None:
    batches = FakeBatches(polls=[BatchStatus("failed", problem="over quota")])
    with raises_code("batch-failed", "batch_1", "gpt", "over quota") as caught:
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(30), batches={"gpt": batches})
    assert "batch: false" in caught.value.hint


def test_after_a_failed_batch_a_resumed_run_submits_another(store: Store) -> None:
    failed = BatchStatus("failed", problem="over quota")
    batches = FakeBatches(polls=[failed])
    with pytest.raises(ProviderError):
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(30), batches={"gpt": batches})
    batches.polls, run_id = [failed], store.runs.recent()[0].id
    run(store, Scripted("gpt"), Scripted("llama"), data=dataset(30), batches={"gpt": batches}, resume=run_id)
    assert batches.sizes == [30, 30]
    assert len(evidence(store)) == 60


def test_a_batch_stays_within_the_budget(store: Store) -> None:
    batches = FakeBatches()
    load = workload(max_cost_usd=Decimal(2))
    with raises_code("budget-exceeded"):
        run(store, Scripted("gpt"), Scripted("llama"), data=dataset(200), load=load, prices=HALF,
            batches={"gpt": batches})  # fmt: skip
    assert 20 <= sum(batches.sizes) < 100
    assert store.runs.totals(store.runs.recent()[0].id).spent_usd <= 2


@pytest.mark.parametrize("discount", [Decimal(0), None], ids=["known cost", "unknown cost"])
def test_batches_of_several_offers_share_the_budget(store: Store, discount: Decimal | None) -> None:
    class Dear(FakeBatches):
        """Bills all that was set aside for a call."""

        async def results(
            self, batch: str, requests: Mapping[str, ModelRequest], *, names: Sequence[str] = ()
        ) -> dict[str, BatchResult]:
            usage = Usage(input_tokens=36, output_tokens=4)
            return dict.fromkeys(requests, ModelAnswer(text="yes", usage=usage))

    gpt, llama, first, second = Scripted("gpt"), Scripted("llama"), Dear(), Dear()
    load, price = workload(max_cost_usd=Decimal("1.6")), replace(PRICE, batch_discount=discount)
    with pytest.raises(BudgetExceededError):
        run(store, gpt, llama, data=dataset(60), load=load, prices=dict.fromkeys(["gpt", "llama"], price),
            batches={"gpt": first, "llama": second})  # fmt: skip
    assert sum(first.sizes) > 20
    paid_usd = (sum(first.sizes) + sum(second.sizes)) * Decimal("0.04")
    paid_usd += (len(gpt.asked) + len(llama.asked)) * Decimal("0.01")
    assert paid_usd <= Decimal("1.6")


def test_what_a_batch_paid_for_counts_although_the_verdict_came_first(store: Store) -> None:
    batches = FakeBatches()
    result = run(
        store, Scripted("gpt"), Scripted("llama"), data=dataset(500), prices=HALF, batches={"gpt": batches},
        stopping=Rule(after=10),
    )  # fmt: skip
    assert batches.sizes == [125]
    assert sum(model == "gpt" for _, model, _, _ in evidence(store)) == 125
    assert result.ending == "certain"
    assert store.runs.totals(result.run_id).spent_usd == result.progress.spent_usd


def test_batches_of_blocks_go_wave_by_wave_after_the_pilot(store: Store) -> None:
    load, data, batches = workload(planned=200), dataset(2000), FakeBatches()
    gpt, llama = (
        Scripted("gpt"),
        Scripted("llama", lambda request, _: "no" if "7 " in str(request) else "yes"),
    )
    design = new_design(load, data, pilot=PILOT)
    rule = Stopping(
        candidates=["llama"], plan=planned_samples(load, data, design), design=design, mode="fixed"
    )
    cheap = replace(PRICE, input_per_mtok=Decimal(100), output_per_mtok=Decimal(100))
    result = run(
        store, gpt, llama, load=load, data=data, stopping=rule, design=design,
        prices={"gpt": HALF["gpt"], "llama": cheap}, batches={"gpt": batches},
    )  # fmt: skip
    found = store.runs.design(result.run_id)
    assert found is not None
    assert found.blocks is not None
    assert found.blocks.size > 1
    assert batches.sizes[0] == PILOT
    assert 3 <= len(batches.sizes[1:]) <= 5
    assert sum(batches.sizes) + len(gpt.asked) == found.blocks.pairs
    assert len(llama.asked) == found.samples
