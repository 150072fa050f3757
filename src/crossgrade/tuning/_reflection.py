"""An instruction from a reflection model: it reads what went wrong on some items and writes a better one.

The search is GEPA's (L. A. Agrawal et al., arXiv 2507.19457, extra `port`): it keeps the instructions that
are best on some item, lets the model rewrite one of them after a few items, and counts what it asks. Items
are scored by our own runner, so its answers are paid for once and count in the budget.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio.from_thread
import anyio.to_thread

from crossgrade.domain import PLACEHOLDER, Variant
from crossgrade.errors import MissingExtraError
from crossgrade.tuning._asking import DevelopmentAsker
from crossgrade.workloads.files import as_text

if TYPE_CHECKING:
    from gepa import EvaluationBatch

AskReflection: TypeAlias = Callable[[str, Sequence[str]], Coroutine[Any, Any, str]]
"""Asks the reflection model one question. It is also given the ids of the samples that the model has read."""

_COMPONENT = "instruction"
_FIRST = "Answer the request."
_MINIBATCH = 4
_LONGEST_SHOWN = 1_000
_LONGEST = 8_000
"""An instruction of more characters is cut."""

_FRAME = 2_000
"""Characters of GEPA's own words in a question to the reflection model."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflection:
    """A search of an instruction: whom to ask, how many answers it may use, and the seed of its draws."""

    ask: AskReflection
    answers: int
    seed: int = 1

    async def instruction(
        self, asker: DevelopmentAsker, with_instruction: Callable[[str], Variant]
    ) -> tuple[str, tuple[str, ...]] | None:
        """Return the best instruction that was found, None if none was better than the first.

        With it come the ids of the samples that the model read: its words may be theirs. `with_instruction`
        makes a variant of a text. Items are the asker's. Raises what asking raises, and `MissingExtraError`
        without the `port` extra.
        """
        check_reflection()
        import gepa

        adapter = _Adapter(asker, with_instruction)
        places = list(range(len(asker.samples)))

        def reflect(prompt: Any) -> str:
            adapter.check()
            try:
                return anyio.from_thread.run(self.ask, _as_text(prompt), adapter.read)
            except Exception as error:
                adapter.failure = error  # GEPA would go on without it, and ask again
                raise

        def search() -> Any:
            return gepa.optimize(
                seed_candidate={_COMPONENT: _FIRST},
                trainset=places,
                valset=places,
                adapter=adapter,
                reflection_lm=reflect,
                reflection_minibatch_size=_MINIBATCH,
                max_metric_calls=self.answers,
                logger=_Silent(),
                seed=self.seed,
            )

        found = await anyio.to_thread.run_sync(search)
        adapter.check()
        text = instruction_text(found.best_candidate[_COMPONENT])
        return None if text in {"", _FIRST} else (text, tuple(adapter.read))


def instruction_text(text: str) -> str:
    """Return an instruction without what a template would take for a field, and not too long."""
    return PLACEHOLDER.sub(lambda found: f"({found[1]})", text).strip()[:_LONGEST]


class _Silent:
    """GEPA's log goes nowhere: it would be printed among the data."""

    def log(self, message: str) -> None:
        """Say nothing."""


class _Adapter:
    """What GEPA asks of a system: answers with scores, and what a reflection model is to read of them."""

    propose_new_texts = None

    def __init__(self, asker: DevelopmentAsker, with_instruction: Callable[[str], Variant]) -> None:
        self._asker = asker
        self._with = with_instruction
        self._read: dict[str, None] = {}
        self.failure: Exception | None = None

    def check(self) -> None:
        """Raise why the reflection model gave no answer, if it gave none."""
        if self.failure is not None:
            raise self.failure

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

        self.check()
        variant = self._with(instruction_text(candidate[_COMPONENT]))
        answers = anyio.from_thread.run(self._asker.answers, variant, list(batch))
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


def _as_text(prompt: Any) -> str:
    """Return what a reflection model is asked; GEPA may pass messages."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(str(each.get("content", "")) for each in prompt)
