"""A run's samples beside recent traffic: a log that the user names, or the workload's live pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossgrade.dialects import CLIENTS
from crossgrade.domain import JSON, Message, ModelRequest, Role, Sample, Workload
from crossgrade.errors import BadRequestError
from crossgrade.gateway import client_of
from crossgrade.project._designs import recorded_design
from crossgrade.project._opened import OpenProject

if TYPE_CHECKING:
    from crossgrade.decide import SeenRequest, TrafficComparison
    from crossgrade.store import Pair, Run
    from crossgrade.workloads.traffic import Drawn

MOST_SAMPLES, MOST_RECENT = 5_000, 2_000
"""So many requests of each side are compared: more find no move that matters, and take time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentLog:
    """A log of recent traffic: its files, and the workload's `name` in it (None: as in the project)."""

    sources: Sequence[str | Path]
    name: str | None = None


def live_request(endpoint: str, body: bytes) -> ModelRequest:
    """Return the request of a live pair. Raises `BadRequestError` for fields that only its own API has."""
    return CLIENTS[client_of(endpoint.encode())].read_request(body).request


def recent_traffic(
    project: OpenProject, workload: Workload, run: "Run", log: RecentLog | None
) -> "TrafficComparison | None":
    """Return a run's planned samples beside a log, or beside the newest live pairs since the run.

    It is None without a log if there are no such pairs. Raises what `draw_samples` raises for the log:
    NotFoundError if the workload is not in it, and DataError if no request of it could be a sample.
    """
    if log is not None:
        return _beside_log(project, workload, _planned(project, workload, run), log)
    routes = [each.name for each in project.config.routes.values() if each.workload == workload.name]
    pairs = project.store.pairs.newest(routes, since=run.created_at, limit=MOST_RECENT) if routes else []
    return _beside_pairs(project, workload, _planned(project, workload, run), pairs) if pairs else None


def _planned(project: OpenProject, workload: Workload, run: "Run") -> list[Sample]:
    from crossgrade.evaluate import planned_samples

    design, dataset = recorded_design(project.store, run), project.dataset(workload)
    return planned_samples(replace(workload, seed=run.seed), dataset, design)[:MOST_SAMPLES]


def _beside_log(
    project: OpenProject, workload: Workload, samples: Sequence[Sample], log: RecentLog
) -> "TrafficComparison":
    from crossgrade.decide import compare_traffic
    from crossgrade.project._traffic import subject_key
    from crossgrade.workloads.traffic import draw_samples

    drawn = draw_samples(
        log.sources,
        log.name or workload.name,
        MOST_RECENT,
        catalog=project.catalog,
        formats=project.plugins.log_formats,
        today=datetime.now(UTC).date(),
        subject_key=subject_key(project.config.root),
    )
    logged = workload.logged_traffic
    knows_left_out = logged is not None and logged.represented_share is not None
    return compare_traffic(
        _seen_samples(workload, samples, with_api=workload.client_api is not None),
        _seen_rows(workload, drawn),
        source="the log",
        left_out=(logged.left_out, drawn.traffic.left_out) if logged is not None and knows_left_out else None,
    )


def _seen_rows(workload: Workload, drawn: "Drawn") -> "list[SeenRequest]":
    from crossgrade.evaluate import uncarried

    found = []
    for row, structured in zip(drawn.rows, drawn.structured, strict=True):
        sample = Sample(id=row["id"], fields=row)
        found.append(
            _seen(
                workload,
                _request_of(row, structured=structured),
                conversation=row["conversation"],
                uncarried=uncarried(workload, sample) is not None if drawn.client_api else None,
                weight=float(row["weight"]),
            )
        )
    return found


def _request_of(row: Mapping[str, Any], *, structured: bool) -> ModelRequest:
    """Return a row of a draw as the request that it was."""

    def said(role: Role, text: str | None) -> tuple[Message, ...]:
        return () if text is None else (Message(role=role, content=text),)

    earlier = [each for turn in row.get("history", ()) for each in said(turn["role"], turn["content"])]
    messages = (*said("system", row.get("system")), *earlier, *said("user", row["input"]))
    return ModelRequest(model="", messages=messages, response_schema={} if structured else None)


def _beside_pairs(
    project: OpenProject, workload: Workload, samples: Sequence[Sample], pairs: "Sequence[Pair]"
) -> "TrafficComparison":
    """Return the comparison with live pairs, among the requests that their candidate may answer.

    A route that grows is left out: what it draws depends on its router's score.
    """
    from crossgrade.decide import compare_traffic
    from crossgrade.evaluate import may_answer
    from crossgrade.project._lengths import length_limits

    candidate = pairs[0].candidate.model
    limits = length_limits(project.config.root, workload, now=datetime.now(UTC))
    most = {each.candidate: each.max_bytes for each in limits}.get(candidate)
    answered = [each for each in samples if may_answer(workload, each, candidate, most)]
    return compare_traffic(
        _seen_samples(workload, answered, with_segment=True),
        [
            seen
            for each in pairs
            if each.candidate.model == candidate and (seen := _seen_pair(workload, each))
        ],
        source="the live pairs",
    )


def _seen_pair(workload: Workload, pair: "Pair") -> "SeenRequest | None":
    """Return what is compared of a pair, None if its body cannot be read as messages."""
    try:
        request = live_request(pair.endpoint, pair.request or b"")
    except BadRequestError:
        return None
    return _seen(
        workload,
        request,
        conversation=pair.conversation or pair.id,
        segment=pair.segment,
        weight=1 / pair.probability,
    )


def _seen_samples(
    workload: Workload, samples: Sequence[Sample], *, with_api: bool = False, with_segment: bool = False
) -> "list[SeenRequest]":
    """Return what is compared of samples, redacted as logs and live pairs are."""
    from crossgrade.evaluate import request_about, uncarried

    return [
        _seen(
            workload,
            _redacted(request_about(workload, each)),
            conversation=each.cluster or each.id,
            segment=each.segment if with_segment else None,
            uncarried=uncarried(workload, each) is not None if with_api else None,
            weight=each.weight,
        )
        for each in samples
    ]


def _redacted(request: ModelRequest) -> ModelRequest:
    from crossgrade.workloads import redact_text

    def clean(text: str | None) -> str | None:
        return None if text is None else redact_text(text)

    messages = tuple(replace(each, content=clean(each.content)) for each in request.messages)
    return replace(request, messages=messages, text=clean(request.text))


def _seen(
    workload: Workload,
    request: ModelRequest,
    *,
    conversation: str,
    segment: str | None = None,
    uncarried: bool | None = None,
    weight: float,
) -> "SeenRequest":
    """Return what is compared of a request, whatever model it names.

    Whether it asks for structured answers is compared if the workload does: otherwise the samples do not say
    whether the requests that they were drawn from did.
    """
    from crossgrade.decide import seen_request
    from crossgrade.evaluate import body_bytes

    request = replace(request, model="")
    schema: JSON = workload.incumbent.prompt.response_schema
    seen = seen_request(
        request,
        body_bytes=body_bytes(request),
        conversation=conversation,
        segment=segment,
        uncarried=uncarried,
        weight=weight,
    )
    if schema is not None:
        return seen
    return replace(seen, labelled={k: v for k, v in seen.labelled.items() if k != "structured"})
