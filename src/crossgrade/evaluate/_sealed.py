"""Sealed baselines: an incumbent's answers sealed by digest and date, and taken from there by later runs.

A baseline is sealed once all its answers are there. A later run asks its candidates about the sealed samples,
in the sealed order, and takes the incumbent's outcomes from the baseline. The incumbent is never asked, so
its endpoint may be gone.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from crossgrade.calls import is_of_the_request
from crossgrade.decide import RunDesign
from crossgrade.dialects import Embeddings
from crossgrade.domain import ModelAnswer, ModelRequest, Offer, Sample, Workload
from crossgrade.errors import (
    ContentFilteredError,
    ContextTooLongError,
    ProviderError,
    StoreError,
    UpstreamError,
    UsageError,
)
from crossgrade.evaluate._case import OpenVariant
from crossgrade.evaluate._prepare import planned_samples, run_settings
from crossgrade.store import Response, Run, new_id
from crossgrade.workloads import Dataset, sample_digest

if TYPE_CHECKING:
    from crossgrade.store import Baseline, SealedAnswer, Store

SealedOutcomes: TypeAlias = Mapping[tuple[str, int], Response | ProviderError]
"""The incumbent's outcome by sample and epoch: its answer, or the error that the request always ends in."""

_REFUSALS = {each.default_code: each for each in (ContentFilteredError, ContextTooLongError)}

MOST_FAILED = 0.02
"""The share of calls that may be sealed as failures."""

_VERSION = re.compile(r"^(?:[-@:](?:latest|preview|exp|\d[\d.-]*|v\d[\w.]*|free))*$")
"""What may follow a model's name in the name of one of its versions."""


class SealedProvider:
    """The provider of an incumbent whose answers are sealed. It answers nothing."""

    base_url: str | None = None
    identity: str | None = None
    places: int | None = None

    def __init__(self, offer: Offer) -> None:
        self.name = offer.name
        self.account = f"sealed:{offer.name}"

    async def ask(self, request: ModelRequest) -> ModelAnswer:  # noqa: ARG002 - the protocol's shape
        """Raise UsageError: a request that the baseline has no answer to is a fault."""
        self._refuse()

    async def embed(self, texts: Sequence[str]) -> Embeddings:  # noqa: ARG002 - the protocol's shape
        """Raise UsageError, as `ask` does."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"the baseline has no answer of {self.name} to this request, and {self.name} is not asked any "
            "more",
            code="baseline-answer-missing",
            hint="`crossgrade freeze verify` says what the baseline has",
        )


def seal(
    workload: Workload,
    dataset: Dataset,
    run: Run,
    *,
    store: "Store",
    design: RunDesign,
    planned_candidates: int,
    expected_retention: float,
    power: float,
    price: str | None,
    seen_before: Sequence[str] = (),
    now: datetime,
) -> "Baseline":
    """Return the baseline of a run that collected the incumbent's answers; it is not recorded yet.

    Of the calls at most `MOST_FAILED` may have failed again and again: they are sealed as failures, as a run
    counts them. Raises UsageError if more did, or if the clock was set back.
    """
    from crossgrade.store import Baseline, SealedSample

    scorer_digest = str(run.settings["scorer_digest"])
    samples = planned_samples(workload, dataset, design)
    answers, failed, last = _collected(workload, run, samples, store=store, design=design)
    if len(failed) > MOST_FAILED * len(answers):
        raise UsageError(
            f"{len(failed):,} of {len(answers):,} calls of {workload.incumbent.name} failed, for instance "
            f"for {failed[0]}",
            code="baseline-incomplete",
            hint=f"run `crossgrade freeze {workload.name}` again: what was paid for is kept",
        )
    check_clock(workload.name, last, now)
    settings = run_settings(workload, dataset_digest=dataset.digest, scorer_digest=scorer_digest)
    return Baseline(
        id=new_id(),
        workload=workload.name,
        run_id=run.id,
        sealed_at=now,
        dataset_digest=dataset.digest,
        design=replace(design, order=tuple(each.id for each in samples)),
        epochs=workload.epochs,
        seed=workload.seed,
        incumbent=settings["incumbent"],  # type: ignore[arg-type]  # a mapping, as JSON
        scorer=settings["scorer"],  # type: ignore[arg-type]  # the same
        scorer_digest=scorer_digest,
        floor=workload.floor,
        alpha=workload.alpha,
        planned_candidates=planned_candidates,
        expected_retention=expected_retention,
        power=power,
        samples=tuple(SealedSample(each.id, sample_digest(each)) for each in samples),
        answers=tuple(answers),
        versions=tuple(sorted(versions_of(store, run))),
        price=price,
        seen_before=tuple(seen_before),
    ).sealed()


def _collected(
    workload: Workload,
    run: Run,
    samples: Sequence[Sample],
    *,
    store: "Store",
    design: RunDesign,
) -> "tuple[list[SealedAnswer], list[str], datetime]":
    """Return the outcomes that a run collected, what failed in words, and when the last of them came."""
    from crossgrade.store import SealedAnswer, response_digest

    recorded = store.answers.of_run(run.id, str(run.settings["scorer_digest"]))
    asked = [
        (sample.id, workload.incumbent.name, epoch)
        for position, sample in enumerate(samples)
        if design.pairs_at(position)
        for epoch in range(1, workload.epochs + 1)
    ]
    answers: list[SealedAnswer] = []
    failed: list[str] = []
    last = run.created_at
    for sample, model, epoch in asked:
        found = recorded.get((sample, model, epoch))
        response = None if found is None else found.response
        kind = "not-asked" if found is None else found.error_kind
        if response is not None:
            last = max(last, response.at)
        elif not is_of_the_request(kind):
            failed.append(f"sample {sample}, epoch {epoch} ({kind})")
        answers.append(
            SealedAnswer(
                sample_id=sample,
                epoch=epoch,
                response_id=None if response is None else response.id,
                digest=None if response is None else response_digest(response),
                error_kind=kind,
                score=None if found is None or found.score is None else found.score.value,
            )
        )
    return answers, failed, last


def versions_of(store: "Store", run: Run) -> dict[str, int]:
    """Return how many answers of a run each version gave, as the provider named it."""
    recorded = store.answers.of_run(run.id, str(run.settings["scorer_digest"])).values()
    named = (each.response.answer.model for each in recorded if each.response is not None)
    return Counter(each for each in named if each is not None)


def check_versions(workload: Workload, versions: Mapping[str, int], accepted: Iterable[str]) -> None:
    """Raise UsageError unless all answers are of one version of the incumbent.

    `versions` counts answers by the model that the provider said to have served. The name that was asked for
    says no version, and that name with a date or version behind it is the incumbent's.
    """
    offer, allowed = workload.incumbent.offer, set(accepted)
    others = [each for each in versions if each not in allowed and not _is_version(offer, each)]
    if others:
        counts = ", ".join(f"{each} ({versions[each]:,} answers)" for each in others)
        raise UsageError(
            f"{offer.provider} was asked for {offer.model} and answered with another model: {counts}",
            code="baseline-other-model",
            hint=f"if it is the incumbent under another name, say so with `--version {others[0]}`; otherwise "
            "its own answers are gone, and those in your logs are what is left (`--answered`)",
        )
    dated = {each: n for each, n in versions.items() if _stem(each) != _stem(offer.model)}
    if len(dated) > 1 and not dated.keys() <= allowed:
        counts = ", ".join(f"{each} ({n:,} answers)" for each, n in sorted(dated.items()))
        raise UsageError(
            f"the answers of {offer.name} are of {len(dated)} versions: {counts}",
            code="baseline-versions-mixed",
            hint="name a dated version in `models`, or accept each of them with `--version`",
        )


def _is_version(offer: Offer, served: str) -> bool:
    """Return whether a served name may be a version of the offer's model; a local file has any name."""
    if offer.provider == "local":
        return True
    short, long = sorted((_stem(offer.model), _stem(served)), key=len)
    return long.startswith(short) and _VERSION.match(long[len(short) :]) is not None


def _stem(model: str) -> str:
    return model.lower().rsplit("/", 1)[-1]


def check_clock(workload: str, last: datetime, now: datetime) -> None:
    """Raise UsageError if something that was recorded before lies in the future."""
    if last > now:
        raise UsageError(
            f"the clock says {now:%Y-%m-%d %H:%M:%S} UTC, and an answer or baseline of {workload!r} was "
            f"recorded at {last:%Y-%m-%d %H:%M:%S} UTC",
            code="clock-set-back",
            hint="set the clock, then seal again",
        )


def sealed_outcomes(store: "Store", baseline: "Baseline") -> SealedOutcomes:
    """Return the incumbent's outcomes that a baseline has; raises as `check_sealed` does."""
    problems = list(check_sealed(store, baseline))
    if problems:
        raise StoreError(
            f"baseline {baseline.id} of {baseline.workload!r} is not as it was sealed: {problems[0]}",
            code="baseline-changed",
            hint="restore the store from a copy of before the change: `crossgrade freeze verify` names every "
            "answer",
        )
    responses = _responses(store, baseline.answers)
    forgotten = forgotten_samples(store, baseline)
    found: dict[tuple[str, int], Response | ProviderError] = {}
    for each in baseline.answers:
        if each.sample_id in forgotten:
            continue
        if each.response_id is not None:
            found[each.sample_id, each.epoch] = responses[each.response_id]
        else:
            kind = _REFUSALS.get(str(each.error_kind), UpstreamError)
            found[each.sample_id, each.epoch] = kind("this call failed when the baseline was sealed")
    return found


def sealed_by_request(
    workload: Workload,
    samples: Sequence[Sample],
    incumbent: OpenVariant,
    sealed: SealedOutcomes,
) -> dict[str, Response | ProviderError]:
    """Return the incumbent's sealed outcomes by the digest under which a run looks for its answers."""
    return {
        incumbent.call(sample, epoch).digest: sealed[sample.id, epoch]
        for sample in (samples if sealed else ())
        for epoch in range(1, workload.epochs + 1)
        if (sample.id, epoch) in sealed
    }


def check_sealed_elsewhere(
    workload: Workload,
    samples: Sequence[Sample],
    incumbent: OpenVariant,
    *,
    store: "Store",
    elsewhere: Mapping[str, str],
) -> None:
    """Raise `UsageError` if answers that the run would take are sealed in a baseline of another workload."""
    if not elsewhere:
        return
    epochs = range(1, workload.epochs + 1)
    paid = store.answers.paid(incumbent.call(each, epoch).digest for each in samples for epoch in epochs)
    shared = [elsewhere[each.id] for each in paid.values() if each.id in elsewhere]
    if shared:
        raise UsageError(
            f"{len(shared):,} answers of {incumbent.name} that `{workload.name}` would take are sealed in a "
            f"baseline of `{shared[0]}`: a test on them would spend its error rate a second time",
            code="answers-sealed",
            hint=f"compare candidates under the workload `{shared[0]}`, or take other rows",
        )


def check_sealed(store: "Store", baseline: "Baseline") -> Iterator[str]:
    """Yield in words each sealed answer that is not in the store as it was sealed."""
    from crossgrade.store import response_digest

    responses = _responses(store, baseline.answers)
    forgotten = forgotten_samples(store, baseline)
    for each in baseline.answers:
        if each.response_id is None or each.sample_id in forgotten:
            continue
        response = responses.get(each.response_id)
        if response is None:
            yield f"the answer to sample {each.sample_id}, epoch {each.epoch}, is gone"
        elif response_digest(response) != each.digest:
            yield f"the answer to sample {each.sample_id}, epoch {each.epoch}, was changed"


def check_samples_sealed(baseline: "Baseline", dataset: Dataset, forgotten: frozenset[str]) -> Iterator[str]:
    """Yield in words each sealed sample that the dataset does not have as it was sealed."""
    here = {sample.id: sample for sample in dataset.samples}
    for identifier, digest in baseline.samples:
        if identifier in forgotten:
            continue
        sample = here.get(identifier)
        if sample is None:
            yield f"sample {identifier} is gone"
        elif sample_digest(sample) != digest:
            yield f"sample {identifier} was changed"


def forgotten_samples(store: "Store", baseline: "Baseline") -> frozenset[str]:
    """Return the ids of sealed samples that were forgotten on request since."""
    return frozenset(each for use in store.baselines.uses(baseline.id) for each in use.samples)


def sealed_design(baseline: "Baseline", dataset: Dataset, forgotten: frozenset[str]) -> RunDesign:
    """Return the design of a run against a baseline: the sealed samples, in the sealed order.

    Without the samples that were forgotten, and of blocks without each whole block that has one. Raises
    UsageError if the dataset does not have a sealed sample as it was.
    """
    problem = next(check_samples_sealed(baseline, dataset, forgotten), None)
    if problem is not None:
        raise UsageError(
            f"the dataset of {baseline.workload!r} is not the sealed one: {problem}",
            code="dataset-changed",
            hint="bring back the rows as they were; rows that were added since do no harm",
        )
    design = baseline.design
    size = 1 if design.blocks is None else design.blocks.size
    ids = [each.id for each in baseline.samples]
    blocks = [ids[start : start + size] for start in range(0, len(ids), size)]
    order = tuple(each for block in blocks if forgotten.isdisjoint(block) for each in block)
    if not order:
        raise UsageError(
            f"every sample of baseline {baseline.id} was forgotten",
            code="baseline-empty",
            hint=f"seal fresh rows: `crossgrade freeze {baseline.workload}`",
        )
    left = len(order)
    blocks_left = None if design.blocks is None else replace(design.blocks, pairs=left // size)
    return replace(design, order=order, samples=left, first_samples=left, blocks=blocks_left)


def _responses(store: "Store", answers: "Iterable[SealedAnswer]") -> dict[str, Response]:
    return store.answers.responses(each.response_id for each in answers if each.response_id is not None)
