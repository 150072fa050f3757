"""Which answers can still change the verdict, while a run goes on.

Every hypothesis (a candidate on the whole workload, or on a segment) follows its own observations in
the shuffled order (`_observations`), and is decided when its bets reach 2 / (its initial share of
alpha) either way, or at its planned end. It is given up when it would hardly pass any more: with a
conditional power under `FUTILITY` the run stops as undecided, which claims nothing and can be taken
back by going on. An answer is expected while any hypothesis that it informs is open: as long as the
whole is open every sample is asked, so the whole sees an unbiased beginning of the shuffled order,
whichever segments were decided meanwhile; once the whole is decided it takes no more, and only
samples of open segments are asked. All are ordinary stopping times of their own sequence, so each
error rate holds as if the others were not there.

**The verdict may be certain before every hypothesis is.** Once a candidate has passed on the whole
and the evidence carries the switch (`settles` looks: guards, requirements, the price), neither its own
segments nor a dearer candidate can change the verdict: they are not needed. That takes hypotheses out
by what the data say of another one, and certifies none of them, so it costs no error rate.

A fixed design is never stopped early. Neither is one that a judge scores: people's labels may correct its
scores later, after a stop would have relied on them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from crossgrade.decide._following import FUTILITY, Follower
from crossgrade.decide._hypotheses import Hypothesis, alpha_shares
from crossgrade.decide._observations import AskedSample, RunDesign, cluster_sizes, make_design
from crossgrade.domain import Sample
from crossgrade.stats import Outcome, Retention

_LOOK_AGAIN = 1.1
"""Guards that did not carry a switch look again after a tenth more samples."""


class Stopping:
    """The rule that stops a run; feed it samples in the shuffled order, not as answers arrive.

    `plan` are the planned samples in that order, `design` says how they become observations (None: pairs,
    clusters as a whole) and `idle` which of them nobody is to be asked. With `splits_only` the
    whole is not followed. Mode "fixed" never stops, "anytime" bets without a planned end. `futility` None
    never gives up. `settles` is asked about a candidate that has passed on the whole: it returns the
    candidates that are dearer, or None while the evidence does not carry a switch to it; without it every
    hypothesis is followed to its end. With `alone` each candidate has the error rate for itself.
    The scores of a `judged` run are a judge's, which bound nothing until people's labels correct them.
    """

    def __init__(
        self,
        *,
        candidates: Sequence[str],
        plan: Sequence[Sample],
        design: RunDesign | None = None,
        idle: Collection[str] = (),
        floor: float = 0.85,
        alpha: float = 0.05,
        mode: str = "sequential",
        splits_only: bool = False,
        futility: float | None = FUTILITY,
        settles: Callable[[str], Collection[str] | None] | None = None,
        alone: bool = False,
        judged: bool = False,
    ) -> None:
        self._never = judged or mode == "fixed"
        self._judged = judged
        self._settles = settles
        self._taken = 0
        self._look_at: dict[str, float] = {}
        self._settled: set[str] = set()
        self._needless: set[Hypothesis] = set()
        self._sizes = cluster_sizes(plan) + cluster_sizes(plan, by_segment=True)
        self._followers: dict[Hypothesis, Follower] = {}
        run = design or RunDesign(samples=len(plan), first_samples=len(plan))
        parts = make_design(plan, run, idle=idle)
        shares = alpha_shares(candidates, list(parts.segments), splits_only=splits_only, alone=alone)
        for (candidate, segment), share in shares.items():
            self._followers[candidate, segment] = Follower(
                parts, segment, floor=floor, alpha=alpha * share, mode=mode, futility=futility
            )

    def replan(self, plan: Sequence[Sample], design: RunDesign, *, idle: Collection[str] = ()) -> None:
        """Go on under another design: blocks were chosen after the pilot.

        What was observed so far stays as it is; a segment that only the longer plan has is not followed.
        """
        parts = make_design(plan, design, idle=idle)
        for follower in self._followers.values():
            follower.replan(parts)

    @property
    def gave_up(self) -> bool:
        """Whether a hypothesis was given up before its end, and no switch settled the verdict."""
        return not self._settled and any(each.gave_up for each in self._followers.values())

    def wants(self, candidate: str, segment: str | None) -> bool:
        """Return whether another answer of this candidate in this segment can still change something."""
        return self._never or any(map(self._is_open, self._informed(candidate, segment)))

    def update(
        self,
        sample: Sample,
        position: int,
        incumbent_score: float | None,
        scores: Mapping[str, float | None],
        *,
        untested: Collection[str] = (),
    ) -> None:
        """Take the next sample with the scores in [0, 1] of whoever was asked; None is unscored.

        `position` counts from 0 in the shuffled order. `untested` are candidates that are not tested on
        this sample. A decided hypothesis takes no more.
        """
        self._taken += 1
        for candidate in (*scores, *(each for each in untested if each not in scores)):
            for key in self._informed(candidate, sample.segment):
                asked = AskedSample(
                    position=position,
                    incumbent=incumbent_score,
                    candidate=scores.get(candidate),
                    weight=sample.weight,
                    cluster=sample.cluster,
                    cluster_size=self._sizes.get((key[1], sample.cluster or ""), 1),
                    counts=candidate not in untested,
                )
                self._followers[key].take([asked])
            self._settle(candidate)

    def outcome(self, candidate: str, segment: str | None = None) -> Outcome | None:
        """Return how a hypothesis came out; None while it is open or where it is not followed."""
        follower = self._followers.get((candidate, segment))
        return None if follower is None else follower.outcome

    @property
    def is_open(self) -> bool:
        """Whether any answer can still change something."""
        return self._never or any(map(self._is_open, self._followers))

    def live(self) -> dict[str, Retention]:
        """Return each candidate's retention so far over the whole workload, or on each segment.

        The keys are `CANDIDATE`, or `CANDIDATE on SEGMENT` where only splits are tested. The
        interval may be looked at as often as one likes. By a judge alone there is none, as in the verdict.
        """
        wholes = {key: each for key, each in self._followers.items() if key[1] is None}
        return {
            candidate if segment is None else f"{candidate} on {segment}": self._so_far(follower)
            for (candidate, segment), follower in (wholes or self._followers).items()
        }

    def _so_far(self, follower: Follower) -> Retention:
        found = follower.result()
        if not self._judged:
            return found
        return replace(found, low=None, high=None, outcome="undecided", labels=0)

    def _settle(self, candidate: str) -> None:
        """Take out what a switch to this candidate makes needless, once the evidence carries it."""
        if self._settles is None or self._never or candidate in self._settled:
            return
        whole = self._followers.get((candidate, None))
        if whole is None or whole.outcome != "pass" or self._taken < self._look_at.get(candidate, 0):
            return
        open_still = [key for key in self._followers if self._is_open(key)]
        if not open_still:
            return
        dearer = self._settles(candidate)
        if dearer is None:
            self._look_at[candidate] = self._taken * _LOOK_AGAIN
            return
        self._settled.add(candidate)
        self._needless |= {
            key for key in self._followers if key[0] in dearer or (key[0] == candidate and key[1] is not None)
        }

    def _is_open(self, key: Hypothesis) -> bool:
        return self._followers[key].outcome is None and key not in self._needless

    def _informed(self, candidate: str, segment: str | None) -> list[Hypothesis]:
        """Return the hypotheses that a sample informs: the whole, and its segment's."""
        keys = [(candidate, None)] if segment is None else [(candidate, None), (candidate, segment)]
        return [key for key in keys if key in self._followers]
