"""Exports routes as request fields for OpenRouter, which clients merge into each request."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from crossgrade.dialects import HOSTS
from crossgrade.domain import Offer
from crossgrade.errors import UsageError
from crossgrade.routing.export._plan import Exported, RoutePlan, unsaid


def to_openrouter(plans: Sequence[RoutePlan]) -> Exported:
    """Return the fields `model`, `models` and `provider` of requests by route and segment, as JSON.

    Raises `UsageError` for an offer of a provider that OpenRouter does not have.
    """
    routes = {plan.spec.name: _fields(plan) for plan in plans}
    notes = [note for plan in plans for note in _notes(plan)]
    return Exported(
        text=json.dumps({"routes": routes}, indent=2, ensure_ascii=False) + "\n", notes=tuple(notes)
    )


def _fields(plan: RoutePlan) -> dict[str, Any]:
    kept = _request(plan, plan.incumbent)
    if plan.candidate is None:
        return {"body": kept}
    moved = _request(plan, plan.candidate)
    fields: dict[str, Any] = {"body": kept if plan.segments else moved}
    if plan.segments:
        fields[f"body_by_{plan.fact}"] = dict.fromkeys(plan.segments, moved)
    if plan.share < 1:
        fields |= {"share": plan.share, "body_beyond_share": kept}
    return fields


def _request(plan: RoutePlan, offer: Offer) -> dict[str, Any]:
    """Return the fields for one offer, which keep OpenRouter from using another provider than measured."""
    every = [offer, *plan.fallbacks, plan.incumbent]
    models = list(dict.fromkeys(_model(each) for each in every))
    fields: dict[str, Any] = {"model": models[0]}
    if len(models) > 1:
        fields["models"] = models
    return {**fields, "provider": {"allow_fallbacks": False, "require_parameters": True}}


def _model(offer: Offer) -> str:
    prefix = HOSTS[offer.provider].openrouter
    if prefix is None:
        raise UsageError(
            f"model {offer.name!r} is of provider {offer.provider!r}, whose ids OpenRouter does not use",
            code="export-unsupported",
            hint="measure it through OpenRouter: an offer with `provider: openrouter` and OpenRouter's id",
        )
    return prefix + offer.model


def _notes(plan: RoutePlan) -> Iterator[str]:
    name = plan.spec.name
    yield f"{name}: OpenRouter keeps no routes; every client must merge these fields into its requests"
    yield from unsaid(plan, "OpenRouter")
    if plan.share < 1:
        yield f"{name}: clients must draw the share of {plan.share:g} themselves, once a {plan.spec.sticky}"
    if plan.segments:
        yield f"{name}: clients must pick the body by their {plan.fact} themselves"
    for offer in plan.offers:
        if plan.replicas.get(offer.name):
            yield f"{name}: OpenRouter is one address: the replicas of {offer.name} are left out"
    others = [offer for offer in plan.offers if offer.provider != "openrouter"]
    for offer in others:
        yield f"{name}: {offer.name} was measured at {offer.provider}, not through OpenRouter"
