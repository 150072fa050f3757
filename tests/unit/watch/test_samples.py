"""A live request of any API as a sample that a scorer can read."""

import json
from dataclasses import replace

import pytest

from crossgrade.domain import ScorerSpec, Workload
from crossgrade.watch._scoring import live_sample
from tests.unit.watch.conftest import GOOD, Site, pair

ASKED = [{"role": "user", "content": "Which city?"}]


@pytest.fixture
def workload(site: Site) -> Workload:
    with site.project() as project:
        return project.workload("support")


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (
            "/v1/chat/completions",
            {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, *ASKED]},
        ),
        (
            "/chat/completions",
            {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, *ASKED]},
        ),
        ("/v1/responses", {"model": "m", "instructions": "Be brief.", "input": "Which city?"}),
        ("/v1/messages", {"model": "m", "max_tokens": 9, "system": "Be brief.", "messages": ASKED}),
    ],
)
def test_what_the_user_asked_last(workload: Workload, endpoint: str, body: dict) -> None:
    sample = live_sample(
        pair("v", GOOD, GOOD, endpoint=endpoint, request=json.dumps(body).encode()), workload
    )
    assert sample.fields["input"] == "Which city?"
    assert sample.fields["system"] == "Be brief."
    assert sample.fields["messages"] == "system: Be brief.\n\nuser: Which city?"
    assert json.loads(str(sample.fields["request"])) == body


def test_a_plain_prompt(workload: Workload) -> None:
    body = b'{"model": "m", "prompt": "Which city?"}'
    sample = live_sample(pair("v", GOOD, GOOD, endpoint="/v1/completions", request=body), workload)
    assert sample.fields["input"] == "Which city?"


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"messages": 3}', b"[" * 10_000])
def test_a_body_that_no_translator_reads_is_its_own_input(workload: Workload, body: bytes) -> None:
    sample = live_sample(pair("v", GOOD, GOOD, request=body), workload)
    assert sample.fields["input"] == sample.fields["request"]


def test_the_field_that_a_judge_reads_is_there(workload: Workload) -> None:
    judged = replace(workload, scorer=ScorerSpec(kind="judge", options={"request_field": "ticket"}))
    assert live_sample(pair("v", GOOD, GOOD), judged).fields["ticket"] == "Which city?"
