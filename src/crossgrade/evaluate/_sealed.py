"""Sealed baselines: an incumbent's answers sealed by digest and date, and taken from there by later runs.

A baseline is sealed once all its answers are there. A later run asks its candidates about the sealed samples,
in the sealed order, and takes the incumbent's outcomes from the baseline. The incumbent is never asked, so
its endpoint may be gone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from crossgrade.calls import is_of_the_request
from crossgrade.decide import RunDesign
from crossgrade.dialects import HOSTS, Embeddings
from crossgrade.domain import ModelAnswer, ModelRequest, Offer, Workload
from crossgrade.errors import ContentFilteredError, ContextTooLongError, ProviderError, StoreError, UsageError
from crossgrade.evaluate._prepare import planned_samples, run_settings
from crossgrade.store import Response, Run, new_id
from crossgrade.workloads import Dataset, sample_digest

if TYPE_CHECKING:
    from crossgrade.store import Baseline, SealedAnswer, Store

SealedOutcomes: TypeAlias = Mapping[tuple[str, int], Response | ProviderError]
"""The incumbent's outcome by sample and epoch: its answer, or the error that the request always ends in."""

_REFUSALS = {each.default_code: each for each in (ContentFilteredError, ContextTooLongError)}

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
    accepted: Iterable[str],
    now: datetime,
) -> "Baseline":
    """Return the baseline of a run that collected the incumbent's answers; it is not recorded yet.

    `accepted` are versions that the team has stated to be the incumbent, beside those named after it.

    Raises UsageError if an answer is missing, if the answers are of several versions or of another model, or
    if the clock was set back.
    """
    from crossgrade.store import Baseline, SealedAnswer, SealedSample, response_digest

    scorer_digest = str(run.settings["scorer_digest"])
    recorded = store.answers.of_run(run.id, scorer_digest)
    samples = planned_samples(workload, dataset, design)
    answers: list[SealedAnswer] = []
    versions: dict[str, int] = {}
    last = run.created_at
    for position, sample in enumerate(samples):
        for epoch in range(1, workload.epochs + 1) if design.pairs_at(position) else ():
            found = recorded.get((sample.id, workload.incumbent.name, epoch))
            if found is None or (found.response is None and not is_of_the_request(found.error_kind)):
                error = "was not asked" if found is None else f"failed ({found.error_kind}: {found.error})"
                raise UsageError(
                    f"the incumbent's answer to sample {sample.id}, epoch {epoch}, is missing: the call "
                    f"{error}",
                    code="baseline-incomplete",
                    hint=f"`crossgrade freeze {workload.name}` goes on; what was paid for is kept",
                )
            response = found.response
            if response is not None:
                last = max(last, response.at)
                if response.answer.model is not None:
                    versions[response.answer.model] = versions.get(response.answer.model, 0) + 1
            answers.append(
                SealedAnswer(
                    sample_id=sample.id,
                    epoch=epoch,
                    response_id=None if response is None else response.id,
                    digest=None if response is None else response_digest(response),
                    error_kind=found.error_kind,
                    score=None if found.score is None else found.score.value,
                )
            )
    check_versions(workload, versions, accepted)
    _check_clock(workload, last, store, now)
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
        versions=tuple(sorted(versions)),
        price=price,
    ).sealed()


def check_versions(workload: Workload, versions: Mapping[str, int], accepted: Iterable[str]) -> None:
    """Raise UsageError unless all answers are of one version of the incumbent.

    `versions` counts answers by the model that the provider said to have served. A name that is the offer's
    own with a date or version behind it is the incumbent's; at an address of the team's own every name is.
    """
    offer, allowed = workload.incumbent.offer, set(accepted)
    others = [each for each in versions if each not in allowed and not _is_version(offer, each)]
    if others:
        counts = ", ".join(f"{each} ({versions[each]:,} answers)" for each in others)
        raise UsageError(
            f"{offer.provider} was asked for {offer.model} and answered with another model: {counts}",
            code="baseline-other-model",
            hint=f"if it is the incumbent, say so with `--version {others[0]}`; otherwise its own answers "
            "are gone, and those in your logs are what a baseline can rest on",
        )
    if len(versions) > 1 and not set(versions) <= allowed:
        counts = ", ".join(f"{each} ({n:,} answers)" for each, n in sorted(versions.items()))
        raise UsageError(
            f"the answers of {offer.name} are of {len(versions)} versions: {counts}",
            code="baseline-versions-mixed",
            hint="name a dated version in `models`, or accept them with a `--version` for each",
        )


def _is_version(offer: Offer, served: str) -> bool:
    """Return whether a served name may be a version of the offer's model."""
    if offer.base_url is not None or offer.provider not in HOSTS:
        return True
    asked, name = (each.lower().rsplit("/", 1)[-1] for each in (offer.model, served))
    short, long = sorted((asked, name), key=len)
    return long.startswith(short) and _VERSION.match(long[len(short) :]) is not None


def _check_clock(workload: Workload, last: datetime, store: "Store", now: datetime) -> None:
    """Raise UsageError if something that was recorded before lies in the future."""
    newest = store.baselines.newest(workload.name)
    if newest is not None:
        last = max(last, newest.sealed_at)
    if last > now:
        raise UsageError(
            f"the clock says {now:%Y-%m-%d %H:%M:%S} UTC, and an answer or baseline of {workload.name!r} was "
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
            kind = _REFUSALS.get(str(each.error_kind), ProviderError)
            found[each.sample_id, each.epoch] = kind(
                "the incumbent refused this request when the baseline was sealed"
            )
    return found


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
