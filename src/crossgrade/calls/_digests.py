"""Digests: what makes two requests or sets of settings the same."""

from hashlib import sha256
from typing import Any

import msgspec

from crossgrade.dialects import HOSTS
from crossgrade.domain import ModelRequest, Offer
from crossgrade.providers import HostedProvider, LocalProvider, Provider

# Sorting makes the bytes of equal values equal; `str` writes paths and other leaves.
_encode = msgspec.json.Encoder(order="deterministic", enc_hook=str).encode


def canonical_json(value: Any) -> bytes:
    """Return a value's JSON, the same bytes for equal values."""
    return _encode(value)


def digest(value: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a value's canonical JSON."""
    return sha256(_encode(value)).hexdigest()


def request_digest(
    offer: Offer, request: ModelRequest, *, epoch: int, provider: Provider | None = None
) -> str:
    """Name a request: whoever sends it again to the same endpoint gets the answer already paid for.

    The epoch is part of it, so that repeats of one sample are separate answers, and so is what a
    local model's open `provider` runs, since another file may stand at the same path.
    """
    runs = (provider.identity,) if isinstance(provider, LocalProvider) else ()
    return digest((offer.provider, _address(offer, provider), request, epoch, *runs))


def embedding_digest(offer: Offer, text: str, *, provider: Provider) -> str:
    """Name the embedding of a text, as `request_digest` names a request."""
    return digest((offer.provider, _address(offer, provider), "embedding", offer.model, text))


def _address(offer: Offer, provider: Provider | None) -> str | None:
    """Return what is to be known of an endpoint's address: nothing where the table of hosts has it.

    Where the environment is part of it, as at Azure, it is the `provider`'s that is open; without
    one it is unknown, and equal to none.
    """
    host = HOSTS.get(offer.provider)
    if offer.base_url is not None or host is None or not host.is_placed_by_environment:
        return offer.base_url
    return provider.base_url if isinstance(provider, HostedProvider) else "unknown"


def prompt_digest(request: ModelRequest) -> str:
    """Name a prompt as sent, whichever the model."""
    return digest((request.messages, request.text))
