"""An evaluation set drawn from a log: at random, spread over time, without doubles, redacted."""

import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgrade.catalog import Catalog
from crossgrade.errors import DataError
from crossgrade.workloads._redact import Redactor, redact_json
from crossgrade.workloads.files import canonical
from crossgrade.workloads.traffic.chat import plain, question_of, system_of
from crossgrade.workloads.traffic.columns import LogColumns
from crossgrade.workloads.traffic.databases import opened_sources
from crossgrade.workloads.traffic.formats import LOG_FORMATS, LogFormat
from crossgrade.workloads.traffic.grouping import Group
from crossgrade.workloads.traffic.kinds import schema_of
from crossgrade.workloads.traffic.reading import Reading
from crossgrade.workloads.traffic.request import LoggedRequest, merged
from crossgrade.workloads.traffic.scanning import Scanner

_SCHEMA_BYTES = 32 * 1024
_TRIES = 4
"""Requests looked at in each stretch of time before it is given up."""

_MOST_LABELS, _LONGEST_LABEL, _LABELLED = 12, 40, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Samples drawn from a workload of a log, as rows of a dataset.

    `weight` in a row is the number of requests that it stands for. `left_out` counts, among the
    requests looked at, those that cannot be asked again as one question, by cause; `redacted` what
    was taken out of texts, by kind. `settings` are those that the log says most requests had,
    `response_schema` the JSON schema that all of them asked for;
    `answered` holds, by row, the log's request where it was sent with exactly these to the incumbent
    and nothing was redacted: its answer is what a run would pay for.
    """

    workload: str
    rows: tuple[Mapping[str, Any], ...]
    requests: int
    doubles: int
    left_out: Mapping[str, int]
    redacted: Mapping[str, int]
    incumbent: str | None
    provider: str | None
    settings: Mapping[str, float | int]
    response_schema: Mapping[str, Any] | None
    has_system: bool
    scorer: Mapping[str, Any]
    requests_per_month: int | None
    answered: tuple[LoggedRequest | None, ...]


def draw_samples(
    sources: Sequence[str | Path],
    name: str,
    n: int,
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
) -> Drawn:
    """Draw n samples from a workload of a log.

    Its requests, by how they begin and in order of time, are cut into n stretches of the same
    number, and one request of each is drawn at random: a random sample that is stratified and spread
    over time, each standing for its stretch. Doubles become one sample with both weights. What
    `redactor` finds is taken out. `model`, `on` and `formats` are those of the scan. `subject_key` turns
    users into names that only its holder can make again. Raises `NotFoundError` for a workload that is not
    there, `DataError` where no request of it can be asked again.
    """
    with opened_sources(sources, query) as files:
        reading = Reading(files=files, file_format=file_format, model=model, formats=formats)
        log = LogColumns()
        try:
            log.fill(reading.requests())
            log.settle()
            scanner = Scanner(log, reading, catalog, today, on)
            group, positions, at, strata = scanner.rows_of(name)
            stretches = _stretches(positions, at, strata, n, np.random.default_rng(seed))
            tried = [each.tried for each in stretches]
            wanted = log.rows_with(
                np.unique(np.concatenate([*tried, np.empty(0, np.int64)])).astype(np.int64)
            )
        finally:
            log.close()
        requests = _read_again(
            Reading(files=files, file_format=file_format, model=model, formats=formats), wanted
        )
    return _drawn(
        group,
        stretches=stretches,
        requests=requests,
        total=len(positions),
        redactor=redactor or Redactor(),
        subject_key=subject_key,
        per_month=_rate(at),
    )


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Requests of one stratum that follow each other in time: how many, and the few that are tried."""

    size: int
    tried: NDArray[np.int64]


def _stretches(
    positions: NDArray[np.int64],
    at: NDArray[np.float64],
    strata: NDArray[np.int64],
    n: int,
    rng: np.random.Generator,
) -> list[_Stretch]:
    """Return for each stretch the first few of its requests in random order, and its size.

    Requests are ordered by stratum, then by time, and cut into n parts of the same size, so that each
    stratum has its share of them. Strata smaller than a part are one stratum together.
    """
    n = min(n, len(positions))
    if not n:
        return []
    _, places, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    small = sizes < len(positions) / n
    stratum = np.where(small[places], len(sizes), places)
    ordered = positions[np.lexsort((at, stratum))]
    parts = np.array_split(ordered, n)
    return [_Stretch(len(part), rng.permutation(part)[:_TRIES]) for part in parts]


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
    group: Group,
    *,
    stretches: Sequence[_Stretch],
    requests: Mapping[int, LoggedRequest],
    total: int,
    redactor: Redactor,
    subject_key: bytes,
    per_month: int | None,
) -> Drawn:
    left_out: Counter[str] = Counter()
    chosen: dict[bytes, tuple[dict[str, Any], LoggedRequest]] = {}
    taken: list[LoggedRequest] = []
    for stretch in stretches:
        for position in stretch.tried.tolist():
            request = requests[position]
            cause = _unfit(request)
            if cause is not None:
                left_out[cause] += 1
                continue
            row = _row(request, redactor, subject_key)
            same, _ = chosen.setdefault(canonical([row["system"], row["input"]]), (row, request))
            same["weight"] = same.get("weight", 0) + stretch.size
            same["subject"] = _both(same["subject"], row["subject"])
            taken.append(request)
            break
    if not chosen:
        causes = ", ".join(f"{cause} {count:,}" for cause, count in left_out.items()) or "no text in the log"
        raise DataError(
            f"no request of {group.name!r} can be asked again as one question: {causes}",
            code="requests-not-repeatable",
            hint="draw from logs that carry prompts of single questions",
        )
    rows = [row for row, _ in chosen.values()]
    for number, row in enumerate(rows, start=1):
        row["id"] = f"r{number:05d}"
    has_system = any(row["system"] for row in rows)
    if not has_system:
        rows = [{name: value for name, value in row.items() if name != "system"} for row in rows]
    model, provider = _incumbent(taken)
    settings, schema = _settings(taken), _schema(taken)
    answered = tuple(
        request if _is_askable(request, row, model, settings, schema) else None
        for row, request in chosen.values()
    )
    return Drawn(
        workload=group.name,
        rows=tuple(rows),
        requests=total,
        doubles=len(taken) - len(rows),
        left_out=dict(left_out),
        redacted=dict(redactor.found),
        incumbent=model,
        provider=provider,
        settings=settings,
        response_schema=schema,
        has_system=has_system,
        scorer=_scorer([row["logged"] for row in rows]),
        requests_per_month=per_month,
        answered=answered,
    )


def _is_askable(
    request: LoggedRequest,
    row: Mapping[str, Any],
    model: str | None,
    settings: Mapping[str, float | int],
    schema: Mapping[str, Any] | None,
) -> bool:
    """Return whether a run would send the same request, so that the logged answer can be used for it."""
    return (
        request.completion is not None
        and request.model == model
        and row["input"] == question_of(request.messages or [])
        and row.get("system") == system_of(request.messages or [])
        and schema_of(request.response_format) == schema
        and {"temperature": request.temperature, "max_output_tokens": request.max_tokens} == dict(settings)
        and request.finish_reason in {None, "stop"}
    )


def _unfit(request: LoggedRequest) -> str | None:
    """Say why a request cannot be asked again as one question with a system prompt; None if it can."""
    messages = [each for each in request.messages or () if isinstance(each, dict)]
    roles = [each.get("role") for each in messages]
    if "tool" in roles or request.tools or request.tool_calls:
        return "uses tools"
    if roles.count("user") != 1 or "assistant" in roles:
        return "several turns"
    if any(not isinstance(each.get("content"), str) and _has_more(each.get("content")) for each in messages):
        return "images or files"
    return None if question_of(messages) else "no question"


def _has_more(content: Any) -> bool:
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and part.get("type") not in {"text", "input_text"} for part in parts)


def _row(request: LoggedRequest, redactor: Redactor, key: bytes) -> dict[str, Any]:
    messages = request.messages or []
    system = system_of(messages)
    asked = redactor.text(question_of(messages) or "")
    answer = plain(request.completion)
    at = request.started_at
    return {
        "id": "",
        "system": None if system is None else redactor.text(system),
        "input": asked,
        "target": None,
        "logged": None if answer is None else redactor.text(answer),
        "at": None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
        "model": request.model,
        "conversation": _pseudonym(key, request.session),
        "subject": _pseudonym(key, request.user),
    }


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


def _settings(taken: Sequence[LoggedRequest]) -> dict[str, float | int]:
    found: dict[str, float | int] = {}
    for name, key in (("temperature", "temperature"), ("max_tokens", "max_output_tokens")):
        values = Counter(value for each in taken if (value := getattr(each, name)) is not None)
        if values:
            found[key] = values.most_common(1)[0][0]
    return found


def _schema(taken: Sequence[LoggedRequest]) -> dict[str, Any] | None:
    """Return the schema of the answers if all requests have the same, and it can stand in a configuration."""
    schema = schema_of(taken[0].response_format)
    if schema is None or len(canonical(schema)) > _SCHEMA_BYTES or redact_json(schema) != schema:
        return None
    return schema if all(schema_of(each.response_format) == schema for each in taken) else None


def _rate(at: NDArray[np.float64]) -> int | None:
    known = at[~np.isnan(at)]
    if len(known) < 2 or known.max() - known.min() < 600:
        return None
    return max(1, round(len(at) / float(known.max() - known.min()) * 86_400 * 30))


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
