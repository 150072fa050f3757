"""Policies are pure functions of request facts, and refuse to contradict themselves."""

import pytest

from crossgrade.errors import UsageError
from crossgrade.routing import Policy, RequestFacts
from tests.codes import raises_code

SPLIT = Policy(kind="split", incumbent="a", candidate="b", segments=("x", "y"))


def test_keep_and_switch_ask_nothing():
    assert Policy(kind="keep", incumbent="a").pick(RequestFacts(segment="x")) == "a"
    assert Policy(kind="switch", incumbent="a", candidate="b").pick(RequestFacts()) == "b"


@pytest.mark.parametrize(("segment", "model"), [("x", "b"), ("y", "b"), ("z", "a"), ("", "a"), (None, "a")])
def test_a_split_moves_its_segments_and_nothing_unknown(segment, model):
    assert SPLIT.pick(RequestFacts(segment=segment)) == model


def test_a_split_by_another_fact():
    policy = Policy(kind="split", incumbent="a", candidate="b", segments=("de",), fact="tenant")
    assert policy.pick(RequestFacts(tenant="de", segment="x")) == "b"
    assert policy.pick(RequestFacts(tenant="fr", segment="de")) == "a"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "move"}, ("policy-invalid",)),
        ({"kind": "keep", "candidate": "b"}, ("policy-invalid",)),
        ({"kind": "keep", "incumbent": ""}, ("policy-invalid",)),
        ({"kind": "switch"}, ("policy-invalid",)),
        ({"kind": "switch", "candidate": "a"}, ("policy-invalid",)),
        ({"kind": "switch", "candidate": "b", "segments": ("x",)}, ("policy-invalid",)),
        ({"kind": "split", "candidate": "b"}, ("policy-invalid",)),
        ({"kind": "split", "candidate": "b", "segments": ("x", "x")}, ("policy-invalid",)),
        ({"kind": "split", "candidate": "b", "segments": ("x",), "fact": "features"}, ("policy-invalid",)),
    ],
)
def test_a_policy_that_says_two_things_is_refused(fields, message):
    with raises_code(*message):
        Policy(**{"incumbent": "a", **fields})


def test_a_length_limit_sends_long_and_unknown_requests_to_the_incumbent() -> None:
    for kind, segments in (("switch", ()), ("split", ("a",))):
        policy = Policy(kind=kind, incumbent="old", candidate="new", segments=segments, max_bytes=100)
        picked = [policy.pick(RequestFacts(segment="a", body_bytes=size)) for size in (1, 100, 101, None)]
        assert picked == ["new", "new", "old", "old"]
    for changes in ({"kind": "keep", "max_bytes": 5}, {"kind": "switch", "candidate": "new", "max_bytes": 0}):
        with pytest.raises(UsageError):
            Policy(incumbent="old", **changes)


def test_a_policy_for_plain_requests_sends_others_and_unknown_ones_to_the_incumbent() -> None:
    for kind, segments in (("switch", ()), ("split", ("a",))):
        policy = Policy(kind=kind, incumbent="old", candidate="new", segments=segments, plain_only=True)
        picked = [policy.pick(RequestFacts(segment="a", plain=plain)) for plain in (True, False, None)]
        assert picked == ["new", "old", "old"]
    with raises_code("policy-invalid"):
        Policy(kind="keep", incumbent="old", plain_only=True)
