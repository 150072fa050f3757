"""Every hostile request gets a clear refusal, and the next good one is served."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from benchmarks.gateway._abuse import (
    DRIPPING,
    UPSTREAM_KEY,
    Attacked,
    configuration,
    faults,
    provider,
    send,
    wrong_answer,
)
from benchmarks.gateway._hostile import LISTED, Case, whole
from benchmarks.gateway._hostile_own import OWN
from benchmarks.gateway._served import Served, serving

NEXT_WITHIN_S = 10.0  # busy machines; the limit proper is measured apart
AT_ONCE = tuple(case for case in (*LISTED, *OWN) if case not in DRIPPING)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Attacked]]:
    with provider() as fake:
        config = configuration(fake.base_url)
        folder = tmp_path_factory.mktemp("hostile")
        with serving(folder, config, environ={"UPSTREAM_KEY": UPSTREAM_KEY}) as served:
            yield served, Attacked(served.address, served.key, served.workers, fake)


@pytest.fixture(scope="module")
def gateway(served: tuple[Served, Attacked]) -> Attacked:
    return served[1]


@pytest.fixture(scope="module")
def answers(gateway: Attacked) -> Iterator[dict[Case, Future[bytes]]]:
    """The answers to those who drip, which are waited for while others are served."""
    with ThreadPoolExecutor() as aside:
        yield {case: aside.submit(send, gateway, case) for case in DRIPPING}


def test_the_list_has_as_many_cases_as_it_says() -> None:
    assert len(LISTED) == 88
    assert len(OWN) >= 40
    assert len({case.name for case in (*LISTED, *OWN)}) == len(LISTED) + len(OWN)


def test_a_good_request_whose_client_says_no_more_is_answered(gateway: Attacked) -> None:
    closing = Case("good", (whole(),), frozenset({200}), half_close=True, answers=2)
    assert wrong_answer(gateway, closing, send(gateway, closing)) == []


@pytest.mark.parametrize("case", AT_ONCE, ids=str)
def test_a_hostile_request_is_answered_and_the_next_good_one_is_served(
    gateway: Attacked, answers: dict[Case, Future[bytes]], case: Case
) -> None:
    assert faults(gateway, case, NEXT_WITHIN_S) == []


@pytest.mark.parametrize("case", DRIPPING, ids=str)
def test_a_request_that_drips_is_cut(
    gateway: Attacked, answers: dict[Case, Future[bytes]], case: Case
) -> None:
    assert wrong_answer(gateway, case, answers[case].result()) == []


def test_nothing_is_said_of_secrets_in_the_log(served: tuple[Served, Attacked]) -> None:
    log = (served[0].folder / "serve.log").read_text()
    assert UPSTREAM_KEY not in log
    assert served[0].key not in log
    assert "Traceback" not in log
