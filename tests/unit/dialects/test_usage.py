"""Golden usage records: counted once, or unknown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.dialects.anthropic.usage import anthropic_usage
from crossgrade.dialects.gemini.usage import gemini_usage
from crossgrade.dialects.openai_chat.usage import openai_usage
from crossgrade.domain import Usage

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        pytest.param(
            {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
            Usage(input_tokens=9, output_tokens=12),
            id="plain",
        ),
        pytest.param(
            {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 64},
            Usage(input_tokens=100, output_tokens=5, cache_read_input_tokens=64),
            id="deepseek",
        ),
        pytest.param(
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(input_tokens=32, output_tokens=103, reasoning_output_tokens=94),
            id="xai: reasoning beside the completion",
        ),
        pytest.param(
            {"prompt_tokens": 9, "completion_tokens": 12, "prompt_tokens_details": None},
            Usage(input_tokens=9, output_tokens=12),
            id="details null",
        ),
        pytest.param({"prompt_tokens": 9}, Usage(input_tokens=9), id="half"),
        pytest.param({"prompt_tokens": -1, "completion_tokens": 12}, Usage(output_tokens=12), id="negative"),
        pytest.param({"prompt_tokens": "9", "completion_tokens": 1.5}, Usage(), id="wrong types"),
        pytest.param({"prompt_tokens": True, "completion_tokens": 10**12}, Usage(), id="absurd"),
        pytest.param({"prompt_tokens": 0, "completion_tokens": 0}, Usage(), id="false zeros"),
        pytest.param(
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 6}},
            Usage(output_tokens=2),
            id="more cached than there is",
        ),
        pytest.param("many", Usage(), id="text"),
        pytest.param(None, Usage(), id="nothing"),
    ],
)
def test_openai(raw: Any, wanted: Usage) -> None:
    assert openai_usage(raw) == wanted


def test_an_empty_answer_may_cost_no_output() -> None:
    raw = {"prompt_tokens": 5, "completion_tokens": 0}
    assert openai_usage(raw, answered=False).output_tokens == 0


def test_anthropic_without_sense() -> None:
    raw = {"input_tokens": 5, "cache_read_input_tokens": "lots", "output_tokens": 3}
    assert anthropic_usage(raw) == Usage(output_tokens=3)


def test_gemini_leaves_zeros_out_but_not_nonsense() -> None:
    raw = {"promptTokenCount": 5, "thoughtsTokenCount": 7}
    assert gemini_usage(raw, answered=False) == Usage(
        input_tokens=5, output_tokens=7, reasoning_output_tokens=7
    )
    assert gemini_usage({"promptTokenCount": 5, "candidatesTokenCount": -1}) == Usage()
    assert gemini_usage({"totalTokenCount": 5}) == Usage()


@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens",
             "prompt_tokens_details", "completion_tokens_details", "cache_read_input_tokens",
             "cache_creation_input_tokens", "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"]
        ),
        JSON_VALUES,
    )
)  # fmt: skip
def test_whatever_comes_counts_make_sense(raw: dict[str, Any]) -> None:
    for read in (openai_usage, anthropic_usage, gemini_usage):
        usage = read(raw)
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        assert usage.input_tokens is None or usage.input_tokens >= max(1, cached)
        assert usage.output_tokens is None or usage.output_tokens >= max(
            1, usage.reasoning_output_tokens or 0
        )
