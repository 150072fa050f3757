"""Planted faults: how often a check of a faulty host of a local model is found to differ, and in which rows."""

import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from benchmarks._conform_models import TOOLS_TEMPLATE, installed, quantised_copy
from benchmarks._table import Row
from crossgrade.calls import Budget, CallLimiters, Calls, Journal, OpenModel
from crossgrade.domain import Offer, Price, sum_usd
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
from crossgrade.pricing import cost_usd
from crossgrade.providers import find_model, open_provider
from crossgrade.store import Store

RUNS = 20
SETTINGS = ConformSettings(prompts=8, stages=(1, 1, 1), lengths=(256, 512))
"""Fewer prompts and draws than by default: a weaker check, which one core can make 140 times."""

PRICE = Price(input_per_mtok=Decimal("0.10"), output_per_mtok=Decimal("0.30"))
OTHER = "gemma-3-270m"
_REFERENCE, _HEALTHY = "reference", "none: the same weights"
_KEY_VARIABLE = "CROSSGRADE_LOCAL_KEY"


def _as_asked(body: Body) -> Body:
    return body


FAULTS: dict[str, tuple[str, Callable[[Body], Body]]] = {
    "wrong template": ("q8", with_wrong_template),
    "Q4 for Q8": ("q4", _as_asked),
    "context cut to 300 tokens": ("q8", cutting(1_200)),
    "tools dropped": ("q8", dropping_tools),
    "temperature switched off": ("q8", without_temperature),
    "another model behind the name": (OTHER, _as_asked),
}
"""Each fault with the weights behind it and what the proxy before them does."""


@dataclass
class _Found:
    """What the runs of one fault showed."""

    differs: int = 0
    rows_of: Counter[str] = field(default_factory=Counter)
    answers: list[int] = field(default_factory=list)
    costs_usd: list[Decimal] = field(default_factory=list)


class _Hosts:
    """All hosts on loopback. Within a run, hosts that send the same request to the same weights share its draws.

    So each fault's runs are independent of each other, but those of two faults of one run are not.
    """

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        other = find_model(OTHER)
        assert other is not None, f"`crossgrade models add {OTHER}` first"
        paths = {
            kind: quantised_copy(installed(), folder / f"{kind}.gguf", kind, TOOLS_TEMPLATE)
            for kind in ("q8", "q4")
        }
        paths[OTHER] = Path(other.path)
        served = {kind: stack.enter_context(local_host(path)).base_url for kind, path in paths.items()}
        greedy: dict[str, dict[str, bytes]] = {kind: {} for kind in served}
        self._drawn: dict[str, dict[tuple[str, int], bytes]] = {kind: {} for kind in served}
        self._hosts = {
            name: FaultyHost(served[kind], fault, greedy[kind], self._drawn[kind])
            for name, (kind, fault) in {_HEALTHY: ("q8", _as_asked), **FAULTS}.items()
        }
        reference = FaultyHost(served["q8"], greedy=greedy["q8"])
        self.urls = {
            name: stack.enter_context(proxied(host))
            for name, host in {_REFERENCE: reference, **self._hosts}.items()
        }

    def begin(self) -> None:
        """Begin a run, whose answers are drawn afresh."""
        for drawn in self._drawn.values():
            drawn.clear()
        for host in self._hosts.values():
            host.asked.clear()


def rows() -> list[Row]:
    """Check each faulty host beside a healthy one, `RUNS` times with answers drawn afresh."""
    documents = synthetic_documents(4 * max(SETTINGS.lengths) + 4_000, SETTINGS.seed)
    questions = conform_questions(SETTINGS, "\n".join(each.text for each in documents))
    found = {name: _Found() for name in (*FAULTS, _HEALTHY)}
    with ExitStack() as stack:
        hosts, folder = _Hosts(stack), Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for run in range(RUNS):
            hosts.begin()
            with Store.open(folder / f"{run}.db") as store:
                reference = anyio.run(_asked, store, hosts.urls[_REFERENCE], questions, None)
                for name, each in found.items():
                    _check(
                        each,
                        anyio.run(_asked, store, hosts.urls[name], questions, reference),
                        reference,
                        questions,
                    )
            print(
                f"run {run + 1}: {', '.join(str(each.differs) for each in found.values())}", file=sys.stderr
            )
    return [_row(name, each) for name, each in found.items()]


def _check(
    found: _Found, side: ConformSide, reference: ConformSide, questions: tuple[ConformQuestion, ...]
) -> None:
    differing = _differing(side, reference, questions)
    found.differs += bool(differing)
    found.rows_of.update(differing)
    draws = [(place, draw) for place, drawn in side.drawn.items() for draw in drawn]
    theirs = [cost_usd(reference.drawn[place][draw].usage, PRICE) for place, draw in draws]
    found.answers.append(side.calls + len(theirs))
    found.costs_usd.append((side.cost_usd or Decimal(0)) + (sum_usd(theirs) or Decimal(0)))


async def _asked(
    store: Store, url: str, questions: tuple[ConformQuestion, ...], reference: ConformSide | None
) -> ConformSide:
    """Return what a host answers, asked afresh and stage by stage until a row differs from the reference's.

    What differs after a stage does so after the last: only the test on the answers looks several times.
    """
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
        for stage in range(len(SETTINGS.stages)):
            await asker.ask([each for each in questions if each.stage == stage])
            if reference is not None and _differing(side, reference, questions):
                break
    return side


def _differing(
    side: ConformSide, reference: ConformSide, questions: tuple[ConformQuestion, ...]
) -> list[str]:
    given = ConformInput(side=side, other=reference, questions=questions, settings=SETTINGS)
    return [each.name for each in conform_table(given) if each.outcome == "differs"]


def _row(name: str, found: _Found) -> Row:
    where = ", ".join(f"{row} {count}" for row, count in found.rows_of.most_common()) or "no row"
    answers, costs = found.answers, found.costs_usd
    row: Row = {
        "figure": f"planted fault, {name}: checks that differ",
        "value": found.differs,
        "unit": f"of {RUNS}",
        "conditions": (
            f"SmolLM2-135M at Q8_0, with a chat template that takes tools, as the healthy host; alpha "
            f"{SETTINGS.alpha:g}; {SETTINGS.prompts} prompts, each answer drawn up to {sum(SETTINGS.stages)} times, until "
            f"a row differs; greedy answers are computed once, so that runs differ in drawn ones alone; {statistics.mean(answers):.0f} answers and ${sum(costs) / RUNS:.4f} for both hosts on average, "
            f"at most {max(answers)} and ${max(costs):.4f}, at $0.10 in, $0.30 out per million tokens; rows that "
            f"differ: {where}"
        ),
    }
    if name != _HEALTHY:
        row |= {"must": "18", "aim": "20", "holds": found.differs >= 0.9 * RUNS}
    return row
