"""Prompts taken apart and put together: unchanged to the letter, and changed in one place."""

import pytest

from crossgrade.domain import GenerationSettings, Offer, PromptTemplate, Sample, ScorerSpec, Variant
from crossgrade.tuning import PromptSpace
from crossgrade.tuning._changes import label_grammar
from crossgrade.tuning._drafts import draft_of

OFFER = Offer(name="m", provider="local", model="m")
PROMPTS = [
    PromptTemplate(user="{examples}{ticket} =>", text=True),
    PromptTemplate(user="{ticket}"),
    PromptTemplate(user="Classify.\n\nTicket: {ticket}\nLabel:", system="You sort tickets."),
    PromptTemplate(user='Return {"label": ...}\n{ticket} of {product}', response_schema={"type": "object"}),
]
POOL = [
    Sample(id=f"p{at}", fields={"ticket": f"ticket {at}", "examples": "E", "product": "P"}, target=label)
    for at, label in enumerate(["billing", "delivery", "account"] * 4)
]
TARGETS = ["billing", "delivery", "account"] * 10


def space(prompt: PromptTemplate, *, kind: str = "exact", **options: object) -> PromptSpace:
    return PromptSpace.of(
        Variant(offer=OFFER, prompt=prompt, settings=GenerationSettings()),
        ["ticket"],
        scorer=ScorerSpec(kind=kind),
        targets=TARGETS,
        pool=POOL,
        **options,
    )


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda each: each.user[:12])
def test_a_prompt_taken_apart_is_put_together_as_it_was(prompt: PromptTemplate) -> None:
    variant = Variant(offer=OFFER, prompt=prompt)
    assert draft_of(variant, ["ticket"]).assembled() == variant


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda each: each.user[:12])
def test_variants_are_distinct_numbered_and_ask_for_the_ticket(prompt: PromptTemplate) -> None:
    tried = space(prompt).first()
    assert [each.number for each in tried] == list(range(len(tried)))
    assert tried[0].variant.prompt == prompt
    assert len({(repr(each.variant.prompt), each.variant.settings) for each in tried}) == len(tried)
    assert len(tried) <= 14
    for each in tried:
        assert "{ticket}" in each.variant.prompt.user
        assert not (each.variant.prompt.text and each.variant.prompt.system)
        assert not (each.variant.prompt.text and each.variant.prompt.response_schema)


def test_examples_stand_in_the_form_of_the_item() -> None:
    shown = next(each for each in space(PROMPTS[0]).first() if each.name == "4 examples")
    assert shown.examples == ("p0", "p1", "p2", "p3")
    assert shown.variant.prompt.user == (
        "{examples}ticket 0 => billing\nticket 1 => delivery\nticket 2 => account\nticket 3 => billing\n{ticket} =>"
    )


def test_labels_are_listed_and_become_a_schema() -> None:
    found = space(PROMPTS[2])
    assert found.labels() == ["account", "billing", "delivery"]
    names = {each.name: each.variant.prompt for each in found.first()}
    assert "account, billing, delivery" in str(names["labels listed"].system)
    assert names["a schema for the answer"].response_schema == {
        "type": "string",
        "enum": ["account", "billing", "delivery"],
    }


def test_labels_become_a_grammar_where_the_host_takes_one() -> None:
    assert "labels as a grammar" not in {each.name for each in space(PROMPTS[0]).first()}
    names = {each.name: each.variant.prompt for each in space(PROMPTS[0], takes_grammar=True).first()}
    bound = names["labels as a grammar"]
    assert bound.text
    assert bound.grammar == 'root ::= " "? ("account" | "billing" | "delivery")'
    assert "labels as a grammar" not in {each.name for each in space(PROMPTS[3], takes_grammar=True).first()}
    assert label_grammar(['say "no"', "a\\b"]) == r'root ::= " "? ("say \"no\"" | "a\\b")'


def test_a_sample_that_looks_like_a_field_is_no_example() -> None:
    odd = [Sample(id="odd", fields={"ticket": "write {name}"}, target="billing")]
    assert (
        PromptSpace.of(
            Variant(offer=OFFER, prompt=PROMPTS[1]),
            ["ticket"],
            scorer=ScorerSpec(kind="exact"),
            targets=[],
            pool=odd,
        ).pool
        == []
    )


def test_mixtures_are_of_changes_that_did_no_worse() -> None:
    found = space(PROMPTS[2], most=20)
    tried = found.first()
    gains = {each.number: -0.1 for each in tried} | {0: 0.0}
    better = {each.changes[0].dimension: each for each in tried[1:] if each.changes[0].dimension != "layout"}
    gains |= {each.number: 0.1 for each in better.values()}
    mixed = found.mixtures(gains, tried)
    assert {each.dimension for each in mixed[0].changes} == set(better)
    assert all("layout" not in {change.dimension for change in each.changes} for each in mixed)
    assert found.mixtures({0: 0.0}, tried) == []
