"""Segments that are discovered in texts: found again by their words, named by them, and no part of the test."""

import csv
import gzip
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import crossgrade
from crossgrade.decide import DecisionSettings, Evidence, decide_policy, train_router, verify
from crossgrade.decide._topics import EXAMPLES, discover
from crossgrade.routing import read_router, router_tree
from tests.codes import said
from tests.unit.decide.test_router import columns

WORDS = {
    "invoice": "invoice payment refund receipt billing account charge",
    "delivery": "parcel courier delivery tracking address warehouse shipped",
    "medical": "patient symptom doctor medicine diagnosis treatment fever",
    "code": "python function variable compile exception syntax module",
    "travel": "flight hotel passport luggage airport ticket boarding",
}
DEMO = Path(crossgrade.__file__).parent / "data" / "demo"
HARD = ("medical", "code")
SETTINGS = DecisionSettings(mode="fixed", floor=0.9)


def made(n: int = 1500, seed: int = 0) -> tuple[Evidence, list[str]]:
    """Return samples of five kinds of text without segments, and the kind of each."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(WORDS), n).tolist()
    texts = [
        " ".join([*rng.choice(WORDS[kind].split(), 4, replace=False), *rng.choice(FILLER, 5), f"n{at}"])
        for at, kind in enumerate(kinds)
    ]
    b = (rng.random(n) < 0.9).astype(float)
    hard = np.isin(kinds, HARD)
    c = np.where(hard, rng.random(n) < 0.4, b).astype(float)
    return Evidence(
        workload="w",
        sample_ids=np.array([f"s{at}" for at in range(n)], dtype=np.object_),
        incumbent=columns("old", b, 0.01),
        candidates=(columns("new", c, 0.001),),
        input=np.array(texts, dtype=np.object_),
    ), kinds


FILLER = ["please", "could", "somebody", "tell", "when", "what", "where", "this", "that", "about", "again"]


def test_the_kinds_of_text_are_found_and_named() -> None:
    found, kinds = made()
    discovered = discover(found.input.tolist(), seed=1)
    assert discovered is not None
    topics = discovered.topics
    for name in topics.names:
        inside = Counter(
            kind for text, kind in zip(found.input, kinds, strict=True) if topics.of(text) == name
        )
        (kind, n), *_ = inside.most_common()
        assert n > 0.95 * sum(inside.values())
        assert set(name.split(" (")[0].split("/")) <= set(WORDS[kind].split())
    assert {len(rows) for rows in discovered.examples} == {EXAMPLES}
    assert discover(found.input.tolist(), seed=1) == discovered


def test_words_that_most_groups_have_name_none_that_has_its_own() -> None:
    """In the demo's mix of tasks, questions about physics ask by `what`, as half of the other tasks do."""
    with gzip.open(DEMO / "mixed.csv.gz", "rt", encoding="utf-8") as file:
        found = discover([row["input"] for row in csv.DictReader(file)], 1)
    assert found is not None
    named = {word for name in found.topics.names for word in name.split("/")}
    assert not named & {"what", "they", "were", "does", "such"}
    assert {"python", "triangle", "energy"} <= named


@pytest.mark.parametrize("secret", ["correcthorse", "harbour" * 20, "red\x9b31m"])
def test_what_one_conversation_repeats_names_no_topic(secret: str) -> None:
    texts = [text for text, kind in zip(made(800)[0].input, made(800)[1], strict=True) if kind in HARD]
    talk = [f"{secret} gabriela divorce lawyer" for _ in range(80)]
    own = [str(at) for at in range(len(texts))]

    def named(units: list[str]) -> str:
        found = discover(texts + talk, 3, units=own + units)
        assert found is not None
        return "/".join(found.topics.names)

    words = {secret, "gabriela", "divorce", "lawyer"}
    by_many = named([f"user {at}" for at in range(len(talk))])
    assert {"gabriela", "divorce", "lawyer"} & set(by_many.split("/")), "users who say it name it"
    assert (secret in by_many) == (secret == "correcthorse"), "no long word and no code for a terminal does"
    assert not words & set(named(["talk"] * len(talk)).split("/"))


def test_what_moves_are_the_segments_that_hold() -> None:
    found, kinds = made()
    routed = train_router(found, SETTINGS)
    assert routed.routing.report.kind == "topics"
    router = read_router(router_tree(routed.routing.router))
    verdict = decide_policy(routed, SETTINGS, now=datetime(2026, 11, 28, tzinfo=UTC))
    assert verdict.name == "split", verdict.sentence
    moved = [verdict.policy.reaches(router.score(text)) for text in found.input]
    right = [kind not in HARD for kind in kinds]
    assert np.mean(np.equal(moved, right)) > 0.97
    segments = verdict.routing.discovered
    assert said(verdict.reasons, "discovered-segments", *(each.name for each in segments))
    assert {each.segment for each in verdict.groups} == {each.name for each in segments}
    assert sum(each.n for each in segments) == verdict.routing.trained_on
    ids = set(found.sample_ids[routed.routing.trained].tolist())
    assert all(len(each.examples) == EXAMPLES and ids.issuperset(each.examples) for each in segments)
    assert verify(verdict, routed) == ()


def test_declared_groups_are_not_called_discovered() -> None:
    found, _ = made()
    teams = np.array(["red", "blue"] * (found.n // 2), dtype=np.object_)
    routed = train_router(replace(found, group=teams), SETTINGS)
    verdict = decide_policy(routed, SETTINGS, now=datetime(2026, 11, 28, tzinfo=UTC))
    assert {each.segment for each in verdict.groups} == {"red", "blue"}
    (told,) = [each for each in verdict.reasons if each.code == "discovered-segments"]
    assert told.segments == tuple(each.name for each in verdict.routing.discovered)


def test_a_caller_cannot_name_a_discovered_segment() -> None:
    router = train_router(made()[0], SETTINGS).routing.router
    best = max(router.segments, key=router.segments.__getitem__)
    assert router.score("python function variable compile", best) == router.score(
        "python function variable compile"
    )
    assert router.score(None, best) is None


@pytest.mark.parametrize("text", ["", "駅はどこですか。", "zzz qqq"])
def test_a_text_of_words_that_were_never_seen_has_no_score(text: str) -> None:
    assert train_router(made()[0], SETTINGS).routing.router.score(text) is None


@pytest.mark.parametrize("text", ["", "same words in every text", "1 2 3"])
def test_texts_that_do_not_differ_have_no_segments(text: str) -> None:
    assert discover([text] * 200, seed=1) is None
