"""Candidates against a sealed baseline: the part of its error rate that each gets, and what is left."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crossgrade.domain import BaselineTest, Variant, Workload
from crossgrade.errors import StoreError, UsageError

if TYPE_CHECKING:
    from crossgrade.store import Baseline, BaselineUse, Run, Store


def against_baseline(
    store: "Store", workload: Workload, *, again: bool = False, spend: bool = False, judged: bool = False
) -> Workload:
    """Return a workload as its candidates are tested against its newest baseline, unchanged if it has none.

    Each candidate gets its part of the baseline's error rate (`stats.shared_alpha`), the same one each time
    that it is compared as it is now. With `again` its calls are made once more, which is another candidate.
    With `spend` the parts of new candidates are recorded.

    Raises UsageError if the incumbent is not the sealed one, if results were shown sample by sample before a
    new candidate came, or if a `judged` test would have too small a part.
    """
    baseline = store.baselines.newest(workload.name)
    if baseline is None:
        return workload
    _check_incumbent(workload, baseline)
    if not spend:
        return _tested(workload, baseline, _uses(store, workload, baseline, again=again), judged=judged)
    with store.baselines.using(baseline.id):
        known = len(store.baselines.uses(baseline.id))
        uses = _uses(store, workload, baseline, again=again)
        tested = _tested(workload, baseline, uses, judged=judged)
        for use in uses[known:]:
            store.baselines.append_use(use)
    return tested


def as_run(store: "Store", workload: Workload, run: "Run") -> Workload:
    """Return a workload as a run tested it against a baseline, unchanged for a run that asked the incumbent.

    Raises StoreError if the store has no record of the part of alpha that a candidate of the run spent.
    """
    recorded: Any = run.settings.get("baseline")
    if recorded is None:
        return workload
    baseline = store.baselines.get(str(recorded["id"]))
    uses = store.baselines.uses(baseline.id)
    numbers = {str(name): int(number) for name, number in recorded["numbers"].items()}
    tried = [use for use in uses if use.kind == "candidate"]
    for name, number in numbers.items():
        if not 1 <= number <= len(tried) or tried[number - 1].candidate != name:
            raise StoreError(
                f"run {run.id} compared {name} with baseline {baseline.id}, which has no record of it",
                code="baseline-use-missing",
                hint="restore the store from a copy of before the change",
            )
    return replace(
        workload,
        alpha=float(str(run.settings["alpha"])),
        family_alpha=None,
        mode=run.settings["mode"],  # type: ignore[arg-type]  # recorded from a workload's
        seed=baseline.seed,
        epochs=baseline.epochs,
        planned=None,
        baseline=_terms(baseline, uses, numbers),
    )


def candidate_key(workload: Workload, variant: Variant) -> str:
    """Return what makes a candidate the same one: offer, prompt and settings, scorer and floor."""
    from crossgrade.calls import digest
    from crossgrade.evaluate import run_settings

    settings = run_settings(
        replace(workload, candidates=(variant,), baseline=None), dataset_digest="", scorer_digest=""
    )
    named = ("candidates", "scorer", "floor", "errors_count_as_zero", "segment", "splits_only")
    return digest({name: settings[name] for name in named})


def _check_incumbent(workload: Workload, baseline: "Baseline") -> None:
    from crossgrade.evaluate import run_settings

    now = run_settings(workload, dataset_digest="", scorer_digest="")["incumbent"]
    assert isinstance(now, dict)
    changed = sorted(name for name in now if now[name] != baseline.incumbent.get(name))
    if changed:
        raise UsageError(
            f"{', '.join(changed)} of the incumbent of {workload.name!r} changed since baseline "
            f"{baseline.id} was sealed on {baseline.sealed_at:%Y-%m-%d}",
            code="baseline-of-other-incumbent",
            hint="bring the incumbent back as it was, or name the workload otherwise",
        )


def _uses(
    store: "Store", workload: Workload, baseline: "Baseline", *, again: bool
) -> "tuple[BaselineUse, ...]":
    """Return the uses of a baseline with those of this test: new ones come last, not recorded yet."""
    from crossgrade.stats import shared_alpha
    from crossgrade.store import BaselineUse

    uses = list(store.baselines.uses(baseline.id))
    shown = next((use for use in uses if use.kind == "revealed"), None)
    for variant in workload.candidates:
        key = candidate_key(workload, variant)
        if not again and any(use.key == key for use in uses):
            continue
        if shown is not None:
            raise UsageError(
                f"{variant.name} is new to baseline {baseline.id}, whose results were shown sample by sample "
                f"on {shown.at:%Y-%m-%d}: it may have been tuned to them",
                code="baseline-revealed",
                hint=f"put fresh rows into the dataset and seal them: `crossgrade freeze {workload.name}`",
            )
        before = sum(use.kind == "candidate" for use in uses)
        alpha = shared_alpha(before + 1, planned=baseline.planned_candidates, alpha=baseline.alpha)
        uses.append(
            BaselineUse(
                baseline_id=baseline.id,
                number=len(uses) + 1,
                kind="candidate",
                candidate=variant.name,
                key=key,
                alpha=alpha,
                purpose="evaluate",
            )
        )
    return tuple(uses)


def _tested(
    workload: Workload, baseline: "Baseline", uses: "Sequence[BaselineUse]", *, judged: bool
) -> Workload:
    """Return the workload with the rules of its test: every candidate at the smallest of their parts."""
    from crossgrade.stats import BETS_BELOW

    tried = [use for use in uses if use.kind == "candidate"]
    keys = [use.key for use in tried]
    numbers: dict[str, int] = {}
    for variant in workload.candidates:
        key = candidate_key(workload, variant)
        numbers[variant.name] = len(keys) - keys[::-1].index(key)
    least = min(tried[number - 1].alpha for number in numbers.values())
    if judged and least < BETS_BELOW:
        raise UsageError(
            f"the error rate that is left for another candidate of baseline {baseline.id} is {least:.2g}, "
            "where only bets decide, and people's labels correct a judge in one test at the end",
            code="baseline-spent",
            hint=f"put fresh rows into the dataset and seal them: `crossgrade freeze {workload.name}`",
        )
    return replace(
        workload,
        alpha=least * len(numbers),
        family_alpha=None,
        mode="anytime" if least < BETS_BELOW else workload.mode,
        seed=baseline.seed,
        epochs=baseline.epochs,
        planned=None,
        baseline=_terms(baseline, uses, numbers),
    )


def _terms(baseline: "Baseline", uses: "Sequence[BaselineUse]", numbers: "dict[str, int]") -> BaselineTest:
    tried = [use for use in uses if use.kind == "candidate"]
    spent = sum(use.alpha for use in tried[: max(numbers.values())])
    return BaselineTest(
        baseline_id=baseline.id,
        digest=baseline.digest,
        sealed_at=baseline.sealed_at,
        answers=baseline.answered,
        alpha=baseline.alpha,
        planned=baseline.planned_candidates,
        numbers=numbers,
        left=max(baseline.alpha - spent, 0.0),
        withheld=not any(use.kind == "revealed" for use in uses),
    )


def check_withheld(store: "Store", run: "Run") -> None:
    """Raise UsageError if a run's results are withheld sample by sample, because they are of a baseline."""
    recorded: Any = run.settings.get("baseline")
    if recorded is None or any(use.kind == "revealed" for use in store.baselines.uses(str(recorded["id"]))):
        return
    raise UsageError(
        f"run {run.id} compared candidates with baseline {recorded['id']}, whose results are withheld sample "
        "by sample",
        code="baseline-withheld",
        hint=f"`crossgrade freeze reveal {run.workload}` shows them; no new candidate can be compared "
        "afterwards",
    )


def forget_sealed(
    store: "Store", workload: str, samples: Collection[str]
) -> "Iterator[tuple[Baseline, frozenset[str]]]":
    """Record that samples are forgotten; yield each baseline with those of them that it answered.

    Runs against the baseline go on without them. What is forgotten before it is recorded would be missing.
    """
    from crossgrade.store import BaselineUse

    for baseline in store.baselines.recent(workload):
        lost = tuple(each.id for each in baseline.samples if each.id in samples)
        if not lost:
            continue
        with store.baselines.using(baseline.id):
            number = len(store.baselines.uses(baseline.id)) + 1
            use = BaselineUse(baseline_id=baseline.id, number=number, kind="forgotten", samples=lost)
            store.baselines.append_use(use)
        yield baseline, frozenset(each.sample_id for each in baseline.answers if each.sample_id in lost)
