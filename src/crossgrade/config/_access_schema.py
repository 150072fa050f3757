"""The section `access` of crossgrade.yaml."""

from typing import Annotated

from pydantic import Field, StringConstraints

from crossgrade.config._section import Name, Section, Text
from crossgrade.domain import RuleEvidence

Acr = Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]{1,200}$")]
Voucher = Annotated[str, StringConstraints(pattern=r"^(?:https?://\S+|keys)$")]
Names = Annotated[list[Name], Field(max_length=256)]


class LoginSection(Section):
    """How a caller must have logged in. Keys have no login, so such a rule refuses them."""

    acr: Annotated[list[Acr], Field(max_length=16)] = Field(
        default=[], description="Accepted values of the token's `acr`. Empty accepts any login."
    )
    max_age_s: Annotated[int, Field(ge=1, le=31_536_000)] | None = Field(
        default=None,
        description="Maximum seconds since the login (`auth_time` in the token). Null accepts any age.",
    )


class AccessRuleSection(Section):
    """A rule for requests on gated routes. It matches a request that meets all of its selectors."""

    name: Name = Field(description="Name of the rule, which refusals and records mention.")
    programme: Name | None = Field(
        default=None,
        description="Match requests that select this programme with the header `x-crossgrade-programme`. "
        "Null matches requests that select none. The header never grants anything by itself.",
    )
    issuers: Annotated[list[Voucher], Field(max_length=17)] = Field(
        default=[],
        description="Match callers with a token of these issuers (`serve.issuers`), or with a key (`keys`). "
        "Required for `tiers` and `teams` that two issuers can give. Empty matches all.",
    )
    tiers: Names = Field(default=[], description="Match callers of these tiers. Empty matches all.")
    teams: Annotated[list[Text], Field(max_length=256)] = Field(
        default=[], description="Match callers of these teams. Empty matches all."
    )
    routes: Names = Field(default=[], description="Match requests on these gated routes. Empty matches all.")
    workloads: Names = Field(
        default=[], description="Match requests on gated routes of these workloads. Empty matches all."
    )
    models: Names = Field(
        default=[],
        description="Match these models, by name from `models`, replicas included. Empty matches all.",
    )
    evidence: RuleEvidence = Field(
        default="none",
        description="`verdict` requires that the model answers under a certificate of the route table that "
        "has not expired. `dossier` requires that the newest dossier of the route's workload covers the "
        "model and has not expired. `none` requires nothing.",
    )
    login: LoginSection | None = Field(
        default=None, description="The required login. A token that falls short is asked for a better one."
    )
    allow: bool = Field(default=True, description="Whether the rule allows what it matches, or denies it.")
    because: Annotated[str, StringConstraints(max_length=500)] = Field(
        default="", description="The reason, which refusals by the rule quote."
    )


class AccessSection(Section):
    """Who may use which model of a gated route."""

    rules: Annotated[list[AccessRuleSection], Field(max_length=500)] = Field(
        default=[],
        description="Rules in their order. The first that matches decides. What no rule matches is denied.",
    )
