"""Evidence and verdicts without their texts: what remains says which texts are the same, and no word of them.

A decision reads a text for three things only: whether two are the same, whether two begin the same, and
whether one is there, is empty or is long. Numbers in place of the texts keep all of that, so that the verdict
can be computed again from them to the same bits.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._evidence import Evidence, ModelColumns, TextColumn
from crossgrade.decide._guards_samples import beginning_of_inputs
from crossgrade.decide._records import Loss, Verdict


def evidence_without_texts(evidence: Evidence) -> Evidence:
    """Return the evidence with a number in place of each input, target and answer.

    Labels, names of samples and a router's words stay. The digest is the same, which covers no text.
    """
    outputs = _Numbers()
    return replace(
        evidence,
        input=_inputs(evidence.input),
        target=_Numbers().of(evidence.target),
        incumbent=_without_output(evidence.incumbent, outputs),
        candidates=tuple(_without_output(each, outputs) for each in evidence.candidates),
    )


def verdict_without_texts(verdict: Verdict) -> Verdict:
    """Return the verdict with losses that have scores and no texts."""
    return replace(verdict, losses=losses_without_texts(verdict.losses))


def losses_without_texts(losses: Iterable[Loss]) -> tuple[Loss, ...]:
    """Return the losses without what was asked and answered."""
    return tuple(
        replace(each, input=None, target=None, incumbent_output=None, candidate_output=None)
        for each in losses
    )


class _Numbers:
    """Gives each text a number, the same one each time; an empty text stays empty."""

    def __init__(self) -> None:
        numbers = count()
        self._known: defaultdict[str, int] = defaultdict(lambda: next(numbers))

    def number(self, text: str) -> int:
        return self._known[text]

    def of(self, column: TextColumn | None, least_chars: int = 0) -> TextColumn | None:
        """Return numbers in place of a column's texts, `least_chars` long where these are longer."""
        if column is None:
            return None
        return _column(
            text if not text else _padded(self.number(text), least_chars if len(text) >= least_chars else 0)
            for text in column.tolist()
        )


def _without_output(model: ModelColumns, numbers: _Numbers) -> ModelColumns:
    return replace(model, output=numbers.of(model.output, limits.LONG_ANSWER))


def _inputs(column: TextColumn | None) -> TextColumn | None:
    """Return numbers in place of inputs: those that begin the same do so still, and no others.

    A number of the beginning comes first where an input is long enough to have one. Cut inputs are never
    taken to be the same, so each has a number of its own.
    """
    if column is None:
        return None
    texts: Sequence[str | None] = column.tolist()
    beginnings, numbers, cut = _Numbers(), _Numbers(), count()
    start, end = beginning_of_inputs(texts)
    masked: list[str | None] = []
    for text in texts:
        if not text:
            masked.append(text)
            continue
        name = f"cut {next(cut)}" if len(text) >= limits.TEXT_KEPT else f"text {numbers.number(text)}"
        # Texts without a beginning begin with a letter, the others with different digits.
        begins = _padded(beginnings.number(text[start:end]), limits.BEGINNING) if len(text) >= end else ""
        masked.append(begins + name)
    return _column(masked)


def _padded(number: int, chars: int) -> str:
    return str(number).ljust(chars, ".")


def _column(texts: Iterable[str | None]) -> TextColumn:
    found = list(texts)
    column = np.empty(len(found), dtype=np.object_)
    column[:] = found
    return column
