"""A router that was certified serves: request by request, what is routed is what was certified."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway._served import Served, metric, records, serving
from crossgrade.testing import FakeProvider, ReceivedRequest
from tests.e2e.certified import Answered, ask, project_of
from tests.waiting import until

SAMPLES = 700
DRAWN = 40
NAMES = ("old", "new")
WORK = {
    "dataset": "work.jsonl",
    "prompt": {"system": "Answer in one word.", "user": "{input}"},
    "settings": {"max_output_tokens": 8},
    "scorer": {"kind": "exact"},
    "incumbent": "old",
    "candidates": ["new"],
    "mode": "fixed",
    "router": True,
    "whole_floor": 0.9,
}


def question(number: int) -> str:
    return f"{'Translate the word' if number % 2 else 'Prove the theorem'} {number}"


def answers(request: ReceivedRequest) -> str:
    """Answer as a good model, and as one that cannot prove anything."""
    asked = str(request.json["messages"][-1]["content"])
    number = int(re.findall(r"[0-9]+", asked)[0])
    fails = number % 11 == 0 or (request.model == "new" and "Prove" in asked and number % 3)
    return "no" if fails else "yes"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("router")
    lines = (json.dumps({"input": question(at), "target": "yes"}) + "\n" for at in range(SAMPLES))
    (folder / "work.jsonl").write_text("".join(lines))
    with FakeProvider(answers, models=NAMES) as fake:
        config = {"models": {name: model(fake, name) for name in NAMES}, "workloads": {"work": WORK}}
        with serving(folder, config) as gateway:
            with project_of(gateway) as project:
                project.evaluate("work")
                stored = project.decide("work")
                assert stored.verdict.name == "split", stored.verdict.sentence
                project.apply(stored.id)
            until(lambda: metric(gateway, "crossgrade_gateway_table_version") == len(gateway.workers))
            yield gateway


def model(fake: FakeProvider, name: str) -> dict[str, Any]:
    usd = 10 if name == "old" else 1
    return {
        "provider": "openai-compatible", "base_url": fake.base_url, "model": name,
        "prices": [{"input_per_mtok": usd, "output_per_mtok": usd}],
    }  # fmt: skip


def send(served: Served, *said: str, **more: Any) -> Answered:
    roles = ("user", "assistant")
    later = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    system = {"role": "system", "content": WORK["prompt"]["system"]}  # type: ignore[index]  # a dict
    return ask(served, "work", body={"model": "work", "messages": [system, *later], **more})


def certified(served: Served) -> dict[str, str]:
    """Return which model answers each of some questions, as the certificate has it."""
    with project_of(served) as project:
        (stored,) = project.store.verdicts.recent("work")
        evidence, policy = project.store.verdicts.evidence(stored.id), stored.verdict.policy
    routing = evidence.routing
    assert routing is not None
    assert routing.score is not None
    assert evidence.input is not None
    tested = [row for row in range(evidence.n) if not routing.trained[row]]
    return {
        evidence.input[row].split("\n", 1)[1]: NAMES[policy.reaches(float(routing.score[row]))]
        for row in tested[:: len(tested) // DRAWN]
    }


def test_what_is_routed_is_what_was_certified(served: Served) -> None:
    wanted = certified(served)
    assert set(wanted.values()) == set(NAMES)
    assert {text: send(served, text).target for text in wanted} == wanted


def test_the_record_names_the_part_of_the_certificate(served: Served) -> None:
    with project_of(served) as project:
        (stored,) = project.store.verdicts.recent("work")
    for text, target in list(certified(served).items())[:6]:
        wanted = send(served, text).headers["x-request-id"]
        (line,) = until(lambda wanted=wanted: [each for each in records(served) if each["id"] == wanted])  # type: ignore[misc]  # a lambda's default
        assert line["segment"] == (stored.verdict.policy.segments[0] if target == "new" else None)


def test_later_requests_of_a_conversation_keep_the_model(served: Served) -> None:
    wanted = certified(served)
    others = list(wanted)[::-1]
    for (text, target), other in list(zip(wanted.items(), others, strict=True))[:10]:
        assert send(served, text, "yes", other).target == target


def test_an_opening_that_is_more_than_text_goes_to_the_incumbent(served: Served) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": question(1)}, picture]
    answered = ask(served, "work", body={"model": "work", "messages": [{"role": "user", "content": parts}]})
    assert answered.target == "old"
    (line,) = until(
        lambda: [each for each in records(served) if each["id"] == answered.headers["x-request-id"]]
    )
    assert line["reason"] == "unknown_fact"


def test_the_verdict_verifies_and_says_what_else_would_have_moved_as_much(served: Served) -> None:
    with project_of(served) as project:
        (stored,) = project.store.verdicts.recent("work")
        assert project.verify(stored.id).holds
    codes = {each.code for each in stored.verdict.reasons}
    assert {"router", "router-compared"} <= codes
    (moved,) = [one for one in stored.verdict.certificates if one.segment in stored.verdict.policy.segments]
    assert moved.whole is not None
    assert moved.whole.floor == WORK["whole_floor"]


def test_a_router_changed_by_hand_is_refused_and_the_table_before_stays(
    served: Served, tmp_path: Path
) -> None:
    with project_of(served) as project:
        path = project.store.routes.path
    tree = json.loads(path.read_bytes())
    tree["routes"][0]["router"]["stake"] = 0.1
    path.write_bytes(json.dumps(tree).encode())
    wanted = certified(served)
    assert {text: send(served, text).target for text in list(wanted)[:10]} == dict(list(wanted.items())[:10])
