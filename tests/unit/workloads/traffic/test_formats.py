"""The same 24 requests as 15 tools export them give the same records."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from crossgrade.workloads.traffic import LoggedRequest, Reading, ReadingOptions, merged

DATA = Path(__file__).parents[3] / "data" / "traffic"
CANONICAL = {
    row["id"]: row for row in map(json.loads, (DATA / "canonical.jsonl").read_text("utf-8").split("\n")[:-1])
}
MONEY_AND_TEXT = {"cost_usd", "messages", "completion", "tool"}

# What each format does not carry, at all or for some of the requests.
LACKS = {
    "azure-apim-llmlog.jsonl": "latency_s ttft_s status user route session cost_usd cached reasoning",
    "cloudflare-ai-gateway.json": "ttft_s stream cached reasoning session temperature max_tokens messages completion tool",
    "helicone-requests.jsonl": "",
    "langfuse-observations_v2.jsonl": "stream",
    "langsmith-runs.jsonl": "",
    "litellm-spendlogs.jsonl": "",
    "litellm-standard-logging.jsonl": "",
    "openai-stored-completions.json": "latency_s ttft_s stream session cost_usd max_tokens failures",
    "otel-genai-1.36.json": "ttft_s stream cached reasoning cost_usd",
    "otel-genai-1.41.json": "cost_usd",
    "portkey-logs.jsonl": "ttft_s cached reasoning",
    "openai-batch": "started_at latency_s ttft_s stream user route session cost_usd input cached reasoning output",
}
WHOLE_SECONDS = {"openai-stored-completions.json", "openai-batch"}


def expected(row: dict) -> dict:
    """What a record says in the names of `LoggedRequest`."""
    return {
        "started_at": datetime.fromisoformat(row["started_at"]).timestamp(),
        "latency_s": row["latency_s"],
        "ttft_s": row["ttft_s"],
        "status": row["status"],
        "stream": row["stream"],
        "model": row["model"],
        "input": row["input"],
        "cached": row["cached"],
        "reasoning": row["reasoning"],
        "output": row["output"],
        "user": row["user"],
        "route": row["team"],
        "session": row["session"],
        "cost_usd": row["cost"],
        "temperature": row["temperature"],
        "max_tokens": row["max_tokens"],
        "messages": row["messages"],
        "completion": row["completion"] or None,
        "tool": row["tool"] and row["tool"]["name"],
    }


def seen(request: LoggedRequest) -> dict:
    found = {name: getattr(request, name, None) for name in expected(next(iter(CANONICAL.values())))}
    found["completion"] = request.completion or None
    found["tool"] = request.tool_calls[0]["function"]["name"] if request.tool_calls else None
    return found


def read(*names: str) -> dict[str, LoggedRequest]:
    reading = Reading(files=[DATA / name for name in names])
    found: dict[str, LoggedRequest] = {}
    for _, request in reading.requests():
        known = found.get(request.id or "")
        found[request.id or ""] = request if known is None else merged(known, request)
    assert not reading.problems.counts
    return found


def differences(name: str, found: dict[str, LoggedRequest]) -> list[tuple]:
    lacks = set(LACKS[name].split())
    wrong = []
    for identifier, row in CANONICAL.items():
        if identifier not in found:
            wrong += [] if "failures" in lacks and row["status"] != 200 else [(identifier, "is missing")]
            continue
        is_whole = name in WHOLE_SECONDS
        has = seen(found[identifier])
        for field, value in expected(row).items():
            unknown = has[field] is None and (value is None or field in lacks)
            tolerance = 1.0 if is_whole and field == "started_at" else 6e-4
            close = (
                isinstance(value, float) and has[field] is not None and abs(has[field] - value) <= tolerance
            )
            if not (unknown or close or has[field] == value):
                wrong.append((identifier, field, has[field], value))
    return wrong


@pytest.mark.parametrize("name", [name for name in LACKS if name != "openai-batch"])
def test_an_export_gives_the_canonical_records(name: str) -> None:
    assert differences(name, read(name)) == []


@pytest.mark.parametrize(("first", "second"), [("input", "output"), ("output", "input")])
def test_both_files_of_a_batch_give_the_canonical_records(first: str, second: str) -> None:
    found = read(f"openai-batch-{first}.jsonl", f"openai-batch-{second}.jsonl")
    assert differences("openai-batch", found) == []


def test_a_plain_table_gives_the_canonical_records() -> None:
    rows = [request for _, request in Reading(files=[DATA / "plain.csv"]).requests()]
    assert len(rows) == len(CANONICAL)
    for request, row in zip(rows, CANONICAL.values(), strict=True):
        wanted = expected(row)
        for field in ("status", "model", "input", "output", "user", "completion"):
            assert getattr(request, field) == wanted[field], field
        assert request.latency_s == pytest.approx(wanted["latency_s"], abs=6e-4)
        assert request.started_at == pytest.approx(wanted["started_at"], abs=1e-6)
        assert request.messages == [row["messages"][-1]]
        assert request.cached is None
        assert request.cost_usd is None


def test_a_usage_export_gives_the_canonical_sums() -> None:
    sums = [request for _, request in Reading(files=[DATA / "openai-usage-completions.json"]).requests()]
    served = [row for row in CANONICAL.values() if row["status"] == 200]
    assert sum(each.calls for each in sums) == len(served)
    for field in ("input", "cached", "output"):
        assert sum(getattr(each, field) for each in sums) == sum(row[field] for row in served)


def test_texts_can_be_left_out() -> None:
    for path in DATA.glob("*.json*"):
        for _, request in Reading(files=[path], options=ReadingOptions(texts=False)).requests():
            assert request.completion is None
            assert path.name == "canonical.jsonl" or request.messages is None, path


def test_the_gateways_own_records_are_read_without_its_shadows(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    record = {
        "id": "req-0",
        "at": 1_793_000_000.25,
        "worker": 0,
        "key": "k1",
        "team": "t",
        "route": "support",
        "model": "gpt-4o-2024-08-06",
        "status": 200,
        "input_tokens": 20,
        "output_tokens": 1,
        "cache_read_input_tokens": 10,
        "cost_usd": 0.00005,
        "latency_ms": 812.5,
    }
    rows = [record | {"id": f"req-{number}"} for number in range(100)]
    rows.append(record | {"id": "copy", "shadow": True})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(str(path))
    assert len(found) == 100
    first = found["req-0"]
    assert (first.route, first.model, first.input, first.cached, first.output) == (
        "support",
        "gpt-4o-2024-08-06",
        20,
        10,
        1,
    )
    assert (first.latency_s, first.status, first.failed, first.messages) == (0.8125, 200, False, None)


def test_how_an_azure_request_ended_is_joined_to_what_was_said(tmp_path: Path) -> None:
    logs = (DATA / "azure-apim-llmlog.jsonl").read_text("utf-8")
    first = json.loads(logs.splitlines()[0])["CorrelationId"]
    ended = {
        "CorrelationId": first,
        "ResponseCode": 429,
        "TotalTime": 1250,
        "TimeGenerated": "2026-11-02T08:00:00Z",
    }
    (tmp_path / "llm.jsonl").write_text(logs, "utf-8")
    (tmp_path / "outcome.jsonl").write_text(json.dumps(ended) + "\n", "utf-8")
    found = read(str(tmp_path / "llm.jsonl"), str(tmp_path / "outcome.jsonl"))
    assert len(found) == 24
    assert (found[first].status, found[first].latency_s) == (429, 1.25)
    assert found[first].messages is not None


def test_parquet_is_read(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    rows = [
        json.loads(line) for line in (DATA / "litellm-spendlogs.jsonl").read_text("utf-8").split("\n")[:-1]
    ]
    names = ("request_id", "spend", "startTime", "endTime", "model", "prompt_tokens", "completion_tokens")
    write_table(pa.table({name: [row[name] for row in rows] for name in names}), tmp_path / "log.parquet")
    found = read(str(tmp_path / "log.parquet"))
    assert sum(each.input or 0 for each in found.values()) == sum(row["prompt_tokens"] for row in rows)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "log.parquet").read_bytes()[:-40])
    reading = Reading(files=[tmp_path / "cut.parquet"])
    assert list(reading.requests()) == []
    assert reading.problems.counts == {"damaged Parquet": 1}
