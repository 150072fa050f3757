"""Answers of real local models, recorded once, from which the simulations of conform are drawn.

`python -m benchmarks._conform_answers FOLDER` asks again and writes benchmarks/data/conform_answers.json.gz. Copies of
the model are kept in FOLDER, and every answer, so that an interrupted recording goes on.

The hosts: `q8` and `q4` are two quantisations of the same weights, `own` is the file as it is installed, `cooler` is
`q8` at another temperature, `untaught` is `q8` without its chat template. Answers at temperature 0 come from
llama.cpp's server, eight requests at a time with the prompt cache on, so that they have the noise of a busy host.
The others are drawn by `Sampler`.
"""

import asyncio
import gzip
import json
import random
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks._conform_models import installed, quantised_copy
from benchmarks._conform_sampler import Sampler
from crossgrade.providers.local_process import LocalProcess, LocalSettings, start_process
from crossgrade.providers.models import describe_file

RECORDED = Path(__file__).parent / "data" / "conform_answers.json.gz"
TOKENS = 32
WARM = 0.4
"""At 1 the answers of so small a model are hardly language."""

_SLOTS = 8
_SEED = 20261129

PROMPTS = {
    "animal": "Name one animal. Answer with its name only.",
    "city": "Name three cities in Europe, separated by commas.",
    "number": "Pick a whole number from 1 to 20. Answer with the number only.",
    "colours": "List five colours, one a line.",
    "opposite": "What is the opposite of 'generous'?",
    "capital": "What is the capital of Australia?",
    "sum": "What is 17 + 26?",
    "months": "Write the names of the months from March to August.",
    "copy": "Repeat exactly: The quick brown fox jumps over the lazy dog.",
    "reverse": "Write the word 'planet' backwards.",
    "json": 'Return a JSON object with the keys "name" and "age" for a fictional person.',
    "french": "Translate into French: Where is the railway station?",
    "rhyme": "Write two lines that rhyme about the sea.",
    "why": "Why is the sky blue? Answer in one sentence.",
    "advice": "Give one tip for learning a language.",
    "story": "Write the first sentence of a story about a lighthouse.",
    "sentiment": "Is this review positive or negative? 'The soup was cold and the waiter was rude.'",
    "summary": "Summarise in one sentence: Bees visit flowers to collect nectar and spread pollen as they go.",
    "code": "Write a Python function that returns the square of a number.",
    "steps": "How do I boil an egg? Give three short steps.",
    "word": "Write one English word that begins with 'str'.",
    "name": "Suggest a name for a small bakery.",
    "count": "Count from 1 to 15, separated by spaces.",
    "fact": "Tell me one fact about Jupiter.",
    "letter": "Write a polite one-sentence apology for a late reply.",
}


@dataclass(frozen=True)
class Host:
    """A way of answering: the file, the temperature, and how many answers to each question are recorded."""

    name: str
    kind: str
    temperature: float
    answers: int
    template: bool = True


HOSTS = (
    Host("q8/cold", "q8", 0.0, 10),
    Host("q4/cold", "q4", 0.0, 6),
    Host("q8/warm", "q8", WARM, 24),
    Host("q4/warm", "q4", WARM, 16),
    Host("cooler/warm", "q8", 0.3, 10),
    Host("untaught/warm", "q8", WARM, 10, template=False),
    Host("own/warm", "own", WARM, 10),
)


@cache
def recorded() -> dict[str, dict[str, list[str]]]:
    """Return the recorded answers: host, prompt, answers in the order asked."""
    found: dict[str, dict[str, list[str]]] = json.loads(gzip.decompress(RECORDED.read_bytes()))
    return found


def record(folder: Path, chosen: list[str]) -> None:
    """Ask for what is not yet in `folder`, then write the record."""
    for host in HOSTS:
        if chosen and host.name not in chosen:
            continue
        if host.temperature:
            _draw_host(host, folder)
        else:
            asyncio.run(_record_host(host, folder))
    found: dict[str, dict[str, list[str]]] = {}
    for host in HOSTS:
        lines = _lines(folder, host)
        if lines:
            by_prompt: dict[str, list[str]] = {key: [] for key in PROMPTS}
            for line in sorted(lines, key=lambda line: int(line["index"])):
                by_prompt[str(line["prompt"])].append(str(line["text"]))
            found[host.name] = by_prompt
    text = json.dumps(found, ensure_ascii=False, indent=0)
    RECORDED.write_bytes(gzip.compress(text.encode(), mtime=0))


def _draw_host(host: Host, folder: Path) -> None:
    done = {line["prompt"] for line in _lines(folder, host)}
    wanted = [key for key in PROMPTS if key not in done]
    sampler = Sampler(_weights(host, folder)) if wanted else None
    for key in wanted:
        assert sampler is not None
        prompt = sampler.chat(PROMPTS[key]) if host.template else sampler.plain(PROMPTS[key] + "\n")
        rng = np.random.default_rng([_SEED, *f"{host.name} {key}".encode()])
        texts = sampler.draw(prompt, host.answers, TOKENS, host.temperature, rng)
        lines = [{"prompt": key, "index": index, "text": text} for index, text in enumerate(texts)]
        with _file(folder, host).open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _weights(host: Host, folder: Path) -> Path:
    source = installed()
    return source if host.kind == "own" else quantised_copy(source, folder / f"{host.kind}.gguf", host.kind)


async def _record_host(host: Host, folder: Path) -> None:
    path = _weights(host, folder)
    done = {(line["prompt"], line["index"]) for line in _lines(folder, host)}
    wanted = [(key, i) for i in range(host.answers) for key in PROMPTS if (key, i) not in done]
    if not wanted:
        return
    random.Random(_SEED).shuffle(wanted)
    settings = LocalSettings(threads=1, slots=_SLOTS, context_tokens=512, cache_prompt=True)
    process = await start_process(describe_file(path), settings, alias="model")
    try:
        await asyncio.to_thread(_ask_all, process, host, wanted, folder)
    finally:
        await process.stop()


def _ask_all(process: LocalProcess, host: Host, wanted: list[tuple[str, int]], folder: Path) -> None:
    with ThreadPoolExecutor(_SLOTS) as pool, _file(folder, host).open("a", encoding="utf-8") as file:
        for line in pool.map(lambda each: _ask(process, host, *each), wanted):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()


def _ask(process: LocalProcess, host: Host, key: str, index: int) -> dict[str, str | int]:
    body = {
        "temperature": host.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "max_tokens": TOKENS,
    }
    body["seed"] = random.Random(f"{host.name} {key} {index}").randrange(2**31)
    asked = {"messages": [{"role": "user", "content": PROMPTS[key]}], **body}
    request = urllib.request.Request(
        f"{process.base_url}/chat/completions",
        data=json.dumps(asked).encode(),
        headers={"Authorization": f"Bearer {process.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as response:
        choice = json.loads(response.read())["choices"][0]
    return {"prompt": key, "index": index, "text": choice["message"]["content"]}


def _file(folder: Path, host: Host) -> Path:
    return folder / f"{host.name.replace('/', '-')}.jsonl"


def _lines(folder: Path, host: Host) -> list[dict[str, str]]:
    path = _file(folder, host)
    return [line for line in _read(path) if int(line["index"]) < host.answers] if path.exists() else []


def _read(path: Path) -> Iterator[dict[str, str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2:])
