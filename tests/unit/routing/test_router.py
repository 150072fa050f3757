"""Routers: the same score everywhere, strict files, and nothing moved that the router cannot judge."""

import base64
import copy
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crossgrade.errors import ConfigError, UsageError
from crossgrade.routing import (
    FACTS,
    ZERO_WEIGHT,
    Growth,
    Head,
    Policy,
    RequestFacts,
    Route,
    Router,
    RouteTable,
    Topics,
    buckets,
    grown,
    held_back,
    opening_text,
    promoted,
    read_route_table,
    read_router,
    route_table_bytes,
    router_tree,
    scored_text,
    text_facts,
    threshold_name,
)

BITS = 8
NOW = datetime(2026, 11, 28, tzinfo=UTC)
NONE = (0.0,) * len(FACTS)
ONES = (1.0,) * len(FACTS)


def head(bias: float = 0.0, **weights: int) -> Head:
    """Return a regression in which these words have weights, in units of 0.1."""
    row = bytearray([ZERO_WEIGHT] * (1 << BITS))
    for word, weight in weights.items():
        (bucket,) = buckets(word.encode(), BITS)
        row[bucket] = ZERO_WEIGHT + weight
    return Head(bias=bias, unit=0.1, weights=bytes(row), facts=NONE)


def router(**changes: Any) -> Router:
    made = Router(
        stake=0.85,
        bits=BITS,
        facts_mean=NONE,
        facts_sd=ONES,
        heads=(head(easy=40, hard=-40), head(bias=1.0)),
        thresholds=(0.2, 0.0, -0.3),
    )
    return replace(made, **changes)


def test_the_score_is_the_candidates_chance_less_the_stake_of_the_incumbents() -> None:
    candidate = 1 / (1 + math.exp(-4.0))
    incumbent = 1 / (1 + math.exp(-1.0))
    assert router().score("easy") == pytest.approx(candidate - 0.85 * incumbent)
    pair = router().score("easy question")  # two words and a pair: weights shrink with their number
    assert pair == pytest.approx(1 / (1 + math.exp(-4.0 / math.sqrt(3))) - 0.85 * incumbent)
    hard = router().score("hard")
    assert hard is not None
    assert hard < 0


def test_a_table_scores_by_segment_alone() -> None:
    table = Router(stake=0.85, segments={"billing": 0.1, "legal": -0.2}, thresholds=(0.05,))
    assert table.score("anything", "billing") == 0.1
    assert table.score(None, "legal") == -0.2


@pytest.mark.parametrize("segment", [None, "new", ""])
def test_a_segment_absent_from_training_has_no_score(segment: str | None) -> None:
    for each in (Router(stake=0.85, segments={"a": 1.0}), router(segments={"a": 1.0})):
        assert each.score("easy", segment) is None


def test_a_request_without_text_has_no_score() -> None:
    assert router().score(None) is None


@pytest.mark.parametrize(
    "text", ["", " ", "\ud800 lone", "Ünïcode 汉字", "x" * 10_000_000, "a\0b", "1" * 5000]
)
def test_every_text_has_a_finite_score(text: str) -> None:
    score = router().score(text)
    assert score is not None
    assert math.isfinite(score)


def test_a_long_text_is_read_at_both_ends() -> None:
    text = "start " + "x" * 50_000 + " end"
    read = scored_text(text)
    assert len(read) == 4001
    assert read.startswith(b"start")
    assert read.endswith(b"end")
    assert len(text_facts(read)) == len(FACTS)


def test_the_file_reads_back_and_its_digest_names_it() -> None:
    first = router(checks=router().check_scores())
    again = read_router(json.loads(json.dumps(router_tree(first))))
    assert again == first
    assert again.digest == first.digest
    assert router(stake=0.9).digest != first.digest


def test_a_machine_that_scores_otherwise_refuses_the_file() -> None:
    tree = router_tree(router())
    tree["checks"] = [0.9, 0.9, 0.9]
    with pytest.raises(UsageError, match="is recorded") as raised:
        read_router(tree)
    assert raised.value.code == "router-invalid"


def _changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(router_tree(router())), **changes}


@pytest.mark.parametrize(
    "tree",
    [
        None,
        [],
        {},
        _changed(router_version=2),
        _changed(router_version=True),
        _changed(more=1),
        _changed(stake=0),
        _changed(stake=math.nan),
        _changed(stake="1"),
        _changed(bits=30),
        _changed(bits=8.0),
        _changed(heads=[]),
        _changed(heads=[{"bias": 1}] * 2),
        _changed(segments={"a": math.inf}),
        _changed(segments=[1]),
        _changed(heads=None),
        _changed(thresholds=[0.0, 0.1]),
        _changed(thresholds=["0"]),
        _changed(facts_sd=[0.0] * len(FACTS)),
        _changed(facts_sd=[1.0]),
        _changed(checks=["a"]),
        _changed(checks=[0.1]),
        _changed(stake=2),
        _changed(thresholds=[0.12345]),
    ],
)
def test_a_file_that_no_release_wrote_is_refused(tree: object) -> None:
    with pytest.raises(UsageError) as raised:
        read_router(tree)
    assert raised.value.code == "router-invalid"


def test_weights_of_another_size_are_refused() -> None:
    tree = router_tree(router())
    tree["heads"][0]["weights"] = base64.b64encode(b"\x80" * 7).decode()
    with pytest.raises(UsageError, match="7 weights"):
        read_router(tree)


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": (replace(head(), facts=(1e308, -1e308, *NONE[2:])), head())},
        {"heads": (replace(head(), bias=1e10), head())},
        {"heads": (head(), replace(head(), unit=1e300))},
        {"facts_mean": (-1e300, *NONE[1:])},
        {"facts_sd": (1e-300, *ONES[1:])},
    ],
)
def test_numbers_with_which_a_score_could_overflow_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        router(**changes)
    assert raised.value.code == "router-invalid"


POLICY = Policy(
    kind="split",
    incumbent="old",
    candidate="new",
    segments=(threshold_name(0.0),),
    fact="score",
    least_score=0.0,
)


def test_a_policy_moves_scores_from_its_least_on() -> None:
    for score, model in ((0.0, "new"), (0.4, "new"), (-1e-9, "old"), (None, "old"), (math.nan, "old")):
        assert POLICY.pick(RequestFacts(score=score)) == model


def _route(**changes: Any) -> Route:
    fields = {
        "name": "r", "policy": POLICY, "targets": {"old": "o", "new": "n"}, "valid_until": NOW, "router": router(),
        **changes,
    }  # fmt: skip
    return Route(**fields)


def test_a_table_with_a_router_reads_back() -> None:
    table = RouteTable(version=1, routes=(_route(),))
    data = route_table_bytes(table)
    assert json.loads(data)["schema_version"] == 4
    assert read_route_table(data) == table


def test_a_damaged_router_in_a_table_is_refused() -> None:
    tree = json.loads(route_table_bytes(RouteTable(version=1, routes=(_route(),))))
    tree["routes"][0]["router"]["stake"] = 7
    with pytest.raises(ConfigError) as raised:
        read_route_table(json.dumps(tree).encode())
    assert raised.value.code == "router-invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"router": None},
        {"policy": replace(POLICY, least_score=0.1, segments=(threshold_name(0.1),))},
        {"policy": Policy(kind="switch", incumbent="old", candidate="new")},
    ],
)
def test_a_route_needs_the_router_of_its_policy(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        _route(**changes)
    assert raised.value.code == "route-invalid"


@pytest.mark.parametrize(
    "changes",
    [
        {"least_score": None},
        {"least_score": 0.1},
        {"fact": "segment"},
        {"kind": "switch", "segments": (), "least_score": None},
    ],
)
def test_a_policy_has_a_least_score_exactly_for_scores(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        replace(POLICY, **changes)
    assert raised.value.code == "policy-invalid"


def test_an_opening_ends_with_the_users_first_message() -> None:
    said = [("system", "Be short."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "More")]
    assert opening_text(said) == "Be short.\nHi"
    assert opening_text([]) == ""


TOPICS = Topics(names=("a", "b"), bits=4, weights=bytes([128] * 32))


@pytest.mark.parametrize(
    "changes",
    [{"names": ("a",)}, {"names": ("a", "a")}, {"bits": 0}, {"bits": 17}, {"weights": bytes(31)}],
)
def test_topics_that_do_not_fit_together_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        replace(TOPICS, **changes)
    assert raised.value.code == "router-invalid"


@pytest.mark.parametrize(
    "change", [{"names": "ab"}, {"bits": "4"}, {"weights": 4}, {"more": 1}, {"names": [1, 2]}]
)
def test_a_file_with_damaged_topics_is_refused(change: dict[str, Any]) -> None:
    tree = router_tree(Router(stake=0.85, segments={"a": 0.1, "b": 0.2}, topics=TOPICS))
    assert read_router(tree).topics == TOPICS
    with pytest.raises(UsageError) as raised:
        read_router({**tree, "topics": {**tree["topics"], **change}})
    assert raised.value.code == "router-invalid"


GROWTH = Growth(start=1, since=NOW, rate=0.02)


def test_a_growing_route_reads_back() -> None:
    table = RouteTable(version=1, routes=(_route(growth=GROWTH),))
    data = route_table_bytes(table)
    assert json.loads(data)["schema_version"] == 5
    assert read_route_table(data) == table


@pytest.mark.parametrize(
    "changes",
    [{"start": 0}, {"start": "1"}, {"since": None}, {"since": "2026-11-28"}, {"rate": 0}, {"is_held": 1}],
)
def test_a_damaged_growth_is_refused(changes: dict[str, object]) -> None:
    tree = json.loads(route_table_bytes(RouteTable(version=1, routes=(_route(growth=GROWTH),))))
    tree["routes"][0]["growth"].update(changes)
    with pytest.raises(ConfigError) as raised:
        read_route_table(json.dumps(tree).encode())
    assert raised.value.code in {"route-invalid", "route-table-invalid"}


def test_a_held_route_moves_nothing_and_is_not_promoted() -> None:
    route = _route(growth=GROWTH, share=0.5)
    held = held_back(route, NOW + timedelta(days=1))
    assert held.growth == Growth(start=2, since=NOW + timedelta(days=1), rate=0.02, is_held=True)
    assert held.pick(RequestFacts(score=1.0), now=NOW - timedelta(days=1), unit="") == "o"
    with pytest.raises(UsageError) as raised:
        promoted(held, (1.0,))
    assert raised.value.code == "route-held"
    grew = grown(held, held.router.thresholds[0])
    assert replace(grew, share=1.0).pick(RequestFacts(score=1.0), now=NOW - timedelta(days=1), unit="") == "n"
    assert not grew.is_held
    assert grew.growth.start == 2


def test_only_a_split_by_score_grows() -> None:
    with pytest.raises(UsageError) as raised:
        Route(
            name="r", policy=Policy(kind="switch", incumbent="old", candidate="new"), targets={"old": "o", "new": "n"},
            valid_until=NOW, growth=GROWTH,
        )  # fmt: skip
    assert raised.value.code == "route-invalid"
