"""Who answers a route's last resort once its incumbent has ended."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from crossgrade.catalog import WARN_DAYS
from crossgrade.domain import Clause, RouteSpec
from crossgrade.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """The incumbent of a configured route, its end, and the model that the route names for afterwards.

    `ends_on` is the day, from 00:00 UTC on, on which nobody sells the incumbent any more. `successor_ends_on`
    is that of the `successor`. None is no known end, and no successor. `clause` is what a licence or host
    says against the team's use of the successor, which then takes nobody's place.
    """

    route: str
    incumbent: str
    ends_on: date | None = None
    successor: str | None = None
    successor_ends_on: date | None = None
    clause: Clause | None = None

    def answering(self, on: date) -> str:
        """Return the model that answers on a day where the incumbent would."""
        heir = None if self.clause is not None or _over(self.successor_ends_on, on) else self.successor
        return heir if heir is not None and self.has_ended(on) else self.incumbent

    def has_ended(self, on: date) -> bool:
        """Return whether the incumbent can no longer be asked on a day."""
        return _over(self.ends_on, on)

    @property
    def nobody_on(self) -> date | None:
        """The first day on which neither incumbent nor successor can answer; None if none is known."""
        if self.ends_on is None or self.successor is None or self.clause is not None:
            return self.ends_on
        return None if self.successor_ends_on is None else max(self.ends_on, self.successor_ends_on)

    def is_due(self, on: date) -> bool:
        """Return whether nobody answers on a day, or from at most 7 days later on."""
        return self.nobody_on is not None and (self.nobody_on - on).days <= WARN_DAYS[-1]

    def lack(self, on: date) -> ConfigError | None:
        """Return what the route lacks to be answered for 90 days more; None if it lacks nothing."""
        if self.nobody_on is None or (self.nobody_on - on).days > WARN_DAYS[0]:
            return None
        ends, where = self.end(on), f"routes.{self.route}"
        hint = f"set `routes.{self.route}.successor` to a model that answers then"
        if self.successor is None:
            message = f"{ends}, and no successor is named"
            return ConfigError(message, code="successor-missing", where=where, hint=hint)
        if self.clause is not None:
            message = f"{ends}, and its successor {self.successor} is {self.clause.severity}"
            message += f" ({self.clause.code})"
            return ConfigError(message, code="successor-not-allowed", where=where, hint=hint)
        message = f"{ends}, and its successor {_end(self.successor, self.successor_ends_on, on)}"
        return ConfigError(message, code="successor-ends", where=where, hint=hint)

    def end(self, on: date) -> str:
        """Say that the incumbent of the route ends or has ended."""
        return f"route {self.route}: its incumbent {_end(self.incumbent, self.ends_on, on)}"

    def words(self, on: date) -> str | None:
        """Say who answers from the incumbent's end on; None if that is more than 90 days away or unknown."""
        if self.ends_on is None or (self.ends_on - on).days > WARN_DAYS[0]:
            return None
        lack = self.lack(on)
        if lack is not None and (self.is_due(on) or lack.code != "successor-ends"):
            return f"{lack.message}; {lack.hint}"
        when = "since then" if self.has_ended(on) else "from then on"
        return f"{self.end(on)}; {when} {self.successor} takes its place, which certifies nothing of it"


def ends_at(day: date) -> float:
    """Return the moment at which an offer's end begins, 00:00 UTC of the day, in seconds since 1970."""
    return datetime.combine(day, time(), UTC).timestamp()


def succession(
    spec: RouteSpec,
    *,
    ends_on: Callable[[str], date | None],
    clauses_of: Callable[[str], tuple[Clause, ...]],
    on: date,
    incumbent: str | None = None,
) -> Succession:
    """Return the succession of a configured route, as of a day.

    `ends_on` says when a model ends, `clauses_of` what stands against the team's use of it. `incumbent` is
    that of the route table, where the configuration names another one by now. The latter comes before the
    route's successor then.
    """
    named, heir = incumbent or spec.incumbent, spec.successor
    clauses = () if heir is None else clauses_of(heir)
    if named != spec.incumbent and not _over(ends_on(spec.incumbent), on):
        heir, clauses = spec.incumbent, ()
    return Succession(
        route=spec.name,
        incumbent=named,
        ends_on=ends_on(named),
        successor=heir,
        successor_ends_on=None if heir is None else ends_on(heir),
        clause=next((clause for clause in clauses if clause.blocks), None),
    )


def _over(ends_on: date | None, on: date) -> bool:
    return ends_on is not None and ends_on <= on


def _end(model: str, ends_on: date | None, on: date) -> str:
    return f"{model} {'ended' if _over(ends_on, on) else 'ends'} on {ends_on}"
