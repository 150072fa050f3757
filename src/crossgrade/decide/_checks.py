"""What evidence and settings must be before anything is computed from them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import Evidence, IntColumn, ModelColumns
from crossgrade.decide._records import DecisionSettings
from crossgrade.decide._traffic import COMPARED, FactShare
from crossgrade.domain import REQUEST_USD
from crossgrade.errors import DataError, UsageError
from crossgrade.stats import read_floor

_MODES = ("fixed", "sequential", "anytime")
_ROUNDING = 1e-9


def check_settings(settings: DecisionSettings, *, models: Sequence[str]) -> None:
    """Check what a decision on these models is made under; raises `UsageError` for what cannot be."""
    read_floor(settings.floor)
    read_floor(settings.floor if settings.whole_floor is None else settings.whole_floor)
    least, most = limits.ALPHA
    if not least <= settings.alpha < most:
        raise UsageError(
            f"alpha is {settings.alpha}; the error rate of a decision lies in [{least:g}, {most:g})",
            code="alpha-invalid",
            hint="write 5 % as alpha=0.05",
        )
    if not 0.0 < settings.alpha_share <= 1.0:
        raise UsageError(
            f"alpha_share is {settings.alpha_share}; a part of alpha lies in (0, 1]", code="alpha-invalid"
        )
    if settings.mode not in _MODES:
        raise UsageError(
            f"mode is {settings.mode!r}", code="mode-unknown", hint=f"use one of {', '.join(_MODES)}"
        )
    for name, least_count, most_count in (
        ("valid_days", 1, limits.LONGEST_VALID_DAYS),
        ("seed", 0, math.inf),
        ("requests_per_month", 1, limits.MOST_REQUESTS),
    ):
        value = getattr(settings, name)
        if value is not None and not (_is_whole(value) and least_count <= value <= most_count):
            wanted = (
                f"{least_count} or more" if most_count == math.inf else f"{least_count} to {most_count:,}"
            )
            raise UsageError(
                f"{name} is {value}; a whole number, {wanted}, is expected", code="setting-invalid"
            )
    for name, cost in settings.stated_cost_usd.items():
        if name not in models:
            raise UsageError(
                f"a cost is stated for `{name}`, which is none of the models: {', '.join(models)}",
                code="cost-of-unknown-model",
                hint="name the model as the results do",
            )
        least_usd, most_usd = REQUEST_USD
        if not (cost == 0 or least_usd <= cost <= most_usd):
            raise UsageError(
                f"the stated cost of `{name}` is {cost}; dollars per request are expected, "
                f"0 or {least_usd:g} to {most_usd:,.0f}",
                code="cost-invalid",
                hint="leave it out where it is unknown",
            )
    for share in () if settings.traffic is None else settings.traffic.shares:
        _check_share(share)


def _check_share(share: FactShare) -> None:
    counts = ((share.frozen, share.frozen_n), (share.recent, share.recent_n))
    if share.fact not in COMPARED or not all(0 <= k <= n <= limits.MOST_COMPARED for k, n in counts):
        raise UsageError(
            f"traffic is compared in {share.fact[:60]!r} by {counts[0]} and {counts[1]}",
            code="traffic-invalid",
            hint="pass what `compare_traffic` returns",
        )


def check_evidence(evidence: Evidence) -> None:
    """Check that columns fit together; raises `DataError`.

    Raises `UsageError` for a score of guessing that cannot be, and for people's scores without a judge:
    which of the two scores is meant is not known.
    """
    if not evidence.n:
        raise DataError(
            "there are no paired samples to decide on",
            code="pairs-missing",
            hint="check that both models have rows",
        )
    if not evidence.candidates:
        raise DataError(
            "there is no candidate to decide on", code="candidate-missing", hint="name one with `--candidate`"
        )
    models = (evidence.incumbent, *evidence.candidates)
    names = [model.model for model in models]
    if len(set(names)) < len(names):
        raise DataError(
            f"models must differ, got {', '.join(names)}", code="models-repeated", hint="name each model once"
        )
    for chance in (evidence.chance, *evidence.chance_by_segment.values()):
        _check_chance(chance)
    if evidence.judge is None and any(model.human is not None for model in models):
        raise UsageError(
            "there are people's scores (`human`), but no judge is named",
            code="judge-not-named",
            hint="name the model that scored with `--judge`, or make the people's scores the score",
        )
    for name, column in _columns(evidence):
        if len(column) != evidence.n:
            raise DataError(
                f"column {name} has {len(column)} rows, the evidence has {evidence.n}", code="column-length"
            )
    for model in models:
        _check_costs(model)
    _check_plan(evidence)
    _check_label_probability(evidence)
    _check_label_skipped(evidence)


def _check_label_probability(evidence: Evidence) -> None:
    """Check that every sample with a label was drawn with a probability, if any of them was."""
    probability = evidence.label_probability
    if probability is None or np.isnan(probability).all():
        return
    wrong = (probability <= 0) | (probability > 1)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"the label probability of row {row} is {probability[row]:g}; it lies in (0, 1]",
            code="label-probability-wrong",
            hint="leave it empty for a sample that could not be drawn",
        )
    labelled = np.zeros(evidence.n, dtype=np.bool_)
    for model in (evidence.incumbent, *evidence.candidates):
        labelled |= np.zeros(evidence.n, dtype=np.bool_) if model.human is None else np.isfinite(model.human)
    unknown = labelled & np.isnan(probability)
    if unknown.any():
        raise DataError(
            f"row {int(unknown.argmax())} has people's scores and no label probability, as others have",
            code="label-probability-missing",
            hint="give each sample the probability with which it was drawn, or none of them",
        )


def _check_label_skipped(evidence: Evidence) -> None:
    """Check that skipped labels stand at 1 for the incumbent and at 0 for the candidates."""
    skipped = evidence.label_skipped
    if skipped is None:
        return
    least, most = -_ROUNDING, 1 + _ROUNDING
    wrong = (skipped < 0) | (skipped > 1)
    for model, sign in ((evidence.incumbent, -1), *((each, 1) for each in evidence.candidates)):
        human = np.full(evidence.n, np.nan) if model.human is None else model.human
        otherwise = human + sign * skipped
        wrong |= (skipped > 0) & ~((otherwise >= least) & (otherwise <= most))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"row {row} says that {skipped[row]:g} of its label was skipped; its `human` scores do not",
            code="label-skipped-wrong",
            hint="`human` of a skipped label is 1 for the incumbent and 0 for the others",
        )


def _check_chance(chance: float) -> None:
    if not 0.0 <= chance < 1.0:
        raise UsageError(
            f"chance is {chance}; the mean score of guessing lies in [0, 1)",
            code="chance-invalid",
            hint="0.25 for a choice of four",
        )


def _check_costs(model: ModelColumns) -> None:
    wrong = (model.cost_usd < 0) | np.isinf(model.cost_usd)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"the cost of row {row} of {model.model} is {model.cost_usd[row]:g}; it must be 0 or more",
            code="cost-column-invalid",
            hint="use NaN where a cost is unknown",
        )


def _check_plan(evidence: Evidence) -> None:
    """Check how many samples were planned, and that the order names each row once."""
    if evidence.planned is not None and not (_is_whole(evidence.planned) and evidence.planned >= 1):
        raise DataError(
            f"planned is {evidence.planned}; a whole number of samples, 1 or more, is expected",
            code="plan-invalid",
        )
    for segment, planned in evidence.planned_by_segment.items():
        if not (_is_whole(planned) and planned >= 0):
            raise DataError(
                f"{planned} samples are planned for segment {segment}; none or more are expected",
                code="plan-invalid",
            )
    if evidence.order is not None and not _is_permutation(evidence.order, evidence.n):
        raise DataError(
            f"the order does not name each of the {evidence.n} rows once",
            code="order-invalid",
            hint="pass the rows' numbers, from 0, in the order in which the samples were asked",
        )
    position = evidence.position
    if position is not None and not (
        np.issubdtype(position.dtype, np.integer)
        and position.min() >= 0
        and len(np.unique(position)) == evidence.n
    ):
        raise DataError(
            "positions in the shuffled order must be whole numbers, from 0, and differ from row to row",
            code="order-invalid",
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_permutation(order: IntColumn, n: int) -> bool:
    return np.issubdtype(order.dtype, np.integer) and np.array_equal(np.sort(order), np.arange(n))


def _columns(evidence: Evidence) -> Iterator[tuple[str, np.ndarray]]:
    """Iterate over every column that must have a row for each sample: all arrays but the order."""
    records: list[tuple[str, Evidence | ModelColumns]] = [("", evidence)]
    records += [(f" of {each.model}", each) for each in (evidence.incumbent, *evidence.candidates)]
    for where, record in records:
        for field in fields(record):
            column = getattr(record, field.name)
            if isinstance(column, np.ndarray) and field.name != "order":
                yield field.name + where, column
