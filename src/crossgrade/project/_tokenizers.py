"""The tokenizer of a model whose file nobody named: a local model's own, a server's own, else bytes."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from crossgrade.domain import Offer
from crossgrade.errors import DataError, ProviderError, UsageError
from crossgrade.longcontext import Tokenizer, bytes_tokenizer, read_tokenizer, served_tokenizer

_PROOF_S = 10.0


def own_tokenizer(offer: Offer, root: Path, environ: Mapping[str, str]) -> Tokenizer:
    """Return the offer's own tokenizer where it can be had exactly, else bytes that stand in.

    A server is asked for the tokens of three lines.
    """
    if offer.provider != "local":
        return _served(offer, environ) or bytes_tokenizer()
    from crossgrade.providers.models import ModelShelf, models_home

    path = Path(ModelShelf(models_home(environ)).find(offer.model, root=root).path)
    with suppress(DataError):
        return read_tokenizer(path)
    return bytes_tokenizer()


def _served(offer: Offer, environ: Mapping[str, str]) -> Tokenizer | None:
    from crossgrade.providers.tokenizing import tokenize, tokenize_url

    def ask(offer: Offer, texts: Sequence[str]) -> list[list[int]]:
        # Prompts are built inside a running loop, which waits: another one needs a thread of its own.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(anyio.run, partial(tokenize, offer, texts, environ=environ)).result()

    try:
        url = tokenize_url(offer, environ)
        impatient = replace(offer, timeout_s=min(offer.timeout_s, _PROOF_S))
        if url is None or served_tokenizer(url, partial(ask, impatient)) is None:
            return None
        return served_tokenizer(url, partial(ask, offer))
    except (ProviderError, UsageError):
        return None
