"""Whether an offer is the model that it is said to be: what was checked, and what it was seen to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from crossgrade.domain.offers import Offer

ConformOutcome: TypeAlias = Literal["agrees", "differs", "open", "seen", "unchecked"]
"""What a check says: both sides agree or differ, or there were too few answers to say (`open`), or there was
nothing to compare with, or no answer."""

Conformity: TypeAlias = Literal["conforms", "differs", "unchecked"]
"""What is known of an offer beside another of the same model."""


_OF_ANSWERS = ("log-probabilities", "greedy", "answers")
"""The rows that compare what is answered, without which nothing is known of the weights."""


def host_of(offer: Offer) -> str | None:
    """Return host and port of the address that an offer names, None if it names none."""
    return None if offer.base_url is None else urlsplit(offer.base_url).netloc.rpartition("@")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformCheck:
    """A row of the table of a conformity check.

    `seen` says in words what the offer did, and `expected` what the other one did or what was asked; it is
    empty if there is nothing to compare with. `p_value` is that of the test that both answer alike, None
    for an exact comparison. `answers` counts the offer's answers that the row rests on.
    """

    name: str
    outcome: ConformOutcome
    seen: str
    expected: str = ""
    p_value: float | None = None
    answers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What an offer was seen to be at one time, as a certificate names it.

    `host` is the address that the offer names (None: that of the table of hosts), `version` what the provider
    said it served (None: it said nothing). `digest` is that of the answers, which the store has.
    """

    offer: str
    provider: str
    model: str
    digest: str
    at: datetime
    host: str | None = None
    version: str | None = None

    def is_of(self, offer: Offer) -> bool:
        """Return whether the offer is still the model at the address that was asked."""
        return (self.provider, self.model, self.host) == (offer.provider, offer.model, host_of(offer))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformRecord:
    """A conformity check of an offer, as it was made; a record is never changed.

    `against` is the fingerprint of the other offer, or has the name `reference` for a checkpoint that was
    computed here; None: the offer was compared with nothing. `alpha` is the probability that at least one
    row of a healthy offer differs. `answers` are those to the questions that are asked daily, by question;
    there are none of a host that answered from a cache. `unanswered` requests had no usable answer; they are
    in neither `calls` nor `cost_usd`, and cost at most `unanswered_usd` (None: unknown) if they are billed.
    """

    id: str
    checks: tuple[ConformCheck, ...]
    fingerprint: Fingerprint
    alpha: float
    against: Fingerprint | None = None
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    calls: int = 0
    cost_usd: Decimal | None = Decimal(0)
    unanswered: int = 0
    unanswered_usd: Decimal | None = Decimal(0)

    @property
    def offer(self) -> str:
        """The name of the offer that was checked."""
        return self.fingerprint.offer

    @property
    def at(self) -> datetime:
        """When the check ended."""
        return self.fingerprint.at

    @property
    def differing(self) -> tuple[ConformCheck, ...]:
        """The rows that differ."""
        return tuple(each for each in self.checks if each.outcome == "differs")

    @property
    def conformity(self) -> Conformity:
        """What the check says: an offer conforms if its answers were compared and nothing differs.

        It is unchecked if a comparison of answers is open, or none was possible.
        """
        if self.differing:
            return "differs"
        said = {each.outcome for each in self.checks if each.name in _OF_ANSWERS}
        compared = self.against is not None and "agrees" in said and "open" not in said
        return "conforms" if compared else "unchecked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformLook:
    """What a daily look at an offer found, without the answers. It continues the check `check_id`.

    `day` counts the looks from 1. `outcome` is `accepted`, `alarm`, or `unchecked` with a `reason`: then
    there were no usable answers. `e_value` alarms at `threshold`.
    """

    check_id: str
    offer: str
    day: int
    outcome: Literal["accepted", "alarm", "unchecked"]
    at: datetime
    reason: str | None = None
    version: str | None = None
    e_value: float | None = None
    threshold: float | None = None
    differing: tuple[str, ...] = ()
    calls: int = 0
    cost_usd: Decimal | None = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformDay(ConformLook):
    """A daily look with its answers, which join the reference of later ones if the day was accepted.

    `state` is that of the detector after this day, as plain JSON.
    """

    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
