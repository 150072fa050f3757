"""The policies that could be certified, what stands in their way, and which one is chosen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crossgrade.decide._costs import cheaper_segments, policy_cost, split_policy, switch_policy
from crossgrade.decide._records import Certificate, PolicyCost, RequirementCheck
from crossgrade.decide._view import View
from crossgrade.routing import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A certified policy with its cost; `unmet` and `unknown` are the requirements in its way.

    `choosing` is the number of samples that chose its segments and have no part in its cost.
    """

    policy: Policy
    cost: PolicyCost
    choosing: int = 0
    unmet: tuple[RequirementCheck, ...] = ()
    unknown: tuple[RequirementCheck, ...] = ()

    @property
    def priced(self) -> bool:
        """Whether it is known what the policy saves."""
        return self.cost.saving_per_request_usd.value is not None

    @property
    def saves(self) -> bool:
        """Whether it is shown that the policy costs less: the whole interval, where there is one."""
        saving = self.cost.saving_per_request_usd
        shown = saving.low if saving.low is not None else saving.value
        return shown is not None and shown > 0

    @property
    def costs_more(self) -> bool:
        """Whether it is shown that the policy saves nothing."""
        return self.cost.costs_more

    @property
    def costs_what(self) -> str:
        """What a policy that is shown to save nothing costs, in words."""
        return "costs more" if self.cost.saving_per_request_usd.value else "costs the same"

    @property
    def eligible(self) -> bool:
        """Whether the policy may be the verdict."""
        return self.saves and not self.unmet and not self.unknown


def certified_options(
    view: View, certificates: Iterable[Certificate], checks: Sequence[RequirementCheck]
) -> tuple[Option, ...]:
    """Return every policy that the certificates allow: a switch, and a split over certified segments.

    A split moves exactly the segments that were each certified by themselves, less those on
    which the candidate is found to cost more.
    """
    certified = [one for one in certificates if one.certified]
    costs: list[tuple[PolicyCost, int]] = []
    for model in (each.model for each in view.evidence.candidates):
        own = [one for one in certified if one.candidate == model]
        if any(one.segment is None for one in own):
            costs.append((policy_cost(view, switch_policy(view, model)), 0))
        segments = tuple(one.segment for one in own if one.segment is not None)
        if segments:
            choice = cheaper_segments(view, model, segments)
            split = split_policy(view, model, choice.segments or segments)
            costs.append((policy_cost(view, split, without=choice.spent), int(choice.spent.sum())))
    return tuple(
        Option(
            policy=cost.policy,
            cost=cost,
            choosing=choosing,
            unmet=tuple(c for c in checks if c.candidate == cost.policy.candidate and c.met is False),
            unknown=tuple(c for c in checks if c.candidate == cost.policy.candidate and c.met is None),
        )
        for cost, choosing in costs
    )


def cheapest(options: Iterable[Option]) -> Option | None:
    """Return the eligible policy that costs least per request; a switch before a split at one price.

    If contracts leave a part of a saving owed, it is the policy that saves most.
    """
    eligible = [option for option in options if option.eligible]
    owed = any(option.cost.owed_usd_per_month for option in eligible)
    return min(eligible, key=_least_saving if owed else _price, default=None)


def _price(option: Option) -> tuple[float, bool]:
    value = option.cost.per_request_usd.value
    return (float("inf") if value is None else value, option.policy.kind != "switch")


def _least_saving(option: Option) -> tuple[float, bool]:
    value = option.cost.saving_per_request_usd.value
    return (float("inf") if value is None else -value, option.policy.kind != "switch")


def closed_beats_open(view: View, options: Sequence[Option]) -> tuple[str, str] | None:
    """Return (closed, open) models, where a closed model's certified policy is cheaper than any open one's.

    `open` is empty where no policy of an open model is eligible.
    """
    weights = {facts.model: facts.open_weights for facts in view.settings.facts}
    candidates = [each.model for each in view.evidence.candidates]
    if not any(weights.get(model) for model in candidates):
        return None
    best = cheapest(options)
    if best is None or best.policy.candidate is None or weights.get(best.policy.candidate) is not False:
        return None
    rival = cheapest(option for option in options if weights.get(str(option.policy.candidate)))
    return best.policy.candidate, "" if rival is None else str(rival.policy.candidate)


def only_open_candidates(view: View) -> bool:
    """Return whether every candidate is known to have open weights: no closed model was compared."""
    weights = {facts.model: facts.open_weights for facts in view.settings.facts}
    return all(weights.get(each.model) is True for each in view.evidence.candidates)


def open_hypotheses(
    certificates: Sequence[Certificate], candidates: Sequence[str]
) -> tuple[Certificate, ...]:
    """Return the hypotheses of these candidates that more samples could still settle.

    A whole that lost a group to a guard is open: mended evidence may certify it. One that lost
    a segment is not: only its splits are left.
    """
    segmented = any(one.segment is not None for one in certificates)
    return tuple(
        one
        for one in certificates
        if one.tested
        and one.candidate in candidates
        and not one.certified
        and not one.shown_below
        and not one.not_needed
        and (one.excluded is None or (one.segment is None and not segmented))
    )
