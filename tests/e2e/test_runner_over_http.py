"""Whole runs against a server on loopback that goes wrong in every way it knows."""

from collections import Counter
from pathlib import Path

import anyio
import pytest

from crossgrade.calls import CallLimiters, Patience
from crossgrade.domain import GenerationSettings, Offer, PromptTemplate, Sample, ScorerSpec, Variant, Workload
from crossgrade.errors import AuthError, ProviderError, ProviderTimeoutError, RateLimitedError, UpstreamError
from crossgrade.evaluate import RunResult, build_scorer, run_workload
from crossgrade.providers import open_batches, open_provider
from crossgrade.store import RunStatus, Store
from crossgrade.testing import FakeProvider, Fault, ReceivedRequest, Reply
from crossgrade.workloads import Dataset

HASTY = Patience(attempts=3, first_pause_s=0.001, longest_pause_s=0.002, throttled_s=0.2)
PASSING = ("drop", "empty_choices", "half_json", "hang", "html", "rate_limit", "redirect", "server_error")


def workload(*offers: Offer) -> Workload:
    incumbent, candidate = (
        Variant(
            offer=offer,
            prompt=PromptTemplate(user="{question}"),
            settings=GenerationSettings(max_output_tokens=4),
        )
        for offer in offers
    )
    return Workload(
        name="support",
        dataset=Path("data"),
        incumbent=incumbent,
        candidates=(candidate,),
        scorer=ScorerSpec(kind="exact"),
    )


def run(path: Path, offers: list[Offer], n: int, *, batches: bool = False) -> RunResult:
    samples = tuple(Sample(id=str(i), fields={"question": f"Question {i}?"}, target="ok") for i in range(n))
    data = Dataset(samples=samples, digest="d", path=Path("data"), format="jsonl")
    load = workload(*offers)

    async def main() -> RunResult:
        with anyio.fail_after(30), Store.open(path) as store:
            async with (
                open_provider(offers[0], environ={}) as incumbent,
                open_provider(offers[1], environ={"KEY": "secret"}) as candidate,
                open_batches(offers[1], environ={"KEY": "secret"})
                if batches
                else open_provider(offers[0], environ={}) as other,
            ):
                return await run_workload(
                    load,
                    data,
                    providers={"incumbent": incumbent, "candidate": candidate},
                    scorer=build_scorer(load.scorer),
                    store=store,
                    limiters=CallLimiters(HASTY),
                    batches={"candidate": other} if batches else None,
                )

    return anyio.run(main)


def test_every_fault_that_passes_is_survived(tmp_path: Path) -> None:
    seen: Counter[bytes] = Counter()

    def script(request: ReceivedRequest) -> Reply | Fault:
        seen[request.body] += 1
        number = int(request.json["messages"][-1]["content"].removeprefix("Question ").removesuffix("?"))
        if seen[request.body] > 1 or number % 2:
            return Reply("ok")
        return Fault(PASSING[number // 2 % len(PASSING)], retry_after="0")

    with FakeProvider("ok") as good, FakeProvider(script) as bad:
        offers = [good.offer("incumbent"), bad.offer("candidate", timeout_s=2.0)]
        result = run(tmp_path / "x.db", offers, 40)
    assert result.progress.errors == 0
    assert set(seen.values()) == {1, 2}
    with Store.open(tmp_path / "x.db") as store:
        (recorded,) = store.runs.recent()
        digest = str(recorded.settings["scorer_digest"])
        assert [row.score for row in store.answers.scored(recorded.id, digest)] == [1.0] * 80


@pytest.mark.parametrize(
    ("fault", "error", "seen"),
    [
        ("html", UpstreamError, "all failed"),
        ("half_json", UpstreamError, "all failed"),
        ("hang", ProviderTimeoutError, "all failed"),
        ("rate_limit", RateLimitedError, "nothing but 429"),
        ("bad_key", AuthError, "key"),
    ],
)
def test_a_provider_that_never_answers_well_ends_the_run_and_what_was_paid_is_kept(
    tmp_path: Path, fault: str, error: type[ProviderError], seen: str
) -> None:
    with FakeProvider("ok") as good, FakeProvider(lambda _: Fault(fault)) as bad:
        offers = [good.offer("incumbent"), bad.offer("candidate", timeout_s=0.1)]
        with pytest.raises(error, match=seen) as caught:
            run(tmp_path / "x.db", offers, 60)
        assert caught.value.hint
        asked = len(good.requests)
    with Store.open(tmp_path / "x.db") as store:
        (recorded,) = store.runs.recent()
        assert store.runs.status(recorded.id) is RunStatus.FAILED
        answers = store.answers.of_run(recorded.id, str(recorded.settings["scorer_digest"])).values()
        assert sum(answer.model == "incumbent" for answer in answers) == asked > 0


def test_a_batch_api_answers_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgrade.calls._batches.FIRST_POLL_S", 0.001)
    with FakeProvider("ok") as good, FakeProvider("ok", batch_polls=3) as batched:
        offers = [
            good.offer("incumbent"),
            batched.offer("candidate", provider="openai", api_key_env="KEY", batch=True),
        ]
        result = run(tmp_path / "x.db", offers, 30, batches=True)
        assert not batched.requests or len(batched.requests) == 30
    assert result.progress.calls == 60
    assert result.progress.errors == 0
