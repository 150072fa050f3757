"""From a worker's message to the store's record: answers decoded, texts redacted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from crossgrade.dialects import DIALECTS, SseReader
from crossgrade.domain import ModelAnswer, ModelRequest
from crossgrade.errors import AccessError, ProviderError
from crossgrade.gateway import ADMIN, Outcome, RequestRecord, ShadowAnswer, ShadowPair, run_digest
from crossgrade.store import Feedback, Pair, PairAnswer
from crossgrade.workloads import redact_body, redact_text


def stored_pair(identifier: str, pair: ShadowPair) -> Pair:
    """Return the pair as the store keeps it: redacted, or without texts if the configuration says so."""
    return Pair(
        id=identifier,
        route=pair.route,
        request_id=pair.request_id,
        endpoint=pair.endpoint,
        request=redact_body(pair.request) if pair.store_text and pair.missed is None else None,
        served_by=pair.served_by,
        incumbent=_stored_answer(pair.incumbent, pair),
        candidate=_stored_answer(pair.candidate, pair),
        segment=pair.segment,
        verdict_id=pair.verdict_id,
        probability=pair.probability,
        conversation=pair.conversation,
        score=pair.score,
        missed=pair.missed,
        run=pair.run,
        at=datetime.fromtimestamp(pair.at, UTC),
    )


def stored_feedback(outcome: Outcome, find: Callable[[str], RequestRecord | None]) -> Feedback:
    """Return feedback with what the request log contains about the response.

    If that is nothing, it is kept without the id that was sent, only to be counted.

    Raises AccessError if the response is known and is neither the reporter's nor their team's: request ids
    can be guessed, and feedback can step a route back.
    """
    record = find(outcome.response_id)
    at = datetime.fromtimestamp(outcome.at, UTC)
    if record is not None and not _may_report(outcome, record):
        raise AccessError("the response is another caller's", reason="feedback_denied", status=403)
    if record is None:
        return Feedback(response_id="", name=outcome.name, value=outcome.value, at=at)
    counts = not record.mixed  # of a run that several models answered, no side is known
    return Feedback(
        response_id=record.response_id or outcome.response_id,
        name=outcome.name,
        value=outcome.value,
        route=record.route or None,
        verdict_id=record.verdict_id,
        segment=record.segment,
        side=record.side if counts else None,
        probability=record.probability if counts else None,
        run=None if record.run is None else run_digest(record.route, record.key, record.run),
        at=at,
    )


def _may_report(outcome: Outcome, record: RequestRecord) -> bool:
    is_team = outcome.team != "" and outcome.team == record.team
    return is_team or outcome.key in (record.key, ADMIN)


def _stored_answer(sent: ShadowAnswer, pair: ShadowPair) -> PairAnswer:
    keep_text = pair.store_text
    is_text = pair.endpoint.endswith("/completions") and not pair.endpoint.endswith("/chat/completions")
    answer, error = (None, sent.error) if pair.missed else _decoded(sent, is_text=is_text)
    if error is not None and not keep_text:
        error = error.partition(":")[0]  # the rest is an excerpt of the answer
    if answer is not None:
        calls = tuple(replace(call, arguments=redact_text(call.arguments)) for call in answer.tool_calls)
        answer = replace(
            answer,
            text=redact_text(answer.text) if keep_text else "",
            tool_calls=calls if keep_text else (),
            latency_ms=sent.latency_ms,
            ttft_ms=sent.ttft_ms,
        )
    return PairAnswer(
        model=sent.model,
        answer=answer,
        response_id=_response_id(sent),
        cost_usd=None if sent.cost_usd is None else Decimal(str(sent.cost_usd)),
        error=None if error is None else redact_text(error),
    )


def _decoded(sent: ShadowAnswer, *, is_text: bool) -> tuple[ModelAnswer | None, str | None]:
    if sent.error is not None:
        return None, sent.error
    dialect = DIALECTS[sent.dialect]
    request = ModelRequest(model=sent.model, text="" if is_text else None)
    try:
        if not sent.stream:
            return dialect.decode(sent.body, request), None
        collector = dialect.collect(request)
        for event in SseReader().feed(sent.body):
            collector.feed(event)
        return collector.answer(), None
    except ProviderError as error:
        return None, error.message


class _Identified(msgspec.Struct):
    id: str | None = None


def _response_id(sent: ShadowAnswer) -> str | None:
    """Return the `id` in an answer's body, or in the first event of a stream; None if there is none."""
    if sent.response_id is not None:
        return sent.response_id
    body = sent.body
    if sent.stream:
        body = next((line[5:] for line in body.splitlines() if line.startswith(b"data:")), b"")
    try:
        return msgspec.json.decode(body, type=_Identified).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
