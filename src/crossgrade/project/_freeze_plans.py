"""Plans a baseline: how many of the incumbent's answers are worth buying for the candidates to come."""

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from crossgrade.errors import UsageError
from crossgrade.project._designs import LEAST_PAIRS, may_spare, run_scores

if TYPE_CHECKING:
    from crossgrade.decide import Blocks, Moments, RunDesign
    from crossgrade.domain import Workload
    from crossgrade.evaluate import CallEstimate, RunEstimate
    from crossgrade.project._evaluating import Evaluation

PILOT = 50
"""Answers after which the plan is made again, where nothing is known of the incumbent's score."""

_LEAST_SPREAD = 0.02
_MOST_CANDIDATES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeOptions:
    """What a baseline is planned for.

    `candidates` is how many later models are planned, `retention` what a good one is expected to keep, and
    `power` the probability with which it shall be certified. `samples` overrides the number of answers.
    `versions` are names of served models that the team states to be the incumbent. Raises UsageError for
    options that no plan can follow.
    """

    candidates: int = 5
    retention: float = 0.95
    power: float = 0.8
    samples: int | None = None
    versions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the options."""
        if not 1 <= self.candidates <= _MOST_CANDIDATES:
            raise UsageError(
                f"{self.candidates} candidates are planned; 1 to {_MOST_CANDIDATES:,} can be",
                code="count-invalid",
            )
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"{self.samples} answers are no baseline", code="count-invalid")


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezePlan:
    """How many of the incumbent's answers are worth buying, and what they cost.

    `answers` samples are answered by the incumbent and `samples` by each later candidate, one block of
    `block` samples for each answer. With `needed` answers, each alone, a candidate that keeps as much as
    expected is certified with the wanted power (None: no number does), and with all that are `available` one
    that keeps `separable`. `alpha_each` is the error rate of a planned candidate. `incumbent_mean` and
    `correlation` are what the plan rests on, and `basis` says where they are from (None: they are only
    usual). `calls` are to be bought, and `reused` were paid for before or logged. `cost_usd` is (low, high),
    None without a price, and `candidate_usd` what one later candidate costs on all samples.
    """

    workload: str
    incumbent: str
    answers: int
    samples: int
    block: int
    epochs: int
    needed: int | None
    available: int
    separable: float | None
    alpha_each: float
    floor: float
    incumbent_mean: float
    correlation: float
    basis: str | None
    options: FreezeOptions
    calls: int
    reused: int
    cost_usd: tuple[Decimal, Decimal] | None
    candidate_usd: tuple[Decimal, Decimal] | None


def plan_freeze(evaluation: "Evaluation", options: FreezeOptions) -> "tuple[FreezePlan, RunDesign]":
    """Return the plan of a baseline and the design of the run that collects it; asks no model.

    The incumbent's mean score and its correlation with a candidate's are those of the newest run that
    measured them in the same way. Without one they are what is usual. If no answer has to be bought, all
    samples are taken.
    """
    from crossgrade.evaluate import new_design
    from crossgrade.stats import BETS_BELOW, plan, shared_alpha

    workload, dataset = evaluation.workload, evaluation.dataset
    available = len(dataset.samples)
    known = _known(evaluation)
    alpha = shared_alpha(1, planned=options.candidates, alpha=workload.alpha)
    sized = plan(
        known.mean,
        known.correlation,
        min(options.retention, 1 / known.mean),
        workload.floor,
        alpha,
        options.power,
        budget=available,
    )
    needed = sized.n if workload.mode == "fixed" and alpha >= BETS_BELOW else sized.planned
    everything = new_design(replace(workload, planned=None), dataset)
    is_free = not evaluation.estimate(everything).models[0].calls  # all answers are paid for, or logged
    pairs = min(options.samples or (available if is_free else needed) or available, available)
    design = new_design(replace(workload, planned=pairs), dataset)
    estimate = evaluation.estimate(design)
    blocks = None if is_free else _blocks(evaluation, estimate, known, options, pairs)
    if blocks is not None:
        design = replace(design, samples=blocks.samples, first_samples=blocks.samples, blocks=blocks)
        estimate = evaluation.estimate(design)
    incumbent, *others = estimate.models
    return (
        FreezePlan(
            workload=workload.name,
            incumbent=workload.incumbent.name,
            answers=sum(design.pairs_at(position) for position in range(design.samples)),
            samples=design.samples,
            block=1 if blocks is None else blocks.size,
            epochs=workload.epochs,
            needed=needed,
            available=available,
            separable=sized.smallest_separable_retention,
            alpha_each=alpha,
            floor=workload.floor,
            incumbent_mean=known.mean,
            correlation=sized.correlation,
            basis=known.run_id,
            options=options,
            calls=incumbent.calls,
            reused=incumbent.reused,
            cost_usd=incumbent.cost_usd,
            candidate_usd=_span(others),
        ),
        design,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of the scores before a baseline is planned, and from which run (None: it is usual)."""

    moments: "Moments"
    mean: float
    correlation: float
    run_id: str | None = None


def _known(evaluation: "Evaluation") -> _Known:
    import numpy as np

    from crossgrade.decide import USUAL, moments
    from crossgrade.evaluate import ACCURACY, CORRELATION

    workload, store = evaluation.workload, evaluation.store
    for run in store.runs.recent(workload.name):
        if not _measured_alike(workload, run.settings):
            continue
        scores = dict(run_scores(store, run, workload))
        incumbent = scores.pop(workload.incumbent.name)
        answered = incumbent[np.isfinite(incumbent)]
        if len(answered) < PILOT:
            continue
        mean = float(np.clip(answered.mean(), _LEAST_SPREAD, 1 - _LEAST_SPREAD))
        pairs = [each for each in scores.values() if np.isfinite(incumbent + each).sum() >= LEAST_PAIRS]
        found = [moments(incumbent, each) for each in pairs] or [USUAL]
        weakest = min(found, key=_correlation)
        return _Known(moments=weakest, mean=mean, correlation=_correlation(weakest), run_id=run.id)
    return _Known(moments=USUAL, mean=ACCURACY, correlation=CORRELATION)


def _correlation(found: "Moments") -> float:
    return found.covariance / math.sqrt(found.incumbent * found.candidate)


def _measured_alike(workload: "Workload", settings: object) -> bool:
    """Return whether a run measured the incumbent as it is now, by the same scorer."""
    from crossgrade.evaluate import run_settings

    now = run_settings(workload, dataset_digest="", scorer_digest="")
    assert isinstance(settings, dict)
    return all(settings.get(name) == now[name] for name in ("incumbent", "scorer", "epochs"))


def _blocks(
    evaluation: "Evaluation",
    estimate: "RunEstimate",
    known: _Known,
    options: FreezeOptions,
    pairs: int,
) -> "Blocks | None":
    """Return blocks under which answers and all planned candidates cost least, None where pairs do.

    The incumbent answers once, and each candidate all samples, so that the candidates' cost counts as often
    as there will be candidates.
    """
    from crossgrade.decide import choose_blocks

    workload, dataset = evaluation.workload, evaluation.dataset
    if evaluation.judge is not None or evaluation.scores_pairs or options.samples is not None:
        return None
    if not may_spare(replace(workload, planned=pairs), dataset, estimate):
        return None
    incumbent, *others = [
        float(sum(each.cost_usd) / 2) for each in estimate.models if each.cost_usd is not None
    ]
    blocks = choose_blocks(
        [known.moments],
        incumbent_usd=incumbent,
        candidate_usd=[options.candidates * sum(others) / len(others)],
        floor=workload.floor,
        planned=pairs,
        available=len(dataset.samples),
        pilot=0,
        source=known.run_id or "usual",
    )
    return blocks if blocks.size > 1 else None


def _span(models: "list[CallEstimate]") -> tuple[Decimal, Decimal] | None:
    """Return the least and the most that one of the candidates costs, None without a price."""
    costs = [each.cost_usd for each in models if each.cost_usd is not None]
    return (min(low for low, _ in costs), max(high for _, high in costs)) if costs else None
