"""Probing the context of one of the project's offers: tokenizer, haystack, journal and provider together."""

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from crossgrade.domain import Offer, Price
from crossgrade.errors import NotFoundError, UsageError, closest
from crossgrade.longcontext import (
    Asker,
    Document,
    HaystackPool,
    Probe,
    ProbeEstimate,
    ProbeJournal,
    ProbeResult,
    ProbeSettings,
    Question,
    Spent,
    Tokenizer,
    check_settings,
    digest,
    estimate_probe,
    read_documents,
    read_pairs,
    read_tokenizer,
    render_probe,
    synthetic_documents,
)
from crossgrade.project._lengths import workload_tokens
from crossgrade.project._tokenizers import own_tokenizer

if TYPE_CHECKING:
    from crossgrade.project._project import Project
    from crossgrade.providers import Provider

OnProgress = Callable[[str, str, int, Spent], None]
"""Gets the probe's id, its phase, a length or number, and what was spent."""
MAX_OUTPUT_TOKENS = 64
_MOST_ANSWER_TOKENS = 128
_BYTES_PER_TOKEN = 4
_SYNTHETIC_CHARACTERS_PER_TOKEN = 6
_MOST_SYNTHETIC = 40_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """A probe that is ready to run: what will be asked of whom, and where it is kept.

    `notes` say what of the documents could not be used.
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
    text: bool = False
    notes: tuple[str, ...] = ()

    @property
    def estimate(self) -> ProbeEstimate:
        """What it is likely to use."""
        prices = (self.price,) if self.against is None else (self.price, self.against_price)
        return estimate_probe(self.settings, prices, MAX_OUTPUT_TOKENS)

    @property
    def digest(self) -> str:
        """What must not change between a probe and its resumption."""
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
                )
            )
        )


def plan_probe(
    project: "Project",
    name: str,
    settings: ProbeSettings,
    *,
    documents: tuple[Path, ...] = (),
    pairs: Path | None = None,
    tokenizer: Path | None = None,
    text: bool = False,
    workload: str | None = None,
    against: str | None = None,
    gate_quantile: float = 0.95,
    environ: Mapping[str, str] = os.environ,
) -> ProbePlan:
    """Read documents, pairs and tokenizer.

    Raises DataError and UsageError for what cannot be used, and NotFoundError for an offer that the
    configuration does not have. Without documents the haystack is synthetic; without a tokenizer that of
    a local model's file or of the model's server is taken, and where none can be had exactly bytes stand
    in. With `workload` nothing longer than its longest request is asked, and the gate is that quantile of
    its requests where the settings name none. `against` names a model that is asked the same prompts.
    """
    check_settings(settings)
    offer = _offer(project, name)
    other = None if against is None else _offer(project, against)
    if other is not None and other.name == offer.name:
        raise UsageError(
            f"{name!r} cannot be probed against itself",
            code="models-not-distinct",
            hint="name the incumbent with `--against`",
        )
    reader = read_tokenizer(tokenizer) if tokenizer else own_tokenizer(offer, project.config.root, environ)
    if workload is not None:
        settings = _within(project, workload, reader, settings, gate_quantile)
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
        read_documents(documents, on_note=notes.append)
        if documents
        else synthetic_documents(characters, settings.seed)
    )
    return ProbePlan(
        offer=offer,
        price=project.price_of(offer),
        settings=settings,
        documents=read,
        pairs=read_pairs(pairs) if pairs else (),
        tokenizer=reader,
        folder=project.config.root / ".crossgrade" / "probes",
        against=other,
        against_price=None if other is None else project.price_of(other),
        text=text,
        notes=tuple(notes),
    )


def _offer(project: "Project", name: str) -> Offer:
    offer = project.config.offers.get(name)
    if offer is None:
        known = ", ".join(project.config.offers)
        raise NotFoundError(
            f"there is no model {name!r} in {project.config.path}; there are: {known}"
            f"{closest(name, project.config.offers)}",
            code="model-unknown",
            hint="name one of `models` in the configuration",
        )
    return offer


def _within(
    project: "Project", name: str, tokenizer: Tokenizer, settings: ProbeSettings, quantile: float
) -> ProbeSettings:
    """Return the settings cut to a workload's own lengths."""
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


def run_probe(
    project: "Project",
    plan: ProbePlan,
    *,
    max_cost_usd: Decimal | None = None,
    resume: str | None = None,
    on_progress: OnProgress = lambda *_: None,
    environ: Mapping[str, str] = os.environ,
) -> ProbeResult:
    """Run a probe or go on with one; the result is kept beside its journal, with its page.

    Whatever ends it early, what was paid for is in the journal. Raises a ProviderError that stays.
    """
    import anyio

    probe_id, journal = journal_of(plan, resume)
    pool = HaystackPool(plan.documents, plan.tokenizer, seed=plan.settings.seed)
    with journal:

        async def probe() -> ProbeResult:
            async with AsyncExitStack() as opened:
                provider = await opened.enter_async_context(open_offer(plan, project.config.root, environ))
                asker = asker_of(plan, provider, journal, max_cost_usd)
                other = None
                if plan.against is not None:
                    beside = open_offer(replace(plan, offer=plan.against), project.config.root, environ)
                    other = replace(
                        asker,
                        offer=plan.against,
                        price=plan.against_price,
                        provider=await opened.enter_async_context(beside),
                    )
                return await Probe(
                    probe_id,
                    plan.settings,
                    pool,
                    asker,
                    documents=len(plan.documents),
                    now=datetime.now(UTC),
                    pairs=plan.pairs,
                    against=other,
                    on_progress=lambda phase, at, spent: on_progress(probe_id, phase, at, spent),
                ).run()

        result = anyio.run(probe)
    result = replace(result, notes=(*plan.notes, *result.notes))
    path = journal.path
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    path.with_suffix(".html").write_text(render_probe(result), encoding="utf-8")
    return result


def journal_of(plan: ProbePlan, resume: str | None, *, kind: str = "") -> tuple[str, ProbeJournal]:
    """Return an id and its open journal: a new one, or that of the probe to go on with.

    `kind` is what must be the same besides the plan. Raises UsageError for an id that there is not.
    """
    probe_id = resume or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    path = plan.folder / f"{_checked(probe_id)}.jsonl"
    if resume and not path.exists():
        raise UsageError(
            f"there is no probe {resume!r} in {plan.folder}",
            code="probe-unknown",
            hint="leave `--resume` out to begin one",
        )
    return probe_id, ProbeJournal(path, digest(kind + plan.digest) if kind else plan.digest)


def open_offer(
    plan: ProbePlan, root: Path, environ: Mapping[str, str]
) -> "AbstractAsyncContextManager[Provider]":
    """Open the plan's offer, a local model with room for the longest prompt."""
    from crossgrade.providers import LocalSettings, open_provider, usable_cores

    longest = max(*plan.settings.lengths, plan.settings.gate_tokens or 0)
    # The questions on one haystack share all but their end, and one is asked after the other.
    local = LocalSettings(
        threads=usable_cores(),
        context_tokens=longest + _MOST_ANSWER_TOKENS,
        cache_prompt=True,
    )
    return open_provider(plan.offer, environ=environ, measure_ttft=True, root=root, local=local)


def asker_of(
    plan: ProbePlan, provider: "Provider", journal: ProbeJournal, max_cost_usd: Decimal | None
) -> Asker:
    """Return who asks the open offer, recalls and pays."""
    return Asker(
        offer=plan.offer,
        provider=provider,
        journal=journal,
        price=plan.price,
        max_cost_usd=max_cost_usd,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        text=plan.text,
        on_call=lambda _: None,
    )


def _checked(probe_id: str) -> str:
    if not probe_id or not all(letter.isalnum() or letter == "-" for letter in probe_id):
        raise UsageError(
            f"{probe_id!r} is no probe's id: letters, digits and dashes are", code="probe-id-invalid"
        )
    return probe_id
