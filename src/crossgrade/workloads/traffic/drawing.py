"""An evaluation set drawn from a log: at random, spread over time, without doubles, redacted."""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from crossgrade.catalog import Catalog
from crossgrade.dialects import CLIENTS, ClientName, uncarried
from crossgrade.domain import EvidenceClass, LoggedTraffic
from crossgrade.errors import DataError
from crossgrade.workloads._redact import Redactor, redact_json
from crossgrade.workloads.files import as_text, canonical
from crossgrade.workloads.traffic.chat import plain
from crossgrade.workloads.traffic.columns import LogColumns, Run
from crossgrade.workloads.traffic.databases import opened_sources
from crossgrade.workloads.traffic.formats import LOG_FORMATS, LogFormat
from crossgrade.workloads.traffic.kinds import schema_of
from crossgrade.workloads.traffic.loops import LoggedRuns
from crossgrade.workloads.traffic.parts import ReadingOptions
from crossgrade.workloads.traffic.reading import Reading
from crossgrade.workloads.traffic.request import LoggedRequest, merged
from crossgrade.workloads.traffic.scanning import GroupRows, Scanner
from crossgrade.workloads.traffic.turns import asked_of, conversation_start, turns_of

_SCHEMA_BYTES = 32 * 1024
OF_A_LOG = 400
"""Samples that are drawn from a log where nobody says how many."""

_ANTHROPIC = frozenset({"system", "stop_sequences", "anthropic_version", "thinking"})
"""Fields that only Anthropic's requests have."""

_CONTENT = ("web_search_options", "mcp_servers", "previous_response_id", "conversation", "background")
"""Fields that a route never drops, because they change what is asked."""

_CHAT = {"model": "-", "max_tokens": 1, "messages": [{"role": "user", "content": "-"}]}
_BARE: Mapping[ClientName, Mapping[str, Any]] = {
    "anthropic": _CHAT,
    "openai": _CHAT,
    "openai-responses": {"model": "-", "input": "-"},
    "openai-text": {"model": "-", "prompt": "-"},
}
"""The least request of each API, to which a log's parameters are added."""

_MOST_LABELS, _LONGEST_LABEL, _LABELLED = 12, 40, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Samples drawn from a workload of a log, as rows of a dataset.

    `weight` in a row is the number of requests that it stands for. `requests` counts the workload's answered
    requests, `left_out` those of them that no sample can stand for, by cause; `traffic` says the same in
    shares, with the volume of the others. `redacted` counts what was taken out of texts, by kind. `settings`
    are those that the log says most requests had; `client_api` is the API that most clients spoke (None:
    unknown), and a row's `uncarried` names what keeps the request from models of other APIs; `answered`
    holds, by row, the log's request where it was sent with exactly these to the incumbent and nothing was
    redacted: its answer is what a run would pay for. `is_traffic` is false for a file of samples with right
    answers, such as an eval's data: it says nothing of what is asked how often, and of no model. `structured`
    says by row whether it asked for a JSON schema. `needs_evidence` is "agentic" where an agent sends the
    workload's requests.
    """

    workload: str
    rows: tuple[Mapping[str, Any], ...]
    requests: int
    doubles: int
    left_out: Mapping[str, int]
    redacted: Mapping[str, int]
    incumbent: str | None
    provider: str | None
    settings: Mapping[str, float | int | None]
    client_api: ClientName | None
    response_schema: Mapping[str, Any] | None
    has_system: bool
    has_history: bool
    scorer: Mapping[str, Any]
    traffic: LoggedTraffic
    answered: tuple[LoggedRequest | None, ...]
    is_traffic: bool
    structured: tuple[bool, ...]
    needs_evidence: EvidenceClass | None = None


def draw_samples(
    sources: Sequence[str | Path],
    name: str,
    n: int | None = None,
    *,
    catalog: Catalog,
    today: date,
    subject_key: bytes,
    seed: int = 1,
    file_format: str | None = None,
    query: str | None = None,
    model: str | None = None,
    on: date | None = None,
    redactor: Redactor | None = None,
    formats: Mapping[str, LogFormat] = LOG_FORMATS,
    run: Run = map,
) -> Drawn:
    """Draw n samples from a workload of a log; a file of samples is all one workload, `name` is its name.

    Its requests, by how they begin and in order of time, are cut into n stretches of the same
    number, and one request of each is drawn at random: a random sample that is stratified and spread
    over time, each standing for its stretch. Doubles become one sample with both weights. What
    `redactor` finds is taken out. `model`, `on` and `formats` are those of the scan. `subject_key` turns
    users into names that only its holder can make again. `n` None is 400 of a log, and every sample of a file
    of samples. Raises `NotFoundError` for a workload that is not there, `DataError` where no request of it
    can be asked again, no record can be read, or a line of a file of samples cannot.
    """
    with opened_sources(sources, query) as files:
        options = ReadingOptions(file_format=file_format, model=model, formats=formats)
        reading = Reading(files=files, options=options)
        log = LogColumns()
        try:
            log.fill(reading, run)
            log.settle()
            scanner = Scanner(log, reading, catalog, today, on)
            samples = bool(reading.rows) and all(
                each in formats and formats[each].is_samples for each in reading.rows
            )
            _refuse_unread(reading, samples=samples)
            rows = scanner.rows_of(name, whole=samples)
            size = n or (len(rows.positions) if samples else OF_A_LOG)
            stretches = _stretches(rows, size, np.random.default_rng(seed))
            wanted = log.rows_with(np.array([each.position for each in stretches], np.int64))
        finally:
            log.close()
        requests = _read_again(Reading(files=files, options=options), wanted)
    return _drawn(
        rows,
        stretches=stretches,
        requests=requests,
        redactor=redactor or Redactor(),
        subject_key=subject_key,
        is_traffic=not samples,
    )


def _refuse_unread(reading: Reading, *, samples: bool) -> None:
    """Refuse a log of which no record can be read, and a file of samples of which one line cannot.

    Somebody chose each of the samples. Said is why the first ones cannot be read.
    """
    kind, shown = next(iter(reading.problems.examples.items()), (None, ()))
    if kind is None or (reading.rows and not samples):
        return
    why = "; ".join(shown)
    if samples:
        raise DataError(
            f"{reading.problems.counts[kind]:,} lines cannot be read ({kind}): {why}",
            code="samples-unreadable",
            file=reading.files[0],
            hint="correct the lines, or take them out",
        )
    raise DataError(
        f"no record could be read ({kind}): {why}",
        code="log-unreadable",
        file=reading.files[0],
        hint="correct the lines, or see which formats are read with `crossgrade scan --help`",
    )


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Requests of one stratum that follow each other in time: how many, and the one that is drawn."""

    size: int
    position: int


def _stretches(rows: GroupRows, n: int, rng: np.random.Generator) -> list[_Stretch]:
    """Return the stretches, each with one of its requests at random.

    Requests are ordered by stratum, then by time, and cut into n parts of the same size, so that each
    stratum has its share of them. Strata smaller than a part are one stratum together.
    """
    n = min(n, len(rows.positions))
    if not n:
        return []
    _, places, sizes = np.unique(rows.strata, return_inverse=True, return_counts=True)
    small = sizes < len(rows.positions) / n
    stratum = np.where(small[places], len(sizes), places)
    parts = np.array_split(rows.positions[np.lexsort((rows.at, stratum))], n)
    return [_Stretch(len(part), int(rng.choice(part))) for part in parts]


def _read_again(reading: Reading, wanted: Mapping[int, int]) -> dict[int, LoggedRequest]:
    """Read the texts of some requests, put together from all rows that are of the same one."""
    found: dict[int, LoggedRequest] = {}
    for position, (_, request) in enumerate(reading.requests()):
        leader = wanted.get(position)
        if leader is not None:
            known = found.get(leader)
            first = position == leader
            found[leader] = (
                request if known is None else merged(request, known) if first else merged(known, request)
            )
    return found


def _drawn(
    found: GroupRows,
    *,
    stretches: Sequence[_Stretch],
    requests: Mapping[int, LoggedRequest],
    redactor: Redactor,
    subject_key: bytes,
    is_traffic: bool,
) -> Drawn:
    if not stretches:
        causes = ", ".join(f"{cause} {count:,}" for cause, count in found.left_out.items()) or "none answered"
        raise DataError(
            f"no request of {found.group.name!r} can be asked again: {causes}",
            code="requests-not-repeatable",
            hint="an agent sends them: run it on tasks of yours. `crossgrade init --template coding-agent` "
            "writes a workload that does, and `crossgrade decide RUNS` compares runs of another harness"
            if found.needs_evidence == "agentic"
            else "draw from logs that carry prompts of text without tools",
        )
    chosen: dict[bytes, tuple[dict[str, Any], LoggedRequest]] = {}
    taken = [requests[each.position] for each in stretches]
    for stretch, request in zip(stretches, taken, strict=True):
        row = _row(request, redactor, subject_key)
        content = canonical([row["system"], row["history"], row["input"], row["target"]])
        same, _ = chosen.setdefault(content, (row, request))
        same["weight"] = same.get("weight", 0) + stretch.size
        same["subject"] = _both(same["subject"], row["subject"])
    rows = [row for row, _ in chosen.values()]
    for number, row in enumerate(rows, start=1):
        row["id"] = f"r{number:05d}"
    empty = {name for name in ("system", "history", "uncarried") if not any(row[name] for row in rows)}
    rows = [{name: value for name, value in row.items() if name not in empty} for row in rows]
    model, provider = _incumbent(taken)
    settings, schema = _settings(taken), _schema(taken)
    answered = tuple(
        request if _is_askable(request, row, model, settings, schema) else None
        for row, request in chosen.values()
    )
    return Drawn(
        workload=found.group.name,
        rows=tuple(rows),
        requests=found.requests,
        doubles=len(taken) - len(rows),
        left_out=found.left_out,
        redacted=dict(redactor.found),
        incumbent=model,
        provider=provider,
        settings=settings,
        client_api=_most_common(map(client_api, taken)),
        response_schema=schema,
        has_system="system" not in empty,
        has_history="history" not in empty,
        scorer=_scorer([*_answers(rows)]),
        traffic=_traffic(found),
        answered=answered,
        is_traffic=is_traffic,
        needs_evidence=found.needs_evidence,
        structured=tuple(schema_of(request.response_format) is not None for _, request in chosen.values()),
    )


def _answers(rows: Sequence[Mapping[str, Any]]) -> Iterator[str | None]:
    """Yield the answers that show what a scorer has to read: the right ones, else those of the log."""
    for row in rows:
        right = row["logged"] if row["target"] is None else row["target"]
        yield from map(as_text, right if isinstance(right, list) else [right])


def _is_askable(
    request: LoggedRequest,
    row: Mapping[str, Any],
    model: str | None,
    settings: Mapping[str, float | int | None],
    schema: Mapping[str, Any] | None,
) -> bool:
    """Return whether a run would send the same request, so that the logged answer can be used for it."""
    return (
        request.completion is not None
        and request.model == model
        and asked_of(request) == (row.get("system"), row.get("history", []), row["input"])
        and schema_of(request.response_format) == schema
        and {"temperature": request.temperature, "max_output_tokens": request.max_tokens} == dict(settings)
        and request.finish_reason in {None, "stop"}
    )


def _traffic(rows: GroupRows) -> LoggedTraffic:
    """Return which share of the workload's requests the samples stand for, and how many those are a month."""
    volume = rows.volume
    return LoggedTraffic(
        represented_share=len(rows.positions) / rows.requests,
        left_out={cause: n / rows.requests for cause, n in rows.left_out.items()},
        hours=None if rows.span is None else (rows.span[1] - rows.span[0]) / 3600,
        requests_per_month=None if volume.value is None else max(1, round(volume.value)),
        low=volume.low,
        high=volume.high,
        peak_tokens_per_minute=rows.peak_tokens,
        cache_saving_share=rows.cache_share,
        **_per_run(rows.runs),
    )


def _per_run(runs: LoggedRuns | None) -> dict[str, float]:
    """Return what a log says of an agent's runs, by the fields of `LoggedTraffic`, as far as it is known."""
    if runs is None or runs.input_tokens is None or runs.output_tokens is None:
        return {}
    found = {
        "calls_per_run": runs.calls,
        "input_tokens_per_run": runs.input_tokens,
        "output_tokens_per_run": runs.output_tokens,
    }
    return found if runs.cached_tokens is None else {**found, "cached_tokens_per_run": runs.cached_tokens}


def _row(request: LoggedRequest, redactor: Redactor, key: bytes) -> dict[str, Any]:
    system, history, asked = asked_of(request)
    turns = turns_of(request.messages or ())
    answer = plain(request.completion)
    at = request.started_at
    return {
        "id": "",
        "system": None if system is None else redactor.text(system),
        "history": [{**each, "content": redactor.text(each["content"])} for each in history],
        "input": redactor.text(asked),
        "target": _redacted(request.target, redactor),
        "logged": None if answer is None else redactor.text(answer),
        "at": None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
        "model": request.model,
        "uncarried": _uncarried(request),
        "conversation": subject_of(request.session or repr(conversation_start(request, turns)), key),
        "subject": _pseudonym(key, request.user),
    }


def _redacted(target: Any, redactor: Redactor) -> Any:
    """Return a right answer, or each of several, with what the redactor finds taken out."""
    if isinstance(target, list):
        return [_redacted(each, redactor) for each in target]
    return redactor.text(target) if isinstance(target, str) else target


def client_api(request: LoggedRequest) -> ClientName | None:
    """Return the API in which a logged request was made, None if the log does not tell."""
    body = request.body or {}
    if request.format.startswith("litellm"):
        return "openai"
    if "input" in body or "responses" in (request.call or ""):
        return "openai-responses"
    if "messages" not in body:
        return "openai-text" if "prompt" in body else None
    return "anthropic" if _ANTHROPIC & body.keys() else "openai"


def _uncarried(request: LoggedRequest) -> str | None:
    """Return the parameter that keeps a request of text from models of other APIs, None if nothing does."""
    api = client_api(request)
    if api is None:
        return None
    client, given = CLIENTS[api], request.body or {}
    names = (*client.parameters, *_CONTENT)
    body = {**_BARE[api]} | {name: given[name] for name in names if given.get(name) is not None}
    encoded = msgspec.json.encode(body)
    return uncarried(client, encoded, drop=True) or uncarried(client, encoded)


def _most_common(apis: Iterable[ClientName | None]) -> ClientName | None:
    known = Counter(api for api in apis if api is not None)
    return known.most_common(1)[0][0] if known else None


def _pseudonym(key: bytes, name: str | None) -> str | None:
    return None if name is None else subject_of(name, key)


def _both(one: str | list[str] | None, other: str | None) -> str | list[str] | None:
    """Return the people whose equal requests are one sample: one name, or a list of several."""
    named = {*([one] if isinstance(one, str) else one or []), *([other] if other else [])}
    return sorted(named) if len(named) > 1 else next(iter(named), None)


def subject_of(name: str, key: bytes) -> str:
    """Return the pseudonym of a person or a session: HMAC-SHA256 under the project's key, 16 digits."""
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:16]


def _incumbent(taken: Sequence[LoggedRequest]) -> tuple[str | None, str | None]:
    both = Counter((each.model, each.provider) for each in taken if each.model)
    return both.most_common(1)[0][0] if both else (None, None)


def _settings(taken: Sequence[LoggedRequest]) -> dict[str, float | int | None]:
    """Return the commonest settings, where the log has any request's parameters; else nothing is known.

    A request without one of them was sent with the provider's default, None. So should a run's be.
    """
    known = [
        each for each in taken if each.body or each.temperature is not None or each.max_tokens is not None
    ]
    return {
        key: Counter(getattr(each, name) for each in known).most_common(1)[0][0]
        for name, key in (("temperature", "temperature"), ("max_tokens", "max_output_tokens"))
        if known
    }


def _schema(taken: Sequence[LoggedRequest]) -> dict[str, Any] | None:
    """Return the schema of the answers if all requests have the same, and it can stand in a configuration."""
    schema = schema_of(taken[0].response_format)
    if schema is None or len(canonical(schema)) > _SCHEMA_BYTES or redact_json(schema) != schema:
        return None
    return schema if all(schema_of(each.response_format) == schema for each in taken) else None


def _scorer(answers: Sequence[str | None]) -> dict[str, Any]:
    """Propose a scorer from what the incumbent answered."""
    given = [answer.strip() for answer in answers if answer and answer.strip()]
    labels = Counter(given)
    if (
        len(given) >= _LABELLED
        and len(labels) <= _MOST_LABELS
        and max(map(len, labels)) <= _LONGEST_LABEL
        and len(given) >= 3 * len(labels)
    ):
        return {"kind": "exact", "options": {"labels": sorted(labels)}}
    if given and sum(_is_json(answer) for answer in given) >= 0.9 * len(given):
        return {"kind": "json_fields"}
    if given and sum(_is_number(answer) for answer in given) >= 0.9 * len(given):
        return {"kind": "numeric"}
    return {"kind": "judge"}


def _is_json(answer: str) -> bool:
    try:
        return isinstance(json.loads(answer), dict | list)
    except (ValueError, RecursionError):
        return False


def _is_number(answer: str) -> bool:
    try:
        float(answer.replace(",", ""))
    except ValueError:
        return False
    return True
