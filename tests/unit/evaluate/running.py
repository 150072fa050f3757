"""A workload to run, with providers that answer from a script instead of a network."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio

from crossgrade.calls import CallLimiters, Patience
from crossgrade.domain import (
    GenerationSettings,
    ModelAnswer,
    ModelRequest,
    Offer,
    Price,
    PromptTemplate,
    Sample,
    Score,
    ScorerSpec,
    Usage,
    Variant,
    Workload,
)
from crossgrade.evaluate import RunResult, run_workload
from crossgrade.store import Store
from crossgrade.workloads import Dataset

HASTY = Patience(attempts=3, first_pause_s=0.001, longest_pause_s=0.002, throttled_s=0.05)
PRICE = Price(input_per_mtok=Decimal(1000), output_per_mtok=Decimal(1000))
"""A tenth of a cent a token: a call of `Scripted` costs one cent."""


@dataclass
class Scripted:
    """Answers "yes" with 10 tokens billed, or does what `script(request, how many times asked)` says."""

    name: str
    script: Callable[[ModelRequest, int], Any] | None = None
    asked: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    base_url: None = None
    identity: str | None = None
    places: int | None = None

    @property
    def account(self) -> str:
        return self.name

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        prompt = request.messages[-1].content or ""
        self.asked.append(prompt)
        times = self.asked.count(prompt)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await anyio.lowlevel.checkpoint()
            said = self.script(request, times) if self.script else "yes"
            if hasattr(said, "__await__"):
                said = await said
            if isinstance(said, Exception):
                raise said
            return ModelAnswer(text=said, usage=Usage(input_tokens=8, output_tokens=2), latency_ms=1.0)
        finally:
            self.in_flight -= 1


class Equals:
    """Scores 1 for the sample's target, unscored for "?"."""

    kind = "equals"
    digest = "equals"

    async def score(self, sample: Sample, answer: ModelAnswer) -> Score:
        if answer.text == "?":
            return Score(value=None)
        return Score(value=float(answer.text == sample.target))


class Rule:
    """Closes a (candidate, segment) after some pairs, and notes what it was fed."""

    gave_up = False

    def __init__(self, after: int, segment: str | None = None) -> None:
        self.after = after
        self.segment = segment
        self.fed: list[tuple[str, str | None, float, float]] = []

    def wants(self, candidate: str, segment: str | None) -> bool:
        if self.segment is not None and segment != self.segment:
            return True
        return sum(name == candidate for name, *_ in self.fed) < self.after

    def update(
        self,
        sample: Sample,
        position: int,
        incumbent_score: float | None,
        scores: Mapping[str, float | None],
        *,
        untested: Collection[str] = (),
    ) -> None:
        for candidate, score in scores.items():
            if incumbent_score is not None and score is not None and candidate not in untested:
                self.fed.append((candidate, sample.segment, incumbent_score, score))

    def replan(self, *_: Any, **__: Any) -> None:
        raise AssertionError

    def live(self) -> dict[str, Any]:
        return {}


def variant(name: str, **settings: Any) -> Variant:
    offer = Offer(
        name=name, provider="openai-compatible", model=name, base_url="http://localhost", **settings
    )
    return Variant(
        offer=offer,
        prompt=PromptTemplate(user="Is {thing} so?"),
        settings=GenerationSettings(max_output_tokens=4),
    )


def workload(**changes: Any) -> Workload:
    fields: dict[str, Any] = {
        "name": "support",
        "dataset": Path("support.jsonl"),
        "incumbent": variant("gpt"),
        "candidates": (variant("llama"),),
        "scorer": ScorerSpec(kind="equals"),
    }
    return Workload(**{**fields, **changes})


def dataset(n: int, *, segments: int = 1, things: int | None = None) -> Dataset:
    samples = tuple(
        Sample(
            id=str(number),
            fields={"thing": f"thing {number % (things or n)}"},
            target="yes",
            segment=f"s{number % segments}",
        )
        for number in range(n)
    )
    return Dataset(samples=samples, digest="sha256:0", path=Path("support.jsonl"), format="jsonl")


def run(
    store: Store,
    *providers: Scripted,
    data: Dataset | None = None,
    load: Workload | None = None,
    limiters: CallLimiters | None = None,
    scorer: Any = None,
    timeout_s: float = 20,
    stopping: Any = None,
    **options: Any,
) -> RunResult:
    """Run to the end in an event loop of its own."""

    async def main() -> RunResult:
        with anyio.fail_after(timeout_s):
            return await run_workload(
                load or workload(),
                data or dataset(20),
                providers={provider.name: provider for provider in providers},
                scorer=scorer or Equals(),
                store=store,
                limiters=limiters or CallLimiters(HASTY),
                stopping=None if stopping is None else lambda _: stopping,
                **options,
            )

    return anyio.run(main)


def evidence(store: Store, run_id: str | None = None) -> list[tuple[str, str, float | None, str | None]]:
    """What counts of a run (the newest): sample id, model, score, error."""
    run_id = run_id or store.runs.recent()[0].id
    return [
        (row.sample_id, row.model, row.score, row.error) for row in store.answers.scored(run_id, "equals")
    ]
