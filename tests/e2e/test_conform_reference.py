"""`crossgrade conform --against reference`: a host beside a small Llama 4 checkpoint that is computed here."""

import json
import random
import shutil
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgrade.domain import GenerationSettings, LogprobRequest, Message, ModelRequest
from crossgrade.evidence import ReferenceModel
from crossgrade.project._references import open_reference
from tests.e2e.driving import CommandLine

pytestmark = pytest.mark.needs("module:tokenizers", "module:tiktoken", "module:jinja2")

DATA = Path(__file__).parents[1] / "data" / "llama4" / "like-scout"
QUICK = ("--prompts", "8", "--lengths", "64,128", "--json")
TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}{{ turn.role[0] }}: {{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a: {% endif %}"
)


def make_checkpoint(folder: Path) -> Path:
    """Copy the checkpoint, and put a tokenizer of single letters and a chat template beside it."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    shutil.copytree(DATA, folder)
    letters = [*string.ascii_lowercase, " ", "\n", *".,?!:'-0123"[:9]]
    words = {word: at for at, word in enumerate(["<unk>", "<bos>", "<eos>", *letters])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<unk>", "<bos>", "<eos>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    given = {"bos_token": "<bos>", "eos_token": "<eos>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(given))
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


def shaken(model: ReferenceModel, share: float) -> ReferenceModel:
    """Return the model with noise in its weights, as a coarse quantisation leaves it."""
    rng = np.random.default_rng(3)
    weights = {
        name: (each * (1 + share * rng.standard_normal(each.shape))).astype(each.dtype)
        for name, each in model.weights.items()
    }
    return replace(model, weights=weights)


@contextmanager
def serving(model: ReferenceModel, *, refuses_logprobs: bool = False) -> Iterator[str]:
    """Serve a model by OpenAI's API for chat completions; yield its address."""
    noise = random.Random(5)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, found = (400, {"error": {"message": "no logprobs", "type": "invalid_request_error"}})
            if "messages" in asked and not (refuses_logprobs and asked.get("logprobs")):
                status, found = 200, answer(asked)
            data = json.dumps(found).encode()
            with suppress(ConnectionError):  # who asks may have gone
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        heat = asked.get("temperature") or 0.0
        messages = tuple(Message(role=each["role"], content=each["content"]) for each in asked["messages"])
        settings = GenerationSettings(temperature=heat, max_output_tokens=asked["max_tokens"])
        kind = LogprobRequest if asked.get("logprobs") else ModelRequest
        rng = np.random.default_rng(noise.randrange(2**32)) if heat else None
        said = model.answer(kind(model="m", messages=messages, settings=settings), rng)
        places = [
            {
                "token": each.token,
                "logprob": each.logprob,
                "top_logprobs": [{"token": name, "logprob": value} for name, value in each.top.items()],
            }
            for each in said.logprobs
        ]
        return {
            "object": "chat.completion",
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": said.text},
                    "finish_reason": said.finish_reason,
                    "logprobs": {"content": places} if places else None,
                }
            ],
            "usage": {
                "prompt_tokens": said.usage.input_tokens,
                "completion_tokens": said.usage.output_tokens,
                "total_tokens": (said.usage.input_tokens or 0) + (said.usage.output_tokens or 0),
            },
        }

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configure(folder: Path, url: str) -> None:
    (folder / "crossgrade.yaml").write_text(
        f'models:\n  host: {{provider: openai-compatible, model: m, base_url: "{url}", timeout_s: 60}}\n'
    )


def checked(cli: CommandLine, checkpoint: Path) -> dict[str, Any]:
    ran = cli.succeeds(
        "conform", "host", "--against", "reference", "--checkpoint", str(checkpoint), *QUICK, "--yes"
    )
    found: dict[str, Any] = json.loads(ran.out)
    return found


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in found["check"]["checks"]}


def test_a_host_of_the_checkpoint_conforms(cli: CommandLine, folder: Path, checkpoint: Path) -> None:
    with serving(open_reference(checkpoint)) as url:
        configure(folder, url)
        found = checked(cli, checkpoint)
    rows = outcomes(found)
    assert found["conformity"] == "conforms", found["check"]["checks"]
    for name in ("template", "token-counts", "context", "copy", "log-probabilities", "greedy", "answers"):
        assert rows[name] == "agrees", name
    assert {rows[name] for name in ("tools", "schema", "stop", "seed")} == {"unchecked"}
    against = found["check"]["against"]
    assert (against["offer"], against["model"]) == ("reference", "checkpoint")


def test_a_damaged_model_is_told_from_the_checkpoint(
    cli: CommandLine, folder: Path, checkpoint: Path
) -> None:
    with serving(shaken(open_reference(checkpoint), 0.3), refuses_logprobs=True) as url:
        configure(folder, url)
        found = checked(cli, checkpoint)
    rows = outcomes(found)
    assert found["conformity"] == "differs"
    assert rows["template"] == rows["token-counts"] == "agrees"
    assert rows["greedy"] == "differs"
    assert rows["log-probabilities"] == "unchecked"


def test_other_log_probabilities_and_another_template_are_seen(
    cli: CommandLine, folder: Path, checkpoint: Path
) -> None:
    model = shaken(open_reference(checkpoint), 1.0)
    with serving(replace(model, prompt_of=lambda turns: [*model.prompt_of(turns), 3])) as url:
        configure(folder, url)
        found = checked(cli, checkpoint)
    rows = outcomes(found)
    assert rows["log-probabilities"] == rows["template"] == "differs", found["check"]["checks"]


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "file-missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer-invalid"),
        (lambda folder: (folder / "tokenizer_config.json").unlink(), "chat-template-missing"),
        (
            lambda folder: (folder / "chat_template.jinja").write_text("{% for %}"),
            "chat-template-invalid",
        ),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'),
            "architecture-unknown",
        ),
        (
            lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": 99}'),
            "tokenizer-mismatch",
        ),
    ],
)
def test_what_cannot_be_computed_is_an_error_before_anything_is_paid(
    cli: CommandLine, folder: Path, checkpoint: Path, damage: Any, error: str
) -> None:
    configure(folder, "http://127.0.0.1:9/v1")
    damage(checkpoint)
    asked = ("--against", "reference", "--checkpoint", str(checkpoint), *QUICK, "--yes")
    cli.fails("conform", "host", *asked, error=error)


def test_a_checkpoint_is_needed_for_a_host_and_used_if_given(
    cli: CommandLine, folder: Path, checkpoint: Path
) -> None:
    configure(folder, "http://127.0.0.1:9/v1")
    cli.fails("conform", "host", "--against", "reference", *QUICK, error="checkpoint-needed")
    cli.fails("conform", "host", "--checkpoint", str(checkpoint), *QUICK, error="checkpoint-not-used")
