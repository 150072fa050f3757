"""A probe before it runs: its documents, pairs, tokenizer and settings, and what it will cost."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import anyio

from crossgrade.domain import Offer, Price, Usage
from crossgrade.errors import DataError, ProviderError, UsageError
from crossgrade.longcontext import (
    Document,
    HaystackPool,
    ProbeEstimate,
    ProbeSettings,
    Question,
    RulerMaker,
    Tokenizer,
    bytes_tokenizer,
    check_settings,
    digest,
    estimate_probe,
    read_documents,
    read_pairs,
    read_tokenizer,
    served_tokenizer,
    synthetic_documents,
)
from crossgrade.pricing import cost_usd
from crossgrade.project._lengths import workload_tokens
from crossgrade.project._opened import OpenProject

MAX_OUTPUT_TOKENS = 64
_BYTES_PER_TOKEN = 4
_SYNTHETIC_CHARACTERS_PER_TOKEN = 6
_MOST_SYNTHETIC = 40_000_000
_PROOF_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """A probe that is ready to run: what it asks, whom it asks, and where its result is kept.

    `notes` say which parts of the documents could not be used.
    """

    offer: Offer
    price: Price | None
    settings: ProbeSettings
    documents: tuple[Document, ...]
    pairs: tuple[Question, ...]
    tokenizer: Tokenizer
    folder: Path
    against: Offer | None = None
    against_price: Price | None = None
    judge: Offer | None = None
    text: bool = False
    notes: tuple[str, ...] = ()

    @property
    def estimate(self) -> ProbeEstimate:
        """The calls, tokens and dollars that it will probably use."""
        prices = (self.price,) if self.against is None else (self.price, self.against_price)
        return estimate_probe(self.settings, prices, MAX_OUTPUT_TOKENS)

    @property
    def digest(self) -> str:
        """A digest of everything that must not change before the probe is resumed."""
        names = [f"{document.name} {digest(document.text)}" for document in self.documents]
        pairs = [str(pair) for pair in self.pairs]
        return digest(
            repr(
                (
                    self.offer.provider,
                    self.offer.model,
                    asdict(self.settings),
                    self.text,
                    names,
                    pairs,
                    self.tokenizer.name,
                    *([self.against.provider, self.against.model] if self.against else []),
                    *(["judge", self.judge.provider, self.judge.model] if self.judge else []),
                )
            )
        )

    def pool(self) -> HaystackPool:
        """Return what haystacks are made of."""
        return HaystackPool(self.documents, self.tokenizer, seed=self.settings.seed)

    def ruler_tasks(self, tasks: Sequence[str] = ()) -> tuple[str, ...]:
        """Return RULER's tasks to run: those named, or all that the pairs allow.

        Raises UsageError for an unknown task, and without an exact tokenizer.
        """
        if not self.tokenizer.exact:
            raise UsageError(
                "RULER's lengths are exact, and no tokenizer is known for this model",
                code="tokenizer-missing",
                hint="give the model's tokenizer.json, its GGUF file or a .tiktoken file with `--tokenizer`",
            )
        known = RulerMaker(self.pool(), pairs=self.pairs).tasks
        for task in tasks:
            if task not in known:
                raise UsageError(
                    f"there is no task {task!r} here; there are {', '.join(known)}",
                    code="task-unknown",
                    hint="qa_1 and qa_2 need `--pairs` with one or several passages",
                )
        return tuple(task for task in known if not tasks or task in tasks)

    def ruler_cost(self, tasks: Sequence[str], samples: int) -> tuple[int, int, Decimal | None]:
        """Return the calls, tokens and dollars of a full run of RULER; None without a price."""
        calls = len(self.settings.lengths) * len(tasks) * samples
        tokens = sum(self.settings.lengths) * len(tasks) * samples
        if self.price is None:
            return calls, tokens, None
        return (
            calls,
            tokens,
            cost_usd(Usage(input_tokens=tokens, output_tokens=calls * 128, images=0), self.price),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """What a probe asks about, and of whom besides its model.

    Without `documents` the haystack is synthetic. Without `tokenizer`, that of a local model's file or of
    the model's server is used, or bytes if no exact one is available. With `workload` no prompt is longer
    than its longest request, and the gate is the `gate_quantile` of its requests if the settings name none.
    `against` names a model that is asked the same prompts, `judge` one that grades
    answers to the `pairs`. With `text` prompts are sent as raw text, for base models.
    """

    documents: tuple[Path, ...] = ()
    pairs: Path | None = None
    tokenizer: Path | None = None
    text: bool = False
    workload: str | None = None
    against: str | None = None
    judge: str | None = None
    gate_quantile: float = 0.95


def plan_probe(project: OpenProject, name: str, settings: ProbeSettings, options: ProbeOptions) -> ProbePlan:
    """Read documents, pairs and tokenizer; see `ProjectProbes.plan`."""
    check_settings(settings)
    offer = project.offer(name)
    other = None if options.against is None else project.offer(options.against)
    if other is not None and other.name == offer.name:
        raise UsageError(
            f"{name!r} cannot be probed against itself",
            code="models-not-distinct",
            hint="name the incumbent with `--against`",
        )
    if options.tokenizer:
        reader = read_tokenizer(options.tokenizer)
    else:
        reader = own_tokenizer(offer, project.config.root, project.environ)
    if options.workload is not None:
        settings = _within(project, options.workload, reader, settings, options.gate_quantile)
    longest = max(*settings.lengths, settings.gate_tokens or 0)
    for each in (offer,) if other is None else (offer, other):
        if each.context_tokens is not None and longest + MAX_OUTPUT_TOKENS > each.context_tokens:
            raise UsageError(
                f"{longest:,} tokens and an answer do not fit the {each.context_tokens:,} of {each.name}",
                code="context-too-small",
                hint=f"ask for at most {each.context_tokens - MAX_OUTPUT_TOKENS:,} tokens with `--longest`",
            )
    characters = min(_SYNTHETIC_CHARACTERS_PER_TOKEN * longest, _MOST_SYNTHETIC)
    notes: list[str] = []
    read = (
        read_documents(options.documents, on_note=notes.append)
        if options.documents
        else synthetic_documents(characters, settings.seed)
    )
    return ProbePlan(
        offer=offer,
        price=project.price_of(offer),
        settings=settings,
        documents=read,
        pairs=read_pairs(options.pairs) if options.pairs else (),
        tokenizer=reader,
        folder=project.config.root / ".crossgrade" / "probes",
        against=other,
        against_price=None if other is None else project.price_of(other),
        judge=None
        if options.judge is None
        else _judge(project, options.judge, {offer.name, options.against}, options.pairs),
        text=options.text,
        notes=tuple(notes),
    )


def _judge(project: OpenProject, name: str, asked: Collection[str | None], pairs: Path | None) -> Offer:
    """Return the offer that judges; raises UsageError if it is asked too, or if there are no pairs."""
    if pairs is None:
        raise UsageError(
            "a judge grades answers to your own pairs, and there are none",
            code="judge-without-pairs",
            hint="add `--pairs FILE`, or leave `--judge` out: other answers are right or wrong by themselves",
        )
    if name in asked:
        raise UsageError(
            f"{name!r} cannot judge its own answers",
            code="models-not-distinct",
            hint="name another model with `--judge`",
        )
    return project.offer(name)


def _within(
    project: OpenProject, name: str, tokenizer: Tokenizer, settings: ProbeSettings, quantile: float
) -> ProbeSettings:
    """Return the settings limited to the lengths of a workload's requests."""
    workload = project.workload(name)
    unit = 1 if tokenizer.exact else _BYTES_PER_TOKEN
    gate, longest = workload_tokens(
        workload,
        project.dataset(workload, copies=True).samples,
        lambda text: len(tokenizer.encode(text)) // unit,
        quantile=quantile,
    )
    lengths = (*(each for each in settings.lengths if each < longest), longest)
    if len(lengths) < 2:
        raise UsageError(
            f"the longest request of {name!r} has {longest:,} tokens: there is no length to probe",
            code="requests-too-short",
            hint=f"begin the ladder under it with `--shortest`; it began at {settings.lengths[0]:,}",
        )
    return replace(settings, lengths=lengths, gate_tokens=settings.gate_tokens or max(gate, lengths[0]))


def own_tokenizer(offer: Offer, root: Path, environ: Mapping[str, str]) -> Tokenizer:
    """Return the offer's own tokenizer if an exact one is available, otherwise one that counts bytes.

    A server is asked for the tokens of three lines.
    """
    if offer.provider != "local":
        return _served(offer, environ) or bytes_tokenizer()
    from crossgrade.providers.models import ModelShelf, models_home

    path = Path(ModelShelf(models_home(environ)).find(offer.model, root=root).path)
    with suppress(DataError):
        return read_tokenizer(path)
    return bytes_tokenizer()


def _served(offer: Offer, environ: Mapping[str, str]) -> Tokenizer | None:
    from crossgrade.providers.tokenizing import tokenize, tokenize_url

    def ask(offer: Offer, texts: Sequence[str]) -> list[list[int]]:
        # Prompts are built inside a running loop, which waits: another one needs a thread of its own.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(anyio.run, partial(tokenize, offer, texts, environ=environ)).result()

    try:
        url = tokenize_url(offer, environ)
        impatient = replace(offer, timeout_s=min(offer.timeout_s, _PROOF_S))
        if url is None or served_tokenizer(url, partial(ask, impatient)) is None:
            return None
        return served_tokenizer(url, partial(ask, offer))
    except (ProviderError, UsageError):
        return None
