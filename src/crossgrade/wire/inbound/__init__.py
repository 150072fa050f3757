"""Clients' requests of each API, read into Crossgrade's records; nothing is overlooked silently."""

from crossgrade.wire.inbound._request import InboundRequest
from crossgrade.wire.inbound.anthropic import read_message
from crossgrade.wire.inbound.openai_chat import read_chat, read_text
from crossgrade.wire.inbound.openai_responses import read_response

__all__ = ["InboundRequest", "read_chat", "read_message", "read_response", "read_text"]
