"""Tokenises text on a model's server, by `POST /tokenize` of llama.cpp, vLLM and SGLang."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import anyio
import msgspec

from crossgrade.dialects import excerpt, failure
from crossgrade.domain import Offer
from crossgrade.errors import UpstreamError
from crossgrade.providers._http import HttpClient, open_http
from crossgrade.providers.hosted import account_of

_FIELDS = {
    "llamacpp": ("content",),
    "openai-compatible": ("content", "prompt"),
    "sglang": ("prompt",),
    "vllm": ("prompt",),
}
# llama.cpp's server needs a thread for each open connection, and may have only three.
_AT_ONCE = 2
_LARGEST = 64 * 2**20


class _Ids(msgspec.Struct):
    tokens: list[int]


def tokenize_url(offer: Offer, environ: Mapping[str, str]) -> str | None:
    """Return the address at which an offer's server tokenises, or None for a host without one.

    Raises the errors of `account_of`.
    """
    if offer.provider not in _FIELDS:
        return None
    return account_of(offer, environ).base_url.rstrip("/").removesuffix("/v1") + "/tokenize"


async def tokenize(offer: Offer, texts: Sequence[str], *, environ: Mapping[str, str]) -> list[list[int]]:
    """Return the token ids of each text, in their order, without special tokens.

    `offer` must be at a host for which `tokenize_url` returns an address. Raises a `ProviderError` if the
    server has no tokenizer, and the errors of `HostedProvider.ask`.
    """
    account = account_of(offer, environ)
    url = tokenize_url(offer, environ)
    assert url is not None, offer.provider
    found: dict[int, list[int]] = {}
    numbered = iter(enumerate(texts))
    async with open_http(url.removesuffix("/tokenize"), account.headers, environ=environ) as http:
        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(_AT_ONCE, len(texts))):
                    group.start_soon(_work, http, offer, numbered, found)
        except ExceptionGroup as errors:
            raise _first(errors) from None
    return [found[at] for at in range(len(texts))]


async def _work(
    http: HttpClient, offer: Offer, numbered: Iterator[tuple[int, str]], found: dict[int, list[int]]
) -> None:
    fields = _FIELDS[offer.provider]
    fixed = {"model": offer.model, "add_special": False, "add_special_tokens": False}
    for at, text in numbered:
        body = json.dumps({**fixed, **dict.fromkeys(fields, text)}).encode()
        response = await http.request("POST", "/tokenize", body, timeout_s=offer.timeout_s, largest=_LARGEST)
        if response.status != 200:
            raise failure(
                response.status,
                response.headers,
                response.body,
                provider=offer.provider,
                now=datetime.now(UTC),
            )
        try:
            found[at] = msgspec.json.decode(response.body, type=_Ids).tokens
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamError(
                f"{http.base_url}/tokenize answered no list of tokens: {excerpt(response.body)}",
                code="tokenize-answer-invalid",
                provider=offer.provider,
            ) from error


def _first(errors: BaseExceptionGroup[Exception]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
