"""The sections `routes`, `serve` and `watch` of crossgrade.yaml."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from crossgrade.config._section import Name, Section, Text, Url, Variable
from crossgrade.domain import LimitScope, LimitUnit, StickyUnit

ModelName = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
Share = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Algorithm = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
Per = Literal["second", "minute", "hour", "day", "week", "month"]


class ShadowSection(Section):
    """A sample of requests that the other model is asked too; its provider gets customers' data."""

    rate: Share = Field(description="Share of the requests, above 0 to 1.")
    max_parallel: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=4, description="Most copies in flight; what comes on top is dropped and counted."
    )
    max_usd_per_day: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None, description="Most dollars a day that copies may cost; null is no bound."
    )
    store_text: bool = Field(
        default=True, description="Keep redacted requests and answers, which scoring them needs."
    )
    tiers: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[], description="Tiers whose requests may be copied; empty is all that may use the route."
    )


class RouteSection(Section):
    """A named stream of requests; the route table says which model answers it now."""

    workload: Name | None = Field(
        default=None, description="The workload whose verdicts decide who answers; null always keeps."
    )
    incumbent: Name | None = Field(
        default=None,
        description="Who answers while no verdict was applied; left out, the workload's incumbent.",
    )
    models: Annotated[list[ModelName], Field(max_length=64)] = Field(
        default=[], description="Names in `model` by which clients ask for the route, besides its own."
    )
    fallbacks: Annotated[list[Name], Field(max_length=16)] = Field(
        default=[],
        description="Names from `models`, tried in order when the picked one fails before its first byte; "
        "the incumbent is always the last.",
    )
    sticky: StickyUnit = Field(
        default="conversation", description="What never changes model in the middle of a canary."
    )
    tiers: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[], description="Tiers that may use the route; empty is all."
    )
    teams: Annotated[list[Name], Field(max_length=256)] = Field(
        default=[], description="Teams that may use the route; empty is all."
    )
    canary_steps: Annotated[list[Share], Field(min_length=1, max_length=32)] = Field(
        default=[0.05, 0.25, 1.0], description="Rising shares of `crossgrade route promote`; the last is 1."
    )
    max_body_bytes: dict[Name, Annotated[int, Field(ge=1)]] = Field(
        default={},
        description="By name from `models`: it is not asked with bodies of more bytes.",
    )
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        default=3, description="Most calls for one request, over all models."
    )
    shadow: ShadowSection | None = Field(
        default=None, description="Ask the other model too, on a sample; left out, it is never asked."
    )
    outcome: Name | None = Field(
        default=None,
        description="Name under which `POST /v1/feedback` reports how an answer of this route turned out.",
    )


class LimitSection(Section):
    """A budget or a rate, for one key, team or route or for each of them by itself."""

    scope: LimitScope = Field(description="Whose requests are counted.")
    match: Text = Field(default="*", description="One key's id, team or route; `*` is each by itself.")
    unit: LimitUnit = Field(description="What is counted; `parallel` is requests in flight.")
    cap: Annotated[float, Field(gt=0, le=1e15)] = Field(description="Most of it in one window.")
    per: Per | None = Field(
        default=None,
        description="Length of the window; windows follow one another since 1970-01-01 UTC, and a month is "
        "30 days.",
    )


class TierRuleSection(Section):
    """Which token gives which tier."""

    claim: Annotated[str, StringConstraints(pattern=r"^\S{1,200}$")] = Field(
        description="Dotted path to the claim, for instance `realm_access.roles`."
    )
    operator: Literal["equals", "in", "contains"] = Field(
        description="`equals`: the claim is `value`; `in`: it is one of the list `value`; `contains`: the "
        "claim is a list that has `value`."
    )
    value: Text | Annotated[list[Text], Field(min_length=1, max_length=256)] = Field(
        description="What the claim is compared with: one text, or for `in` a list of texts."
    )
    tier: Name = Field(description="The tier that the bearer gets.")
    team_claim: Text | None = Field(default=None, description="Dotted path to the claim that names the team.")


class IssuerSection(Section):
    """An OpenID provider whose access tokens are accepted beside keys."""

    issuer: Url = Field(description="Its issuer URL, exactly as in the tokens' `iss`.")
    audience: Text = Field(description="What tokens for this gateway have in `aud`.")
    rules: Annotated[list[TierRuleSection], Field(min_length=1, max_length=256)] = Field(
        description="Who gets which tier: the first rule that matches; no match, no service."
    )
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = Field(
        default=["ES256", "RS256", "EdDSA"], description="Signature algorithms that are accepted."
    )
    types: Annotated[list[Literal["at+jwt", "JWT"]], Field(min_length=1)] = Field(
        default=["at+jwt"],
        description="What `typ` in a token's header may be; `JWT` is for issuers that ignore RFC 9068.",
    )
    max_lifetime_s: Annotated[int, Field(ge=60, le=31_536_000)] = Field(
        default=86_400, description="Tokens that live longer, in seconds, are refused."
    )


class ServeSection(Section):
    """Where the gateway listens, what it refuses, whom it lets in; no key, no service."""

    host: Text = Field(default="127.0.0.1", description="Address to listen on; `0.0.0.0` is all.")
    port: Port = Field(default=4000, description="Port of the gateway.")
    admin_port: Port = Field(default=4001, description="Port of the admin API, on loopback only.")
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default=1, description="Processes that serve; one a core."
    )
    open_on_loopback: bool = Field(
        default=False, description="Serve without keys, to this machine only; for trying things out."
    )
    limits: Annotated[list[LimitSection], Field(max_length=1_000)] = Field(
        default=[], description="Budgets and rates; keys may have their own besides."
    )
    issuers: Annotated[list[IssuerSection], Field(max_length=16)] = Field(
        default=[], description="OpenID providers whose access tokens are accepted."
    )
    body_parse_bytes: Annotated[int, Field(ge=1_024, le=1 << 26)] = Field(
        default=1 << 20, description="Largest body that is parsed; larger ones are routed on their head."
    )
    body_max_bytes: Annotated[int, Field(ge=1_024, le=1 << 34)] = Field(
        default=1 << 28, description="Largest body that is accepted."
    )
    head_max_bytes: Annotated[int, Field(ge=1_024, le=1 << 20)] = Field(
        default=32_768, description="Largest request head that is accepted."
    )
    head_max_count: Annotated[int, Field(ge=8, le=10_000)] = Field(
        default=100, description="Most header fields of a request."
    )
    head_timeout_s: Seconds = Field(default=10.0, description="Seconds for a whole request head to arrive.")
    body_timeout_s: Seconds = Field(
        default=60.0,
        description="Seconds for a body to arrive; of one that is not parsed, for each 256 KiB.",
    )
    idle_timeout_s: Seconds = Field(
        default=75.0, description="Seconds that a connection without a request stays open."
    )
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=2_000, description="Most client connections of a worker."
    )
    log_prompts: bool = Field(default=False, description="Write prompts into the request log.")


class WatchSection(Section):
    """How live pairs are looked at, who labels some, and who is told of alarms."""

    interval_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        default=60.0, description="Seconds between two looks."
    )
    webhook_url: Url | None = Field(default=None, description="Address that alarms are posted to.")
    webhook_secret_env: Variable | None = Field(
        default=None, description="Name of the environment variable with the secret that signs them."
    )
    label_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.05, description="Share of live pairs put before people, who correct a judge."
    )
    max_usd_per_day: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None, description="Most dollars a day that judges of live pairs may cost; null is no bound."
    )
    price_rise: Annotated[float, Field(ge=0, le=100)] = Field(
        default=0.1, description="Rise of the candidate's price that is an alarm, as a share of the old one."
    )
    retirement_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=14, description="Days before a model's retirement at which it is an alarm."
    )
    keep_text_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=30, description="Days after which the texts of live pairs are erased; scores stay."
    )
