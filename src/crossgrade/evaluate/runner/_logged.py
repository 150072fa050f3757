"""Answers that a model gave before there was a run: what was logged is not paid for twice."""

from decimal import Decimal

from crossgrade.domain import ModelAnswer, Sample, Variant, Workload
from crossgrade.evaluate.runner._digests import request_digest
from crossgrade.evaluate.runner._prompt import Prompt
from crossgrade.store import Response, new_id


def logged_response(
    variant: Variant, sample: Sample, answer: ModelAnswer, cost_usd: Decimal | None
) -> Response | None:
    """Return a logged answer as the response to what a run would ask; None for a local model.

    A run of the same variant, prompt and settings then finds it paid for. What a local model answers
    depends on its file and engine, which no log names.
    """
    if variant.offer.provider == "local":
        return None
    request = Prompt(variant).request(sample)
    return Response(
        id=new_id(),
        request_digest=request_digest(variant.offer, request, epoch=1),
        offer=variant.offer.name,
        answer=answer,
        cost_usd=cost_usd,
    )


def request_digests(workload: Workload, sample: Sample) -> list[str]:
    """Return the digests of what a run of a workload asks hosted models about a sample."""
    return [
        request_digest(variant.offer, Prompt(variant).request(sample), epoch=epoch)
        for variant in (workload.incumbent, *workload.candidates)
        for epoch in range(1, workload.epochs + 1)
    ]
