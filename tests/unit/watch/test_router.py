"""A router's split is watched on the requests that it moves, and an alarm takes the router out of service."""

from crossgrade.decide import Certificate
from crossgrade.routing import Policy, Router, threshold_name
from tests.unit.store.test_verdicts import make_verdict
from tests.unit.watch.conftest import BAD, GOOD, Site

MOVED = threshold_name(0.1)
ROUTER = Router(stake=0.9, segments={"easy": 0.2, "hard": -0.2}, thresholds=(0.1,))
POLICY = Policy(
    kind="split", incumbent="gpt", candidate="llama", segments=(MOVED,), fact="score", least_score=0.1
)


def certificates() -> tuple[Certificate, ...]:
    (whole,) = make_verdict().certificates
    return (whole, Certificate(
        candidate="llama", segment=MOVED, retention=whole.retention, adjusted_p=0.01, certified=True, share=0.5
    ))  # fmt: skip


def test_pairs_of_requests_that_do_not_move_are_no_evidence(site: Site) -> None:
    verdict = site.apply(POLICY, router=ROUTER, certificates=certificates())
    site.see(verdict, [(GOOD, GOOD)] * 30, segment=MOVED)
    site.see(verdict, [(GOOD, BAD)] * 200, segment=None)
    found = site.look()
    (standing,) = found.standings
    assert (standing.segment, standing.audits, standing.status) == (MOVED, 30, "watching")
    assert found.alarms == []


def test_an_alarm_sends_all_to_the_incumbent(site: Site) -> None:
    verdict = site.apply(POLICY, router=ROUTER, certificates=certificates())
    site.see(verdict, [(GOOD, BAD)] * 200, segment=MOVED)
    assert site.look().alarms
    route = site.route()
    assert (route.policy.kind, route.router) == ("keep", None)
