"""From the sections `routes`, `serve` and `watch` to domain objects, and the rules across their keys."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

from crossgrade.config._problems import SectionResolver, shown
from crossgrade.config._schema import ConfigFile
from crossgrade.config._section import values
from crossgrade.config._serving_schema import (
    IssuerSection,
    LedgerSection,
    LimitSection,
    RouteSection,
    ServeSection,
    TierRuleSection,
    WatchSection,
)
from crossgrade.domain import (
    WINDOWS_S,
    ConformWatching,
    LedgerSpec,
    LedgerWitness,
    Limit,
    Offer,
    Renewal,
    RouteSpec,
    SealedWatching,
    Serving,
    Shadow,
    StoredResponses,
    TierRule,
    TokenIssuer,
    Watching,
    Workload,
)
from crossgrade.errors import hint_among


@dataclass(slots=True)
class ServingResolver(SectionResolver):
    """Resolves the sections on serving against the models and workloads, adding to `problems`."""

    offers: Mapping[str, Offer]
    workloads: Mapping[str, Workload]
    heads: Mapping[str, str]

    def routes(self, file: ConfigFile) -> dict[str, RouteSpec]:
        """Return the routes by name; without the section each workload is a route of its own name."""
        for workload in self.workloads.values():
            for variant in (workload.incumbent, *workload.candidates):
                self._check_replicas(variant.name, workload)
        if file.routes is None:
            return {
                name: RouteSpec(
                    name=name,
                    workload=name,
                    incumbent=workload.incumbent.name,
                    regions=workload.requirements.regions,
                )
                for name, workload in self.workloads.items()
            }
        asked_as: dict[str, str] = dict.fromkeys(file.routes, "the name of a route")
        built = {}
        for name, section in file.routes.items():
            self._check_models(f"routes.{name}.models", section, asked_as)
            route = self._route(name, section, file)
            if route is not None:
                built[name] = route
        return built

    def serving(self, section: ServeSection, routes: Mapping[str, RouteSpec]) -> Serving:
        """Return how to serve."""
        fields = values(section)
        fields["limits"] = tuple(self._limits(section, routes))
        fields["issuers"] = tuple(self._issuers(section))
        if section.stored_responses is not None:
            fields["stored_responses"] = StoredResponses(**values(section.stored_responses))
        if section.open_on_loopback and not is_loopback(section.host):
            message = f"`open_on_loopback` serves without keys, and {shown(section.host)} is not this machine"
            hint = "remove it and make keys with `crossgrade keys create`, or set `host: 127.0.0.1`"
            self._refuse("serve.open_on_loopback", message, hint, code="open-beyond-loopback")
        if section.port == section.admin_port:
            self._refuse(
                "serve.admin_port",
                f"{section.port} is the gateway's port",
                "give it another port",
                code="port-taken",
            )
        if section.health_port in (section.port, section.admin_port):
            self._refuse(
                "serve.health_port",
                f"{section.health_port} is another port of the gateway",
                "give it another port",
                code="port-taken",
            )
        if section.body_parse_bytes > section.body_max_bytes:
            message = "`body_parse_bytes` is above `body_max_bytes`"
            self._refuse(
                "serve.body_parse_bytes",
                message,
                "lower it, or raise `body_max_bytes`",
                code="body-limits-conflict",
            )
        return Serving(**fields)

    def watching(self, section: WatchSection) -> Watching:
        """Return how to watch."""
        url = section.webhook_url
        if url is not None:
            if not _is_protected(url):
                message = "`webhook_url` must use https beyond this machine"
                self._refuse("watch.webhook_url", message, "write it with https://", code="webhook-not-https")
            if section.webhook_secret_env is None:
                message = "`webhook_secret_env` is missing: an unsigned alarm cannot be trusted"
                self._refuse(
                    "watch.webhook_url",
                    message,
                    "name the variable that holds a secret of yours",
                    code="webhook-unsigned",
                )
        sealed = None if section.sealed is None else SealedWatching(**values(section.sealed))
        conform = None if section.conform is None else ConformWatching(**values(section.conform))
        renew = Renewal(**values(section.renew))
        return Watching(**{**values(section), "sealed": sealed, "conform": conform, "renew": renew})

    def ledger(self, section: LedgerSection) -> LedgerSpec:
        """Return who cosigns the ledger, and what it keeps. The project checks their keys."""
        seen = set()
        for index, each in enumerate(section.witnesses):
            where = f"ledger.witnesses.{index}"
            if not _is_protected(each.url):
                message = "the witness's `url` must use https beyond this machine"
                self._refuse(f"{where}.url", message, "write it with https://", code="witness-not-https")
            if each.key in seen:
                message = "a witness with this key stands there already, and counts once"
                self._refuse(f"{where}.key", message, "keep one of the two", code="witness-repeated")
            seen.add(each.key)
        witnesses = tuple(LedgerWitness(**values(each)) for each in section.witnesses)
        return LedgerSpec(**{**values(section), "witnesses": witnesses})

    def _offer_exists(self, where: str, name: str) -> bool:
        if name in self.heads:
            head = self.heads[name]
            message = f"{shown(name)} is a replica of `{head}`, whose requests it shares"
            self._refuse(where, message, f"name `{head}`", code="replica-named")
        if name in self.offers:
            return True
        self._refuse(
            where,
            f"no model {shown(name)} under `models`",
            hint_among(name, self.offers),
            code="model-undefined",
        )
        return False

    def _check_models(self, where: str, section: RouteSection, asked_as: dict[str, str]) -> None:
        for index, model in enumerate(section.models):
            if model in asked_as:
                message = (
                    f"{shown(model)} is already {asked_as[model]}, so requests for it would be ambiguous"
                )
                self._refuse(f"{where}.{index}", message, "keep it in one place", code="model-ambiguous")
            asked_as.setdefault(model, f"a model of {where.removesuffix('.models')}")

    def _route(self, name: str, section: RouteSection, file: ConfigFile) -> RouteSpec | None:
        where = f"routes.{name}"
        incumbent = self._incumbent(where, section, file)
        workload = self.workloads.get(section.workload or "")
        known = [
            self._offer_exists(f"{where}.fallbacks.{i}", each) for i, each in enumerate(section.fallbacks)
        ]
        if section.successor is not None:
            known.append(self._offer_exists(f"{where}.successor", section.successor))
        self._check_steps(f"{where}.canary_steps", section.canary_steps)
        if incumbent is None or not all(known):
            return None
        self._check_successor(f"{where}.successor", section.successor, incumbent, workload)
        self._check_fallbacks(where, section, incumbent, workload)
        self._check_body_bytes(where, section, incumbent, workload)
        self._check_shadow(f"{where}.shadow", section, workload)
        self._check_growth(f"{where}.grow", section, workload)
        regions = () if workload is None else workload.requirements.regions
        shadow = None
        if section.shadow is not None:
            shadow = Shadow(**values(section.shadow), regions=regions)
        fields = values(section) | {"incumbent": incumbent, "shadow": shadow, "regions": regions}
        return RouteSpec(name=name, **fields)

    def _incumbent(self, where: str, section: RouteSection, file: ConfigFile) -> str | None:
        """Return the model that answers by default, None if unknown."""
        given = section.incumbent
        if section.workload is None:
            if given is None:
                hint = "name the model that answers, or the `workload` whose incumbent does"
                self._refuse(where, "`incumbent` is missing", hint, code="incumbent-missing")
                return None
            return given if self._offer_exists(f"{where}.incumbent", given) else None
        workload = file.workloads.get(section.workload)
        if workload is None:
            message = f"no workload {shown(section.workload)} under `workloads`"
            self._refuse(
                f"{where}.workload",
                message,
                hint_among(section.workload, file.workloads),
                code="workload-undefined",
            )
            return None
        wanted = workload.incumbent.model
        if given not in (None, wanted):
            message = f"{shown(given)} is not the incumbent of workload {section.workload}, which is {wanted}"
            self._refuse(
                f"{where}.incumbent",
                message,
                "remove `incumbent`, or name another workload",
                code="incumbent-differs",
            )
            return None
        return wanted if wanted in self.offers else None

    def _check_steps(self, where: str, steps: list[float]) -> None:
        if any(later <= earlier for earlier, later in pairwise(steps)):
            self._refuse(
                where, "`canary_steps` do not rise", "for instance `[0.05, 0.25, 1]`", code="canary-steps"
            )
        elif steps[-1] != 1:
            message = "`canary_steps` end below 1, so no promotion would finish the canary"
            self._refuse(where, message, "end them with 1", code="canary-steps")

    def _check_fallbacks(
        self, where: str, section: RouteSection, incumbent: str, workload: Workload | None
    ) -> None:
        for index, name in enumerate(section.fallbacks):
            place = f"{where}.fallbacks.{index}"
            if name == incumbent or name in section.fallbacks[:index]:
                why = "the incumbent, which is always the last" if name == incumbent else "there already"
                self._refuse(place, f"{shown(name)} is {why}", "remove it", code="fallback-needless")
            elif workload is not None:
                self._check_region(place, name, workload, "a fallback sends requests there")
                self._check_replicas(name, workload)

    def _check_successor(
        self, where: str, name: str | None, incumbent: str, workload: Workload | None
    ) -> None:
        if name == incumbent:
            message = f"{shown(name)} is the incumbent, in whose place another model is to answer"
            self._refuse(where, message, "name another model", code="successor-is-incumbent")
        elif name is not None and workload is not None:
            self._check_region(where, name, workload, "the successor gets all its requests one day")
            self._check_replicas(name, workload)

    def _check_body_bytes(
        self, where: str, section: RouteSection, incumbent: str, workload: Workload | None
    ) -> None:
        candidates = [] if workload is None else [candidate.name for candidate in workload.candidates]
        successor = () if section.successor is None else (section.successor,)
        reached = {incumbent, *section.fallbacks, *successor, *candidates}
        for name in section.max_body_bytes:
            if name not in reached:
                message = f"{shown(name)} is never asked by this route"
                self._refuse(
                    f"{where}.max_body_bytes.{name}",
                    message,
                    hint_among(name, reached),
                    code="model-never-asked",
                )

    def _check_shadow(self, where: str, section: RouteSection, workload: Workload | None) -> None:
        if section.shadow is None:
            return
        if section.workload is None:
            message = "`shadow` without a workload: nothing would score the pairs"
            self._refuse(
                where,
                message,
                "name the route's `workload`, or remove `shadow`",
                code="shadow-without-workload",
            )
        for index, tier in enumerate(section.shadow.tiers):
            if section.tiers and tier not in section.tiers:
                message = f"tier {shown(tier)} may not use the route, so none of its requests can be copied"
                self._refuse(
                    f"{where}.tiers.{index}", message, hint_among(tier, section.tiers), code="shadow-tier"
                )
        for candidate in () if workload is None else workload.candidates:
            self._check_region(where, candidate.name, workload, "shadowing sends requests there")

    def _check_growth(self, where: str, section: RouteSection, workload: Workload | None) -> None:
        """Refuse growth from audits that do not represent the traffic, or cannot be scored."""
        if not section.grow:
            return
        shadow, problem = section.shadow, None
        if workload is not None and not workload.router:
            message = (
                f"`grow` without a router: workload {workload.name} certifies no threshold that could fall"
            )
            self._refuse(
                where, message, f"set `workloads.{workload.name}.router`", code="growth-without-router"
            )
        if shadow is None:
            problem = "without `shadow`: nothing would be audited"
        elif shadow.tiers:
            problem = "beside `shadow.tiers`: the requests of other tiers would never be audited"
        elif not shadow.store_text:
            problem = "beside `shadow.store_text: false`: no audit could be scored"
        if problem is not None:
            hint = "audit all requests at `shadow.rate`, with their texts, or remove `grow`"
            self._refuse(where, f"`grow` {problem}", hint, code="growth-unaudited")

    def _check_replicas(self, name: str, workload: Workload) -> None:
        for index, replica in enumerate(self.offers[name].replicas):
            if replica in self.offers:
                where = f"models.{name}.replicas.{index}"
                self._check_region(where, replica, workload, "a replica gets a share of its requests")

    def _check_region(self, where: str, name: str, workload: Workload | None, why: str) -> None:
        """Refuse an offer that would process the workload's requests in a region that is not allowed."""
        allowed = () if workload is None else workload.requirements.regions
        region = self.offers[name].region
        if workload is None or not allowed or region in allowed:
            return
        seen = "has no `region`" if region is None else f"is in region {region}"
        message = f"{shown(name)} {seen}, workload {workload.name} allows {', '.join(allowed)}, and {why}"
        self._refuse(
            where,
            message,
            f"set `models.{name}.region` if it is allowed, or remove it here",
            code="region-forbidden",
        )

    def _limits(self, section: ServeSection, routes: Mapping[str, RouteSpec]) -> Iterator[Limit]:
        seen = set()
        for index, each in enumerate(section.limits):
            where = f"serve.limits.{index}"
            self._check_limit(where, each, routes)
            window_s = 0 if each.per is None else WINDOWS_S[each.per]
            limit = Limit(scope=each.scope, unit=each.unit, cap=each.cap, window_s=window_s, match=each.match)
            kind = (limit.scope, limit.match, limit.unit, limit.window_s)
            if kind in seen:
                self._refuse(
                    where, "the same limit stands there already", "keep one of the two", code="limit-repeated"
                )
            seen.add(kind)
            yield limit

    def _check_limit(self, where: str, limit: LimitSection, routes: Mapping[str, RouteSpec]) -> None:
        if limit.unit == "parallel" and limit.per is not None:
            self._refuse(
                f"{where}.per", "requests in flight have no window", "remove `per`", code="limit-window"
            )
        if limit.unit != "parallel" and limit.per is None:
            hint = "add the window's length, for instance `per: day`"
            self._refuse(where, "`per` is missing", hint, code="limit-window")
        if limit.scope == "route" and limit.match not in ("*", *routes):
            message = f"no route {shown(limit.match)} under `routes`"
            self._refuse(f"{where}.match", message, hint_among(limit.match, routes), code="route-undefined")

    def _issuers(self, section: ServeSection) -> Iterator[TokenIssuer]:
        seen = set()
        for index, each in enumerate(section.issuers):
            where = f"serve.issuers.{index}"
            self._check_issuer(where, each)
            if each.issuer in seen:
                self._refuse(
                    f"{where}.issuer",
                    "this issuer stands there already",
                    "keep one of the two",
                    code="issuer-repeated",
                )
            seen.add(each.issuer)
            rules = tuple(
                self._rule(f"{where}.rules.{number}", rule) for number, rule in enumerate(each.rules)
            )
            yield TokenIssuer(**(values(each) | {"rules": rules}))

    def _check_issuer(self, where: str, section: IssuerSection) -> None:
        if not _is_protected(section.issuer):
            message = "`issuer` must use https: its keys decide which tokens are valid"
            self._refuse(f"{where}.issuer", message, "write it with https://", code="issuer-not-https")
        if urlsplit(section.issuer).query or urlsplit(section.issuer).fragment:
            message = "`issuer` has a query or fragment, which issuers do not have"
            self._refuse(
                f"{where}.issuer", message, "write it exactly as in the tokens' `iss`", code="issuer-invalid"
            )

    def _rule(self, where: str, rule: TierRuleSection) -> TierRule:
        if isinstance(rule.value, list) != (rule.operator == "in"):
            wanted = "a list" if rule.operator == "in" else "one text"
            self._refuse(
                f"{where}.value", f"`{rule.operator}` compares with {wanted}", None, code="rule-value"
            )
        return TierRule(**values(rule))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_protected(url: str) -> bool:
    """Return whether requests to a URL are encrypted or stay on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")
