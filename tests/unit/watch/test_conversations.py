"""Audits of one conversation are one observation, once it is over."""

from datetime import timedelta

import pytest

from crossgrade.store import Audit
from crossgrade.watch._conversations import LONGEST, SILENCE, Conversations
from tests.codes import check_reason
from tests.unit.watch.conftest import BAD, GOOD, NOW, Site

MINUTE = timedelta(minutes=1)


def audit(conversation: str | None, minutes: float = 0.0, **changes: object) -> Audit:
    fields = {
        "route": "chat", "source": "pair", "source_id": "p", "scorer_digest": "s", "incumbent": 1.0,
        "candidate": 1.0, "conversation": conversation, "asked_at": NOW + minutes * MINUTE,
    }  # fmt: skip
    return Audit(**{**fields, **changes})


def test_a_request_of_no_known_conversation_counts_at_once() -> None:
    (one,) = Conversations().add(audit(None, segment="de"), 0.5)
    assert (one.segment, one.mean, one.size) == ("de", 0.5, 1)


def test_a_conversation_counts_once_it_has_been_silent() -> None:
    conversations = Conversations()
    assert list(conversations.add(audit("a"), 0.8)) == []
    assert list(conversations.add(audit("b", 10), 0.1)) == []
    assert list(conversations.add(audit("a", 20), -0.2)) == []
    assert conversations.held == 3
    other, single = conversations.add(audit(None, 45), 0.7)
    assert (other.mean, other.size, single.mean) == (0.1, 1, 0.7)
    (one,) = conversations.over(NOW + 60 * MINUTE)
    assert (one.mean, one.size, conversations.held) == (pytest.approx(0.3), 2, 0)


def test_a_conversation_that_never_ends_counts_after_a_day() -> None:
    conversations, counted = Conversations(), []
    for minutes in range(0, 60 * 25, 20):
        counted += conversations.add(audit("a", minutes), 0.5)
    (one,) = counted
    assert one.last - one.first <= LONGEST + SILENCE
    assert conversations.held > 0


def test_a_conversation_in_two_segments_is_one_in_each() -> None:
    conversations = Conversations()
    for segment in ("de", "fr", "de"):
        assert list(conversations.add(audit("a", segment=segment), 0.5)) == []
    found = {each.segment: each.size for each in conversations.over(NOW + 31 * MINUTE)}
    assert found == {"de": 2, "fr": 1}


def test_losses_that_were_divided_differently_are_summed_as_they_were() -> None:
    conversations = Conversations()
    list(conversations.add(audit("a"), 0.1, 10.0))
    list(conversations.add(audit("a"), 0.5, 4.0))
    (one,) = conversations.over(NOW + 31 * MINUTE)
    assert (one.mean, one.scale) == (pytest.approx((1.0 + 2.0) / 2 / 10), 10.0)


def test_what_is_open_goes_on_from_its_state() -> None:
    conversations, again = Conversations(), Conversations()
    list(conversations.add(audit("a", segment="de"), 0.5))
    list(conversations.add(audit("b"), 0.25, 3.0))
    again.restore(conversations.state())
    assert again.state() == conversations.state()
    assert list(again.over(NOW + 31 * MINUTE)) == list(conversations.over(NOW + 31 * MINUTE))


@pytest.mark.parametrize(("size", "alarms"), [(1, True), (10, False)])
def test_a_bad_conversation_is_one_bad_observation(site: Site, size: int, alarms: bool) -> None:
    """Thirty lost conversations are an alarm, thirty lost requests of three conversations are none."""
    verdict = site.apply()
    for number in range(30):
        site.see(
            verdict, [(GOOD, BAD)], conversation=f"c{number // size}", at=NOW - timedelta(minutes=90 - number)
        )
    found = site.look()
    assert bool(found.alarms) is alarms
    assert (found.standings[0].audits, found.standings[0].held) == (30, 0)


def test_a_conversation_that_may_go_on_is_waited_for(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, BAD)] * 3, conversation="a", at=NOW - timedelta(minutes=5))
    (standing,) = site.look().standings
    assert (standing.status, standing.audits, standing.held) == ("waiting", 3, 3)
    check_reason(standing, "waits-for-conversations", 3)
    (standing,) = site.look(now=NOW + timedelta(hours=1)).standings
    assert (standing.status, standing.held) == ("watching", 0)


def test_looking_often_or_once_comes_to_the_same(site: Site) -> None:
    verdict = site.apply()
    for number in range(60):
        at = NOW - timedelta(minutes=600 - 7 * number)
        answers = [(GOOD, GOOD)] * 4 + [(GOOD, BAD)] * (number % 3 == 0)
        site.see(verdict, answers, conversation=f"c{number // 2}", at=at)
        (often,) = site.look(now=at).standings
    (often,) = site.look().standings
    with site.project() as project, project.store.pairs._database.engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM watch_states").scalar() > 0
        connection.exec_driver_sql("DELETE FROM watch_states")
    (once,) = site.look().standings
    assert (once.audits, once.held, once.status) == (often.audits, often.held, often.status)
    assert once.e_change == pytest.approx(often.e_change)
    assert once.e_claim == pytest.approx(often.e_claim)
