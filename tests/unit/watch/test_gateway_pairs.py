"""What the gateway's broker stores is what a look reads."""

import json

from crossgrade.gateway import Outcome, RequestRecord, ShadowAnswer, ShadowPair
from crossgrade.serve._pairs import stored_feedback, stored_pair
from tests.unit.watch.conftest import BAD, GOOD, NOW, Site


def shadow(verdict: str, candidate: str | None, **changes: object) -> ShadowPair:
    def side(model: str, text: str | None) -> ShadowAnswer:
        if text is None:
            return ShadowAnswer(model=model, target=model, dialect="openai", error="HTTP 500")
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        body = {
            "id": f"chatcmpl-{model}",
            "object": "chat.completion",
            "model": f"{model}-1",
            "choices": [choice],
        }
        return ShadowAnswer(model=model, target=model, dialect="openai", body=json.dumps(body).encode())

    fields = {
        "route": "support",
        "request_id": "q",
        "at": NOW.timestamp(),
        "endpoint": "/v1/chat/completions",
        "request": b'{"model": "support", "messages": [{"role": "user", "content": "Which city?"}]}',
        "served_by": "candidate",
        "incumbent": side("gpt", GOOD),
        "candidate": side("llama", candidate),
        "verdict_id": verdict,
        "probability": 0.05,
    }
    return ShadowPair(**{**fields, **changes})


def test_shadow_pairs_are_scored_and_raise_the_alarm(site: Site) -> None:
    verdict = site.apply()
    with site.project() as project:
        project.store.pairs.append(
            [stored_pair(f"p{i:03d}", shadow(verdict, BAD if i % 2 else None)) for i in range(80)]
        )
    found = site.look()
    assert found.problems == []
    assert "change" in {alarm.kind for alarm in found.alarms}
    assert site.route().policy.kind == "keep"


def test_pairs_without_texts_are_counted_by_nobody(site: Site) -> None:
    verdict = site.apply()
    with site.project() as project:
        project.store.pairs.append([stored_pair("p", shadow(verdict, BAD, store_text=False))])
    (standing,) = site.look().standings
    assert (standing.status, standing.audits) == ("unmeasurable", 0)


def test_feedback_on_a_canary_is_heard(site: Site) -> None:
    site.write(scorer="\n      kind: exact", route="    outcome: resolved", watch="{label_share: 0}")
    verdict = site.apply(share=0.5)
    record = RequestRecord(
        id="q", worker=0, at=NOW.timestamp(), route="support", response_id="r-1", verdict_id=verdict,
        side="candidate", probability=0.5,
    )  # fmt: skip
    outcome = Outcome(response_id="r-1", name="resolved", value=1.0, at=NOW.timestamp())
    site.hear([stored_feedback(outcome, lambda _: record)])
    (standing,) = site.look().standings
    assert (standing.by, standing.status, standing.audits) == ("outcomes", "watching", 1)
