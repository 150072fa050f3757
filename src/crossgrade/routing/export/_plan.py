"""What a route asks of any proxy: names, two offers, who gets which share; and what goes unsaid."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from crossgrade.dialects import HOSTS, Host, key_variable, key_variables
from crossgrade.domain import Offer, RouteSpec
from crossgrade.errors import AuthError, UsageError
from crossgrade.routing.table import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePlan:
    """A route as it is now: `candidate` None means that the incumbent answers everything.

    The candidate gets `share` of the requests, of those whose `fact` is one of `segments` where
    there are any. `fallbacks` are tried in order, the incumbent last. `max_bytes` is the length limit of a
    policy that no proxy can carry out, and which therefore moves nothing here. `replicas` are those of each
    offer that has some.
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
    replicas: Mapping[str, tuple[Offer, ...]] = field(default_factory=dict)

    def parts(self, offer: Offer) -> list[tuple[Offer, float]]:
        """Return an offer and its replicas, each with its part of the offer's requests."""
        every = (offer, *self.replicas.get(offer.name, ()))
        whole = sum(each.weight for each in every)
        return [(each, each.weight / whole if whole else 1 / len(every)) for each in every]

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which clients ask for the route."""
        return (self.spec.name, *self.spec.models)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Every offer that the route may ask, once."""
        every = (self.incumbent, *([self.candidate] if self.candidate else []), *self.fallbacks)
        return tuple({offer.name: offer for offer in every}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A configuration file's text, and in sentences what the proxy does not carry or needs besides."""

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
    """Return what the route does at `now`; what expired, or leaves the regions, moves nothing.

    Offers name the variable of their key, chosen as the gateway chooses it in this environment.
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
    if policy.max_bytes is not None:
        return replace(kept, max_bytes=policy.max_bytes)
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
    """Return the offer's row of the table of hosts; a local file is served by Crossgrade alone."""
    if offer.provider == "local":
        raise UsageError(
            f"model {offer.name!r} is a local file, which only `crossgrade serve` starts",
            code="export-local-model",
            hint="serve it with vLLM, llama.cpp or Ollama, and give that server as `provider` and `base_url`",
        )
    return HOSTS[offer.provider]


def _with_keys(offers: Mapping[str, Offer], environ: Mapping[str, str]) -> dict[str, Offer]:
    """Return the offers with the variable of each one's key: the one that holds it, else the first."""
    found = {}
    for name, offer in offers.items():
        try:
            variable = key_variable(offer, environ)
        except AuthError:
            variable = key_variables(offer)[0]
        found[name] = replace(offer, api_key_env=variable)
    return found


def unsaid(plan: RoutePlan, proxy: str) -> Iterator[str]:
    """Say what none of the proxies carries; each adds its own."""
    name, spec = plan.spec.name, plan.spec
    if plan.max_bytes is not None:
        yield (
            f"{name}: its certificate holds up to {plan.max_bytes:,} bytes a request, and {proxy} does not "
            "route by length: the incumbent answers everything"
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
