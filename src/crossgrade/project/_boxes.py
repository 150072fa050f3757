"""GPUs of one's own: their bills beside the offers of a project, and a server measured under load."""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from crossgrade.catalog import model_name
from crossgrade.catalog.bills import Bills, Measured
from crossgrade.domain import Architecture, Offer
from crossgrade.errors import NotFoundError, UsageError
from crossgrade.hosting import (
    Deployment,
    Load,
    cheapest_deployment,
    known_gpu,
    known_model,
    shipped_fit,
)
from crossgrade.hosting.boxes import BoxBill, box_bill

if TYPE_CHECKING:
    from crossgrade.calls.load import LoadPlan
    from crossgrade.hosting import MeasuredLevel

GPU = "h100"
"""What the boxes are of where nobody says: the GPU with most measured points beside the newest."""


def own_boxes(
    bills: Bills, offers: Iterable[Offer], measured: Mapping[str, Measured] | None = None
) -> tuple[BoxBill, ...]:
    """Return the bill of a box for each model among the offers that the serving model knows.

    The box is the number of GPUs at which its tokens cost least at full use, at typical rent; an
    offer in `measured` is served its own tokens, another the bills' traffic. Left out is what fits no
    deployment, and traffic without tokens in or out.
    """
    now = bills.of_incumbent
    rival = next(
        (row for row in bills.offers if row is not now and row.can_be_bought and not row.doubts), None
    )
    against = {row.offer: row.bill.per_mtok_usd for row in (now, rival) if row is not None}
    found: dict[str, BoxBill] = {}
    for offer in offers:
        model = _architecture(offer)
        if model is None or model.name in found:
            continue
        own = (measured or {}).get(offer.name)
        traffic = own.traffic if own else bills.traffic
        mix, gpu, fit = traffic.mix(), known_gpu(GPU), shipped_fit()
        if not mix.input_tokens or not mix.output_tokens:
            continue
        load = Load(input_tokens=max(1.0, mix.input_tokens), output_tokens=max(1.0, mix.output_tokens))
        try:
            box = cheapest_deployment(model, Deployment(gpu=gpu), load, fit.constants)
            if box is None:
                continue
            found[model.name] = box_bill(
                f"{model.name} on {box.gpus} x {gpu.name}",
                model,
                box,
                traffic,
                fit,
                usd_per_gpu_hour=gpu.typical.usd_per_hour,
                rent_from=f"typical, {gpu.typical.as_of}: {gpu.typical.source}",
                against=against,
            )
        except UsageError:
            continue
    return tuple(found.values())


def _architecture(offer: Offer) -> Architecture | None:
    for name in (offer.model, model_name(offer.model)):
        try:
            return known_model(name)
        except NotFoundError:
            continue
    return None


async def measure_server(
    endpoint: str,
    plan: "LoadPlan",
    *,
    api_key_env: str | None = None,
    environ: Mapping[str, str] = os.environ,
    on_call: Callable[[int, int], None] | None = None,
) -> "AsyncIterator[MeasuredLevel]":
    """Yield what each level of a load on an OpenAI-compatible server showed; see `measure_load`."""
    from crossgrade.calls.load import measure_load
    from crossgrade.providers import open_provider

    offer = Offer(
        name="endpoint",
        provider="openai-compatible",
        model=plan.model,
        base_url=endpoint,
        api_key_env=api_key_env,
        timeout_s=plan.seconds,
    )
    async with open_provider(offer, environ=environ, measure_ttft=True) as provider:
        async for level in measure_load(provider, plan, on_call=on_call):
            yield level
