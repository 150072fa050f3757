"""Exports routes as a `config.yaml` of the LiteLLM proxy: deployments, weights, tags, fallbacks."""

from collections.abc import Iterator, Sequence
from typing import Any

from crossgrade.domain import Offer
from crossgrade.routing.export._plan import Exported, RoutePlan, host_of, to_yaml, unsaid


def to_litellm(plans: Sequence[RoutePlan]) -> Exported:
    """Return `config.yaml`: canaries by weight, segments by tag, fallbacks by name."""
    notes: list[str] = []
    models = [deployment for plan in plans for deployment in _deployments(plan)]
    fallbacks = []
    names = {name for plan in plans for name in plan.names}
    by_name = {offer.name: (plan, offer) for plan in plans if len(plan.offers) > 1 for offer in plan.offers}
    for plan in plans:
        notes += unsaid(plan, "LiteLLM")
        if plan.segments:
            notes.append(
                f"{plan.spec.name}: clients must send the {plan.fact} as a tag, for instance "
                f"`x-litellm-tags: {_tag(plan, plan.segments[0])}`; untagged requests go to the incumbent"
            )
        others = _fallbacks(plan, names)
        fallbacks += [{name: others} for name in plan.names if others]
    tags: dict[str, Any] = {"tags": ["default"]} if any(plan.segments for plan in plans) else {}
    for name, (plan, offer) in by_name.items():
        models += _spread(plan, name, offer, **tags) if name not in names else ()
    router: dict[str, Any] = {"routing_strategy": "simple-shuffle"}
    if any(plan.segments for plan in plans):
        router["enable_tag_filtering"] = True
    router["num_retries"] = max((plan.spec.attempts - 1 for plan in plans), default=2)
    if fallbacks:
        router["fallbacks"] = fallbacks
    return Exported(text=to_yaml({"model_list": models, "router_settings": router}), notes=tuple(notes))


def _deployments(plan: RoutePlan) -> Iterator[dict[str, Any]]:
    """Yield a route's deployments under each of its names."""
    moved = [_tag(plan, label) for label in plan.segments]
    for name in plan.names:
        if plan.candidate is None:
            yield from _spread(plan, name, plan.incumbent)
            continue
        more: dict[str, Any] = {"tags": moved} if moved else {}
        if plan.share == 1:
            yield from _spread(plan, name, plan.candidate, **more)
        else:
            yield from _spread(plan, name, plan.candidate, plan.share, **more)
            yield from _spread(plan, name, plan.incumbent, 1 - plan.share, **more)
        if moved:
            yield from _spread(plan, name, plan.incumbent, tags=["default"])


def _spread(
    plan: RoutePlan, name: str, offer: Offer, share: float = 1.0, **more: Any
) -> Iterator[dict[str, Any]]:
    """Yield the deployments of an offer and its replicas, with weights if there are several."""
    parts = plan.parts(offer)
    for each, part in parts:
        weight = {} if share == 1 and len(parts) == 1 else {"weight": round(1000 * share * part)}
        yield _deployment(name, each, **weight, **more)


def _deployment(name: str, offer: Offer, **more: Any) -> dict[str, Any]:
    host = host_of(offer)
    prefix = host.litellm[0] if host.litellm else "openai"
    # LiteLLM has the addresses of hosts with a prefix, except for a team's own servers.
    base = offer.base_url or (host.base_url if host.key_optional or not host.litellm else None)
    key = offer.api_key_env
    params: dict[str, Any] = {"model": f"{prefix}/{offer.model}"}
    if base is not None:
        params["api_base"] = base
    if offer.provider == "azure" and base is None:
        params["api_base"] = "os.environ/AZURE_OPENAI_ENDPOINT"
    params["api_key"] = f"os.environ/{key}" if key else "none"
    return {"model_name": name, "litellm_params": {**params, "timeout": offer.timeout_s, **more}}


def _fallbacks(plan: RoutePlan, names: set[str]) -> list[str]:
    """Return the names to try when a route fails: its fallbacks, then its incumbent."""
    others = [offer.name for offer in plan.fallbacks]
    if plan.candidate is not None:
        others.append(plan.incumbent.name)
    return [name for name in others if name not in names]


def _tag(plan: RoutePlan, label: str) -> str:
    return f"{plan.fact}:{label}"
