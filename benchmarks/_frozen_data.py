"""Published results for the rows of sealed baselines: an incumbent's outcomes, and candidates of a set retention.

A candidate has the published outcomes of another model on the same items, with as few of them turned at random as
make its retention on the whole table what it is to be. Where a table has fewer models than candidates are wanted,
the outcomes of one are dealt anew among the items of a subject on which the incumbent did as well: such
candidates agree with the incumbent as the real one does, and with each other as little as they can.
"""

import csv
import gzip
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

_MMLU_PRO = Path(__file__).parent.parent / "tests" / "data" / "published" / "mmlu_pro.csv.gz"
_GPT_4, _MIXTRAL = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"
_PRO, _FLASH = "gemini-1.5-pro-002", "gemini-1.5-flash-002"
_LLAMA, _QWEN = "Meta-Llama-3_1-70B-Instruct", "Qwen1.5-72B-Chat"

Generator = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Published outcomes: right (1) or wrong (0) by item. `group` numbers the item's subject."""

    name: str
    incumbent: np.ndarray
    others: Mapping[str, np.ndarray]
    group: np.ndarray

    @property
    def n(self) -> int:
        """The number of items."""
        return len(self.incumbent)

    @property
    def accuracy(self) -> float:
        """The share of items that the incumbent got right."""
        return float(self.incumbent.mean())


_TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "GSM8K, GPT-4-1106": ("gsm8k", _GPT_4, (_MIXTRAL,)),
    "MMLU, GPT-4-1106": ("mmlu", _GPT_4, (_MIXTRAL,)),
    "MMLU, Mixtral-8x7B": ("mmlu", _MIXTRAL, (_GPT_4,)),
    "MMLU-Pro, Gemini 1.5 Pro": ("mmlu_pro", _PRO, (_FLASH, _LLAMA, _QWEN)),
    "MMLU-Pro, Llama 3.1 70B": ("mmlu_pro", _LLAMA, (_FLASH, _PRO, _QWEN)),
    "MMLU-Pro, Qwen1.5 72B": ("mmlu_pro", _QWEN, (_FLASH, _PRO, _LLAMA)),
}
TABLES = tuple(_TABLES)
"""The tables by benchmark and incumbent. GSM8K and MMLU are RouteLLM's results, GSM8K marked again."""


@cache
def table(name: str) -> Table:
    """Read a table of `TABLES`: the items that every one of its models answered."""
    source, incumbent, others = _TABLES[name]
    rows = [row for row in _rows(source) if all(row[each] for each in (incumbent, *others))]
    subjects = [row.get("subject") or row.get("category") or "" for row in rows]
    return Table(
        name=name,
        incumbent=np.array([float(row[incumbent]) for row in rows]),
        others={each: np.array([float(row[each]) for row in rows]) for each in others},
        group=np.unique(subjects, return_inverse=True)[1],
    )


@cache
def _rows(source: str) -> list[dict[str, str]]:
    demo = files("crossgrade") / "data" / "demo"
    data = {
        "gsm8k": (demo / "gsm8k_regraded.csv").read_bytes,
        "mmlu": (demo / "mmlu.csv.gz").read_bytes,
        "mmlu_pro": _MMLU_PRO.read_bytes,
    }[source]()
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return list(csv.DictReader(text.decode().splitlines()))


def with_retention(incumbent: np.ndarray, other: np.ndarray, retention: float, rng: Generator) -> np.ndarray:
    """Return a model's outcomes with as few turned at random as give it this retention on the table.

    Its right answers are counted down to a whole number, so that its retention is never above.
    """
    found = other.copy()
    wanted = math.floor(retention * incumbent.sum() + 1e-9)
    surplus = int(found.sum()) - wanted
    turned = rng.permutation(np.flatnonzero(found == (1.0 if surplus > 0 else 0.0)))[: abs(surplus)]
    found[turned] = 1.0 - found[turned]
    return found


def dealt_anew(shown: Table, other: np.ndarray, rng: Generator) -> np.ndarray:
    """Return a model's outcomes, permuted among the items of a subject on which the incumbent did as well."""
    cell = 2 * shown.group + shown.incumbent.astype(np.int64)
    before = np.argsort(cell, kind="stable")
    after = np.lexsort((rng.random(shown.n), cell))
    found = np.empty(shown.n)
    found[after] = other[before]
    return found


def candidates(shown: Table, count: int, retention: float, rng: Generator) -> list[np.ndarray]:
    """Return so many candidates of this retention: the table's other models, then theirs dealt anew."""
    real = list(shown.others.values())
    found = []
    for at in range(count):
        other = real[at % len(real)]
        if at >= len(real):
            other = dealt_anew(shown, other, rng)
        found.append(with_retention(shown.incumbent, other, retention, rng))
    return found
