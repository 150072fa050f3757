"""Pure translators between Crossgrade's records and every provider's API.

Bytes in, records out, and back: no I/O, no clock. Used by `providers` and by the gateway.
"""

from crossgrade.wire._deltas import Collector
from crossgrade.wire._excerpt import excerpt
from crossgrade.wire._failures import failure, failure_inside
from crossgrade.wire._flavour import Flavour, WireRequest
from crossgrade.wire._sse import SseEvent, SseReader
from crossgrade.wire._usage import anthropic_usage, gemini_usage, openai_usage
from crossgrade.wire.anthropic import ANTHROPIC
from crossgrade.wire.batches import BatchResult, BatchState, BatchStatus
from crossgrade.wire.embeddings import Vector, decode_embeddings, encode_embeddings
from crossgrade.wire.gemini import GEMINI
from crossgrade.wire.hosts import HOSTS, FlavourName, Host, host_named
from crossgrade.wire.openai_chat import OPENAI
from crossgrade.wire.openai_responses import OPENAI_RESPONSES

FLAVOURS: dict[FlavourName, Flavour] = {
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "openai": OPENAI,
    "openai-responses": OPENAI_RESPONSES,
}
"""The translators of each API flavour."""

__all__ = [
    "FLAVOURS",
    "HOSTS",
    "BatchResult",
    "BatchState",
    "BatchStatus",
    "Collector",
    "Flavour",
    "FlavourName",
    "Host",
    "SseEvent",
    "SseReader",
    "Vector",
    "WireRequest",
    "anthropic_usage",
    "decode_embeddings",
    "encode_embeddings",
    "excerpt",
    "failure",
    "failure_inside",
    "gemini_usage",
    "host_named",
    "openai_usage",
]
