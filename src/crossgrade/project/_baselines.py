"""Candidates against a sealed baseline: the part of its error rate that each gets, and what is left."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crossgrade.domain import BaselineTest, Mode, Workload
from crossgrade.errors import StoreError, UsageError

if TYPE_CHECKING:
    from crossgrade.store import Baseline, BaselineUse, Run, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineComparison:
    """A workload as its candidates are tested against a baseline, and the uses that this adds to its record.

    `known` is how many uses there were. Without a baseline the workload is as it was, and there are none.
    """

    workload: Workload
    uses: "tuple[BaselineUse, ...]" = ()
    known: int = 0

    def spend(self, store: "Store") -> None:
        """Record the new uses; raises StoreError if another process compared something meanwhile."""
        test = self.workload.baseline
        if test is None or not self.uses:
            return
        with store.baselines.using(test.baseline_id):
            recorded = store.baselines.uses(test.baseline_id)
            if [use.key for use in recorded[self.known :]] == [use.key for use in self.uses]:
                return  # this very comparison was begun before
            if len(recorded) != self.known:
                raise StoreError(
                    f"another candidate was compared with baseline {test.baseline_id} at the same time",
                    code="baseline-locked",
                    hint="try again",
                )
            for use in self.uses:
                store.baselines.append_use(use)


def against_baseline(
    store: "Store",
    workload: Workload,
    *,
    scorer: Callable[[], Mapping[str, Any]],
    again: bool = False,
    judged: bool = False,
) -> BaselineComparison:
    """Return a workload as its candidates are tested against its newest baseline.

    Each candidate gets its part of the baseline's error rate (`stats.shared_alpha`), the same one each time
    that it is compared as it is now. `scorer` returns what identifies the scorer of the answers. With `again`
    the candidates' calls are made once more, which is another test. Nothing is recorded: see
    `BaselineComparison.spend`.

    Raises UsageError if the incumbent is not the sealed one, if results were shown sample by sample before a
    new candidate came, or if the part that is left is too small for a test; StoreError if the record of what
    was compared does not fit the runs.
    """
    from crossgrade.evaluate import check_clock

    baseline = in_force(store, workload.name)
    if baseline is None:
        return BaselineComparison(workload=workload)
    _check_incumbent(workload, baseline)
    check_clock(workload.name, baseline.sealed_at, datetime.now(UTC))
    known = store.baselines.uses(baseline.id)
    keys = _candidate_keys(workload, known, scorer())
    uses = _with_new(baseline, workload, known, keys, again=again)
    return BaselineComparison(
        workload=_tested(workload, baseline, uses, keys, judged=judged),
        uses=tuple(uses[len(known) :]),
        known=len(known),
    )


def in_force(store: "Store", workload: str) -> "Baseline | None":
    """Return the newest baseline of a workload (None: it has none), whose record must fit the runs.

    Raises StoreError if a run was made against a baseline, or as a candidate of it, that is not recorded.
    """
    baselines = {each.id: each for each in store.baselines.recent(workload)}
    tried = {name: tried_candidates(each, store.baselines.uses(name)) for name, each in baselines.items()}
    for run in store.runs.recent(workload):
        recorded: Any = run.settings.get("baseline")
        if recorded is None:
            continue
        names = [use.candidate for use in tried.get(str(recorded["id"]), [])]
        for name, number in recorded["numbers"].items():
            if not 1 <= int(number) <= len(names) or names[int(number) - 1] != name:
                raise StoreError(
                    f"run {run.id} compared {name} with baseline {recorded['id']}, and there is no record of "
                    "it",
                    code="baseline-use-missing",
                    hint="restore the store from a copy of before the change",
                )
    return next(iter(baselines.values()), None)


def tried_candidates(baseline: "Baseline", uses: "Sequence[BaselineUse]") -> "list[BaselineUse]":
    """Return the candidates that were compared, in order; raises StoreError for a rate that is not theirs."""
    from crossgrade.stats import shared_alpha

    tried = [use for use in uses if use.kind == "candidate"]
    for number, use in enumerate(tried, 1):
        if use.alpha != shared_alpha(number, planned=baseline.planned_candidates, alpha=baseline.alpha):
            raise StoreError(
                f"the record of baseline {baseline.id} gives {use.candidate} an error rate of {use.alpha}, "
                "which is not its part",
                code="baseline-changed",
                hint="restore the store from a copy of before the change",
            )
    return tried


def sealed_answers(store: "Store") -> dict[str, str]:
    """Return which answers are sealed: the workload of their baseline, by the response's id."""
    return {
        each.response_id: baseline.workload
        for baseline in store.baselines.recent()
        for each in baseline.answers
        if each.response_id is not None
    }


def as_run(
    store: "Store", workload: Workload, run: "Run", *, scorer: Callable[[], Mapping[str, Any]]
) -> Workload:
    """Return a workload as a run tested it against a baseline, unchanged for a run that asked the incumbent.

    Raises UsageError if the workload is not what the run spent its part of the error rate on, and StoreError
    as `in_force` does.
    """
    recorded: Any = run.settings.get("baseline")
    if recorded is None:
        return workload
    in_force(store, run.workload)
    baseline = store.baselines.get(str(recorded["id"]))
    uses = store.baselines.uses(baseline.id)
    tried = tried_candidates(baseline, uses)
    numbers = {str(name): int(number) for name, number in recorded["numbers"].items()}
    keys = _candidate_keys(workload, uses, scorer())
    if any(tried[number - 1].key != keys.get(name) for name, number in numbers.items()):
        raise UsageError(
            f"{workload.name!r} has other rules, candidates or samples than run {run.id} tested against "
            f"baseline {baseline.id}",
            code="baseline-rules-changed",
            hint=f"bring them back, or run `crossgrade evaluate {workload.name}`, which is another test",
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


def _candidate_keys(
    workload: Workload, uses: "Iterable[BaselineUse]", scorer: Mapping[str, Any]
) -> dict[str, str]:
    """Return what makes a test of each candidate the same one: all that a verdict on it depends on."""
    from crossgrade.calls import digest
    from crossgrade.evaluate import run_settings

    common = {
        **scorer,
        "router": workload.router,
        "whole_floor": workload.whole_floor,
        "dropped": sorted(workload.dropped),
        "forgotten": sorted({each for use in uses for each in use.samples}),
    }
    keys = {}
    for variant in workload.candidates:
        alone = replace(workload, candidates=(variant,), baseline=None)
        settings = run_settings(alone, dataset_digest="", scorer_digest="")
        for name in ("planned", "seed", "alpha", "dataset_digest", "scorer_digest"):
            del settings[name]  # which a baseline sets
        settings.pop("tuning", None)  # a tuned candidate is the same one however it came to be
        keys[variant.name] = digest({**settings, **common})
    return keys


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
            hint="bring the incumbent back as it was",
        )


def _with_new(
    baseline: "Baseline",
    workload: Workload,
    known: "Sequence[BaselineUse]",
    keys: Mapping[str, str],
    *,
    again: bool,
) -> "list[BaselineUse]":
    """Return the uses of a baseline with those of this test: new ones come last, not recorded yet."""
    from crossgrade.stats import shared_alpha
    from crossgrade.store import BaselineUse

    uses = list(known)
    shown = next((use for use in uses if use.kind == "revealed"), None)
    for name, key in keys.items():
        if not again and any(use.key == key for use in uses):
            continue
        if shown is not None:
            raise UsageError(
                f"{name} is new to baseline {baseline.id}, whose results were shown sample by sample on "
                f"{shown.at:%Y-%m-%d}: it may have been tuned to them",
                code="baseline-revealed",
                hint="put fresh rows into the dataset, and seal them while the incumbent can be asked: "
                f"`crossgrade freeze {workload.name}`",
            )
        before = len(tried_candidates(baseline, uses))
        uses.append(
            BaselineUse(
                baseline_id=baseline.id,
                number=len(uses) + 1,
                kind="candidate",
                candidate=name,
                key=key,
                alpha=shared_alpha(before + 1, planned=baseline.planned_candidates, alpha=baseline.alpha),
                purpose="evaluate",
            )
        )
    return uses


def _tested(
    workload: Workload,
    baseline: "Baseline",
    uses: "Sequence[BaselineUse]",
    keys: Mapping[str, str],
    *,
    judged: bool,
) -> Workload:
    """Return the workload with the rules of its test: each candidate alone, at the least of their parts."""
    from crossgrade.decide import LEAST_ALPHA
    from crossgrade.stats import BETS_BELOW

    tried = tried_candidates(baseline, uses)
    order = [use.key for use in tried]
    numbers = {name: len(order) - order[::-1].index(key) for name, key in keys.items()}
    least = min(tried[number - 1].alpha for number in numbers.values())
    if least < LEAST_ALPHA or (judged and least < BETS_BELOW):
        why = "people's labels cannot correct a judge at it"
        raise UsageError(
            f"the error rate that is left for another candidate of baseline {baseline.id} is {least:.2g}: "
            f"{'a decision needs more' if least < LEAST_ALPHA else why}",
            code="baseline-spent",
            hint="put fresh rows into the dataset, and seal them while the incumbent can be asked: "
            f"`crossgrade freeze {workload.name}`",
        )
    return replace(
        workload,
        alpha=least,
        family_alpha=None,
        mode=_mode(workload, baseline, bets=least < BETS_BELOW and not judged),
        seed=baseline.seed,
        epochs=baseline.epochs,
        planned=None,
        baseline=_terms(baseline, uses, numbers),
    )


def _mode(workload: Workload, baseline: "Baseline", *, bets: bool) -> Mode:
    """Return how a candidate is tested: once, at the end, unless only bets decide or its samples are blocks.

    A test that may stop early gives half of its error rate to that. It saves answers of the candidate, which
    are cheap, and the incumbent's are there. Power is what the sealed samples are short of.
    """
    if bets:
        return "anytime"
    stops = baseline.design.blocks is not None or workload.mode != "sequential"
    return workload.mode if stops else "fixed"


def _terms(baseline: "Baseline", uses: "Sequence[BaselineUse]", numbers: "dict[str, int]") -> BaselineTest:
    tried = tried_candidates(baseline, uses)
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
        seen_before=baseline.seen_before,
    )


def check_rules_free(run: "Run") -> None:
    """Raise UsageError for a run whose floor and error rate were fixed when it was begun."""
    if run.settings.get("baseline") is not None:
        raise UsageError(
            f"run {run.id} was compared with a sealed baseline, where floor and error rate are part of the "
            "test",
            code="baseline-rules-fixed",
            hint="leave out `--floor` and `--alpha`",
        )


def is_withheld(store: "Store", run: "Run") -> bool:
    """Return whether a run's results are withheld sample by sample: its samples are sealed."""
    return _withholding(store, run) is not None


def check_withheld(store: "Store", run: "Run") -> None:
    """Raise UsageError if a run's results are withheld sample by sample."""
    baseline = _withholding(store, run)
    if baseline is not None:
        raise UsageError(
            f"run {run.id} asked about samples of baseline {baseline.id}, whose results are withheld sample "
            "by sample",
            code="baseline-withheld",
            hint=f"`crossgrade freeze reveal {run.workload}` shows them; no new candidate can be compared "
            "afterwards. To have people score answers, add `--label-file FILE` to `crossgrade runs --export`",
        )


def _withholding(store: "Store", run: "Run") -> "Baseline | None":
    """Return the baseline that keeps a run's results from being shown sample by sample."""
    asked = store.answers.samples_of_run(run.id)
    for baseline in store.baselines.recent(run.workload):
        sealed = any(each.id in asked for each in baseline.samples)
        if sealed and not any(use.kind == "revealed" for use in store.baselines.uses(baseline.id)):
            return baseline
    return None


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
