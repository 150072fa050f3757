"""Prompts, group commits and judges, each by itself."""

import json
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from itertools import chain

import anyio
import pytest

from crossgrade.calls import FAILURES_IN_A_ROW, Budget, CallLimiters, Journal, digest, request_digest
from crossgrade.domain import (
    GenerationSettings,
    Message,
    ModelAnswer,
    ModelRequest,
    Offer,
    Price,
    PromptTemplate,
    Sample,
    Variant,
)
from crossgrade.errors import StoreError, UpstreamError
from crossgrade.evaluate import Judges, _prompt, uncarried
from crossgrade.evaluate._prompt import Prompt
from crossgrade.providers import LocalProvider, LocalSettings, open_hosted
from crossgrade.providers.models import InstalledModel
from crossgrade.store import Response, Store, new_id
from crossgrade.testing import FakeProvider
from tests.codes import raises_code
from tests.unit.evaluate.running import HASTY, PRICE, Scripted, variant, workload


def prompt(**template: object) -> Prompt:
    return Prompt(
        Variant(
            offer=variant("gpt").offer,
            prompt=PromptTemplate(**template),
            settings=GenerationSettings(temperature=0.5),
        )
    )


def sample(**fields: object) -> Sample:
    return Sample(id="7", fields=fields)


def test_fields_are_put_into_the_prompt() -> None:
    request = prompt(user="Q: {question}\nA:", system="Speak {language}.").request(
        sample(question="Why?", language="French")
    )
    assert request == ModelRequest(
        model="gpt",
        messages=(
            Message(role="system", content="Speak French."),
            Message(role="user", content="Q: Why?\nA:"),
        ),
        settings=GenerationSettings(temperature=0.5),
    )


def test_earlier_messages_stand_between_the_system_prompt_and_the_question() -> None:
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    asked = prompt(user="{input}", system="Be kind.", history="history")
    assert [
        (each.role, each.content) for each in asked.request(sample(input="Why?", history=history)).messages
    ] == [
        ("system", "Be kind."),
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Why?"),
    ]
    # A judge, and a person who reads a loss, see the conversation.
    assert asked.input(sample(input="Why?", history=history)) == "user: Hi\nassistant: Hello\nWhy?"
    for none in ({}, {"history": []}, {"history": None}):
        assert len(asked.request(sample(input="Why?", **none)).messages) == 2
    with raises_code("history-invalid", "history", "7"):
        asked.request(sample(input="Why?", history=[{"role": "tool", "content": "12:40"}]))


def test_a_raw_prompt_has_no_messages() -> None:
    request = prompt(user="{a} and", text=True).request(sample(a="b"))
    assert (request.text, request.messages) == ("b and", ())


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ('Answer as {"label": "x"}', 'Answer as {"label": "x"}'),
        ("{ a } {} {0} {{a}}", "{ a } {} {0} {1}"),
        ("{a} {b} {c} {d.e}", '1 [1,"ü"]  x'),
        ("no fields", "no fields"),
    ],
)
def test_only_field_names_in_braces_are_replaced(template: str, filled: str) -> None:
    fields = {"a": 1, "b": [1, "ü"], "c": None, "d.e": "x"}
    assert prompt(user=template).request(sample(**fields)).messages[0].content == filled


def test_what_a_field_holds_is_not_read_as_a_template() -> None:
    assert prompt(user="{a}").request(sample(a="{b}", b="secret")).messages[0].content == "{b}"


def test_a_field_that_is_not_there_names_those_that_are() -> None:
    with raises_code("prompt-field-missing", "{qestion}", "7", "{question}", "{target}"):
        prompt(user="{qestion}").request(sample(question="Why?", target="x"))


def test_a_field_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prompt, "MAX_FIELD_CHARS", 10)
    with raises_code("prompt-field-too-long", "7", "11"):
        prompt(user="{a}").request(sample(a="x" * 11))


@pytest.mark.parametrize(
    ("given", "kept"),
    [(None, None), ("", None), ([], None), ("n", None), ("tools", "tools"), (["n"], '["n"]'), (7, "7")],
)
def test_what_keeps_a_request_from_other_apis_may_be_any_value(given: object, kept: str | None) -> None:
    assert uncarried(workload(dropped=frozenset({"n"})), sample(uncarried=given)) == kept


def response(number: int) -> Response:
    answer = ModelAnswer(text=str(number))
    return Response(id=new_id(), request_digest=str(number), offer="gpt", answer=answer, cost_usd=None)


def test_responses_are_committed_in_groups_in_their_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[list[str]] = []
    append = store.answers.append

    def counted(records: Sequence[Response]) -> None:
        append(records)
        groups.append([each.request_digest for each in records])

    monkeypatch.setattr(store.answers, "append", counted)

    async def main() -> None:
        journal = Journal(store)

        async def put(number: int) -> None:
            journal.put(response(number))
            await journal.committed()
            assert await journal.paid([str(number)])

        async with anyio.create_task_group() as group:
            group.start_soon(journal.run)
            async with anyio.create_task_group() as puts:
                for number in range(50):
                    puts.start_soon(put, number)
            journal.put(response(50))
            journal.close()

    anyio.run(main)
    assert list(chain(*groups)) == [str(number) for number in range(51)]
    assert len(groups) < 10


def test_a_journal_that_does_not_run_commits_when_somebody_waits(store: Store) -> None:
    async def main() -> None:
        journal = Journal(store)

        async def put(number: int) -> None:
            journal.put(response(number))
            await journal.committed()
            assert await journal.paid([str(number)])

        async with anyio.create_task_group() as puts:
            for number in range(20):
                puts.start_soon(put, number)

    anyio.run(main)


@pytest.mark.parametrize("runs", [True, False])
def test_nothing_is_written_after_a_write_failed_and_all_who_wait_are_told(
    runs: bool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []

    def append(records: Sequence[Response]) -> None:
        writes.append(records)
        raise StoreError("full")

    monkeypatch.setattr(store.answers, "append", append)

    async def main() -> None:
        journal = Journal(store)
        async with anyio.create_task_group() as group:
            if runs:
                group.start_soon(journal.run)
            for number in range(2):
                journal.put(response(number))
                with raises_code("store"):
                    await journal.committed()
            journal.close()

    anyio.run(main)
    assert len(writes) == 1


def test_a_judge_is_paid_once_for_a_question(store: Store) -> None:
    async def main() -> None:
        offer = variant("judge").offer
        provider = Scripted("judge", lambda request, _: json.dumps({"score": 1}))

        def judges() -> Judges:
            return Judges(
                {"judge": offer},
                providers={"judge": provider},
                limiters=CallLimiters(HASTY),
                store=store,
                prices={"judge": PRICE},
            )

        request = ModelRequest(model="judge", messages=(Message(role="user", content="Good?"),))
        first = judges()
        answer = await first.ask(request)
        assert first.cost_of("judge", answer) == Decimal("0.01")
        second = judges()
        again = await second.ask(request)
        assert second.cost_of("judge", again) == 0
        assert (again.text, again.usage) == (answer.text, answer.usage)
        assert len(provider.asked) == 1
        with raises_code("scorer-model-unknown", "other"):
            await second.ask(ModelRequest(model="other"))

    anyio.run(main)


def test_a_judge_that_did_not_answer_in_the_schema_is_asked_again(store: Store) -> None:
    async def main() -> None:
        replies = iter(["I would rather not say.", '{"reason": "curt", "grade": 4}'])
        provider = Scripted("judge", lambda request, _: next(replies))
        judges = Judges(
            {"judge": variant("judge").offer},
            providers={"judge": provider},
            limiters=CallLimiters(HASTY),
            store=store,
            prices={"judge": PRICE},
        )
        schema = {"type": "object", "required": ["reason", "grade"]}
        message = Message(role="user", content="Good?")
        request = ModelRequest(model="judge", messages=(message,), response_schema=schema)
        texts = [(await judges.ask(request)).text for _ in range(3)]
        assert texts == ["I would rather not say.", *['{"reason": "curt", "grade": 4}'] * 2]
        assert len(provider.asked) == 2

    anyio.run(main)


def test_a_judge_that_is_not_there_raises_the_error_of_each_call_as_it_is(store: Store) -> None:
    async def main() -> None:
        def fails(request: ModelRequest, _: int) -> str:
            raise UpstreamError("down")

        judges = Judges(
            {"judge": variant("judge").offer},
            providers={"judge": Scripted("judge", fails)},
            limiters=CallLimiters(HASTY),
            store=store,
            prices={"judge": PRICE},
        )
        for number in range(FAILURES_IN_A_ROW + 1):
            message = Message(role="user", content=f"Good {number}?")
            with pytest.raises(UpstreamError) as caught:
                await judges.ask(ModelRequest(model="judge", messages=(message,)))
            assert caught.value.message == "down"

    anyio.run(main)


def test_an_embedding_is_paid_once_for_a_text_and_priced(store: Store) -> None:
    price = Price(input_per_mtok=Decimal(1000), output_per_mtok=None)

    async def main() -> None:
        with FakeProvider() as fake:
            offer = fake.offer("vectors")
            async with open_hosted(offer, environ={}) as provider:
                judges = Judges(
                    {"vectors": offer},
                    providers={"vectors": provider},
                    limiters=CallLimiters(HASTY),
                    store=store,
                    prices={"vectors": price},
                )
                first = await judges.embed("vectors", ["one two", "three"])
                again = await judges.embed("vectors", ["four", "three"])
                assert first.cost_usd == Decimal("0.003")
                assert again.cost_usd == Decimal("0.001")
                assert again.vectors[1] == first.vectors[1]
                whole = await provider.embed(["one two", "three"])
                assert tuple(first.vectors) == whole.vectors
                with raises_code("scorer-model-unknown", "others"):
                    await judges.embed("others", ["x"])

    anyio.run(main)


def test_where_the_environment_places_an_endpoint_the_place_is_part_of_the_request() -> None:
    request = ModelRequest(model="m", text="Is it so?")

    async def named(offer: Offer, **environ: str) -> str:
        async with open_hosted(offer, environ={"AZURE_OPENAI_API_KEY": "k", **environ}) as provider:
            return request_digest(offer, request, epoch=1, provider=provider)

    def at(offer: Offer, place: str) -> str:
        return anyio.run(partial(named, offer, AZURE_OPENAI_ENDPOINT=f"https://{place}.example.com"))

    azure = Offer(name="a", provider="azure", model="m")
    unknown = request_digest(azure, request, epoch=1)
    assert len({at(azure, "east"), at(azure, "west"), unknown}) == 3
    assert at(azure, "east") == at(azure, "east")
    fixed = Offer(name="a", provider="azure", model="m", base_url="https://mine.example.com/openai/v1")
    assert at(fixed, "east") == at(fixed, "west") == request_digest(fixed, request, epoch=1)


def test_the_digests_of_other_requests_stay_as_they_were() -> None:
    request = ModelRequest(model="m", text="Is it so?")
    offer = Offer(name="a", provider="openai", model="m")
    assert request_digest(offer, request, epoch=1) == digest(("openai", None, request, 1))


def test_another_file_at_the_path_of_a_local_model_is_another_request() -> None:
    offer = Offer(name="mine", provider="local", model="./mine.gguf")
    request = ModelRequest(model=offer.model, text="Is it so?")

    def named(sha256: str, settings: LocalSettings) -> str:
        file = InstalledModel(
            name="mine", path="/models/mine.gguf", sha256=sha256, size_bytes=1, modified_ns=1,
            architecture="llama", context_tokens=512, chat=False, licence=None, duties=None,
            source="file", added_at="2026-07-01T00:00:00+00:00",
        )  # fmt: skip
        provider = LocalProvider(offer, file, settings, measure_ttft=False, largest=1)
        return request_digest(offer, request, epoch=1, provider=provider)

    first = named("aa", LocalSettings())
    assert named("aa", LocalSettings()) == first
    assert first not in {named("bb", LocalSettings()), named("aa", LocalSettings(cache_prompt=True))}


def test_a_budget_names_what_calls_in_flight_can_cost() -> None:
    budget = Budget(Decimal("0.006"))
    budget.pay(Decimal("0.0045"))
    assert "in flight" not in budget.exceeded(Decimal("0.002")).message
    budget.reserve(Decimal("0.0013"))
    assert not budget.has_room_for(Decimal("0.0003"))
    assert "$0.0013 are set aside for calls in flight" in budget.exceeded(Decimal("0.0003")).message
