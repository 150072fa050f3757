"""One hypothesis followed through a run: its observations, its test, how it came out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from crossgrade.decide._observations import AskedSample, Design, Observation, Observer
from crossgrade.stats import Outcome, Retention, SequentialRetention

FUTILITY = 0.07
"""Conditional power below which a hypothesis is given up: it costs 0.3 points of power."""

_LOOKS = 25
"""How often the conditional power is looked at up to the planned end."""


class Follower:
    """Feeds one hypothesis's test with its observations; a run does it as answers come, a replay at once.

    The test is planned for the part's observations, and where blocks are chosen after a pilot for those
    that were planned before, so that no bet depends on scores that it is about. At the end of the first
    plan the test at the end is made, on the observations there are: some samples may have no score.
    """

    def __init__(
        self,
        design: Design,
        segment: str | None,
        *,
        floor: float,
        alpha: float,
        mode: str = "sequential",
        horizons: Sequence[float] = (1.0,),
        futility: float | None = None,
    ) -> None:
        part = design.part(segment)
        self._segment = segment
        self._part = part
        self._observer = Observer(design.run, part)
        self._before_blocks = design.run.pilot > 0 or design.run.blocks is not None
        planned, most = part.first_observations, part.observations
        if design.run.pilot:
            planned = most = part.before
        self.test = SequentialRetention(
            floor,
            alpha,
            max(planned, 1),
            most=max(most, 1),
            anytime=mode == "anytime",
            horizons=horizons,
        )
        self.outcome: Outcome | None = None
        self.gave_up = False
        self._futility = futility
        self._pairs: list[int] = []
        self._replan_past_pilot()

    @property
    def pairs(self) -> int:
        """How many samples with both scores are in the observations that the test counted."""
        return sum(self._pairs[: self.test.n])

    @property
    def unfinished(self) -> bool:
        """Whether the hypothesis is open and more of its planned samples could be asked."""
        return self.outcome is None and not self._observer.at_end

    def take(self, samples: Iterable[AskedSample]) -> None:
        """Take the next samples of its part, whose answers are final; after the end they change nothing."""
        made: list[Observation] = []
        look = self._next_look
        for asked in samples:
            if self.outcome is not None:
                return
            observation = self._observer.take(asked)
            if observation is not None:
                made.append(observation)
            if self._futility is not None and self.test.n + len(made) >= look:
                made = self._test(made)
                self._give_up()
                look = self._next_look
            if self._before_blocks and self._observer.past_pilot:
                made = self._test(made)
                self._replan_past_pilot()
                look = self._next_look
            if self._observer.at_first_end and not self._before_blocks:  # the pilot's plan is no plan yet
                made = self._test(made)
                if self.outcome is None:
                    self.outcome = self.test.finish()
        self._test(made)

    def replan(self, design: Design) -> None:
        """Go on under another design: the blocks were chosen."""
        self._part = design.part(self._segment)
        self._observer.plan(design.run, self._part)
        self._replan_past_pilot()
        if self._observer.at_first_end and not self._before_blocks and self.outcome is None:
            # The pilot held the whole of the new first plan: its end is here, as the replay will see.
            self.outcome = self.test.finish()

    @property
    def p_value(self) -> float:
        """The p-value for R < floor: small means pass."""
        return self.test.p_value

    @property
    def p_value_below(self) -> float:
        """The p-value for R >= floor: small means fail."""
        return self.test.p_value_below

    def result(self, low_alpha: float | None = None, high_alpha: float | None = None) -> Retention:
        """Return the retention so far, with bounds at these levels (None: the test's own).

        `n` counts pairs, also where an observation is a cluster of them, and so does `needed`.
        """
        found = self.test.result(low_alpha, high_alpha)
        if self.pairs == found.n:
            return found
        needed = None if found.needed is None else math.ceil(found.needed * self.pairs / found.n)
        return replace(found, n=self.pairs, clusters=found.n, needed=needed)

    def _replan_past_pilot(self) -> None:
        if self._before_blocks and self._observer.past_pilot:
            self._before_blocks = False
            blocks = self._observer.blocks
            if self.outcome is None:
                self.test.replan(
                    max(self._part.first_observations, 1),
                    most=max(self._part.observations, 1),
                    variance=blocks.variance if blocks is not None and blocks.size > 1 else None,
                )

    @property
    def _next_look(self) -> int:
        """How many observations there must be before the conditional power is looked at again."""
        pace = max(1, self.test.planned // _LOOKS)
        return (self.test.n // pace + 1) * pace

    def _give_up(self) -> None:
        """Leave the hypothesis undecided where it would hardly pass any more."""
        watched = self._futility is not None and self.outcome is None
        if watched and self.test.conditional_power < (self._futility or 0.0):
            self.outcome, self.gave_up = "undecided", True

    def _test(self, made: list[Observation]) -> list[Observation]:
        """Test what was observed; returns nothing left to test."""
        self._pairs += [each.pairs for each in made]
        if self.outcome is None and len(made) == 1:
            self.outcome = self.test.update(*made[0][:3])
        elif self.outcome is None and made:
            incumbent, candidate, weight, _ = zip(*made, strict=True)
            self.outcome = self.test.update_many(incumbent, candidate, weight)
        return []
