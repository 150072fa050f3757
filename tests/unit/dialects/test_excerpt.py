"""Quotations are short, printable and without keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.dialects import excerpt


@given(st.binary(max_size=3000) | st.text(max_size=3000))
def test_always_short_and_printable(raw: bytes | str) -> None:
    quote = excerpt(raw)
    assert len(quote) <= 200
    assert quote.isprintable()


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdefghijklmnopqrstuvwxyz",
        "sk-ant-api03-abcdefghijklmnop",
        "gsk_abcdefghijklmnopqrstuvwxyz",
        "AIzaSyAbcdefghijklmnopqrstuvwxyz",
        "hf_abcdefghijklmnopqrst",
        "Bearer abcdefghijklmnop",
    ],
)
def test_keys_are_removed(key: str) -> None:
    secret = key.removeprefix("Bearer ")
    assert secret[-8:] not in excerpt(f"bad key {key}, sorry")
    assert "sorry" in excerpt(f"bad key {key}, sorry")


def test_ordinary_words_stay() -> None:
    assert excerpt("keyword arguments are skipped") == "keyword arguments are skipped"
