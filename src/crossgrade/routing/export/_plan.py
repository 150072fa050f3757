"""Shared by all exporters: the plan of a route, notes on what no proxy supports, and a YAML writer."""

import io
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from crossgrade.dialects import HOSTS, Host, key_variable, key_variables
from crossgrade.domain import JSON, Offer, RouteSpec
from crossgrade.errors import AuthError, UsageError
from crossgrade.routing.table import Route

_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[A-Za-z_/][A-Za-z0-9_./-]*", re.IGNORECASE)
"""Texts that need no quotes in YAML 1.1, which many proxies read, and in YAML 1.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """The current state of a route. With the candidate None, the incumbent answers everything.

    The candidate gets `share` of the requests or, with `segments`, of those whose `fact` is one of the
    segments. `fallbacks` are tried in order, then the incumbent. `max_bytes` is the length limit of a
    policy, `plain_only` its limit to plain requests, `least_score` its router's threshold. No proxy
    supports any of these, so a policy with one has no candidate here. `replicas` are those of each offer,
    by the offer's name.
    """

    spec: RouteSpec
    incumbent: Offer
    candidate: Offer | None
    fallbacks: tuple[Offer, ...]
    segments: tuple[str, ...] = ()
    fact: str = "segment"
    share: float = 1.0
    valid_until: datetime | None = None
    max_bytes: int | None = None
    plain_only: bool = False
    least_score: float | None = None
    replicas: Mapping[str, tuple[Offer, ...]] = field(default_factory=dict)

    def parts(self, offer: Offer) -> list[tuple[Offer, float]]:
        """Return an offer and its replicas, each with its share (0 to 1) of the offer's requests."""
        every = (offer, *self.replicas.get(offer.name, ()))
        whole = sum(each.weight for each in every)
        return [(each, each.weight / whole if whole else 1 / len(every)) for each in every]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that clients may request the route by."""
        return (self.spec.name, *self.spec.models)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Every offer that the route may use, each once."""
        every = (self.incumbent, *([self.candidate] if self.candidate else []), *self.fallbacks)
        return tuple({offer.name: offer for offer in every}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A configuration file's text, and notes on what the proxy does not support or needs in addition."""

    text: str
    notes: tuple[str, ...]


def plan_route(
    spec: RouteSpec,
    route: Route | None,
    offers: Mapping[str, Offer],
    environ: Mapping[str, str],
    *,
    now: datetime,
) -> RoutePlan:
    """Return the plan of a route at `now`. A route that is expired or outside its regions has no candidate.

    Each offer names the environment variable of its key, chosen as by the gateway in this environment.
    """
    offers = _with_keys(offers, environ)
    kept = RoutePlan(
        spec=spec,
        incumbent=offers[spec.incumbent],
        candidate=None,
        fallbacks=tuple(offers[name] for name in spec.fallbacks),
        replicas={name: tuple(offers[each] for each in offer.replicas) for name, offer in offers.items()},
    )
    if route is None or route.policy.candidate is None or route.valid_until is None:
        return kept
    if route.share == 0 or route.valid_until <= now:
        return kept
    if route.outside(spec.regions, {name: offer.region for name, offer in offers.items()}) is not None:
        return kept
    policy = route.policy
    if policy.max_bytes is not None or policy.plain_only or policy.fact == "score":
        return replace(
            kept, max_bytes=policy.max_bytes, plain_only=policy.plain_only, least_score=policy.least_score
        )
    return replace(
        kept,
        incumbent=offers[route.targets[policy.incumbent]],
        candidate=offers[route.targets[route.policy.candidate]],
        segments=policy.segments,
        fact=policy.fact,
        share=route.share,
        valid_until=route.valid_until,
    )


def host_of(offer: Offer) -> Host:
    """Return the offer's row of the table of hosts. Raises `UsageError` for a local file."""
    if offer.provider == "local":
        raise UsageError(
            f"model {offer.name!r} is a local file, which only `crossgrade serve` starts",
            code="export-local-model",
            hint="serve it with vLLM, llama.cpp or Ollama, and give that server as `provider` and `base_url`",
        )
    return HOSTS[offer.provider]


def _with_keys(offers: Mapping[str, Offer], environ: Mapping[str, str]) -> dict[str, Offer]:
    """Return the offers, each with the variable of its key, or the first possible one if none is set."""
    found = {}
    for name, offer in offers.items():
        try:
            variable = key_variable(offer, environ)
        except AuthError:
            variable = key_variables(offer)[0]
        found[name] = replace(offer, api_key_env=variable)
    return found


def unsaid(plan: RoutePlan, proxy: str) -> Iterator[str]:
    """Yield notes on what no proxy supports. Each exporter adds its own."""
    name, spec = plan.spec.name, plan.spec
    if plan.max_bytes is not None:
        yield (
            f"{name}: its certificate holds up to {plan.max_bytes:,} bytes a request, and {proxy} does not "
            "route by length: the incumbent answers everything"
        )
    if plan.plain_only:
        yield (
            f"{name}: its certificate holds for requests of text without tools, and {proxy} does not route "
            "by that: the incumbent answers everything"
        )
    if plan.least_score is not None:
        yield (
            f"{name}: its certificate holds for requests that a router picks, and {proxy} does not have the "
            "router: the incumbent answers everything"
        )
    if plan.valid_until is not None:
        yield (
            f"{name}: {proxy} does not know that the certificate expires on {plan.valid_until:%Y-%m-%d}, nor "
            "steps back on an alarm: export again by then, and whenever `crossgrade watch` raises one"
        )
    if 0 < plan.share < 1 and spec.sticky != "none":
        yield (
            f"{name}: {proxy} picks for each request by itself, so a {spec.sticky} may change model in the "
            "middle of the canary"
        )
    if spec.shadow is not None:
        yield f"{name}: {proxy} makes no shadow pairs, so `crossgrade watch` has nothing to look at"
    if spec.tiers or spec.teams:
        yield f"{name}: who may use it (`tiers`, `teams`) is for {proxy}'s own keys to say"
    if spec.max_body_bytes:
        yield f"{name}: `max_body_bytes` is left out: {proxy} does not route by the length of a request"


class _Representer(SafeRepresenter):
    """Writes every value in full, and quotes texts so that readers of YAML 1.1 accept them too."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 -- ruamel's name
        """Return True: no value is written as a reference to another."""
        return True

    def represent_text(self, text: str) -> ScalarNode:
        """Quote a text that a reader could take for a number, a boolean or null."""
        style = None if _PLAIN.fullmatch(text) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(str, _Representer.represent_text)


def to_yaml(value: JSON) -> str:
    """Return plain data as a YAML document in block style, in the order given."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    yaml.width = sys.maxsize
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue()
