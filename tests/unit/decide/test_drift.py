"""The guard `drift`: what is compared of requests, what is found, and what a verdict makes of it."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from crossgrade.decide import (
    DecisionSettings,
    Evidence,
    FactShare,
    Guard,
    SeenRequest,
    TrafficComparison,
    Verdict,
    compare_traffic,
    decide_policy,
    seen_request,
    verdict_from_json,
    verdict_to_json,
    verify,
)
from crossgrade.domain import Image, Message, ModelRequest, Tool
from crossgrade.errors import DataError, UsageError
from crossgrade.testing import evidence
from tests.codes import names

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def _asked(text: str, **fields: object) -> ModelRequest:
    return ModelRequest(model="m", messages=(Message(role="user", content=text),), **fields)  # type: ignore[arg-type]  # fields that the test names


def _seen(at: int, *, code: bool = False, text: str = "Where is it", conversation: str = "") -> SeenRequest:
    asked = _asked(text + ("\n```\nx = 1\n```" if code else ""))
    return seen_request(asked, body_bytes=len(text), conversation=conversation or f"c{at}")


def _side(n: int, with_code: int) -> list[SeenRequest]:
    return [_seen(at, code=at < with_code) for at in range(n)]


def _of(traffic: TrafficComparison, fact: str) -> list[tuple[str, int, int, int, int]]:
    return [
        (each.value, each.frozen, each.frozen_n, each.recent, each.recent_n)
        for each in traffic.shares
        if each.fact == fact
    ]


def _evidence() -> Evidence:
    rng = np.random.default_rng(1)
    incumbent, candidate = ((rng.random(400) < 0.9).astype(float) for _ in range(2))
    return evidence(incumbent.tolist(), candidate.tolist())


def _decide(traffic: TrafficComparison | None) -> Verdict:
    return decide_policy(_evidence(), DecisionSettings(traffic=traffic), now=NOW)


def _guards(verdict: Verdict) -> list[Guard]:
    return [each for each in verdict.guards if each.name == "drift"]


def test_the_facts_of_a_request_are_those_of_routing() -> None:
    chat = ModelRequest(
        model="m",
        messages=(
            Message(role="system", content="Be short."),
            Message(role="user", content="Is 5 > 4?\nAnd 7?"),
            Message(role="assistant", content="Yes."),
            Message(role="user", content="Ä", parts=(Image(media_type="image/png", data="eA=="),)),
        ),
        tools=(Tool(name="t"),),
        response_schema={"type": "object"},
    )
    seen = seen_request(chat, body_bytes=200, conversation="c", segment="a", uncarried=True)
    assert seen.counted == {
        "bytes": 200,
        "messages": 3,
        "lines": 2,
        "questions": 2,
        "numbers": 3,
        "beyond_ascii": 0,
    }
    system = seen.labelled["system"]
    assert dict(seen.labelled) == {
        "segment": "a",
        "modality": "image",
        "tools": "yes",
        "structured": "yes",
        "system": system,
        "code": "no",
        "uncarried": "yes",
    }
    assert system not in {"none", "Be short."}
    plain = seen_request(_asked("Hi"), body_bytes=9, conversation="c")
    assert {"segment", "uncarried"}.isdisjoint(plain.labelled)
    assert plain.labelled["system"] == "none"


def test_a_template_with_an_empty_system_prompt_asks_what_a_client_without_one_does() -> None:
    empty = ModelRequest(
        model="m", messages=(Message(role="system", content=""), Message(role="user", content="Hi"))
    )
    assert seen_request(empty, body_bytes=9, conversation="c") == seen_request(
        _asked("Hi"), body_bytes=9, conversation="c"
    )


def test_no_text_is_in_a_comparison() -> None:
    secret = [_seen(at, text=f"zebra {'giraffe' * (at % 3)}") for at in range(90)]
    told = verdict_to_json(_decide(compare_traffic(secret, secret, source="a log")))["settings"]["traffic"]
    assert len(told["shares"]) > 2
    assert not any(word in str(told) for word in ("zebra", "giraffe"))


def test_a_share_that_doubled_is_found_and_one_that_did_not_is_not() -> None:
    same = compare_traffic(_side(1000, 100), _side(500, 50), source="a log")
    assert _of(same, "code") == [("yes", 100, 1000, 50, 500)]
    (guard,) = _guards(_decide(same))
    assert (guard.status, guard.advice) == ("pass", "")
    moved = compare_traffic(_side(1000, 100), _side(500, 100), source="a log")
    verdict = _decide(moved)
    (guard,) = _guards(verdict)
    assert guard.status == "warn"
    assert all(names(guard.seen, each) for each in ("code", "10 %", "20 %", "1,000", "500", "a log"))
    assert verdict.name == "switch"


def test_a_share_shown_to_have_moved_by_more_than_a_tenth_is_no_evidence_for_today() -> None:
    verdict = _decide(compare_traffic(_side(1000, 100), _side(500, 160), source="a log"))
    (guard,) = _guards(verdict)
    assert (guard.status, verdict.name) == ("fail", "invalid")


def test_without_recent_traffic_nothing_is_said() -> None:
    assert _guards(_decide(None)) == []


@pytest.mark.parametrize(("frozen", "recent"), [(400, 0), (400, 49), (0, 400)])
def test_few_requests_show_nothing(frozen: int, recent: int) -> None:
    traffic = compare_traffic(_side(frozen, 0), _side(recent, recent), source="a log")
    (guard,) = _guards(_decide(traffic))
    assert guard.status == "pass"
    assert names(guard.seen, "too few")


def test_a_conversation_counts_once_however_long_it_is() -> None:
    long = [_seen(at, code=True, conversation="one") for at in range(200)]
    traffic = compare_traffic(_side(400, 40), [*_side(100, 10), *long], source="a log")
    ((_, _, n, recent, recent_n),) = _of(traffic, "code")
    assert n == 400
    assert recent_n == 300**2 // (100 + 200**2)
    assert recent == round(recent_n * 210 / 300)
    (guard,) = _guards(_decide(traffic))
    assert guard.status == "pass"


def test_weights_are_shares_of_traffic_and_say_how_much_is_known() -> None:
    heavy = [replace(each, weight=3.0, conversation=f"h{at}") for at, each in enumerate(_side(100, 50))]
    traffic = compare_traffic([*heavy, *_side(100, 0)], _side(500, 50), source="a log")
    ((_, found, n, _, _),) = _of(traffic, "code")
    assert n == 400**2 // (100 * 9 + 100)
    assert found == round(n * 150 / 400)


def test_what_is_known_of_few_is_compared_among_these() -> None:
    frozen = [
        replace(each, labelled={**each.labelled, "segment": "ab"[at % 2]})
        for at, each in enumerate(_side(300, 0))
    ]
    recent = [*_side(200, 0), *frozen[:60]]
    ((_, found, n, other, m),) = _of(compare_traffic(frozen, recent, source="a log"), "segment")
    assert (found, n, other, m) == (150, 300, 30, 60)


def test_what_cannot_be_a_sample_is_compared_too() -> None:
    traffic = compare_traffic(
        _side(400, 0), _side(400, 0), source="a log", left_out=({"uses tools": 0.1}, {"uses tools": 0.4})
    )
    assert _of(traffic, "left out") == [("uses tools", 40, 400, 160, 400)]
    (guard,) = _guards(_decide(traffic))
    assert guard.status == "fail"
    assert names(guard.seen, "uses tools")


def test_other_texts_are_found_by_their_words() -> None:
    def side(n: int, topic: int) -> list[SeenRequest]:
        return [_seen(at, text="parcel is late" if at < topic else "card was charged") for at in range(n)]

    (guard,) = _guards(_decide(compare_traffic(side(400, 100), side(400, 250), source="a log")))
    assert guard.status == "fail"
    assert names(guard.seen, "what the texts are about")
    assert not names(guard.seen, "parcel")


def test_a_comparison_is_recorded_and_computed_again() -> None:
    verdict = _decide(compare_traffic(_side(1000, 100), _side(500, 100), source="a log"))
    tree = verdict_to_json(verdict)
    read = verdict_from_json(tree)
    assert read == verdict
    assert verify(read, _evidence()) == ()
    for share in tree["settings"]["traffic"]["shares"]:
        share["recent"] = share["frozen"] * share["recent_n"] // share["frozen_n"]
    assert verify(verdict_from_json(tree), _evidence())
    del tree["settings"]["traffic"]
    assert verdict_from_json(tree).settings.traffic is None


@pytest.mark.parametrize(
    "changes",
    [{"frozen": 11}, {"recent": -1}, {"recent_n": 10**12}, {"fact": "colour"}],
)
def test_counts_that_cannot_be_are_refused(changes: dict[str, object]) -> None:
    share = FactShare(fact="code", value="yes", frozen=1, frozen_n=10, recent=1, recent_n=10)
    traffic = TrafficComparison(
        source="a log",
        frozen_requests=10,
        recent_requests=10,
        shares=(replace(share, **changes),),  # type: ignore[arg-type]  # fields that the test names
    )
    with pytest.raises((UsageError, DataError)) as refused:
        _decide(traffic)
    assert refused.value.code == "traffic-invalid"
