"""Evaluation sets drawn from a log: stratified, spread over time, without doubles, redacted, weighted."""

import json
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgrade.catalog import packaged_catalog
from crossgrade.workloads import Redactor
from crossgrade.workloads.traffic import Drawn, draw_samples, subject_of
from tests.codes import raises_code

START = 1_793_000_000 - 1_793_000_000 % 86_400
KEY = b"k" * 32
ASKED = [{"role": "user", "content": "What is this about?"}]


def row(number: int, question: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "timestamp": START + number * 60.5,
        "model": "gpt-4.1-mini",
        "provider": "openai",
        "route": "support",
        "user": f"u{number % 7}",
        "input_tokens": 100,
        "output_tokens": 10,
        "status": 200,
        "temperature": 0,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": question}],
        "completion": "billing",
    } | changes


def drawn(
    folder: Path, rows: list[dict[str, Any]], n: int = 50, name: str = "support", **options: Any
) -> Drawn:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return draw_samples(
        [path],
        name,
        n,
        catalog=packaged_catalog(),
        today=date(2026, 11, 25),
        subject_key=KEY,
        **options,
    )


def test_samples_are_spread_over_time_and_stand_for_all_requests(tmp_path: Path) -> None:
    found = drawn(tmp_path, [row(n, f"Question {n} about invoices") for n in range(1000)])
    assert (len(found.rows), found.requests) == (50, 1000)
    assert sum(each["weight"] for each in found.rows) == 1000
    stretch = [
        int((datetime.fromisoformat(each["at"]).timestamp() - START) / 60.5 / 20) for each in found.rows
    ]
    assert sorted(stretch) == list(range(50))
    assert found.traffic.peak_tokens_per_minute == 110
    assert [each["id"] for each in found.rows] == [f"r{n:05d}" for n in range(1, 51)]


def test_each_stratum_has_its_share(tmp_path: Path) -> None:
    openings = ["Translate this text: {}"] * 6 + ["Summarise the note {}"] * 3 + ["Fix my code {}"]
    rows = [
        row(n, openings[n % 10].format(f"w{n}"), messages=None, prompt=openings[n % 10].format(f"w{n}"))
        for n in range(1000)
    ]
    for each in rows:
        each["system"] = "You are the desk of Northwind Traders Limited."
    found = drawn(tmp_path, rows, n=100)
    first = Counter(each["input"].split()[0] for each in found.rows)
    assert first == {"Translate": 60, "Summarise": 30, "Fix": 10}


def test_the_weighted_mean_is_that_of_the_traffic(tmp_path: Path) -> None:
    # Doubles: one question makes up 40 % of the traffic and is one sample of that weight.
    rows = [row(n, "Where is my parcel?" if n % 5 < 2 else f"Where is order {n}?") for n in range(1000)]
    for each in rows:
        each["messages"].insert(
            0, {"role": "system", "content": "You answer letters at the desk of Northwind Traders."}
        )
    found = drawn(tmp_path, rows, n=200)
    share = np.mean(
        [
            sum(
                each["weight"]
                for each in drawn(tmp_path, rows, n=200, seed=seed).rows
                if each["input"] == "Where is my parcel?"
            )
            / 1000
            for seed in range(10)
        ]
    )
    assert share == pytest.approx(0.4, abs=0.03)
    inputs = [each["input"] for each in found.rows]
    assert len(inputs) == len(set(inputs))
    assert found.doubles == 200 - len(inputs)
    assert sum(each["weight"] for each in found.rows) == 1000


def test_a_request_that_comes_back_weighs_its_count_where_all_are_drawn(tmp_path: Path) -> None:
    rows = [row(n, "Where is my parcel?" if n % 5 < 2 else f"Where is order {n}?") for n in range(50)]
    for each in rows:
        each["messages"].insert(
            0, {"role": "system", "content": "You answer letters at the desk of Northwind Traders."}
        )
    # Another temperature is the same question: a run asks it with one.
    rows[0]["temperature"] = 1
    weights = {each["input"]: each["weight"] for each in drawn(tmp_path, rows, n=100).rows}
    assert weights.pop("Where is my parcel?") == 20
    assert len(weights) == 30
    assert set(weights.values()) == {1}


def test_the_draw_is_that_of_its_seed(tmp_path: Path) -> None:
    rows = [row(n, f"Question {n}") for n in range(500)]
    one, two, other = (drawn(tmp_path, rows, seed=seed).rows for seed in (1, 1, 2))
    assert one == two
    assert one != other


def test_texts_are_redacted_before_anything_is_kept(tmp_path: Path) -> None:
    rows = [
        row(n, f"I am jane{n}@acme.com, call +49 30 1234567", completion=f"Mailed jane{n}@acme.com")
        for n in range(60)
    ]
    found = drawn(tmp_path, rows)
    assert found.redacted["email"] >= 2
    assert found.redacted["phone"] >= 1
    assert "acme.com" not in json.dumps([dict(each) for each in found.rows])
    assert {each["input"] for each in found.rows} == {"I am [email], call [phone]"}
    # What was redacted is another question than the one that was answered.
    assert set(found.answered) == {None}


def test_redaction_may_be_sealed(tmp_path: Path) -> None:
    rows = [row(n, f"I am jane{n}@acme.com") for n in range(60)]
    found = drawn(tmp_path, rows, redactor=Redactor(seal=lambda value: value.encode().hex()))
    assert len(found.rows) == 50
    assert found.rows[0]["input"].startswith("I am [email:6a616e65")


def test_people_are_pseudonyms_under_the_key(tmp_path: Path) -> None:
    found = drawn(tmp_path, [row(n, f"Question {n}") for n in range(70)], n=70)
    assert {each["subject"] for each in found.rows} == {subject_of(f"u{n}", KEY) for n in range(7)}
    assert subject_of("u1", KEY) != subject_of("u1", b"other")


def test_a_sample_of_several_people_names_them_all(tmp_path: Path) -> None:
    rows = [row(n, "The same question") for n in range(14)] + [row(50, "Another", user=None)]
    found = drawn(tmp_path, rows, n=15)
    assert {len(each["subject"] or []) for each in found.rows} == {0, 7}


def test_an_agents_log_says_how_little_its_samples_stand_for(tmp_path: Path) -> None:
    # 25 conversations of an agent: one first turn each that needs no tool, then the tool loop.
    calls = [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "look_up"}}]}]
    rows = [row(n, f"Task {n % 25}", session=f"s{n % 25}") for n in range(587)]
    for each in rows[25:]:
        each["messages"] += [*calls, {"role": "tool", "tool_call_id": "c", "content": "12:40"}]
    found = drawn(tmp_path, rows, n=400)
    assert (len(found.rows), found.requests, found.left_out) == (25, 587, {"uses tools": 562})
    assert sum(each["weight"] for each in found.rows) == 25
    assert found.traffic.represented_share == pytest.approx(25 / 587)
    assert found.traffic.left_out == {"uses tools": pytest.approx(562 / 587)}
    # The volume is that of the 25 requests over the log's ten hours, and has no interval.
    assert found.traffic.hours == pytest.approx(586 * 60.5 / 3600)
    assert found.traffic.requests_per_month == round(25 / (found.traffic.hours or 1) * 720)
    assert (found.traffic.low, found.traffic.high) == (None, None)


def test_what_cannot_be_asked_again_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [row(n, f"Question {n}") for n in range(40)]
    for n in range(0, 40, 2):
        image = {"type": "image_url", "image_url": {"url": "data:"}}
        rows[n]["messages"][0]["content"] = [{"type": "text", "text": f"Question {n}"}, image]
    rows[1]["messages"].append({"role": "assistant", "content": "a"})
    rows += [row(n, f"Question {n}", status=500) for n in range(40, 60)]
    found = drawn(tmp_path, rows)
    assert found.left_out == {"images or files": 20, "no question at its end": 1}
    assert (found.requests, len(found.rows)) == (40, 19)
    assert all("Question" in each["input"] for each in found.rows)
    with raises_code("requests-not-repeatable", "support", "tools 5"):
        drawn(tmp_path, [row(n, "x", tools=[{"name": "look_up"}]) for n in range(5)])


def test_the_schema_of_answers_is_carried_where_all_requests_have_it(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"team": {"type": "string"}}}
    named = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}

    def asked(*formats: Any) -> Drawn:
        rows = [
            row(n, f"Question {n} about invoices", response_format=formats[n % len(formats)])
            for n in range(60)
        ]
        return drawn(tmp_path, rows)

    found = asked(named)
    assert found.response_schema == schema
    assert all(found.answered)
    assert asked({"type": "json_object"}).response_schema == {"type": "object"}
    assert asked({"type": "text"}).response_schema is None
    other = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    mixed = asked(named, other)
    assert mixed.response_schema is None
    assert not any(mixed.answered)
    for text in ("x" * 40_000, "ask anna.meier@northwind.example"):
        unfit = {"type": "object", "description": text}
        kept = asked({"type": "json_schema", "json_schema": {"name": "n", "schema": unfit}})
        assert (kept.response_schema, any(kept.answered)) == (None, False)


def test_chats_of_several_turns_are_samples_of_their_conversation(tmp_path: Path) -> None:
    rows, system = list[dict[str, Any]](), {"role": "system", "content": "You are the desk of Northwind."}
    for chat in range(10):
        turns = [system]
        for turn in range(4):
            turns = [*turns, {"role": "user", "content": f"Chat {chat}, question {turn}: jane@acme.com"}]
            rows.append(row(len(rows), "", messages=turns, user=f"u{chat}", completion=f"Answer {turn}"))
            turns = [*turns, {"role": "assistant", "content": f"Answer {turn}"}]
    found = drawn(tmp_path, rows, name="support", n=100)
    assert (len(found.rows), found.traffic.represented_share) == (40, 1)
    assert Counter(Counter(each["conversation"] for each in found.rows).values()) == {4: 10}
    third = next(each for each in found.rows if each["input"].startswith("Chat 3, question 2"))
    assert third["system"] == system["content"]
    assert third["history"] == [
        {"role": "user", "content": "Chat 3, question 0: [email]"},
        {"role": "assistant", "content": "Answer 0"},
        {"role": "user", "content": "Chat 3, question 1: [email]"},
        {"role": "assistant", "content": "Answer 1"},
    ]


def test_a_week_of_log_gives_the_volume_an_interval(tmp_path: Path) -> None:
    rows = [row(n, f"Question {n}", timestamp=START + n * 3600.5) for n in range(24 * 9)]
    traffic = drawn(tmp_path, rows).traffic
    assert traffic.low is not None
    assert traffic.high is not None
    assert traffic.low <= (traffic.requests_per_month or 0) <= traffic.high
    assert traffic.requests_per_month == pytest.approx(24 * 30, rel=0.01)


def test_logged_answers_are_kept_where_the_request_was_the_same(tmp_path: Path) -> None:
    rows = [row(n, f"Question {n}") for n in range(50)]
    rows[3]["temperature"] = 0.7
    rows[4]["model"] = "gpt-4o"
    rows[5]["finish_reason"] = "length"
    found = drawn(tmp_path, rows)
    assert found.settings == {"temperature": 0, "max_output_tokens": 64}
    assert found.incumbent == "gpt-4.1-mini"
    assert sum(each is not None for each in found.answered) == 47


@pytest.mark.parametrize(
    ("left_out", "settings"),
    [
        (("temperature",), {"temperature": None, "max_output_tokens": 64}),
        (("temperature", "max_tokens"), {"temperature": None, "max_output_tokens": None}),
    ],
)
def test_what_a_request_left_to_the_provider_a_run_leaves_too(
    tmp_path: Path, left_out: tuple[str, ...], settings: dict[str, Any]
) -> None:
    """The logged answers are those to what a run asks, and a candidate is asked the same."""

    def logged(number: int, *without: str) -> dict[str, Any]:
        given = row(number, f"Question {number}")
        names = {"model", "temperature", "max_tokens", "messages"}.difference(without)
        message = {"role": "assistant", "content": given["completion"]}
        return {
            **{name: given[name] for name in ("timestamp", "provider", "route", "user")},
            "request": {name: given[name] for name in names},
            "response": {"choices": [{"message": message, "finish_reason": "stop"}]},
        }

    rows = [logged(n, *left_out) for n in range(40)] + [logged(n) for n in range(40, 50)]
    found = drawn(tmp_path, rows)
    assert found.settings == settings
    assert sum(each is not None for each in found.answered) == 40


def test_a_log_without_parameters_says_nothing_of_settings(tmp_path: Path) -> None:
    rows = [row(n, f"Question {n}", temperature=None, max_tokens=None) for n in range(50)]
    found = drawn(tmp_path, rows)
    assert found.settings == {}
    assert not any(found.answered)


@pytest.mark.parametrize(
    ("answers", "scorer"),
    [
        (
            ("billing", "refund", "bug"),
            {"kind": "exact", "options": {"labels": ["billing", "bug", "refund"]}},
        ),
        ((*(f'{{"n": {n}}}' for n in range(40)),), {"kind": "json_fields"}),
        ((*(f"{n}.50" for n in range(40)),), {"kind": "numeric"}),
        ((*(f"Dear customer {n}, we are sorry." for n in range(40)),), {"kind": "judge"}),
    ],
)
def test_a_scorer_is_proposed_from_the_answers(
    tmp_path: Path, answers: tuple[str, ...], scorer: dict[str, Any]
) -> None:
    rows = [row(n, f"Question {n}", completion=answers[n % len(answers)]) for n in range(60)]
    assert drawn(tmp_path, rows, n=60).scorer == scorer


def test_a_workload_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    with raises_code("log-workload-unknown", "support"):
        drawn(tmp_path, [row(n, f"Question {n}") for n in range(5)], name="suport")


@pytest.mark.parametrize(
    ("body", "provider", "api", "uncarried"),
    [
        ({"messages": ASKED}, "openai", "openai", None),
        ({"messages": ASKED, "frequency_penalty": 0.5}, "openai", "openai", "frequency_penalty"),
        ({"messages": ASKED, "frequency_penalty": 0, "n": 1}, "openai", "openai", None),
        (
            {"messages": ASKED, "top_logprobs": 3, "web_search_options": {}},
            "openai",
            "openai",
            "web_search_options",
        ),
        (
            {"messages": ASKED, "max_tokens": 9, "system": "Be brief.", "top_k": 5},
            "anthropic",
            "anthropic",
            "top_k",
        ),
        ({"input": ASKED, "truncation": "auto"}, "openai", "openai-responses", "truncation"),
    ],
)
def test_what_no_other_api_can_express_is_named(
    tmp_path: Path, body: dict[str, Any], provider: str, api: str, uncarried: str | None
) -> None:
    rows = [
        {
            "timestamp": START + at, "provider": provider, "route": "support",
            "request": {"model": "m", **body},
            "response": {"id": f"a{at}", "choices": [{"message": {"content": "billing"}}]},
        }
        for at in range(5)
    ]  # fmt: skip
    found = drawn(tmp_path, rows)
    assert found.client_api == api
    assert {each.get("uncarried") for each in found.rows} == {uncarried}


def test_a_log_without_bodies_does_not_tell_the_clients_api(tmp_path: Path) -> None:
    found = drawn(tmp_path, [row(at, f"question {at}") for at in range(5)])
    assert found.client_api is None


def test_the_busiest_minute_counts_the_tokens_that_are_known(tmp_path: Path) -> None:
    rows = [row(n, f"Question {n} about invoices") for n in range(40)]
    for n in (3, 4, 5):
        rows[n] |= {"timestamp": START + 600 + n, "input_tokens": 1_000 * n}
    rows[5]["status"] = 500  # a request that failed is no traffic
    rows.append(row(40, "A question of unknown length", timestamp=START + 601, input_tokens=None))
    busiest = 3_010 + 4_010 + 10
    assert drawn(tmp_path, rows, n=20).traffic.peak_tokens_per_minute == busiest + 110


def test_what_caching_would_have_saved_goes_with_the_workload(tmp_path: Path) -> None:
    system = {"role": "system", "content": "You answer tickets of the harbour office. " * 200}
    rows = [
        row(
            n,
            f"Question {n}",
            messages=[system, {"role": "user", "content": f"Question {n}"}],
            input_tokens=2_100,
        )
        for n in range(60)
    ]
    share = drawn(tmp_path, rows, n=20).traffic.cache_saving_share
    assert share is not None
    assert 0.5 < share < 0.75  # nearly all input, at a quarter of its price
    rare = [each | {"timestamp": START + n * 3_600} for n, each in enumerate(rows)]
    assert drawn(tmp_path, rare, n=20).traffic.cache_saving_share == 0
    assert drawn(tmp_path, [row(n, f"Question {n}") for n in range(60)], n=20).traffic.cache_saving_share == 0
