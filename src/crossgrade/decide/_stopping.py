"""Which answers can still change the verdict, while a run goes on.

Every hypothesis (a candidate on the whole workload, or on a segment) follows its own pairs in
the shuffled order, and is decided when its bets reach 2 / (its initial share of alpha) either
way, or at its planned number of pairs. A pair is wanted while any hypothesis that it informs is
open: as long as the whole is open every sample is asked, so the whole sees an unbiased
beginning of the shuffled order, whichever segments were decided meanwhile; once the whole is
decided it takes no more pairs, and only samples of open segments are asked. Both are ordinary
stopping times of their own sequence, so each error rate holds as if the others were not there.

Clustered samples and fixed designs are never stopped early.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossgrade.decide._hypotheses import alpha_shares
from crossgrade.stats import Outcome, Retention, SequentialRetention


@dataclass(slots=True)
class _Follower:
    """One hypothesis: its bets, and how it came out."""

    test: SequentialRetention
    outcome: Outcome | None = None


class Stopping:
    """The rule that stops a run; feed it pairs in the shuffled order, not as answers arrive.

    `planned` is the number of samples planned in all, `segments` how many of them each segment
    has (empty without segments), `heaviest` the largest weight among them; with `splits_only` the
    whole is not followed. Mode "fixed" never stops, "anytime" bets without a planned end. The
    samples of a run that stops one by one must not be clustered: pass mode "fixed" for those.
    """

    def __init__(
        self,
        *,
        candidates: Sequence[str],
        planned: int,
        segments: Mapping[str, int] | None = None,
        floor: float = 0.85,
        alpha: float = 0.05,
        mode: str = "sequential",
        heaviest: float = 1.0,
        splits_only: bool = False,
    ) -> None:
        sizes = dict(segments or {})
        self._never = mode == "fixed"
        self._heaviest = heaviest
        self._followers = {
            (candidate, segment): _Follower(
                SequentialRetention(
                    floor=floor,
                    alpha=alpha * share,
                    planned=planned if segment is None else sizes[segment],
                    anytime=mode == "anytime",
                )
            )
            for (candidate, segment), share in alpha_shares(
                candidates, list(sizes), splits_only=splits_only
            ).items()
        }

    def wants(self, candidate: str, segment: str | None) -> bool:
        """Return whether another pair of this candidate in this segment can still change something."""
        if self._never:
            return True
        return any(follower.outcome is None for follower in self._informed(candidate, segment))

    def update(
        self,
        candidate: str,
        segment: str | None,
        incumbent_score: float,
        score: float,
        weight: float = 1.0,
    ) -> None:
        """Take the next pair of scores in [0, 1]; a decided hypothesis takes no more."""
        scale = weight / self._heaviest
        for follower in self._informed(candidate, segment):
            if follower.outcome is None:
                follower.outcome = follower.test.update(scale * incumbent_score, scale * score)

    def live(self) -> dict[str, Retention]:
        """Return each candidate's retention so far over the whole workload, or on each segment.

        The keys are `CANDIDATE`, or `CANDIDATE on SEGMENT` where only splits are tested. The
        interval may be looked at as often as one likes.
        """
        wholes = {key: each for key, each in self._followers.items() if key[1] is None}
        return {
            candidate if segment is None else f"{candidate} on {segment}": follower.test.result()
            for (candidate, segment), follower in (wholes or self._followers).items()
        }

    def _informed(self, candidate: str, segment: str | None) -> list[_Follower]:
        """Return the hypotheses that a pair informs: the whole, and its segment's."""
        keys = [(candidate, None)] if segment is None else [(candidate, None), (candidate, segment)]
        return [self._followers[key] for key in keys if key in self._followers]
