"""The guard on what time breaks: traffic that is no longer like the samples of the run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from crossgrade.decide import _thresholds as limits
from crossgrade.decide._guard_tests import finding
from crossgrade.decide._records import Guard
from crossgrade.decide._traffic import LEFT_OUT, WORDS, FactShare, TrafficComparison
from crossgrade.decide._traffic_facts import COUNTED
from crossgrade.decide._view import View
from crossgrade.decide._words import count, listed, percent
from crossgrade.stats import holm, least_difference, shares_differ

_SHOWN_CHARACTERS = 60

_WORD_WEIGHT = 0.125
"""The part of the error rate that a word has, beside a fact's: other texts move many words at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """A share that has moved: `p` is corrected for all that was compared, `by` the least move shown."""

    share: FactShare
    p: float
    by: float


def drift(view: View) -> Iterator[Guard]:
    """Yield how far the certificate speaks of today's traffic; nothing where no recent request is known."""
    traffic = view.settings.traffic
    if traffic is None:
        return
    looked = f"{count(traffic.recent_requests, 'recent request')} of {traffic.source}"
    beside = f"{count(traffic.frozen_requests, 'sample')}"
    compared = _compared(traffic)
    if not compared:
        n, m = (
            max((getattr(each, side) for each in traffic.shares), default=0)
            for side in ("recent_n", "frozen_n")
        )
        yield finding(
            "drift",
            f"{looked} and {beside} are worth {n:,} and {m:,} independent requests, too few to compare",
            "",
        )
        return
    moved = moved_shares(traffic)
    if not moved:
        yield finding("drift", f"{looked} are like the {beside} in {_counted(compared)}", "")
        return
    far = [each for each in moved if each.by > limits.TRAFFIC_MOVED]
    yield finding(
        "drift",
        f"{looked} are not like the {beside}: {_words_of(far or moved)}",
        "draw samples from the recent traffic and evaluate again"
        if far
        else "read the verdict as one on the traffic of its samples, or draw new ones",
        fail=bool(far),
        warn=True,
    )


def _compared(traffic: TrafficComparison) -> tuple[FactShare, ...]:
    """Return the shares that are of enough requests on both sides."""
    fewest = limits.FEWEST_COMPARED
    return tuple(each for each in traffic.shares if min(each.frozen_n, each.recent_n) >= fewest)


def moved_shares(traffic: TrafficComparison) -> tuple[_Moved, ...]:
    """Return the shares that are shown to have moved, at one error rate over all that could have.

    A share that no request, or every request, of both sides has cannot move: its p-value is 1 whatever the
    sides are, so it takes no part in the correction. The moved shares come with the largest move first.
    """
    asked = [
        each for each in _compared(traffic) if 0 < each.frozen + each.recent < each.frozen_n + each.recent_n
    ]
    p = [shares_differ(each.frozen, each.frozen_n, each.recent, each.recent_n) for each in asked]
    weight = [_WORD_WEIGHT if each.fact == WORDS else 1.0 for each in asked]
    found = [
        _Moved(
            share=share,
            p=corrected,
            by=least_difference(
                share.frozen,
                share.frozen_n,
                share.recent,
                share.recent_n,
                limits.TRAFFIC_ALPHA * own / sum(weight),
            ),
        )
        for share, own, corrected in zip(asked, weight, holm(p, weight), strict=True)
        if corrected <= limits.TRAFFIC_ALPHA
    ]
    return tuple(sorted(found, key=lambda each: (-each.by, each.p)))


def _counted(shares: Sequence[FactShare]) -> str:
    """Return how much is compared."""
    facts = {each.fact for each in shares} - {WORDS}
    words = sum(each.fact == WORDS for each in shares)
    return count(len(facts), "fact") + (f" and {count(words, 'word')}" if words else "")


def _words_of(moved: Sequence[_Moved]) -> str:
    """Return which shares moved, from what to what."""
    facts = [each for each in moved if each.share.fact != WORDS]
    texts = [each for each in moved if each.share.fact == WORDS]
    said = [_move(_of(each.share), each) for each in facts]
    if texts:
        first = _move("one of them", texts[0])
        said.append(f"what the texts are about ({count(len(texts), 'frequent word')} moved, {first})")
    return listed(tuple(said), most=4)


def _move(what: str, moved: _Moved) -> str:
    share = moved.share
    before, now = share.frozen / share.frozen_n, share.recent / share.recent_n
    sides = f"from {percent(before)} of {share.frozen_n:,} to {percent(now)} of {share.recent_n:,}"
    return f"{what} {sides} (corrected p {moved.p:.2g})"


def _of(share: FactShare) -> str:
    """Return in words which requests have a value of a fact."""
    value = share.value[:_SHOWN_CHARACTERS]
    if share.fact in COUNTED:
        return f"requests with {value} {COUNTED[share.fact]}"
    if share.fact == LEFT_OUT:
        return f"requests that no sample stands for ({value})"
    return _LABELS[share.fact].format(value=value)


_LABELS = {
    "segment": "requests of segment {value}",
    "modality": "requests with the modality {value}",
    "tools": "requests with tools: {value}",
    "structured": "requests for structured answers: {value}",
    "system": "requests with the system prompt: {value}",
    "code": "requests with code: {value}",
    "uncarried": "requests that other APIs cannot express: {value}",
}
