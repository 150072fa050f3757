"""A claim on the whole is watched at the certified mix, and what waits for a segment is said."""

from dataclasses import replace

import pytest

from crossgrade.decide import Certificate
from tests.codes import check_reason
from tests.unit.store.test_verdicts import make_verdict
from tests.unit.watch.conftest import BAD, GOOD, SWITCH, Site


def certificates(**shares: float) -> tuple[Certificate, ...]:
    """Return certificates of the whole and of segments with these shares."""
    (whole,) = make_verdict().certificates
    return whole, *(replace(whole, segment=name, share=share) for name, share in shares.items())


@pytest.fixture
def halves(site: Site) -> tuple[Site, str]:
    """A route certified on two segments with half of the traffic each."""
    return site, site.apply(certificates=certificates(de=0.5, fr=0.5))


def test_a_burst_from_a_weak_segment_is_no_evidence(halves: tuple[Site, str]) -> None:
    """Segment `fr` keeps 0.8 and `de` more than the floor of 0.9 needs: together they hold."""
    site, verdict = halves
    site.see(verdict, [(GOOD, GOOD)] * 100, segment="de")
    for _ in range(3):
        site.see(verdict, ([(GOOD, GOOD)] * 4 + [(GOOD, BAD)]) * 20, segment="fr")
    found = site.look()
    assert found.alarms == []
    (standing,) = found.standings
    assert (standing.audits, standing.held) == (400, 200)
    assert standing.retention == pytest.approx(0.9)
    assert standing.status == "waiting"
    check_reason(standing, "waits-for-requests", "de", 200)


def test_the_mix_is_that_of_the_requests_that_may_move(site: Site) -> None:
    """Half of the requests are of `fr`, and a ninth of these is short enough to move: a tenth of what moves."""
    whole, de, fr, it = certificates(de=0.45, fr=0.45, it=0.1)
    made = (
        replace(whole, moved_share=0.5),
        replace(de, moved_share=0.45),
        replace(fr, moved_share=0.05),
        replace(it, moved_share=0.0),
    )
    verdict = site.apply(certificates=made)
    for at in range(200):
        site.see(verdict, [(GOOD, GOOD)], segment="de")
        site.see(verdict, [(GOOD, GOOD if at % 10 < 4 else BAD)], segment="fr")
    found = site.look()
    assert found.alarms == []
    (standing,) = found.standings
    assert standing.retention == pytest.approx(0.94)
    assert standing.held < 200  # nothing waits for `it`, of which nothing moves


def test_a_fall_in_one_segment_is_found(halves: tuple[Site, str]) -> None:
    site, verdict = halves
    for _ in range(80):
        site.see(verdict, [(GOOD, GOOD)], segment="de")
        site.see(verdict, [(GOOD, BAD)], segment="fr")
    assert {alarm.kind for alarm in site.look().alarms} >= {"change"}
    assert site.route().policy.kind == "keep"


def test_before_the_first_set_nothing_is_watched(halves: tuple[Site, str]) -> None:
    site, verdict = halves
    site.see(verdict, [(GOOD, BAD)] * 5, segment="fr")
    (standing,) = site.look().standings
    assert (standing.status, standing.audits, standing.held) == ("waiting", 5, 5)
    check_reason(standing, "waits-for-requests", "de", 5)
    site.see(verdict, [(GOOD, GOOD)], segment="de")
    (standing,) = site.look().standings
    assert (standing.status, standing.held, standing.reason) == ("watching", 4, None)


def test_looking_often_or_once_comes_to_the_same(halves: tuple[Site, str]) -> None:
    site, verdict = halves
    for answers, segment in (
        ([(GOOD, GOOD)] * 150, "de"), ([(GOOD, BAD)] * 2, "fr"), ([(GOOD, GOOD)] * 120, "fr"),
        ([(GOOD, BAD)], "de"), ([(GOOD, GOOD)] * 60, "fr"),
    ):  # fmt: skip
        site.see(verdict, answers, segment=segment)
        (often,) = site.look().standings
    with site.project() as project, project.store.pairs._database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM watch_states")
    (once,) = site.look().standings
    assert once == replace(
        often, e_claim=pytest.approx(often.e_claim), e_change=pytest.approx(often.e_change)
    )
    assert often.e_change > 0


def test_traffic_that_names_no_segment_is_watched_as_it_comes_and_that_is_said(
    halves: tuple[Site, str],
) -> None:
    site, verdict = halves
    site.see(verdict, [(GOOD, GOOD)] * 120)
    (standing,) = site.look().standings
    assert (standing.status, standing.audits, standing.held) == ("watching", 120, 0)
    check_reason(standing, "segments-not-sent")
    site.see(verdict, [(GOOD, BAD)] * 60)
    assert site.look().alarms


def test_a_mix_that_moved_is_said(halves: tuple[Site, str]) -> None:
    site, verdict = halves
    for _ in range(10):
        site.see(verdict, [(GOOD, GOOD)] * 9, segment="fr")
        site.see(verdict, [(GOOD, GOOD)], segment="de")
    (standing,) = site.look().standings
    assert standing.status == "watching"
    check_reason(standing, "mix-moved", "fr", 90, 50)


def test_segments_that_nothing_is_certified_of_are_left_out(halves: tuple[Site, str]) -> None:
    site, verdict = halves
    for segment in ("fr", "de"):
        site.see(verdict, [(GOOD, GOOD)] * 40, segment=segment)
    site.see(verdict, [(GOOD, BAD)] * 40, segment="it")
    found = site.look()
    assert found.alarms == []
    (standing,) = found.standings
    assert standing.audits == 80
    check_reason(standing, "segments-not-covered", 33)


def test_samples_of_no_segment_are_a_part_of_the_certified_mix(site: Site) -> None:
    verdict = site.apply(certificates=certificates(de=0.5))
    site.see(verdict, [(GOOD, GOOD)] * 3)
    (standing,) = site.look().standings
    check_reason(standing, "waits-for-requests", "de", 3)
    site.see(verdict, [(GOOD, GOOD)] * 4, segment="de")
    (standing,) = site.look().standings
    assert (standing.held, standing.status) == (1, "watching")


def test_what_waits_for_requests_without_a_segment_says_so(site: Site) -> None:
    verdict = site.apply(certificates=certificates(de=0.5))
    site.see(verdict, [(GOOD, GOOD)] * 3, segment="de")
    (standing,) = site.look().standings
    check_reason(standing, "waits-for-requests", 3)
    assert "of no segment" in str(standing.reason)
    assert "of of" not in str(standing.reason)


@pytest.mark.parametrize("shares", [{}, {"de": 1.0, "fr": 1.0}])
def test_without_recorded_shares_audits_count_as_they_come(site: Site, shares: dict[str, float]) -> None:
    """So it is where the certificate knows no segments, and with verdicts of before shares were kept."""
    verdict = site.apply(SWITCH, certificates=certificates(**shares))
    site.see(verdict, [(GOOD, GOOD)] * 3, segment="fr")
    (standing,) = site.look().standings
    assert (standing.audits, standing.held, standing.status) == (3, 0, "watching")


def test_the_state_of_an_older_release_is_computed_again(site: Site) -> None:
    verdict = site.apply()
    site.see(verdict, [(GOOD, GOOD)] * 210)
    (before,) = site.look().standings
    older = '{"audits":210,"sums":[210.0,0.0],"claim":{},"change":{},"judged":null}'
    with site.project() as project, project.store.pairs._database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE watch_states SET state = '{older}'")
    assert site.look().standings == [before]
