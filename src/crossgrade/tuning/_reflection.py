"""An instruction from a reflection model: it reads what went wrong on some items and writes a better one.

The search is GEPA's (L. A. Agrawal et al., arXiv 2507.19457, extra `port`): it keeps the instructions that
are best on some item, lets the model rewrite one of them after a few items, and counts what it asks. Items
are scored by our own runner, so its answers are paid for once and count in the budget.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from crossgrade.calls import reworded
from crossgrade.domain import PLACEHOLDER, GenerationSettings, Message, ModelRequest, Variant
from crossgrade.errors import AuthError, MissingExtraError, ProviderError, RateLimitedError
from crossgrade.tuning._asking import DevelopmentAsker
from crossgrade.workloads.files import as_text

if TYPE_CHECKING:
    from gepa import EvaluationBatch

_COMPONENT = "instruction"
_FIRST = "Answer the request."
_MINIBATCH = 4
_LONGEST_SHOWN = 1_000
_LONGEST = 8_000
"""An instruction of more characters is cut."""

_FRAME = 2_000
"""Characters of GEPA's own words in a question to the reflection model."""

REFLECTION_TOKENS = 2_048
"""The longest answer of a reflection model."""

_LONGEST_ANSWER = 16 * REFLECTION_TOKENS
"""More characters of an answer are not read, whatever the provider sent."""

_USELESS_IN_A_ROW = 3
"""After so many questions in a row without an instruction, no more are asked."""

MOST_QUESTION_CHARS = _FRAME + _LONGEST + _MINIBATCH * 3 * _LONGEST_SHOWN
"""The most characters of one question to the reflection model."""


def most_questions(answers: int) -> int:
    """Return the most questions to a reflection model while so many answers are used.

    Each question follows the answers to a few items, and the instruction that it brings is tried on them.
    """
    return answers // (2 * _MINIBATCH) + 1


def check_reflection() -> None:
    """Raise `MissingExtraError` if the `port` extra is not installed."""
    if not find_spec("gepa"):
        raise MissingExtraError("searching an instruction with a reflection model", "port")


@dataclass(slots=True, kw_only=True)
class ReflectionCount:
    """What became of the questions to a reflection model.

    `failed` counts those that failed, by the code of the error, and `empty` the answers without an
    instruction. `has_found` says whether an instruction was better than the first.
    """

    questions: int = 0
    failed: dict[str, int] = field(default_factory=Counter)
    empty: int = 0
    has_found: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflection:
    """A search of an instruction: the model to ask, how many answers it may use, and the seed of its draws.

    The model is one of the asker's, by its offer's name. `count` says what became of the questions so far.
    """

    model: str
    answers: int
    seed: int = 1
    count: ReflectionCount = field(default_factory=ReflectionCount)

    async def instruction(
        self, asker: DevelopmentAsker, with_instruction: Callable[[str], Variant]
    ) -> tuple[str, tuple[str, ...]] | None:
        """Return the best instruction that was found, None if none was better than the first.

        With it come the ids of the samples that the model read: its words may be theirs. `with_instruction`
        makes a variant of a text. Items are the asker's. The search ends early after a few questions in a row
        that brought no instruction.

        Raises what asking raises, and the error of a reflection model whose last few calls all failed.
        Raises `MissingExtraError` without the `port` extra.
        """
        check_reflection()
        import gepa

        adapter = _Adapter(asker, with_instruction, self.answers)
        whole = list(range(min(len(asker.samples), max(_MINIBATCH, self.answers // 2))))
        questions = _Questions(self, asker, adapter)

        def search() -> Any:
            return gepa.optimize(
                seed_candidate={_COMPONENT: _FIRST},
                trainset=list(range(len(asker.samples))),
                valset=whole,
                adapter=adapter,
                reflection_lm=questions.ask,
                reflection_minibatch_size=_MINIBATCH,
                max_metric_calls=self.answers,
                stop_callbacks=lambda _: adapter.is_over,
                raise_on_exception=False,  # what ends the search is raised below, once GEPA has stopped
                logger=_Silent(),
                seed=self.seed,
            )

        found = await anyio.to_thread.run_sync(search)
        await anyio.lowlevel.checkpoint()  # a cancellation is raised as what it is
        if adapter.failure is not None:
            raise adapter.failure
        asker.check_silence()
        text = instruction_text(found.best_candidate[_COMPONENT])
        if text in {"", _FIRST}:
            return None
        self.count.has_found = True
        return text, tuple(adapter.read)


def instruction_text(text: str) -> str:
    """Return an instruction without what a template would take for a field, and not too long."""
    return PLACEHOLDER.sub(lambda found: f"({found[1]})", text).strip()[:_LONGEST]


class _Silent:
    """GEPA's log goes nowhere: it would be printed among the data."""

    def log(self, message: str) -> None:
        """Say nothing."""


class _NoInstructionError(Exception):
    """A question brought no instruction; GEPA goes on with other items."""


class _Questions:
    """Asks the reflection model, and ends the search when it is of no use."""

    def __init__(self, reflection: Reflection, asker: DevelopmentAsker, adapter: "_Adapter") -> None:
        self._reflection, self._asker, self._adapter = reflection, asker, adapter
        self._in_a_row = 0
        self._useless: str | None = None

    def ask(self, prompt: Any) -> str:
        """Return an instruction, as GEPA reads it from an answer."""
        text = _as_text(prompt)
        if self._adapter.is_over or text == self._useless:  # GEPA asks again what has failed
            raise _NoInstructionError
        try:
            instruction = anyio.from_thread.run(self._asked, text)
        except Exception as error:
            self._adapter.end(error)
            raise
        if instruction:
            self._in_a_row, self._useless = 0, None
            return f"```\n{instruction}\n```"
        self._useless = text
        raise _NoInstructionError

    async def _asked(self, prompt: str) -> str:
        """Return the instruction that an answer brings, empty if it brings none.

        Raises what says that no other question would be answered either.
        """
        count, model = self._reflection.count, self._reflection.model
        request = ModelRequest(
            model=model,
            messages=(Message(role="user", content=prompt),),
            settings=GenerationSettings(temperature=None, max_output_tokens=REFLECTION_TOKENS),
        )
        count.questions += 1
        try:
            answer = await self._asker.question(request, about=self._adapter.read)
        except (AuthError, RateLimitedError):
            raise
        except ProviderError as error:
            count.failed[error.code] = count.failed.get(error.code, 0) + 1
            if self._is_enough():
                seen = f"{_USELESS_IN_A_ROW} questions in a row to the reflection model `{model}` failed"
                raise reworded(seen, error) from error
            return ""
        if instruction := _instruction_in(answer):
            return instruction
        count.empty += 1
        if self._is_enough():
            self._adapter.is_over = True
        return ""

    def _is_enough(self) -> bool:
        self._in_a_row += 1
        return self._in_a_row >= _USELESS_IN_A_ROW


class _Adapter:
    """What GEPA asks of a system: answers with scores, and what a reflection model is to read of them.

    Once it `is_over`, GEPA is to stop: `failure` says why, None where no more answers may be used, or no
    more instructions are to be had.
    """

    propose_new_texts = None

    def __init__(
        self, asker: DevelopmentAsker, with_instruction: Callable[[str], Variant], answers: int
    ) -> None:
        self._asker = asker
        self._with = with_instruction
        self._left = answers
        self._read: dict[str, None] = {}
        self.failure: Exception | None = None
        self.is_over = False

    def end(self, failure: Exception) -> None:
        """Stop the search, which raises this error."""
        self.failure, self.is_over = failure, True

    @property
    def read(self) -> list[str]:
        """The ids of the samples that the reflection model was shown so far."""
        return list(self._read)

    def evaluate(
        self,
        batch: Sequence[int],
        candidate: Mapping[str, str],
        capture_traces: bool = False,  # noqa: FBT001, FBT002 - GEPA's signature
    ) -> "EvaluationBatch[Any, str]":
        """Return the answers of a variant with this instruction on some items, with their scores."""
        from gepa import EvaluationBatch

        self._left -= len(batch)
        if self.is_over or self._left < 0:
            self.is_over = True
            raise _NoInstructionError
        variant = self._with(instruction_text(candidate[_COMPONENT]))
        try:
            answers = anyio.from_thread.run(self._asker.answers, variant, list(batch))
        except Exception as error:
            self.end(error)
            raise
        traces = [{"place": place, "answer": text} for place, (_, text) in zip(batch, answers, strict=True)]
        return EvaluationBatch(
            outputs=[text for _, text in answers],
            scores=[score or 0.0 for score, _ in answers],
            trajectories=traces if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], eval_batch: Any, components_to_update: Sequence[str]
    ) -> dict[str, list[dict[str, str]]]:
        """Return what a reflection model reads: request, answer, and whether it is right."""
        rows = []
        variant = self._with(instruction_text(candidate[_COMPONENT]))
        for trace, score in zip(eval_batch.trajectories, eval_batch.scores, strict=True):
            sample = self._asker.samples[trace["place"]]
            self._read[sample.id] = None
            target = "" if sample.target is None else f" The correct answer: {as_text(sample.target)}"
            rows.append(
                {
                    "Inputs": self._asker.shown(variant, trace["place"])[:_LONGEST_SHOWN],
                    "Generated Outputs": str(trace["answer"])[:_LONGEST_SHOWN],
                    "Feedback": f"Score {score:g} of 1.{target}"[:_LONGEST_SHOWN],
                }
            )
        return dict.fromkeys(components_to_update, rows)


def _instruction_in(answer: str) -> str:
    """Return the instruction in an answer, empty if there is none."""
    from gepa.strategies.instruction_proposal import InstructionProposalSignature

    found = InstructionProposalSignature.output_extractor(answer[:_LONGEST_ANSWER].strip())
    return instruction_text(found["new_instruction"])


def _as_text(prompt: Any) -> str:
    """Return what a reflection model is asked; GEPA may pass messages."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(each.get("content", "")) for each in prompt)
