"""Retention on published per-item results, to three decimals against independently computed values."""

import csv
import gzip
from importlib.resources import files
from pathlib import Path

import numpy as np

from benchmarks._table import Row
from crossgrade.stats import Retention, retention

_MMLU_PRO = Path(__file__).parent.parent / "tests" / "data" / "published" / "mmlu_pro.csv.gz"
_GPT_4, _MIXTRAL = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"
_LLAMA = "Meta-Llama-3_1-70B-Instruct"

EXPECTED = {
    "GSM8K, Mixtral-8x7B / GPT-4-1106, as published": "0.745 [0.712, 0.778]",
    "MMLU, Mixtral-8x7B / GPT-4-1106, 57 subjects": "0.845 [0.836, 0.854]",
    f"MMLU-Pro, {_LLAMA} / gemini-1.5-pro-002": "0.896 [0.884, 0.908]",
    f"MMLU-Pro, {_LLAMA} / gemini-1.5-flash-002": "0.982 [0.969, 0.996]",
    "MMLU-Pro, Qwen1.5-72B-Chat / gemini-1.5-pro-002": "0.673 [0.660, 0.685]",
}


def _read(data: bytes) -> list[dict[str, str]]:
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return list(csv.DictReader(text.decode().splitlines()))


def _paired(rows: list[dict[str, str]], incumbent: str, candidate: str) -> Retention:
    both = [(row[incumbent], row[candidate]) for row in rows if row[incumbent] and row[candidate]]
    scores = np.array(both, dtype=float)
    return retention(scores[:, 0], scores[:, 1], floor=0.85, alpha=0.05)


def measured() -> dict[str, Retention]:
    """Retention of each published pair, in the order of EXPECTED."""
    demo = files("crossgrade") / "data" / "demo"
    gsm8k = _read((demo / "gsm8k_regraded.csv").read_bytes())
    mmlu = _read((demo / "mmlu.csv.gz").read_bytes())
    pro = _read(_MMLU_PRO.read_bytes())
    names = list(EXPECTED)
    found = {
        names[0]: _paired(gsm8k, f"{_GPT_4} as published", f"{_MIXTRAL} as published"),
        names[1]: _paired(mmlu, _GPT_4, _MIXTRAL),
    }
    for name in names[2:]:
        candidate, incumbent = name.removeprefix("MMLU-Pro, ").split(" / ")
        found[name] = _paired(pro, incumbent, candidate)
    return found


def rows() -> list[Row]:
    """One row a published pair."""
    table: list[Row] = []
    for name, result in measured().items():
        shown = f"{result.value:.3f} [{result.low:.3f}, {result.high:.3f}]"
        table.append(
            {
                "figure": f"real table: {name}",
                "value": shown,
                "unit": "",
                "must": EXPECTED[name],
                "aim": "same",
                "holds": shown == EXPECTED[name],
                "conditions": f"n {result.n:,}, {result.method}, 95 % interval",
            }
        )
    return table
