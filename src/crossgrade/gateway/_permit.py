"""What a caller has on a route."""

from crossgrade.gateway._limits import Counter
from crossgrade.gateway._messages import RequestRecord
from crossgrade.gateway._routes import ServedRoute
from crossgrade.identity import Principal


class Permit:
    """What is the same for all requests of one caller on one route: limits, and much of the record.

    `alike` is what the last record had in common with others of its `kind`.
    """

    __slots__ = ("alike", "blank", "counters", "kind", "plan", "principal")

    def __init__(
        self, principal: Principal, plan: ServedRoute, counters: tuple[Counter, ...], blank: RequestRecord
    ) -> None:
        self.principal = principal
        self.plan = plan
        self.counters = counters
        self.blank = self.alike = blank
        self.kind: tuple[object, ...] | None = None
