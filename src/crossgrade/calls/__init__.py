"""The only way to ask a model: what was paid for before, a batch, or the provider, in that order.

`Calls` gives a `Call` its answer within a `Budget`, at the pace of the model's account, and keeps what was
paid for in the store.
"""

from crossgrade.calls._asking import FAILURES_IN_A_ROW, Calls, is_of_the_request, reworded
from crossgrade.calls._batches import Batches
from crossgrade.calls._budget import Budget, check_prices
from crossgrade.calls._call import (
    UNKNOWN_OUTPUT_TOKENS,
    WRAPPING_TOKENS,
    Call,
    OpenModel,
    canonical_json,
    digest,
    embedding_digest,
    most_cost_usd,
    prompt_bytes,
    prompt_digest,
    request_digest,
)
from crossgrade.calls._journal import Journal
from crossgrade.calls._limits import CallLimiter, CallLimiters, Patience, in_own_task
from crossgrade.providers import BatchProvider, Provider

__all__ = [
    "FAILURES_IN_A_ROW",
    "UNKNOWN_OUTPUT_TOKENS",
    "WRAPPING_TOKENS",
    "BatchProvider",
    "Batches",
    "Budget",
    "Call",
    "CallLimiter",
    "CallLimiters",
    "Calls",
    "Journal",
    "OpenModel",
    "Patience",
    "Provider",
    "canonical_json",
    "check_prices",
    "digest",
    "embedding_digest",
    "in_own_task",
    "is_of_the_request",
    "most_cost_usd",
    "prompt_bytes",
    "prompt_digest",
    "request_digest",
    "reworded",
]
