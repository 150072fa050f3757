"""Figures of the context probe: `python -m benchmarks.longcontext [PART …]` writes docs/benchmarks/longcontext.md."""

import sys
from collections.abc import Callable

from benchmarks import _longcontext_llama4, _longcontext_prompts, _longcontext_search
from benchmarks._table import Row, measure_parts

PARTS: dict[str, Callable[[], list[Row]]] = {
    "search": _longcontext_search.rows,
    "prompts": _longcontext_prompts.rows,
    "llama4": _longcontext_llama4.rows,
}


if __name__ == "__main__":
    measure_parts("longcontext", PARTS, sys.argv[1:], ("crossgrade", "numpy", "tiktoken", "tokenizers"))
