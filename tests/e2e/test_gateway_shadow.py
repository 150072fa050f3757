"""Copies to a second provider obey region, tier, opt-out, retention and caps; what is left out is counted."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from benchmarks.gateway._served import Served, command, contents, metric, serving
from crossgrade.testing import FakeProvider, ReceivedRequest, Reply
from tests.codes import names, shown_codes
from tests.e2e.certified import ask, certify, project_of, run
from tests.waiting import until

SECRET = "ada.lovelace@example.org"
CARD = "4111 1111 1111 1111"


def script(request: ReceivedRequest) -> Reply:
    text = json.dumps(request.json["messages"])
    slow = request.model == "old" and "slow" in text
    return Reply(f"write to {SECRET} of {CARD}", delay_s=0.5 if slow else 0.0)


def config_for(url: str) -> dict[str, Any]:
    model = {
        "provider": "openai-compatible", "base_url": url, "region": "eu",
        "prices": [{"input_per_mtok": 1, "output_per_mtok": 2}],
    }  # fmt: skip
    work = {
        "dataset": "none.jsonl",
        "scorer": {"kind": "json_schema", "options": {"schema": {"type": "object"}}},
        "incumbent": "old",
        "candidates": ["new"],
        "requirements": {"regions": ["eu"]},
    }
    shadows: dict[str, dict[str, Any]] = {
        "tiered": {"rate": 1.0, "tiers": ["consented"]},
        "opted": {"rate": 1.0},
        "textless": {"rate": 1.0, "store_text": False},
        "erased": {"rate": 1.0},
        "narrow": {"rate": 1.0, "max_parallel": 2},
        "poor": {"rate": 1.0, "max_usd_per_day": 0.000001},
        "rare": {"rate": 0.1},
    }
    routes: dict[str, dict[str, Any]] = {
        name: {"workload": "work", "shadow": shadow} for name, shadow in shadows.items()
    }
    return {
        "models": {name: {**model, "model": name} for name in ("old", "new")},
        "workloads": {"work": work},
        "routes": {**routes, "off": {"workload": "work"}},
        "watch": {"keep_text_days": 0},
    }


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider(script, models=("old", "new")) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(fake: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = config_for(fake.base_url)
    with serving(tmp_path_factory.mktemp("shadow"), config, key_options=("--tier", "consented")) as served:
        certify(served, {name: {} for name in config["routes"]})
        yield served


def asked(fake: FakeProvider, text: str) -> list[str]:
    """Return which models were asked about a text."""
    return sorted(each.model for each in fake.requests if text in each.body.decode())


def skipped(served: Served, route: str) -> dict[str, float]:
    """Return what was left out on a route, by reason."""
    name = "crossgrade_gateway_shadow_skipped_total"
    seen = {
        reason: metric(served, name, crossgrade_route=route, crossgrade_reason=reason)
        for reason in ("opt_out", "tier", "parallel", "budget", "failed", "region", "too_large")
    }
    return {reason: value for reason, value in seen.items() if value}


def pairs(served: Served, route: str) -> list[Any]:
    with project_of(served) as project:
        return list(project.store.pairs.recent(route, limit=1_000))


def test_without_a_word_of_the_owner_nothing_is_copied(gateway: Served, fake: FakeProvider) -> None:
    for _ in range(5):
        ask(gateway, "off", "stays here")
    ask(gateway, "opted", "the marker after it")
    until(lambda: len(asked(fake, "the marker after it")) == 2)
    assert asked(fake, "stays here") == ["new"] * 5


def test_only_tiers_that_agreed_are_copied(gateway: Served, fake: FakeProvider) -> None:
    made = json.loads(command(gateway.folder, "keys", "create", "other", "--tier", "plain", "--json"))
    until(lambda: ask(gateway, "off", key=made["secret"]).status == 200)
    assert ask(gateway, "tiered", "not agreed", key=made["secret"]).status == 200
    assert ask(gateway, "tiered", "agreed to it").status == 200
    until(lambda: pairs(gateway, "tiered"))
    until(lambda: skipped(gateway, "tiered") == {"tier": 1})
    assert asked(fake, "agreed to it") == ["new", "old"]
    assert asked(fake, "not agreed") == ["new"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_request_that_opts_out_is_not_copied(gateway: Served, fake: FakeProvider, path: str) -> None:
    text = f"mine alone {path}"
    body = {"model": "opted", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
    if "responses" in path:
        body = {"model": "opted", "input": text}
    before = skipped(gateway, "opted").get("opt_out", 0)
    headers = {"x-crossgrade-no-shadow": "1"}
    assert ask(gateway, "", path=path, body=body, headers=headers).status == 200
    until(lambda: skipped(gateway, "opted")["opt_out"] == before + 1)
    assert asked(fake, text) == ["new"]


def test_without_texts_a_pair_says_only_that_it_was(gateway: Served) -> None:
    ask(gateway, "textless", "a text of a customer")
    (pair,) = until(lambda: pairs(gateway, "textless"))
    assert pair.request is None
    assert pair.incumbent.answer.text == pair.candidate.answer.text == ""
    assert pair.incumbent.cost_usd > 0
    for path, content in contents(gateway.folder / ".crossgrade").items():
        assert b"a text of a customer" not in content, path


def test_texts_are_redacted_first_and_erased_in_time(gateway: Served) -> None:
    for stream in (False, True):
        ask(gateway, "erased", f"call {SECRET} about {CARD}, will you", stream=stream)
    found = until(lambda: len(seen := pairs(gateway, "erased")) == 2 and seen)
    for pair in found:
        assert b"will you" in pair.request
        assert b"[email]" in pair.request
        assert "[email]" in pair.candidate.answer.text
    for path, content in contents(gateway.folder / ".crossgrade").items():
        assert SECRET.encode() not in content, path
        assert CARD.encode() not in content, path
    assert run(gateway, "watch", "--once").returncode in (0, 1)
    for pair in pairs(gateway, "erased"):
        assert pair.request is None
        assert pair.candidate.answer is None or not pair.candidate.answer.text


def test_copies_in_flight_are_bounded_and_drops_are_counted(gateway: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda n: ask(gateway, "narrow", f"slow {n}").status, range(8)))
    assert seen == [200] * 8, "those that are dropped are copies alone"
    until(lambda: len(pairs(gateway, "narrow")) + skipped(gateway, "narrow").get("parallel", 0) == 8)
    assert skipped(gateway, "narrow")["parallel"] >= 1


def test_copies_cost_no_more_than_allowed(gateway: Served, fake: FakeProvider) -> None:
    for number in range(4):
        assert ask(gateway, "poor", f"too dear {number}", max_tokens=9).status == 200
    until(lambda: skipped(gateway, "poor") == {"budget": 4})
    assert asked(fake, "too dear") == ["new"] * 4
    assert pairs(gateway, "poor") == []
    for number in range(4):
        assert ask(gateway, "poor", f"of any length {number}").status == 200
    until(lambda: skipped(gateway, "poor") == {"budget": 7})
    assert asked(fake, "of any length") == ["new"] * 4 + ["old"], "one may exceed the cap by its own cost"


def test_a_share_is_copied(gateway: Served, fake: FakeProvider) -> None:
    for number in range(200):
        ask(gateway, "rare", f"one of many {number}")
    ask(gateway, "opted", "the last of many")
    until(lambda: len(asked(fake, "the last of many")) == 2)
    copied = asked(fake, "one of many").count("old")
    assert 2 <= copied <= 45  # 20 expected; outside less than once in a million runs


def test_a_candidate_outside_of_the_regions_is_refused_at_the_start(
    tmp_path: Path, fake: FakeProvider
) -> None:
    config = config_for(fake.base_url)
    config["models"]["new"]["region"] = "us"
    with (tmp_path / "crossgrade.yaml").open("w") as file:
        YAML(typ="safe").dump(config, file)
    done = subprocess.run(
        [sys.executable, "-m", "crossgrade", "serve"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert set(shown_codes(done.stderr)) == {"region-forbidden"}  # once for each route
    assert all(names(done.stderr, each) for each in ("new", "us", "work", "eu"))
    assert "hint: " in done.stderr
