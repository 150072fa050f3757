"""From the section `access` to access rules. Rules that mix up issuers or can never match are refused."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from crossgrade.config._access_schema import AccessRuleSection, AccessSection
from crossgrade.config._problems import SectionResolver, shown
from crossgrade.config._section import values
from crossgrade.domain import (
    KEYS,
    AccessRule,
    Offer,
    RequiredLogin,
    RouteSpec,
    Serving,
    TokenIssuer,
    Workload,
)
from crossgrade.errors import hint_among, nearest


@dataclass(slots=True)
class AccessResolver(SectionResolver):
    """Resolves access rules against models, workloads, routes and issuers, adding to `problems`."""

    offers: Mapping[str, Offer]
    workloads: Mapping[str, Workload]
    heads: Mapping[str, str]
    routes: Mapping[str, RouteSpec]
    serving: Serving

    def rules(self, section: AccessSection) -> tuple[AccessRule, ...]:
        """Return the rules in their order. Those with tiers or teams name who may give them."""
        seen: set[str] = set()
        built = []
        for index, each in enumerate(section.rules):
            where = f"access.rules.{index}"
            if each.name in seen:
                message = f"a rule {shown(each.name)} stands there already"
                self._refuse(f"{where}.name", message, "give each rule its own name", code="rule-repeated")
            seen.add(each.name)
            built.append(self._rule(where, each))
        return tuple(built)

    def _rule(self, where: str, section: AccessRuleSection) -> AccessRule:
        fields = values(section)
        if section.login is not None:
            fields["login"] = RequiredLogin(**values(section.login))
            if not section.login.acr and section.login.max_age_s is None:
                hint = "set `acr` or `max_age_s`, or remove `login`"
                self._refuse(f"{where}.login", "`login` requires nothing", hint, code="login-empty")
        if not section.allow and (section.login is not None or section.evidence != "none"):
            hint = "remove them, or `allow: false`"
            message = "`login` and `evidence` are conditions of a rule that allows, and this one denies"
            self._refuse(f"{where}.allow", message, hint, code="rule-condition-unused")
        before = len(self.problems)
        self._check_names(where, section)
        fields["issuers"] = self._issuers(where, section)
        rule = AccessRule(**fields)
        if len(self.problems) == before:
            self._check_routes(where, rule)
            self._check_callers(where, rule)
        return rule

    def _check_names(self, where: str, section: AccessRuleSection) -> None:
        """Refuse names that are not configured."""
        issuers = [KEYS, *(each.issuer for each in self.serving.issuers)]
        for place, name, hint in _missing(f"{where}.issuers", section.issuers, issuers):
            self._refuse(place, f"no issuer {name} under `serve.issuers`", hint, code="issuer-undefined")
        for place, name, hint in _missing(f"{where}.routes", section.routes, self.routes):
            self._refuse(place, f"no route {name} under `routes`", hint, code="route-undefined")
        for place, name, hint in _missing(f"{where}.workloads", section.workloads, self.workloads):
            self._refuse(place, f"no workload {name} under `workloads`", hint, code="workload-undefined")
        for place, name, hint in _missing(f"{where}.models", section.models, self.offers):
            self._refuse(place, f"no model {name} under `models`", hint, code="model-undefined")
        for index, name in enumerate(section.models):
            if name in self.heads:
                head = self.heads[name]
                self._refuse(
                    f"{where}.models.{index}",
                    f"{shown(name)} is a replica of `{head}`, and has the same rules",
                    f"name `{head}`",
                    code="replica-named",
                )

    def _issuers(self, where: str, section: AccessRuleSection) -> tuple[str, ...]:
        """Return who may vouch for a caller, so that equal tiers or teams of two issuers never mix.

        A rule that denies and names no issuer is for the callers of all.
        """
        if section.issuers or not section.allow or not (section.tiers or section.teams):
            return tuple(section.issuers)
        able = [each for each in self.serving.issuers if _gives(each, section)]
        if len(able) > 1:
            what = "tiers" if section.tiers else "teams"
            message = f"several issuers give the rule's {what}: {', '.join(each.issuer for each in able)}"
            hint = "name in `issuers` whose callers the rule is for"
            self._refuse(f"{where}.{what}", message, hint, code="rule-issuer-missing")
        return (*(each.issuer for each in able), KEYS)

    def _check_routes(self, where: str, rule: AccessRule) -> None:
        """Refuse a rule that no request on any route can meet."""
        named = [self.routes[name] for name in rule.routes] or list(self.routes.values())
        gated = [each for each in named if each.gated and rule.reaches(each.name, each.workload)]
        key = "routes" if rule.routes else "workloads" if rule.workloads else "name"
        if not gated:
            self._refuse(
                f"{where}.{key}",
                "no gated route is among the rule's routes and workloads, so it is never asked",
                "set `gated: true` on a route that it is for",
                code="rule-never-matches",
            )
        elif rule.evidence != "none" and all(each.workload is None for each in gated):
            self._refuse(
                f"{where}.evidence",
                f"the rule's routes have no workload, so no {rule.evidence} can be about a model there",
                "name the route's `workload`, or remove `evidence`",
                code="rule-never-matches",
            )

    def _check_callers(self, where: str, rule: AccessRule) -> None:
        """Refuse a rule that no caller can meet."""
        providers = [each for each in self.serving.issuers if each.issuer in rule.issuers]
        given = {tier.tier for each in providers for tier in each.rules}
        if rule.tiers and rule.issuers and KEYS not in rule.issuers and given.isdisjoint(rule.tiers):
            self._refuse(
                f"{where}.tiers",
                "the rule's issuers give none of these tiers",
                _meant(rule, given) or "add a rule that gives one to `serve.issuers`",
                code="rule-never-matches",
            )
        if rule.login is not None and not (providers if rule.issuers else self.serving.issuers):
            self._refuse(
                f"{where}.login",
                "no caller that the rule is for has a token, and a key has no login",
                _meant(rule, {tier.tier for each in self.serving.issuers for tier in each.rules})
                or "name an issuer of `serve.issuers` that gives the tier, or remove `login`",
                code="rule-never-matches",
            )


def _meant(rule: AccessRule, given: Collection[str]) -> str | None:
    """Return a hint that names the tier that a rule's was probably meant to be."""
    found = [each for tier in rule.tiers for each in nearest(tier, sorted(given))]
    return f"did you mean tier `{found[0]}`?" if found else None


def _gives(issuer: TokenIssuer, section: AccessRuleSection) -> bool:
    """Return whether an issuer's callers can have a tier of the rule, or any team if it names no tier."""
    if section.tiers:
        return any(rule.tier in section.tiers for rule in issuer.rules)
    return any(rule.team_claim is not None for rule in issuer.rules)


def _missing(
    where: str, given: Iterable[str], names: Collection[str]
) -> Iterator[tuple[str, str, str | None]]:
    """Yield the place of each name that is not among the known ones, the name, and a hint."""
    for index, name in enumerate(given):
        if name not in names:
            yield f"{where}.{index}", shown(name), hint_among(name, names)
