"""Live pairs, audits, feedback and alarms: appended once, read back whole, on both databases."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count

from crossgrade.domain import ModelAnswer, ToolCall, Usage
from crossgrade.store import Alarm, Audit, Draw, Feedback, Pair, PairAnswer, Store, WatchState
from tests.codes import raises_code
from tests.unit.store.conftest import answered as answered_in
from tests.unit.store.conftest import make_run


def answered(model: str, text: str = "yes") -> PairAnswer:
    answer = ModelAnswer(
        text=text,
        tool_calls=(ToolCall(id="c", name="look", arguments="{}"),),
        finish_reason="stop",
        usage=Usage(input_tokens=3, output_tokens=1),
        model=f"{model}-2026",
        latency_ms=12.5,
    )
    return PairAnswer(model=model, answer=answer, response_id=f"r-{model}", cost_usd=Decimal("0.0001"))


NUMBERS: Iterator[int] = count()


def pair(**changes: object) -> Pair:
    fields = {
        "id": f"{next(NUMBERS):06d}",  # made within one millisecond, ids of their own would not sort
        "route": "chat",
        "request_id": "q",
        "endpoint": "/v1/chat/completions",
        "request": b'{"messages":[]}',
        "served_by": "candidate",
        "incumbent": answered("gpt"),
        "candidate": answered("llama", "no\0"),
        "segment": "de",
        "verdict_id": "v",
        "probability": 0.05,
        "conversation": "c0ffee",
    }
    return Pair(**{**fields, **changes})


def audit(source_id: str, **changes: object) -> Audit:
    fields = {
        "route": "chat", "source": "pair", "source_id": source_id, "scorer_digest": "s",
        "incumbent": 1.0, "candidate": None, "verdict_id": "v", "weight": 20.0, "cost_usd": None,
    }  # fmt: skip
    return Audit(**{**fields, **changes})


def test_the_newest_pairs_of_several_routes_with_their_texts(any_store: Store) -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    old, gone, scored = pair(at=now - timedelta(days=2)), pair(at=now, request=None), pair(at=now, score=0.1)
    mail, chat, other = pair(at=now, route="mail"), pair(at=now), pair(at=now, route="other")
    any_store.pairs.append([old, gone, scored, mail, chat, other])

    def newest(*routes: str, limit: int = 9) -> list[str]:
        since = now - timedelta(days=1)
        return [each.id for each in any_store.pairs.newest(routes, since=since, limit=limit)]

    assert newest("chat", "mail") == [chat.id, mail.id]
    assert newest("chat", "mail", limit=1) == [chat.id]
    assert newest() == []


def test_pairs_are_read_back_as_they_were_appended(any_store: Store) -> None:
    failed = PairAnswer(model="llama", answer=None, error="HTTP 500")
    first, second = pair(), pair(candidate=failed, verdict_id="w", request=None)
    any_store.pairs.append([first, second])
    read = any_store.pairs.recent("chat")
    assert read[0].candidate.answer.text == "no\ufffd"
    assert read[0].incumbent == first.incumbent
    assert read[1] == second
    assert [each.id for each in any_store.pairs.recent("chat", verdict_id="w")] == [second.id]
    assert any_store.pairs.recent("chat", after=second.id) == any_store.pairs.recent("mail") == []
    any_store.pairs.append([])


def test_a_pair_is_audited_once_by_a_scorer(any_store: Store) -> None:
    first, second = pair(), pair()
    any_store.pairs.append([first, second])
    any_store.pairs.append_audits([audit(first.id), audit(first.id, incumbent=0.0)])
    any_store.pairs.append_audits([audit(first.id, incumbent=0.0), audit(first.id, scorer_digest="other")])
    (read,) = any_store.pairs.audits("chat", verdict_id="v", scorer_digest="s")
    assert (read.conversation, read.asked_at) == (None, None)
    assert (read.incumbent, read.candidate, read.weight, read.cost_usd) == (1.0, None, 20.0, None)
    assert [each.id for each in any_store.pairs.unscored("chat", "s")] == [second.id]
    assert len(any_store.pairs.audits("chat")) == 2
    assert any_store.pairs.audits("chat", scorer_digest="s", after=read.id) == []


def test_an_audit_knows_its_conversation_and_when_its_request_came(any_store: Store) -> None:
    asked_at = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
    any_store.pairs.append_audits([audit("1", conversation="c0ffee", asked_at=asked_at)])
    (read,) = any_store.pairs.audits("chat")
    assert (read.conversation, read.asked_at) == ("c0ffee", asked_at)


def test_audits_are_counted_by_segment(any_store: Store) -> None:
    any_store.pairs.append_audits(
        [audit("1", segment="de"), audit("2", segment="de"), audit("3"), audit("4", verdict_id="w")]
    )
    live = any_store.pairs.audited_by_segment("chat", verdict_id="v", scorer_digest="s")
    assert live == {"de": 2, None: 1}


def test_pairs_that_wait_for_a_scorer_are_counted_without_their_texts(any_store: Store) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    pairs = [pair(at=now), pair(at=now, segment=None), pair(at=now), pair(at=now, verdict_id="w")]
    any_store.pairs.append(pairs)
    any_store.pairs.append_audits([audit(pairs[2].id)])
    any_store.pairs.append([pair(at=now - timedelta(days=9), request=None)])
    waiting = any_store.pairs.waiting("chat", "s", verdict_id="v")
    assert [(each.segment, each.at, each.has_text) for each in waiting] == [
        ("de", now, True),
        (None, now, True),
        ("de", now - timedelta(days=9), False),
    ]
    found = any_store.pairs.unscored("chat", "s", wanted=lambda each: each.id == pairs[3].id)
    assert [each.id for each in found] == [pairs[3].id]


def missed(**changes: object) -> Pair:
    """A draw whose other model, the incumbent, was not asked."""
    sides = {
        "incumbent": PairAnswer(model="gpt", answer=None, cost_usd=Decimal(0), error="budget"),
        "candidate": PairAnswer(model="llama", answer=None, cost_usd=Decimal("0.0001")),
    }
    return pair(request=None, missed="budget", **sides, **changes)


def test_a_missed_draw_is_read_back_and_waits_for_no_scorer(any_store: Store) -> None:
    pairs = [missed(score=0.25), pair(score=-0.5)]
    any_store.pairs.append(pairs)
    assert any_store.pairs.recent("chat")[0] == pairs[0]
    assert [each.id for each in any_store.pairs.unscored("chat", "s")] == [pairs[1].id]
    assert [each.id for each in any_store.pairs.waiting("chat", "s")] == [pairs[1].id]


def test_draws_are_read_with_one_scorers_audits(any_store: Store) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    pairs = [
        pair(at=now - timedelta(microseconds=1)),
        pair(at=now, score=0.5),
        missed(at=now, score=0.25, conversation="d"),
        pair(at=now, verdict_id="w"),
        pair(at=now, route="mail"),
        pair(at=now + timedelta(days=1)),
    ]
    any_store.pairs.append(pairs[::-1])
    any_store.pairs.append_audits(
        [audit(pairs[1].id), audit(pairs[1].id, scorer_digest="other", incumbent=0.0)]
    )
    known = {"verdict_id": "v", "scorer_digest": "s", "since": now}
    drawn = any_store.pairs.draws("chat", **known)
    first = Draw(
        pair_id=pairs[1].id, at=now, score=0.5, probability=0.05, conversation="c0ffee", missed=None,
        is_audited=True, incumbent=1.0, candidate=None,
    )  # fmt: skip
    second = Draw(
        pair_id=pairs[2].id, at=now, score=0.25, probability=0.05, conversation="d", missed="budget",
        is_audited=False, incumbent=None, candidate=None,
    )  # fmt: skip
    assert drawn[:2] == [first, second]
    assert [each.pair_id for each in drawn] == [pairs[at].id for at in (1, 2, 5)]
    assert [each.pair_id for each in any_store.pairs.draws("chat", after=pairs[2].id, **known)] == [
        pairs[5].id
    ]
    abroad = now.astimezone(timezone(timedelta(hours=5)))
    assert len(any_store.pairs.draws("chat", **{**known, "since": abroad})) == 3


def test_draws_with_a_score_are_counted(any_store: Store) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    pairs = [
        pair(at=now - timedelta(microseconds=1), score=0.5),
        pair(at=now, score=0.5),
        missed(at=now + timedelta(hours=1), score=0.25),
        pair(at=now),
        pair(at=now, score=0.5, verdict_id="w"),
        pair(at=now, score=0.5, route="mail"),
        pair(at=now + timedelta(days=1), score=0.5),
    ]
    any_store.pairs.append(pairs)
    known = {"verdict_id": "v", "since": now, "before": now + timedelta(days=1)}
    assert any_store.pairs.drawn("chat", **known) == 2
    assert any_store.pairs.drawn("chat", **known, wanted=lambda pair_id: pair_id == pairs[1].id) == 1


def test_what_audits_cost(any_store: Store) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)

    def other(cost: str | None) -> PairAnswer:
        return replace(answered("gpt"), cost_usd=None if cost is None else Decimal(cost))

    pairs = [
        pair(at=now, incumbent=other("0.5")),
        missed(at=now),
        pair(at=now - timedelta(days=1), incumbent=other(None)),
        pair(at=now, verdict_id="w", incumbent=other(None)),
        pair(at=now, served_by="incumbent", incumbent=other(None)),
    ]
    any_store.pairs.append(pairs)
    any_store.pairs.append_audits(
        [audit(pairs[0].id, cost_usd=Decimal("0.25")), audit(pairs[2].id), audit(pairs[3].id)]
    )
    known = {"verdict_id": "v", "since": now}
    assert any_store.pairs.audit_cost("chat", **known) == Decimal("0.7501")
    any_store.pairs.append_audits([audit(pairs[4].id)])
    assert any_store.pairs.audit_cost("chat", **known) is None
    assert any_store.pairs.audit_cost("mail", **known) == Decimal(0)
    late = pair(route="mail", at=now + timedelta(days=1), incumbent=other("0.125"))
    any_store.pairs.append([late, pair(route="mail", at=now, incumbent=other("0.25"))])
    any_store.pairs.append([pair(route="mail", at=now, incumbent=other("0.25"))])
    assert any_store.pairs.audit_cost("mail", **known) == Decimal("0.625")
    unknown = pair(route="mail", at=now, incumbent=other(None))
    any_store.pairs.append([unknown])
    assert any_store.pairs.audit_cost("mail", **known) is None


def test_texts_can_be_forgotten_and_scores_stay(any_store: Store) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    old, new = pair(at=now - timedelta(days=30)), pair(at=now)
    any_store.pairs.append([old, new])
    any_store.pairs.append_audits([audit(old.id, explanation="he said"), audit(new.id, explanation="she")])
    any_store.pairs.forget(now - timedelta(days=7))
    gone, kept = any_store.pairs.recent("chat")
    assert (gone.request, gone.candidate.answer, gone.candidate.cost_usd) == (None, None, Decimal("0.0001"))
    assert kept.request == new.request
    assert [each.explanation for each in any_store.pairs.audits("chat")] == [None, "she"]


def test_the_first_outcome_of_a_response_counts(any_store: Store) -> None:
    known = {"route": "chat", "verdict_id": "v", "side": "candidate", "probability": 0.25}
    outcomes = [
        Feedback(response_id="1", name="resolved", value=1.0, **known),
        Feedback(response_id="1", name="resolved", value=0.0, **known),
        Feedback(response_id="2", name="resolved", value=0.5),
        Feedback(response_id="2", name="thumb", value=0.0),
    ]
    any_store.feedback.append(outcomes[0])
    any_store.feedback.append(outcomes[1:])
    assert any_store.feedback.unaudited("chat", "resolved", "f", verdict_id="v") == [outcomes[0]]
    any_store.pairs.append_audits([audit("1", source="feedback", scorer_digest="f")])
    assert any_store.feedback.unaudited("chat", "resolved", "f", verdict_id="v") == []


def test_alarms_and_what_became_of_them(any_store: Store) -> None:
    first = Alarm(route="chat", kind="change", detail={"n": 120}, verdict_id="v", segment="de")
    second = Alarm(route="mail", kind="expired", detail={})
    any_store.alarms.append(first)
    any_store.alarms.append(second)
    any_store.alarms.append_event(first.id, "stepped_down", {"version": 3})
    assert any_store.alarms.recent() == [second, first]
    assert any_store.alarms.recent("chat") == [first]
    assert (any_store.alarms.count("chat"), any_store.alarms.count("none")) == (1, 0)
    assert any_store.alarms.without_event("stepped_down") == [second]
    assert any_store.alarms.without_event("delivered") == [first, second]


def test_the_newest_state_of_a_claim_is_found(any_store: Store) -> None:
    claim = {"route": "chat", "verdict_id": "v", "segment": None, "scorer_digest": "s"}
    for last_audit in (10, 20):
        any_store.alarms.append_state(WatchState(**claim, last_audit=last_audit, state={"n": last_audit}))
    any_store.alarms.append_state(WatchState(**{**claim, "segment": "de"}, last_audit=5, state={}))
    assert any_store.alarms.state(**claim).state == {"n": 20}
    assert any_store.alarms.state(**{**claim, "segment": "de"}).last_audit == 5
    assert any_store.alarms.state(**{**claim, "verdict_id": "w"}) is None


def test_what_judges_cost_today(any_store: Store) -> None:
    now = datetime.now(UTC)
    any_store.pairs.append_audits([audit("1", cost_usd=Decimal("0.1")), audit("2", cost_usd=Decimal("0.2"))])
    assert any_store.pairs.spent_since(now - timedelta(hours=1)) == Decimal("0.3")
    assert any_store.pairs.spent_since(now + timedelta(hours=1)) == Decimal(0)
    any_store.pairs.append_audits([audit("3", cost_usd=None)])
    assert any_store.pairs.spent_since(now - timedelta(hours=1)) is None


def test_only_one_process_watches(any_store: Store) -> None:
    with (
        any_store.watching(),
        raises_code("watch-locked"),
        any_store.watching(),
    ):
        pass
    with any_store.watching():
        pass


def test_versions_served_in_a_run(any_store: Store) -> None:
    run = make_run()
    any_store.runs.append(run)
    any_store.answers.append([*answered_in(run, "1"), *answered_in(run, "2")])
    assert any_store.answers.versions(run.id) == {"gpt": {"gpt-2026"}}
    assert any_store.answers.versions("none") == {}
