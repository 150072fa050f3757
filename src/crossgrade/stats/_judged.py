"""The loss of an audit that a judge scored, corrected by people's scores of a random few.

With a label drawn with probability p independently of everything, and g, h the losses by judge and
people, k g + (h - k g) / p where there is a label and k g where there is none has the mean of h,
however biased the judge is and whatever k, if k depends on the past alone. k = E[h g] / E[g g] makes
its square smallest. That is PPI++ (arXiv:2311.01453, 2023) one observation at a time, with the
sampling design of T. Zrnic and E. J. Candes, "Active statistical inference", ICML 2024
(arXiv:2403.03208). Divided by its largest fall it is at least -1, as bets want it.

p must be the probability with which an audit has a label. If a drawn audit gets none, leave out the audits
since the draw before it as well, as `watch` does. Then the share of labels among the audits that
count stays p, provided that a label's arrival does not depend on the scores.
"""

from collections.abc import Mapping
from typing import Self

from crossgrade.errors import UsageError
from crossgrade.stats._monitors import State, audit_loss
from crossgrade.stats._pairs import read_floor, read_rate

_PRIOR = 4.0
"""Labelled audits with a useless judge that are taken as seen before the first."""


class JudgedLoss:
    """Turns judged audits into losses that `ClaimProcess.take` and `ChangeDetector.take` accept.

    Which audits get people's scores is drawn with probability `label_share` before anybody looks,
    both answers are scored, blind to the model; an audit that was drawn must wait for its label. With
    `label_share` 1 people score everything. It is the same for all audits, because their ids decide before a
    judge has scored any.
    """

    def __init__(self, floor: float, label_share: float) -> None:
        self.floor = read_floor(floor)
        self.label_share = label_share if label_share == 1.0 else read_rate("label_share", label_share)
        self.labels = 0
        self._product = 0.0
        self._square = _PRIOR

    @property
    def trust(self) -> float:
        """The weight k of the judge's score, in [0, 1]: 0 is a judge that says nothing."""
        return min(max(self._product / self._square, 0.0), 1.0)

    @property
    def largest_fall(self) -> float:
        """The divisor of the next audit's loss."""
        return (1 + self.trust * self.floor * (1 - self.label_share)) / self.label_share

    def loss(self, judged: tuple[float, float], human: tuple[float, float] | None) -> float:
        """Return the corrected loss of an audit, at least -1, in the order in which audits were drawn.

        Both pairs are the scores of incumbent and served answer, in [0, 1]; `human` is None if no
        label was drawn. Raises `UsageError` for scores out of range, and for a missing label where all are
        expected.
        """
        share, largest_fall = self.label_share, self.largest_fall
        by_judge = self.trust * audit_loss(self.floor, *judged)
        if human is None:
            if share == 1.0:
                raise UsageError(
                    "an audit has no human score",
                    code="human-score-missing",
                    hint="with `label_share` 1 each needs one",
                )
            return by_judge / largest_fall
        by_people = audit_loss(self.floor, *human)
        self._learn(audit_loss(self.floor, *judged), by_people)
        return (by_judge + (by_people - by_judge) / share) / largest_fall

    def state(self) -> State:
        """Return what `restore` needs to go on from here, as plain JSON."""
        return {"labels": self.labels, "product": self._product, "square": self._square}

    def restore(self, state: Mapping[str, object]) -> Self:
        """Go on from where a correction of the same settings stood; raises `UsageError` for another's."""
        labels, product, square = (state.get(name) for name in ("labels", "product", "square"))
        if (
            type(labels) is not int
            or not isinstance(product, int | float)
            or not isinstance(square, int | float)
        ):
            raise UsageError(
                "this is not the state of a judge's correction",
                code="state-invalid",
                hint="compute it again from the audits",
            )
        self.labels, self._product, self._square = labels, float(product), float(square)
        return self

    def _learn(self, by_judge: float, by_people: float) -> None:
        self.labels += 1
        self._product += by_judge * by_people
        self._square += by_judge * by_judge
