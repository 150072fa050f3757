"""The readable Llama 4 as the other side of a conformity check: it is computed here, and costs nothing.

The reference has no noise: at temperature 0 it says the same each time, where two hosts may differ by their
rounding. So greedy answers are not compared as texts by a test that expects noise. What counts is how much
less likely the reference finds the first token in which a host's greedy answer leaves its own.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import anyio
import numpy as np

from crossgrade.domain import (
    LogprobRequest,
    Message,
    ModelAnswer,
    ModelRequest,
    TokenLogprob,
    Usage,
    ended_at_limit,
)
from crossgrade.errors import DataError
from crossgrade.evidence._conform_asking import ConformSide
from crossgrade.evidence._conform_questions import ConformQuestion
from crossgrade.reference import Array, Llama4Reader, Llama4Shape, Weights

_NOT_COMPUTED = ("tools", "schema", "stop", "seed")
_COUNTED = ("template", "token-counts")
_LIKELIEST = 200
"""Tokens among which the one that a host took instead is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceModel:
    """A checkpoint that can answer: its weights, and how texts become tokens and tokens texts.

    `prompt_of` gives the tokens of a conversation in the model's chat template, which end where the model
    begins to answer; it raises `DataError` for one that the template refuses. `text_of` leaves special tokens
    out. `ends` are the tokens that end an answer.
    """

    name: str
    weights: Weights
    shape: Llama4Shape
    prompt_of: Callable[[Sequence[Message]], list[int]]
    text_of: Callable[[Sequence[int]], str]
    ends: frozenset[int]

    def answer(self, request: ModelRequest, rng: np.random.Generator | None = None) -> ModelAnswer:
        """Return the greedy answer to a request, or one drawn at its temperature if `rng` is given."""
        prompt = self.prompt_of(request.messages)
        said: list[int] = []
        places: list[TokenLogprob] = []
        ended = False
        for logits in self._logits(prompt, said, request):
            token = _drawn(logits, request.settings.temperature or 1.0, rng)
            ended = token in self.ends
            if ended:
                break
            if isinstance(request, LogprobRequest):
                places.append(self._place(logits, said, token, request.top))
            said.append(token)
        return ModelAnswer(
            text=self.text_of(said),
            finish_reason="stop" if ended else "length",
            usage=Usage(input_tokens=len(prompt), output_tokens=len(said)),
            logprobs=tuple(places),
        )

    def count(self, request: ModelRequest) -> ModelAnswer:
        """Return an answer without a text, which only counts the tokens of the prompt."""
        return ModelAnswer(text="", usage=Usage(input_tokens=len(self.prompt_of(request.messages))))

    def shortfall(self, request: ModelRequest, answer: ModelAnswer) -> float:
        """Return by how many nats the likeliest token exceeds the first one that a greedy answer has instead.

        It is 0 for the reference's own answer, and for one that ends at its limit of tokens while both agree.
        """
        wanted, stopped = answer.text.lstrip(), ended_at_limit(answer.finish_reason) is False
        said: list[int] = []
        for logits in self._logits(self.prompt_of(request.messages), said, request):
            before = self._clean(said)
            best = int(np.argmax(logits))
            if wanted == before:
                return self._ending(logits) if stopped else 0.0
            if best in self.ends or not wanted.startswith(self._clean([*said, best])):
                if not stopped and best not in self.ends and self._clean([*said, best]).startswith(wanted):
                    return 0.0
                return self._instead(logits, said, wanted)
            said.append(best)
        return 0.0

    def _logits(self, prompt: Sequence[int], said: list[int], request: ModelRequest) -> Iterator[Array]:
        """Yield the logits of each next token, after what the caller has added to `said`."""
        reader = Llama4Reader(self.weights, self.shape)
        tokens = prompt
        for _ in range(request.settings.max_output_tokens or 1):
            logits = reader.read(tokens)[-1].astype(np.float64)
            if not np.isfinite(logits).all():
                raise DataError(
                    f"the reference computes numbers from {self.name} that are not finite",
                    code="logits-not-finite",
                    hint="the weights may be damaged; fetch the checkpoint again",
                )
            yield logits
            tokens = said[-1:]

    def _place(self, logits: Array, said: list[int], token: int, top: int) -> TokenLogprob:
        shifted = logits - logits.max()
        logprobs = shifted - np.log(np.exp(shifted).sum())
        skip = len(self.text_of(said))
        likely = np.argsort(-logprobs, kind="stable")[:top]
        return TokenLogprob(
            token=self.text_of([*said, token])[skip:],
            logprob=float(logprobs[token]),
            top={self.text_of([*said, int(each)])[skip:]: float(logprobs[each]) for each in likely[::-1]},
        )

    def _clean(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens without a broken last character and leading blanks."""
        return self.text_of(tokens).rstrip("\ufffd").lstrip()

    def _ending(self, logits: Array) -> float:
        if not self.ends:
            return 0.0
        return float(logits.max() - max(logits[each] for each in self.ends))

    def _instead(self, logits: Array, said: list[int], wanted: str) -> float:
        """Return how far below the best is the likeliest token that the wanted text goes on with."""
        before = self.text_of(said)
        order = np.argsort(-logits, kind="stable")[:_LIKELIEST]
        for token in order:
            if int(token) in self.ends or self.text_of([*said, int(token)]) == before:
                continue
            if wanted.startswith(self._clean([*said, int(token)])):
                return float(logits.max() - logits[token])
        return float(logits.max() - logits[order[-1]])


@dataclass(slots=True, kw_only=True)
class ReferenceAsker:
    """Asks the reference what a host is asked, as far as it can be computed, and as `wants` says."""

    model: ReferenceModel
    side: ConformSide
    seed: int
    on_answer: Callable[[ConformSide], None] = lambda _: None
    wants: Callable[[str], bool] = lambda _: True

    async def ask(self, questions: Sequence[ConformQuestion]) -> None:
        """Compute the answers to questions, and keep them in the side.

        A conversation that the chat template refuses leaves a gap. Raises `DataError` for weights that give
        numbers which are not finite.
        """
        for check in _NOT_COMPUTED:
            self.side.gaps[check] = "the reference does not compute it"
        for question in questions:
            if question.check in _NOT_COMPUTED or is_greedy_answer(question):
                continue
            if not self.wants(question.check):
                continue
            found = await anyio.to_thread.run_sync(self._answers, question)
            if found:
                for draw, answer in enumerate(found, start=question.first):
                    self.side.keep(question, draw, answer)
                self.on_answer(self.side)

    async def shortfalls(self, questions: Sequence[ConformQuestion], other: ConformSide) -> dict[str, float]:
        """Return the shortfall of the first greedy answer of a host to each question that it answered."""
        asked = {each.key: each.request for each in questions if is_greedy_answer(each)}
        answered = {key: found[0] for key, found in other.of("answers").items() if found and key in asked}
        return {
            key: await anyio.to_thread.run_sync(self.model.shortfall, asked[key], answer)
            for key, answer in answered.items()
        }

    def _answers(self, question: ConformQuestion) -> list[ModelAnswer]:
        try:
            if question.check in _COUNTED:
                return [self.model.count(question.request)] * question.draws
            if not question.request.settings.temperature:
                return [self.model.answer(question.request)] * question.draws
            return [
                self.model.answer(question.request, self._rng(question.key, question.first + draw))
                for draw in range(question.draws)
            ]
        except DataError as error:
            if error.code != "chat-template-refuses":
                raise
            self.side.gaps[question.check] = error.message
            return []

    def _rng(self, key: str, draw: int) -> np.random.Generator:
        return np.random.default_rng([self.seed & 2**63 - 1, zlib.crc32(key.encode()), draw])


def is_greedy_answer(question: ConformQuestion) -> bool:
    """Return whether a question is one on the answers at temperature 0."""
    return question.check == "answers" and not question.request.settings.temperature


def _drawn(logits: Array, temperature: float, rng: np.random.Generator | None) -> int:
    if rng is None:
        return int(np.argmax(logits))
    shares = np.exp((logits - logits.max()) / temperature)
    return int(rng.choice(len(shares), p=shares / shares.sum()))
