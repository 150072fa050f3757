"""How many responses are kept, and for how long."""

import json

import msgspec

from crossgrade.domain import StoredResponses
from crossgrade.gateway import Find, Found, Remember
from crossgrade.serve._kept import KeptResponses

MIB = 1 << 20


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def response(name: str, tenant: str = "a", previous: str | None = None, size: int = 100) -> Remember:
    """Return a response with one item of input and one of output."""
    given = msgspec.Raw(json.dumps([f"to {name}"]).encode())
    return Remember(
        1, tenant, name, previous, given, [(f"msg_{name}", msgspec.Raw(json.dumps("x" * size).encode()))]
    )


def known(kept: KeptResponses, name: str, tenant: str = "a") -> bool:
    found = kept.find(Find(1, tenant, name, []), MIB)
    assert found is not None
    return found.input is not None


def test_the_least_recently_used_go_first() -> None:
    kept = KeptResponses(StoredResponses(max_count=2))
    kept.keep(response("one"))
    kept.keep(response("two"))
    assert known(kept, "one")
    kept.keep(response("three"))
    assert [known(kept, name) for name in ("one", "two", "three")] == [True, False, True]
    found = kept.find(Find(1, "a", None, ["msg_one", "msg_two", "msg_none"]), MIB)
    assert found == Found(None, {"msg_one": msgspec.Raw(json.dumps("x" * 100).encode())})


def test_a_conversation_whose_beginning_is_gone_is_unknown() -> None:
    kept = KeptResponses(StoredResponses(max_count=2))
    for name, previous in (("one", None), ("two", "one"), ("three", "two")):
        kept.keep(response(name, previous=previous))
    assert not known(kept, "three")


def test_a_conversation_in_use_is_kept_as_a_whole() -> None:
    clock = Clock()
    kept = KeptResponses(StoredResponses(max_age_s=60.0), clock)
    kept.keep(response("one"))
    kept.keep(response("other"))
    for number in range(5):
        clock.now += 50
        kept.keep(response(f"next {number}", previous=f"next {number - 1}" if number else "one"))
        assert known(kept, f"next {number}")
        kept.forget()
    assert not known(kept, "other")
    clock.now += 61
    assert not known(kept, "next 4"), "it is too old although nobody has forgotten it yet"
    kept.forget()
    assert (kept._callers, kept._size, kept._count) == ({}, 0, 0)


def test_one_caller_cannot_displace_all_others() -> None:
    kept = KeptResponses(StoredResponses(max_bytes=MIB))
    kept.keep(response("mine", tenant="quiet"))
    for number in range(100):
        kept.keep(response(str(number), tenant="loud", size=50_000))
    assert known(kept, "mine", "quiet")
    assert known(kept, "99", "loud")
    assert not known(kept, "0", "loud")
    assert kept._size <= MIB


def test_a_response_that_takes_too_much_room_is_not_kept() -> None:
    kept = KeptResponses(StoredResponses(max_bytes=MIB))
    kept.keep(response("large", size=MIB // 8))
    assert not known(kept, "large")
    assert kept._size == 0


def test_an_item_counts_as_often_as_a_request_names_it() -> None:
    kept = KeptResponses(StoredResponses())
    kept.keep(response("one", size=100_000))
    assert kept.find(Find(1, "a", None, ["msg_one"] * 10), MIB) is not None
    assert kept.find(Find(1, "a", None, ["msg_one"] * 11), MIB) is None


def test_a_response_that_is_kept_again_takes_its_room_once() -> None:
    clock = Clock()
    kept = KeptResponses(StoredResponses(max_age_s=60.0), clock)
    for _ in range(3):
        kept.keep(response("one"))
    assert known(kept, "one")
    clock.now += 61
    kept.forget()
    assert (kept._callers, kept._size, kept._count) == ({}, 0, 0)


def test_an_item_belongs_to_the_newest_response_that_has_it() -> None:
    kept = KeptResponses(StoredResponses(max_count=2))
    for name in ("one", "two", "three"):
        said = [("call_1", msgspec.Raw(json.dumps(name).encode()))]
        kept.keep(Remember(1, "a", name, None, msgspec.Raw(b"[]"), said))
    assert not known(kept, "one")
    found = kept.find(Find(1, "a", None, ["call_1"]), MIB)
    assert found == Found(None, {"call_1": msgspec.Raw(b'"three"')})
