"""Probing the context of one of the project's offers: tokenizer, haystack, store and providers together."""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from crossgrade.decide import ProbeResult, Spent
from crossgrade.domain import JSON, Offer, Price, ScorerSpec
from crossgrade.errors import MissingExtraError, NotFoundError, UsageError, closest
from crossgrade.longcontext import (
    Asker,
    Document,
    HaystackPool,
    OldJournal,
    Probe,
    ProbeCalls,
    ProbeEstimate,
    ProbeSettings,
    Question,
    Tokenizer,
    check_same_settings,
    check_settings,
    digest,
    estimate_probe,
    read_documents,
    read_journal,
    read_pairs,
    read_tokenizer,
    synthetic_documents,
)
from crossgrade.project._evaluating import open_judge
from crossgrade.project._lengths import workload_tokens
from crossgrade.project._tokenizers import own_tokenizer
from crossgrade.report import render_probe, write_text
from crossgrade.store import ProbeStart

if TYPE_CHECKING:
    from crossgrade.calls import Provider
    from crossgrade.evaluate import Scorer
    from crossgrade.project._project import Project

OnProgress = Callable[[str, str, int, Spent], None]
"""Gets the probe's id, its phase, a length or number, and what was spent."""
MAX_OUTPUT_TOKENS = 64
_MOST_ANSWER_TOKENS = 128
_BYTES_PER_TOKEN = 4
_SYNTHETIC_CHARACTERS_PER_TOKEN = 6
_MOST_SYNTHETIC = 40_000_000
_JUDGING: dict[str, JSON] = {
    "criteria": "The answer says the same as the correct answer. Its wording may differ.",
    "scale": "pass_fail",
    "show_target": True,
}


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
    judge: Offer | None = None
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
                    *(["judge", self.judge.provider, self.judge.model] if self.judge else []),
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
    judge: str | None = None,
    gate_quantile: float = 0.95,
    environ: Mapping[str, str] = os.environ,
) -> ProbePlan:
    """Read documents, pairs and tokenizer.

    Raises DataError and UsageError for what cannot be used, and NotFoundError for an offer that the
    configuration does not have. Without documents the haystack is synthetic; without a tokenizer that of
    a local model's file or of the model's server is taken, and where none can be had exactly bytes stand
    in. With `workload` nothing longer than its longest request is asked, and the gate is that quantile of
    its requests where the settings name none. `against` names a model that is asked the same prompts,
    `judge` one that grades answers to the pairs.
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
        judge=None if judge is None else _judge(project, judge, {offer.name, against}, pairs),
        text=text,
        notes=tuple(notes),
    )


def _judge(project: "Project", name: str, asked: Collection[str | None], pairs: Path | None) -> Offer:
    """Return the offer that judges; raises UsageError for one that is asked too, and without pairs."""
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
    return _offer(project, name)


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
    """Run a probe or go on with one; the result is kept in the project's folder.

    Its page stands beside it where the `report` extra is installed. Whatever ends the probe early, what was
    paid for is in the store. Raises a ProviderError that stays, and UsageError where a limit on cost meets
    an unknown price.
    """
    import anyio

    pool = HaystackPool(plan.documents, plan.tokenizer, seed=plan.settings.seed)
    with begin_probe(project, plan, resume) as begun:

        async def probe() -> ProbeResult:
            async with open_askers(project, plan, begun, max_cost_usd, environ) as opened:
                return await Probe(
                    begun.id,
                    plan.settings,
                    pool,
                    opened.asker,
                    documents=len(plan.documents),
                    now=datetime.now(UTC),
                    pairs=plan.pairs,
                    against=opened.against,
                    judge=opened.judge,
                    on_progress=lambda phase, at, spent: on_progress(begun.id, phase, at, spent),
                ).run()

        result = anyio.run(probe)
    result = replace(result, notes=(*plan.notes, *result.notes))
    path = plan.folder / f"{begun.id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    with suppress(MissingExtraError):  # the result is there all the same
        write_text(path.with_suffix(".html"), render_probe(result))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunProbe:
    """A probe that this process runs: `older` are calls of a journal that an earlier version wrote."""

    id: str
    started_at: datetime
    older: OldJournal


@contextmanager
def begin_probe(
    project: "Project", plan: ProbePlan, resume: str | None, *, kind: str = ""
) -> Iterator[BegunProbe]:
    """Record a new probe, or find the one to go on with, and hold it for this process.

    `kind` is what must be the same besides the plan. Raises UsageError for an id that there is not, and
    where the probe was begun with other settings.
    """
    settings = digest(kind + plan.digest) if kind else plan.digest
    probe_id = resume or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    journal = plan.folder / f"{_checked(probe_id)}.jsonl"
    runs = project.store.runs
    with runs.lock(probe_id):
        start = runs.probe(probe_id)
        if start is None and resume and not journal.exists():
            raise UsageError(
                f"there is no probe {resume!r} in this project",
                code="probe-unknown",
                hint="leave `--resume` out to begin one",
            )
        older = read_journal(journal, settings) if resume and journal.exists() else OldJournal()
        if start is None:
            start = ProbeStart(id=probe_id, offer=plan.offer.name, settings_digest=settings)
            runs.append_probe(start)
        check_same_settings(probe_id, start.settings_digest, settings)
        yield BegunProbe(id=probe_id, started_at=start.at, older=older)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAskers:
    """Who is asked in a probe: its model, another beside it, and a judge of answers to the user's pairs."""

    asker: Asker
    against: Asker | None
    judge: "Scorer | None"


@asynccontextmanager
async def open_askers(
    project: "Project",
    plan: ProbePlan,
    begun: BegunProbe,
    max_cost_usd: Decimal | None,
    environ: Mapping[str, str],
) -> AsyncIterator[OpenAskers]:
    """Open the models of a plan, a local one with room for the longest prompt, and their calls."""
    from crossgrade.calls import Batches, Budget, CallLimiters, Calls, Journal, OpenModel, check_prices
    from crossgrade.evaluate import build_scorer
    from crossgrade.providers import LocalSettings, open_batches, open_provider, usable_cores

    offers = {each.name: each for each in (plan.offer, plan.against) if each is not None}
    prices = {name: project.price_of(offer) for name, offer in offers.items()}
    check_prices(offers, prices, max_cost_usd)
    longest = max(*plan.settings.lengths, plan.settings.gate_tokens or 0)
    # The questions on one haystack share all but their end, and one is asked after the other.
    local = LocalSettings(
        threads=usable_cores(), context_tokens=longest + _MOST_ANSWER_TOKENS, cache_prompt=True
    )
    store, budget, limiters = project.store, Budget(max_cost_usd), CallLimiters()
    async with AsyncExitStack() as stack:

        async def opened(offer: Offer) -> "Provider":
            opening = open_provider(
                offer, environ=environ, measure_ttft=True, root=project.config.root, local=local
            )
            return await stack.enter_async_context(opening)

        providers = {name: await opened(offer) for name, offer in offers.items()}
        batches = {
            name: await stack.enter_async_context(open_batches(offer, environ=environ))
            for name, offer in offers.items()
            if offer.batch
        }
        journal = Journal(store)
        own = Batches(providers=batches, store=store, budget=budget, run_id=begun.id)
        # A probe measures the model of today: what was answered before it began is not taken for it.
        calls = Calls(journal, budget, batches=own, since=begun.started_at)
        shared = ProbeCalls(calls=calls, budget=budget, journal=journal, older=begun.older)
        askers = [
            Asker(
                model=OpenModel(
                    name=name,
                    offer=offer,
                    provider=providers[name],
                    limiter=limiters.of(offer, providers[name]),
                    price=prices[name],
                ),
                probe=shared,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                text=plan.text,
            )
            for name, offer in offers.items()
        ]
        judge = None
        price = None if plan.judge is None else project.price_of(plan.judge)
        opening = open_judge(plan.judge, store=store, price=price, environ=environ, limiters=limiters)
        if (judges := await stack.enter_async_context(opening)) is not None:
            options = {"model": str(plan.judge and plan.judge.name), **_JUDGING}
            built = build_scorer(
                ScorerSpec(kind="judge", options=options),
                ask=judges.ask,
                cost_of=judges.cost_of,
                project_dir=project.config.root,
            )
            judge = cast("Scorer", built)
        yield OpenAskers(asker=askers[0], against=askers[1] if len(askers) > 1 else None, judge=judge)


def _checked(probe_id: str) -> str:
    if not probe_id or not all(letter.isalnum() or letter == "-" for letter in probe_id):
        raise UsageError(
            f"{probe_id!r} is no probe's id: letters, digits and dashes are", code="probe-id-invalid"
        )
    return probe_id
