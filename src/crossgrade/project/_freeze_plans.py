"""Plans a baseline: how many of the incumbent's answers are worth buying for the candidates to come."""

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from crossgrade.errors import UsageError
from crossgrade.project._designs import LEAST_PAIRS, may_spare, run_scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossgrade.decide import Blocks, Moments, RunDesign
    from crossgrade.domain import Workload
    from crossgrade.evaluate import CallEstimate, RunEstimate
    from crossgrade.project._evaluating import Evaluation

PILOT = 50
"""Answers after which the plan is made again, where nothing is known of the incumbent's score."""

MOST_PLANS = 3
"""A plan on what is usual, one after the pilot, and one after half of what that plans."""

UNSEEN_CORRELATION = 0.3
"""The correlation of the incumbent's scores with those of a model that nobody has seen.

Published tables have 0.2 to 0.5, and too low a guess buys too much where too high a one buys too little.
"""

_LEAST_SPREAD = 0.02
_MOST_CANDIDATES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeOptions:
    """What a baseline is planned for.

    `candidates` is how many later models are planned, `retention` what a good one is expected to keep, and
    `power` the probability with which it shall be certified. `samples` overrides the number of answers, and
    with `answered` only samples are taken whose answers are there, so that nothing is bought. `versions` are
    names of served models that the team states to be the incumbent. Raises UsageError for options that no
    plan can follow.
    """

    candidates: int = 5
    retention: float = 0.95
    power: float = 0.8
    samples: int | None = None
    answered: bool = False
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
    that keeps `separable`. `alpha_each` is the error rate of a planned candidate. The plan rests on
    `incumbent_mean`, of `basis_answers` in the run `basis` (None: it is only usual), and on `correlation`.
    `calls` are to be bought, and `reused` were paid for before or logged. `cost_usd` is (low, high), None
    without a price, and `candidate_usd` what one later candidate costs on all samples.
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
    basis_answers: int
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

    workload, dataset = evaluation.workload, evaluation.dataset
    available = len(dataset.samples)
    known = _known(evaluation)
    sized = answers_needed(workload, options, known.mean, known.correlation, available=available)
    answered = _answered(evaluation)
    is_free = options.answered or len(answered) == available
    pairs = min(options.samples or (available if is_free else sized.needed) or available, available)
    design = new_design(replace(workload, planned=pairs), dataset)
    if options.answered:
        answered = answered[: options.samples]
        design = replace(design, samples=len(answered), first_samples=len(answered), order=tuple(answered))
    estimate = evaluation.estimate(design)
    blocks = None if is_free else _blocks(evaluation, estimate, known, options)
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
            needed=sized.needed,
            available=available,
            separable=sized.separable,
            alpha_each=sized.alpha,
            floor=workload.floor,
            incumbent_mean=known.mean,
            correlation=sized.correlation,
            basis=known.run_id,
            basis_answers=known.answers,
            options=options,
            calls=incumbent.calls,
            reused=incumbent.reused,
            cost_usd=incumbent.cost_usd,
            candidate_usd=_span(others),
        ),
        design,
    )


def _answered(evaluation: "Evaluation") -> list[str]:
    """Return the samples whose answers of the incumbent are there, by id, in the order of a run.

    Raises UsageError if there are none and only they are wanted.
    """
    from crossgrade.evaluate import new_design, planned_samples, request_digests

    workload, dataset = replace(evaluation.workload, planned=None, candidates=()), evaluation.dataset
    samples = planned_samples(workload, dataset, new_design(workload, dataset))
    digests = {sample.id: list(request_digests(workload, sample)) for sample in samples}
    paid = evaluation.store.answers.paid(each for own in digests.values() for each in own)
    return [name for name, own in digests.items() if all(each in paid for each in own)]


def answers_first(planned: int, known: int, *, in_blocks: bool = False) -> int | None:
    """Return how many answers to buy before the plan is made again, None if all that are planned.

    `known` is how many answers the plan's mean is of. A plan on 50 of them is often a third too large or too
    small, and one on half of what it plans hardly. Blocks are planned once: pairs that come before them count
    as a pilot would, and no more of them are worth buying.
    """
    if known < PILOT:
        return PILOT if planned > PILOT else None
    return planned // 2 if known < planned // 2 and not in_blocks else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How many answers a planned candidate's test needs, and what can be told apart.

    `needed` None: no number will do. `separable` is that of the answers in the store, and None where
    not even a candidate that is always right is certified. `alpha` is the error rate of the test, and
    `correlation` the one used, which the two means allow.
    """

    needed: int | None
    separable: float | None
    alpha: float
    correlation: float


def answers_needed(
    workload: "Workload",
    options: FreezeOptions,
    mean: float,
    correlation: float,
    *,
    available: int,
    in_blocks: bool = False,
) -> Sizing:
    """Return the size of a planned candidate's test.

    `mean` is the incumbent's mean score, in (0, 1), and `correlation` that with a candidate's.
    A candidate is tested once, at its whole error rate. One that answers blocks is tested as it goes,
    with half of the rate for the test at the end. Bets alone need as many answers as one test at a
    quarter of their rate: in 5,400 simulated runs with right and wrong answers, means of .7 to .9 and
    rates of .0008 to .004, they then passed a candidate that was to pass in 80 % of them in 78 to 84 %.
    """
    from crossgrade.stats import BETS_BELOW, least_certified, pairs_to_certify, plan, shared_alpha

    alpha = shared_alpha(1, planned=options.candidates, alpha=workload.alpha)
    retention = min(options.retention, 1 / mean)
    sized = plan(mean, correlation, retention, workload.floor, alpha, options.power)
    bets = workload.mode == "anytime" or alpha < BETS_BELOW
    at = alpha / 4 if bets else alpha / 2 if in_blocks else alpha
    return Sizing(
        needed=pairs_to_certify(sized, at),
        separable=least_certified(sized, at, available),
        alpha=alpha,
        correlation=sized.correlation,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of the scores before a baseline is planned, and from which run (None: it is usual)."""

    moments: "Moments"
    mean: float
    correlation: float
    run_id: str | None = None
    answers: int = 0


def _known(evaluation: "Evaluation") -> _Known:
    import numpy as np

    from crossgrade.decide import USUAL, moments
    from crossgrade.evaluate import ACCURACY

    workload, store = evaluation.workload, evaluation.store
    for run in store.runs.recent(workload.name):
        if not _measured_alike(workload, run.settings):
            continue
        scores = dict(run_scores(store, run, workload))
        incumbent = scores.pop(workload.incumbent.name)
        answered = incumbent[np.isfinite(incumbent)]
        if len(answered) < PILOT:
            continue
        pairs = [each for each in scores.values() if np.isfinite(incumbent + each).sum() >= LEAST_PAIRS]
        weakest = min((moments(incumbent, each) for each in pairs), key=_correlation, default=None)
        return _Known(
            moments=weakest or USUAL,
            mean=mean_of(answered),
            correlation=UNSEEN_CORRELATION if weakest is None else _correlation(weakest),
            run_id=run.id,
            answers=len(answered),
        )
    return _Known(moments=USUAL, mean=ACCURACY, correlation=UNSEEN_CORRELATION)


def mean_of(scores: "NDArray[np.float64]") -> float:
    """Return the mean of the incumbent's scores, kept from 0 and 1, for which no plan can be made."""
    import numpy as np

    return float(np.clip(scores.mean(), _LEAST_SPREAD, 1 - _LEAST_SPREAD))


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
) -> "Blocks | None":
    """Return blocks under which answers and all planned candidates cost least, None where pairs do.

    The incumbent answers once, and each candidate all samples, so that the candidates' cost counts as often
    as there will be candidates.
    """
    from crossgrade.decide import choose_blocks

    workload, dataset = evaluation.workload, evaluation.dataset
    if evaluation.judge is not None or evaluation.scores_pairs or options.samples is not None:
        return None
    available = len(dataset.samples)
    sized = answers_needed(
        workload, options, known.mean, known.correlation, available=available, in_blocks=True
    )
    pairs = min(sized.needed or available, available)
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
        available=available,
        pilot=0,
        source=known.run_id or "usual",
    )
    return blocks if blocks.size > 1 else None


def _span(models: "list[CallEstimate]") -> tuple[Decimal, Decimal] | None:
    """Return the least and the most that one of the candidates costs, None without a price."""
    costs = [each.cost_usd for each in models if each.cost_usd is not None]
    return (min(low for low, _ in costs), max(high for _, high in costs)) if costs else None
