"""The section `team` of crossgrade.yaml: what licences and hosts are compared with, and contracts."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from crossgrade.config._section import Name, Rate, Section, Text
from crossgrade.domain import ClauseCode

_COUNTRIES = (  # ISO 3166-1, alpha-2
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS "
    "BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE "
    "EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM "
    "HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC "
    "LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA "
    "NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW "
    "SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO "
    "TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)
Country = Annotated[str, StringConstraints(pattern=rf"^(?:{_COUNTRIES.replace(' ', '|')})$")]


class PermissionSection(Section):
    """Why a clause does not stand in the way of a model. It is recorded with every verdict."""

    model: Name = Field(description="A name from `models`.")
    clause: ClauseCode = Field(description="Code of the clause, as the refusal names it.")
    because: Text = Field(description="Why you may use the model all the same, such as an agreement.")


class TeachingRightSection(Section):
    """Whether you may train models on the answers of a model. It is recorded with what is trained."""

    model: Name = Field(description="A name from `models`.")
    status: Literal["permitted", "forbidden"] = Field(description="Whether you may.")
    source: Text = Field(description="Where that is written, such as a clause of your contract.")
    stated_on: date = Field(description="Day on which you stated it, YYYY-MM-DD.")


class ContractSection(Section):
    """What you have agreed with a provider. Every price and every saving respects it."""

    provider: Text = Field(description="A provider, as models name it.")
    discount: Annotated[Decimal, Field(ge=0, lt=1)] = Field(
        default=Decimal(0),
        description="Share taken off the provider's list prices. Prices of your own are left as they are.",
    )
    minimum_usd_per_month: Rate = Field(
        default=Decimal(0), description="Dollars a month that you owe whether you use them or not."
    )
    spend_usd_per_month: Rate | None = Field(
        default=None,
        description="What you pay the provider for everything today. Without it, only the traffic at hand "
        "counts towards the minimum.",
    )
    until: date | None = Field(default=None, description="Last day of the contract, YYYY-MM-DD.")


class TeamSection(Section):
    """Facts of your company that licences and hosts ask for. What is not stated is not known."""

    country: Country | None = Field(
        default=None, description="Country of your principal place of business, as two letters (ISO 3166)."
    )
    monthly_active_users: Annotated[int, Field(ge=0, le=10**11)] | None = Field(
        default=None, description="Monthly active users of all your products."
    )
    monthly_revenue_usd: Rate | None = Field(
        default=None, description="Revenue a month of the whole company, in dollars."
    )
    regions: Annotated[list[Text], Field(max_length=64)] = Field(
        default=[], description="Regions in which hosts may process requests: `eu`. Empty allows all."
    )
    max_retention_days: Annotated[int, Field(ge=0, le=36_500)] | None = Field(
        default=None, description="Days for which a host may keep requests. Null sets no condition."
    )
    training_on_inputs: Literal["never", "allowed"] | None = Field(
        default=None, description="Whether a host may train models on requests. Null sets no condition."
    )
    permitted: Annotated[list[PermissionSection], Field(max_length=256)] = Field(
        default=[], description="Clauses that do not stand in the way of a model, with your reason."
    )
    contracts: Annotated[list[ContractSection], Field(max_length=64)] = Field(
        default=[], description="Your contracts with providers: discounts and minimums."
    )
    teachers: Annotated[list[TeachingRightSection], Field(max_length=64)] = Field(
        default=[], description="Models on whose answers you may train others, or may not."
    )
