"""Conformity checks of a project's models: whether an offer is the model that it is said to be."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import anyio

from crossgrade.calls import (
    Budget,
    CallLimiters,
    Calls,
    Journal,
    OpenModel,
    Patience,
    check_prices,
    digest,
    in_own_task,
    most_cost_usd,
)
from crossgrade.domain import ConformDay, ConformRecord, Fingerprint, Offer, Price, Workload, sum_usd
from crossgrade.errors import CrossgradeError, NotFoundError, UsageError
from crossgrade.evidence import (
    ConformAsker,
    ConformInput,
    ConformQuestion,
    ConformSettings,
    ConformSide,
    ReferenceAsker,
    ReferenceModel,
    answers_so_far,
    conform_questions,
    conform_table,
    daily_look,
    daily_questions,
    fingerprint_of,
    is_cached,
)
from crossgrade.longcontext import synthetic_documents
from crossgrade.project._live import is_own
from crossgrade.project._measured import offers_of
from crossgrade.project._opened import OpenProject, run_to_end
from crossgrade.project._probe_plans import own_tokenizer
from crossgrade.project._references import REFERENCE, checkpoint_of, open_reference, reference_offer
from crossgrade.store import ProbeStart

LOCAL = "local"
"""The name, after `--against`, of the only local model of the project."""

_BYTES_PER_TOKEN = 4
_ROOM_TOKENS, _FINEST = 256, 2
"""A local model's context beside the longest prompt, which has up to twice as many of its tokens as of four
bytes."""

OnConformProgress = Callable[[str, str, int, Decimal | None], None]
"""Gets the check's id, the model that answered, how many answers there are, and what all cost so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformPlan:
    """A conformity check that is ready to run: whom it asks what, and what that can cost at most.

    `against` is the offer to compare with (None: none), and `checkpoint` the model file or folder of the
    reference to compare with instead (None: none). `unpriced` are offers whose bill is not known; a
    server of one's own without a key sends none.
    """

    offer: Offer
    against: Offer | None
    settings: ConformSettings
    questions: tuple[ConformQuestion, ...]
    prices: "dict[str, Price | None]"
    unpriced: tuple[str, ...]
    checkpoint: Path | None = None

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The offers that are asked."""
        return (self.offer,) if self.against is None else (self.offer, self.against)

    @property
    def calls(self) -> int:
        """How many calls it makes at most."""
        return len(self.offers) * sum(each.draws for each in self.questions)

    @property
    def most_usd(self) -> Decimal:
        """The most that its calls cost at offers whose price is known."""
        costs = (
            (most_cost_usd(each.request, self.prices[offer.name]) or Decimal(0)) * each.draws
            for offer in self.offers
            for each in self.questions
        )
        return sum(costs, Decimal(0))

    @property
    def digest(self) -> str:
        """A digest of everything that must not change before the check is resumed."""
        asked = [(each.provider, each.model, each.base_url) for each in self.offers]
        facts: tuple[object, ...] = ("conform", asked, asdict(self.settings))
        if self.checkpoint is not None:
            facts = (*facts, str(self.checkpoint.absolute()))
        return digest(facts)[:32]


class ProjectConformity:
    """Conformity checks of a project's models; `Project.conformity`."""

    def __init__(self, project: OpenProject) -> None:
        self._project = project

    def plan(
        self,
        offer: str,
        against: str | None = None,
        settings: ConformSettings | None = None,
        *,
        checkpoint: Path | None = None,
    ) -> ConformPlan:
        """Return what a check of a model asks, and what it can cost; asks nothing.

        `against` names another model, or is `local` for the only local model, or `reference` for a Llama 4
        checkpoint: `checkpoint`, by default the file of the model itself if that is local. Raises
        NotFoundError for a model that the configuration does not have, and UsageError for two that are one
        endpoint, and for a checkpoint that is needed or not used.
        """
        project, settings = self._project, settings or ConformSettings()
        checked = project.offer(offer)
        is_reference = against == REFERENCE and (
            checkpoint is not None or REFERENCE not in project.config.offers
        )
        if is_reference:
            checkpoint = checkpoint_of(checked, checkpoint, project.config.root, project.environ)
        elif checkpoint is not None:
            raise UsageError(
                "a checkpoint is given, and nothing is compared with it",
                code="checkpoint-not-used",
                hint="add `--against reference`, or leave `--checkpoint` out",
            )
        other = None if against is None or is_reference else self._other(checked, against)
        offers = [each for each in (checked, other) if each is not None]
        longest = max(settings.lengths, default=0)
        documents = synthetic_documents(_BYTES_PER_TOKEN * longest + 4_000, settings.seed)
        prices = {each.name: project.price_of(each) for each in offers}
        return ConformPlan(
            offer=checked,
            against=other,
            settings=settings,
            questions=conform_questions(settings, "\n".join(each.text for each in documents)),
            prices=prices,
            unpriced=tuple(
                each.name
                for each in offers
                if prices[each.name] is None and not is_own(each, project.environ)
            ),
            checkpoint=checkpoint,
        )

    def run(
        self,
        plan: ConformPlan,
        *,
        max_cost_usd: Decimal | None = None,
        resume: str | None = None,
        on_progress: OnConformProgress = lambda *_: None,
    ) -> ConformRecord:
        """Ask the models of a plan, and keep the record of the check in the store.

        `resume` is the id of a check that was interrupted: nothing that it paid for is asked again. Raises
        what `ConformAsker.ask` raises, the `ProviderError` for which a host was given up in the middle if
        nothing differed until then, and UsageError if `max_cost_usd` is given and a price is unknown.
        A checkpoint is read before anything is asked: what `open_reference` raises costs nothing.
        """
        for offer in plan.offers:
            self._project.check_allowed(offer.name)
        if max_cost_usd is not None:
            check_prices(plan.unpriced, dict.fromkeys(plan.unpriced), max_cost_usd)
        reference = None if plan.checkpoint is None else open_reference(plan.checkpoint)
        with _begun(self._project, plan, resume) as start:

            async def check() -> ConformRecord:
                opening = _open_askers(
                    self._project, plan, start, reference, max_cost_usd=max_cost_usd, on_progress=on_progress
                )
                async with opening as askers:
                    return await self._check(plan, start, askers)

            record = run_to_end(in_own_task, check)
            self._project.store.conformity.append(record)
        return record

    def fingerprints(self, workload: Workload) -> dict[str, Fingerprint]:
        """Return what the models of a workload were seen to be at their newest check, by name."""
        return {name: each.fingerprint for name, each in self.newest(offers_of(workload).values()).items()}

    def look(
        self,
        offer: Offer,
        record: ConformRecord,
        *,
        now: datetime,
        every: timedelta,
        limit_usd: Decimal | None,
    ) -> ConformDay | None:
        """Ask a model the daily questions if a look is due, and keep what was found; None if none is due.

        A look that cannot be made is kept too, as unchecked, so that it is not tried again before the next is
        due. `limit_usd` bounds its cost. Raises StoreError (`run-locked`) while another process looks.
        """
        if not self._is_due(record, now, every):
            return None
        with self._project.store.runs.lock(f"{record.id}-daily"):
            return self._look(offer, record, now=now, every=every, limit_usd=limit_usd)

    def _is_due(self, record: ConformRecord, now: datetime, every: timedelta) -> bool:
        days = self._project.store.conformity.looks(record.id)
        if days and days[-1].outcome == "alarm":
            return False
        return now >= (days[-1].at if days else record.at) + every

    def _look(
        self,
        offer: Offer,
        record: ConformRecord,
        *,
        now: datetime,
        every: timedelta,
        limit_usd: Decimal | None,
    ) -> ConformDay | None:
        if not self._is_due(record, now, every):  # another process may have looked in between
            return None
        days = self._project.store.conformity.days(record.id)
        due = (days[-1].at if days else record.at) + every
        side = ConformSide(name=offer.name)
        reason = None
        try:
            self._project.check_allowed(offer.name)
            run_to_end(in_own_task, lambda: self._ask_daily(offer, record, side, due, limit_usd))
        except CrossgradeError as error:
            reason = error.message
        number = 1 + sum(each.outcome != "unchecked" for each in days)
        day = daily_look(record, days, side, day=number, now=now, reason=reason)
        self._project.store.conformity.append_day(day)
        return day

    async def _ask_daily(
        self,
        offer: Offer,
        record: ConformRecord,
        side: ConformSide,
        since: datetime,
        limit_usd: Decimal | None,
    ) -> None:
        project = self._project
        price = project.price_of(offer)
        if limit_usd is not None and not is_own(offer, project.environ):
            check_prices([offer.name], {offer.name: price}, limit_usd)
        budget, journal = Budget(limit_usd), Journal(project.store)
        async with project.open_provider(offer, environ=project.environ) as provider:
            asker = ConformAsker(
                model=OpenModel.of(offer, provider, CallLimiters(_PATIENCE), price),
                calls=Calls(journal, budget, since=since),
                budget=budget,
                journal=journal,
                side=side,
            )
            await asker.ask([each for each in daily_questions() if each.key in record.answers])

    def newest(self, offers: Iterable[Offer]) -> dict[str, ConformRecord]:
        """Return the newest check of each offer by name; those of another model or address do not count."""
        return self._project.store.conformity.newest(offers)

    async def _check(
        self, plan: ConformPlan, start: ProbeStart, askers: Sequence[ConformAsker | ReferenceAsker]
    ) -> ConformRecord:
        sides = [asker.side for asker in askers]
        side, other = sides[0], sides[1] if len(sides) > 1 else None
        for stage in range(len(plan.settings.stages)):
            await _ask_all(askers, [each for each in plan.questions if each.stage == stage])
            if other is None:
                continue
            found = answers_so_far(side, other, plan.settings)
            if (found is not None and found.outcome != "open") or any("" in each.gaps for each in sides):
                break
        reference = askers[-1] if isinstance(askers[-1], ReferenceAsker) else None
        shortfalls = None if reference is None else await reference.shortfalls(plan.questions, side)
        project = self._project
        tokenizer = await anyio.to_thread.run_sync(
            own_tokenizer, plan.offer, project.config.root, project.environ
        )
        last = project.store.conformity.newest([plan.offer]).get(plan.offer.name)
        checks = conform_table(
            ConformInput(
                side=side,
                other=other,
                questions=plan.questions,
                settings=plan.settings,
                count=(lambda text: len(tokenizer.encode(text))) if tokenizer.exact else None,
                last_version=None if last is None else last.fingerprint.version,
                shortfalls=shortfalls,
            )
        )
        now = datetime.now(UTC)
        compared = plan.against if plan.checkpoint is None else reference_offer(plan.checkpoint)
        record = ConformRecord(
            id=start.id,
            checks=checks,
            fingerprint=fingerprint_of(plan.offer, side, now),
            against=None if other is None or compared is None else fingerprint_of(compared, other, now),
            alpha=plan.settings.alpha,
            answers={}
            if is_cached(side)
            else {key: tuple(each.text for each in answers) for key, answers in side.of("answers").items()},
            calls=sum(each.calls for each in sides),
            cost_usd=sum_usd(each.cost_usd for each in sides),
            unanswered=sum(len(each.lost_usd) for each in sides),
            unanswered_usd=sum_usd(lost for each in sides for lost in each.lost_usd),
        )
        for asker in askers:
            stopped = asker.stopped_by if isinstance(asker, ConformAsker) else None
            if stopped is not None and "" in asker.side.gaps and not record.differing:
                raise stopped  # what differs is known now; anything else only when the check goes on
        return record

    def _other(self, checked: Offer, against: str) -> Offer:
        offers = self._project.config.offers
        if against == LOCAL and LOCAL not in offers:
            local = [
                each for each in offers.values() if each.provider == "local" and each.name != checked.name
            ]
            if len(local) != 1:
                raise NotFoundError(
                    f"the project has {len(local)} other local models; `--against local` needs exactly one",
                    code="local-model-ambiguous",
                    hint="name the model, or add one with `provider: local` under `models`",
                )
            return local[0]
        other = self._project.offer(against)
        if (other.provider, other.model, other.base_url) == (
            checked.provider,
            checked.model,
            checked.base_url,
        ):
            raise UsageError(
                f"{checked.name!r} and {other.name!r} are one endpoint, whose answers are its own",
                code="models-not-distinct",
                hint="name another host of the model with `--against`, or leave it out",
            )
        return other


async def _ask_all(
    askers: Sequence[ConformAsker | ReferenceAsker], questions: Sequence[ConformQuestion]
) -> None:
    """Ask both sides at the same time; an error of one ends both, and is raised as it is."""
    errors: list[BaseException] = []
    async with anyio.create_task_group() as group:

        async def ask(asker: ConformAsker | ReferenceAsker) -> None:
            try:
                await asker.ask(questions)
            except Exception as error:  # noqa: BLE001  # raised below, without the group around it
                errors.append(error)
                group.cancel_scope.cancel()

        for asker in askers:
            group.start_soon(ask, asker)
    if errors:
        raise errors[0]


@contextmanager
def _begun(project: OpenProject, plan: ConformPlan, resume: str | None) -> Iterator[ProbeStart]:
    """Record a new check, or find the one to resume, and lock it for this process."""
    check_id = resume or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    runs = project.store.runs
    with runs.lock(check_id):
        start = runs.probe(check_id)
        if start is None:
            if resume is not None:
                raise NotFoundError(
                    f"there is no conformity check {resume!r} in this project",
                    code="conform-check-unknown",
                    hint="leave `--resume` out to begin one",
                )
            start = ProbeStart(id=check_id, offer=plan.offer.name, settings_digest=plan.digest)
            runs.append_probe(start)
        if project.store.conformity.has(check_id):
            raise UsageError(
                f"the check {check_id} has ended, and its record is kept",
                code="conform-check-ended",
                hint="leave `--resume` out to begin another",
            )
        if start.settings_digest != plan.digest:
            raise UsageError(
                f"the check {check_id} was begun with other models or settings",
                code="conform-settings-changed",
                hint="give the same ones to `--resume`, or begin a new check without it",
            )
        yield start


@asynccontextmanager
async def _open_askers(
    project: OpenProject,
    plan: ConformPlan,
    start: ProbeStart,
    reference: ReferenceModel | None,
    *,
    max_cost_usd: Decimal | None,
    on_progress: OnConformProgress,
) -> AsyncIterator[list[ConformAsker | ReferenceAsker]]:
    """Open the models of a plan, then the reference; a local one gets a context for the longest prompt."""
    from crossgrade.providers import LocalSettings, usable_cores

    context = _FINEST * max(plan.settings.lengths, default=0) + _ROOM_TOKENS
    local = LocalSettings(threads=usable_cores(), context_tokens=context)
    budget, journal, limiters = Budget(max_cost_usd), Journal(project.store), CallLimiters(_PATIENCE)
    calls = Calls(journal, budget, since=start.at)
    sides = [ConformSide(name=each.name) for each in plan.offers]

    def tell(side: ConformSide) -> None:
        on_progress(start.id, side.name, sum(each.calls for each in sides), budget.spent_usd)

    async with AsyncExitStack() as stack:
        askers: list[ConformAsker | ReferenceAsker] = []
        for offer, side in zip(plan.offers, sides, strict=True):
            opening = project.open_provider(offer, environ=project.environ, local=local)
            provider = await stack.enter_async_context(opening)
            askers.append(
                ConformAsker(
                    model=OpenModel.of(offer, provider, limiters, plan.prices[offer.name]),
                    calls=calls,
                    budget=budget,
                    journal=journal,
                    side=side,
                    on_answer=tell,
                )
            )
        if reference is not None:
            side = ConformSide(name=REFERENCE)
            askers.append(ReferenceAsker(model=reference, side=side, seed=plan.settings.seed, on_answer=tell))
        if len(askers) > 1:  # the checked side's answers are kept, whatever the other one lacks
            first, second = askers
            first.wants = lambda _: "" not in second.side.gaps
            second.wants = lambda check: not first.side.lacks(check)
        yield askers


_PATIENCE = Patience(attempts=3, longest_pause_s=10.0, throttled_s=60.0)
"""Shorter than a run's: what an offer does not answer is a gap in the table."""
