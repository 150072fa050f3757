"""What a scorer will ask its model: it scores answers that are not there yet, and its questions are kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from crossgrade.calls import UNKNOWN_OUTPUT_TOKENS, WRAPPING_TOKENS, embedding_digest, request_digest
from crossgrade.decide import RunDesign
from crossgrade.domain import ModelAnswer, ModelRequest, Offer, Price, Sample, Usage, Variant, Workload
from crossgrade.evaluate._estimate import CallEstimate, asked_samples, request_usage, total_usd
from crossgrade.evaluate._prepare import planned_samples
from crossgrade.evaluate._prompt import Prompt
from crossgrade.evaluate._scoring import case_scorer
from crossgrade.evaluate.scorers import Embedded, PairScorer, Scorer
from crossgrade.workloads import Dataset

if TYPE_CHECKING:
    from crossgrade.store import Response, Store

IsUsable: TypeAlias = Callable[[ModelAnswer], bool]
_FEWEST, _MOST = 0, 1


class _Answer(NamedTuple):
    """An answer to be scored, and how many tokens it will have where it is not there yet."""

    answer: ModelAnswer
    tokens: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A question to the scorer's model, under the digests that an answer to it may be kept under."""

    request: ModelRequest
    digests: tuple[str, ...]
    tokens: tuple[int, int]
    output_tokens: int
    is_usable: IsUsable

    def is_paid(self, paid: "Mapping[str, Response]") -> bool:
        return any(name in paid and self.is_usable(paid[name].answer) for name in self.digests)

    def usage(self, end: int) -> Usage:
        """Return the usage at one end of the band."""
        output = self.output_tokens if end == _MOST else min(1, self.output_tokens)
        usage = request_usage(self.request, end=end, output_tokens=output)
        wrapping = 0 if self.output_tokens else WRAPPING_TOKENS * end  # a text to embed has no chat template
        return replace(usage, input_tokens=(usage.input_tokens or 0) - wrapping + self.tokens[end])


@dataclass(slots=True)
class ScorerCalls:
    """Stands in for the model that a scorer asks, and keeps the questions; the answers are blank."""

    offer: Offer
    questions: dict[object, _Question] = field(default_factory=dict)
    _tokens: tuple[int, int] = (0, 0)

    def about(self, *answers: _Answer) -> tuple[ModelAnswer, ...]:
        """Return the answers that the next questions are about."""
        self._tokens = (sum(each.tokens[0] for each in answers), sum(each.tokens[1] for each in answers))
        return tuple(each.answer for each in answers)

    async def ask(self, request: ModelRequest, *, is_usable: IsUsable | None = None) -> ModelAnswer:
        """Keep a question."""
        sent = replace(request, model=self.offer.model)
        ways = (sent, replace(sent, response_schema=None))
        digests = tuple(request_digest(self.offer, each, epoch=1) for each in ways)
        most = request.settings.max_output_tokens or UNKNOWN_OUTPUT_TOKENS
        self._keep(sent, digests, self._tokens, most, is_usable)
        return ModelAnswer(text="")

    async def embed(self, _name: str, texts: Sequence[str]) -> Embedded:
        """Keep the texts, the first of which is the answer."""
        for at, text in enumerate(texts):
            sent = ModelRequest(model=self.offer.model, text=text)
            digests = (embedding_digest(self.offer, text),)
            self._keep(sent, digests, (0, 0) if at else self._tokens, 0, None)
        return Embedded([(1.0,)] * len(texts), None)

    def cost_of(self, _name: str, _answer: ModelAnswer) -> Decimal | None:
        """Return None: nothing was asked."""
        return None

    def _keep(
        self,
        request: ModelRequest,
        digests: tuple[str, ...],
        tokens: tuple[int, int],
        output_tokens: int,
        is_usable: IsUsable | None,
    ) -> None:
        # Answers that are not there yet will differ, so each question about one is a question of its own.
        key = len(self.questions) if any(tokens) else digests
        self.questions[key] = _Question(
            request=request,
            digests=digests,
            tokens=tokens,
            output_tokens=output_tokens,
            is_usable=is_usable or (lambda _: True),
        )


async def estimate_scorer(
    workload: Workload,
    dataset: Dataset,
    *,
    build: Callable[[ScorerCalls], Scorer | PairScorer],
    offer: Offer,
    price: Price | None,
    design: RunDesign,
    store: "Store | None" = None,
    max_bytes: Mapping[str, int] | None = None,
) -> CallEstimate:
    """Estimate what a run's scorer asks its model, if no verdict comes early: it asks about every answer.

    With `store`, answers that are there are scored as they are, and questions that were answered usably are
    not paid for again. `build` makes the scorer from what stands in for its model. Raises what the scorer
    raises.
    """
    calls = ScorerCalls(offer)
    scorer = build(calls)
    asked = asked_samples(workload, planned_samples(workload, dataset, design), design, max_bytes or {})
    answers = {variant.name: _answers(workload, variant, samples, store) for variant, samples in asked}
    if hasattr(scorer, "score_pair"):
        case_scorer(scorer, workload)  # which refuses several candidates
        incumbent, candidate = (answers[variant.name] for variant, _ in asked)
        for key in incumbent.keys() & candidate.keys():
            (sample, mine), (_, theirs) = incumbent[key], candidate[key]
            await cast("PairScorer", scorer).score_pair(sample, *calls.about(mine, theirs))
    else:
        for sample, answer in (each for found in answers.values() for each in found.values()):
            await scorer.score(sample, *calls.about(answer))
    questions = list(calls.questions.values())
    digests = [name for each in questions for name in each.digests]
    paid = {} if store is None else store.answers.paid(digests)
    to_pay = [each for each in questions if not each.is_paid(paid)]
    low, high = ([each.usage(end) for each in to_pay] for end in (_FEWEST, _MOST))
    costs = [total_usd(usages, price, batch=False) for usages in (low, high)]
    return CallEstimate(
        model=offer.name,
        calls=len(to_pay),
        reused=len(questions) - len(to_pay),
        input_tokens=(_sum(low, "input_tokens"), _sum(high, "input_tokens")),
        output_tokens=(_sum(low, "output_tokens"), _sum(high, "output_tokens")),
        cost_usd=None if costs[0] is None or costs[1] is None else (costs[0], costs[1]),
    )


def _answers(
    workload: Workload, variant: Variant, samples: Sequence[Sample], store: "Store | None"
) -> dict[tuple[str, int], tuple[Sample, _Answer]]:
    """Return a variant's answers by sample and epoch: those in the store, and stand-ins for the others."""
    prompt, most = Prompt(variant), variant.settings.max_output_tokens or UNKNOWN_OUTPUT_TOKENS
    keys = [(sample, epoch) for sample in samples for epoch in range(1, workload.epochs + 1)]
    digests = [request_digest(variant.offer, prompt.request(sample), epoch=epoch) for sample, epoch in keys]
    paid = {} if store is None else store.answers.paid(digests)

    def found() -> Iterator[tuple[tuple[str, int], tuple[Sample, _Answer]]]:
        for (sample, epoch), digest in zip(keys, digests, strict=True):
            if digest in paid:
                yield (sample.id, epoch), (sample, _Answer(paid[digest].answer))
            else:
                stand_in = ModelAnswer(text=variant.name)  # not blank, and unlike the other model's
                yield (sample.id, epoch), (sample, _Answer(stand_in, (1, most)))

    return dict(found())


def _sum(usages: Sequence[Usage], name: str) -> int:
    return sum(getattr(usage, name) or 0 for usage in usages)
