"""How traffic is served: routes, limits, shadows, identities, as configured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

REDIS_URL_ENV = "CROSSGRADE_REDIS_URL"
"""The variable with the URL of the Redis that counts limits; without it the database counts them."""

LimitScope = Literal["key", "team", "route"]
LimitUnit = Literal["usd", "tokens", "requests", "parallel"]
StickyUnit = Literal["none", "user", "conversation", "key", "run"]
LedgerMode = Literal["off", "queue", "require"]
"""Whether requests are entered into the ledger: never, without waiting for it, or before they are sent."""

WINDOWS_S: Mapping[str, int] = {
    "second": 1,
    "minute": 60,
    "hour": 3_600,
    "day": 86_400,
    "week": 604_800,
    "month": 2_592_000,
}
"""Names of the windows of limits, in seconds; a month is 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A budget or rate: at most `cap` of `unit` within `window_s` seconds for each `scope`.

    `match` names one key id, team or route, or `*` for each of them by itself. Windows are
    fixed and start at multiples of their length since 1970-01-01 UTC; `parallel` (requests in
    flight) has none, its `window_s` is 0.
    """

    scope: LimitScope
    unit: LimitUnit
    cap: float
    window_s: int
    match: str = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """Which share of a route's requests the other model is asked too, after the answer was sent.

    `rate` is a share in [0, 1]; `max_parallel` bounds the copies in flight, `max_usd_per_day`
    what they may cost (None: no bound). `store_text` keeps redacted requests and answers, which
    scoring needs. Only requests of callers in `tiers` are copied (empty: of all), and a candidate is
    asked only in the workload's `regions` (empty: anywhere).
    """

    rate: float
    max_parallel: int = 4
    max_usd_per_day: float | None = None
    store_text: bool = True
    tiers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """A named stream of requests as configured; the route table says which model answers it now.

    `incumbent` is the offer that answers while the table has no route of this name. `models` are the names
    under which clients may ask for it, besides its own. `fallbacks` are offers tried, in order, when the
    picked one fails before its first byte; the incumbent is always the last. `successor` is the offer that
    takes the incumbent's place from the day on which that ends (None: nobody does); no certificate stands
    behind it. `sticky` is the unit of traffic that a canary keeps together; a "run" also keeps the model that
    its first request got. `tiers` and `teams` may use the route (empty: all). `canary_steps` are the rising
    shares of `route promote`. An offer is not asked with more than its `max_body_bytes`. `outcome` names the
    feedback that says how an answer turned out. `unsupported` says what becomes of parameters that another
    API does not have: "refuse" sends the request to a model of the client's own API, "drop" leaves them out.
    `regions` are those that the workload allows (empty: all): a candidate elsewhere is not asked. With `grow`
    the part that a router moves may grow from audits. Access rules decide on each request of a `gated` route.
    `ledger` says whether requests are entered into the ledger, and whether they wait for that.
    """

    name: str
    incumbent: str
    workload: str | None = None
    models: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    successor: str | None = None
    sticky: StickyUnit = "conversation"
    tiers: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    canary_steps: tuple[float, ...] = (0.05, 0.25, 1.0)
    max_body_bytes: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 3
    shadow: Shadow | None = None
    grow: bool = False
    outcome: str | None = None
    unsupported: Literal["refuse", "drop"] = "refuse"
    regions: tuple[str, ...] = ()
    gated: bool = False
    ledger: LedgerMode = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRule:
    """Give a verified token's bearer a tier: the first rule that matches does; none matching, no service.

    `claim` is a dotted path into the token; `operator` compares what stands there with `value`.
    """

    claim: str
    operator: Literal["equals", "in", "contains"]
    value: str | tuple[str, ...]
    tier: str
    team_claim: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIssuer:
    """An OpenID provider whose access tokens are accepted: its issuer URL, our audience, who gets what.

    `types` are what `typ` in a token's header may be: `at+jwt` (RFC 9068) alone cannot be mistaken
    for an ID token.
    """

    issuer: str
    audience: str
    rules: tuple[TierRule, ...]
    algorithms: tuple[str, ...] = ("ES256", "RS256", "EdDSA")
    types: tuple[str, ...] = ("at+jwt",)
    max_lifetime_s: int = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerWitness:
    """A witness that cosigns checkpoints: the address it answers at, and its verifier key (`vkey`)."""

    url: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSpec:
    """The `ledger` section: who cosigns its checkpoints, how often, and whether texts are kept.

    With `keep_texts`, body and answer are kept, encrypted, beside the entries of a request. Otherwise the
    entries only have a commitment to each.
    """

    witnesses: tuple[LedgerWitness, ...] = ()
    cosign_every_s: float = 60.0
    keep_texts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponses:
    """How many translated responses are kept, for clients that refer to them by id.

    They are at most `max_count`, have `max_bytes` together, and are forgotten `max_age_s` seconds after
    their last use.
    """

    max_count: int = 10_000
    max_bytes: int = 1 << 26
    max_age_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The `serve` section: where to listen, what is refused, who is let in.

    Sizes are bytes, times seconds. `health_port` serves health checks alone, so that connections of clients
    cannot keep them out (None: no such port). With `open_on_loopback` requests need no key, and the server
    listens on loopback only. `body_parse_bytes` is the largest body that is parsed; larger ones
    are checked by a scan. `unpriced` says whether a budget in dollars refuses calls of a model without a
    known price, or lets them pass uncounted. `stored_responses` bounds what is kept of translated responses
    (None: nothing is). `log_prompts` writes prompts into the request log.
    """

    host: str = "127.0.0.1"
    port: int = 4000
    admin_port: int = 4001
    health_port: int | None = None
    workers: int = 1
    open_on_loopback: bool = False
    limits: tuple[Limit, ...] = ()
    issuers: tuple[TokenIssuer, ...] = ()
    body_parse_bytes: int = 1 << 20
    body_max_bytes: int = 1 << 28
    head_max_bytes: int = 32_768
    head_max_count: int = 100
    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0
    max_connections: int = 2_000
    unpriced: Literal["refuse", "allow"] = "refuse"
    stored_responses: StoredResponses | None = None
    log_prompts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedWatching:
    """How the candidate of a route whose incumbent has ended is asked about sealed samples.

    `items` are drawn every `every_hours`, for each claim. `max_usd_per_day` bounds what the answers to all of
    them cost (None: no bound).
    """

    items: int = 20
    every_hours: float = 24.0
    max_usd_per_day: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformWatching:
    """How often the models behind certificates are asked again whether they are still what was measured.

    At most 50 answers of 64 tokens are asked of each every `every_hours`. `max_usd_per_day` bounds what those
    of all models cost (None: no bound).
    """

    every_hours: float = 24.0
    max_usd_per_day: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What new offers must promise to be proposed, and whether one that is certified starts a canary.

    An offer that could save less than `least_saving_usd_per_month` is not proposed.
    """

    least_saving_usd_per_month: float = 10.0
    canary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """The `watch` section: how often live pairs are looked at, who labels some, who is told of alarms.

    The webhook's secret stays in the environment: `webhook_secret_env` names the variable.
    `label_share` of the pairs are put before people; `max_usd_per_day` bounds what judges cost
    (None: no bound). A price that rose by the share `price_rise` and a retirement within
    `retirement_days` are alarms. Texts of pairs are erased after `keep_text_days`. Without `sealed` no model
    is asked about sealed samples, and without `conform` none whether it is still what was measured. `renew`
    is the rule for new offers.
    """

    interval_s: float = 60.0
    webhook_url: str | None = None
    webhook_secret_env: str | None = None
    label_share: float = 0.05
    max_usd_per_day: float | None = None
    price_rise: float = 0.1
    retirement_days: int = 14
    keep_text_days: int = 30
    sealed: SealedWatching | None = None
    conform: ConformWatching | None = None
    renew: Renewal = field(default_factory=Renewal)


KEYS = "keys"
"""In the place of an issuer: the gateway's own keys, whose tier and team an operator set."""

RuleEvidence = Literal["none", "verdict", "dossier"]
"""What must stand behind a model: nothing, an unexpired certificate in the route table, or a dossier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredLogin:
    """How a caller must have logged in (RFC 9470): one of these `acr`, at most `max_age_s` seconds ago.

    Without `acr` every kind of login is accepted, without `max_age_s` (None) a login of any age.
    """

    acr: tuple[str, ...] = ()
    max_age_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """One access rule. It matches a request that meets all of its selectors; an empty one selects all.

    A rule with a `programme` is for requests that select it, one without is for requests that select none.
    `issuers` say who must vouch for the caller: the URLs of OpenID providers, or `KEYS`. `models` are the
    offers that may answer. If `allow`, the rule grants these requests, provided that the model has the
    `evidence` and the caller the `login`. Otherwise it denies them. `because` says why, for people.
    """

    name: str
    programme: str | None = None
    issuers: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    evidence: RuleEvidence = "none"
    login: RequiredLogin | None = None
    allow: bool = True
    because: str = ""

    def reaches(self, route: str | None, workload: str | None) -> bool:
        """Return whether the rule is for a route of this name and workload."""
        return (not self.routes or route in self.routes) and (
            not self.workloads or workload in self.workloads
        )
