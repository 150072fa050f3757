"""Workloads found in a log, and their figures."""

import json
import random
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crossgrade.catalog import Catalog, packaged_catalog, price_doubts
from crossgrade.catalog.bills import bill_offers
from crossgrade.dialects import HOSTS
from crossgrade.domain import Contract, Offer, Team
from crossgrade.pricing.usage import stated_traffic
from crossgrade.report import render_scan, scan_rows
from crossgrade.workloads.traffic import Scan, scan_logs, scan_record
from crossgrade.workloads.traffic.money import alternatives
from crossgrade.workloads.traffic.request import call_of
from tests.codes import check_reason, names

DATA = Path(__file__).parents[3] / "data" / "traffic"
TODAY = date(2026, 11, 25)
START = 1_793_000_000 - 1_793_000_000 % 86_400
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {}}}


def chat(question: str, system: str | None = None) -> list[dict[str, str]]:
    found = [{"role": "user", "content": question}]
    return found if system is None else [{"role": "system", "content": system}, *found]


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "timestamp": START + number * 600.5,
        "model": "gpt-4.1-mini",
        "provider": "openai",
        "input_tokens": 1000,
        "output_tokens": 100,
        "latency_ms": 500 + number % 7 * 100,
        "status": 200,
    } | changes


def scanned(path: Path, rows: list[dict[str, Any]], **options: Any) -> Scan:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return scan_logs([path], catalog=packaged_catalog(), today=date(2026, 11, 25), **options)


def test_the_strongest_facts_come_first(tmp_path: Path) -> None:
    rows = [row(n, route="support", messages=chat("hello there")) for n in range(30)]
    rows += [row(n, messages=chat(f"q {n}", "You translate contracts into French.")) for n in range(100, 130)]
    rows += [row(n, messages=chat(f"q {n}", "You are helpful."), tools=[TOOL]) for n in range(200, 230)]
    rows += [row(n, messages=chat(f"Summarise meeting {n} for me")) for n in range(300, 330)]
    found = scanned(tmp_path / "log.jsonl", rows)
    assert {each.name: each.requests for each in found.findings}.items() >= {
        ("support", 30),
        ("translate-contracts-french", 30),
    }
    kinds = {each.kind for each in found.findings}
    assert any((each.route, each.system, each.opening) == ("support", None, "") for each in kinds)
    assert any(each.opening == "summarise meeting #" for each in kinds)


def test_numbers_in_a_prompt_make_no_new_workload(tmp_path: Path) -> None:
    rows = [
        row(n, messages=chat("hi", f"You serve customer {n} since 20{n:02d}-01-01.")) for n in range(10, 60)
    ]
    assert len(scanned(tmp_path / "log.jsonl", rows).findings) == 1


def test_the_figures_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = [
        row(n, route="support", cached_tokens=250, status=500 if n % 10 == 0 else 200) for n in range(1440)
    ]
    found = scanned(tmp_path / "log.jsonl", rows)
    (support,) = found.findings
    assert (support.requests, support.input_tokens, support.output_tokens) == (1440, 1_440_000, 144_000)
    assert support.cached_share == 0.25
    assert support.input_quantiles == {"p50": 1000, "p95": 1000, "p99": 1000}
    assert support.errors.value == pytest.approx(0.1)
    assert support.errors.low < 0.1 < support.errors.high
    assert support.latency_p50_s.value == pytest.approx(0.8)
    assert support.latency_p95_s.low is not None
    # By the list price of gpt-4.1-mini: $0.40 in, $0.10 from cache, $1.60 out a million.
    assert support.spend_usd == pytest.approx(1440 * (750 * 0.4 + 250 * 0.1 + 100 * 1.6) / 1e6)
    month = support.spend_per_month_usd
    assert month.method == "t over days"
    assert month.low <= month.value <= month.high  # type: ignore[operator]  # all are known
    assert month.value == pytest.approx(support.spend_usd / 10 * 30, rel=0.02)
    assert support.growth.value == pytest.approx(1.0, abs=0.02)
    assert {move.open_weights for move in support.moves} == {True, False}
    for move in support.moves:
        assert move.context_tokens >= 1100
        saving = move.saving_per_month_usd
        assert saving.low is not None
        assert move.test_cost_usd == pytest.approx(
            support.samples * (move.mean_cost_usd + support.spend_usd / 1440)
        )
    # What counts is what is saved beyond today's model by batch.
    best = max(move.beyond_thrift_usd / move.test_cost_usd for move in support.moves)  # type: ignore[operator]  # all are known
    assert support.score == pytest.approx(best * support.likelihood.value)
    values = [
        12 * move.beyond_thrift_usd * support.likelihood.value - move.test_cost_usd  # type: ignore[operator]  # all are known
        for move in support.moves
    ]
    assert support.labels_cost_usd == support.samples * 0.5
    assert support.net_value_usd == pytest.approx(max(values) - support.labels_cost_usd)
    (free,) = scanned(tmp_path / "log.jsonl", rows, label_usd=0).findings
    assert free.net_value_usd == pytest.approx(max(values))


def test_rank_is_by_net_value_not_by_dollars_a_dollar(tmp_path: Path) -> None:
    # Many cheap requests save most for a dollar of testing, fewer expensive ones save most.
    rows = [row(n, route="cheap", cost_usd=0.002) for n in range(1000)]
    rows += [row(n, route="expensive", cost_usd=0.05) for n in range(1000, 1200)]
    found = scanned(tmp_path / "log.jsonl", rows).findings
    values = [each.net_value_usd for each in found]
    assert [each.name for each in found] == ["expensive", "cheap"]
    assert values == sorted(values, reverse=True)  # type: ignore[type-var]  # all are known
    assert found[0].score < found[1].score  # type: ignore[operator]  # all are known


def test_shares_are_of_the_spend_and_most_of_it_is_in_few_workloads(tmp_path: Path) -> None:
    rows = [row(n, route="half", cost_usd=0.05) for n in range(100)]
    rows += [row(n, route="third", cost_usd=0.033) for n in range(100, 200)]
    rows += [row(n, route="rest", cost_usd=0.017) for n in range(200, 300)]
    found = scanned(tmp_path / "log.jsonl", rows)
    shares = dict(zip([each.name for each in found.findings], found.shares, strict=True))
    assert shares == pytest.approx({"half": 0.5, "third": 0.33, "rest": 0.17})
    assert {found.findings[at].name for at in found.most_of_spend()} == {"half", "third"}
    assert {found.findings[at].name for at in found.most_of_spend(0.49)} == {"half"}
    assert [each["spend_share"] for each in scan_record(found)["findings"]] == list(found.shares)
    unpriced = scanned(tmp_path / "log.jsonl", [row(1, model="none-of-ours")])
    assert (unpriced.shares, unpriced.most_of_spend()) == ((None,), frozenset())


def test_prompts_that_share_a_route_name_their_workloads(tmp_path: Path) -> None:
    rows = [
        row(n, route="team", messages=chat("q", prompt))
        for n, prompt in enumerate(
            ["You translate contracts into French.", "Résumé screening: rate each applicant. Be fair."] * 20
        )
    ]
    found = scanned(tmp_path / "log.jsonl", rows).findings
    assert {each.name for each in found} == {"team-translate-contracts-french", "team-resume-screening-rate"}
    assert any(names(each.reason, "Résumé screening:") for each in found)


def test_a_name_from_a_prompt_is_short_plain_and_tells_no_secret(tmp_path: Path) -> None:
    prompt = "\x1b[2J\u202eAnswer jane@acme.com sk-abcdefghijklmnopqrstuv " + "unbreakable" * 40
    (found,) = scanned(
        tmp_path / "log.jsonl", [row(n, messages=chat("q", prompt)) for n in range(30)]
    ).findings
    assert re.fullmatch(r"[a-z0-9-]{1,48}", found.name)
    assert "jane" not in found.name + found.reason
    assert "sk-abc" not in found.name + found.reason
    assert len(found.reason) < 160


def test_rank_puts_the_larger_saving_for_a_cheaper_test_first(tmp_path: Path) -> None:
    rows = [row(n, route="small", input_tokens=100) for n in range(10)]
    rows += [row(n, route="large") for n in range(1000, 2000)]
    found = scanned(tmp_path / "log.jsonl", rows)
    assert [each.name for each in found.findings] == ["large", "small"]


def test_logged_costs_come_before_list_prices(tmp_path: Path) -> None:
    rows = [row(n, cost_usd=0.5) if n < 3 else row(n, model="gpt-4.1-mini") for n in range(4)]
    found = scanned(tmp_path / "log.jsonl", rows)
    assert found.findings[0].spend_logged_n == 3
    assert found.spend_n == 4
    assert found.spend_usd == pytest.approx(1.5 + (1000 * 0.4 + 100 * 1.6) / 1e6)


def test_offers_fit_the_longest_request_and_are_not_the_model_of_today(tmp_path: Path) -> None:
    rows = [row(n, input_tokens=400_000, model="gpt-5-nano") for n in range(3)]
    (found,) = scanned(tmp_path / "log.jsonl", rows).findings
    assert all(move.context_tokens >= 400_100 for move in found.moves)
    rows = [row(n, input_tokens=3_000_000_0) for n in range(3)]
    (found,) = scanned(tmp_path / "log.jsonl", rows).findings
    assert found.moves == ()
    assert {"open_offer", "proprietary_offer"} <= found.unknown.keys()
    rows = [row(n, model="gpt-5-nano") for n in range(3)]
    (found,) = scanned(tmp_path / "log.jsonl", rows).findings
    assert "gpt-5-nano" not in {move.model for move in found.moves}


def test_what_a_licence_withholds_is_no_offer(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row(n)) + "\n" for n in range(3)), encoding="utf-8")
    team = {"monthly_active_users": 1, "monthly_revenue_usd": Decimal(1)}
    offered = {
        country: {
            each.listing.model
            for each in alternatives(Catalog(team=Team(country=country, **team)), TODAY, TODAY)  # type: ignore[arg-type]  # fields that the test names
        }
        for country in ("DE", "US")
    }
    assert "llama-4-scout" in offered["US"] - offered["DE"]
    assert {"gpt-oss-120b", "llama-3.3-70b"} <= offered["DE"]


def test_what_stays_owed_by_a_contract_is_no_saving(tmp_path: Path) -> None:
    plain = scanned(tmp_path / "log.jsonl", [row(n) for n in range(2000)])
    contract = Contract(provider="openai", minimum_usd_per_month=Decimal(10**6))
    bound = scan_logs(
        [tmp_path / "log.jsonl"], catalog=Catalog(team=Team(contracts=(contract,))), today=TODAY
    )
    moves = {each.offer: each for each in plain.findings[0].moves}
    assert len(moves) == 2
    for each in bound.findings[0].moves:
        requests = bound.findings[0].requests_per_month
        assert requests is not None
        # At another provider its whole cost is on top of the minimum. At OpenAI both count towards it.
        more = 0.0 if each.provider == "openai" else -each.mean_cost_usd * requests
        assert each.saving_per_month_usd.value == pytest.approx(more)
        assert (moves[each.offer].saving_per_month_usd.value or 0) > 0
        check_reason(each.saving_per_month_usd, "contracts-owed")


def test_a_host_that_binds_no_schema_is_no_offer_for_schemas(tmp_path: Path) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    lines = [
        {
            "custom_id": f"r{n}",
            "body": {"model": "gpt-4o", "messages": chat("x"), "response_format": schema},
        }
        for n in range(3)
    ]
    (found,) = scanned(tmp_path / "log.jsonl", lines).findings
    assert found.features == ("JSON schema",)


def test_agentic_calls_are_sessions(tmp_path: Path) -> None:
    rows = []
    for session in range(6):
        messages: list[dict[str, Any]] = chat(
            f"Book flight {'abcdef'[session]} for me", "You are a travel agent."
        )
        for turn in range(4):
            rows.append(
                row(
                    session * 10 + turn,
                    messages=list(messages),
                    tools=[TOOL],
                    cost_usd=0.01,
                    user=f"u{session}",
                )
            )
            messages += [
                {"role": "assistant", "tool_calls": [{"id": f"c{turn}", "function": {"name": "look_up"}}]},
                {"role": "tool", "tool_call_id": f"c{turn}", "content": "12:40"},
            ]
    scan = scanned(tmp_path / "log.jsonl", rows)
    (found,) = scan.findings
    assert (found.sessions, found.sessions_n, found.sessions_inferred_n) == (6, 24, 24)
    assert found.calls_per_session.value == 4
    assert found.cost_per_session_usd.value == pytest.approx(0.04)
    assert found.agentic.value == 0.75
    # 6 sessions, not 24 requests, are what the interval is of.
    assert (found.agentic.low, found.agentic.high) == (
        pytest.approx(0.365, abs=0.001),
        pytest.approx(0.940, abs=0.001),
    )
    assert scan_rows(scan)[0].agent == (
        "tools in loops: 75 % [36 %, 94 %] of 24 requests read what a tool gave, 6 runs of 4.0 calls and "
        "$0.0400 each; a move needs trials of your agent (`requirements.evidence: agentic`)"
    )
    assert "tools" in found.features
    assert "tools" in found.unknown["features"]
    for each in rows:
        each["session"] = "one"
    (found,) = scanned(tmp_path / "log.jsonl", rows).findings
    assert (found.sessions, found.sessions_inferred_n) == (1, 0)


def test_sums_of_a_warehouse_are_a_log_without_lengths(tmp_path: Path) -> None:
    rows = [
        {
            "date": f"2026-11-{day:02d}",
            "route": "support",
            "model": "gpt-4.1-mini",
            "requests": 1000,
            "input_tokens": 1_000_000,
            "output_tokens": 100_000,
            "cost_usd": 0.56,
        }
        for day in range(1, 11)
    ]
    (found,) = scanned(tmp_path / "log.jsonl", rows).findings
    assert (found.requests, found.input_tokens, found.longest) == (10_000, 10_000_000, None)
    assert found.input_quantiles == {}
    assert "lengths" in found.unknown
    move = found.moves[0]
    assert move.n == 10_000
    assert move.mean_cost_usd < 0.001
    check_reason(move.saving_per_month_usd, "sums-of-requests")
    assert move.saving_per_month_usd.value == pytest.approx((move.share_saved or 0) * 0.56 * 30)


def test_sums_beside_a_log_are_compared_not_added() -> None:
    files = [DATA / "openai-usage-completions.json", DATA / "litellm-spendlogs.jsonl"]
    found = scan_logs(files, catalog=packaged_catalog(), today=date(2026, 11, 25))
    assert found.requests == 24
    assert found.sums is not None
    assert found.sums.requests == 21


def test_the_same_requests_in_every_export_are_counted_once() -> None:
    exports = [path for path in DATA.iterdir() if path.suffix in {".json", ".jsonl", ".csv"}]
    exports = [path for path in exports if path.name != "canonical.jsonl"]
    found = scan_logs(exports, catalog=packaged_catalog(), today=date(2026, 11, 25))
    assert (found.requests, found.conflicts) == (24, 0)
    assert not found.problems
    one = scan_logs([DATA / "litellm-spendlogs.jsonl"], catalog=packaged_catalog(), today=date(2026, 11, 25))
    assert (found.input_tokens, found.output_tokens) == (one.input_tokens, one.output_tokens)
    assert found.spend_usd == pytest.approx(one.spend_usd)


@pytest.mark.parametrize(
    ("name", "totals"),
    [
        ("azure-2023-code.csv.gz", (8819, 18_059_974, 245_896)),
        ("mooncake-fast25-conversation.jsonl.gz", (12_031, 144_793_823, 4_122_048)),
    ],
)
def test_totals_of_public_traces_are_exact(name: str, totals: tuple[int, int, int]) -> None:
    found = scan_logs([DATA / name], catalog=packaged_catalog(), today=date(2026, 11, 25))
    assert (found.requests, found.input_tokens, found.output_tokens) == totals
    assert found.spend_usd is None
    named = scan_logs(
        [DATA / name],
        catalog=packaged_catalog(),
        today=date(2026, 11, 25),
        model="gpt-4o",
        on=date(2026, 11, 25),
    )
    assert named.spend_n == totals[0]
    assert named.findings[0].moves


def test_many_kinds_become_few_workloads(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [row(n, route=f"team-{rng.randrange(200)}") for n in range(2000)]
    found = scanned(tmp_path / "log.jsonl", rows)
    assert len(found.findings) == 40
    assert sum(each.requests for each in found.findings) == 2000
    assert any(each.rest for each in found.findings)


def test_without_texts_the_money_part_stays(tmp_path: Path) -> None:
    rows = [row(n, route="support", prompt=f"secret {n}", completion="answer") for n in range(20)]
    found = scanned(tmp_path / "log.jsonl", rows, texts=False)
    assert found.findings[0].texts == 0
    assert found.spend_usd == scanned(tmp_path / "log.jsonl", rows).spend_usd


def test_a_record_holds_no_secret_of_a_prompt(tmp_path: Path) -> None:
    rows = [
        row(
            n,
            messages=chat("Write to jane@acme.com", "Answer as jane@acme.com, key sk-abcdefghijklmnopqrstuv"),
        )
        for n in range(30)
    ]
    text = json.dumps(scan_record(scanned(tmp_path / "log.jsonl", rows)), default=str)
    assert "jane" not in text
    assert "sk-abc" not in text


def test_an_empty_log_is_a_scan_of_nothing(tmp_path: Path) -> None:
    found = scanned(tmp_path / "log.jsonl", [])
    assert (found.requests, found.findings, found.problems) == (0, (), {"empty file": 1})


def test_kinds_of_calls_are_classes_with_offers_of_their_own(tmp_path: Path) -> None:
    embeddings = [
        row(
            n,
            route="support",
            model="text-embedding-3-large",
            messages=None,
            completion=None,
            output_tokens=None,
            cost_usd=2,
        )
        for n in range(100)
    ]
    named = [
        row(n, route="support", model="my-embedder", call_type="aembedding", messages=None)
        for n in range(100, 140)
    ]
    images = [row(n, route="support", model="gpt-image-1", messages=chat("A cat")) for n in range(200, 240)]
    batches = [
        {
            "custom_id": f"b{n}",
            "response": {
                "status_code": 200,
                "body": {
                    "model": "gpt-4o",
                    "created": START + n,
                    "usage": {"prompt_tokens": 900, "completion_tokens": 90},
                },
            },
        }
        for n in range(30)
    ]
    chats = [row(n, route="support", cost_usd=0.01) for n in range(300, 400)]
    found = {
        each.name: each
        for each in scanned(tmp_path / "log.jsonl", embeddings + named + images + chats + batches).findings
    }
    assert {name: each.kind.call for name, each in found.items()} == {
        "support-embedding": "embedding",
        "support-image": "image",
        "batch": "batch",
        "support": "chat",
    }
    embedding = found["support-embedding"]
    assert embedding.requests == 140
    # Dearest by far, and no evaluation can ask for it: it does not lead the list.
    assert (embedding.net_value_usd, embedding.left_out) == (None, {"no chat": 140})
    assert next(iter(found)) == "support"
    assert all("embed" in move.offer for move in embedding.moves)
    assert embedding.moves
    assert found["support-image"].moves == ()
    assert {call_of(None, move.model, batch=False) for move in found["support"].moves} == {"chat"}
    assert found["batch"].moves
    prices = [
        packaged_catalog().price(Offer(name="x", provider=m.provider, model=m.model), date(2026, 11, 20))
        for m in found["batch"].moves
    ]
    assert all(price is not None and price.batch_discount is not None for price in prices)


def test_only_offers_beyond_doubt_are_recommended() -> None:
    on = date(2026, 11, 28)
    catalog = packaged_catalog()
    doubts = price_doubts(catalog, on)
    offers = alternatives(catalog, on, on)
    assert offers
    for each in offers:
        offer = each.listing.offer()
        assert each.listing.name not in doubts
        assert offer.provider in HOSTS
        assert each.facts.retires_on is None or (each.facts.retires_on - on).days > 90
    # `cost` says the same of the same offers.
    retiring = Offer(name="nano", provider="openai", model="gpt-5-nano")
    usual = Offer(name="luna", provider="openai", model="gpt-5.6-luna")
    traffic = stated_traffic(1000, 100, calls_per_day=None)
    bills = bill_offers([retiring, usual], traffic, catalog, on)
    assert bills.rival is not None
    assert bills.rival.offer == "luna"
    assert "nano" not in {each.offer for each in bills.offers if each.may_be_chosen}


def test_what_today_s_model_could_save_stands_before_a_move(tmp_path: Path) -> None:
    system = "You answer questions about parcels. " * 200
    rows = [
        row(
            n,
            route="support",
            model="gpt-4o",
            timestamp=START + n * 60.5,
            input_tokens=2_000,
            cached_tokens=0,
            messages=chat(f"Where is parcel {n}?", system),
        )
        for n in range(400)
    ]
    (found,) = scanned(tmp_path / "log.jsonl", rows).findings
    ways = {each.way: each for each in found.thrifts}
    spend = found.spend_per_month_usd.value or 0
    assert ways["batch"].saves_usd_per_month == pytest.approx(spend / 2)
    # All but the first find nearly the whole prompt in the cache, at half the price of fresh input.
    saved = 399 / 400 * 1_920 * 1.25 / (2_000 * 2.5 + 100 * 10)
    assert ways["prompt caching"].saves_usd_per_month == pytest.approx(spend * saved, rel=0.01)
    assert ways["newer model of openai"].offer == "gpt-5.6-luna@openai"
    for move in found.moves:
        assert move.beyond_thrift_usd is not None
        assert move.beyond_thrift_usd < (move.saving_per_month_usd.value or 0)
        assert move.beyond_thrift_usd <= (move.saving_per_month_usd.value or 0) - spend * saved + 1e-6
    best = max(move.beyond_thrift_usd or 0 for move in found.moves)
    assert (found.net_value_usd or 0) < 12 * best
    # Without texts nobody knows what repeats.
    for each in rows:
        each["messages"] = None
    (bare,) = scanned(tmp_path / "log.jsonl", rows).findings
    assert {each.way: each.saves_usd_per_month for each in bare.thrifts}["prompt caching"] is None


def test_prompts_that_come_back_too_late_are_in_no_cache(tmp_path: Path) -> None:
    system = "You answer questions about parcels. " * 200
    rows = [
        row(n, model="gpt-4o", input_tokens=2_000, messages=chat(f"Where is parcel {n}?", system))
        for n in range(60)
    ]
    (found,) = scanned(tmp_path / "log.jsonl", rows).findings
    assert {each.way: each.saves_usd_per_month for each in found.thrifts}["prompt caching"] == 0


def test_what_ends_is_said_of_every_workload(tmp_path: Path) -> None:
    """The dates are the catalogue's; a model without one is not said to stay."""
    rows = [row(n, route="a", model="gpt-4o", messages=chat(f"q {n}")) for n in range(30)]
    rows += [row(n, route="a", model="gpt-4.1-mini", messages=chat(f"q {n}")) for n in range(30, 90)]
    rows += [row(n, route="b", model="my-own-model", messages=chat(f"q {n}")) for n in range(90, 120)]
    found = scanned(tmp_path / "log.jsonl", rows)
    ends = {each.name: each.ends for each in found.findings}
    assert [each.name for each in replace(found, findings=found.findings[::-1]).by_end().findings] == [
        "a",
        "b",
    ]
    assert ends == {"a": {"gpt-4.1-mini": date(2027, 1, 14), "gpt-4o": date(2027, 1, 14)}, "b": {}}
    shown = {each.name: each.ends for each in scan_rows(found)}
    assert shown["b"] == ()
    assert [day for day, _ in shown["a"]] == ["2027-01-14"] * 2
    assert names(shown["a"][1][1], "gpt-4o")
    page = render_scan(found)
    assert all(words in page for _, words in shown["a"])
    assert {"gpt-4o": "2027-01-14"}.items() <= scan_record(found)["findings"][0]["ends"].items()
