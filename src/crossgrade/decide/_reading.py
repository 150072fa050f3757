"""What a verdict carries for people to read: losses drawn at random, and what is kept on each group.

No policy rests on either.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossgrade.decide._costs import moved_rows
from crossgrade.decide._evidence import BoolColumn, ModelColumns
from crossgrade.decide._guards import failing_parts
from crossgrade.decide._hypotheses import fixed_test
from crossgrade.decide._records import Certificate, Guard, Loss
from crossgrade.decide._view import Part, View, parts_of
from crossgrade.routing import Policy

_LOSSES = 20
_LONGEST_TEXT = 4_000
_MOST_GROUPS = 120
"""Groups whose interval is computed, those with most samples: an interval takes some 30 ms."""


def losses(view: View, policy: Policy) -> tuple[tuple[Loss, ...], int]:
    """Draw losses at random from the samples that the policy moves; return them and how many there are.

    Where the policy moves nothing, they are drawn from everything that each candidate was asked. The
    draw depends on the seed of the settings alone, so the same evidence shows the same losses.
    """
    models, moved = view.evidence.candidates, view.whole.rows
    if policy.candidate is not None:
        models = tuple(each for each in models if each.model == policy.candidate)
        moved = moved & moved_rows(view, policy)
    shown = max(2, _LOSSES // len(models))
    found, there = list[Loss](), 0
    for model in models:
        rows = view.paired(model.model, moved)
        lost = np.flatnonzero(rows & (view.incumbent > view.candidate(model.model)))
        drawn = np.random.default_rng(view.settings.seed).permutation(lost)[:shown]
        found += [_loss(view, model, int(row)) for row in drawn]
        there += len(lost)
    return tuple(found), there


def groups(view: View, guards: Iterable[Guard], candidate: str) -> tuple[Certificate, ...]:
    """Return what a candidate keeps on each declared group, for reading only: nothing is certified here."""
    parts = parts_of(view.evidence.group)
    paired = {part.label: view.paired(candidate, part.rows) for part in parts}
    largest = sorted(parts, key=lambda part: -int(paired[part.label].sum()))[:_MOST_GROUPS]
    kept = {part.label for part in largest}
    broken = {} if view.splittable else failing_parts(guards, candidate=candidate)
    return tuple(
        _group(view, candidate, part, paired[part.label], broken.get(str(part.label)))
        for part in parts
        if part.label in kept and paired[part.label].any()
    )


def _group(view: View, candidate: str, part: Part, rows: BoolColumn, excluded: str | None) -> Certificate:
    result = fixed_test(view, candidate, rows).result()
    return Certificate(
        candidate=candidate,
        segment=part.label,
        retention=replace(result, outcome="undecided", needed=None),
        adjusted_p=1.0,
        certified=False,
        share=view.share_of(part.rows),
        excluded=excluded,
        tested=False,
    )


def _loss(view: View, model: ModelColumns, row: int) -> Loss:
    evidence = view.evidence
    return Loss(
        sample_id=str(evidence.sample_ids[row]),
        candidate=model.model,
        segment=_text(evidence.segment, row),
        incumbent_score=float(view.incumbent[row]),
        candidate_score=float(view.candidate(model.model)[row]),
        input=_text(evidence.input, row),
        target=_text(evidence.target, row),
        incumbent_output=_text(evidence.incumbent.output, row),
        candidate_output=_text(model.output, row),
    )


def _text(column: NDArray[np.object_] | None, row: int) -> str | None:
    """Return a text of a column, cut if it is too long to show beside another (None if there is none)."""
    if column is None or column[row] is None:
        return None
    text = str(column[row])
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"
