"""Planted faults: how often a check of a faulty host of a local model is found to differ, and in which rows."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path

import anyio

from benchmarks._conform_hosts import (
    KEY,
    Body,
    FaultyHost,
    cutting,
    dropping_tools,
    local_host,
    proxied,
    with_wrong_template,
    without_temperature,
)
from benchmarks._conform_models import installed, quantised_copy
from benchmarks._table import Row
from crossgrade.calls import Budget, CallLimiters, Calls, Journal, OpenModel
from crossgrade.domain import ConformCheck, Offer, Price
from crossgrade.evidence import (
    ConformAsker,
    ConformInput,
    ConformQuestion,
    ConformSettings,
    ConformSide,
    conform_questions,
    conform_table,
)
from crossgrade.longcontext import synthetic_documents
from crossgrade.providers import find_model, open_provider
from crossgrade.store import Store

RUNS = 20
SETTINGS = ConformSettings(prompts=6, lengths=(256, 512))
PRICE = Price(input_per_mtok=Decimal("0.10"), output_per_mtok=Decimal("0.30"))
OTHER = "gemma-3-270m"
FAULTS: dict[str, tuple[str, Callable[[Body], Body]]] = {
    "wrong template": ("q8", with_wrong_template),
    "Q4 for Q8": ("q4", lambda body: body),
    "context cut to 300 tokens": ("q8", cutting(1_200)),
    "tools dropped": ("q8", dropping_tools),
    "temperature switched off": ("q8", without_temperature),
    "another model behind the name": (OTHER, lambda body: body),
}
"""Each fault with the weights behind it and what the proxy before them does."""

_HEALTHY = "none: the same weights"
_KEY_VARIABLE = "CROSSGRADE_LOCAL_KEY"


def rows() -> list[Row]:
    """Check each faulty host beside a healthy one, `RUNS` times with answers drawn afresh."""
    documents = synthetic_documents(4 * max(SETTINGS.lengths) + 4_000, SETTINGS.seed)
    questions = conform_questions(SETTINGS, "\n".join(each.text for each in documents))
    found: Counter[str] = Counter()
    rows_of: dict[str, Counter[str]] = {name: Counter() for name in (*FAULTS, _HEALTHY)}
    costs: list[Decimal] = []
    answers = 0
    with _hosts() as urls, tempfile.TemporaryDirectory() as folder:
        for run in range(RUNS):
            with Store.open(Path(folder) / f"{run}.db") as store:
                reference = anyio.run(_asked, store, urls["reference"], questions)
                for name, seen_in in rows_of.items():
                    side = anyio.run(_asked, store, urls[name], questions)
                    checks = _table(side, reference, questions)
                    differing = [each.name for each in checks if each.outcome == "differs"]
                    found[name] += bool(differing)
                    seen_in.update(differing)
                    costs.append((side.cost_usd or Decimal(0)) + (reference.cost_usd or Decimal(0)))
                    answers = side.calls + reference.calls
    cost = max(costs)
    return [_row(name, found[name], rows_of[name], answers, cost) for name in rows_of]


@contextmanager
def _hosts() -> Iterator[dict[str, str]]:
    """Run all hosts; yield their addresses by name."""
    with ExitStack() as stack:
        enter = stack.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory()))
        served = {
            kind: enter(local_host(quantised_copy(installed(), folder / f"{kind}.gguf", kind)))
            for kind in ("q8", "q4")
        }
        other = find_model(OTHER)
        assert other is not None, f"`crossgrade models add {OTHER}` first"
        served[OTHER] = enter(local_host(Path(other.path)))
        yield {
            "reference": enter(proxied(FaultyHost(served["q8"].base_url))),
            _HEALTHY: enter(proxied(FaultyHost(served["q8"].base_url))),
            **{
                name: enter(proxied(FaultyHost(served[weights].base_url, fault)))
                for name, (weights, fault) in FAULTS.items()
            },
        }


async def _asked(store: Store, url: str, questions: tuple[ConformQuestion, ...]) -> ConformSide:
    """Return what a host answers, all of it asked afresh."""
    offer = Offer(
        name="host",
        provider="llamacpp",
        model="model",
        base_url=url,
        api_key_env=_KEY_VARIABLE,
        timeout_s=600,
    )
    side, budget, journal = ConformSide(name="host"), Budget(None), Journal(store)
    async with open_provider(offer, environ={**os.environ, _KEY_VARIABLE: KEY}) as provider:
        asker = ConformAsker(
            model=OpenModel.of(offer, provider, CallLimiters(), PRICE),
            calls=Calls(journal, budget, reuse=False),
            budget=budget,
            journal=journal,
            side=side,
        )
        await asker.ask(questions)
    return side


def _table(
    side: ConformSide, reference: ConformSide, questions: tuple[ConformQuestion, ...]
) -> tuple[ConformCheck, ...]:
    return conform_table(ConformInput(side=side, other=reference, questions=questions, settings=SETTINGS))


def _row(name: str, found: int, rows_of: Counter[str], answers: int, cost: Decimal) -> Row:
    where = ", ".join(f"{row} {count}" for row, count in rows_of.most_common()) or "no row"
    row: Row = {
        "figure": f"planted fault, {name}: checks that differ",
        "value": found,
        "unit": f"of {RUNS}",
        "conditions": (
            f"SmolLM2-135M at Q8_0 as the healthy host; alpha {SETTINGS.alpha:g}; {answers} answers and "
            f"${cost:.4f} for both hosts at $0.10 in, $0.30 out per million tokens; rows that differ: {where}"
        ),
    }
    if name != _HEALTHY:
        row |= {"must": "18", "aim": "20", "holds": found >= 0.9 * RUNS}
    return row
