"""Usage in the words of OpenAI's Responses API; it is read as that of chat completions is."""

from crossgrade.domain import JSON, Usage


def usage_to_wire(usage: Usage) -> JSON:
    """Write usage in this API's words; None when nothing is known, null where a count is not."""
    prompt, output = usage.input_tokens, usage.output_tokens
    if prompt is None and output is None:
        return None
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_input_tokens,
            "cache_write_tokens": usage.cache_creation_input_tokens,
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens},
        "total_tokens": None if prompt is None or output is None else prompt + output,
    }
