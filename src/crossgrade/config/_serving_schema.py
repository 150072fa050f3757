"""The sections `routes`, `serve` and `watch` of crossgrade.yaml."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from crossgrade.config._section import Name, Section, Text, Url, Variable
from crossgrade.domain import LedgerMode, LimitScope, LimitUnit, StickyUnit

ModelName = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
Share = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Algorithm = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
Per = Literal["second", "minute", "hour", "day", "week", "month"]


class ShadowSection(Section):
    """A sample of requests that also goes to the other model. Its provider gets customers' data."""

    rate: Share = Field(description="Share of the requests, more than 0 and at most 1.")
    max_parallel: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=4, description="Maximum number of copies in flight. More are dropped and counted."
    )
    max_usd_per_day: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None, description="Maximum dollars per day for copies. Null means no limit."
    )
    store_text: bool = Field(
        default=True, description="Keep redacted requests and answers. Scoring needs them."
    )
    tiers: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[],
        description="Tiers whose requests may be copied. Empty allows all tiers that may use the route.",
    )


class RouteSection(Section):
    """A named stream of requests. The route table says which model answers it now."""

    workload: Name | None = Field(
        default=None,
        description="The workload whose verdicts decide which model answers. Null always keeps the "
        "incumbent.",
    )
    incumbent: Name | None = Field(
        default=None,
        description="The model that answers until a verdict is applied. Default: the workload's incumbent.",
    )
    models: Annotated[list[ModelName], Field(max_length=64)] = Field(
        default=[], description="Values of `model` that select the route, in addition to its own name."
    )
    fallbacks: Annotated[list[Name], Field(max_length=16)] = Field(
        default=[],
        description="Names from `models`, tried in order when the picked model fails before its first byte. "
        "The incumbent is always the last.",
    )
    successor: Name | None = Field(
        default=None,
        description="A name from `models`: the model that takes the incumbent's place everywhere from the "
        "day on which that ends (`retires_on` of the model, otherwise the catalogue's). To be named here "
        "certifies nothing.",
    )
    sticky: StickyUnit = Field(
        default="conversation",
        description="The unit that never changes model in the middle of a canary. A `run` of an agent keeps "
        "the model that its first request got, until the route steps down.",
    )
    tiers: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[], description="Tiers that may use the route. Empty allows all."
    )
    teams: Annotated[list[Name], Field(max_length=256)] = Field(
        default=[], description="Teams that may use the route. Empty allows all."
    )
    canary_steps: Annotated[list[Share], Field(min_length=1, max_length=32)] = Field(
        default=[0.05, 0.25, 1.0],
        description="Rising shares of `crossgrade route promote`. The last one is 1.",
    )
    max_body_bytes: dict[Name, Annotated[int, Field(ge=1)]] = Field(
        default={},
        description="Maximum body size in bytes, by name from `models`. Larger bodies are not sent to that "
        "model.",
    )
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        default=3, description="Maximum number of calls for one request, over all models."
    )
    shadow: ShadowSection | None = Field(
        default=None,
        description="Also ask the other model, on a sample of requests. By default it is never asked.",
    )
    grow: bool = Field(
        default=False,
        description="Whether the part that a router moves may grow, from audits of live requests. Needs "
        "`shadow`.",
    )
    outcome: Name | None = Field(
        default=None,
        description="Name under which `POST /v1/feedback` reports the outcome of an answer of this route.",
    )
    gated: bool = Field(
        default=False,
        description="Whether `access.rules` decide on each request of the route, which are denied by "
        "default. A model that no other route uses is then gated by its own name too.",
    )
    unsupported: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What becomes of parameters, such as `frequency_penalty`, that the API of another model "
        "does not have. `refuse` sends the request to a model of the client's own API. `drop` leaves them "
        "out.",
    )
    ledger: LedgerMode = Field(
        default="off",
        description="Whether each request is entered into the ledger. `require` sends a request to a model "
        "only once its entry is durable. `queue` never waits, and drops entries when too many are waiting.",
    )


class LimitSection(Section):
    """A budget or a rate, for one key, team or route, or for each of them separately."""

    scope: LimitScope = Field(description="Whether to count by key, team or route.")
    match: Text = Field(
        default="*", description="A key's id, a team or a route. `*` applies to each of them separately."
    )
    unit: LimitUnit = Field(description="What is counted. `parallel` means requests in flight.")
    cap: Annotated[float, Field(gt=0, le=1e15)] = Field(description="Maximum in one window.")
    per: Per | None = Field(
        default=None,
        description="Length of the window. Windows follow one another since 1970-01-01 UTC. A month has 30 "
        "days.",
    )


class TierRuleSection(Section):
    """A rule that assigns a tier to tokens."""

    claim: Annotated[str, StringConstraints(pattern=r"^\S{1,200}$")] = Field(
        description="Dotted path to the claim, for example `realm_access.roles`."
    )
    operator: Literal["equals", "in", "contains"] = Field(
        description="`equals`: the claim is `value`. `in`: the claim is in the list `value`. `contains`: "
        "the claim is a list that contains `value`."
    )
    value: Text | Annotated[list[Text], Field(min_length=1, max_length=256)] = Field(
        description="The value to compare the claim with: one text, or for `in` a list of texts."
    )
    tier: Name = Field(description="The tier that the bearer gets.")
    team_claim: Text | None = Field(default=None, description="Dotted path to the claim that names the team.")


class IssuerSection(Section):
    """An OpenID provider whose access tokens are accepted as well as keys."""

    issuer: Url = Field(description="The issuer URL, exactly as in the tokens' `iss`.")
    audience: Text = Field(description="The value of `aud` in tokens for this gateway.")
    rules: Annotated[list[TierRuleSection], Field(min_length=1, max_length=256)] = Field(
        description="Rules that assign tiers. The first matching rule counts. A token that matches no rule "
        "is refused."
    )
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = Field(
        default=["ES256", "RS256", "EdDSA"], description="Accepted signature algorithms."
    )
    types: Annotated[list[Literal["at+jwt", "JWT"]], Field(min_length=1)] = Field(
        default=["at+jwt"],
        description="Accepted values of `typ` in a token's header. `JWT` is for issuers that do not follow "
        "RFC 9068.",
    )
    max_lifetime_s: Annotated[int, Field(ge=60, le=31_536_000)] = Field(
        default=86_400,
        description="Maximum lifetime of a token in seconds. Tokens that live longer are refused.",
    )


class StoredResponsesSection(Section):
    """Translated responses that their callers may refer to by id. They are kept in memory."""

    max_count: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Maximum number of responses."
    )
    max_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 34)] = Field(
        default=1 << 26,
        description="Maximum size of all of them, in bytes. One takes at most an eighth of it.",
    )
    max_age_s: Seconds = Field(
        default=3600.0, description="Seconds after its last use at which a response is forgotten."
    )


class ServeSection(Section):
    """Where the gateway listens, and which requests it accepts. Requests need a key or a token."""

    host: Text = Field(default="127.0.0.1", description="Address to listen on. `0.0.0.0` means all.")
    port: Port = Field(default=4000, description="Port of the gateway.")
    admin_port: Port = Field(default=4001, description="Port of the admin API, on loopback only.")
    health_port: Port | None = Field(
        default=None,
        description="Port for health checks alone, which clients' connections cannot keep out. They are also "
        "served on `port`.",
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default=1, description="Number of serving processes. Use one per core."
    )
    open_on_loopback: bool = Field(
        default=False,
        description="Accept requests from this machine without keys. Use it only for trying things out.",
    )
    limits: Annotated[list[LimitSection], Field(max_length=1_000)] = Field(
        default=[], description="Budgets and rates. Keys may also have their own."
    )
    issuers: Annotated[list[IssuerSection], Field(max_length=16)] = Field(
        default=[], description="OpenID providers whose access tokens are accepted."
    )
    body_parse_bytes: Annotated[int, Field(ge=1_024, le=1 << 26)] = Field(
        default=1 << 20,
        description="Largest body that is parsed, in bytes. Larger bodies are only checked as they pass.",
    )
    body_max_bytes: Annotated[int, Field(ge=1_024, le=1 << 34)] = Field(
        default=1 << 28, description="Largest accepted body, in bytes."
    )
    head_max_bytes: Annotated[int, Field(ge=1_024, le=1 << 20)] = Field(
        default=32_768, description="Largest accepted request head, in bytes."
    )
    head_max_count: Annotated[int, Field(ge=8, le=10_000)] = Field(
        default=100, description="Maximum number of header fields in a request."
    )
    head_timeout_s: Seconds = Field(default=10.0, description="Seconds for a whole request head to arrive.")
    body_timeout_s: Seconds = Field(
        default=60.0,
        description="Seconds for a body to arrive. For a body that is not parsed, seconds for each 256 KiB.",
    )
    idle_timeout_s: Seconds = Field(
        default=75.0, description="Seconds that a connection without a request stays open."
    )
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=2_000, description="Maximum number of client connections per worker."
    )
    unpriced: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="What a budget in dollars does with a call whose model has no known price. `allow` lets "
        "it pass uncounted.",
    )
    stored_responses: StoredResponsesSection | None = Field(
        default=None,
        description="Keep translated responses, for `previous_response_id` and `item_reference`. By default "
        "nothing is kept.",
    )
    log_prompts: bool = Field(default=False, description="Write prompts into the request log.")


class WitnessSection(Section):
    """A witness that cosigns the ledger's checkpoints. Run it elsewhere, under another account."""

    url: Url = Field(description="Address of the witness. It must use https beyond this machine.")
    key: Annotated[
        str, StringConstraints(pattern=r"^[^\s+]{1,200}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{40,200}={0,2}$")
    ] = Field(description="Verifier key of the witness, as `crossgrade witness init` prints it.")


class LedgerSection(Section):
    """The log of decisions and requests, which cannot be rewritten unseen."""

    witnesses: Annotated[list[WitnessSection], Field(max_length=16)] = Field(
        default=[], description="Witnesses that are asked to cosign checkpoints."
    )
    cosign_every_s: Seconds = Field(
        default=60.0, description="Seconds between two requests to the witnesses, if there are new entries."
    )
    keep_texts: bool = Field(
        default=False,
        description="Keep the texts of requests and answers, encrypted, beside their entries. By default an "
        "entry only has a commitment to each text.",
    )


class SealedWatchSection(Section):
    """How a candidate is asked about sealed samples once the incumbent has ended. Each call costs money."""

    items: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=20, description="Number of sealed samples that are drawn and asked each time, for each claim."
    )
    every_hours: Annotated[float, Field(ge=1, le=8_760)] = Field(
        default=24.0, description="Hours between two draws."
    )
    max_usd_per_day: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None,
        description="Maximum dollars per day for the answers, over all routes. Null means no limit.",
    )


class ConformWatchSection(Section):
    """How the models behind certificates are asked again each day. Each call costs money."""

    every_hours: Annotated[float, Field(ge=0.001, le=8_760)] = Field(
        default=24.0, description="Hours between two looks at a model: up to 50 answers of 64 tokens each."
    )
    max_usd_per_day: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None,
        description="Maximum dollars per day for these answers of all models. Null means no limit.",
    )


class RenewSection(Section):
    """Which new offers are proposed for a test, and what follows from one that is certified."""

    least_saving_usd_per_month: Annotated[float, Field(ge=0, le=1e9)] = Field(
        default=10.0, description="Dollars a month that an offer must be able to save to be proposed."
    )
    canary: bool = Field(
        default=False,
        description="Start a canary of a model that `crossgrade watch --renew` certified, on a route whose "
        "incumbent answers everything. By default only the verdict is recorded.",
    )


class WatchSection(Section):
    """How live pairs are checked, how many of them people label, and where alarms are sent."""

    interval_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=60.0, description="Seconds between two checks."
    )
    webhook_url: Url | None = Field(default=None, description="Address to which alarms are posted.")
    webhook_secret_env: Variable | None = Field(
        default=None, description="Name of the environment variable with the secret that signs alarms."
    )
    label_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.05, description="Share of live pairs that people label to correct a judge."
    )
    max_usd_per_day: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None, description="Maximum dollars per day for judges of live pairs. Null means no limit."
    )
    price_rise: Annotated[float, Field(ge=0, le=100)] = Field(
        default=0.1,
        description="Price increase of the candidate that raises an alarm, as a share of the old price.",
    )
    retirement_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=14, description="Days before a model's retirement at which an alarm is raised."
    )
    keep_text_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=30, description="Days after which the texts of live pairs are erased. Scores stay."
    )
    sealed: SealedWatchSection | None = Field(
        default=None,
        description="Ask the candidates of routes whose incumbent has ended about samples of the sealed "
        "baseline. By default nothing is asked, and nothing measures these claims.",
    )
    conform: ConformWatchSection | None = Field(
        default=None,
        description="Ask the models behind certificates each day whether they are still what `crossgrade "
        "conform` saw. By default nothing is asked, and only the versions of live answers are compared.",
    )
    renew: RenewSection = Field(
        default=RenewSection(), description="Rules for new offers: what is proposed, and what is applied."
    )
