"""Tuned candidates: on which items they are tested once, in which round, and how their runs are read again.

A tuned candidate is a variant of a configured one, under the same name. Its test is a run of the workload
that asks items which nothing has touched, at the error rate of its round, and decides on them at the end.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from crossgrade.domain import (
    JSON,
    GenerationSettings,
    Offer,
    PromptTemplate,
    Sample,
    TuningTest,
    Variant,
    Workload,
    round_alpha,
)
from crossgrade.errors import DataError, NotFoundError, StoreError, UsageError

if TYPE_CHECKING:
    from crossgrade.decide import RunDesign
    from crossgrade.store import Run, Store, Tuning
    from crossgrade.tuning import TuningSplit
    from crossgrade.workloads import Dataset


_ANYONE = Offer(name="anyone", provider="local", model="anyone")
"""Whoever is asked: a prompt is the same for all."""

_ROUNDED = 1e-9
"""The share by which sums of error rates may differ from what they stand for."""


def trainings_folder(root: Path, workload: str) -> Path:
    """Return the folder with the trainings of a workload's candidates."""
    return root / ".crossgrade" / "distil" / workload


def variant_tree(variant: Variant) -> dict[str, JSON]:
    """Return a variant's prompt, settings and adapter as plain JSON, under which a tuning records it."""
    tree: dict[str, JSON] = msgspec.to_builtins(
        {"prompt": asdict(variant.prompt), "settings": asdict(variant.settings)}
    )
    return tree if variant.offer.adapter is None else {**tree, "adapter": variant.offer.adapter}


def variant_of(tree: Any, variant: Variant) -> Variant:
    """Return a variant as it was recorded by `variant_tree`. Raises `StoreError` for what is none."""
    try:
        settings = {**tree["settings"], "stop": tuple(tree["settings"]["stop"])}
        return replace(
            variant,
            offer=replace(variant.offer, adapter=tree.get("adapter")),
            prompt=PromptTemplate(**tree["prompt"]),
            settings=GenerationSettings(**settings),
        )
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"a recorded variant of {variant.name} cannot be read: {error}",
            code="tuning-unreadable",
            hint="restore the store from a copy",
        ) from error


def as_read(tree: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return a tree as the store gives it back, so that the two can be compared."""
    found: dict[str, JSON] = msgspec.json.decode(msgspec.json.encode(tree))
    return found


def scorer_tree(workload: Workload) -> JSON:
    """Return a workload's scorer as runs and tunings record it."""
    from crossgrade.calls import canonical_json

    found: JSON = msgspec.json.decode(canonical_json(workload.scorer))
    return found


def offer_tree(offer: Offer) -> dict[str, JSON]:
    """Return which model an offer is, whatever it is called: its provider, model and address."""
    return {"provider": offer.provider, "model": offer.model, "base_url": offer.base_url}


def touched_samples(store: "Store", workload: Workload, samples: Sequence[Sample]) -> frozenset[str]:
    """Return the ids of samples that no tuned candidate of a workload can be tested on any more.

    They are those that any run with candidates asked, and those that an earlier tuning used. They are known
    by their ids, and by what was asked about them: without `id_field` the id is a hash of the row, and
    another one as soon as the dataset has one more column. What other workloads with the same scorer asked
    counts too, since a workload may have been called otherwise. Their ids may be those of another dataset.
    """
    found: set[str] = set()
    asked: list[_Asked] = []
    scorer = scorer_tree(workload)
    for run in store.runs.recent():
        if not run.settings.get("candidates"):
            continue
        if run.workload == workload.name:
            found |= store.answers.samples_of_run(run.id)
        elif run.settings.get("scorer") != scorer:
            continue
        variants: Any = [run.settings["incumbent"], *cast("list[Any]", run.settings["candidates"])]
        prompts = store.answers.prompts_of_run(run.id)
        asked += [(variant["prompt"], prompts) for variant in variants if variant and "prompt" in variant]
    for tuning in store.tunings.recent():
        if tuning.workload == workload.name:
            found |= _development(tuning)
        elif tuning.settings.get("scorer") != scorer:
            continue
        asked.append(_development_prompts(tuning))
    return frozenset(found | _asking_the_same(samples, asked))


_Asked = tuple[Mapping[str, Any], Collection[str]]
"""A recorded prompt, and the digests of what it became for the samples that it was used for."""


def _asking_the_same(samples: Sequence[Sample], asked: Sequence[_Asked]) -> set[str]:
    """Return the ids of samples of which a recorded prompt makes what it made of a recorded sample."""
    known: dict[bytes, set[str]] = {}
    for tree, digests in asked:
        known.setdefault(_encoded(tree), set()).update(digests)
    templates = [(_template(tree), prompts) for tree, prompts in known.items() if prompts]
    return {
        sample.id
        for template, prompts in templates
        for sample in samples
        if template is not None and asked_digest(template, sample) in prompts
    }


def _template(tree: bytes) -> PromptTemplate | None:
    """Return a recorded prompt, None for one of another version of Crossgrade, which has other fields."""
    try:
        return PromptTemplate(**msgspec.json.decode(tree))
    except TypeError:
        return None


def _encoded(tree: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(tree, order="deterministic")


def asked_digest(prompt: PromptTemplate, sample: Sample) -> str | None:
    """Return the digest of what a prompt becomes for a sample, None if the sample lacks a field of it."""
    from crossgrade.calls import prompt_digest
    from crossgrade.evaluate import request_of

    try:
        return prompt_digest(request_of(Variant(offer=_ANYONE, prompt=prompt), sample))
    except DataError:
        return None


def next_round(store: "Store", workload: Workload, tuning_id: str | None = None) -> int:
    """Return the number of the round in which the next tuned candidate is tested, or that of a tuning.

    The first round is the decision on the workload as it is configured, made or not. Each test of a tuned
    candidate is another, once it has begun. Raises `UsageError` if no round is left, and if a run of the
    first round was tested at more than its part of the error rate, or all rounds so far and this one would
    spend more than the workload has. A decision on other prompts of the candidates is another first one.
    """
    tested: dict[str, TuningTest] = {}
    first: dict[bytes, dict[bytes, float]] = {}
    for run in reversed(store.runs.recent(workload.name)):
        test: Any = run.settings.get("tuning")
        if test and test["number"] is not None:
            tested.setdefault(str(test["tuning_id"]), msgspec.convert(test, TuningTest))
        elif not test and run.settings["candidates"] and not run.settings.get("baseline"):
            _check_first(workload, run)
            for each in cast("list[Any]", run.settings["candidates"]):
                model = _encoded({name: each.get(name) for name in offer_tree(_ANYONE)})
                first.setdefault(model, {})[_encoded(each)] = float(str(run.settings["alpha"]))
    if tuning_id in tested:
        return cast("int", tested[tuning_id].number)
    number = 2 + len(tested)
    if number > workload.rounds:
        spent = workload.alpha_of_rounds
        rounds = max(3, number)
        raise UsageError(
            f"`{workload.name}` planned {workload.rounds} round{'s' if workload.rounds > 1 else ''}, which "
            f"had all of its error rate of {spent:g}: round {number} has nothing left",
            code="rounds-spent",
            hint=f"say what you accept over all rounds: `alpha: {2 * spent:g}` and `rounds: {rounds}` leave "
            f"the first decision its {round_alpha(1, rounds=rounds, alpha=2 * spent):g}; or seal a baseline "
            f"of fresh rows with `crossgrade freeze {workload.name}`"
            if workload.rounds == 1
            else f"seal a baseline of fresh rows with `crossgrade freeze {workload.name}`",
        )
    _check_left(workload, number, _first_spent(workload, first.values()), tested.values())
    return number


def _first_spent(workload: Workload, first: Collection[Mapping[bytes, float]]) -> float:
    """Return what first decisions spent: those on several variants of one model are as many chances."""
    if workload.rounds == 1:
        return workload.alpha
    return max((sum(rates.values()) for rates in first if len(rates) > 1), default=workload.alpha)


def _check_left(workload: Workload, number: int, first: float, tested: Collection[TuningTest]) -> None:
    """Raise `UsageError` if the rates of all rounds so far leave too little for this one.

    They do where the first decision was made on several variants of a model, and spent `first`, and where
    `rounds` or `alpha` were changed after a test, whose rate was what the workload planned then.
    """
    whole = workload.alpha_of_rounds
    rate = round_alpha(number, rounds=workload.rounds, alpha=whole)
    left = whole - first - sum(each.rate or 0.0 for each in tested)
    if rate <= left + _ROUNDED * whole:
        return
    repeated = first > workload.alpha * (1 + _ROUNDED)
    why, next_step = (
        (
            f"candidates were decided on with several prompts or settings, which spent {first:.4g}",
            f"say what you accept over all rounds: `alpha: {2 * first:g}`",
        )
        if repeated
        else (
            "`rounds` or `alpha` were changed after a test",
            "plan the rounds as they were before that test",
        )
    )
    raise UsageError(
        f"the tests of `{workload.name}` so far leave {max(left, 0.0):.4g} of its error rate of "
        f"{whole:g}, and round {number} of {workload.rounds} has {rate:g}: {why}",
        code="round-overspent",
        hint=f"{next_step}, or seal a baseline of fresh rows with `crossgrade freeze {workload.name}`",
    )


def _check_first(workload: Workload, run: "Run") -> None:
    spent = float(str(run.settings["alpha"]))
    if workload.rounds > 1 and spent > workload.alpha * (1 + _ROUNDED):
        raise UsageError(
            f"run {run.id} was tested at {spent:g}, and the first of {workload.rounds} rounds of "
            f"`{workload.name}` has {workload.alpha:g}: all rounds together would spend more than "
            f"{workload.alpha_of_rounds:g}",
            code="round-overspent",
            hint=f"say what you accept over all rounds: `alpha: {2 * spent:g}` leaves the first decision the "
            "rate that it was made at",
        )


def tuned_workload(
    workload: Workload, variant: Variant, test: TuningTest, *, incumbent: Variant | None = None
) -> Workload:
    """Return the workload whose only candidate is the tuned one, as its test runs and decides.

    `incumbent` is given where its prompt was tuned too. The test is made once, at the end: what a candidate
    spends of the error rate is gone either way, and items are what it is short of. Below 0.005 only bets
    decide, as against a baseline. With `segments` only these are tested, and stand for their own traffic.
    """
    from crossgrade.stats import BETS_BELOW

    rate = workload.alpha if test.rate is None else test.rate
    monthly = workload.requests_per_month
    return replace(
        workload,
        incumbent=incumbent or workload.incumbent,
        candidates=(variant,),
        across=tuple(each for each in workload.across if each == variant.name),
        alpha=rate,
        family_alpha=None if test.number else workload.family_alpha,
        mode="anytime" if rate < BETS_BELOW else "fixed",
        planned=None,
        splits_only=workload.splits_only or bool(test.segments),
        requests_per_month=None if monthly is None else max(1, round(monthly * test.share)),
        tuning=test,
    )


def tuned_design(workload: Workload, dataset: "Dataset", split: "TuningSplit") -> "RunDesign":
    """Return how a tuned candidate is tested: on the certification items, shuffled by the seed."""
    from crossgrade.decide import RunDesign
    from crossgrade.evaluate import shuffled_samples

    chosen = frozenset(split.certification)
    items = replace(dataset, samples=tuple(each for each in dataset.samples if each.id in chosen))
    order = tuple(each.id for each in shuffled_samples(workload, items))
    return RunDesign(samples=len(order), first_samples=len(order), order=order)


def as_tuned(store: "Store", workload: Workload, run: "Run") -> Workload:
    """Return a workload as a run tested its tuned candidate, unchanged for any other run.

    Raises `UsageError` if the workload does not have that candidate any more.
    """
    recorded = run.settings.get("tuning")
    if not recorded:
        return workload
    test = msgspec.convert(recorded, TuningTest)
    tuning = store.tunings.get(test.tuning_id)
    candidate = next((each for each in workload.candidates if each.name == test.candidate), None)
    if candidate is None:
        raise UsageError(
            f"run {run.id} tested a tuned {test.candidate}, which `{workload.name}` does not have as a "
            "candidate any more",
            code="tuned-candidate-gone",
            hint=f"add `{test.candidate}` to its `candidates` again",
        )
    found = proposal(store, tuning)
    ours = found.get("incumbent")
    return tuned_workload(
        workload,
        variant_of(found["candidate"], candidate),
        test,
        incumbent=None if ours is None else variant_of(ours, workload.incumbent),
    )


def proposal(store: "Store", tuning: "Tuning") -> Mapping[str, JSON]:
    """Return what a tuning proposed. Raises `NotFoundError` if it has proposed nothing yet."""
    steps = store.tunings.steps(tuning.id, "proposed")
    if not steps:
        raise NotFoundError(
            f"tuning {tuning.id} of {tuning.candidate} has proposed nothing yet",
            code="tuning-unfinished",
            hint=f"go on with it: `crossgrade {tuning.kind} {tuning.workload} --candidate "
            f"{tuning.candidate}`",
        )
    return steps[-1].detail


def run_of_tuning(store: "Store", tuning: "Tuning") -> "Run | None":
    """Return the run in which a tuning's candidate is tested, None before it has begun."""
    for run in store.runs.recent(tuning.workload):
        test: Any = run.settings.get("tuning")
        if test and test["tuning_id"] == tuning.id:
            return run
    return None


def tuned_requests(store: "Store", workload: str, samples: Collection[str]) -> list[str]:
    """Return the digests of what tunings of a workload asked about some samples, whoever was asked."""
    found: dict[str, None] = {}
    for tuning in store.tunings.recent(workload):
        for step in store.tunings.steps(tuning.id, "asked"):
            asked: Any = step.detail["requests"]
            found |= dict.fromkeys(each for sample in samples for each in asked.get(sample, ()))
    return list(found)


def check_untuned(store: "Store", workload: Workload, dataset: "Dataset", root: Path) -> None:
    """Raise `UsageError` for a candidate that was tuned on samples of the dataset.

    A test on them would choose the luckiest prompt and then believe its luck. Every variant of a tuned model
    may be what the tuning showed to be good, except those that were there before it. A trained adapter is
    known by its file's digest, wherever the file lies now. `root` is the folder from which paths of adapters
    count. Raises as `read_adapter` does.
    """
    for tuning in store.tunings.recent():
        tuned = [each for each in workload.candidates if _may_be_tuned(store, tuning, each, root)]
        if not tuned:
            continue
        here = _asking_the_same(dataset.samples, [_development_prompts(tuning)])
        if tuning.workload == workload.name:
            here |= {sample.id for sample in dataset.samples} & _development(tuning)
        if here:
            raise UsageError(
                f"{tuned[0].name} was tuned on {len(here):,} samples of `{workload.name}`, which say nothing "
                "about it with another prompt, other settings or another adapter any more",
                code="candidate-tuned",
                hint=f"`crossgrade decide {tuning.workload}` decides on the test of what was tuned; a new "
                "test needs a dataset of fresh rows",
            )


def _may_be_tuned(store: "Store", tuning: "Tuning", candidate: Variant, root: Path) -> bool:
    """Return whether a candidate is a tuned model other than it was before, or has its adapter."""
    from crossgrade.providers.adapters import read_adapter

    steps: Sequence[Any] = store.tunings.steps(tuning.id, "trial", "proposed", "ended")
    if not steps:
        return False  # nothing was learned about any variant
    adapters = {each.detail.get("adapter") for each in steps} - {None}
    if candidate.offer.adapter is not None and adapters:
        digest = f"sha256:{read_adapter(root / candidate.offer.adapter).sha256}"
        if digest in adapters:
            return True
    if tuning.settings.get("offer") != offer_tree(candidate.offer):
        return False
    if _words(variant_tree(candidate)) == _words(tuning.settings.get("candidate")):
        return False
    return not _was_asked_before(store, tuning, candidate)


def _was_asked_before(store: "Store", tuning: "Tuning", candidate: Variant) -> bool:
    """Return whether a run asked a candidate as it is before a tuning of its model began."""
    from crossgrade.calls import canonical_json
    from crossgrade.evaluate import variant_settings

    def nameless(tree: Mapping[str, Any]) -> dict[str, Any]:
        return {name: each for name, each in tree.items() if name != "name"}

    wanted = nameless(msgspec.json.decode(canonical_json(variant_settings(candidate))))
    return any(
        nameless(each) == wanted
        for run in store.runs.recent()
        if run.created_at < tuning.at and not run.settings.get("tuning")
        for each in cast("Sequence[Any]", run.settings.get("candidates") or ())
    )


def _words(tree: Any) -> dict[str, JSON]:
    """Return a recorded variant without the path of its adapter."""
    return {name: each for name, each in as_read(tree or {}).items() if name != "adapter"}


def _development(tuning: "Tuning") -> frozenset[str]:
    split: Any = tuning.settings.get("split") or {}
    return frozenset(map(str, split.get("development", ())))


def _development_prompts(tuning: "Tuning") -> _Asked:
    """Return the incumbent's prompt as a tuning recorded it, and its digests for the development items."""
    split: Any = tuning.settings.get("split") or {}
    incumbent: Any = tuning.settings.get("incumbent") or {}
    return incumbent.get("prompt", {}), split.get("prompts", ())
