"""Usage in logs is counted as it is where the same answer is billed."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.dialects import DIALECTS, Counts, strict_counts
from crossgrade.domain import MOST_TOKENS, DialectName
from crossgrade.workloads.traffic import chat
from crossgrade.workloads.traffic.chat import take_usage
from crossgrade.workloads.traffic.formats.observability import langfuse
from crossgrade.workloads.traffic.formats.openai import batch_output
from crossgrade.workloads.traffic.request import BadValueError, LoggedRequest

USAGES: dict[str, tuple[DialectName, dict[str, Any], tuple[int | None, ...]]] = {
    "xAI, reasoning beside the completion": (
        "openai",
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 450,
            "completion_tokens_details": {"reasoning_tokens": 300},
        },
        (100, 350, None, None, 300),
    ),
    "DeepSeek": (
        "openai",
        {"prompt_tokens": 1_000, "completion_tokens": 5, "prompt_cache_hit_tokens": 900},
        (1_000, 5, 900, None, None),
    ),
    "Anthropic, cached tokens beside the input": (
        "anthropic",
        {
            "input_tokens": 100,
            "cache_read_input_tokens": 9_000,
            "cache_creation_input_tokens": 500,
            "output_tokens": 20,
        },
        (9_600, 20, 9_000, 500, None),
    ),
    "responses": (
        "openai-responses",
        {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 64},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 8},
        },
        (100, 20, 64, None, 8),
    ),
    "Gemini": (
        "gemini",
        {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 60,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 5,
        },
        (100, 25, 60, None, 5),
    ),
}


@pytest.mark.parametrize("name", USAGES)
def test_every_provider_is_read_by_its_own_rule(name: str) -> None:
    dialect, usage, wanted = USAGES[name]
    assert _logged(usage) == wanted == msgspec.structs.astuple(DIALECTS[dialect].counts(usage))


def test_a_gateway_may_keep_anthropics_names_beside_counts_that_include_them() -> None:
    usage = {"prompt_tokens": 9_600, "completion_tokens": 20, "cache_read_input_tokens": 9_000}
    assert _logged({**usage, "cache_creation_input_tokens": 500}) == (9_600, 20, 9_000, 500, None)


def test_a_failed_request_used_nothing() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 0}}
    assert _logged({"prompt_tokens": 0, "completion_tokens": 0, **details}) == (0, 0, 0, 0, 0)
    assert _logged({}) == (None, None, None, None, None)


def test_counts_may_be_text_and_cannot_be_anything() -> None:
    assert _logged({"prompt_tokens": "100", "completion_tokens": "7", "cost": 0.25})[:2] == (100, 7)
    with pytest.raises(BadValueError):
        _logged({"prompt_tokens": -1, "completion_tokens": 7})


def test_a_sum_of_counts_that_cannot_be_is_unknown_or_refused() -> None:
    most = {"input_tokens": MOST_TOKENS, "cache_read_input_tokens": MOST_TOKENS, "output_tokens": 7}
    assert _logged({**most, "cache_creation_input_tokens": MOST_TOKENS}) == (None, 7, None, None, None)
    said = {"candidatesTokenCount": MOST_TOKENS, "thoughtsTokenCount": 10}
    assert _logged({"promptTokenCount": 5, **said}) == (5, None, None, None, None)
    usage = {"input": MOST_TOKENS, "input_cached_tokens": 1, "output": 7}
    with pytest.raises(BadValueError):
        langfuse({"type": "GENERATION", "usage_details": usage}, texts=False)


def test_objects_inside_objects_are_not_followed() -> None:
    usage: dict[str, Any] = {"prompt_tokens": 1}
    for _ in range(5_000):
        usage = {"x_details": usage}
    assert _logged(usage | {"prompt_tokens": 100, "completion_tokens": 7})[:2] == (100, 7)


def _logged(usage: dict[str, Any]) -> tuple[int | None, ...]:
    place = "usageMetadata" if "promptTokenCount" in usage else "usage"
    row = {"custom_id": "1", "response": {"status_code": 200, "body": {place: usage}}}
    found = batch_output(row, texts=False)
    return found.input, found.output, found.cached, found.cache_written, found.reasoning


_STRANGE = st.sampled_from([None, True, -1, 3.0, 2.5, "7", "", MOST_TOKENS, MOST_TOKENS + 1, {}, []])
_NAMES = (
    *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"),
    *("completion_tokens_details", "input_tokens", "cache_read_input_tokens", "prompt_cache_hit_tokens"),
)
_PARTS = st.dictionaries(
    st.sampled_from(
        ["cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens", "other_tokens"]
    ),
    st.integers(0, 40) | _STRANGE,
    max_size=3,
)


@given(st.dictionaries(st.sampled_from(_NAMES), st.integers(0, 60) | _STRANGE | _PARTS, max_size=6))
def test_usage_in_openais_own_form_is_read_as_any_other(usage: dict[str, Any]) -> None:
    found = strict_counts(usage)
    quickly = read(usage)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chat, "strict_counts", lambda _usage: None)
        assert read(usage) == quickly
    complete = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
    assert strict_counts(complete) == Counts(9, 4, 5)
    assert found is None or found == quickly


def read(usage: dict[str, Any]) -> Counts | str:
    into = LoggedRequest(format="test")
    try:
        take_usage(into, usage)
    except BadValueError as error:
        return str(error)
    return Counts(into.input, into.output, into.cached, into.cache_written, into.reasoning)
