"""A model server's own tokenizer: exact where it can be, and bytes wherever it cannot."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from crossgrade.domain import Offer
from crossgrade.longcontext import HaystackPool, QuestionMaker, Tokenizer, build_stack, synthetic_documents
from crossgrade.project._probe_plans import own_tokenizer
from tests.codes import raises_code

Answer = Callable[[dict], tuple[int, object]]
KEY = {"VLLM_API_KEY": "k1", "LLAMA_API_KEY": "k1", "MY_KEY": "k1"}


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Serve answers to JSON bodies; gives the API's address, and the paths and keys that were seen."""
    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append((self.path, self.headers["authorization"]))
            status, said = answer(body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen
        finally:
            server.shutdown()
            thread.join()


def own(base_url: str | None, provider: str = "openai-compatible") -> Tokenizer:
    key = "MY_KEY" if provider == "openai-compatible" else None
    offer = Offer(name="m", provider=provider, model="m-1", base_url=base_url, api_key_env=key)
    return own_tokenizer(offer, Path(), KEY)


@pytest.mark.parametrize(
    ("provider", "fields"),
    [("llamacpp", {"content"}), ("vllm", {"prompt"}), ("openai-compatible", {"content", "prompt"})],
)
def test_prompts_are_exact_by_the_servers_own_tokens(
    tokenizer: Tokenizer, provider: str, fields: set[str]
) -> None:
    def answer(body: dict) -> tuple[int, object]:
        assert body.keys() - {"model", "add_special", "add_special_tokens"} == fields
        assert (body["model"], body["add_special"], body["add_special_tokens"]) == ("m-1", False, False)
        return 200, {"tokens": tokenizer.encode(body[max(fields)]).tolist(), "count": 1}

    async def stacked(pool: HaystackPool) -> list[int]:
        rng = np.random.default_rng(1)
        questions = [QuestionMaker(pool, ("record",), rng=rng).make()]
        stack = build_stack(pool, questions, 700, rng=rng, check=True)  # as a probe does, in its loop
        return [len(tokenizer.check(each.prompt)) for each in (*stack.planted, stack.canary)]

    with serving(answer) as (base_url, seen):
        found = own(base_url, provider)
        assert (found.kind, found.exact) == ("server", True)
        assert asyncio.run(stacked(HaystackPool(synthetic_documents(4_000, 1), found))) == [700, 700]
    assert set(seen) == {("/tokenize", "Bearer k1")}
    assert found.name == f"the server's own ({base_url.removesuffix('/v1')}/tokenize)"


@pytest.mark.parametrize(
    "answer",
    [
        lambda body: (404, {"error": "no such path"}),
        lambda body: (401, {"error": "invalid api key"}),
        lambda body: (200, {"tokens": ["strings", "as", "some", "gateways"], "token_ids": [1, 2, 3, 4]}),
        lambda body: (200, {"tokens": []}),
        lambda body: (200, ["no object"]),
        lambda body: (200, {"tokens": [1, *body["prompt"].encode()]}),  # each text begins with a token
    ],
    ids=["404", "401", "strings", "empty", "list", "prefix"],
)
def test_bytes_stand_in_where_the_server_has_no_exact_tokenizer(answer: Answer) -> None:
    with serving(answer) as (base_url, _):
        assert own(base_url).kind == "bytes"


def test_bytes_stand_in_without_a_server_and_other_hosts_are_not_asked() -> None:
    with serving(lambda body: (404, {})) as (base_url, seen):
        assert own(base_url, "together").kind == "bytes"
        assert seen == []
    assert own(base_url).kind == "bytes"


def test_a_server_that_fails_later_is_an_error_of_the_provider() -> None:
    says: list[tuple[int, object]] = []

    def answer(body: dict) -> tuple[int, object]:
        return says[0] if says else (200, {"tokens": list(body["content"].encode())})

    with serving(answer) as (base_url, _):
        found = own(base_url)
        assert found.encode("né").tolist() == [110, 195, 169]
        says.append((200, {"tokens": "none"}))
        with raises_code("tokenize-answer-invalid"):
            found.encode_many(["a", "b", "c"])
        says[0] = (503, {"error": "busy"})
        with raises_code("upstream", "503"):
            found.check("a")
