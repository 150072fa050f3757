"""Sealed samples that a candidate is asked again and again, after the incumbent has ended.

A round is a draw of some sealed samples and the candidate's fresh answers to them. It is recorded before
anything is asked, and the digest of each answer is made of the round and the sample. So a round that was
interrupted goes on with what it has, while neither another round nor a run ever takes its answers: a run that
did would compare a candidate with the baseline twice and pay for it once.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import anyio

from crossgrade.calls import Budget, Call, Calls, Journal, digest, is_of_the_request
from crossgrade.domain import JSON, Sample, Workload
from crossgrade.errors import CrossgradeError, ProviderError
from crossgrade.evaluate._case import OpenVariant
from crossgrade.evaluate._prompt import may_answer
from crossgrade.routing import position
from crossgrade.store import Response, new_id
from crossgrade.workloads import Dataset

if TYPE_CHECKING:
    from crossgrade.store import Baseline, Store

SEALED_STATES = "sealed:"
"""How the keys begin under which the store has rounds at sealed samples; the baseline's id follows."""


class SealedItem(NamedTuple):
    """A sample of a round, the epoch of the incumbent's answer beside it, and its weight in (0, 1].

    The weight is relative to the heaviest sample that could be drawn.
    """

    sample_id: str
    epoch: int
    weight: float


class SealedChoice(NamedTuple):
    """A sealed sample that may be drawn, the epochs in which the incumbent answered it, and its weight."""

    sample: Sample
    epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRound:
    """The samples that a candidate is asked together, out of `choices`. `number` counts rounds from 1."""

    id: str
    number: int
    at: datetime
    choices: int
    items: tuple[SealedItem, ...]

    def tree(self) -> dict[str, JSON]:
        """Return the round as JSON, as `read` takes it."""
        return {
            "id": self.id,
            "number": self.number,
            "at": self.at.isoformat(),
            "choices": self.choices,
            "items": [list(item) for item in self.items],
        }

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Self:
        """Return the round that `tree` wrote."""
        return cls(
            id=tree["id"],
            number=tree["number"],
            at=datetime.fromisoformat(tree["at"]),
            choices=tree["choices"],
            items=tuple(SealedItem(*item) for item in tree["items"]),
        )

    @property
    def requests(self) -> dict[str, str]:
        """The digests under which the answers are kept, by sample."""
        return {item.sample_id: digest((SEALED_STATES, self.id, item.sample_id)) for item in self.items}


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAgain:
    """The outcomes of a round by sample: its answer, or the error that its request always ends in.

    `failed` are the errors of other calls that failed, by sample. `unaffordable` samples were not asked.
    """

    outcomes: Mapping[str, Response | ProviderError]
    failed: Mapping[str, CrossgradeError]
    unaffordable: tuple[str, ...] = ()


def sealed_choices(
    workload: Workload,
    dataset: Dataset,
    baseline: "Baseline",
    forgotten: Collection[str],
    *,
    candidate: str,
    max_bytes: int | None,
    moves: Callable[[Sample], bool],
) -> list[SealedChoice]:
    """Return the sealed samples that a claim is about: `moves`, and the candidate may answer them.

    A refusal of the incumbent counts as 0, or not at all, as in a run.
    """
    epochs: dict[str, list[int]] = {}
    for each in baseline.answers:
        counts = each.response_id is not None or workload.errors_count_as_zero
        if counts and each.sample_id not in forgotten:
            epochs.setdefault(each.sample_id, []).append(each.epoch)
    return [
        SealedChoice(sample, tuple(epochs[sample.id]))
        for sample in dataset.samples
        if sample.id in epochs and moves(sample) and may_answer(workload, sample, candidate, max_bytes)
    ]


def draw_round(
    choices: Sequence[SealedChoice], items: int, *, number: int, at: datetime, round_id: str | None = None
) -> SealedRound:
    """Draw a round: each set of so many samples has the same probability, whatever was drawn before.

    The round's id, which is random, alone decides: whoever has the choices can draw it again.
    """
    round_id = round_id or new_id()
    order = sorted(choices, key=lambda each: position(f"{round_id}/{each.sample.id}", "sealed"))
    heaviest = max((each.sample.weight for each in choices), default=1.0)
    picked = []
    for sample, epochs in order[:items]:
        place = position(f"{round_id}/{sample.id}", "sealed-epoch")
        picked.append(SealedItem(sample.id, epochs[int(place * len(epochs))], sample.weight / heaviest))
    return SealedRound(id=round_id, number=number, at=at, choices=len(choices), items=tuple(picked))


def recorded_rounds(store: "Store") -> list[SealedRound]:
    """Return all rounds at sealed samples that the store has, each once, oldest first."""
    trees = (state.state.get("round") for state in store.alarms.states_under(SEALED_STATES))
    rounds = [SealedRound.read(tree) for tree in trees if isinstance(tree, Mapping)]
    return list({each.id: each for each in rounds}.values())


def requests_of_rounds(store: "Store", samples: Collection[str]) -> list[str]:
    """Return the digests of what rounds asked about some samples."""
    return [
        request
        for drawn in recorded_rounds(store)
        for sample, request in drawn.requests.items()
        if sample in samples
    ]


async def ask_again(
    variant: OpenVariant, drawn: SealedRound, samples: Iterable[Sample], *, store: "Store", budget: Budget
) -> AskedAgain:
    """Ask a candidate about these samples of a round, without those that it has answered in this round.

    An answer is committed before it counts. What the budget has no room for is not asked. Raises `DataError`
    for a sample that the prompt cannot use, and `StoreError` if the store cannot keep an answer.
    """
    journal = Journal(store)
    calls, requests = Calls(journal, budget), drawn.requests
    asked = {
        sample.id: Call(model=variant.model, request=variant.request(sample), digest=requests[sample.id])
        for sample in samples
    }
    paid = await calls.look_up(list(asked.values()))
    outcomes: dict[str, Response | ProviderError] = {}
    failed: dict[str, CrossgradeError] = {}
    unaffordable: list[str] = []

    async def ask(sample_id: str, call: Call) -> None:
        try:
            outcomes[sample_id] = await calls.answer(call)
        except CrossgradeError as error:  # one call's trouble ends no other call, which is paid for too
            if isinstance(error, ProviderError) and is_of_the_request(error.default_code):
                outcomes[sample_id] = error
            else:
                failed[sample_id] = error
        finally:
            budget.release(call.reserved_usd)

    async with anyio.create_task_group() as group:
        for sample_id, call in asked.items():
            if call.digest in paid:
                outcomes[sample_id] = paid[call.digest]
                continue
            call.reserved_usd = variant.model.reserve_usd(call.request)
            if budget.has_room_for(call.reserved_usd):
                budget.reserve(call.reserved_usd)
                group.start_soon(ask, sample_id, call)
            else:
                unaffordable.append(sample_id)
    if journal.error is not None:
        raise journal.error
    return AskedAgain(outcomes=outcomes, failed=failed, unaffordable=tuple(unaffordable))
