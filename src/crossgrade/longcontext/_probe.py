"""Runs a probe: calibrate, score gold passages alone, search the length, certify one on fresh haystacks."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from crossgrade.decide import (
    DEPTH_BINS,
    EffectiveLength,
    LengthCertificate,
    ProbeEnding,
    ProbeResult,
    RungReport,
    Spent,
)
from crossgrade.domain import Reason, Sample
from crossgrade.errors import BudgetExceededError, UsageError
from crossgrade.evaluate import Scorer
from crossgrade.longcontext._asking import Asker, ProbeAnswer
from crossgrade.longcontext._haystack import HaystackPool
from crossgrade.longcontext._prompts import Planted, Stack, alone, build_stack, without_documents
from crossgrade.longcontext._questions import (
    DEFAULT_KINDS,
    NOT_THERE,
    Kind,
    Question,
    QuestionMaker,
    score_answer,
)
from crossgrade.longcontext._search import BASE, LengthSearch, Rung, next_of
from crossgrade.stats import SequentialRetention, proportion_interval

_BELOW = 2**0.5
_CHECK_EVERY = 10
_TRUNCATED_BELOW = 0.97
_CALIBRATED_BELOW = 0.75
"""The share of a prompt's tokens below which it counts as cut if its length is an estimate."""
_CALIBRATION_OFF = 0.1
_REPEATED = 0.9
_HIGHER = "begin the ladder higher with `--shortest`, or ask fewer `--questions` on a haystack"
_MOST_OVERHEAD = 40
_FEWEST_BYTES = 3.0
_WAVES = 4
"""The number of waves in which a certificate's haystacks go to a model that answers in batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """The settings of a probe.

    - `lengths`: the ladder of prompt lengths in tokens, rising.
    - `floor`: the share of the score on the gold passages alone that must hold. It must also hold for the
      other model's score, if one is asked.
    - `alpha`: the error rate of the certificate.
    - `questions`: questions on each haystack.
    - `base_questions`: questions on the gold passages alone, asked first. The search may ask more.
    - `most_answers`, `least_answers`: bounds of the search, see `LengthSearch`.
    - `certify_haystacks`: the most fresh haystacks for the certificate. With 0 there is no certificate.
    - `gate_tokens`: the length to certify. None certifies a length that the search finds.
    """

    lengths: tuple[int, ...]
    floor: float = 0.85
    alpha: float = 0.05
    kinds: tuple[Kind, ...] = DEFAULT_KINDS
    questions: int = 5
    base_questions: int = 40
    most_answers: int = 2_000
    least_answers: int = 0
    certify_haystacks: int = 80
    gate_tokens: int | None = None
    seed: int = 1

    def searches(self, *, against: bool) -> tuple[LengthSearch, ...]:
        """Return the search against the score alone and, with `against`, that against another model."""
        return tuple(
            LengthSearch(
                self.lengths,
                floor=self.floor,
                questions=self.questions,
                most_answers=self.most_answers,
                least_answers=self.least_answers,
                same_length=same_length,
            )
            for same_length in ((False, True) if against else (False,))
        )


@dataclass(slots=True)
class _Tally:
    """The answers at one length so far."""

    depths: list[list[float]] = field(default_factory=lambda: [[0.0, 0] for _ in range(DEPTH_BINS)])
    failures: int = 0
    refused: bool = False
    canary: bool | None = None
    asked: list[ProbeAnswer] = field(default_factory=list)
    against: list[float] = field(default_factory=list)


class _TruncatedError(Exception):
    """The server read fewer tokens than it was sent."""

    def __init__(self, why: Reason) -> None:
        super().__init__(why.text)
        self.why = why


class Probe:
    """One probe of one offer; `run` returns its result."""

    def __init__(
        self,
        probe_id: str,
        settings: ProbeSettings,
        pool: HaystackPool,
        asker: Asker,
        *,
        documents: int,
        now: datetime,
        pairs: Sequence[Question] = (),
        against: Asker | None = None,
        judge: Scorer | None = None,
        on_progress: Callable[[str, int, Spent], None] = lambda *_: None,
    ) -> None:
        self._id, self._settings, self._pool, self._asker = probe_id, settings, pool, asker
        self._documents, self._now, self._pairs = documents, now, tuple(pairs)
        self._against = against
        self._judge = judge
        self._ungraded = 0
        self._searches = settings.searches(against=against is not None)
        self._own = self._searches[0]
        self._on_progress = on_progress
        self._rng = np.random.default_rng(settings.seed)
        self._maker = QuestionMaker(pool, settings.kinds, pairs=pairs, rng=self._rng)
        self._tallies: dict[int, _Tally] = defaultdict(_Tally)
        self._kinds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
        self._overhead: int | None = None
        self._per_token = 1.0
        self._foreign = False
        self._counted: list[float] = []
        self._closed = [0.0, 0]
        self._unique = 1.0
        self._stacks = 0
        self._last: ProbeAnswer | None = None
        self._notes: list[str] = []
        self._certificates: list[LengthCertificate] = []

    async def run(self) -> ProbeResult:
        """Ask until the length is known or the budget is spent.

        Raises a `ProviderError` that retries did not solve. Before the first call it raises `UsageError` if
        the shortest length has no room for the questions.
        """
        self._check_room()
        ending: ProbeEnding
        why: Reason | None = None
        try:
            await self._calibrate()
            await self._ask_alone(self._settings.base_questions)
            if not self._own.base_right:
                nothing = "no question was answered from the gold passage alone"
                return self._result("no base", Reason("nothing-answered", nothing))
            await self._climb()
            effective = self._own.result()
            ending = "determined" if effective.tokens is not None else "not determined"
            if effective.reason is not None and effective.reason_code is not None:
                why = Reason(effective.reason_code, effective.reason)
            await self._certify([each.result() for each in self._searches])
        except BudgetExceededError as error:
            ending, why = "budget", Reason(error.code, error.message)
        except _TruncatedError as error:
            ending, why = "truncated", error.why
        return self._result(ending, why)

    def _check_room(self) -> None:
        """Raise `UsageError` unless the questions fit in the shortest length, with the largest overhead."""
        settings = self._settings
        rng = np.random.default_rng([settings.seed, 1])
        maker = QuestionMaker(self._pool, settings.kinds, pairs=self._pairs, rng=rng)
        per_token = 1.0 if self._pool.tokenizer.exact else _FEWEST_BYTES
        size = round((settings.lengths[0] - _MOST_OVERHEAD) * per_token)
        for _ in range(len(settings.kinds)):
            questions = [maker.make() for _ in range(settings.questions)]
            try:
                build_stack(self._pool, questions, size, rng=rng)
            except UsageError as error:
                raise UsageError(
                    f"{settings.lengths[0]:,} tokens are too few for {settings.questions} questions",
                    code="length-too-short",
                    hint=_HIGHER,
                ) from error

    async def _calibrate(self) -> None:
        """Measure the tokens that the endpoint adds and, without a tokenizer, the bytes per token."""
        rng = np.random.default_rng(self._settings.seed)
        question = self._maker.make()
        short = alone(question)
        first = await self._ask(short)
        counted = len(self._pool.tokenizer.encode(short))
        if first.input_tokens is None:
            self._notes.append(
                "the endpoint reports no usage: lengths are as the tokenizer counts, unchecked"
            )
            return
        if self._pool.tokenizer.exact:
            self._overhead = first.input_tokens - counted
            if not 0 <= self._overhead <= 200:
                self._notes.append(
                    f"the endpoint counts {first.input_tokens:,} tokens where the tokenizer counts "
                    f"{counted:,}: it may not be this model's tokenizer"
                )
                self._overhead, self._foreign = max(0, self._overhead), True
            return
        # Lines from random places, because documents differ: about as many as the shortest length has.
        extra, lines = 0, []
        while extra < _FEWEST_BYTES * self._settings.lengths[0]:
            lines.append(self._pool.texts[int(rng.integers(len(self._pool.texts)))])
            extra += len(lines[-1].encode())
        second = await self._ask(short + "".join(lines))
        more = (second.input_tokens or 0) - first.input_tokens
        self._per_token = extra / more if more > 0 else 4.0
        self._overhead = 0
        self._notes.append(
            f"no tokenizer was given: {self._per_token:.2f} bytes a token, from the endpoint's usage"
        )

    async def _ask_alone(self, count: int) -> None:
        """Ask `count` questions on their gold passages alone, the base questions also without documents."""
        wave = count if self._asker.takes_batches else 1
        for _ in range(0, count, wave):
            start = self._own.base_asked
            self._on_progress("gold passages alone", start, self._asker.spent)
            questions = [self._maker.make() for _ in range(wave)]
            closed = questions[: max(0, self._settings.base_questions - start)]
            prompts = [*map(alone, questions), *map(without_documents, closed)]
            asked = await self._ask_all(prompts)
            for question, each in zip(questions, asked, strict=False):
                self._own.add_base(await self._scored(question, each), 1)
            for question, each in zip(closed, asked[wave:], strict=True):
                if question.answers:
                    _add(self._closed, await self._scored(question, each))

    async def _climb(self) -> None:
        """Ask until every search has ended; an answer counts for all of them."""
        while (index := next_of(self._searches)) is not None:
            if index == BASE:
                await self._ask_alone(self._own.questions)
            else:
                await self._climb_at(index)

    async def _climb_at(self, index: int) -> None:
        tokens = self._own.lengths[index]
        self._on_progress("search", tokens, self._asker.spent)
        answers = await self._ask_stack(tokens)
        for each in self._searches:
            if answers is None:
                each.refuse(index)
            else:
                other = answers[1] if each.same_length else None
                each.add(index, answers[0], each.questions, reference_right=other)

    async def _ask_stack(self, tokens: int) -> tuple[float, float] | None:
        """Return the sums of the model's and the other model's scores, or None if the length was refused."""
        stack = self._stack(tokens)
        tally = self._tallies[tokens]
        right = 0.0
        if tally.canary is None:
            asked = await self._ask(stack.canary.prompt)
            found = bool(await self._scored(stack.canary.question, asked))
            tally.canary = None if asked.is_too_long else found
        for planted in stack.planted:
            asked = await self._ask(planted.prompt)
            tally.asked.append(asked)
            if asked.is_too_long:
                tally.refused, tally.failures = True, tally.failures + 1
                return None
            self._check_length(asked, tokens)
            right += await self._take(planted, asked, tally)
        other = await self._ask_other([stack])
        tally.against += other
        return right, sum(other)

    async def _ask_other(self, stacks: Sequence[Stack]) -> list[float]:
        """Return the other model's scores on the same prompts, 0 for a prompt that it refuses as too long."""
        if self._against is None:
            return []
        planted = [each for stack in stacks for each in stack.planted]
        asked = await self._against.ask_all([each.prompt for each in planted])
        pairs = zip(planted, asked, strict=True)
        return [await self._scored(each.question, answer) for each, answer in pairs]

    def _stack(self, tokens: int) -> Stack:
        questions = [self._maker.make() for _ in range(self._settings.questions)]
        size = round((tokens - (self._overhead or 0)) * self._per_token)
        check = self._pool.tokenizer.exact and self._stacks % _CHECK_EVERY == 0
        self._stacks += 1
        try:
            stack = build_stack(self._pool, questions, size, rng=self._rng, check=check)
        except UsageError as error:
            if self._pool.tokenizer.exact:
                raise
            raise UsageError(
                f"{tokens:,} tokens are about {size:,} bytes of these documents, too few for the questions",
                code="length-too-short",
                hint=_HIGHER,
            ) from error
        self._unique = min(self._unique, stack.unique_share)
        return stack

    async def _take(self, planted: Planted, asked: ProbeAnswer, tally: _Tally) -> float:
        score = await self._scored(planted.question, asked)
        tally.failures += asked.answer is None
        kind = self._kinds[planted.question.kind]
        kind[0], kind[1] = kind[0] + score, kind[1] + 1
        if planted.depth is not None:
            cell = tally.depths[min(DEPTH_BINS - 1, int(planted.depth * DEPTH_BINS))]
            cell[0], cell[1] = cell[0] + score, cell[1] + 1
        return score

    def _check_length(self, asked: ProbeAnswer, tokens: int) -> None:
        read = asked.input_tokens
        if read is None:
            return
        exact, tally = self._pool.tokenizer.exact, self._tallies.get(tokens)
        self._counted.append(read / tokens)
        if read >= (_TRUNCATED_BELOW if exact else _CALIBRATED_BELOW) * tokens - 16:
            return
        if not exact and tally is not None and tally.canary:
            return  # the first line was read, so nothing was cut: the length was estimated wrong
        sure = exact and not self._foreign and not (tally is not None and tally.canary)
        code = "prompts-cut" if sure else "prompts-cut-or-tokenizer"
        other = "" if sure else ", or it counts by another tokenizer"
        cut = f"the server read {read:,} of {tokens:,} tokens: it cuts prompts without saying so{other}"
        raise _TruncatedError(Reason(code, cut))

    async def _certify(self, found: Sequence[EffectiveLength]) -> None:
        """Test the floor on fresh haystacks, at `gate_tokens` or at up to two lengths likely to pass.

        These are the longest length at least half an octave below the shortest estimate and, if it fails,
        the longest below the estimates' intervals.
        """
        settings = self._settings
        if not settings.certify_haystacks:
            return
        near = min(settings.lengths[-1] if each.at_least else (each.tokens or 0) / _BELOW for each in found)
        tested = [n for n in settings.lengths if n in self._tallies and not self._tallies[n].refused]
        ends = (near, min(each.low for each in found))
        tries = [max((n for n in tested if n <= most), default=0) for most in ends]
        lengths = [settings.gate_tokens] if settings.gate_tokens else [n for n in dict.fromkeys(tries) if n]
        for tokens in lengths:
            certificates = await self._test(tokens, settings.alpha / len(lengths))
            self._certificates += certificates
            if all(each.retention.outcome == "pass" for each in certificates):
                return

    async def _test(self, tokens: int, alpha: float) -> list[LengthCertificate]:
        """Test the floor against the score alone and, if another model is asked, against that model's score.

        The claim that both hold is made only if both tests pass, so each test uses the whole error rate.
        """
        settings = self._settings
        names = [None] if self._against is None else [None, self._against.model.name]
        tests = {
            name: SequentialRetention(settings.floor, alpha, settings.certify_haystacks) for name in names
        }
        least = 0
        wave = math.ceil(settings.certify_haystacks / _WAVES) if self._asker.takes_batches else 1
        while any(test.outcome is None for test in tests.values()):
            self._on_progress("certify", tokens, self._asker.spent)
            stacks = [self._stack(tokens) for _ in range(wave)]
            planted = [each for stack in stacks for each in stack.planted]
            sizes = [len(each.prompt.encode()) for each in planted]
            least = min(least or sizes[0], *sizes)
            prompts = [alone(each.question) for each in planted] + [each.prompt for each in planted]
            asked = await self._ask_all(prompts)
            for each in asked[len(planted) :]:
                if not each.is_too_long:
                    self._check_length(each, tokens)
            questions = [each.question for each in planted]
            scores = [await self._scored(*each) for each in zip([*questions] * 2, asked, strict=True)]
            bases, others = scores[: len(planted)], await self._ask_other(stacks)
            for name, test in tests.items():
                against = bases if name is None else others
                self._update(test, against, scores[len(planted) :])
        return [
            LengthCertificate(tokens=tokens, retention=test.result(), body_bytes=least, against=name)
            for name, test in tests.items()
        ]

    def _update(
        self, test: SequentialRetention, incumbent: Sequence[float], candidate: Sequence[float]
    ) -> None:
        """Add the haystacks of a wave to a test until it has decided.

        Questions on one haystack are not independent, so their mean is one observation.
        """
        size = self._settings.questions
        for at in range(0, len(candidate), size):
            if test.outcome is None:
                means = (statistics.fmean(each[at : at + size]) for each in (incumbent, candidate))
                test.update(*means)

    async def _ask(self, prompt: str) -> ProbeAnswer:
        return (await self._ask_all([prompt]))[0]

    async def _ask_all(self, prompts: Sequence[str]) -> list[ProbeAnswer]:
        asked = await self._asker.ask_all(prompts)
        self._last = next((each for each in reversed(asked) if each.answer is not None), self._last)
        return asked

    async def _scored(self, question: Question, asked: ProbeAnswer) -> float:
        """Return the score of an answer, 0 without one. A judge, if any, scores the user's own pairs."""
        if asked.answer is None:
            return 0.0
        if self._judge is None or question.kind != "pairs":
            return score_answer(question, asked.answer.text)
        sample = Sample(
            id="pair", fields={"input": question.text}, target="\n".join(question.answers) or NOT_THERE
        )
        value = (await self._judge.score(sample, asked.answer)).value
        self._ungraded += value is None
        return value or 0.0

    def _result(self, ending: ProbeEnding, why: Reason | None) -> ProbeResult:
        pool, offer = self._pool, self._asker.model.offer
        last = self._last.answer if self._last else None
        self._note_canary()
        self._note_calibration()
        self._note_repeats()
        if self._ungraded:
            self._notes.append(f"the judge gave no grade to {self._ungraded:,} answers: they count as wrong")
        effective = [self._effective(each, ending) for each in self._searches]
        return ProbeResult(
            probe_id=self._id,
            offer=offer.name,
            identity=(offer.provider, offer.model, offer.base_url),
            measured_at=self._now,
            ending=ending,
            reason=None if why is None else why.text,
            reason_code=None if why is None else why.code,
            effective=effective[0],
            certificates=tuple(self._certificates),
            rungs=tuple(self._report(each) for each in self._own.rungs()),
            base=proportion_interval(self._own.base_right, self._own.base_asked),
            no_documents=proportion_interval(*_counts(self._closed)),
            floor=self._settings.floor,
            alpha=self._settings.alpha,
            kinds=self._settings.kinds,
            kind_shares={kind: (right, int(n)) for kind, (right, n) in sorted(self._kinds.items())},
            tokenizer=pool.tokenizer.name,
            exact=pool.tokenizer.exact,
            overhead_tokens=self._overhead,
            documents=self._documents,
            pool_tokens=round(pool.tokens / self._per_token),
            unique_share=self._unique,
            model=last.model if last else None,
            runtime=last.runtime if last else None,
            spent=self._asker.spent,
            notes=tuple(self._notes),
            against=None if self._against is None else self._against.model.name,
            effective_against=effective[1] if len(effective) > 1 else None,
        )

    def _effective(self, search: LengthSearch, ending: ProbeEnding) -> EffectiveLength | None:
        if not search.asked.any():
            return None
        found = search.result()
        if ending == "truncated":
            cut = Reason("prompts-cut", "the server cuts prompts")
            return replace(found, tokens=None, reason=cut.text, reason_code=cut.code)
        return found

    def _report(self, rung: Rung) -> RungReport:
        tokens, tally = rung.tokens, self._tallies[rung.tokens]
        answered = [each.answer for each in tally.asked if each.answer is not None]
        return RungReport(
            tokens=tokens,
            # The search counts a refusal as wrong answers. The report has only the questions that were asked.
            share=proportion_interval(rung.right, len(tally.asked)) if tally.refused else rung.share,
            haystacks=math.ceil(len(tally.asked) / self._settings.questions)
            if tally.refused
            else rung.haystacks,
            depths=tuple((right, int(n)) for right, n in tally.depths),
            failures=tally.failures,
            refused=tally.refused,
            ttft_ms=_median([each.ttft_ms for each in answered]),
            latency_ms=_median([each.latency_ms for each in answered]),
            memory_mib=max(
                (each.memory_mib for each in tally.asked if each.memory_mib is not None), default=None
            ),
            input_tokens=sum(each.usage.input_tokens or 0 for each in answered),
            cached_tokens=sum(each.usage.cache_read_input_tokens or 0 for each in answered),
            canary=tally.canary,
            against=None
            if self._against is None
            else proportion_interval(
                sum(tally.against), len(tally.against), design_effect=self._own.design_effect
            ),
        )

    def _note_canary(self) -> None:
        """Note lengths at which the first line was lost, the only sign of cut prompts without usage."""
        found = {tokens: tally.canary for tokens, tally in self._tallies.items() if tally.canary is not None}
        good = [tokens for tokens, there in found.items() if there]
        lost = [tokens for tokens, there in found.items() if not there and good and tokens > max(good)]
        if self._last is not None and self._last.input_tokens is None and lost:
            self._notes.append(
                f"the fact in the first line is found up to {max(good):,} tokens and not from {min(lost):,} "
                "on: the server may cut prompts without saying so"
            )

    def _note_repeats(self) -> None:
        if self._unique < _REPEATED:
            self._notes.append(
                f"the documents are shorter than what was asked: {100 * self._unique:.0f} % of the segments "
                "of the longest prompts differ, which makes questions easier; give more with `--documents`"
            )

    def _note_calibration(self) -> None:
        low, high = min(self._counted, default=1.0), max(self._counted, default=1.0)
        if not self._pool.tokenizer.exact and max(1 - low, high - 1) > _CALIBRATION_OFF:
            self._notes.append(
                f"the endpoint counted {100 * low:.0f} % to {100 * high:.0f} % of the lengths given here: "
                "with `--tokenizer` they are exact"
            )


def check_settings(settings: ProbeSettings) -> None:
    """Raise `UsageError` for settings out of their ranges."""
    if not (1 <= settings.questions <= 20 and 1 <= settings.base_questions <= 1_000):
        raise UsageError(
            "1 to 20 questions a haystack, and 1 to 1,000 for the base, can be asked",
            code="questions-out-of-range",
        )
    if not (
        0 < settings.floor < 1 and 0 < settings.alpha < 0.5 and 0 <= settings.certify_haystacks <= 10_000
    ):
        raise UsageError(
            "the floor must lie between 0 and 1, alpha between 0 and 0.5", code="floor-or-alpha-invalid"
        )


def _add(counts: list[float], score: float) -> None:
    counts[0] += score
    counts[1] += 1


def _counts(counts: list[float]) -> tuple[float, int]:
    return counts[0], int(counts[1])


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
