"""How well a router orders requests, against published routers, and what a score costs in the gateway."""

import csv
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks._router_certificates import FAULTY, discovered_rows, whole_text_rows
from benchmarks._table import Row
from crossgrade.decide._logistic import Features
from crossgrade.routing import FACTS, Head, Router, read_router, router_tree

_INCUMBENT, _CANDIDATE = "gpt-4-1106-preview", "mistralai/Mixtral-8x7B-Instruct-v0.1"
_BITS = 16
_ROUTELLM_BEST = {"RouteLLM, best of four routers (65k Arena pairs and 1.5k of these)": 0.603}
_REPEATS = 400


def speed_rows() -> list[Row]:
    """Return the size of a router's file, the time to load it, and the time of a score."""
    rng = np.random.default_rng(1)
    weights = [rng.integers(0, 256, 1 << _BITS, dtype=np.uint8).tobytes() for _ in range(2)]
    heads = tuple(Head(bias=0.0, unit=0.01, weights=each, facts=(0.1,) * len(FACTS)) for each in weights)
    router = Router(
        stake=0.85,
        bits=_BITS,
        facts_mean=(0.0,) * len(FACTS),
        facts_sd=(1.0,) * len(FACTS),
        heads=(heads[0], heads[1]),
    )
    packed = json.dumps(router_tree(router))
    words = Path(__file__).read_text(encoding="utf-8").split() * 20
    short, long = " ".join(words[:75])[:480], " ".join(words)[:4000]
    load_ms = _cpu_ms(lambda: read_router(json.loads(packed)), 20)
    return [
        _at_most("size of a router's file", len(packed) / 1e6, "MB", 1.0, 0.35, "text router, 2^16 buckets"),
        _at_most("time to load a router", load_ms, "ms CPU", 10, 4, "median of 20"),
        _at_most(
            "time of a score, a prompt of 108 tokens", _cpu_ms(lambda: router.score(short), _REPEATS), "ms CPU", 0.1,
            0.04, f"{len(short)} characters; median of {_REPEATS}",
        ),
        _at_most(
            "time of a score, 4,000 characters", _cpu_ms(lambda: router.score(long), _REPEATS), "ms CPU", 1, 0.5,
            f"median of {_REPEATS}",
        ),
    ]  # fmt: skip


def _at_most(figure: str, value: float, unit: str, must: float, aim: float, conditions: str) -> Row:
    return {
        "figure": figure,
        "value": value,
        "unit": unit,
        "must": f"<= {must:g}",
        "aim": f"<= {aim:g}",
        "holds": value <= must,
        "conditions": conditions,
    }


def _cpu_ms(call: object, repeats: int) -> float:
    assert callable(call)
    times = []
    for _ in range(repeats):
        start = time.process_time_ns()
        call()
        times.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(times)


def text_rows() -> list[Row]:
    """Return APGR of the router on RouteLLM's published results, by its own prompts."""
    return list(_text_rows(_prompts()))


def whole_text() -> list[Row]:
    """Return the certified share at a floor of the whole of routers that know the prompts alone."""
    texts, b, c, subject = _mmlu(_prompts() / "mmlu")
    sound = subject != FAULTY
    known = [text for text, kept in zip(texts, sound, strict=True) if kept]
    musts = {1000: (0.34, 0.40), 2000: (0.39, 0.45)}
    return [
        *whole_text_rows(texts, b, c, "57 subjects, labels as published", musts),
        *whole_text_rows(known, b[sound], c[sound], "56 sound subjects", musts),
    ]


def _prompts() -> Path:
    folder = os.environ.get("ROUTELLM")
    if folder is None:
        raise SystemExit("set ROUTELLM to the folder routellm/evals of github.com/lm-sys/RouteLLM")
    return Path(folder)


def _text_rows(folder: Path) -> Iterator[Row]:
    texts, b, c, subject = _mmlu(folder / "mmlu")
    features = Features.of(texts, [None] * len(texts), _BITS)
    score = _crossed(features, b, c)
    sound = subject != FAULTY
    random = {"at random": 0.5, **_ROUTELLM_BEST}
    yield _apgr_row("MMLU, labels as published, 5 folds", _apgr(score, b, c), 0.645, 0.67, random, len(b))
    kept = _apgr(score[sound], b[sound], c[sound])
    yield _apgr_row(f"MMLU without {FAULTY}, 5 folds", kept, 0.62, 0.65, {"at random": 0.5}, int(sound.sum()))
    few = []
    for seed in range(10):
        train = np.zeros(len(b), dtype=np.bool_)
        train[np.random.default_rng(seed).permutation(len(b))[:1500]] = True
        few.append(_apgr(_fitted(features, b, c, train)[~train], b[~train], c[~train]))
    yield _apgr_row(
        "MMLU, labels as published, 1,500 of these items train, mean of 10 draws", float(np.mean(few)), 0.61, 0.64,
        random, len(b),
    )  # fmt: skip
    known = [text for text, kept in zip(texts, sound, strict=True) if kept]
    yield from discovered_rows(known, b[sound], c[sound])
    texts, b, c = _gsm8k(folder / "gsm8k")
    features = Features.of(texts, [None] * len(texts), _BITS)
    folds = [_apgr(_crossed(features, b, c, seed), b, c) for seed in range(10)]
    yield _apgr_row(
        "GSM8K, graded again, 5 folds, mean of 10 divisions", float(np.mean(folds)), 0.56, 0.60, {"at random": 0.5},
        len(b),
    )  # fmt: skip


def _apgr_row(what: str, value: float, must: float, aim: float, peers: dict[str, float], n: int) -> Row:
    return {
        "figure": f"APGR on {what}",
        "value": value,
        "unit": "",
        "must": f">= {must:g}",
        "aim": f">= {aim:g}",
        "holds": value >= must,
        "peers": peers,
        "conditions": f"GPT-4-1106 and Mixtral-8x7B, {n:,} items, prompts alone; APGR as RouteLLM defines it, in ten "
        "parts; its routers were trained on other data, so the protocols differ",
    }


def _crossed(features: Features, b: np.ndarray, c: np.ndarray, seed: int = 0) -> np.ndarray:
    fold = np.random.default_rng(seed).permutation(len(b)) % 5
    found = np.zeros(len(b))
    for each in range(5):
        found[fold == each] = _fitted(features, b, c, fold != each)[fold == each]
    return found


def _fitted(features: Features, b: np.ndarray, c: np.ndarray, train: np.ndarray) -> np.ndarray:
    ours, theirs = (features.probability(features.head(train, right)) for right in (c, b))
    return np.asarray(ours - theirs)


def _apgr(score: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Return the average performance gap recovered (Ong and others, RouteLLM, 2024, section 3), in ten parts."""
    order = np.lexsort((np.random.default_rng(0).random(len(score)), score))  # the incumbent's first
    gained = np.concatenate([[0.0], np.cumsum((b - c)[order])])
    at = np.round(np.linspace(0, len(score), 11)).astype(int)
    recovered = gained[at] / gained[-1]
    return float(np.trapezoid(recovered, at / len(score)))


def _mmlu(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    leaked = _leaked(folder)
    texts, b, c, subject = list[str](), list[bool](), list[bool](), list[str]()
    found = sorted([*folder.glob("responses/mmlu_*.csv"), *folder.glob("mmlu_*.csv")])
    for path in found:
        for row in _rows_of(path):
            if row["prompt"] not in leaked:
                texts.append(row["prompt"])
                b.append(row[_INCUMBENT] == "True")
                c.append(row[_CANDIDATE] == "True")
                subject.append(path.stem.removeprefix("mmlu_"))
    return texts, np.array(b, dtype=float), np.array(c, dtype=float), np.array(subject)


def _gsm8k(folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the prompts and the grades of the packaged table, which has the items in the same order."""
    data = Path(__file__).parent.parent / "src" / "crossgrade" / "data" / "demo" / "gsm8k_regraded.csv"
    leaked, texts, b, c = _leaked(folder), list[str](), list[float](), list[float]()
    for row, grades in zip(_rows_of(folder / "gsm8k_responses.csv"), _rows_of(data), strict=True):
        if row["prompt"] not in leaked:
            texts.append(row["prompt"])
            b.append(float(grades["gpt-4-1106-preview"]))
            c.append(float(grades["mixtral-8x7b-instruct-v0.1"]))
    return texts, np.array(b), np.array(c)


def _leaked(folder: Path) -> set[str]:
    lines = (folder / "contaminated_prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["eval_prompt"] for line in lines}


def _rows_of(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)
