"""A byte-level tokenizer trained on the spot, and a model that answers by reading its prompt."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from crossgrade.calls import Budget, CallLimiters, Calls, Journal, OpenModel
from crossgrade.domain import ModelAnswer, ModelRequest, Offer, Price, Usage
from crossgrade.errors import ContextTooLongError
from crossgrade.longcontext import (
    Asker,
    HaystackPool,
    OldJournal,
    ProbeCalls,
    ProbeSettings,
    Tokenizer,
    read_tokenizer,
    synthetic_documents,
)
from crossgrade.store import Store
from tests.unit.evaluate.running import HASTY


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer as Reference
    from tokenizers import models, pre_tokenizers, trainers

    reference = Reference(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    reference.train_from_iterator([each.text for each in synthetic_documents(60_000, 5)], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    reference.save(str(path))
    return path


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file: Path) -> Tokenizer:
    return read_tokenizer(tokenizer_file)


@pytest.fixture(scope="session")
def pool(tokenizer: Tokenizer) -> HaystackPool:
    return HaystackPool(synthetic_documents(300_000, 1), tokenizer)


class ReadingModel:
    """Answers from what stands in the prompt, as long as it has at most `holds` tokens.

    `cuts` is the length to which it silently cuts prompts, `refuses` the length from which it refuses.
    """

    name, account = "reader", "reader"
    base_url = identity = places = None

    def __init__(
        self,
        count: Callable[[str], int],
        *,
        holds: int = 10**9,
        cuts: int = 10**9,
        refuses: int = 10**9,
        usage: bool = True,
    ) -> None:
        self.count, self.holds, self.cuts, self.refuses, self.usage = count, holds, cuts, refuses, usage
        self.prompts: list[str] = []

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        prompt = request.messages[0].content or ""
        self.prompts.append(prompt)
        tokens = self.count(prompt) + 7
        if tokens > self.refuses:
            raise ContextTooLongError("this model's maximum context length is exceeded", provider="reader")
        text = answer(prompt) if tokens <= self.holds else "ANSWER: 1"
        usage = Usage(input_tokens=min(tokens, self.cuts), output_tokens=4) if self.usage else Usage()
        return ModelAnswer(text=text, usage=usage, model="reader-1", ttft_ms=3.0, latency_ms=5.0)


def answer(prompt: str) -> str:
    """Answer a probe's question by searching the prompt for the lines it makes up."""
    documents, _, question = prompt.rpartition("Question: ")
    for how in (_mark, _fact, _record, _alias, _chain, _total, _ordinal):
        found = how(documents, question)
        if found is not None:
            return f"ANSWER: {found}"
    return "ANSWER: NOT FOUND"


def _mark(documents: str, question: str) -> str | None:
    found = (
        re.search(r"These documents carry the mark (\d+)", documents) if "which mark" in question else None
    )
    return found[1] if found else None


def _fact(documents: str, question: str) -> str | None:
    gap = re.search("“(.*)____(.*)”", question)
    found = gap and re.search(re.escape(gap[1]) + r"(\d+)" + re.escape(gap[2]), documents)
    return found[1] if found else None


def _record(documents: str, question: str) -> str | None:
    name = re.search("access number of the (.*) account", question)
    found = name and re.search(f"access number of the {name[1]} account is (\\d+)", documents)
    return found[1] if found else None


def _alias(documents: str, question: str) -> str | None:
    name = re.search("known inside the house as (.*)\\?", question)
    other = name and re.search(f"house the (.*) dossier goes by another name: {name[1]}\\.", documents)
    found = other and re.search(f"To open the {other[1]} dossier, dial (\\d+)", documents)
    return found[1] if found else None


def _chain(documents: str, question: str) -> str | None:
    name = re.search("follow the (.*) request to", question)
    at = name[1] if name else None
    while at and (after := re.search(f"The {at} request was replaced by the (.*) request\\.", documents)):
        at = after[1]
    found = at and re.search(f"The {at} request was closed with number (\\d+)", documents)
    return found[1] if found else None


def _total(documents: str, question: str) -> str | None:
    name = re.search("delivered to the (.*) warehouse in all", question)
    counts = re.findall(f"Delivery to the {name[1]} warehouse: (\\d+) crates", documents) if name else []
    return str(sum(map(int, counts))) if counts else None


def _ordinal(documents: str, question: str) -> str | None:
    name = re.search("notes to the (.*) desk give a number. Which number is in the (\\w+) of", question)
    found = re.findall(f"Note to the {name[1]} desk: the number is (\\d+)", documents) if name else []
    return found[("first", "second", "third").index(name[2])] if name and found else None


@pytest.fixture
def settings() -> ProbeSettings:
    return ProbeSettings(
        lengths=(1024, 1448, 2048, 2896, 4096, 5793, 8192), base_questions=12, certify_haystacks=40
    )


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Callable[..., Asker]]:
    """Make askers that share one store, as probes and their resumptions do."""
    with Store.open(tmp_path / "crossgrade.db") as store:

        def make(model: object, *, max_cost: str | None = None, older: OldJournal | None = None) -> Asker:
            budget, journal = Budget(None if max_cost is None else Decimal(max_cost)), Journal(store)
            return Asker(
                model=opened(model),
                probe=ProbeCalls(
                    calls=Calls(journal, budget), budget=budget, journal=journal, older=older or OldJournal()
                ),
                max_output_tokens=64,
            )

        yield make


def opened(provider: object, name: str = "reader") -> OpenModel:
    offer = Offer(name=name, provider="openai-compatible", model=f"{name}-1")
    return OpenModel(
        name=name,
        offer=offer,
        provider=provider,
        limiter=CallLimiters(HASTY).of(offer, provider),
        price=Price(input_per_mtok=Decimal(1), output_per_mtok=Decimal(2)),
    )
