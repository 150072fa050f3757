"""Exports routes as resources of the Envoy AI Gateway: an AIGatewayRoute, and a backend for each offer."""

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from crossgrade.domain import Offer
from crossgrade.errors import UsageError
from crossgrade.routing.export._plan import Exported, RoutePlan, host_of, to_yaml, unsaid

GATEWAY = "crossgrade"
"""The name of the Gateway that the routes attach to, which an operator replaces by their own."""

_API = "aigateway.envoyproxy.io/v1alpha1"
_SCHEMAS = {"openai": "OpenAI", "anthropic": "Anthropic"}
_LABEL_HEADER = "x-crossgrade-"


def to_envoy(plans: Sequence[RoutePlan]) -> Exported:
    """Return the resources as one YAML stream. Keys are in Secrets that must exist.

    Raises `UsageError` for an offer that Envoy cannot reach.
    """
    offers = {each.name: each for plan in plans for offer in plan.offers for each, _ in plan.parts(offer)}
    documents = [_route(plan) for plan in plans]
    documents += [document for offer in offers.values() for document in _backend(offer)]
    notes = [note for plan in plans for note in _notes(plan)]
    notes += [
        f"Secret {_slug(offer.name)}-key must hold {offer.api_key_env} under `apiKey`"
        for offer in offers.values()
        if offer.api_key_env
    ]
    if any(len(plan.offers) > 1 for plan in plans):
        notes.append("a BackendTrafficPolicy with `retry` is needed for fallbacks by `priority` to be tried")
    notes.append(f"`parentRefs` names the Gateway {GATEWAY}: write your own gateway's name there")
    return Exported(text="---\n".join(map(to_yaml, documents)), notes=tuple(notes))


def _route(plan: RoutePlan) -> dict[str, Any]:
    rules = []
    if plan.candidate is not None:
        headers = [_matches(plan, label) for label in plan.segments or (None,)]
        rules.append({"matches": _flat(headers), "backendRefs": _refs(plan, plan.candidate)})
    if plan.candidate is None or plan.segments:
        rules.append({"matches": _matches(plan, None), "backendRefs": _refs(plan, None)})
    return {
        "apiVersion": _API,
        "kind": "AIGatewayRoute",
        "metadata": {"name": _slug(plan.spec.name)},
        "spec": {
            "parentRefs": [{"name": GATEWAY, "kind": "Gateway", "group": "gateway.networking.k8s.io"}],
            "rules": rules,
        },
    }


def _matches(plan: RoutePlan, label: str | None) -> list[dict[str, Any]]:
    """Return one match for each name of the route: the requested model, and the segment if `label` is one."""
    fact = [] if label is None else [_header(_LABEL_HEADER + plan.fact, label)]
    return [{"headers": [_header("x-ai-eg-model", name), *fact]} for name in plan.names]


def _header(name: str, value: str) -> dict[str, str]:
    return {"type": "Exact", "name": name, "value": value}


def _refs(plan: RoutePlan, candidate: Offer | None) -> list[dict[str, Any]]:
    """Return the offers that answer, with weights, then the fallbacks, with priorities."""
    weight = round(plan.share * 1000)
    first = [(plan.incumbent, 1000)] if candidate is None else [(candidate, weight)]
    if candidate is not None and weight < 1000:
        first.append((plan.incumbent, 1000 - weight))
    refs = [ref for offer, share in first for ref in _spread(plan, offer, share, priority=0)]
    asked = {offer.name for offer, _ in first}
    others = [offer for offer in (*plan.fallbacks, plan.incumbent) if offer.name not in asked]
    return refs + [
        ref
        for number, offer in enumerate(others, start=1)
        for ref in _spread(plan, offer, 1000 if len(plan.parts(offer)) > 1 else None, priority=number)
    ]


def _spread(plan: RoutePlan, offer: Offer, weight: int | None, *, priority: int) -> Iterator[dict[str, Any]]:
    """Yield the references to an offer and its replicas, which divide `weight` among them."""
    for each, part in plan.parts(offer):
        share = {} if weight is None else {"weight": round(weight * part)}
        yield _ref(each, priority=priority, **share)


def _ref(offer: Offer, **more: int) -> dict[str, Any]:
    return {"name": _slug(offer.name), "modelNameOverride": offer.model, **more}


def _backend(offer: Offer) -> Iterator[dict[str, Any]]:
    host, name = host_of(offer), _slug(offer.name)
    url = urlsplit(offer.base_url or host.base_url or "")
    if host.dialect not in _SCHEMAS or "{" in (url.hostname or "{"):
        raise UsageError(
            f"model {offer.name!r} of provider {offer.provider!r} cannot be exported to Envoy",
            code="export-unsupported",
            hint="give the offer a `base_url` that speaks OpenAI's protocol",
        )
    schema: dict[str, Any] = {"name": _SCHEMAS[host.dialect]}
    if host.dialect == "openai":
        schema["prefix"] = url.path.rstrip("/") or "/"
    yield {
        "apiVersion": _API,
        "kind": "AIServiceBackend",
        "metadata": {"name": name},
        "spec": {
            "schema": schema,
            "backendRef": {"name": name, "kind": "Backend", "group": "gateway.envoyproxy.io"},
        },
    }
    port = url.port or (443 if url.scheme == "https" else 80)
    yield {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "Backend",
        "metadata": {"name": name},
        "spec": {"endpoints": [{"fqdn": {"hostname": url.hostname, "port": port}}]},
    }
    if url.scheme == "https":
        yield _tls(name, url.hostname or "")
    if offer.api_key_env:
        yield _key_policy(name, host.dialect)


def _tls(name: str, hostname: str) -> dict[str, Any]:
    target = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": name}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "BackendTLSPolicy",
        "metadata": {"name": name},
        "spec": {
            "targetRefs": [target],
            "validation": {"wellKnownCACertificates": "System", "hostname": hostname},
        },
    }


def _key_policy(name: str, dialect: str) -> dict[str, Any]:
    kind, field = ("AnthropicAPIKey", "anthropicAPIKey") if dialect == "anthropic" else ("APIKey", "apiKey")
    target = {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": name}
    return {
        "apiVersion": _API,
        "kind": "BackendSecurityPolicy",
        "metadata": {"name": f"{name}-key"},
        "spec": {"targetRefs": [target], "type": kind, field: {"secretRef": {"name": f"{name}-key"}}},
    }


def _notes(plan: RoutePlan) -> Iterator[str]:
    yield from unsaid(plan, "Envoy")
    if plan.segments:
        yield (
            f"{plan.spec.name}: clients must send the {plan.fact} in the header {_LABEL_HEADER}{plan.fact}; "
            "without it the incumbent answers"
        )


def _slug(name: str) -> str:
    """Return a name in the form that Kubernetes accepts (RFC 1123)."""
    return re.sub(r"[^a-z0-9-]", "-", name.lower()).strip("-")


def _flat(groups: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [each for group in groups for each in group]
