"""Training sets: which samples become examples, and that none is near a certification item."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.domain import Message, ModelRequest, Sample
from crossgrade.tuning._training_set import (
    FEWEST_EXAMPLES,
    TrainingExample,
    check_no_leak,
    label_text,
    training_set,
)
from tests.codes import raises_code


def sample(number, *, text=None, target="billing"):
    return Sample(id=f"s{number}", fields={"text": text or f"ticket {number}"}, target=target)


def asked(each):
    return ModelRequest(model="m", text=f"{each.fields['text']} =>")


def chat(each):
    turns = (Message(role="system", content="Be short."), Message(role="user", content=each.fields["text"]))
    return ModelRequest(model="m", messages=turns)


def built(samples, answers=None, *, request=asked, leaked=(), rejected=()):
    answers = {each.id: label_text(each.target) for each in samples} if answers is None else answers
    return training_set(samples, request, answers, origin="label", near=lambda _: leaked, rejected=rejected)


SAMPLES = [sample(number) for number in range(FEWEST_EXAMPLES + 4)]


def test_asks_as_the_candidate_is_asked():
    found = built(SAMPLES)
    assert found.examples[0] == TrainingExample(
        sample_id="s0", answer="billing", origin="label", text="ticket 0 =>"
    )
    assert found.origins == {"label": len(SAMPLES)}
    turns = built(SAMPLES, request=chat).examples[0]
    assert turns.text is None
    assert [each.role for each in turns.messages] == ["system", "user"]
    assert turns.prompt == "Be short.\nticket 0"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("a", "a"),
        (" a ", "a"),
        ("", None),
        ("  ", None),
        (None, None),
        (3, "3"),
        ({"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
    ],
)
def test_writes_a_label_as_the_answer_that_it_asks_for(target, expected):
    assert label_text(target) == expected


def test_leaves_out_what_cannot_teach_and_says_why():
    same = [sample(100, text="twice"), sample(101, text="twice")]
    torn = [sample(102, text="torn"), sample(103, text="torn", target="delivery")]
    blank = sample(104, target=None)
    found = built([*SAMPLES, *same, *torn, blank], leaked={"s1"}, rejected={"s2"})
    assert found.left_out == {
        "near a certification item": 1,
        "answer not accepted": 1,
        "no answer": 1,
        "same prompt, other answer": 2,
        "repeated": 1,
    }
    assert found.leaked == ("s1",)
    assert len(found.examples) == len(SAMPLES) - 1
    assert {"s1", "s2", "s102", "s103", "s104", "s101"}.isdisjoint(each.sample_id for each in found.examples)


def test_refuses_to_train_on_a_handful():
    with raises_code("training-set-small", FEWEST_EXAMPLES):
        built(SAMPLES, leaked={each.id for each in SAMPLES[:5]})


def test_is_named_by_its_content():
    assert built(SAMPLES).digest == built(SAMPLES).digest
    assert built(SAMPLES).digest != built(SAMPLES[1:]).digest
    assert built(SAMPLES).jsonl().count(b"\n") == len(SAMPLES)


@given(st.sets(st.integers(0, len(SAMPLES) - 1), max_size=4))
def test_no_sample_that_is_near_a_certification_item_ever_enters(numbers):
    leaked = {f"s{number}" for number in numbers}
    found = built(SAMPLES, leaked=leaked)
    assert leaked.isdisjoint(each.sample_id for each in found.examples)
    assert set(found.leaked) == leaked


def test_looks_once_more_before_training():
    found = built(SAMPLES)
    check_no_leak(found.examples, near=set(), closed={"other"})
    with raises_code("training-leaks", "s3"):
        check_no_leak(found.examples, near=set(), closed={"s3"})
    with raises_code("training-leaks", "s5"):
        check_no_leak(found.examples, near={"s5"}, closed=set())
